import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import type net from 'node:net';
import {setTimeout as wait} from 'node:timers/promises';
import {promisify} from 'node:util';
import type {ExecutionContext} from 'ava';
import type {Tunnel, TunnelStats} from '../plugin/index.ts';
import {
	connectRequest, kinds, startEnds, untilCounted, upgradeRequest, type Ends, type Kind,
} from './ends.ts';
import {assertCarriedBy, onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, PatternReader, same} from './pattern.ts';
import type {RunningProxy} from './proxy.ts';
import {until, within} from './until.ts';
import {switchingProtocols} from './upstream.ts';
import {
	dial, ending, read, readHead, readSome, readToEnd,
} from './wire.ts';

nothingIsLeft();

const there = pattern(1, 0, 345_678);
const back = pattern(2, 0, 123_456);

for (const kind of kinds) {
	onEachEngine(`${kind}: bytes are those of the tunnel in each direction, live and in the end, and never those of the headers`, async (t, engine, kind: Kind) => {
		const {running, open} = await startEnds(t, engine);
		const {client, upstream, tunnel} = await open(kind, {inKernel: true});
		t.deepEqual(bytesOf(tunnel.stats()), [0, 0]);
		await transfer(t, {client, upstream, tunnel});
		t.deepEqual(bytesOf(tunnel.stats()), [there.length, back.length]);
		t.deepEqual(running.tunnels.stats().bytes, {clientToUpstream: there.length, upstreamToClient: back.length});

		const stats = await endWithFins(running, {client, upstream, tunnel});
		t.deepEqual(bytesOf(stats), [there.length, back.length]);
		t.deepEqual(bytesOf(tunnel.stats()), [there.length, back.length]);
		t.deepEqual(running.tunnels.stats().bytes, {clientToUpstream: there.length, upstreamToClient: back.length});
		assertCarriedBy(t, engine, stats);
		for (const lane of [stats.clientToUpstream, stats.upstreamToClient]) {
			t.is(lane.injected, 0);
			t.is(lane.redirected + lane.spilled + lane.piped, engine === 'stream' ? 0 : lane.bytes);
		}
	}, kind);

	onEachEngine(`${kind}: bytesRead and bytesWritten of the sockets are what they would be without the plugin, headers included`, async (t, engine, kind: Kind) => {
		const {running, open} = await startEnds(t, engine);
		const {client, upstream, tunnel} = await open(kind, {inKernel: true});
		const counts = () => [tunnel.client.bytesRead, tunnel.client.bytesWritten, tunnel.upstream.bytesRead, tunnel.upstream.bytesWritten];
		// What the far ends have seen of it is the truth.
		const heads = [client.bytesWritten, client.bytesRead, upstream.bytesWritten, upstream.bytesRead];
		t.is(heads[0], kind === 'upgrade' ? upgradeRequest().length : requestLength(tunnel));
		t.is(heads[2], kind === 'upgrade' ? switchingProtocols.length : 0);
		t.deepEqual(counts(), heads);

		await transfer(t, {client, upstream, tunnel});
		const all = [heads[0]! + there.length, heads[1]! + back.length, heads[2]! + back.length, heads[3]! + there.length];
		t.deepEqual(counts(), all);
		const atClose: number[][] = [];
		for (const socket of [tunnel.client, tunnel.upstream]) {
			socket.once('close', () => {
				atClose.push(counts());
			});
		}

		await endWithFins(running, {client, upstream, tunnel});
		t.deepEqual(atClose, [all, all]);
	}, kind);
}

onEachEngine('duration, since and openedAt tell when it was opened and came to its engine, and stand still once it is over', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const [before, from] = [Date.now(), performance.now()];
	const ends = await open('connect');
	const [after, to] = [Date.now(), performance.now()];
	const {tunnel} = ends;
	const {since} = tunnel.stats();
	t.true(tunnel.openedAt.getTime() >= before && tunnel.openedAt.getTime() <= since.getTime());
	t.true(since.getTime() <= after);
	await wait(100);
	const now = performance.now();
	const {duration} = tunnel.stats();
	t.true(duration >= now - to && duration <= performance.now() - from, `${duration}`);

	const stats = await endWithFins(running, ends);
	t.true(stats.duration > duration && stats.duration <= performance.now() - from);
	t.deepEqual(stats.since, since);
	await wait(20);
	t.deepEqual(tunnel.stats(), stats);
});

