import {performance} from 'node:perf_hooks';
import type net from 'node:net';
import type {ExecutionContext} from 'ava';
import {
	connectRequest, startEnds, type Ends,
} from './ends.ts';
import {onEachEngine} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern} from './pattern.ts';
import {startProxy, type RunningProxy} from './proxy.ts';
import {until, within} from './until.ts';
import {echo, startUpstream} from './upstream.ts';
import {
	dial, ending, read, readHead, readSome, readText, readTextToEnd,
} from './wire.ts';

nothingIsLeft();

onEachEngine('a CONNECT beyond maxTunnels is answered with 503 that says so, and a place that gets free is taken', async (t, engine) => {
	const {running, open} = await startEnds(t, engine, {maxTunnels: 2});
	const [first] = [await open('connect', {inKernel: true}), await open('upgrade')];
	const {head, body} = await askFor(t, running, first.tunnel.target!.port);
	t.regex(head, /^HTTP\/1\.1 503 Service Unavailable\r\n/u);
	t.regex(head, /^Retry-After: \d+\r$/mu);
	t.regex(body, /`maxTunnels`/u);
	t.like(running.tunnels.stats(), {open: 2, opened: 2, rejected: {503: 1}});
	await echoes(t, first);

	await end(running, first);
	const next = await open('connect', {inKernel: true});
	t.is(next.tunnel.engine, engine);
	await echoes(t, next);
	t.like(running.tunnels.stats(), {open: 2, opened: 3, rejected: {503: 1}});
});

onEachEngine('an upgrade beyond maxTunnels works in JavaScript and says why, and the next one is promoted when there is room', async (t, engine) => {
	const {running, open} = await startEnds(t, engine, {maxTunnels: 1, strict: false});
	const first = await open('connect', {inKernel: true});
	t.is(first.tunnel.engine, engine);
	const kept = await open('upgrade');
	t.is(kept.tunnel.engine, 'stream');
	if (engine === 'stream') {
		t.deepEqual(kept.tunnel.skipped, []);
	} else {
		t.deepEqual(kept.tunnel.skipped.map(({engine, step}) => [engine, step]), [[engine, 'stay within maxTunnels']]);
		t.regex(kept.tunnel.skipped[0]!.reason, /`maxTunnels`/u);
		t.deepEqual(running.tunnels.stats().refusals, {[`${engine}: stay within maxTunnels`]: 1});
	}

	await echoes(t, kept);
	await end(running, kept);
	await end(running, first);
	const next = await open('upgrade');
	t.is(next.tunnel.engine, engine);
	t.deepEqual(next.tunnel.skipped, []);
	await echoes(t, next);
});

onEachEngine('maxTunnelsPerClient counts each client by its address, and leaves the others alone', async (t, engine) => {
	const {running, open} = await startEnds(t, engine, {maxTunnelsPerClient: 1, strict: false});
	const first = await open('connect');
	const {port} = first.tunnel.target!;
	const {head, body} = await askFor(t, running, port);
	t.regex(head, /^HTTP\/1\.1 503 /u);
	t.regex(body, /`maxTunnelsPerClient`/u);
	const kept = await open('upgrade');
	t.is(kept.tunnel.engine, 'stream');
	t.deepEqual(kept.tunnel.skipped.map(({step}) => step), engine === 'stream' ? [] : ['stay within maxTunnelsPerClient']);

	const other = await dial(t, running.port, {localAddress: '127.0.0.2'});
	other.write(connectRequest(port));
	t.regex(await readHead(other), /^HTTP\/1\.1 200 /u);
	const tunnel = await running.tunnelOf(other);
	t.is(tunnel.engine, engine);
	const second = await askFor(t, running, port, '127.0.0.2');
	t.regex(second.head, /^HTTP\/1\.1 503 /u);

	await end(running, first);
	await end(running, kept);
	const next = await open('connect');
	t.is(next.tunnel.engine, engine);
	t.deepEqual(running.tunnels.stats().rejected, {503: 2});
});

