import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import type {IncomingMessage} from 'node:http';
import test, {type ExecutionContext} from 'ava';
import {hashPassword, type Options} from '../plugin/index.ts';
import {ask, errorOf} from './asking.ts';
import {connectRequest} from './ends.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxy} from './proxy.ts';
import {until} from './until.ts';
import {echo, startUpstream} from './upstream.ts';
import {
	dial, readHead, readText, readTextToEnd,
} from './wire.ts';

// Who may have a tunnel is settled before an engine has it: these tests are not repeated for each.

nothingIsLeft();

const basic = (name: string, password: string) => `Proxy-Authorization: Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`;

function withHeader(request: string, header: string): string {
	return request.replace('\r\n\r\n', `\r\n${header}\r\n\r\n`);
}

async function start(t: ExecutionContext, options: Options) {
	const upstream = await startUpstream(t, {onConnection: echo});
	const running = await startProxy(t, {engine: 'stream', allow: [`127.0.0.1:${upstream.port}`], ...options});
	return {running, upstream, request: connectRequest(upstream.port)};
}

test.serial('without credentials, 407 says that Basic is wanted, and by whom', async t => {
	const {running, upstream, request} = await start(t, {users: {alice: 'secret'}, realm: 'the "office"'});
	const answer = await ask(t, running, request);
	t.regex(answer, /^HTTP\/1\.1 407 Proxy Authentication Required\r\n/u);
	t.true(answer.includes('\r\nProxy-Authenticate: Basic realm="the \\"office\\"", charset="UTF-8"\r\n'), answer);
	t.is(errorOf(answer), 'http_request_denied');
	t.is(upstream.open(), 0);
	t.is(running.tunnels.stats().wrongCredentials, 0, 'to ask is no guess');
});

for (const [title, users] of Object.entries<() => Promise<Options['users']>>({
	'a password': async () => ({alice: 'pass:wörd'}),
	'the hash of a password': async () => ({alice: await hashPassword('pass:wörd')}),
	'a Map of hashes': async () => new Map([['alice', await hashPassword('pass:wörd')]]),
})) {
	test.serial(`whoever knows ${title} has a tunnel, which knows the name and no password`, async t => {
		const {running, request} = await start(t, {users: (await users())!});
		for (const round of ['first', 'once more']) {
			const client = await dial(t, running.port); // eslint-disable-line no-await-in-loop
			client.write(withHeader(request, basic('alice', 'pass:wörd')));
			t.regex(await readHead(client), /^HTTP\/1\.1 200 /u, round); // eslint-disable-line no-await-in-loop
			const tunnel = await running.tunnelOf(client); // eslint-disable-line no-await-in-loop
			t.is(tunnel.user, 'alice');
			const {headers, rawHeaders} = tunnel.context as IncomingMessage;
			t.notRegex(JSON.stringify([headers, rawHeaders]), /basic/iu);
			client.destroy();
		}
	});

	test.serial(`with ${title}, neither a wrong password, nor another name, nor a broken header is accepted`, async t => {
		const {running, upstream, request} = await start(t, {users: (await users())!, maxFailures: 0});
		const wrong = [
			basic('alice', 'wrong'),
			basic('alice', ''),
			basic('bob', 'pass:wörd'),
			basic('', ''),
			basic('__proto__', 'x'),
			basic('constructor', 'x'),
			'Proxy-Authorization: Basic',
			'Proxy-Authorization: Basic !!!',
			'Proxy-Authorization: Bearer abc',
			'Proxy-Authorization: ',
			`Proxy-Authorization: Basic ${Buffer.from('alice').toString('base64')}`,
			`Authorization: Basic ${Buffer.from('alice:pass:wörd').toString('base64')}`,
		];
		for (const [index, header] of wrong.entries()) {
			// From addresses of their own, so that none has to wait for the others.
			t.regex(await ask(t, running, withHeader(request, header), `127.0.1.${index + 1}`), /^HTTP\/1\.1 407 /u, header); // eslint-disable-line no-await-in-loop
		}

		t.is(upstream.open(), 0);
		t.is(running.tunnels.stats().opened, 0);
		t.is(running.tunnels.stats().rejected[407], wrong.length);
	});
}

test.serial('a function finds out who it is, by any means, and may take its time', async t => {
	const {running, request} = await start(t, {
		async authenticate({headers}) {
			return headers['proxy-authorization'] === 'Bearer right' ? 'robot' : undefined;
		},
		challenge: ['Bearer', 'Negotiate'],
	});
	const answer = await ask(t, running, request);
	t.regex(answer, /^HTTP\/1\.1 407 .*\r\nProxy-Authenticate: Bearer\r\nProxy-Authenticate: Negotiate\r\n/su);
	t.regex(await ask(t, running, withHeader(request, 'Proxy-Authorization: Bearer wrong')), /^HTTP\/1\.1 407 /u);
	const client = await dial(t, running.port);
	client.write(withHeader(request, 'Proxy-Authorization: Bearer right'));
	t.regex(await readHead(client), /^HTTP\/1\.1 200 /u);
	const tunnel = await running.tunnelOf(client);
	t.is(tunnel.user, 'robot');
});