onEachEngine('promotions and spills are counted by the direction, and only where there is redirection', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const ends = await open('connect', {inKernel: true});
	const {client, upstream, tunnel} = ends;
	const isSockmap = engine === 'sockmap';
	t.like(tunnel.stats(), {
		clientToUpstream: {promotions: isSockmap ? 1 : 0, spills: 0, redirected: 0, spilled: 0},
		upstreamToClient: {promotions: isSockmap ? 1 : 0, spills: 0, redirected: 0, spilled: 0},
	});

	// Bytes that the reader takes at once stay in the kernel.
	for (let turn = 0; turn < 100; turn++) {
		client.write('ping');
		await read(upstream, 4); // eslint-disable-line no-await-in-loop
	}

	upstream.write('pong');
	await read(client, 4);
	await untilCounted(tunnel, 400, 4);
	t.like(tunnel.stats().upstreamToClient, {bytes: 4, redirected: isSockmap ? 4 : 0, spilled: 0, spills: 0});
	t.like(tunnel.stats().clientToUpstream, {bytes: 400, redirected: isSockmap ? 400 : 0, spilled: 0, spills: 0});

	// Those that are too many for him are spilled, while the other direction goes on.
	const total = 40_000_000;
	const reader = new PatternReader(3);
	const written = writePattern(client, 3, total);
	await until('the reader is behind', () => client.writableLength > 0 && tunnel.stats().clientToUpstream.bytes > 200_000);
	if (isSockmap) {
		await until('bytes are spilled', () => tunnel.stats().clientToUpstream.spilled > 0);
		t.is(tunnel.stats().clientToUpstream.state, 'spilling');
	}

	upstream.write('pong');
	await read(client, 4);
	while (reader.received < total) {
		reader.take((await readSome(upstream))!); // eslint-disable-line no-await-in-loop
	}

	await written;
	const stats = await endWithFins(running, ends);
	const {clientToUpstream: lane} = stats;
	t.is(lane.bytes, total + 400);
	t.is(lane.spills > 0 && lane.spilled > 0, isSockmap);
	t.is(lane.promotions > 0, isSockmap);
	t.is(lane.redirected + lane.spilled + lane.piped, engine === 'stream' ? 0 : lane.bytes);
	t.is(stats.upstreamToClient.bytes, 8);
});

onEachEngine('lastActivity is when the last byte came, from whichever end, and asking for it is none', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const ends = await open('connect', {inKernel: true});
	const {client, upstream, tunnel} = ends;
	// TCP counts in ticks of the kernel.
	const tick = 10;
	for (const [from, to] of [[client, upstream], [upstream, client], [client, upstream]] as const) {
		/* eslint-disable no-await-in-loop */
		const before = Date.now();
		from.write('x');
		await read(to, 1);
		const after = Date.now();
		await wait(150);
		for (const time of [running.tunnels.lastActivity(tunnel), tunnel.stats().lastActivity]) {
			t.true(time.getTime() >= before - tick && time.getTime() <= after + tick, `${time.getTime() - before} ms after the write, and ${time.getTime() - after} ms after the read`);
		}
		/* eslint-enable no-await-in-loop */
	}

	const known = running.tunnels.lastActivity(tunnel).getTime();
	const stats = await endWithFins(running, ends);
	t.true(Math.abs(stats.lastActivity.getTime() - known) <= tick, `${stats.lastActivity.getTime() - known} ms later`);
	t.deepEqual(running.tunnels.lastActivity(tunnel), stats.lastActivity);
});

onEachEngine('rtt and retransmits are what TCP knows of the connection to each end, live and in the end', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const ends = await open('connect', {inKernel: true});
	await transfer(t, ends);
	const check = ({client, upstream}: TunnelStats) => {
		for (const end of [client, upstream]) {
			t.true(end!.rtt > 0 && end!.rtt < 1000, JSON.stringify(end));
			t.true(Number.isSafeInteger(end!.retransmits) && end!.retransmits >= 0, JSON.stringify(end));
		}
	};

	check(ends.tunnel.stats());
	check(await endWithFins(running, ends));
});

