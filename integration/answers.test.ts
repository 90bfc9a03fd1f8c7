import test from 'ava';
import type {Options} from '../plugin/index.ts';
import {ask, errorOf} from './asking.ts';
import {connectRequest} from './ends.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxy} from './proxy.ts';
import {echo, startUpstream} from './upstream.ts';
import {
	dial, readHead, readText, readTextToEnd,
} from './wire.ts';

// What is answered instead of a tunnel is none of an engine's business: these tests are not repeated for each.

nothingIsLeft();

test.serial('every refusal names its reason in Proxy-Status, and is counted by it', async t => {
	const running = await startProxy(t, {
		engine: 'stream',
		allow: ['*:443', '127.0.0.1:1'],
		onRequest({host}) {
			if (host === 'throws.test') {
				throw new Error('no');
			}

			return host === 'gone.test' ? {status: 410} : undefined;
		},
		lookup(_hostname, _options, callback) {
			callback(Object.assign(new Error('no'), {code: 'ENOTFOUND'}), []);
		},
	});
	const expected = [
		['nonsense', 400, 'http_request_error'],
		['other.test:80', 403, 'http_request_denied'],
		['127.0.0.1:443', 403, 'destination_ip_prohibited'],
		['unknown.test:443', 502, 'dns_error'],
		['127.0.0.1:1', 502, 'connection_refused'],
		['throws.test:443', 500, 'proxy_internal_error'],
		['gone.test:443', 410, 'proxy_internal_response'],
	] as const;
	for (const [target, status, error] of expected) {
		const answer = await ask(t, running, `CONNECT ${target} HTTP/1.1\r\n\r\n`.replace('\r\n\r\n', '\r\nHost: a\r\n\r\n')); // eslint-disable-line no-await-in-loop
		t.true(answer.startsWith(`HTTP/1.1 ${status} `), `${answer}`);
		t.is(errorOf(answer), error);
		t.is(running.tunnels.stats().rejectedFor[error], 1);
	}
});

test.serial('onRequest refuses with any status, headers and body, but not with more than one answer', async t => {
	const running = await startProxy(t, {
		engine: 'stream',
		allow: ['*:443'],
		onRequest: async () => ({status: 451, headers: {Link: ['<a>', '<b>'], 'content-length': '5000', 'Transfer-Encoding': 'chunked', 'Content-Type': 'text/html'}, body: '<h1>nö</h1>'}),
	});
	const answer = await ask(t, running, connectRequest(443, 'a.test'));
	t.regex(answer, /^HTTP\/1\.1 451 Unavailable For Legal Reasons\r\n/u);
	t.regex(answer, /\r\nLink: <a>\r\nLink: <b>\r\n/u);
	t.is([...answer.matchAll(/content-length/giu)].length, 1);
	t.notRegex(answer, /transfer-encoding/iu);
	t.true(answer.endsWith('\r\nContent-Length: 12\r\nConnection: close\r\n\r\n<h1>nö</h1>'), `${answer}`);
});

for (const [title, reaction] of Object.entries({
	'a 2xx, which would be a tunnel': {status: 200},
	'a 1xx': {status: 101},
	'no status': {status: Number.NaN},
	'a header that is two': {status: 403, headers: {'X-A': 'a\r\nX-B: b'}},
	'a header whose name is two': {status: 403, headers: {'X-A: a\r\nX-B': 'b'}},
	'a target that is none': {target: 'nowhere'},
	'a target with a port that is none': {target: {host: 'a.test', port: 0}},
})) {
	test.serial(`500 where onRequest answers ${title}`, async t => {
		const running = await startProxy(t, {engine: 'stream', allow: ['*:443'], onRequest: () => reaction});
		const answer = await ask(t, running, connectRequest(443, 'a.test'));
		t.regex(answer, /^HTTP\/1\.1 500 /u);
		t.notRegex(answer, /^X-B/mu);
	});
}

test.serial('onRequest sends elsewhere, and the rules are asked about that', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	let {port} = upstream;
	const onRequest: Options['onRequest'] = () => ({target: `127.0.0.1:${port}`});
	const running = await startProxy(t, {engine: 'stream', allow: [`127.0.0.1:${upstream.port}`], onRequest});
	const client = await dial(t, running.port);
	client.write(connectRequest(443, 'elsewhere.test'));
	t.regex(await readHead(client), /^HTTP\/1\.1 200 /u);
	const tunnel = await running.tunnelOf(client);
	t.deepEqual(tunnel.target, {host: '127.0.0.1', port});
	client.write('ping');
	t.is(await readText(client, 4), 'ping');
	client.destroy();

	port = 1;
	t.regex(await ask(t, running, connectRequest(443, 'elsewhere.test')), /^HTTP\/1\.1 403 /u);
});

test.serial('a client of HTTP/1.0 without a Host has its tunnel', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const running = await startProxy(t, {engine: 'stream', allow: [`127.0.0.1:${upstream.port}`]});
	const client = await dial(t, running.port);
	client.end(`CONNECT 127.0.0.1:${upstream.port} HTTP/1.0\r\nProxy-Connection: keep-alive\r\nUser-Agent: old\r\n\r\nearly`);
	t.is(await readHead(client), 'HTTP/1.1 200 Connection Established\r\n\r\n');
	t.is(await readTextToEnd(client), 'early');
});

test.serial('framing headers of a CONNECT do not frame: what follows is of the tunnel', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const running = await startProxy(t, {engine: 'stream', allow: [`127.0.0.1:${upstream.port}`]});
	for (const header of ['Content-Length: 3', 'Transfer-Encoding: chunked']) {
		const client = await dial(t, running.port); // eslint-disable-line no-await-in-loop
		client.end(connectRequest(upstream.port).replace('\r\n\r\n', `\r\n${header}\r\n\r\n3\r\nabc\r\n0\r\n\r\n`));
		await readHead(client); // eslint-disable-line no-await-in-loop
		t.is(await readTextToEnd(client), '3\r\nabc\r\n0\r\n\r\n', `${header}`); // eslint-disable-line no-await-in-loop
	}
});

test.serial('what is pipelined behind a refused CONNECT is not answered', async t => {
	const running = await startProxy(t, {engine: 'stream'});
	const client = await dial(t, running.port);
	client.write(`${connectRequest(443, 'a.test')}${connectRequest(443, 'b.test')}GET http://c.test/ HTTP/1.1\r\nHost: c.test\r\n\r\n${'\u0000\r\n'.repeat(10_000)}`);
	const answers = await readTextToEnd(client);
	t.is([...answers.matchAll(/HTTP\/1\.1 /gu)].length, 1);
	t.deepEqual(running.tunnels.stats().rejected, {403: 1});
});

test.serial('a huge target is refused without being repeated', async t => {
	const running = await startProxy(t, {engine: 'stream', allow: () => true});
	const answer = await ask(t, running, connectRequest(443, `${'a'.repeat(5000)}.test`));
	t.regex(answer, /^HTTP\/1\.1 400 /u);
	t.true(answer.length < 1000);
});
