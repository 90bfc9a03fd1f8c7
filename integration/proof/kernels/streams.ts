import {once} from 'node:events';
import {setTimeout as wait} from 'node:timers/promises';
import {kinds, startEnds, type Ends} from '../../ends.ts';
import {assertCarriedBy, onEachEngine} from '../../engines.ts';
import {pattern, PatternReader} from '../../pattern.ts';
import {logarithmic, seeded} from '../../random.ts';
import {readSome} from '../../wire.ts';

// The streams that a kernel has to carry: many at once, and one whose reader stalls. Sized for an emulated machine.

onEachEngine('40 tunnels, eight at once, with random writes, pauses and readers, carry every byte once and in order', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const sum = {
		tunnels: 0, bytes: 0, redirected: 0, spilled: 0, piped: 0, spills: 0,
	};
	await Promise.all(Array.from({length: 8}, async (_, worker) => {
		const random = seeded(worker);
		for (let round = 0; round < 5; round++) {
			/* eslint-disable no-await-in-loop */
			const ends = await open(kinds[round % 2]!, {inKernel: true});
			const lengths = [logarithmic(random, 1, 400_000), logarithmic(random, 1, 400_000)] as const;
			await Promise.all([
				send(ends.client, worker, lengths[0], random),
				send(ends.upstream, round, lengths[1], random),
				receive(ends.upstream, worker, lengths[0], random),
				receive(ends.client, round, lengths[1], random),
			]);
			const stats = await running.closeOf(ends.tunnel);
			t.is(stats.reason, 'end');
			t.deepEqual([stats.clientToUpstream.bytes, stats.upstreamToClient.bytes], [...lengths]);
			assertCarriedBy(t, engine, stats);
			sum.tunnels++;
			for (const lane of [stats.clientToUpstream, stats.upstreamToClient]) {
				for (const counter of ['bytes', 'redirected', 'spilled', 'piped', 'spills'] as const) {
					sum[counter] += lane[counter];
				}
			}
			/* eslint-enable no-await-in-loop */
		}
	}));
	t.log(sum);
});

onEachEngine('a reader that stalls blocks its sender, and gets everything when it goes on', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const {client, upstream, tunnel} = await open('connect', {inKernel: true});
	let accepted = 0;
	let written = 0;
	let pushing = true;
	const push = () => {
		const position = written;
		written += chunk;
		client.write(pattern(0, position, chunk), error => {
			accepted += error ? 0 : chunk;
			if (!error && pushing && accepted < enough) {
				push();
			}
		});
	};

	push();
	// Being blocked is nothing that happens.
	const goesOn = async (before: number): Promise<boolean> => {
		await wait(3000);
		return accepted !== before && accepted < enough;
	};

	while (await goesOn(accepted)) {} // eslint-disable-line no-await-in-loop, no-empty

	pushing = false;
	t.log(`blocked after ${(accepted / 1e6).toFixed(1)} MB`);
	t.true(accepted < enough, `not blocked after ${accepted} bytes`);
	client.end();
	await receive(upstream, 0, written, () => 0);
	upstream.end();
	const stats = await running.closeOf(tunnel);
	t.is(stats.clientToUpstream.bytes, written);
	assertCarriedBy(t, engine, stats);
});

async function send(socket: Ends['client'], origin: number, length: number, random: () => number): Promise<void> {
	for (let sent = 0; sent < length;) {
		const size = Math.min(length - sent, logarithmic(random, 1, 65_536));
		/* eslint-disable no-await-in-loop */
		if (!socket.write(pattern(origin, sent, size))) {
			await once(socket, 'drain');
		}

		sent += size;
		if (random() < 0.1) {
			await wait(random() * 20);
		}
		/* eslint-enable no-await-in-loop */
	}

	socket.end();
}

async function receive(socket: Ends['client'], origin: number, length: number, random: () => number): Promise<void> {
	const reader = new PatternReader(origin);
	for (;;) {
		/* eslint-disable no-await-in-loop */
		const bytes = await readSome(socket);
		if (bytes === undefined) {
			break;
		}

		reader.take(bytes);
		if (random() > 0.8) {
			await wait(random() * 20);
		}
		/* eslint-enable no-await-in-loop */
	}

	if (reader.received !== length) {
		throw new Error(`The stream ended after ${reader.received} bytes of ${length}`);
	}
}

const chunk = 65_536;

// The most that buffers may hold: 4 MiB to be sent and 2 to be received at the proxy, 6 + 4 at the ends, and what the
// relay takes off an overdrawn receive buffer.
const enough = (4 + 2 + 6 + 4 + 8) * 1024 * 1024;
