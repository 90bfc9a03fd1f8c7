import {availableParallelism} from 'node:os';
import test from 'ava';
import {type Result} from './point.ts';
import {attempts, bearable, undisturbed} from './undisturbed.ts';

for (const [title, shares, measured, kept] of [
	['what was not disturbed is not measured again', [0], 1, 0],
	['what was hardly disturbed is not either', [bearable], 1, 0],
	['what was disturbed is measured until it is not', [0.2, 0.1, 0], 3, 2],
	['where it is disturbed each time, the one that was least counts', [0.2, 0.05, 0.1, 0.3], attempts, 1],
] as const) {
	test(title, async t => {
		const results = shares.map(share => resultWith(share * 2 * availableParallelism()));
		const left = [...results];
		const told: number[] = [];
		const result = await undisturbed(async () => left.shift()!, share => told.push(share));
		t.is(result, results[kept]!);
		t.is(results.length - left.length, measured);
		t.is(told.length, measured - 1);
	});
}

function resultWith(stolen: number): Result {
	const memory = {rss: 0, descriptors: 0, slab: 0, sockets: 0, available: 0};
	return {
		mode: 'echo', tunnels: 1, size: 1, seconds: 2, messages: 1, rate: 0.5, bytes: 1, bytesPerSecond: 0.5, corrupt: 0,
		latency: {count: 1, mean: 1, p50: 1, p90: 1, p99: 1, p999: 1, max: 1},
		cpu: {proxy: 0, machine: 0, client: 0, upstream: 0, stolen},
		switches: {voluntary: 0, involuntary: 0},
		idle: memory,
		loaded: memory,
	};
}