onEachEngine('the totals are by engine, kind, reason, refusal and answer', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const {tunnels} = running;
	const none = {end: 0, reset: 0, dead: 0, closed: 0, destroyed: 0, idle: 0, lifetime: 0, 'half-closed': 0};
	t.like(tunnels.stats(), {
		open: 0, opened: 0, closed: 0, closedBy: none, byEngine: {sockmap: 0, splice: 0, stream: 0}, byKind: {upgrade: 0, connect: 0, pair: 0},
		bytes: {clientToUpstream: 0, upstreamToClient: 0}, refusals: {}, rejected: {},
	});

	const all = [await open('upgrade'), await open('connect'), await open('connect'), await open('upgrade'), await open('connect')] as const;
	// Somebody else listens to this one, so it stays in JavaScript.
	tunnels.once('tunnel', tunnel => {
		tunnel.client.on('data', () => {}); // eslint-disable-line @typescript-eslint/no-empty-function
	});
	const client = await dial(t, running.port);
	client.write(upgradeRequest());
	await readHead(client);
	await until('it is kept or was there already', () => tunnels.stats().open === 6);
	await until('its engines have been asked', () => engine === 'stream' || Object.keys(tunnels.stats().refusals).length > 0);
	t.deepEqual(tunnels.stats().byEngine, {sockmap: 0, splice: 0, stream: 0, [engine]: engine === 'stream' ? 6 : 5, ...(engine !== 'stream' && {stream: 1})});
	t.deepEqual(tunnels.stats().byKind, {upgrade: 3, connect: 3, pair: 0});
	t.deepEqual(tunnels.stats().refusals, engine === 'stream' ? {} : {[`${engine}: take Node out of the path`]: 1});

	for (const [target, status] of [['nowhere', 400], [`127.0.0.1:${running.port}`, 403]] as const) {
		const refused = await dial(t, running.port); // eslint-disable-line no-await-in-loop
		refused.write(`CONNECT ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
		t.regex(await readHead(refused), new RegExp(`^HTTP/1.1 ${status} `, 'u')); // eslint-disable-line no-await-in-loop
		refused.end();
	}

	t.deepEqual(tunnels.stats().rejected, {400: 1, 403: 1});

	client.resetAndDestroy();
	all[0].client.end();
	all[0].upstream.end();
	all[1].upstream.resetAndDestroy();
	const closing = all[2].tunnel.close();
	for (const socket of [all[2].client, all[2].upstream]) {
		t.is(await ending(socket), 'FIN'); // eslint-disable-line no-await-in-loop
		socket.end();
	}

	await closing;
	all[3].tunnel.client.destroy();
	all[4].tunnel.reset();
	await until('all are closed', () => tunnels.stats().open === 0);
	t.like(tunnels.stats(), {
		opened: 6, closed: 6, closedBy: {...none, end: 1, reset: 3, closed: 1, destroyed: 1},
		byEngine: {sockmap: 0, splice: 0, stream: 0}, byKind: {upgrade: 0, connect: 0, pair: 0},
	});
});

onEachEngine('activity is told at most once in its interval, and of tunnels only that have moved bytes', async (t, engine) => {
	const activityInterval = 200;
	const {running, open} = await startEnds(t, engine, {activityInterval});
	const [busy, silent, single] = [await open('connect', {inKernel: true}), await open('upgrade', {inKernel: true}), await open('connect', {inKernel: true})];
	const told: Array<readonly [Tunnel, number]> = [];
	running.tunnels.on('activity', tunnel => {
		told.push([tunnel, performance.now()]);
	});
	const timesOf = (ends: Ends) => told.filter(([tunnel]) => tunnel === ends.tunnel).map(([, time]) => time);

	const from = performance.now();
	single.upstream.write('x');
	await read(single.client, 1);
	const rounds = 6;
	while (timesOf(busy).length < rounds) {
		busy.client.write('x');
		await read(busy.upstream, 1); // eslint-disable-line no-await-in-loop
		await wait(20); // eslint-disable-line no-await-in-loop
	}

	const elapsed = performance.now() - from;
	t.true(elapsed >= (rounds - 1) * activityInterval, `${rounds} times in ${elapsed} ms`);
	t.is(timesOf(single).length, 1);
	t.deepEqual(timesOf(silent), []);

	silent.client.write('x');
	await read(silent.upstream, 1);
	await within('it is told of the one that was silent', activityOf(running, silent.tunnel));
	t.is(timesOf(silent).length, 1);
});

for (const kind of kinds) {
	onEachEngine(`${kind}: what JavaScript writes to a promoted socket arrives whole and in order between the bytes of the other end, and is counted as injected`, injects, kind);
}

async function injects(t: ExecutionContext, engine: Carrier, kind: Kind): Promise<void> {
	const {running, open} = await startEnds(t, engine);
	const ends = await open(kind, {inKernel: true});
	const {client, upstream, tunnel} = ends;
	const total = 6_000_000;
	const markers = 300;

	const flow = async (sender: net.Socket, reader: net.Socket, own: net.Socket, origin: number) => {
		const state = {isWriting: true};
		const write = async () => {
			await writePattern(sender, origin, total, sevenBits);
			state.isWriting = false;
		};

		const mark = async () => {
			let bytes = 0;
			for (let number = 0; number < markers || state.isWriting; number++) {
				const mark = marker(number);
				bytes += mark.length;
				await promisify<Uint8Array>(own.write.bind(own))(mark); // eslint-disable-line no-await-in-loop
				if (number % 10 === 0) {
					await wait(1); // eslint-disable-line no-await-in-loop
				}
			}

			return bytes;
		};

		const send = async () => {
			const [, injected] = await Promise.all([write(), mark()]);
			sender.end();
			return injected;
		};

		const [injected, seen] = await Promise.all([send(), readWithMarkers(reader, origin)]);
		t.is(seen.bytes, total);
		t.is(seen.markerBytes, injected);
		t.true(seen.places > 1, 'all markers arrived in one place');
		return injected;
	};

	const [toUpstream, toClient] = await within('both directions arrive', Promise.all([
		flow(client, upstream, tunnel.upstream, 5), flow(upstream, client, tunnel.client, 6),
	]), 20_000);
	const stats = await running.closeOf(tunnel);
	t.like(stats, {reason: 'end', engine});
	t.deepEqual(bytesOf(stats), [total, total]);
	t.deepEqual([stats.clientToUpstream.injected, stats.upstreamToClient.injected], engine === 'stream' ? [0, 0] : [toUpstream, toClient]);
	assertCarriedBy(t, engine, stats);
}

/** A stream of bytes below 128, in the middle of which there are markers, whose bytes are not. */
async function readWithMarkers(socket: net.Socket, origin: number) {
	const seen = {bytes: 0, markerBytes: 0, places: 0};
	let number = 0;
	let rest: Uint8Array = Buffer.alloc(0);
	let wasMarker = false;
	for (let chunk; (chunk = await readSome(socket)) !== undefined;) { // eslint-disable-line no-await-in-loop
		rest = Buffer.concat([rest, chunk]);
		while (rest.length > 0) {
			const end = rest.findIndex(byte => byte >= 128);
			const plain = end === -1 ? rest : rest.subarray(0, end);
			if (plain.length > 0) {
				if (!same(plain, sevenBits(pattern(origin, seen.bytes, plain.length)))) {
					throw new Error(`The bytes after ${seen.bytes} are not those that were sent`);
				}

				seen.bytes += plain.length;
				rest = rest.subarray(plain.length);
				wasMarker = false;
				continue;
			}

			const expected = marker(number);
			if (rest.length < expected.length) {
				break; // The rest of it is still to come. At the end nothing may be left.
			}

			if (!same(rest.subarray(0, expected.length), expected)) {
				throw new Error(`Marker ${number} is not whole, or not the next one`);
			}

			number++;
			seen.markerBytes += expected.length;
			seen.places += wasMarker ? 0 : 1;
			wasMarker = true;
			rest = rest.subarray(expected.length);
		}
	}

	if (rest.length > 0) {
		throw new Error(`The last marker is cut off after ${rest.length} bytes`);
	}

	return seen;
}

/** Of a length of its own, so that a part of one is never taken for another. */
function marker(number: number): Uint8Array {
	const bytes = Buffer.alloc(8 + (number % 50), 0xFF);
	bytes[0] = 128 + (number % 128);
	bytes[1] = 128 + (Math.floor(number / 128) % 128);
	bytes[2] = 128 + (Math.floor(number / 16_384) % 128);
	return bytes;
}

function sevenBits(bytes: Uint8Array): Uint8Array {
	return bytes.map(byte => byte % 128);
}

async function writePattern(socket: net.Socket, origin: number, length: number, map = (bytes: Uint8Array) => bytes): Promise<void> {
	for (let position = 0; position < length;) {
		const size = Math.min(50_000, length - position);
		if (!socket.write(map(pattern(origin, position, size)))) {
			await once(socket, 'drain'); // eslint-disable-line no-await-in-loop
		}

		position += size;
	}
}

/** Both ways at once, and all of it has arrived. */
async function transfer(t: ExecutionContext, {client, upstream, tunnel}: Ends): Promise<void> {
	client.write(there);
	upstream.write(back);
	const [one, other] = await within('everything arrives', Promise.all([read(upstream, there.length), read(client, back.length)]));
	t.true(same(one, there) && same(other, back));
	await untilCounted(tunnel, there.length, back.length);
	t.true(tunnel.stats().reason === undefined);
}

async function endWithFins(running: RunningProxy, {client, upstream, tunnel}: Ends): Promise<TunnelStats> {
	client.end();
	await readToEnd(upstream);
	upstream.end();
	await readToEnd(client);
	return running.closeOf(tunnel);
}

function bytesOf({clientToUpstream, upstreamToClient}: TunnelStats): [number, number] {
	return [clientToUpstream.bytes, upstreamToClient.bytes];
}

function requestLength({target}: Tunnel): number {
	return connectRequest(target!.port, target!.host).length;
}

async function activityOf({tunnels}: RunningProxy, expected: Tunnel): Promise<void> {
	return new Promise(resolve => {
		tunnels.on('activity', tunnel => {
			if (tunnel === expected) {
				resolve();
			}
		});
	});
}
