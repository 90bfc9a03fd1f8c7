import {Buffer} from 'node:buffer';
import {performance} from 'node:perf_hooks';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import {
	kinds, startEnds, type Ends, type Kind,
} from './ends.ts';
import {onEngines, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, PatternReader} from './pattern.ts';
import {until, within} from './until.ts';
import {read, readSome} from './wire.ts';

nothingIsLeft();

// With `auto`, the tunnel is on the engine that the row names, and each direction chooses by its traffic.

for (const kind of kinds) {
	onEngines(['sockmap'], `auto has the messages of a ${kind} in the kernel after the first few`, messages, kind);
	onEngines(['sockmap'], `auto keeps a bulk transfer of a ${kind} in its pipe, while the answers go through the kernel`, bulk, kind);
}

async function messages(t: ExecutionContext, engine: Carrier, kind: Kind): Promise<void> {
	const {running, open} = await startEnds(t, 'auto');
	const {client, upstream, tunnel} = await open(kind);
	t.is(tunnel.engine, engine);
	const lanes = () => [tunnel.stats().clientToUpstream, tunnel.stats().upstreamToClient];
	t.deepEqual(lanes().map(({state}) => state), ['pipe', 'pipe'], 'nothing has shown yet that it pays');

	const message = Buffer.alloc(10_000, 'x');
	let rounds = 0;
	const promoted = () => lanes().every(({state}) => state === 'kernel');
	while (!promoted() && rounds < 200) {
		await within('a message has an answer', exchange({client, upstream}, message)); // eslint-disable-line no-await-in-loop
		rounds++;
	}

	t.true(rounds >= 16 && rounds < 100, `promoted after ${rounds} rounds`);
	await exchange({client, upstream}, message);
	t.true(lanes().every(({redirected}) => redirected >= message.length));

	client.end();
	upstream.end();
	const {reason} = await running.closeOf(tunnel);
	t.is(reason, 'end');
}

// 60 kB come as one segment. What tells a message from a part of a transfer is whether somebody answers.
for (const answered of [true, false]) {
	onEngines(['sockmap'], `auto ${answered ? 'has pieces that are answered in the kernel' : 'keeps pieces that nobody waits for in their pipe'}`, async (t, engine) => {
		const {running, open} = await startEnds(t, 'auto');
		const {client, upstream, tunnel} = await open('connect');
		t.is(tunnel.engine, engine);
		const piece = Buffer.alloc(60_000, 'x');
		for (let round = 0; round < 40; round++) {
			// eslint-disable-next-line no-await-in-loop
			await within('a piece arrives, and its answer', exchange({client, upstream}, piece, answered ? Buffer.from('thanks') : nothing));
		}

		t.is(tunnel.stats().clientToUpstream.promotions, answered ? 1 : 0);
		client.end();
		upstream.end();
		await running.closeOf(tunnel);
	});
}

// Of those that come often it takes many more, so that it shows first how many tunnels speak at once.
for (const [pause, title] of [[0, 'auto has small messages that come often in the kernel'], [12, 'auto has small messages that come now and then in the kernel after the first few']] as const) {
	onEngines(['sockmap'], title, async (t, engine) => {
		const {running, open} = await startEnds(t, 'auto');
		const {client, upstream, tunnel} = await open('connect');
		t.is(tunnel.engine, engine);
		const promotions = () => tunnel.stats().clientToUpstream.promotions;
		let rounds = 0;
		let rare = 0;
		while (promotions() === 0 && rounds < (pause === 0 ? 3000 : 300)) {
			const begin = performance.now();
			await within('a message has an answer', exchange({client, upstream}, Buffer.from('a message'))); // eslint-disable-line no-await-in-loop
			await wait(pause); // eslint-disable-line no-await-in-loop
			rounds++;
			// What the relay counts as ten milliseconds can be a little less here.
			rare += performance.now() - begin > 5 ? 1 : 0;
		}

		t.is(promotions(), 1, `after ${rounds} rounds`);
		t.true(rounds >= 15 && rounds + (15 * rare) > 200, `after ${rounds} rounds, ${rare} of them rare`);
		t.true(pause === 0 || rounds < 100, `after ${rounds} rounds`);
		client.end();
		upstream.end();
		await running.closeOf(tunnel);
	});
}

onEngines(['sockmap'], 'sockmap has long messages in the kernel too, once it has seen some', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const {client, upstream, tunnel} = await open('connect');
	const message = Buffer.alloc(16_384, 'x');
	for (let round = 0; round < 40; round++) {
		await within('a message has an answer', exchange({client, upstream}, message)); // eslint-disable-line no-await-in-loop
	}

	const {clientToUpstream, upstreamToClient} = tunnel.stats();
	t.deepEqual([clientToUpstream.promotions, upstreamToClient.promotions], [1, 1]);
	client.end();
	upstream.end();
	await running.closeOf(tunnel);
});

/** A message, and what it is answered with. */
async function exchange({client, upstream}: Pick<Ends, 'client' | 'upstream'>, message: Uint8Array, answer: Uint8Array = message): Promise<void> {
	client.write(message);
	await read(upstream, message.length);
	if (answer.length > 0) {
		upstream.write(answer);
		await read(client, answer.length);
	}
}

const nothing = new Uint8Array();

async function bulk(t: ExecutionContext, engine: Carrier, kind: Kind): Promise<void> {
	const {running, open} = await startEnds(t, 'auto');
	const {client, upstream, tunnel} = await open(kind);
	t.is(tunnel.engine, engine);

	// Nobody reads yet, so that there is always more to move once somebody does.
	const length = 32_000_000;
	client.write(pattern(0, 0, length));
	await until('the sender is blocked', () => client.bytesWritten > 1_000_000 && client.writableLength > 0);

	const received = new PatternReader(0);
	const answer = Buffer.alloc(5000, 'x');
	let answers = 0;
	while (received.received < length) {
		received.take((await within('more arrives', readSome(upstream)))!); // eslint-disable-line no-await-in-loop
		if (received.received > answers * 500_000) {
			answers++;
			upstream.write(answer);
			await within('the answer arrives', read(client, answer.length)); // eslint-disable-line no-await-in-loop
		}
	}

	const {clientToUpstream, upstreamToClient} = tunnel.stats();
	t.is(clientToUpstream.piped, length);
	t.is(clientToUpstream.promotions, 0);
	t.is(upstreamToClient.bytes, answers * answer.length);
	t.true(upstreamToClient.redirected > 0);
	client.end();
	upstream.end();
	const {reason} = await running.closeOf(tunnel);
	t.is(reason, 'end');
}
