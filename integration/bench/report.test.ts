import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import path from 'node:path';
import test from 'ava';
import {type Line} from './line.ts';
import {addLine, addRun, readRaw} from './raw.ts';
import {draw, plots} from './report/plots.ts';
import {report} from './report/report.ts';
import {choices, losses, outcomeOf} from './report/targets.ts';
import {trials} from './trials.ts';

test('the report is made of what was written', async t => {
	const folder = await mkdtemp(path.join(tmpdir(), 'bench-'));
	t.teardown(async () => rm(folder, {recursive: true}));
	const file = path.join(folder, 'raw.jsonl');
	addRun(run, file);
	const lines = [line('sockmap', 30_000), line('haproxy', 20_000), line('http-proxy', 10_000)];
	for (const line of lines) {
		addLine(line, file);
	}

	t.deepEqual(readRaw(file), {runs: [run], lines});
	const text = report(readRaw(file), []);
	t.regex(text, /Linux 6\.18/u);
	t.regex(text, /\| echo, 1 tunnel, 64 B: rate, sockmap against HAProxy tcp \| ≥ 1\.15 × \| 1\.5 × \| {2}\| yes \|/u);
	t.regex(text, /\| sockmap \| 30,000 \|/u);
	t.regex(text, /not measured \| {2}\| \*\*no\*\*/u);
});

test('a target that is missed says so, however close it was', t => {
	const target = {
		what: 'rate', trial: 'echo 1 × 64 B', figure: 'rate', of: 'sockmap', against: 'haproxy', atLeast: 1.15,
	} as const;
	t.true(outcomeOf(target, [line('sockmap', 1150), line('haproxy', 1000)]).isReached);
	t.false(outcomeOf(target, [line('sockmap', 1149), line('haproxy', 1000)]).isReached);
	t.false(outcomeOf(target, [line('sockmap', 1149)]).isReached);
});

test('auto is held against the better of the two that it chooses from', t => {
	const [choice] = choices([line('auto', 90), line('sockmap', 100), line('splice', 50)]);
	t.like(choice, {trial: 'echo 1 × 64 B (sockmap)', ratio: {median: 0.9}});
	// Not against a third that is always lucky.
	const lucky = [[100, 110], [110, 100], [100, 100]].flatMap(([sockmap, splice], repeat) => [line('auto', 100), line('sockmap', sockmap!), line('splice', splice!)].map(line => ({...line, repeat})));
	t.is(choices(lucky)[0]!.ratio.median, 1);
});

test('where it loses, rates are compared within a run, and what idle tunnels take with the latest of each', t => {
	const earlier = {run: '2026-01-01T00:00:00.000Z'};
	const later = {run: '2026-01-02T00:00:00.000Z'};
	t.deepEqual(losses([{...line('auto', 90), ...earlier}, {...line('haproxy', 100), ...earlier}, {...line('auto', 200), ...later}]), ['echo 1 × 64 B: auto has 0.9 times the rate of haproxy.']);
	const idle = (contestant: string, rss: number): Line => ({...line(contestant, 0), trial: 'idle 4000', rss});
	t.deepEqual(losses([{...idle('auto', 600), ...earlier}, {...idle('haproxy', 100), ...earlier}, {...idle('auto', 200), ...later}]), ['idle 4000: auto has 2 times the RSS for each tunnel of haproxy.']);
});

test('a plot is drawn without a browser', async t => {
	const svg = await draw(plots[0]!, [line('sockmap', 30_000), line('haproxy', 20_000)]);
	t.regex(svg!, /^<svg/u);
	t.regex(svg!, />sockmap</u);
	t.is(await draw(plots[0]!, []), undefined);
});

test('each trial has a name of its own', t => {
	t.is(new Set(trials.map(({name}) => name)).size, trials.length);
});

const run = {
	run: '2026-01-01T00:00:00.000Z',
	seconds: 1,
	repeats: 1,
	machine: {
		kernel: '6.18', cpu: 'Some CPU', processors: 2, memory: 2 ** 32, versions: {node: 'v20'}, commit: 'abc',
	},
};

function line(contestant: string, messages: number): Line {
	return {
		run: run.run, trial: 'echo 1 × 64 B', contestant, repeat: 1, tunnels: 1, seconds: 1, messages, bytes: 64 * messages, corrupt: 0, p50: 1, p99: 1, p999: 1, max: 1,
		proxy: 0, machine: 1, load: 1, stolen: 0, switches: 0, rss: 0, descriptors: 0, slab: 0, sockets: 0, available: 0,
	};
}
