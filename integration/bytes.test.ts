import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import type net from 'node:net';
import process from 'node:process';
import {setImmediate as turn, setTimeout as wait} from 'node:timers/promises';
import type {Tunnel} from '../plugin/index.ts';
import {kinds, startEnds, type Ends} from './ends.ts';
import {onEachEngine} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, PatternReader} from './pattern.ts';
import {logarithmic, seeded} from './random.ts';
import {within} from './until.ts';
import {readSome} from './wire.ts';

nothingIsLeft();

// `SEED=… npx ava integration/bytes.test.ts` repeats a run that failed, as far as the kernel's timing can be repeated.
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 4_294_967_296));
const atOnce = 24;
const duration = 10_000;

onEachEngine(`${atOnce} tunnels at once, random writes, pauses, readers and half-closes, for ten seconds: every byte arrives once and in order`, async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const deadline = Date.now() + duration;
	const sum = {
		tunnels: 0, bytes: 0, redirected: 0, spilled: 0, piped: 0,
	};

	const keepOpening = async (worker: number) => {
		const random = seeded(seed + worker);
		for (let round = 0; Date.now() < deadline; round++) {
			/* eslint-disable no-await-in-loop */
			let tunnel: Tunnel | undefined;
			try {
				const kind = kinds[Math.floor(random() * 2)]!;
				const ends = await within('a tunnel is opened', open(kind, {highWaterMark: random() < 0.2 ? 512 : 65_536}));
				({tunnel} = ends);
				const [there, back] = await within('a tunnel has ended', converse(ends, random), 40_000);
				const stats = await running.closeOf(ends.tunnel);
				t.deepEqual([stats.clientToUpstream.bytes, stats.upstreamToClient.bytes], [there, back], `bytes counted: ${JSON.stringify(stats)}`);
				t.is(stats.reason, 'end');
				t.is(stats.engine, engine);
				sum.tunnels++;
				for (const lane of [stats.clientToUpstream, stats.upstreamToClient]) {
					for (const counter of ['bytes', 'redirected', 'spilled', 'piped'] as const) {
						sum[counter] += lane[counter];
					}
				}
			} catch (error) {
				throw new Error(`SEED=${seed}, worker ${worker}, tunnel ${round}: ${(error as Error).message} ${JSON.stringify(tunnel?.stats())}`, {cause: error});
			}
			/* eslint-enable no-await-in-loop */
		}
	};

	await Promise.all(Array.from({length: atOnce}, async (_, worker) => keepOpening(worker)));
	t.log(engine, sum);
	t.true(sum.tunnels >= atOnce);
	t.is(sum.redirected > 0, engine === 'sockmap');
	t.is(sum.piped > 0, engine !== 'stream');
	t.is(sum.bytes, engine === 'stream' ? sum.bytes : sum.redirected + sum.spilled + sum.piped);
});

/** What one end sends: how much of which pattern, in writes of up to how many bytes. */
type Flow = {readonly origin: number; readonly length: number; readonly largest: number; readonly random: () => number};

/** Traffic of both ends at once, until each has said its FIN. Resolves with the bytes sent by each. */
async function converse({client, upstream}: Ends, random: () => number): Promise<[number, number]> {
	const [there, back] = [flow(random), flow(random)];
	const clientHasRead = receive(client, back);
	const upstreamHasRead = receive(upstream, there);
	// Some end only after they have heard the other one out: half-closes of all kinds.
	const clientWaits = random() < 0.25;
	const upstreamWaits = !clientWaits && random() < 0.3;
	await Promise.all([
		send(client, there, clientWaits ? clientHasRead : undefined),
		send(upstream, back, upstreamWaits ? upstreamHasRead : undefined),
		clientHasRead,
		upstreamHasRead,
	]);
	return [there.length, back.length];
}

function flow(random: () => number): Flow {
	const largest = logarithmic(random, 64, 262_144);
	// Not more than what some hundreds of writes can say.
	const length = random() < 0.1 ? 0 : logarithmic(random, 1, 60 * largest);
	return {
		origin: Math.floor(random() * 1e6), length, largest, random: seeded(random() * 1e9),
	};
}

async function send(socket: net.Socket, {origin, length, largest, random}: Flow, beforeFin: Promise<void> | undefined): Promise<void> {
	const restless = random();
	for (let sent = 0; sent < length;) {
		const size = Math.min(length - sent, logarithmic(random, 1, largest));
		/* eslint-disable no-await-in-loop */
		if (!socket.write(pattern(origin, sent, size))) {
			await once(socket, 'drain');
		}

		sent += size;
		const dice = random();
		if (dice < restless * 0.2) {
			await turn();
		} else if (dice > 1 - (restless * 0.02)) {
			await wait(random() * 20);
		}
		/* eslint-enable no-await-in-loop */
	}

	await beforeFin;
	socket.end();
}

/** Reads and compares up to the FIN: at once, in sips, with rests, or late. */
async function receive(socket: net.Socket, {origin, length, random}: Flow): Promise<void> {
	const reader = new PatternReader(origin);
	const manner = manners[Math.floor(random() * manners.length)]!;
	if (manner === 'late') {
		await wait(random() * 1000);
	}

	for (;;) {
		/* eslint-disable no-await-in-loop */
		const chunk = await readSome(socket, manner === 'in sips' ? logarithmic(random, 1, 16_384) : undefined);
		if (chunk === undefined) {
			break;
		}

		reader.take(chunk);
		if (manner === 'with rests' && random() < 0.3) {
			await wait(random() * 15);
		}
		/* eslint-enable no-await-in-loop */
	}

	if (reader.received !== length) {
		throw new Error(`The stream ended after ${reader.received} bytes of ${length}`);
	}
}

const manners = ['at once', 'at once', 'in sips', 'with rests', 'with rests', 'late'] as const;
