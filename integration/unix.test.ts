import {once} from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import {performance} from 'node:perf_hooks';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import type {TunnelStats} from '../plugin/index.ts';
import {untilCounted, upgradeRequest, type Ends} from './ends.ts';
import {onEngines, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, same} from './pattern.ts';
import {startProxy, type ProxyOptions, type RunningProxy} from './proxy.ts';
import {until, within} from './until.ts';
import {switchingProtocols} from './upstream.ts';
import {
	dial, ending, ignore, readHead, readText, readTextToEnd, readToEnd, textOf,
} from './wire.ts';

// Upstreams on a Unix socket. Redirection is between TCP sockets only, so what `auto` finds for them is splice.

nothingIsLeft();

type Ending = {
	readonly happens: (t: ExecutionContext, ends: Ends, running: RunningProxy) => Promise<void>;
	readonly close: Partial<TunnelStats>;
};

const late = pattern(8, 0, 1_500_000);

const endings: Readonly<Record<string, Ending>> = {
	'a half-close of the client lets the upstream go on': {
		async happens(t, {client, upstream}) {
			client.end('last words');
			t.is(await readTextToEnd(upstream), 'last words');
			upstream.end(late);
			t.true(same(await readToEnd(client), late));
		},
		close: {reason: 'end', by: 'client'},
	},
	'a half-close of the upstream lets the client go on': {
		async happens(t, {client, upstream}) {
			upstream.end('last words');
			t.is(await readTextToEnd(client), 'last words');
			client.end(late);
			t.true(same(await readToEnd(upstream), late));
		},
		close: {reason: 'end', by: 'upstream'},
	},
	'FINs of both ends at once deliver what came before them': {
		async happens(t, {client, upstream}) {
			client.end(late);
			upstream.end(late);
			const [there, back] = await Promise.all([readToEnd(upstream), readToEnd(client)]);
			t.true(same(there, late));
			t.true(same(back, late));
		},
		close: {reason: 'end'},
	},
	'a reset by the client closes the upstream': {
		async happens(t, {client, upstream}) {
			client.resetAndDestroy();
			t.regex(await ending(upstream), /^(?:FIN|ECONNRESET)$/u);
			upstream.end();
		},
		close: {reason: 'reset', by: 'client', code: 'ECONNRESET'},
	},
	'an upstream that is gone with bytes unread resets the client': {
		async happens(t, {client, upstream}) {
			client.write(late);
			await readText(upstream, 10);
			upstream.destroy();
			t.is(await ending(client), 'ECONNRESET');
		},
		close: {reason: 'reset', by: 'upstream'},
	},
	'tunnel.close() delivers what was received and sends both ends a FIN': {
		async happens(t, {client, upstream, tunnel}) {
			client.write('to the upstream');
			upstream.write('to the client');
			await untilCounted(tunnel, 15, 13);
			const closing = tunnel.close();
			const [there, back] = await Promise.all([readToEnd(upstream), readToEnd(client)]);
			t.is(textOf(there), 'to the upstream');
			t.is(textOf(back), 'to the client');
			client.end();
			upstream.end();
			await within('close() resolves', closing);
		},
		close: {reason: 'closed', by: 'proxy'},
	},
	'tunnel.reset() resets the client and closes the upstream': {
		async happens(t, {client, upstream, tunnel}) {
			tunnel.reset();
			t.is(await ending(client), 'ECONNRESET');
			t.regex(await ending(upstream), /^(?:FIN|ECONNRESET)$/u);
			upstream.end();
		},
		close: {reason: 'reset', by: 'proxy'},
	},
	'destroy() of the upstream socket in JavaScript ends both ends': {
		async happens(t, {client, upstream, tunnel}) {
			tunnel.upstream.destroy();
			await Promise.all([ending(client), ending(upstream)]);
			t.true(client.readableEnded || client.destroyed);
		},
		close: {reason: 'destroyed'},
	},
};

for (const [title, {happens, close}] of Object.entries(endings)) {
	onEngines(['splice', 'stream'], `unix: ${title}, and the tunnel closes once`, async (t, engine) => {
		const {running, ends} = await openUnix(t, engine === 'splice' ? 'auto' : engine);
		const closes: TunnelStats[] = [];
		running.tunnels.on('close', (_tunnel, stats) => {
			closes.push(stats);
		});
		t.is(ends.tunnel.engine, engine);
		await within('the ends see the ending', happens(t, ends, running));
		await running.closeOf(ends.tunnel);
		await running.stop();
		t.is(closes.length, 1);
		t.like(closes[0], {engine, ...close});
	});
}

