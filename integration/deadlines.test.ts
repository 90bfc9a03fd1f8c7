import {once} from 'node:events';
import {get, type IncomingMessage} from 'node:http';
import type net from 'node:net';
import {performance} from 'node:perf_hooks';
import {setTimeout as wait} from 'node:timers/promises';
import test, {type ExecutionContext} from 'ava';
import {capabilities, type TunnelStats} from '../plugin/index.ts';
import {startDeafListener} from './deaf.ts';
import {
	connectRequest, kinds, startEnds, upgradeRequest, type Ends} from './ends.ts';
import {
	onEachEngineAtOnce, onEngines, onEnginesAtOnce, type Carrier,
} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern} from './pattern.ts';
import {startProxyProcess, type ProxyProcess} from './proxy-process.ts';
import {startProxy, type RunningProxy} from './proxy.ts';
import {
	closed, patience, until, within,
} from './until.ts';
import {startUpstream, switchingProtocols, type Upstream} from './upstream.ts';
import {
	dial, ending, ignore, read, readHead, readTextToEnd,
} from './wire.ts';

// Here time is the subject. It is taken at the peers, and all rows run at once: each of them mostly waits.

nothingIsLeft();

// The self-test of the engines holds everything up, and is not to fall into the time of a tunnel.
test.before('the engines have been tried', () => {
	capabilities();
});

/** The one that each row sets, in milliseconds. With a sanitizer, starting all rows at once takes seconds, in which nobody hears of a byte. */
const limit = 2000 * Math.min(patience, 3);

/**
What a limit may be late by besides its ten percent, on a machine with nothing else to do: a FIN takes a few turns of the event loop, and each turn
may have the work of all the other rows to do. What a busy machine adds to that is measured, see `delays`.
*/
const scheduling = 150;

/** How long this process did not get to its timers when it should have, and until when that was. What is to be done then is late, whoever it is for. */
const delays: Array<{readonly until: number; readonly ms: number}> = [];
const interval = 10;
let lookedAt = performance.now();
setInterval(() => {
	const now = performance.now();
	delays.push({until: now, ms: now - lookedAt - interval});
	lookedAt = now;
}, interval).unref();

/** Of redirected bytes it is TCP that remembers when they came. It counts in ticks of the kernel, of up to ten milliseconds, and cuts off the rest. */
const tick = 10;

/** As long as a tunnel that is cut off waits for readers. */
const linger = 2000;

/** Between these two moments the clock of the proxy has started. */
type Start = {readonly earliest: number; readonly latest: number};

type Row = (t: ExecutionContext, engine: Carrier) => Promise<void>;

