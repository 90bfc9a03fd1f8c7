import {spawn} from 'node:child_process';
import {on, once} from 'node:events';
import process from 'node:process';
import type {ExecutionContext} from 'ava';
import type {Tunnel, TunnelStats} from '../plugin/index.ts';
import {
	connectRequest, kinds, startEnds, untilCounted, type Ends, type Kind,
} from './ends.ts';
import {onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, same} from './pattern.ts';
import {startProxy, type RunningProxy} from './proxy.ts';
import {closed, until, within} from './until.ts';
import {echo, startUpstream} from './upstream.ts';
import {
	dial, ending, read, readHead, readText, readTextToEnd, readToEnd, textOf,
} from './wire.ts';

/** How a tunnel ends, and what its `close` event has to say about it. */
type Ending = {
	readonly happens: (t: ExecutionContext, ends: Ends, running: RunningProxy) => Promise<void>;
	readonly close: Partial<TunnelStats>;
};

nothingIsLeft();

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
	'a half-close without a byte before it lets the other direction talk for several turns': {
		async happens(t, {client, upstream}) {
			client.end();
			t.is(await ending(upstream), 'FIN');
			for (let turn = 0; turn < 20; turn++) {
				upstream.write(`turn ${String(turn).padStart(4)}`);
				t.is(await readText(client, 9), `turn ${String(turn).padStart(4)}`); // eslint-disable-line no-await-in-loop
			}

			upstream.end();
			t.is(await ending(client), 'FIN');
		},
		close: {reason: 'end', by: 'client'},
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
	'a reset by the client resets the upstream': {
		async happens(t, {client, upstream}) {
			client.resetAndDestroy();
			t.is(await ending(upstream), 'ECONNRESET');
		},
		close: {reason: 'reset', by: 'client', code: 'ECONNRESET'},
	},
	'a reset by the upstream resets the client': {
		async happens(t, {client, upstream}) {
			upstream.resetAndDestroy();
			t.is(await ending(client), 'ECONNRESET');
		},
		close: {reason: 'reset', by: 'upstream', code: 'ECONNRESET'},
	},
	'a reset by the client after its FIN resets the upstream': {
		async happens(t, {client, upstream}) {
			client.end('half');
			t.is(await readTextToEnd(upstream), 'half');
			upstream.write('x');
			await read(client, 1);
			client.resetAndDestroy();
			// It has heard the FIN: only who writes learns of a reset.
			const error = once(upstream, 'error') as Promise<[NodeJS.ErrnoException]>;
			const writing = setInterval(() => upstream.write('y'), 5);
			t.teardown(() => {
				clearInterval(writing);
			});
			const [{code}] = await error;
			clearInterval(writing);
			t.true(['ECONNRESET', 'EPIPE'].includes(code!), code);
		},
		close: {reason: 'reset'},
	},
	'a reset by the upstream after the FIN of the client resets the client': {
		async happens(t, {client, upstream}) {
			client.end();
			t.is(await ending(upstream), 'FIN');
			upstream.resetAndDestroy();
			t.is(await ending(client), 'ECONNRESET');
		},
		close: {reason: 'reset', by: 'upstream', code: 'ECONNRESET'},
	},
	'a reset by the upstream in the middle of an upload stops the client': {
		async happens(t, {client, upstream}) {
			const error = once(client, 'error') as Promise<[NodeJS.ErrnoException]>;
			const push = () => {
				client.write(late, failed => {
					if (!failed) {
						push();
					}
				});
			};

			push();
			await read(upstream, 3_000_000);
			upstream.resetAndDestroy();
			const [{code}] = await error;
			t.true(['ECONNRESET', 'EPIPE'].includes(code!), code);
		},
		close: {reason: 'reset', by: 'upstream'},
	},
	'tunnel.close() delivers what was received and sends both ends a FIN': {
		async happens(t, {client, upstream, tunnel}, running) {
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
			t.is(running.tunnels.stats().open, 0);
		},
		close: {reason: 'closed', by: 'proxy'},
	},
	'tunnel.reset() resets both ends': {
		async happens(t, {client, upstream, tunnel}) {
			tunnel.reset();
			t.deepEqual(await Promise.all([ending(client), ending(upstream)]), ['ECONNRESET', 'ECONNRESET']);
		},
		close: {reason: 'reset', by: 'proxy'},
	},
	'destroy() of the client socket in JavaScript ends both ends': {
		async happens(t, {client, upstream, tunnel}) {
			tunnel.client.destroy();
			await Promise.all([ending(client), ending(upstream)]);
			t.true(client.readableEnded || client.destroyed);
		},
		close: {reason: 'destroyed'},
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

for (const [title, ending] of Object.entries(endings)) {
	for (const kind of kinds) {
		onEachEngine(`${kind}: ${title}, and the tunnel closes once`, closesOnce, kind, ending);
	}
}

async function closesOnce(t: ExecutionContext, engine: Carrier, kind: Kind, {happens, close}: Ending): Promise<void> {
	const {running, open} = await startEnds(t, engine);
	const closes: TunnelStats[] = [];
	running.tunnels.on('close', (_tunnel: Tunnel, stats: TunnelStats) => {
		closes.push(stats);
	});

	const ends = await open(kind, {inKernel: true});
	const socketsClosed = Promise.all([closed(ends.tunnel.client), closed(ends.tunnel.upstream)]);
	await within('the ends see the ending', happens(t, ends, running));
	await running.closeOf(ends.tunnel);
	await within('both sockets of the proxy are closed', socketsClosed);
	await running.stop();
	t.is(closes.length, 1);
	t.like(closes[0], {engine, ...close});
	t.is(running.tunnels.stats().open, 0);
	t.is(running.tunnels.stats().closed, 1);
}

onEachEngine('a client killed with SIGKILL is a FIN to the upstream', async (t, engine) => {
	const {running, upstreamPort} = await startConnectProxy(t, engine);
	const {child, next} = await clientProcess(t, running.port, upstreamPort.port);
	const tunnel = await running.tunnelOf(await next() as number);
	const upstream = await upstreamPort.accepted(tunnel.upstream.localPort!);
	child.kill('SIGKILL');
	t.is(await within('the upstream hears of it', ending(upstream)), 'FIN');
	upstream.end();
	t.like(await running.closeOf(tunnel), {engine});
});

onEachEngine('a client killed with SIGKILL before it read everything is a reset to the upstream', async (t, engine) => {
	const {running, upstreamPort} = await startConnectProxy(t, engine);
	const {child, next} = await clientProcess(t, running.port, upstreamPort.port);
	const tunnel = await running.tunnelOf(await next() as number);
	const upstream = await upstreamPort.accepted(tunnel.upstream.localPort!);
	upstream.write(late);
	await untilNothingMoves(() => tunnel.stats().upstreamToClient.bytes);
	child.kill('SIGKILL');
	t.is(await within('the upstream hears of it', ending(upstream)), 'ECONNRESET');
	t.like(await running.closeOf(tunnel), {engine, reason: 'reset', by: 'client'});
});

onEachEngine('an upstream killed with SIGKILL is a FIN to the client', async (t, engine) => {
	const {child, next} = program(t, `
		const server = require('node:net').createServer(() => process.send('accepted')).listen(0, '127.0.0.1', () => process.send(server.address().port));
	`);
	const port = await next() as number;
	const running = await startProxy(t, {engine, allow: [`127.0.0.1:${port}`]});
	const client = await dial(t, running.port);
	client.write(connectRequest(port));
	await readHead(client);
	const tunnel = await running.tunnelOf(client);
	t.is(await next(), 'accepted');
	child.kill('SIGKILL');
	t.is(await within('the client hears of it', ending(client)), 'FIN');
	client.end();
	t.like(await running.closeOf(tunnel), {engine});
});

onEachEngine('http-proxy emits its own close once, after a graceful end, whoever began', async (t, engine) => {
	for (const first of ['client', 'upstream'] as const) {
		/* eslint-disable no-await-in-loop */
		const {running, open} = await startEnds(t, engine);
		let closes = 0;
		running.proxy.on('close', () => {
			closes++;
		});
		const ends = await open('upgrade', {inKernel: true});
		const second = first === 'client' ? 'upstream' : 'client';
		ends[first].end();
		t.is(await ending(ends[second]), 'FIN');
		ends[second].end();
		t.is(await ending(ends[first]), 'FIN');
		await running.closeOf(ends.tunnel);
		await running.stop();
		t.is(closes, 1, `the ${first} began`);
		/* eslint-enable no-await-in-loop */
	}
});

onEachEngine('the sockets in JavaScript emit end at the FIN of their end, while the other goes on', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	for (const kind of kinds) {
		for (const first of ['client', 'upstream'] as const) {
			/* eslint-disable no-await-in-loop */
			const ends = await open(kind, {inKernel: true});
			const second = first === 'client' ? 'upstream' : 'client';
			const order: string[] = [];
			for (const end of ['client', 'upstream'] as const) {
				for (const event of ['end', 'close']) {
					ends.tunnel[end].on(event, () => {
						order.push(`${end} ${event}`);
					});
				}
			}

			const ended = once(ends.tunnel[first], 'end');
			ends[first].end();
			await within('the socket emits end', ended);
			t.deepEqual(order, [`${first} end`]);
			ends[second].end('still here');
			t.is(await readTextToEnd(ends[first]), 'still here');
			await running.closeOf(ends.tunnel);
			await until('both sockets emit close', () => order.length === 4);
			t.deepEqual(order.toSorted(), ['client close', 'client end', 'upstream close', 'upstream end']);
			t.true(order.indexOf(`${second} end`) < order.indexOf(`${second} close`));
			/* eslint-enable no-await-in-loop */
		}
	}
});

onEachEngine('tunnels.close() ends every tunnel and takes no new one', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const all = [await open('upgrade', {inKernel: true}), await open('connect', {inKernel: true})];
	const closing = running.tunnels.close();
	for (const {client, upstream} of all) {
		t.deepEqual(await within('both ends see a FIN', Promise.all([ending(client), ending(upstream)])), ['FIN', 'FIN']); // eslint-disable-line no-await-in-loop
		client.end();
		upstream.end();
	}

	await within('tunnels.close() resolves', closing);
	t.like(running.tunnels.stats(), {open: 0, opened: 2, closed: 2});
});

