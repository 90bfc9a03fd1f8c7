import {once} from 'node:events';
import net, {type AddressInfo, type Socket} from 'node:net';
import process from 'node:process';
import {setImmediate as turn, setTimeout as wait} from 'node:timers/promises';
import test from 'ava';
import {EventEmitter} from 'eventemitter3';
import {type SockmapError} from './errors.ts';
import {native} from './native.ts';
import {sockmap} from './sockmap.ts';
import {type Tunnel} from './tunnel.ts';
import {type Tunnels} from './tunnels.ts';

async function connection(): Promise<readonly [ours: Socket, theirs: Socket]> {
	const server = net.createServer({allowHalfOpen: true}).listen(0, '127.0.0.1');
	await once(server, 'listening');
	const theirs = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
	const [[ours]] = await Promise.all([once(server, 'connection'), once(theirs, 'connect')]) as [[Socket], unknown];
	server.close();
	theirs.on('error', () => {}); // eslint-disable-line @typescript-eslint/no-empty-function
	return [ours, theirs];
}

async function connections(): Promise<{readonly ours: readonly [Socket, Socket]; readonly client: Socket; readonly upstream: Socket}> {
	const [[client, theirClient], [upstream, theirUpstream]] = await Promise.all([connection(), connection()]);
	return {ours: [client, upstream], client: theirClient, upstream: theirUpstream};
}

async function open(tunnels: Tunnels): Promise<{readonly tunnel: Tunnel; readonly client: Socket; readonly upstream: Socket}> {
	const {ours, client, upstream} = await connections();
	const tunnel = tunnels.splice(...ours);
	client.resume();
	upstream.resume();
	return {tunnel, client, upstream};
}

async function closeOf(tunnels: Tunnels): Promise<void> {
	return new Promise(resolve => {
		tunnels.once('close', () => {
			resolve();
		});
	});
}

test('the proxy can be attached to again after detach(), while tunnels live on', async t => {
	const proxy = new EventEmitter();
	const tunnels = sockmap(proxy, {engine: 'stream'});
	await open(tunnels);
	tunnels.detach();
	t.deepEqual(proxy.eventNames(), []);
	t.is(tunnels.stats().open, 1);
	const again = sockmap(proxy, {engine: 'stream'});
	t.not(again, tunnels);
	await Promise.all([tunnels.close(), again.close()]);
});

test('a tunnel beyond maxTunnels works, and says why it stays where it is', async t => {
	const tunnels = sockmap(undefined, {maxTunnels: 1});
	const first = await open(tunnels);
	const second = await open(tunnels);
	await turn(); // The decision about it is taken right after it was opened.
	t.is(second.tunnel.engine, 'stream');
	t.true(second.tunnel.skipped.every(({step, code}) => step === 'stay within maxTunnels' || code !== undefined));
	t.false(first.tunnel.skipped.some(({step}) => step.includes('maxTunnels')));
	second.client.write('question');
	await once(second.upstream, 'data');
	await tunnels.close();
});

test('activity is told of tunnels that have moved bytes, and of no others', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream', activityInterval: 50});
	const active = await open(tunnels);
	await open(tunnels);
	const told: Tunnel[] = [];
	tunnels.on('activity', tunnel => {
		told.push(tunnel);
	});
	await wait(200);
	t.deepEqual(told, []);
	const before = Date.now();
	active.client.write('life');
	await wait(300);
	t.deepEqual(told, [active.tunnel]);
	const at = tunnels.lastActivity(active.tunnel).getTime();
	t.true(at >= before - 1 && at < before + 150);
	await tunnels.close();
});

// One after the other: the exception is the process's.
test.serial('a listener that throws stops neither its tunnel nor others', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	const listeners = process.listeners('uncaughtException');
	process.removeAllListeners('uncaughtException');
	const messages: string[] = [];
	process.on('uncaughtException', ({message}) => {
		messages.push(message);
	});
	for (const event of ['tunnel', 'kept', 'close'] as const) {
		tunnels.on(event, () => {
			throw new Error(event);
		});
	}

	await open(tunnels);
	await open(tunnels);
	await tunnels.close();
	t.like(tunnels.stats(), {open: 0, closed: 2, closedBy: {closed: 2}});
	await wait(10);
	process.removeAllListeners('uncaughtException');
	for (const listener of listeners) {
		process.on('uncaughtException', listener);
	}

	t.deepEqual(messages.sort(), ['close', 'close', 'kept', 'kept', 'tunnel', 'tunnel']);
});

