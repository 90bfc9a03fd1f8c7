import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import type {IncomingMessage} from 'node:http';
import https from 'node:https';
import net, {type AddressInfo} from 'node:net';
import type {Duplex} from 'node:stream';
import test, {type ExecutionContext} from 'ava';
import {sockmap, type Options, type Tunnels} from '../plugin/index.ts';
import {ask, errorOf} from './asking.ts';
import {selfSigned} from './certificate.ts';
import {connectRequest} from './ends.ts';
import {assertCarriedBy, onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxy, type RunningProxy} from './proxy.ts';
import {within} from './until.ts';
import {echo, startUpstream} from './upstream.ts';
import {
	dial, ignore, read, readHead, readText, readTextToEnd,
} from './wire.ts';

nothingIsLeft();

onEachEngine('a tunnel goes through a next proxy, with credentials, by that proxy\'s engine and ours', async (t, engine) => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const next = await startProxy(t, {engine, allow: [`127.0.0.1:${upstream.port}`], users: {'us@here': 'p:/ss'}});
	const running = await startProxy(t, {engine, allow: [`127.0.0.1:${upstream.port}`], upstreamProxy: `http://us%40here:p%3A%2Fss@127.0.0.1:${next.port}`});
	await passes(t, running, upstream.port, engine);
	t.is(next.tunnels.stats().closed + next.tunnels.stats().open, 1);
});

for (const protocol of ['socks5', 'socks5h', 'socks4a']) {
	onEachEngine(`a tunnel goes through a ${protocol} proxy`, async (t, engine) => {
		const upstream = await startUpstream(t, {onConnection: echo});
		const socks = await startSocks(t);
		const running = await startProxy(t, {
			engine, allow: ['localhost:*'], upstreamProxy: `${protocol}://us:secret@127.0.0.1:${socks.port}`,
			lookup(_hostname, _options, callback) {
				callback(null, [{address: '127.0.0.1', family: 4}]);
			},
		});
		await passes(t, running, upstream.port, engine, 'localhost');
		const {port} = upstream;
		t.deepEqual(socks.asked, [protocol === 'socks5' ? `us:secret 127.0.0.1:${port}` : (protocol === 'socks5h' ? `us:secret localhost:${port}` : `us localhost:${port}`)]);
	});
}

test.serial('through a proxy that is met by TLS, the tunnel stays in JavaScript and says so', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const certificate = await selfSigned();
	const next = await startTlsProxy(t, certificate, {allow: [`127.0.0.1:${upstream.port}`]});
	const running = await startProxy(t, {
		engine: 'auto', allow: [`127.0.0.1:${upstream.port}`], upstreamProxy: {url: `https://127.0.0.1:${next.port}`, tls: {ca: certificate.cert}},
	});
	const tunnel = await passes(t, running, upstream.port, 'stream');
	t.true(tunnel.skipped.length > 0);
	t.true(tunnel.skipped.every(({reason}) => reason.includes('TLS')), JSON.stringify(tunnel.skipped));

	// A certificate that nobody vouches for is none.
	const wary = await startProxy(t, {engine: 'auto', allow: [`127.0.0.1:${upstream.port}`], upstreamProxy: `https://127.0.0.1:${next.port}`});
	t.is(errorOf(await ask(t, wary, connectRequest(upstream.port))), 'tls_certificate_error');
});

test.serial('a chain is gone through in its order, each with its protocol', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const certificate = await selfSigned();
	const last = await startTlsProxy(t, certificate, {allow: [`127.0.0.1:${upstream.port}`]});
	const second = await startProxy(t, {engine: 'auto', allow: [`127.0.0.1:${last.port}`]});
	const first = await startSocks(t);
	const running = await startProxy(t, {
		engine: 'auto', allow: [`127.0.0.1:${upstream.port}`],
		upstreamProxy: async () => [`socks5h://127.0.0.1:${first.port}`, new URL(`http://127.0.0.1:${second.port}`), {url: `https://127.0.0.1:${last.port}`, tls: {ca: certificate.cert}}],
	});
	await passes(t, running, upstream.port, 'stream');
	t.deepEqual(first.asked, [`127.0.0.1:${second.port}`]);
	t.is(second.tunnels.stats().opened, 1);
	t.is(last.tunnels.stats().opened, 1);
});

test.serial('a function chooses the next proxy for each request, or none', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const next = await startProxy(t, {engine: 'auto', allow: [`127.0.0.1:${upstream.port}`]});
	const running = await startProxy(t, {
		engine: 'auto', allow: [`127.0.0.1:${upstream.port}`],
		upstreamProxy: ({headers}) => headers['x-direct'] === undefined ? `http://127.0.0.1:${next.port}` : undefined,
	});
	await ask(t, running, connectRequest(upstream.port).replace('\r\n\r\n', '\r\nX-Direct: 1\r\n\r\n'));
	t.is(next.tunnels.stats().opened, 0);
	await ask(t, running, connectRequest(upstream.port));
	t.is(next.tunnels.stats().opened, 1);
});