const rows: Readonly<Record<string, Row>> = {
	async 'idleTimeout closes a tunnel that has never carried a byte'(t, engine) {
		const {running, open} = await startEnds(t, engine, {idleTimeout: limit});
		await Promise.all(kinds.map(async kind => {
			const earliest = performance.now();
			const ends = await open(kind);
			await closesInTime(t, running, ends, {start: {earliest, latest: performance.now()}, engine, reason: 'idle', by: 'proxy'});
		}));
		t.is(running.tunnels.stats().closedBy.idle, 2);
	},
	async 'idleTimeout counts from the last byte'(t, engine) {
		const {running, open} = await startEnds(t, engine, {idleTimeout: limit});
		await Promise.all(kinds.map(async kind => {
			const ends = await open(kind, {inKernel: true});
			await passByte(ends.client, ends.upstream);
			await wait(limit / 2);
			const start = await passByte(ends.upstream, ends.client);
			await closesInTime(t, running, ends, {start, engine, reason: 'idle', by: 'proxy'});
		}));
	},
	async 'idleTimeout does not fire while bytes go in one direction only'(t, engine) {
		const {running, open} = await startEnds(t, engine, {idleTimeout: limit});
		await Promise.all((['client', 'upstream'] as const).map(async speaker => {
			const ends = await open('connect', {inKernel: true});
			const listener = speaker === 'client' ? 'upstream' : 'client';
			const start = await trickle(ends[speaker], ends[listener]);
			await closesInTime(t, running, ends, {start, engine, reason: 'idle'});
		}));
	},
	async 'idleTimeout takes a slow reader for alive as long as he takes bytes'(t, engine) {
		const {running, open} = await startEnds(t, engine, {idleTimeout: limit});
		const ends = await open('connect', {inKernel: true});
		const {client, upstream, tunnel} = ends;
		const clientClosed = closed(client);
		pushOn(client);
		let earliest = 0;
		const over = performance.now() + (2 * limit);
		while (performance.now() < over) {
			await wait(limit / 8); // eslint-disable-line no-await-in-loop
			earliest = performance.now();
			await within('the reader gets more', read(upstream, 600_000)); // eslint-disable-line no-await-in-loop
		}

		t.is(running.tunnels.stats().open, 1);
		// Now he takes nothing any more. What is left for him cannot be delivered, so the ends are reset.
		const latest = performance.now();
		await within('the sender is cut off', clientClosed);
		isInTime(t, limit, {earliest, latest: latest + linger}, performance.now());
		t.like(await running.closeOf(tunnel), {engine, reason: 'idle', by: 'proxy'});
	},
	async 'maxLifetime closes a tunnel in the middle of its traffic'(t, engine) {
		const {running, open} = await startEnds(t, engine, {maxLifetime: limit});
		await Promise.all(kinds.map(async kind => {
			const earliest = performance.now();
			const ends = await open(kind);
			const latest = performance.now();
			const talk = [chatter(ends.client), chatter(ends.upstream)];
			await closesInTime(t, running, ends, {start: {earliest, latest}, engine, reason: 'lifetime', by: 'proxy'});
			await Promise.all(talk);
		}));
		t.is(running.tunnels.stats().closedBy.lifetime, 2);
	},
	async 'halfClosedTimeout closes a tunnel whose upstream never answers a FIN, and server.close() completes'(t, engine) {
		await neverAnswers(t, engine, 'client');
	},
	async 'halfClosedTimeout closes a tunnel whose client never answers a FIN, and server.close() completes'(t, engine) {
		await neverAnswers(t, engine, 'upstream');
	},
	async 'halfClosedTimeout counts from the last byte of the direction that is left'(t, engine) {
		const {running, open} = await startEnds(t, engine, {halfClosedTimeout: limit});
		await Promise.all((['client', 'upstream'] as const).map(async first => {
			const ends = await open('connect', {inKernel: true});
			const second = first === 'client' ? 'upstream' : 'client';
			ends[first].end();
			t.is(await ending(ends[second]), 'FIN');
			const start = await trickle(ends[second], ends[first]);
			t.is(await within(`the ${first} sees the end`, ending(ends[first])), 'FIN');
			isInTime(t, limit, start, performance.now());
			t.like(await running.closeOf(ends.tunnel), {engine, reason: 'half-closed', by: 'proxy'});
		}));
	},
	async 'halfClosedTimeout leaves a tunnel alone whose directions are both open'(t, engine) {
		const {running, open} = await startEnds(t, engine, {halfClosedTimeout: limit / 5, maxLifetime: limit});
		const earliest = performance.now();
		const ends = await open('connect');
		await closesInTime(t, running, ends, {start: {earliest, latest: performance.now()}, engine, reason: 'lifetime'});
		t.is(running.tunnels.stats().closedBy['half-closed'], 0);
	},
	async 'the options of one connect() take precedence, and zero is never'(t, engine) {
		const {running, open} = await startEnds(t, engine, {idleTimeout: limit / 2, connect: {idleTimeout: limit}});
		const other = await startEnds(t, engine, {idleTimeout: limit / 2, halfClosedTimeout: limit / 2, connect: {idleTimeout: 0, maxLifetime: limit}});
		await Promise.all([
			(async () => {
				const earliest = performance.now();
				const ends = await open('connect');
				await closesInTime(t, running, ends, {start: {earliest, latest: performance.now()}, engine, reason: 'idle'});
			})(),
			(async () => {
				const earliest = performance.now();
				const ends = await open('upgrade');
				await closesInTime(t, running, ends, {start: {earliest, latest: performance.now()}, time: limit / 2, engine, reason: 'idle'});
			})(),
			(async () => {
				const earliest = performance.now();
				const ends = await other.open('connect');
				await closesInTime(t, other.running, ends, {start: {earliest, latest: performance.now()}, engine, reason: 'lifetime'});
			})(),
		]);
	},
	async 'the options of one splice() take precedence'(t, engine) {
		const running = await startProxy(t, {engine, idleTimeout: limit / 2});
		const [target, front] = [await startUpstream(t), await startUpstream(t)];
		const client = await dial(t, front.port);
		const accepted = await front.accepted(client.localPort!);
		const dialled = await dial(t, target.port);
		const upstream = await target.accepted(dialled.localPort!);
		const earliest = performance.now();
		const tunnel = running.tunnels.splice(accepted, dialled, undefined, {idleTimeout: limit});
		await running.tunnelOf(client);
		await closesInTime(t, running, {client, upstream, tunnel}, {start: {earliest, latest: performance.now()}, engine, reason: 'idle'});
	},
};

for (const [title, run] of Object.entries(rows)) {
	onEachEngineAtOnce(title, run);
}

