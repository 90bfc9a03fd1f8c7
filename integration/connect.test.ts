import {Buffer} from 'node:buffer';
import {execFile, spawn} from 'node:child_process';
import {once} from 'node:events';
import https from 'node:https';
import type {AddressInfo} from 'node:net';
import tls from 'node:tls';
import {promisify} from 'node:util';
import type {ExecutionContext} from 'ava';
import type {TunnelStats} from '../plugin/index.ts';
import {selfSigned} from './certificate.ts';
import {startEnds, connectRequest} from './ends.ts';
import {assertCarriedBy, onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, PatternReader, same} from './pattern.ts';
import {startProxy, type RunningProxy} from './proxy.ts';
import {within} from './until.ts';
import {echo, startUpstream} from './upstream.ts';
import {
	dial, readHead, readText, readTextToEnd,
} from './wire.ts';

nothingIsLeft();

onEachEngine('a TLS session of Node passes through CONNECT byte for byte, both ways at once', async (t, engine) => {
	const {port} = await startTlsEcho(t);
	const running = await startProxy(t, {engine, allow: [`127.0.0.1:${port}`]});
	const socket = await dial(t, running.port);
	socket.write(connectRequest(port));
	await readHead(socket);
	const session = tls.connect({socket, rejectUnauthorized: false});
	await within('the TLS session is up', once(session, 'secureConnect'));

	const total = 8_000_000;
	const reader = new PatternReader(99);
	session.on('data', (chunk: Uint8Array) => {
		reader.take(chunk);
	});
	for (let sent = 0; sent < total; sent += 100_000) {
		if (!session.write(pattern(99, sent, 100_000))) {
			await once(session, 'drain'); // eslint-disable-line no-await-in-loop
		}
	}

	const tunnel = await running.tunnelOf(socket);
	session.end();
	await within('the TLS session has ended', once(session, 'end'));
	t.is(reader.received, total);
	socket.end();
	const stats = await running.closeOf(tunnel);
	t.true(stats.clientToUpstream.bytes > total && stats.upstreamToClient.bytes > total);
	assertCarriedBy(t, engine, stats);
});

onEachEngine('curl fetches https:// through it and posts a megabyte', async (t, engine) => {
	const {port} = await startHttps(t);
	const running = await startProxy(t, {engine, allow: [`localhost:${port}`]});
	const statistics = nextClose(running);
	const curl = promisify(execFile)('curl', [
		'--silent',
		'--show-error',
		'--insecure',
		'--noproxy',
		'',
		'--max-time',
		'20',
		'--proxy',
		`http://127.0.0.1:${running.port}`,
		'--data-binary',
		'@-',
		`https://localhost:${port}/`,
	], {encoding: 'buffer', maxBuffer: 4_000_000});
	curl.child.stdin!.end(pattern(4, 0, 1_000_000));
	const {stdout} = await curl;
	t.true(same(stdout, pattern(4, 0, 1_000_000)));
	assertCarriedBy(t, engine, await statistics);
});

onEachEngine('openssl s_client -proxy talks through it line by line', async (t, engine) => {
	const {port} = await startTlsEcho(t);
	const running = await startProxy(t, {engine, allow: [`127.0.0.1:${port}`]});
	const statistics = nextClose(running);
	const client = spawn('openssl', ['s_client', '-quiet', '-proxy', `127.0.0.1:${running.port}`, '-connect', `127.0.0.1:${port}`], {stdio: ['pipe', 'pipe', 'ignore']});
	t.teardown(() => {
		client.kill();
	});
	let seen = '';
	client.stdout.setEncoding('latin1').on('data', (chunk: string) => {
		seen += chunk;
	});
	for (const line of ['first line\n', `${'x'.repeat(30_000)}\n`, 'last line\n']) {
		client.stdin.write(line);
		while (!seen.endsWith(line)) {
			await within('the line is echoed', once(client.stdout, 'data')); // eslint-disable-line no-await-in-loop
		}
	}

	client.kill();
	await once(client, 'close');
	t.is(seen.length, 11 + 30_001 + 10);
	assertCarriedBy(t, engine, await statistics);
});

onEachEngine('the 200 has no header that would frame a body', async (t, engine) => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const running = await startProxy(t, {engine, allow: [`127.0.0.1:${upstream.port}`]});
	const client = await dial(t, running.port);
	client.write(connectRequest(upstream.port));
	const head = await readHead(client);
	t.true(head.startsWith('HTTP/1.1 200 Connection Established\r\n'), head);
	t.notRegex(head, /content-length|transfer-encoding/iu);
	client.end('echo');
	t.is(await readTextToEnd(client), 'echo');
});

onEachEngine('an IPv6 target is written in brackets', async (t, engine) => {
	const upstream = await startUpstream(t, {host: '::1', onConnection: echo});
	const running = await startProxy(t, {engine, allow: [`[::1]:${upstream.port}`]});
	const client = await dial(t, running.port);
	client.write(connectRequest(upstream.port, '[::1]'));
	t.regex(await readHead(client), /^HTTP\/1\.1 200 /u);
	const tunnel = await running.tunnelOf(client);
	t.is(tunnel.kind, 'connect');
	client.write('to ::1 and back');
	t.is(await readText(client, 15), 'to ::1 and back');
	client.end();
	t.is(await readTextToEnd(client), '');
	assertCarriedBy(t, engine, await running.closeOf(tunnel));
});

onEachEngine('two tunnels to the same target are two connections', async (t, engine) => {
	const ends = await startEnds(t, engine);
	const [one, two] = [await ends.open('connect'), await ends.open('connect')];
	one.client.write('one');
	two.client.write('two');
	t.is(await readText(one.upstream, 3), 'one');
	t.is(await readText(two.upstream, 3), 'two');
	t.not(one.tunnel.id, two.tunnel.id);
});

async function nextClose({tunnels}: RunningProxy): Promise<TunnelStats> {
	return new Promise(resolve => {
		tunnels.once('close', (_tunnel, stats) => {
			resolve(stats);
		});
	});
}

async function startTlsEcho(t: ExecutionContext): Promise<{readonly port: number}> {
	const server = tls.createServer(await selfSigned(), socket => {
		socket.on('error', () => {
			// A client that was killed says no goodbye.
		});
		socket.pipe(socket);
	});
	return listen(t, server);
}

async function startHttps(t: ExecutionContext): Promise<{readonly port: number}> {
	const server = https.createServer(await selfSigned(), async (request, response) => {
		const body = await request.toArray() as Uint8Array[];
		response.end(Buffer.concat(body));
	});
	return listen(t, server);
}

async function listen(t: ExecutionContext, server: tls.Server): Promise<{readonly port: number}> {
	server.listen(0); // Both families: `localhost` may be either.
	await once(server, 'listening');
	t.teardown(async () => {
		server.close();
		await within('the TLS server is closed', once(server, 'close'));
	});
	return {port: (server.address() as AddressInfo).port};
}
