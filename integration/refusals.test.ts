import dns from 'node:dns';
import {once} from 'node:events';
import net, {type AddressInfo} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {startDeafListener} from './deaf.ts';
import {connectRequest} from './ends.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxy, type RunningProxy} from './proxy.ts';
import {closed, until, within} from './until.ts';
import {echo, startUpstream} from './upstream.ts';
import {
	dial, readHead, readText, readTextToEnd,
} from './wire.ts';

// What is refused never reaches an engine: these tests are not repeated for each.

nothingIsLeft();

const malformed = [
	...`localhost localhost: :443 : * / /path localhost/path http://localhost:80 http://localhost:80/ localhost:80/ localhost:80/path
		localhost:80?query localhost:80#fragment user@localhost:80 user:password@localhost:80
		localhost:0 localhost:-1 localhost:+80 localhost:65536 localhost:99999999999999999999 localhost:http localhost:0x50 localhost:8e1 localhost:80.0
		localhost:80:80 localhost::80 [::1] [::1]: [::1 [::1:443 ::1]:443 ::1:443 ::1 []:443 [::g]:443 [::1]443 [[::1]]:443 [::1]:443/ [127.0.0.1]:80
		[localhost]:80 [1:2:3:4:5:6:7:8:9]:80 local<host>:80 local"host:80 local\\host:80`.split(/\s+/u),
	'',
	'local host:80',
	'localhost\t:80',
	'local\u0000host:80',
	'local\u007Fhost:80',
	'localhost:80\u0001',
];