const answers: ReadonlyArray<readonly [string, number, string]> = [
	['HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n', 502, 'proxy_configuration_error'],
	['HTTP/1.1 403 Forbidden\r\nProxy-Status: next; error=destination_ip_prohibited\r\n\r\n', 403, 'http_request_denied'],
	['HTTP/1.0 503 Busy\r\n\r\n', 503, 'destination_unavailable'],
	['HTTP/1.1 504 Late\r\n\r\n', 504, 'connection_timeout'],
	['HTTP/1.1 302 Elsewhere\r\nLocation: /\r\n\r\n', 502, 'http_protocol_error'],
	['HTTP/1.1 101 Switching\r\n\r\n', 502, 'http_protocol_error'],
	['SSH-2.0-OpenSSH\r\n\r\n', 502, 'http_protocol_error'],
	['HTTP/1.1 100', 502, 'connection_terminated'],
	['', 502, 'connection_terminated'],
	[`HTTP/1.1 200 ${'x'.repeat(100_000)}`, 502, 'http_protocol_error'],
];

for (const [line, status, error] of answers) {
	test.serial(`a next proxy that says ${JSON.stringify(line.slice(0, 30))} makes it ${status} ${error}`, async t => {
		const next = await startUpstream(t, {
			onConnection(socket) {
				socket.resume();
				socket.end(line);
			},
		});
		const running = await startProxy(t, {engine: 'auto', allow: ['a.test:443'], upstreamProxy: `http://us:secret@127.0.0.1:${next.port}`});
		const answer = await ask(t, running, connectRequest(443, 'a.test'));
		t.true(answer.startsWith(`HTTP/1.1 ${status} `), answer.slice(0, 500));
		t.is(errorOf(answer), error);
		t.notRegex(answer, /secret|proxy-authenticate/iu);
		if (line.includes('Proxy-Status')) {
			t.regex(answer, /^Proxy-Status: next; error=destination_ip_prohibited, http-proxy-sockmap; error=http_request_denied; received-status=403\r$/mu);
		}
	});
}

test.serial('what the target says together with the answer of the next proxy is not lost', async t => {
	const next = await startUpstream(t, {
		onConnection(socket) {
			socket.resume();
			socket.write('HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello');
		},
	});
	const running = await startProxy(t, {engine: 'auto', allow: ['a.test:443'], upstreamProxy: `http://127.0.0.1:${next.port}`});
	const client = await dial(t, running.port);
	client.write(connectRequest(443, 'a.test'));
	t.is(await readHead(client), 'HTTP/1.1 200 Connection Established\r\n\r\n');
	t.is(await readText(client, 5), 'hello');
});

test.serial('a next proxy that does not answer is waited for as long as a target', async t => {
	const next = await startUpstream(t);
	const running = await startProxy(t, {engine: 'auto', allow: ['a.test:443'], connectTimeout: 100, upstreamProxy: [`socks5h://127.0.0.1:${next.port}`]});
	t.is(errorOf(await ask(t, running, connectRequest(443, 'a.test'))), 'connection_timeout');
});

test.serial('rules hold for what goes through a next proxy too', async t => {
	const next = await startUpstream(t);
	const options: Options = {engine: 'auto', allow: ['*:443'], lookup(_hostname, _options, callback) {
		callback(null, [{address: '10.0.0.1', family: 4}]);
	}};
	const running = await startProxy(t, {...options, upstreamProxy: `http://127.0.0.1:${next.port}`});
	t.is(errorOf(await ask(t, running, connectRequest(443, '10.0.0.1'))), 'destination_ip_prohibited');
	t.is(errorOf(await ask(t, running, connectRequest(80, 'a.test'))), 'http_request_denied');
	const resolving = await startProxy(t, {...options, upstreamProxy: `socks5://127.0.0.1:${next.port}`});
	t.is(errorOf(await ask(t, resolving, connectRequest(443, 'a.test'))), 'destination_ip_prohibited');
	t.is(next.open(), 0);
});

test.serial('a refusal of a SOCKS proxy is passed on', async t => {
	for (const [code, status, error] of [[2, 403, 'http_request_denied'], [5, 502, 'connection_refused'], [4, 502, 'destination_ip_unroutable'], [6, 504, 'connection_timeout']] as const) {
		const socks = await startSocks(t, code); // eslint-disable-line no-await-in-loop
		const running = await startProxy(t, {engine: 'auto', allow: ['a.test:443'], upstreamProxy: `socks5h://127.0.0.1:${socks.port}`}); // eslint-disable-line no-await-in-loop
		const answer = await ask(t, running, connectRequest(443, 'a.test')); // eslint-disable-line no-await-in-loop
		t.true(answer.startsWith(`HTTP/1.1 ${status} `), `${answer}`);
		t.is(errorOf(answer), error);
	}
});

