import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import fs from 'node:fs';
import https from 'node:https';
import type net from 'node:net';
import type {AddressInfo} from 'node:net';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import test, {type ExecutionContext} from 'ava';
import {WebSocket, WebSocketServer} from 'ws';
import {capabilities} from '../plugin/index.ts';
import {selfSigned} from './certificate.ts';
import {connectRequest, startEnds, upgradeRequest} from './ends.ts';
import {
	impossible, onEachEngine, onEngines, type Carrier,
} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, PatternReader, same} from './pattern.ts';
import {startProxyProcess, type MessageOf, type ProxyProcess} from './proxy-process.ts';
import {startProxy} from './proxy.ts';
import {nobody} from './unprivileged.ts';
import {within} from './until.ts';
import {echo, startUpstream, switchingProtocols} from './upstream.ts';
import {
	dial, read, readHead, readTextToEnd, readToEnd,
} from './wire.ts';

nothingIsLeft();

const notAnAddon = path.join(os.tmpdir(), `http-proxy-sockmap-${process.pid}.node`);
test.before('there is a file that is no addon', () => {
	fs.writeFileSync(notAnAddon, 'This is not an ELF file.');
});
test.after.always('the file that is no addon is removed', () => {
	fs.rmSync(notAnAddon);
});

const addonIsMissing = {
	'the addon is switched off': 'none',
	'the addon is missing': '/nonexistent/sockmap.node',
	'the addon is not one': notAnAddon,
};

for (const [title, addon] of Object.entries(addonIsMissing)) {
	test.serial(`stream carries the tunnel where ${title}, and the reasons are named`, async t => {
		const proxy = startProxyProcess(t, {addon, target: await startEchoTarget(t)});
		const {engine, skipped, available} = await tryBothKinds(t, proxy);
		t.is(engine, 'stream');
		t.deepEqual(skipped.map(({engine, step}) => [engine, step]), [['sockmap', 'load the addon'], ['splice', 'load the addon']]);
		t.true(skipped.every(({reason}) => reason.length > 10), JSON.stringify(skipped));
		t.like(available, {
			sockmap: {available: false, step: 'load the addon'},
			splice: {available: false, step: 'load the addon'},
			stream: {available: true},
		});
	});

	for (const engine of ['sockmap', 'splice'] as const) {
		test.serial(`sockmap() throws where ${engine} is named and ${title}`, async t => {
			const proxy = startProxyProcess(t, {addon, engine});
			const {error} = await proxy.message('refused');
			t.like(error, {name: 'SockmapError', step: 'load the addon'});
			t.regex(error.message, new RegExp(engine, 'u'));
		});
	}

	test.serial(`stream can be named where ${title}`, async t => {
		const proxy = startProxyProcess(t, {addon, engine: 'stream', target: await startEchoTarget(t)});
		const {engine, skipped} = await tryBothKinds(t, proxy);
		t.is(engine, 'stream');
		t.deepEqual(skipped, []);
	});
}

const eperm = {
	code: 'EPERM', errno: 1, syscall: 'bpf',
};

onEngines(['splice'], 'carries the tunnel without any capability, and what sockmap would need is named', async t => {
	const proxy = startProxyProcess(t, {as: await nobody(t), target: await startEchoTarget(t)});
	const {engine, skipped, available} = await tryBothKinds(t, proxy);
	t.is(engine, 'splice');
	t.is(skipped.length, 1);
	t.like(skipped[0], {engine: 'sockmap', ...eperm});
	t.regex(skipped[0]!.reason, /CAP_BPF/u);
	t.true(skipped[0]!.step.length > 3);
	t.like(available, {sockmap: {available: false, step: skipped[0]!.step, ...eperm}, splice: {available: true}, stream: {available: true}});
	t.regex(available.sockmap.available ? '' : available.sockmap.reason, /CAP_BPF/u);
});