onEachEngine('tunnels.close({timeout}) resets those that do not let themselves be drained', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const {client, tunnel} = await open('connect', {inKernel: true});
	client.write(pattern(1, 0, 1_000_000));
	for (let position = 0; position < 40; position++) {
		client.write(late);
	}

	// Until then it might find the source quiet, and have everything delivered that has come.
	await untilNothingMoves(() => tunnel.stats().clientToUpstream.bytes);
	const error = once(client, 'error') as Promise<[NodeJS.ErrnoException]>;
	await within('tunnels.close() resolves', running.tunnels.close({timeout: 200}), 5000);
	const [{code}] = await within('the client is reset', error);
	t.true(['ECONNRESET', 'EPIPE'].includes(code!), code);
	t.like(await running.closeOf(tunnel), {engine});
});

onEachEngine('a pair of sockets given to tunnels.splice() is a tunnel like the others', async (t, engine) => {
	const running = await startProxy(t, {engine});
	const target = await startUpstream(t, {onConnection: echo});
	const front = await startUpstream(t);
	const client = await dial(t, front.port);
	const accepted = await front.accepted(client.localPort!);
	const dialled = await dial(t, target.port);
	const context = {user: 'somebody'};
	const tunnel = running.tunnels.splice(accepted, dialled, context);
	t.is(tunnel.kind, 'pair');
	t.is(tunnel.context, context);
	t.is(await running.tunnelOf(client), tunnel);
	client.end(late);
	t.true(same(await readToEnd(client), late));
	t.like(await running.closeOf(tunnel), {engine, reason: 'end', by: 'client'});
});