async function passes(t: ExecutionContext, running: RunningProxy, port: number, engine: Carrier, host = '127.0.0.1') { // eslint-disable-line max-params
	const client = await dial(t, running.port);
	client.write(`${connectRequest(port, host)}early`);
	const head = await readHead(client);
	t.is(head, 'HTTP/1.1 200 Connection Established\r\n\r\n');
	t.is(await readText(client, 5), 'early');
	const tunnel = await running.tunnelOf(client);
	for (let round = 0; round < 20; round++) {
		client.write(`round ${round}\n`);
		await readText(client, `round ${round}\n`.length); // eslint-disable-line no-await-in-loop
	}

	client.end('last');
	t.is(await readTextToEnd(client), 'last');
	assertCarriedBy(t, engine, await running.closeOf(tunnel));
	return tunnel;
}

async function startTlsProxy(t: ExecutionContext, certificate: {readonly key: string; readonly cert: string}, options: Options): Promise<{readonly port: number; readonly tunnels: Tunnels}> {
	const tunnels = sockmap(undefined, options);
	const server = https.createServer(certificate).listen(0, '127.0.0.1');
	server.on('connect', async (request: IncomingMessage, socket: Duplex, head) => {
		await tunnels.connect(request, socket, head);
	});
	server.on('tlsClientError', ignore);
	await once(server, 'listening');
	t.teardown(async () => {
		server.close();
		await tunnels.close({timeout: 500});
		server.closeAllConnections();
	});
	return {port: (server.address() as AddressInfo).port, tunnels};
}

/** A SOCKS server of a hundred lines less than a real one: versions 5 and 4a, CONNECT only. `refusal` is what it answers instead of dialling. */
async function startSocks(t: ExecutionContext, refusal = 0): Promise<{readonly port: number; readonly asked: readonly string[]}> {
	const asked: string[] = [];
	const sockets = new Set<net.Socket>();
	const server = net.createServer({allowHalfOpen: true}, async socket => {
		sockets.add(socket);
		socket.on('error', ignore);
		const next = async (length: number) => Buffer.from(await read(socket, length));
		const readToZero = async () => {
			let text = '';
			for (let byte; (byte = await readText(socket, 1)) !== '\0';) { // eslint-disable-line no-await-in-loop
				text += byte;
			}

			return text;
		};

		try {
			const [version, count] = await next(2) as unknown as [number, number];
			let [user, host, port] = ['', '', 0];
			if (version === 5) {
				const methods = await next(count);
				const wantsUser = methods.includes(2);
				socket.write(Buffer.from([5, wantsUser ? 2 : 0]));
				if (wantsUser) {
					const [, nameLength] = await next(2) as unknown as [number, number];
					const name = await readText(socket, nameLength);
					const [passwordLength] = await next(1) as unknown as [number];
					user = `${name}:${await readText(socket, passwordLength)} `;
					socket.write(Buffer.from([1, 0]));
				}

				const kind = (await next(4) as unknown as [number, number, number, number])[3];
				if (kind === 1) {
					host = [...await next(4)].join('.');
				} else {
					const [length] = await next(1) as unknown as [number];
					host = await readText(socket, length);
				}

				port = (await next(2)).readUInt16BE(); // eslint-disable-line unicorn/no-await-expression-member
			} else {
				port = (await next(2)).readUInt16BE(); // eslint-disable-line unicorn/no-await-expression-member
				await next(4);
				user = `${await readToZero()} `;
				host = await readToZero();
			}

			asked.push(`${user}${host}:${port}`);
			const answer = version === 5 ? [5, refusal, 0, 1, 0, 0, 0, 0, 0, 0] : [0, 90, 0, 0, 0, 0, 0, 0];
			if (refusal > 0) {
				socket.end(Buffer.from(answer));
				return;
			}

			const upstream = net.connect({host: host === 'localhost' ? '127.0.0.1' : host, port, allowHalfOpen: true});
			sockets.add(upstream);
			upstream.on('error', ignore);
			await once(upstream, 'connect');
			socket.write(Buffer.from(answer));
			socket.pipe(upstream).pipe(socket);
		} catch {
			socket.destroy(); // Gone before it was done.
		}
	}).listen(0, '127.0.0.1');
	await once(server, 'listening');
	t.teardown(async () => {
		for (const socket of sockets) {
			socket.destroy();
		}

		server.close();
		await within('the SOCKS server is closed', once(server, 'close'));
	});
	return {port: (server.address() as AddressInfo).port, asked};
}
