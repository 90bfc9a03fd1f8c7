import {Buffer} from 'node:buffer';
import type net from 'node:net';
import type {ExecutionContext} from 'ava';
import {
	connectRequest, kinds, upgradeRequest, type Kind,
} from './ends.ts';
import {onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, PatternReader} from './pattern.ts';
import {startProxy} from './proxy.ts';
import {within} from './until.ts';
import {startUpstream, switchingProtocols} from './upstream.ts';
import {
	dial, readHead, readSome, readTextToEnd, readToEnd,
} from './wire.ts';

/**
How many bytes come glued to the head (`CONNECT`, the upgrade request; the 101, or sent by an upstream that greets), how many in the very
next write after it, and how many as soon as the tunnel is known to be open.
*/
type Pieces = {readonly glued: number; readonly next: number; readonly later: number};

type Heads = {readonly fromClient?: Pieces; readonly fromUpstream?: Pieces};

nothingIsLeft();

const none: Pieces = {glued: 0, next: 0, later: 0};

const sizes: ReadonlyArray<readonly [string, Pieces]> = [
	['one byte glued', {glued: 1, next: 0, later: 100}],
	['bytes glued', {glued: 500, next: 0, later: 100}],
	['bytes in the very next segment', {glued: 0, next: 500, later: 100}],
	['bytes glued and in the very next segment', {glued: 500, next: 700, later: 100}],
	['more glued than Node reads at once, and more to follow', {glued: 300_000, next: 300_000, later: 1_000_000}],
];

for (const kind of kinds) {
	for (const [name, pieces] of sizes) {
		onEachEngine(`${kind}: ${name}, from the client, arrive first, once and in order`, headsArrive, kind, {fromClient: pieces});
		onEachEngine(`${kind}: ${name}, from the upstream, arrive first, once and in order`, headsArrive, kind, {fromUpstream: pieces});
	}

	onEachEngine(`${kind}: heads of both ends at once arrive first, once and in order`, headsArrive, kind, {fromClient: sizes[3]![1], fromUpstream: sizes[3]![1]});
	onEachEngine(`${kind}: long heads of both ends at once arrive first, once and in order`, headsArrive, kind, {fromClient: sizes[4]![1], fromUpstream: sizes[4]![1]});
	onEachEngine(`${kind}: a client that says everything and its FIN at once is heard to the end and answered`, allAtOnce, kind);
}

async function headsArrive(t: ExecutionContext, engine: Carrier, kind: Kind, {fromClient = none, fromUpstream = none}: Heads): Promise<void> {
	const upstream = await startUpstream(t, {
		...(kind === 'upgrade' && {switching: Buffer.concat([Buffer.from(switchingProtocols), pattern(2, 0, fromUpstream.glued)])}),
		onConnection(socket) {
			if (kind === 'connect') {
				write(socket, 2, 0, fromUpstream.glued);
			}

			write(socket, 2, fromUpstream.glued, fromUpstream.next);
		},
	});
	const running = await startProxy(t, {engine, target: `http://127.0.0.1:${upstream.port}`, allow: [`127.0.0.1:${upstream.port}`]});

	const client = await dial(t, running.port);
	const request = kind === 'upgrade' ? upgradeRequest() : connectRequest(upstream.port);
	client.write(Buffer.concat([Buffer.from(request), pattern(1, 0, fromClient.glued)]));
	write(client, 1, fromClient.glued, fromClient.next);
	await within('the tunnel is opened', readHead(client));
	const clientReads = check(client, 2, total(fromUpstream));
	const tunnel = await running.tunnelOf(client);
	const far = await upstream.accepted(tunnel.upstream.localPort!);
	const upstreamReads = check(far, 1, total(fromClient));

	write(client, 1, fromClient.glued + fromClient.next, fromClient.later);
	write(far, 2, fromUpstream.glued + fromUpstream.next, fromUpstream.later);
	client.end();
	far.end();
	await within('all is read', Promise.all([clientReads, upstreamReads]));

	const stats = await running.closeOf(tunnel);
	t.is(stats.clientToUpstream.bytes, total(fromClient));
	t.is(stats.upstreamToClient.bytes, total(fromUpstream));
	t.is(stats.engine, engine);
}

async function allAtOnce(t: ExecutionContext, engine: Carrier, kind: Kind): Promise<void> {
	const upstream = await startUpstream(t, {
		...(kind === 'upgrade' && {switching: switchingProtocols}),
		async onConnection(socket) {
			const asked = await readToEnd(socket);
			socket.end(`${asked.length} bytes, and here is the answer`);
		},
	});
	// A FIN that came with the head may have been read by Node, and then the kernel has nothing left to do.
	const running = await startProxy(t, {
		engine, strict: false, target: `http://127.0.0.1:${upstream.port}`, allow: [`127.0.0.1:${upstream.port}`],
	});
	const client = await dial(t, running.port);
	client.write(kind === 'upgrade' ? upgradeRequest() : connectRequest(upstream.port));
	client.end(pattern(1, 0, 5000));
	await within('the tunnel is opened', readHead(client));
	t.is(await within('the answer is there', readTextToEnd(client)), '5000 bytes, and here is the answer');
}

/** Reads to the FIN and compares. */
async function check(socket: net.Socket, origin: number, length: number): Promise<void> {
	const reader = new PatternReader(origin);
	for (let chunk; (chunk = await readSome(socket)) !== undefined;) { // eslint-disable-line no-await-in-loop
		reader.take(chunk);
	}

	if (reader.received !== length) {
		throw new Error(`${reader.received} bytes arrived of ${length}`);
	}
}

function write(socket: net.Socket, origin: number, position: number, length: number): void {
	if (length > 0) {
		socket.write(pattern(origin, position, length));
	}
}

function total({glued, next, later}: Pieces): number {
	return glued + next + later;
}