// These are over before there is a tunnel.
onEnginesAtOnce(['stream'], 'handshakeTimeout answers an upgrade with 504 that the upstream does not answer, and is an error of the proxy', async t => {
	const upstream = await startUpstream(t);
	const running = await startProxy(t, {engine: 'stream', target: `http://127.0.0.1:${upstream.port}`, handshakeTimeout: limit});
	const errors: Array<string | undefined> = [];
	running.proxy.on('error', ({code}: NodeJS.ErrnoException) => {
		errors.push(code);
	});
	await is504InTime(t, running, upgradeRequest());
	t.deepEqual(errors, ['ETIMEDOUT']);
	await until('the upstream is let go', () => running.tunnels.stats().open === 0);
	t.is(await within('the upstream is let go', ending(await upstream.next())), 'FIN');
});

onEnginesAtOnce(['stream'], 'handshakeTimeout answers a CONNECT with 504 that allow() does not decide about', async t => {
	const running = await startProxy(t, {engine: 'stream', handshakeTimeout: limit, allow: async () => new Promise<boolean>(() => {})}); // eslint-disable-line @typescript-eslint/no-empty-function
	await is504InTime(t, running, connectRequest(443));
	t.deepEqual(running.tunnels.stats().rejected, {504: 1});
});

onEnginesAtOnce(['stream'], 'handshakeTimeout answers a CONNECT with 504 whose target does not answer', async t => {
	const port = await startDeafListener(t);
	const running = await startProxy(t, {engine: 'stream', handshakeTimeout: limit, allow: () => true});
	await is504InTime(t, running, connectRequest(port));
});

onEngines(['stream'], 'handshakeTimeout leaves a tunnel alone that was answered in time', async t => {
	const {running, open} = await startEnds(t, 'stream', {handshakeTimeout: limit / 4, maxLifetime: limit / 2});
	await Promise.all(kinds.map(async kind => {
		const earliest = performance.now();
		const ends = await open(kind);
		await closesInTime(t, running, ends, {start: {earliest, latest: performance.now()}, time: limit / 2, reason: 'lifetime'});
	}));
});

onEnginesAtOnce(['stream'], 'connectTimeout answers a CONNECT with 504 whose target does not answer, for all and for one call', async t => {
	const port = await startDeafListener(t);
	await Promise.all([{connectTimeout: limit}, {connect: {connectTimeout: limit}}].map(async options => {
		const running = await startProxy(t, {engine: 'stream', allow: () => true, ...options});
		await is504InTime(t, running, connectRequest(port));
	}));
});

// There is no row for stream: when JavaScript is blocked, so are its timers.
onEnginesAtOnce(['splice', 'sockmap'], 'idleTimeout, maxLifetime and halfClosedTimeout hold while the event loop of the proxy is blocked', async (t, engine) => {
	const [idleTimeout, halfClosedTimeout, maxLifetime] = [limit, 0.7 * limit, 1.5 * limit];
	const upstream = await startUpstream(t, {switching: switchingProtocols});
	const proxy = startProxyProcess(t, {engine, target: `http://127.0.0.1:${upstream.port}`, idleTimeout, halfClosedTimeout, maxLifetime});
	const {port} = await proxy.message('ready');
	const open = async () => openThrough(t, proxy, upstream);

	const talking = await open();
	const [silent, halfClosing] = [await open(), await open()];
	const unblocked = await block(port, 3 * limit);
	const start = await passByte(silent.client, silent.upstream);
	const talk = [chatter(talking.client), chatter(talking.upstream)];

	await within('all of them are closed', Promise.all([
		(async () => {
			t.deepEqual(await Promise.all([ending(silent.client), ending(silent.upstream)]), ['FIN', 'FIN']);
			isInTime(t, idleTimeout, start, performance.now());
			silent.client.end();
			silent.upstream.end();
		})(),
		(async () => {
			const earliest = performance.now();
			halfClosing.client.end();
			t.is(await ending(halfClosing.upstream), 'FIN');
			const latest = performance.now();
			t.is(await ending(halfClosing.client), 'FIN');
			isInTime(t, halfClosedTimeout, {earliest, latest}, performance.now());
		})(),
		(async () => {
			t.deepEqual(await Promise.all([ending(talking.client), ending(talking.upstream)]), ['FIN', 'FIN']);
			isInTime(t, maxLifetime, talking.opened, performance.now());
			talking.client.end();
			talking.upstream.end();
		})(),
	]));
	t.false(unblocked.isOver, 'the event loop was not blocked for long enough');
	await within('the event loop goes on', unblocked.event);
	await Promise.all(talk);
	for (const [{id}, reason] of [[silent, 'idle'], [halfClosing, 'half-closed'], [talking, 'lifetime']] as const) {
		const {stats} = await proxy.message('close', message => message.id === id); // eslint-disable-line no-await-in-loop
		t.like(stats, {engine, reason, by: 'proxy'});
	}
});

type Expected = Partial<TunnelStats> & {readonly start: Start; readonly time?: number};