for (const target of malformed) {
	test.serial(`400 for the malformed target ${JSON.stringify(target)}`, async t => {
		const running = await startProxy(t, {engine: 'stream', allow: () => true});
		const answer = await ask(t, running, `CONNECT ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
		t.regex(answer, /^HTTP\/1\.1 400 /u);
		t.is(running.tunnels.stats().opened, 0);
	});
}

test.serial('403 for every target by default', async t => {
	const upstream = await startUpstream(t);
	const running = await startProxy(t, {engine: 'stream'});
	t.regex(await ask(t, running, connectRequest(upstream.port)), /^HTTP\/1\.1 403 /u);
	t.is(upstream.open(), 0);
});

test.serial('403 for a target that the list does not name: another port, another host, a longer name', async t => {
	const upstream = await startUpstream(t);
	const running = await startProxy(t, {engine: 'stream', allow: [`127.0.0.1:${upstream.port}`]});
	for (const [host, port] of [['127.0.0.1', upstream.port - 1], ['localhost', upstream.port], ['127.0.0.1.example.test', upstream.port], ['[::1]', upstream.port]] as const) {
		t.regex(await ask(t, running, connectRequest(port, host)), /^HTTP\/1\.1 403 /u, `${host}:${port}`); // eslint-disable-line no-await-in-loop
	}

	t.is(upstream.open(), 0);
});

test.serial('403 where the function says no, late or by throwing', async t => {
	const upstream = await startUpstream(t);
	for (const allow of [() => false, async () => false, () => {
		throw new Error('no');
	}, async () => {
		throw new Error('no');
	}]) {
		const running = await startProxy(t, {engine: 'stream', allow}); // eslint-disable-line no-await-in-loop
		t.regex(await ask(t, running, connectRequest(upstream.port)), /^HTTP\/1\.1 (?:403|500) /u); // eslint-disable-line no-await-in-loop
	}

	t.is(upstream.open(), 0);
});

test.serial('the function that allows a target is given the target and the request', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const seen: unknown[] = [];
	const running = await startProxy(t, {
		engine: 'stream',
		async allow(target, request) {
			seen.push(target.host, target.port, request.method, request.headers['x-token']);
			return true;
		},
	});
	t.regex(await ask(t, running, connectRequest(upstream.port).replace('\r\n\r\n', '\r\nX-Token: secret\r\n\r\n')), /^HTTP\/1\.1 200 /u);
	t.deepEqual(seen, ['127.0.0.1', upstream.port, 'CONNECT', 'secret']);
});

test.serial('502 when the connection is refused', async t => {
	const running = await startProxy(t, {engine: 'stream', allow: () => true});
	const answer = await ask(t, running, connectRequest(await portOfNobody()));
	t.regex(answer, /^HTTP\/1\.1 502 /u);
	t.regex(answer, /ECONNREFUSED|refused/iu);
});

test.serial('502 when the host is unknown', async t => {
	const running = await startProxy(t, {engine: 'stream', allow: () => true});
	const {lookup} = dns;
	t.teardown(() => {
		dns.lookup = lookup;
	});
	// The name server that this machine asks is none of the test's business.
	dns.lookup = ((hostname: string, _options: unknown, callback: (error: Error) => void) => {
		callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), {code: 'ENOTFOUND', syscall: 'getaddrinfo'}));
	}) as typeof lookup;
	const answer = await ask(t, running, connectRequest(443, 'unknown.invalid'));
	t.regex(answer, /^HTTP\/1\.1 502 /u);
	t.regex(answer, /unknown\.invalid/u);
});

test.serial('502 when the name is none that could be looked up', async t => {
	const running = await startProxy(t, {engine: 'stream', allow: () => true});
	t.regex(await ask(t, running, connectRequest(443, 'xn--0.invalid')), /^HTTP\/1\.1 502 /u);
});

test.serial('504 when the target does not answer in time', async t => {
	const port = await startDeafListener(t);
	const running = await startProxy(t, {engine: 'stream', allow: () => true, connectTimeout: 200});
	t.regex(await ask(t, running, connectRequest(port)), /^HTTP\/1\.1 504 /u);
});

test.serial('a client that goes while its target is being dialled leaves nothing behind', async t => {
	const port = await startDeafListener(t);
	const running = await startProxy(t, {engine: 'stream', allow: () => true, connectTimeout: 60_000});
	const accepted = once(running.server, 'connect') as Promise<[unknown, net.Socket]>;
	const client = await dial(t, running.port);
	client.write(connectRequest(port));
	const [, socket] = await within('the CONNECT is there', accepted);
	const gone = closed(socket);
	client.resetAndDestroy();
	await within('the proxy lets go of the client long before the dial times out', gone, 5000);
	t.is(running.tunnels.stats().open, 0);
});

test.serial('a client that went before it was allowed is not dialled for', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const gates: Array<() => void> = [];
	const running = await startProxy(t, {
		engine: 'stream',
		async allow() {
			await new Promise<void>(resolve => {
				gates.push(resolve);
			});
			return true;
		},
	});
	const accepted = once(running.server, 'connect') as Promise<[unknown, net.Socket]>;
	const client = await dial(t, running.port);
	client.write(connectRequest(upstream.port));
	const [, socket] = await accepted;
	await until('the function is asked', () => gates.length === 1);
	const gone = closed(socket);
	client.resetAndDestroy();
	await within('the proxy sees that the client is gone', gone);
	gates[0]!();

	// The next one passes, and is the only connection that the upstream is left with.
	const next = await dial(t, running.port);
	next.write(connectRequest(upstream.port));
	await until('the function is asked again', () => gates.length === 2);
	gates[1]!();
	t.regex(await readHead(next), /^HTTP\/1\.1 200 /u);
	next.write('ping');
	t.is(await readText(next, 4), 'ping');
	t.is(upstream.open(), 1);
});

/** The whole answer to a request, as text. A tunnel that opens is closed. */
async function ask(t: ExecutionContext, running: RunningProxy, request: string): Promise<string> {
	const client = await dial(t, running.port);
	client.write(request, 'latin1');
	const head = await within('the proxy answers', readHead(client));
	if (head.startsWith('HTTP/1.1 200 ')) {
		client.end();
		return head;
	}

	t.regex(head, /^HTTP\/1\.1 \d{3} [A-Z]/u, 'the status has a reason');
	const body = await within('the proxy closes after a refusal', readTextToEnd(client));
	client.end();
	return head + body;
}

async function portOfNobody(): Promise<number> {
	const server = net.createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const {port} = server.address() as AddressInfo;
	server.close();
	await once(server, 'close');
	return port;
}
