import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import {createServer, type RequestListener} from 'node:http';
import type {AddressInfo} from 'node:net';
import process from 'node:process';
import test, {type ExecutionContext} from 'ava';
import type {Options} from '../plugin/index.ts';
import {errorOf} from './asking.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, same} from './pattern.ts';
import {startProxy} from './proxy.ts';
import {within} from './until.ts';
import {dial, readToEnd, textOf} from './wire.ts';

// What is forwarded is no tunnel, and no engine carries it.

nothingIsLeft();

async function start(t: ExecutionContext, listener: RequestListener, options: Options = {}) {
	const server = createServer(listener).listen(0, '127.0.0.1');
	await once(server, 'listening');
	t.teardown(async () => {
		server.close();
		server.closeAllConnections();
		await within('the origin is closed', once(server, 'close'));
	});
	const {port} = server.address() as AddressInfo;
	const running = await startProxy(t, {engine: 'stream', forward: true, allow: [`127.0.0.1:${port}`], ...options});
	return {running, origin: `127.0.0.1:${port}`, port};
}

async function send(t: ExecutionContext, port: number, request: string | Uint8Array): Promise<string> {
	const client = await dial(t, port);
	client.write(request); // Without a FIN: Node gives up requests of those who have sent one.
	return textOf(await within('the proxy answers', readToEnd(client)));
}

const withoutDates = (text: string) => text.replaceAll(/^Date: .*\r\n/gmu, '').replaceAll(/sockmap-[\da-f]{12}/gu, 'sockmap-id');

test.serial('a request with an absolute URL reaches its origin without what is about one connection, and without credentials', async t => {
	const seen: unknown[] = [];
	const {running, origin} = await start(t, (request, response) => {
		seen.push(request.method, request.url, request.headers);
		response.writeHead(203, 'Fine', [['Set-Cookie', 'a'], ['Set-Cookie', 'b'], ['Connection', 'X-Mine'], ['X-Mine', '1'], ['Proxy-Authenticate', 'Basic'], ['X-Yours', '2'], ['Content-Length', '2']].flat());
		response.end('ok');
	}, {users: {alice: 'secret'}});
	const answer = await send(t, running.port, [
		`GET http://${origin}/a/../b?c=%20 HTTP/1.1`,
		'Host: elsewhere.test',
		'Connection: close, X-Hop',
		'Proxy-Connection: keep-alive',
		'Keep-Alive: 5',
		`Proxy-Authorization: Basic ${Buffer.from('alice:secret').toString('base64')}`,
		'X-Hop: 1',
		'TE: trailers',
		'Upgrade: h2c',
		'X-End: 2',
		'X-End: 3',
		'Authorization: Bearer for-the-origin',
		'\r\n',
	].join('\r\n'));
	const [method, url, {via, ...headers}] = seen as [string, string, Record<string, string>];
	t.is(method, 'GET');
	t.is(url, '/a/../b?c=%20');
	t.deepEqual(headers, {host: origin, connection: 'close', 'x-end': '2, 3', authorization: 'Bearer for-the-origin'});
	t.regex(via!, /^1\.1 http-proxy-sockmap-[\da-f]{12}$/u);
	t.is(withoutDates(answer), 'HTTP/1.1 203 Fine\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX-Yours: 2\r\nContent-Length: 2\r\nVia: 1.1 http-proxy-sockmap-id\r\nConnection: close\r\n\r\nok');
});

for (const [method, framing] of [['POST', 'length'], ['POST', 'chunked'], ['DELETE', 'chunked']] as const) {
	test.serial(`a megabyte goes there and back by ${method}, framed by ${framing}`, async t => {
		const {running, origin} = await start(t, (request, response) => {
			request.pipe(response);
		});
		const body = pattern(7, 0, 1_000_000);
		const head = `${method} http://${origin}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n`;
		const client = await dial(t, running.port);
		client.write(framing === 'length' ? `${head}Content-Length: ${body.length}\r\n\r\n` : `${head}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`);
		client.write(body);
		if (framing === 'chunked') {
			client.write('\r\n0\r\n\r\n');
		}

		const answer = Buffer.from(await readToEnd(client));
		const received = dechunked(answer.subarray(answer.indexOf('\r\n\r\n') + 4));
		t.true(same(received, body));
	});
}

test.serial('what is asked of the proxy itself, or in a form that is not for it, is a bad request', async t => {
	const {running, port} = await start(t, (_request, response) => {
		t.fail('it reached the origin');
		response.end();
	}, {allow: () => true});
	for (const url of ['/', '*', 'https://127.0.0.1/', 'ftp://127.0.0.1/', `http://user@127.0.0.1:${port}/`, 'http:///', 'http://127.1/', 'http://127.0.0.1:0/', 'http://127.0.0.1:99999/', 'http://a b/']) {
		const answer = await send(t, running.port, `GET ${url} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`); // eslint-disable-line no-await-in-loop
		t.regex(answer, /^HTTP\/1\.1 400 /u, url);
	}
});