onEngines(['splice'], 'unix: auto takes it where sockmap says that it takes TCP sockets only', async t => {
	const {running, ends: {client, upstream, tunnel}} = await openUnix(t, 'auto');
	t.is(tunnel.engine, 'splice');
	// Where sockmap is not available at all, that is said instead.
	t.deepEqual(tunnel.skipped.map(({engine}) => engine), ['sockmap']);
	if (tunnel.skipped[0]!.step === 'take TCP sockets') {
		t.regex(tunnel.skipped[0]!.reason, /upstream is a Unix socket/u);
		t.deepEqual(running.tunnels.stats().refusals, {'sockmap: take TCP sockets': 1});
	}

	client.end(late);
	upstream.end(late);
	const [there, back] = await Promise.all([readToEnd(upstream), readToEnd(client)]);
	t.true(same(there, late) && same(back, late));
	const stats = await running.closeOf(tunnel);
	t.like(stats, {
		clientToUpstream: {bytes: late.length, redirected: 0, piped: late.length}, upstreamToClient: {bytes: late.length, redirected: 0, piped: late.length},
	});
	t.is(stats.upstream, undefined);
	t.true(stats.client!.rtt > 0);
});

onEngines(['splice', 'stream'], 'unix: idleTimeout counts from the last byte, and halfClosedTimeout ends an upstream that never answers a FIN', async (t, engine) => {
	const limits = {idleTimeout: 800, halfClosedTimeout: 500};
	const [idle, half] = [await openUnix(t, engine, limits), await openUnix(t, engine, limits)];
	await Promise.all([
		(async () => {
			const {client, upstream, tunnel} = idle.ends;
			let from = 0;
			for (const [sender, reader] of [[upstream, client], [client, upstream], [upstream, client]] as const) {
				await wait(200); // eslint-disable-line no-await-in-loop
				from = performance.now();
				sender.write('x');
				await readText(reader, 1); // eslint-disable-line no-await-in-loop
			}

			const ends = [ending(client), ending(upstream)];
			t.deepEqual(await within('both ends see a FIN', Promise.all(ends)), ['FIN', 'FIN']);
			t.true(performance.now() - from >= 800);
			client.end();
			upstream.end();
			t.like(await idle.running.closeOf(tunnel), {engine, reason: 'idle', by: 'proxy'});
		})(),
		(async () => {
			const {client, upstream, tunnel} = half.ends;
			const from = performance.now();
			client.end();
			t.is(await ending(upstream), 'FIN');
			t.is(await within('the client sees a FIN', ending(client)), 'FIN');
			t.true(performance.now() - from >= 500);
			t.like(await half.running.closeOf(tunnel), {engine, reason: 'half-closed', by: 'proxy'});
		})(),
	]);
});

onEngines(['splice', 'stream'], 'unix: a pair of Unix sockets is a tunnel too', async (t, engine) => {
	const running = await startProxy(t, {engine, strict: false});
	const [front, target] = [await startUnix(t), await startUnix(t)];
	const [client, dialled] = [await dialUnix(t, front.path), await dialUnix(t, target.path)];
	const [accepted, upstream] = [await front.next(), await target.next()];
	const decided = Promise.race([once(running.tunnels as unknown as NodeJS.EventEmitter, 'promoted'), once(running.tunnels as unknown as NodeJS.EventEmitter, 'kept')]);
	const tunnel = running.tunnels.splice(accepted, dialled);
	await within('it is promoted or kept', decided);
	t.is(tunnel.engine, engine);
	client.end(late);
	t.true(same(await readToEnd(upstream), late));
	upstream.end('answer');
	t.is(await readTextToEnd(client), 'answer');
	t.like(await running.closeOf(tunnel), {engine, reason: 'end', by: 'client', client: undefined, upstream: undefined});
});

async function openUnix(t: ExecutionContext, engine: Carrier | 'auto', options: ProxyOptions = {}): Promise<{readonly running: RunningProxy; readonly ends: Ends}> {
	const target = await startUnix(t);
	const running = await startProxy(t, {engine, httpProxy: {target: {socketPath: target.path, host: 'localhost', port: 80}}, ...options});
	const client = await dial(t, running.port);
	client.write(upgradeRequest());
	const upstream = await target.next();
	await readHead(upstream);
	upstream.write(switchingProtocols);
	t.regex(await readHead(client), /^HTTP\/1\.1 101 /u);
	return {running, ends: {client, upstream, tunnel: await running.tunnelOf(client)}};
}

/** A server on a Unix socket in a folder of its own. */
async function startUnix(t: ExecutionContext) {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockmap-'));
	const unclaimed: net.Socket[] = [];
	const sockets: net.Socket[] = [];
	const server = net.createServer({allowHalfOpen: true}, socket => {
		socket.on('error', ignore);
		sockets.push(socket);
		unclaimed.push(socket);
	}).listen(path.join(folder, 'socket'));
	await once(server, 'listening');
	t.teardown(async () => {
		for (const socket of sockets) {
			socket.destroy();
		}

		server.close();
		await once(server, 'close');
		fs.rmSync(folder, {recursive: true});
	});
	return {
		path: path.join(folder, 'socket'),
		async next(): Promise<net.Socket> {
			await until('a connection is accepted', () => unclaimed.length > 0);
			return unclaimed.shift()!;
		},
	};
}

async function dialUnix(t: ExecutionContext, path: string): Promise<net.Socket> {
	const socket = net.connect({path, allowHalfOpen: true});
	t.teardown(() => {
		socket.destroy();
	});
	await once(socket, 'connect');
	socket.on('error', ignore);
	return socket;
}