/** That both ends see a FIN when it is time, and that the tunnel says why. */
async function closesInTime(t: ExecutionContext, running: RunningProxy, {client, upstream, tunnel}: Ends, {start, time = limit, ...close}: Expected): Promise<void> {
	const sees = async (end: 'client' | 'upstream', socket: net.Socket) => {
		t.is(await within(`the ${end} sees the end`, ending(socket)), 'FIN');
		isInTime(t, time, start, performance.now());
		socket.end();
	};

	await Promise.all([sees('client', client), sees('upstream', upstream)]);
	t.like(await running.closeOf(tunnel), close);
}

function isInTime(t: ExecutionContext, limit: number, {earliest, latest}: Start, end: number): void {
	t.true(end - earliest >= limit - tick, `${(end - earliest).toFixed(1)} ms, so it was before ${limit} ms were over`);
	const due = latest + (1.1 * limit);
	let excused = Math.max(0, end - lookedAt - interval);
	for (const {until, ms} of delays) {
		excused += until > due ? Math.max(0, ms) : 0;
	}

	t.true(end <= due + scheduling + excused, `${(end - latest).toFixed(1)} ms, so it was long after ${limit} ms were over, and this process was late by ${excused.toFixed(1)} ms only`);
}

async function neverAnswers(t: ExecutionContext, engine: Carrier, first: 'client' | 'upstream'): Promise<void> {
	await Promise.all(kinds.map(async kind => {
		const {running, open} = await startEnds(t, engine, {halfClosedTimeout: limit});
		const {tunnel, ...ends} = await open(kind, {inKernel: true});
		running.server.close();
		const serverClosed = once(running.server, 'close');
		const second = first === 'client' ? 'upstream' : 'client';
		const earliest = performance.now();
		ends[first].end('is anybody there?');
		t.is(await readTextToEnd(ends[second]), 'is anybody there?');
		const latest = performance.now();
		t.is(await within(`the ${first} sees the end`, ending(ends[first])), 'FIN');
		isInTime(t, limit, {earliest, latest}, performance.now());
		await within('server.close() completes', serverClosed);
		t.like(await running.closeOf(tunnel), {engine, reason: 'half-closed', by: 'proxy'});
		t.is(running.tunnels.stats().closedBy['half-closed'], 1);
	}));
}

async function is504InTime(t: ExecutionContext, running: RunningProxy, request: string): Promise<void> {
	const client = await dial(t, running.port);
	const earliest = performance.now();
	client.write(request);
	const head = await within('there is an answer', readHead(client));
	isInTime(t, limit, {earliest, latest: earliest}, performance.now());
	t.regex(head, /^HTTP\/1\.1 504 Gateway Timeout\r\n/u);
	t.regex(await within('the connection ends', readTextToEnd(client)), new RegExp(String.raw`\b${limit} ms`, 'u'));
	client.end();
	t.is(running.tunnels.stats().opened, 0);
}

async function passByte(from: net.Socket, to: net.Socket): Promise<Start> {
	const earliest = performance.now();
	from.write('x');
	await within('a byte passes', read(to, 1));
	return {earliest, latest: performance.now()};
}

/** A byte now and then, for longer than the limit. Returns when the last one was. */
async function trickle(from: net.Socket, to: net.Socket): Promise<Start> {
	for (let turn = 0; turn < 6; turn++) {
		await passByte(from, to); // eslint-disable-line no-await-in-loop
		await wait(limit / 3); // eslint-disable-line no-await-in-loop
	}

	return passByte(from, to);
}

/** Talks until the other end has stopped listening. */
async function chatter(socket: net.Socket): Promise<void> {
	while (!socket.readableEnded && !socket.destroyed) {
		socket.write('blah');
		await wait(50); // eslint-disable-line no-await-in-loop
	}
}

function pushOn(socket: net.Socket): void {
	socket.write(pattern(0, 0, 65_536), error => {
		if (!error) {
			pushOn(socket);
		}
	});
}

async function openThrough(t: ExecutionContext, proxy: ProxyProcess, target: Upstream) {
	const {port} = await proxy.message('ready');
	const client = await dial(t, port);
	const earliest = performance.now();
	client.write(upgradeRequest());
	await readHead(client);
	const latest = performance.now();
	const {id} = await proxy.message('decided', ({clientPort}) => clientPort === client.localPort);
	return {client, upstream: await target.next(), id, opened: {earliest, latest}};
}

/** Resolves when the event loop is about to block. */
async function block(port: number, ms: number) {
	const request = get({host: '127.0.0.1', port, path: `/block?ms=${ms}`, agent: false});
	const [response] = await once(request, 'response') as [IncomingMessage];
	await once(response, 'data');
	const unblocked = {isOver: false, event: closed(response)};
	response.on('error', ignore).once('data', () => {
		unblocked.isOver = true;
	});
	return unblocked;
}
