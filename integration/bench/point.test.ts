import {existsSync} from 'node:fs';
import process from 'node:process';
import test from 'ava';
import {nothingIsLeft} from '../leaks.ts';
import {contestants} from './contestants.ts';
import {measurePoint} from './point.ts';

// The load itself, on the contestant that is always there, and on one engine.
for (const name of ['http-proxy', 'sockmap', 'sockmap-connect']) {
	const title = `${name} is measured, and its bytes are checked`;
	const reason = process.platform === 'linux' && process.getuid?.() === 0 ? undefined : 'this is not root on Linux';
	if (reason === undefined) {
		test.serial(title, async t => {
			const contestant = contestants.find(contestant => contestant.name === name)!;
			const {messages, bytes, corrupt, latency, cpu} = await measurePoint(contestant, ['echo', '--tunnels', '4', '--size', '1000', '--seconds', '0.2', '--warmup', '0.1']);
			t.true(messages > 0);
			t.true(Math.abs(bytes - (1000 * messages)) <= 4 * 1000);
			t.is(corrupt, 0);
			t.is(latency.count, messages);
			t.true(latency.p50 > 0 && latency.p50 <= latency.p99 && latency.p99 <= latency.max);
			t.true(cpu.machine > 0);
		});
	} else {
		test(`skipped, ${reason}: ${title}`, t => {
			t.log(`skipped: ${reason}`);
			t.pass();
		});
	}
}

test.serial('what goes wrong is an error, not a number', async t => {
	if (!existsSync('/run/netns') && process.getuid?.() !== 0) {
		t.log('skipped: this is not root');
		t.pass();
		return;
	}

	const [direct] = contestants;
	await t.throwsAsync(measurePoint(direct!, ['echo', '--colour', 'blue']), {message: /unknown option --colour/u});
});

nothingIsLeft();