test('the options of one splice() count for it alone', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream', halfClosedTimeout: 0});
	const [[client, a], [upstream, b]] = await Promise.all([connection(), connection()]);
	a.resume();
	b.resume();
	const other = await open(tunnels);
	const tunnel = tunnels.splice(client, upstream, 'context', {idleTimeout: 100});
	const [closed, stats] = await new Promise<[Tunnel, {reason?: string}]>(resolve => {
		tunnels.once('close', (...details) => {
			resolve(details);
		});
	});
	t.is(closed, tunnel);
	t.is(tunnel.context, 'context');
	t.is(stats.reason, 'idle');
	t.is(other.tunnel.stats().reason, undefined);
	t.throws(() => tunnels.splice(client, upstream, undefined, {idleTimeout: -1}), {instanceOf: TypeError});
	await tunnels.close();
});

test('without an addon maxRate is an error, unless it is not asked for', t => {
	const {HTTP_PROXY_SOCKMAP_ADDON: addon} = process.env;
	if (addon === 'none') {
		t.is(t.throws<SockmapError>(() => sockmap(undefined, {maxRate: 1})).code, 'ERR_SOCKMAP_DISABLED');
	}

	t.notThrows(() => sockmap(undefined, {maxRate: 0}));
});

test('a socket whose emit() somebody has replaced, as tracers do, still tells them of its events', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	const {ours, client, upstream} = await connections();
	const told = ours.map(socket => {
		const events: string[] = [];
		const {emit} = socket;
		socket.emit = function (this: Socket, event: string | symbol, ...details: any[]) {
			events.push(String(event));
			return (emit as (...all: any[]) => boolean).call(this, event, ...details); // eslint-disable-line @typescript-eslint/no-unsafe-argument
		};

		return events;
	});
	const tunnel = tunnels.splice(...ours);
	client.end('question');
	const [question] = await once(upstream, 'data') as [Uint8Array];
	t.is(String(question), 'question');
	const closed = closeOf(tunnels);
	upstream.end();
	client.resume();
	await closed;
	t.like(tunnel.stats(), {reason: 'end', by: 'client'});
	for (const events of told) {
		for (const event of ['end', 'finish', 'close']) {
			t.deepEqual(events.filter(other => other === event), [event]);
		}
	}
});

test('a reset that nobody else listens to is heard by the tunnel, and not thrown', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	const {ours, client, upstream} = await connections();
	const tunnel = tunnels.splice(...ours);
	upstream.resume();
	const closed = closeOf(tunnels);
	client.resetAndDestroy();
	await closed;
	t.like(tunnel.stats(), {reason: 'reset', by: 'client', code: 'ECONNRESET'});
	t.is(tunnel.stats().client === undefined, native === undefined, 'TCP was not asked before the socket was closed');
});

test('those who listen hear of an error, and of the end of the tunnel after that of its sockets', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	const {ours, client, upstream} = await connections();
	const heard: string[] = [];
	for (const [index, socket] of ours.entries()) {
		socket.on('error', ({code}: NodeJS.ErrnoException) => {
			heard.push(`${index}: ${code}`);
		});
		socket.on('close', () => {
			heard.push(`${index}: close`);
		});
	}

	tunnels.splice(...ours);
	upstream.resume();
	tunnels.on('close', () => {
		heard.push('tunnel');
	});
	const closed = closeOf(tunnels);
	client.resetAndDestroy();
	await closed;
	t.deepEqual([...heard].sort((one, other) => one.localeCompare(other)), ['0: close', '0: ECONNRESET', '1: close', 'tunnel']);
	t.is(heard.at(-1), 'tunnel');
});