onEngines(['splice'], 'can be named without any capability', async t => {
	const proxy = startProxyProcess(t, {engine: 'splice', as: await nobody(t), target: await startEchoTarget(t)});
	const {engine, skipped} = await tryBothKinds(t, proxy);
	t.is(engine, 'splice');
	t.deepEqual(skipped, []);
});

onEngines(['splice'], 'is not taken instead where sockmap is named and not permitted: sockmap() throws', async t => {
	const proxy = startProxyProcess(t, {engine: 'sockmap', as: await nobody(t)});
	const {error, capabilities} = await proxy.message('refused');
	t.like(error, {name: 'SockmapError', ...eperm});
	t.true(error.step!.length > 3);
	t.regex(error.message, /CAP_BPF/u);
	t.is(capabilities.sockmap.available, false);
});

onEachEngine('is available here, says capabilities()', async (t, engine) => {
	t.deepEqual(capabilities()[engine], {available: true});
});

test.serial('auto takes the first engine that is available', async t => {
	const {open} = await startEnds(t, 'auto');
	const {tunnel} = await open('connect');
	const available = capabilities();
	t.is(tunnel.engine, (['sockmap', 'splice', 'stream'] as const).find(engine => available[engine].available)!);
	if (impossible('sockmap') === undefined) {
		t.is(tunnel.engine, 'sockmap');
		t.deepEqual(tunnel.skipped, []);
	}
});

onEngines(['sockmap'], 'has room for so many tunnels, those beyond it are on splice, and a place that gets free is taken', async t => {
	const {running, open} = await startEnds(t, 'auto', {capacity: 2});
	const all = [await open('connect'), await open('upgrade'), await open('connect'), await open('upgrade'), await open('connect')];
	t.deepEqual(all.map(({tunnel}) => tunnel.engine), ['sockmap', 'sockmap', 'splice', 'splice', 'splice']);
	for (const {tunnel} of all.slice(2)) {
		t.is(tunnel.skipped.length, 1);
		t.like(tunnel.skipped[0], {engine: 'sockmap', code: 'ENOSPC'});
		t.true(tunnel.skipped[0]!.reason.length > 10);
	}

	t.like(running.tunnels.stats().byEngine, {sockmap: 2, splice: 3});
	t.deepEqual(Object.values(running.tunnels.stats().refusals), [3]);
	const [leaving, ...staying] = all;
	leaving!.client.end();
	leaving!.upstream.end();
	await running.closeOf(leaving!.tunnel);
	const late = await open('upgrade');
	t.is(late.tunnel.engine, 'sockmap');
	for (const {client, upstream} of [...staying, late]) {
		/* eslint-disable no-await-in-loop */
		client.end(pattern(1, 0, 100_000));
		t.true(same(await readToEnd(upstream), pattern(1, 0, 100_000)));
		upstream.end(pattern(2, 0, 100_000));
		t.true(same(await readToEnd(client), pattern(2, 0, 100_000)));
		/* eslint-enable no-await-in-loop */
	}
});

onEachEngine('a listener to data of the upstream socket, from the open event, keeps getting it, and the tunnel stays in Node', async (t, engine) => {
	await overheard(t, engine, 'upstream', (proxy, listen) => {
		proxy.on('open', listen);
	});
});

onEachEngine('a listener to data of the client socket keeps getting it, and the tunnel stays in Node', async (t, engine) => {
	await overheard(t, engine, 'client', (_proxy, listen, server) => {
		server.on('upgrade', (_request, socket) => {
			listen(socket as net.Socket);
		});
	});
});