async function startConnectProxy(t: ExecutionContext, engine: Carrier) {
	const upstreamPort = await startUpstream(t);
	const running = await startProxy(t, {engine, allow: [`127.0.0.1:${upstreamPort.port}`]});
	return {running, upstreamPort};
}

/** The reader reads nothing, and has some bytes by then. */
async function untilNothingMoves(moved: () => number): Promise<void> {
	let [bytes, looks] = [0, 0];
	await until('nothing moves any more', () => {
		const before = bytes;
		bytes = moved();
		looks = bytes > 0 && bytes === before ? looks + 1 : 0;
		return looks > 100;
	});
}

/** A process that holds the client end of a tunnel, and reads nothing after the head. It says from which port. */
async function clientProcess(t: ExecutionContext, proxyPort: number, targetPort: number) {
	return program(t, `
		const socket = require('node:net').connect(${proxyPort}, '127.0.0.1', () => socket.write(${JSON.stringify(connectRequest(targetPort))}));
		socket.once('data', () => {
			socket.pause();
			process.send(socket.localPort);
		});
	`);
}

/** A process of plain JavaScript, and what it says, one message after the other. */
function program(t: ExecutionContext, source: string) {
	const child = spawn(process.execPath, ['--eval', source], {stdio: ['ignore', 'inherit', 'inherit', 'ipc']});
	const exited = once(child, 'exit');
	t.teardown(async () => {
		child.kill('SIGKILL');
		await exited;
	});
	const messages = on(child, 'message');
	return {
		child,
		async next(): Promise<unknown> {
			const {value} = await within('the process says something', messages.next()) as {readonly value: readonly [unknown]};
			return value[0];
		},
	};
}