test.serial('a function that throws, or that returns no identity, lets nobody in', async t => {
	for (const authenticate of [() => false, () => undefined, () => '', async () => false, () => ({}) as unknown as string, () => 1 as unknown as boolean]) {
		const {running, request} = await start(t, {authenticate}); // eslint-disable-line no-await-in-loop
		t.regex(await ask(t, running, request), /^HTTP\/1\.1 407 /u); // eslint-disable-line no-await-in-loop
	}

	const {running, request} = await start(t, {
		authenticate({headers}) {
			throw new Error(headers['proxy-authorization']);
		},
	});
	const answer = await ask(t, running, withHeader(request, basic('alice', 'secret')));
	t.regex(answer, /^HTTP\/1\.1 500 /u);
	t.notRegex(answer, /basic/iu);
});

test.serial('`allow` is told who asks', async t => {
	const seen: unknown[] = [];
	const {running, request} = await start(t, {
		users: {alice: 'a', bob: 'b'},
		allow(_target, _request, user) {
			seen.push(user);
			return user === 'alice';
		},
	});
	t.regex(await ask(t, running, withHeader(request, basic('bob', 'b'))), /^HTTP\/1\.1 403 /u);
	t.regex(await ask(t, running, withHeader(request, basic('alice', 'a'))), /^HTTP\/1\.1 200 /u);
	t.deepEqual(seen, ['bob', 'alice']);
});

test.serial('credentials do not reach the target', async t => {
	const {running, upstream, request} = await start(t, {users: {alice: 'secret'}, allow: () => true});
	const client = await dial(t, running.port);
	client.write(`${withHeader(request, basic('alice', 'secret'))}early`);
	await readHead(client);
	t.is(await readText(client, 5), 'early');
	t.is(upstream.open(), 1);
});

test.serial('a client whose address is not on the list is not even asked who it is', async t => {
	const {running, upstream, request} = await start(t, {clients: ['127.0.0.0/29', '::1'], users: {alice: 'secret'}});
	const answer = await ask(t, running, withHeader(request, basic('alice', 'secret')), '127.0.0.8');
	t.regex(answer, /^HTTP\/1\.1 403 /u);
	t.is(errorOf(answer), 'http_request_denied');
	t.is(upstream.open(), 0);
	t.regex(await ask(t, running, withHeader(request, basic('alice', 'secret')), '127.0.0.7'), /^HTTP\/1\.1 200 /u);
});

test.serial('a client is recognised by its IPv4 address where the server listens on both families', async t => {
	const {running, request} = await start(t, {clients: ['127.0.0.1']});
	const both = await startProxy(t, {engine: 'stream', host: '::', clients: ['127.0.0.1'], allow: ['127.0.0.0/8:*']});
	t.regex(await ask(t, both, request), /^HTTP\/1\.1 200 /u);
	t.regex(await ask(t, both, request, '127.0.0.2'), /^HTTP\/1\.1 403 /u);
	t.regex(await ask(t, running, request), /^HTTP\/1\.1 200 /u);
});

test.serial('whoever guesses waits longer each time, and is locked out in the end, without harm to others', async t => {
	const {running, request} = await start(t, {users: {alice: 'secret'}, maxFailures: 3});
	const took: number[] = [];
	for (let guess = 0; guess < 3; guess++) {
		const before = performance.now();
		t.regex(await ask(t, running, withHeader(request, basic('alice', `guess ${guess}`))), /^HTTP\/1\.1 407 /u); // eslint-disable-line no-await-in-loop
		took.push(performance.now() - before);
	}

	t.true(took[0]! >= 95 && took[1]! >= 195 && took[2]! >= 395, took.join(' '));
	const locked = await ask(t, running, withHeader(request, basic('alice', 'secret')));
	t.regex(locked, /^HTTP\/1\.1 429 .*\r\nRetry-After: (?:60|59)\r\n/su);
	t.regex(await ask(t, running, withHeader(request, basic('alice', 'secret')), '127.0.0.2'), /^HTTP\/1\.1 200 /u);
	t.is(running.tunnels.stats().wrongCredentials, 3);
});

test.serial('guessing on a hundred connections at once is no faster', async t => {
	const {running, request} = await start(t, {users: {alice: await hashPassword('secret')}, maxFailures: 5});
	const answers = await Promise.all(Array.from({length: 100}, async (_, index) => {
		const client = await dial(t, running.port);
		client.write(withHeader(request, basic('alice', index === 99 ? 'secret' : `guess ${index}`)));
		return readTextToEnd(client);
	}));
	t.is(answers.filter(answer => answer.startsWith('HTTP/1.1 407 ')).length, 5);
	t.is(answers.filter(answer => answer.startsWith('HTTP/1.1 429 ')).length, 95);
	t.is(running.tunnels.stats().wrongCredentials, 5);
});

test.serial('a client that leaves while its answer is delayed leaves nothing behind', async t => {
	const {running, request} = await start(t, {users: {alice: 'secret'}});
	const client = await dial(t, running.port);
	client.write(withHeader(request, basic('alice', 'wrong')));
	await until('the guess is counted', () => running.tunnels.stats().wrongCredentials === 1);
	const closed = once(client, 'close');
	client.resetAndDestroy();
	await closed;
	t.is(running.tunnels.stats().open, 0);
});
