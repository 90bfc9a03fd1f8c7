import {Buffer} from 'node:buffer';
import {execFile} from 'node:child_process';
import process from 'node:process';
import {promisify} from 'node:util';
import test from 'ava';
import {ask, errorOf} from './asking.ts';
import {connectRequest} from './ends.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxy} from './proxy.ts';
import {until, within} from './until.ts';
import {echo, startUpstream} from './upstream.ts';
import {
	dial, ignore, readHead, readText, readTextToEnd,
} from './wire.ts';

// What is refused never reaches an engine: these tests are not repeated for each.

nothingIsLeft();

test.serial('a target that swallows connections takes as many dials as `maxDials` allows, and the rest hears so at once', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const hole: Array<() => void> = [];
	const running = await startProxy(t, {
		engine: 'stream', allow: ['hole.test:443', `127.0.0.1:${upstream.port}`], maxDials: 50, connectTimeout: 60_000,
		// To hang in the lookup or in the SYN is the same to the proxy, and this needs no black hole.
		lookup(_hostname, _options, callback) {
			hole.push(() => {
				callback(Object.assign(new Error('no'), {code: 'ENOTFOUND'}), []);
			});
		},
	});
	const clients = await Promise.all(Array.from({length: 1000}, async () => {
		const client = await dial(t, running.port);
		client.write(connectRequest(443, 'hole.test'));
		return client;
	}));
	await until('all but fifty are refused', () => running.tunnels.stats().rejectedFor.connection_limit_reached === 950);
	t.is(running.tunnels.stats().dialling, 50);
	t.is(hole.length, 50);

	// Those that leave make room, whatever the resolver does.
	for (const client of clients) {
		client.resetAndDestroy();
	}

	await until('nobody is dialled for', () => running.tunnels.stats().dialling === 0);
	t.regex(await ask(t, running, connectRequest(upstream.port)), /^HTTP\/1\.1 200 /u);
	for (const answer of hole) {
		answer(); // Too late for anybody.
	}
});

test.serial('half a CONNECT holds nothing but its connection, until the server has waited long enough', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const running = await startProxy(t, {engine: 'stream', allow: [`127.0.0.1:${upstream.port}`], server: {headersTimeout: 200, requestTimeout: 200, connectionsCheckingInterval: 50}});
	const slow = await Promise.all(Array.from({length: 100}, async () => {
		const client = await dial(t, running.port);
		client.write('CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: a\r\nX-Slow');
		return client;
	}));
	t.regex(await ask(t, running, connectRequest(upstream.port)), /^HTTP\/1\.1 200 /u);
	const answers = await Promise.all(slow.map(async client => within('the server gives up', readTextToEnd(client))));
	t.true(answers.every(answer => answer.startsWith('HTTP/1.1 408 ')));
	t.is(running.tunnels.stats().opened, 1);
});

test.serial('whoever is refused and goes on sending is cut off, and what was sent is not kept', async t => {
	const running = await startProxy(t, {engine: 'stream'});
	const client = await dial(t, running.port);
	client.write(connectRequest(443, 'a.test'));
	t.regex(await readHead(client), /^HTTP\/1\.1 403 /u);
	client.on('error', ignore);
	const flood = setInterval(() => {
		client.write(Buffer.alloc(100_000));
	}, 1);
	t.teardown(() => {
		clearInterval(flood);
	});
	await within('the proxy closes', new Promise(resolve => {
		client.once('close', resolve);
		client.resume();
	}), 5000);
	t.pass();
});

test.serial('without descriptors left it answers 503, and goes on when there are some again', async t => {
	const {stdout} = await promisify(execFile)('sh', ['-c', `ulimit -n 80 && exec "${process.execPath}" --import=tsx integration/exhausted-program.ts`]);
	const {statuses, errors, after, mostRejected} = JSON.parse(stdout) as {readonly statuses: Record<string, number>; readonly errors: Record<string, number>; readonly after: string; readonly mostRejected: number};
	t.true(statuses['200']! > 0 && statuses['503']! > 0);
	t.true(errors.connection_limit_reached! > 0);
	t.is(mostRejected, statuses['503']!);
	t.is(after, 'HTTP/1.1 200 Connection Established');
});

test.serial('a thousand wrong passwords cost a thousand answers, and no more', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const running = await startProxy(t, {engine: 'stream', allow: [`127.0.0.1:${upstream.port}`], users: {alice: 'secret'}, maxFailures: 2});
	const login = (password: string) => connectRequest(upstream.port).replace('\r\n\r\n', `\r\nProxy-Authorization: Basic ${Buffer.from(`alice:${password}`).toString('base64')}\r\n\r\n`);
	const answers = await Promise.all(Array.from({length: 1000}, async (_, index) => ask(t, running, login(String(index)))));
	t.is(answers.filter(answer => answer.startsWith('HTTP/1.1 407 ')).length, 2);
	t.is(answers.filter(answer => answer.startsWith('HTTP/1.1 429 ') && errorOf(answer) === 'http_request_denied').length, 998);
	t.deepEqual(running.tunnels.stats().rejected, {407: 2, 429: 998});
	t.regex(await ask(t, running, login('secret'), '127.0.0.2'), /^HTTP\/1\.1 200 /u);
});