onEachEngine('a CONNECT that comes to nothing gives its place back', async (t, engine) => {
	const target = await startUpstream(t, {onConnection: echo});
	const running = await startProxy(t, {engine, maxTunnels: 1, maxTunnelsPerClient: 1, allow: [`127.0.0.1:${target.port}`, 'unknown.invalid:1']});
	for (const [request, status] of [['CONNECT nowhere', 400], ['CONNECT 127.0.0.1:1', 403], ['CONNECT unknown.invalid:1', 502]] as const) {
		/* eslint-disable no-await-in-loop */
		const client = await dial(t, running.port);
		client.write(`${request} HTTP/1.1\r\nHost: x\r\n\r\n`);
		t.regex(await readHead(client), new RegExp(`^HTTP/1.1 ${status} `, 'u'));
		client.end();
		await ending(client);
		/* eslint-enable no-await-in-loop */
	}

	const client = await dial(t, running.port);
	client.write(connectRequest(target.port));
	t.regex(await readHead(client), /^HTTP\/1\.1 200 /u);
	await running.tunnelOf(client);
	client.write('in');
	t.is(await readText(client, 2), 'in');
});

/** Bytes per second: little enough for a busy machine, and much more than one segment of the loopback device. */
const rate = 1_000_000;

onEachEngine('maxRate holds within a quarter, in both directions at once and in one alone, and that of one connect() takes precedence', async (t, engine) => {
	const {open} = await startEnds(t, engine, {maxRate: rate, connect: {maxRate: rate * 2}});
	const [both, one, other, overridden] = [await open('upgrade', {inKernel: true}), await open('upgrade', {inKernel: true}), await open('upgrade', {inKernel: true}), await open('connect', {inKernel: true})];
	isAtRate(t, await Promise.all([
		rateFrom(both.client, both.upstream), rateFrom(both.upstream, both.client), rateFrom(one.client, one.upstream), rateFrom(other.upstream, other.client),
	]), rate);
	isAtRate(t, await Promise.all([rateFrom(overridden.client, overridden.upstream), rateFrom(overridden.upstream, overridden.client)]), rate * 2);
});

onEachEngine('without maxRate there is no such limit', async (t, engine) => {
	const {open} = await startEnds(t, engine);
	const {client, upstream} = await open('connect', {inKernel: true});
	const unlimited = await rateFrom(client, upstream, 100);
	t.true(unlimited > 3 * rate, `${unlimited} bytes/s`);
});

function isAtRate(t: ExecutionContext, rates: readonly number[], expected: number): void {
	for (const rate of rates) {
		t.true(rate > 0.75 * expected && rate < 1.25 * expected, `${(rate / 1e6).toFixed(2)} MB/s instead of ${expected / 1e6}`);
	}
}

/** Writes as fast as it can and reads whatever comes. Returns bytes per second, once the buffers on the way are full. */
async function rateFrom(sender: net.Socket, reader: net.Socket, duration = 1200): Promise<number> {
	pushOn(sender);
	const start = performance.now();
	let [bytes, from] = [0, 0];
	for (let now = start; from === 0 || now < from + duration;) {
		const chunk = await within('bytes come', readSome(reader)); // eslint-disable-line no-await-in-loop
		now = performance.now();
		if (from > 0) {
			bytes += chunk!.length;
		} else if (now > start + warmUp) {
			from = now;
		}
	}

	return bytes / (performance.now() - from) * 1000;
}

/** The first bytes of a connection are not paced, and a window that grows takes some of them ahead. */
const warmUp = 700;

function pushOn(socket: net.Socket): void {
	socket.write(pattern(0, 0, 65_536), error => {
		if (!error) {
			pushOn(socket);
		}
	});
}

async function echoes(t: ExecutionContext, {client, upstream}: Ends): Promise<void> {
	client.write('question');
	t.is(await within('the question arrives', readText(upstream, 8)), 'question');
	upstream.write('answer');
	t.is(await within('the answer arrives', readText(client, 6)), 'answer');
}

async function end(running: RunningProxy, {client, upstream, tunnel}: Ends): Promise<void> {
	client.end();
	await ending(upstream);
	upstream.end();
	await ending(client);
	await running.closeOf(tunnel);
}

async function askFor(t: ExecutionContext, running: RunningProxy, port: number, localAddress = '127.0.0.1') {
	const client = await dial(t, running.port, {localAddress});
	client.write(connectRequest(port));
	const head = await within('there is an answer', readHead(client));
	const body = await readTextToEnd(client);
	client.end();
	return {head, body};
}
