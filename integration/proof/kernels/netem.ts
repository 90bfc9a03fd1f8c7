import {execFile} from 'node:child_process';
import {promisify} from 'node:util';
import type {ExecutionContext} from 'ava';
import {kinds, startEnds} from '../../ends.ts';
import {assertCarriedBy, onEachEngine, type Carrier} from '../../engines.ts';
import {pattern, PatternReader} from '../../pattern.ts';
import {readSome} from '../../wire.ts';

// Kernels that have netem, as Debian's do, can make the loopback interface as bad as a network. Every packet of a tunnel
// passes it twice, and so does every acknowledgement.

const run = promisify(execFile);

for (const [title, fault] of [
	['2 % of the packets are lost', 'delay 1ms loss 2%'],
	['packets are delayed by 20 ms, give or take 5, and overtake each other', 'delay 20ms 5ms'],
	['every fourth packet overtakes others', 'delay 10ms reorder 25% 50%'],
	['one in twenty packets comes twice', 'delay 1ms duplicate 5%'],
	['all of it happens at once', 'delay 10ms 5ms loss 1% duplicate 1% reorder 5%'],
	['packets are corrupted', 'delay 1ms corrupt 1%'],
] as const) {
	onEachEngine(`netem: every byte arrives where ${title}`, arrives, fault);
}

async function arrives(t: ExecutionContext, engine: Carrier, fault: string): Promise<void> {
	const {running, open} = await startEnds(t, engine);
	const tunnels = [];
	for (const kind of kinds) {
		tunnels.push(await open(kind, {inKernel: true})); // eslint-disable-line no-await-in-loop
	}

	t.teardown(async () => {
		await run('tc', ['qdisc', 'del', 'dev', 'lo', 'root']);
	});
	await run('tc', ['qdisc', 'add', 'dev', 'lo', 'root', 'netem', ...fault.split(' ')]);

	await Promise.all(tunnels.map(async ({client, upstream, tunnel}) => {
		// Both ways at once; the client ends first, and the upstream has more to say after that.
		client.end(pattern(0, 0, bulk));
		upstream.write(pattern(1, 0, bulk));
		const [there, back] = [new PatternReader(0), new PatternReader(1)];
		for (let chunk; (chunk = await readSome(upstream)) !== undefined;) { // eslint-disable-line no-await-in-loop
			there.take(chunk);
		}

		upstream.end(pattern(1, bulk, tail));
		for (let chunk; (chunk = await readSome(client)) !== undefined;) { // eslint-disable-line no-await-in-loop
			back.take(chunk);
		}

		t.deepEqual([there.received, back.received], [bulk, bulk + tail]);
		const stats = await running.closeOf(tunnel);
		t.deepEqual([stats.clientToUpstream.bytes, stats.upstreamToClient.bytes], [bulk, bulk + tail]);
		t.is(stats.reason, 'end');
		assertCarriedBy(t, engine, stats);
	}));

	const {stdout} = await run('tc', ['-s', 'qdisc', 'show', 'dev', 'lo']);
	t.log(stdout.replaceAll(/\s+/gu, ' '));
}

const bulk = 1_000_000;

const tail = 50_000;