test.serial('the rules of CONNECT hold: credentials, clients, names, addresses, loops', async t => {
	const {running, port} = await start(t, (_request, response) => {
		response.end('reached');
	}, {allow: ['*:*', '127.0.0.3:*'], users: {alice: 'secret'}});
	const right = `Proxy-Authorization: Basic ${Buffer.from('alice:secret').toString('base64')}\r\n`;
	const ask = async (url: string, headers = right) => send(t, running.port, `GET ${url} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${headers}\r\n`);
	t.regex(await ask(`http://127.0.0.1:${port}/`, ''), /^HTTP\/1\.1 407 .*\r\nProxy-Authenticate: Basic realm="proxy", charset="UTF-8"\r\n/su);
	t.is(errorOf(await ask(`http://127.0.0.1:${port}/`)), 'destination_ip_prohibited');
	t.is(errorOf(await ask(`http://[::ffff:127.0.0.1]:${port}/`)), 'destination_ip_prohibited');
	t.is(errorOf(await ask('http://127.0.0.3:1/')), 'connection_refused');
	t.deepEqual(running.tunnels.stats().rejected, {403: 2, 407: 1, 502: 1});
});

test.serial('a request that comes back to the proxy is refused', async t => {
	const {running, origin} = await start(t, (request, response) => {
		response.end(request.headers.via);
	});
	const via = /http-proxy-sockmap-[\da-f]{12}$/u.exec(await send(t, running.port, `GET http://${origin}/ HTTP/1.0\r\n\r\n`))![0];
	t.is(errorOf(await send(t, running.port, `GET http://${origin}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nVia: 1.1 other, 1.1 ${via}\r\n\r\n`)), 'proxy_loop_detected');
});

test.serial('an origin that hangs up instead of answering is a 502, and one that does so midway ends the response', async t => {
	const {running, origin} = await start(t, ({url}, response) => {
		if (url === '/midway') {
			response.writeHead(200, {'Content-Length': 100});
			response.write('half');
			response.once('close', () => undefined);
			setImmediate(() => {
				response.destroy();
			});
		} else {
			response.destroy();
		}
	});
	t.is(errorOf(await send(t, running.port, `GET http://${origin}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)), 'connection_terminated');
	const client = await dial(t, running.port);
	client.write(`GET http://${origin}/midway HTTP/1.1\r\nHost: a\r\n\r\n`);
	const ended = await Promise.allSettled([within('the response is over', readToEnd(client))]);
	t.is(ended.length, 1);
});

test.serial('two requests on one connection go to two origins', async t => {
	const one = await start(t, (_request, response) => {
		response.end('one');
	});
	const two = createServer((_request, response) => {
		response.end('two');
	}).listen(0, '127.0.0.2');
	await once(two, 'listening');
	t.teardown(() => {
		two.close();
	});
	const origin = `127.0.0.2:${(two.address() as AddressInfo).port}`;
	const running = await startProxy(t, {engine: 'stream', forward: true, allow: [one.origin, origin]});
	const answer = await send(t, running.port, `GET http://${one.origin}/ HTTP/1.1\r\nHost: a\r\n\r\nGET http://${origin}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
	t.regex(answer, /one.*two/su);
});

test.serial('many requests that one client has pipelined are all answered, and warned of by nobody', async t => {
	const {running, origin} = await start(t, (_request, response) => {
		response.end('answered');
	});
	const warnings: Error[] = [];
	const onWarning = (warning: Error) => {
		warnings.push(warning);
	};

	process.on('warning', onWarning);
	t.teardown(() => {
		process.off('warning', onWarning);
	});
	const request = (connection: string) => `GET http://${origin}/ HTTP/1.1\r\nHost: a\r\nConnection: ${connection}\r\n\r\n`;
	const answer = await send(t, running.port, request('keep-alive').repeat(29) + request('close'));
	t.is(answer.match(/answered/gu)?.length, 30);
	t.deepEqual(warnings, []);
});

function dechunked(body: Uint8Array): Uint8Array {
	const chunks: Uint8Array[] = [];
	for (let rest = Buffer.from(body); rest.length > 0;) {
		const line = rest.indexOf('\r\n');
		const length = Number.parseInt(rest.toString('latin1', 0, line), 16);
		chunks.push(rest.subarray(line + 2, line + 2 + length));
		rest = rest.subarray(line + 2 + length + 2);
	}

	return Buffer.concat(chunks);
}

test.serial('a client that expects 100 gets it, and its body arrives', async t => {
	const seen: unknown[] = [];
	const {running, origin} = await start(t, async (request, response) => {
		let body = '';
		for await (const chunk of request) {
			body += String(chunk);
		}

		seen.push(request.headers.via?.startsWith('1.1 http-proxy-sockmap-'), request.headers.connection, body);
		response.end('ok');
	});
	const answer = await send(t, running.port, `POST http://${origin}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello`);
	t.regex(answer, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/u);
	t.deepEqual(seen, [true, 'close', 'hello']);
});
