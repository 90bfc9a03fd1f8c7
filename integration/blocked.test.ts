import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import {get, type IncomingMessage} from 'node:http';
import type net from 'node:net';
import {performance} from 'node:perf_hooks';
import type {ExecutionContext} from 'ava';
import {
	connectRequest, kinds, upgradeRequest, type Kind,
} from './ends.ts';
import {assertCarriedBy, onEngines, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxyProcess, type ProxyElsewhere} from './proxy-process.ts';
import {within} from './until.ts';
import {startUpstream, switchingProtocols} from './upstream.ts';
import {
	dial, ending, read, readHead, readTextToEnd, textOf,
} from './wire.ts';

nothingIsLeft();

// There is no row for stream: when JavaScript is blocked, so is a pipe of Node.
onEngines(['splice', 'sockmap'], 'while the event loop of the proxy is blocked for two seconds, tunnels echo, half-close and reset', async (t, engine) => {
	const proxy = await startBlockableProxy(t, engine);
	const echoing = [await proxy.open('upgrade'), await proxy.open('connect'), await proxy.open('upgrade'), await proxy.open('connect')];
	const halfClosing = [await proxy.open('upgrade'), await proxy.open('connect')];
	const resetByClient = [await proxy.open('upgrade'), await proxy.open('connect')];
	const resetByUpstream = [await proxy.open('upgrade'), await proxy.open('connect')];

	const {from, unblocked} = await proxy.block(2000);
	let over = false;
	const roundTrips = echoing.map(async ends => countRoundTrips(ends, () => over));
	const done: number[] = [];
	await within('half-closes and resets pass', Promise.all([
		...halfClosing.map(async ({client, upstream}) => {
			client.end('question');
			t.is(await readTextToEnd(upstream), 'question');
			upstream.end('answer');
			t.is(await readTextToEnd(client), 'answer');
			done.push(performance.now());
		}),
		...resetByClient.map(async ({client, upstream}) => {
			client.resetAndDestroy();
			t.is(await ending(upstream), 'ECONNRESET');
			done.push(performance.now());
		}),
		...resetByUpstream.map(async ({client, upstream}) => {
			upstream.resetAndDestroy();
			t.is(await ending(client), 'ECONNRESET');
			done.push(performance.now());
		}),
	]));
	const to = await unblocked;
	over = true;
	const times = await Promise.all(roundTrips);

	t.true(to - from >= 1900, `blocked for ${to - from} ms`);
	t.true(Math.max(...done) < to - 500, `the last half-close or reset passed ${to - Math.max(...done)} ms before the end`);
	const counts = times.map(times => times.filter(time => time > from && time < to - 50).length);
	t.log(`${engine}: ${counts.join(' + ')} round trips in ${Math.round(to - from)} ms, ${done.length} half-closes and resets after ${Math.round(Math.max(...done) - from)} ms`);
	t.true(Math.min(...counts) >= 300, `round trips of each tunnel: ${counts.join(', ')}`);

	// JavaScript hears of it all afterwards.
	for (const [ends, close] of [
		...halfClosing.map(ends => [ends, {reason: 'end', by: 'client'}] as const),
		...resetByClient.map(ends => [ends, {reason: 'reset', by: 'client'}] as const),
		...resetByUpstream.map(ends => [ends, {reason: 'reset', by: 'upstream'}] as const),
	]) {
		const {stats} = await proxy.message('close', ({id}) => id === ends.id); // eslint-disable-line no-await-in-loop
		t.like(stats, {engine, ...close});
	}

	for (const {client, upstream, id} of echoing) {
		/* eslint-disable no-await-in-loop */
		client.end();
		t.is(await ending(upstream), 'FIN');
		upstream.end();
		t.is(await ending(client), 'FIN');
		const {stats} = await proxy.message('close', message => message.id === id);
		assertCarriedBy(t, engine, stats);
		/* eslint-enable no-await-in-loop */
	}
});

type BlockableEnds = {readonly client: net.Socket; readonly upstream: net.Socket; readonly id: number};

async function startBlockableProxy(t: ExecutionContext, engine: Carrier) {
	const upstreams = {upgrade: await startUpstream(t, {switching: switchingProtocols}), connect: await startUpstream(t)};
	const proxy = startProxyProcess(t, {engine, target: `http://127.0.0.1:${upstreams.upgrade.port}`});
	const {port} = await proxy.message('ready');

	return {
		...proxy,
		async open(kind: Kind): Promise<BlockableEnds> {
			const client = await dial(t, port);
			client.write(kind === 'upgrade' ? upgradeRequest() : connectRequest(upstreams.connect.port));
			await readHead(client);
			const {id, engine: actual} = await proxy.message('decided', ({clientPort}) => clientPort === client.localPort);
			t.is(actual, engine);
			const upstream = await upstreams[kind].next();
			if (engine === 'sockmap') {
				await inKernel(proxy, id);
			}

			return {client, upstream, id};
		},

		/** Resolves when the event loop is about to block; `unblocked` when it no longer is. */
		async block(ms: number): Promise<{readonly from: number; readonly unblocked: Promise<number>}> {
			const request = get({
				host: '127.0.0.1', port, path: `/block?ms=${ms}`, agent: false,
			});
			const [response] = await once(request, 'response') as [IncomingMessage];
			const [chunk] = await once(response, 'data') as [Uint8Array];
			t.is(textOf(chunk), 'blocking\n');
			const from = performance.now();
			return {
				from,
				unblocked: (async () => {
					await once(response, 'data');
					return performance.now();
				})(),
			};
		},
	};
}

async function inKernel(proxy: ProxyElsewhere, id: number): Promise<void> {
	for (;;) {
		const {tunnels} = await proxy.stats(); // eslint-disable-line no-await-in-loop
		const [, stats] = tunnels.find(([other]) => other === id)!;
		if (stats.clientToUpstream.state === 'kernel' && stats.upstreamToClient.state === 'kernel') {
			return;
		}
	}
}

/** Sends 64 bytes there and 64 back, over and over; resolves with when each round trip was over. */
async function countRoundTrips({client, upstream}: BlockableEnds, over: () => boolean): Promise<number[]> {
	const message = Buffer.alloc(64, 'x');
	const times: number[] = [];
	while (!over()) {
		/* eslint-disable no-await-in-loop */
		client.write(message);
		await read(upstream, 64);
		upstream.write(message);
		await read(client, 64);
		times.push(performance.now());
		/* eslint-enable no-await-in-loop */
	}

	return times;
}
