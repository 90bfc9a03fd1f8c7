import {once} from 'node:events';
import net, {type AddressInfo} from 'node:net';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import {startEnds, type Kind} from './ends.ts';
import {assertCarriedBy, onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, PatternReader} from './pattern.ts';
import {within} from './until.ts';
import {dial, readSome, receiveQueue} from './wire.ts';

nothingIsLeft();

/** Who stalls, and after how many bytes read. */
type Stall = {readonly kind: Kind; readonly reader: 'client' | 'upstream'; readonly after: number};

const rows: ReadonlyArray<readonly [string, Stall]> = [
	['an upstream that never reads', {kind: 'connect', reader: 'upstream', after: 0}],
	['a client that never reads', {kind: 'connect', reader: 'client', after: 0}],
	['a WebSocket upstream that never reads', {kind: 'upgrade', reader: 'upstream', after: 0}],
	['a WebSocket client that never reads', {kind: 'upgrade', reader: 'client', after: 0}],
	['an upstream that stops reading after 32 MB', {kind: 'upgrade', reader: 'upstream', after: 32_000_000}],
	['a client that stops reading after 32 MB', {kind: 'connect', reader: 'client', after: 32_000_000}],
];

for (const [title, stall] of rows) {
	onEachEngine(`${title} blocks the sender about as soon as over one TCP connection, and gets everything when it goes on`, blocksTheSender, stall);
}

for (const [title, after] of [['two ends that both write and do not read', 0], ['two ends that both write and stop reading after 8 MB', 8_000_000]] as const) {
	onEachEngine(`${title} are blocked, and go on when one after the other reads`, async (t, engine) => {
		const {running, open} = await startEnds(t, engine);
		const {client, upstream, tunnel} = await open('connect', {inKernel: true});
		const [there, back] = [new PatternReader(0), new PatternReader(0)];
		const [fromClient, fromUpstream] = await Promise.all([pushUntilBlocked(client, upstream, after, there), pushUntilBlocked(upstream, client, after, back)]);
		t.log(`${engine}: blocked after ${megabytes(fromClient.parked)} and ${megabytes(fromUpstream.parked)}`);
		const lengths = [fromClient.finish(), fromUpstream.finish()];

		try {
			await within('the upstream gets everything while the client reads nothing', readAll(upstream, there));
			await within('and then the client', readAll(client, back));
		} catch (error) {
			t.log(`arrived: ${there.received} and ${back.received} of ${lengths.join(' and ')}`, tunnel.stats());
			throw error;
		}

		t.deepEqual([there.received, back.received], lengths);
		const stats = await running.closeOf(tunnel);
		t.deepEqual([stats.clientToUpstream.bytes, stats.upstreamToClient.bytes], lengths);
		assertCarriedBy(t, engine, stats);
	});
}

async function blocksTheSender(t: ExecutionContext, engine: Carrier, {kind, reader: stalled, after}: Stall): Promise<void> {
	const plain = await plainFigure(t, after);
	const {running, open} = await startEnds(t, engine);
	const {client, upstream, tunnel} = await open(kind, {inKernel: true});
	const [sender, reader] = stalled === 'upstream' ? [client, upstream] : [upstream, client];

	const lane = stalled === 'upstream' ? 'clientToUpstream' : 'upstreamToClient';
	const pattern = new PatternReader(0);
	const {parked, finish} = await pushUntilBlocked(sender, reader, after, pattern);
	t.log(`${engine}: blocked after ${megabytes(parked)}, plain TCP after ${megabytes(plain)}`);
	t.true(parked <= (1.5 * plain) + 4_000_000, `blocked after ${megabytes(parked)}, plain TCP after ${megabytes(plain)}`);

	const total = finish();
	await within('everything arrives', readAll(reader, pattern), 30_000);
	t.is(pattern.received, total);
	reader.end();
	const stats = await running.closeOf(tunnel);
	t.is(stats[lane].bytes, total);
	assertCarriedBy(t, engine, stats);
	t.is(stats[lane].spills > 0, engine === 'sockmap');
}

/** What one plain TCP connection takes when its reader stalls: the most of three, measured once. */
async function plainFigure(t: ExecutionContext, after: number): Promise<number> {
	const known = figures.get(after);
	if (known !== undefined) {
		return known;
	}

	const figure = Math.max(await plainRun(t, after), await plainRun(t, after), await plainRun(t, after));
	figures.set(after, figure);
	return figure;
}

async function plainRun(t: ExecutionContext, after: number): Promise<number> {
	const server = net.createServer({pauseOnConnect: true});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	const accepts = once(server, 'connection') as Promise<[net.Socket]>;
	const sender = await dial(t, (server.address() as AddressInfo).port);
	const [reader] = await accepts;
	const {parked} = await pushUntilBlocked(sender, reader, after, new PatternReader(0));
	reader.destroy();
	sender.destroy();
	server.close();
	return parked;
}

/**
Writes until nothing has been accepted for two times 300 ms in a row, to a reader that stalls after so many bytes.
`parked` is what was accepted and not read; without what the reader's own receive buffer holds if it has been read from, because the kernel
lets that grow, with luck to many megabytes, and no proxy has a say in it. `finish` ends the stream and says how long it is then.
*/
async function pushUntilBlocked(sender: net.Socket, reader: net.Socket, after: number, received: PatternReader): Promise<{readonly parked: number; finish(): number}> {
	let accepted = 0;
	let written = 0;
	let pushing = true;
	const push = () => {
		const position = written;
		written += chunkSize;
		sender.write(pattern(0, position, chunkSize), error => {
			if (!error) {
				accepted += chunkSize;
			}

			// A relay without back-pressure takes all the memory that there is.
			if (!error && pushing && accepted - received.received < enough) {
				push();
			}
		});
	};

	push();
	while (received.received < after) {
		received.take((await readSome(reader))!); // eslint-disable-line no-await-in-loop
	}

	for (let quiet = 0; quiet < 2;) {
		const before = accepted;
		await wait(300); // eslint-disable-line no-await-in-loop
		quiet = accepted === before ? quiet + 1 : 0;
		if (accepted - received.received >= enough) {
			throw new Error(`Not blocked after ${megabytes(accepted)}`);
		}
	}

	pushing = false;
	return {
		parked: accepted - received.received - (after > 0 ? receiveQueue(reader) : 0),
		finish() {
			sender.end();
			return written;
		},
	};
}

async function readAll(socket: net.Socket, received: PatternReader): Promise<void> {
	for (let chunk; (chunk = await readSome(socket)) !== undefined;) { // eslint-disable-line no-await-in-loop
		received.take(chunk);
	}
}

function megabytes(bytes: number): string {
	return `${(bytes / 1e6).toFixed(1)} MB`;
}

const figures = new Map<number, number>();

const chunkSize = 65_536;

const enough = 100_000_000;