async function overheard(
	t: ExecutionContext,
	engine: Carrier,
	end: 'client' | 'upstream',
	attach: (proxy: Awaited<ReturnType<typeof startProxy>>['proxy'], listen: (socket: net.Socket) => void, server: Awaited<ReturnType<typeof startProxy>>['server']) => void,
): Promise<void> {
	const {running, open} = await startEnds(t, engine, {strict: false});
	const heard = new PatternReader(6);
	attach(running.proxy, socket => {
		socket.on('data', chunk => {
			heard.take(chunk);
		});
	}, running.server);
	const ends = await open('upgrade');
	t.is(ends.tunnel.engine, 'stream');
	if (engine !== 'stream') {
		t.true(ends.tunnel.skipped.some(({engine: other, reason}) => other === engine && reason.includes('data')), JSON.stringify(ends.tunnel.skipped));
	}

	const other = end === 'client' ? 'upstream' : 'client';
	ends[end].end(pattern(6, 0, 1_000_000));
	t.true(same(await readToEnd(ends[other]), pattern(6, 0, 1_000_000)));
	ends[other].end('answer');
	t.is(await readTextToEnd(ends[end]), 'answer');
	t.is(heard.received, 1_000_000);
	t.like(await running.closeOf(ends.tunnel), {engine: 'stream'});
}

onEachEngine('a wss:// upstream is not promoted, says why, and works', async (t, engine) => {
	const server = https.createServer(await selfSigned());
	const webSockets = new WebSocketServer({server});
	webSockets.on('connection', socket => {
		socket.on('message', (data: Uint8Array, binary) => {
			socket.send(data, {binary});
		});
	});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	t.teardown(async () => {
		for (const client of webSockets.clients) {
			client.terminate();
		}

		server.close();
		await within('the TLS server is closed', once(server, 'close'));
	});

	const running = await startProxy(t, {
		engine, strict: false, target: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, httpProxy: {secure: false},
	});
	const client = new WebSocket(`ws://127.0.0.1:${running.port}/`);
	await within('the WebSocket is open', once(client, 'open'));
	const tunnel = await running.tunnelOf((client as WebSocket & {readonly _socket: net.Socket})._socket);
	t.is(tunnel.engine, 'stream');
	if (engine !== 'stream') {
		t.true(tunnel.skipped.some(({engine: other, reason}) => other === engine && reason.includes('TLS')), JSON.stringify(tunnel.skipped));
	}

	for (const message of [Buffer.from('over TLS'), pattern(3, 0, 500_000)]) {
		client.send(message);
		const [data] = await once(client, 'message') as [Uint8Array]; // eslint-disable-line no-await-in-loop
		t.true(same(data, message));
	}

	client.close(4000, 'done');
	const [code] = await within('the WebSocket is closed', once(client, 'close')) as [number];
	t.is(code, 4000);
	t.like(await running.closeOf(tunnel), {engine: 'stream'});
});

/** One tunnel of each kind through the proxy, with an echo at its end; what carried them, and what did not. */
async function tryBothKinds(t: ExecutionContext, proxy: ProxyProcess) {
	const {port, capabilities: available} = await proxy.message('ready');
	const bare = await startUpstream(t, {onConnection: echo});
	const decisions: Decision[] = [];
	for (const request of [upgradeRequest(), connectRequest(bare.port)]) {
		/* eslint-disable no-await-in-loop */
		const client = await dial(t, port);
		client.write(request);
		t.regex(await readHead(client), /^HTTP\/1\.1 (?:101|200) /u);
		decisions.push(await proxy.message('decided', ({clientPort}) => clientPort === client.localPort));
		client.write(pattern(9, 0, 200_000));
		t.true(same(await read(client, 200_000), pattern(9, 0, 200_000)));
		client.end('the end');
		t.is(await readTextToEnd(client), 'the end');
		/* eslint-enable no-await-in-loop */
	}

	const [{engine, skipped}, other] = decisions as [Decision, Decision];
	t.like(other, {engine, skipped});
	return {engine, skipped, available};
}

type Decision = MessageOf<'decided'>;

async function startEchoTarget(t: ExecutionContext): Promise<string> {
	const upstream = await startUpstream(t, {onConnection: echo, switching: switchingProtocols});
	return `http://127.0.0.1:${upstream.port}`;
}
