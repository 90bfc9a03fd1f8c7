import {
	type Figure, figureOf, linesOf, ratioOf,
} from '../figures.ts';
import {type Line} from '../line.ts';
import {mapped, type Spread} from '../statistics.ts';
import {trials, type Trial} from '../trials.ts';
import {
	fromTo, number, table, withSpread,
} from './format.ts';

/** What was to be reached: a figure of one contestant against the same figure of others, or for itself. */
export type Target = {
	readonly what: string;
	readonly trial: string;
	readonly figure: Figure;
	readonly of: string;
	readonly against?: string;

	/** Where the other figure is of another trial. */
	readonly againstTrial?: string;

	/** What the figure is multiplied by before it is compared and shown. */
	readonly scale?: number;
	readonly unit?: string;
} & ({readonly atLeast: number} | {readonly atMost: number});

export type Outcome = {readonly what: string; readonly aim: string; readonly reached: Spread | undefined; readonly isReached: boolean; readonly unit: string};

const targets: readonly Target[] = [
	{
		what: 'echo, 1 tunnel, 64 B: rate, sockmap against HAProxy tcp', trial: 'echo 1 × 64 B', figure: 'rate', of: 'sockmap', against: 'haproxy', atLeast: 1.15,
	},
	{
		what: 'echo, 1 tunnel, 64 B: rate, sockmap against http-proxy alone', trial: 'echo 1 × 64 B', figure: 'rate', of: 'sockmap', against: 'http-proxy', atLeast: 1.4,
	},
	{
		what: 'echo 128 B × 64, both CPUs saturated: rate, sockmap against http-proxy alone', trial: 'echo 64 × 128 B', figure: 'rate', of: 'sockmap', against: 'http-proxy', atLeast: 1.5,
	},
	{
		what: 'the same: rate, auto against HAProxy tcp', trial: 'echo 64 × 128 B', figure: 'rate', of: 'auto', against: 'haproxy', atLeast: 1,
	},
	{
		what: 'the same: CPU of the machine for each message, auto against HAProxy tcp', trial: 'echo 64 × 128 B', figure: 'machinePerMessage', of: 'auto', against: 'haproxy', atMost: 1,
	},
	{
		what: 'echo 16 KiB × 64: rate, auto against http-proxy alone', trial: 'echo 64 × 16 KiB', figure: 'rate', of: 'auto', against: 'http-proxy', atLeast: 3.2,
	},
	{
		what: 'the same: rate, auto against HAProxy tcp', trial: 'echo 64 × 16 KiB', figure: 'rate', of: 'auto', against: 'haproxy', atLeast: 1.1,
	},
	{
		what: 'echo 128 B × 64: CPU of the proxy process for each message, sockmap against http-proxy alone', trial: 'echo 64 × 128 B', figure: 'proxyPerMessage', of: 'sockmap', against: 'http-proxy', scale: 100, unit: ' %', atMost: 1,
	},
	{
		what: 'CPU-saturated host, 1 tunnel, closed loop: p99 of a round trip, sockmap against HAProxy tcp', trial: 'echo 1 saturated', figure: 'p99', of: 'sockmap', against: 'haproxy', atMost: 0.1,
	},
	{
		what: 'the same, 64 tunnels, open loop', trial: 'pace 64 saturated', figure: 'p99', of: 'sockmap', against: 'haproxy', atMost: 0.1,
	},
	{
		what: 'bulk, 1 stream up: auto against http-proxy alone', trial: 'bulk 1 up', figure: 'bytesPerSecond', of: 'auto', against: 'http-proxy', atLeast: 3.5,
	},
	{
		what: 'bulk, 1 stream down: auto against http-proxy alone', trial: 'bulk 1 down', figure: 'bytesPerSecond', of: 'auto', against: 'http-proxy', atLeast: 3.5,
	},
	{
		what: 'bulk, 1 stream up: auto against HAProxy with forced splicing', trial: 'bulk 1 up', figure: 'bytesPerSecond', of: 'auto', against: 'haproxy-splice', atLeast: 1.2,
	},
	{
		what: 'the same with 512 KiB pipes', trial: 'bulk 1 up', figure: 'bytesPerSecond', of: 'auto', against: 'haproxy-splice-512k', atLeast: 1.05,
	},
	{
		what: 'the same with 512 KiB pipes, all beside the client', trial: 'bulk 1 up beside the client', figure: 'bytesPerSecond', of: 'auto', against: 'haproxy-splice-512k', atLeast: 1.05,
	},
	{
		what: 'the same with 512 KiB pipes, all beside the upstream', trial: 'bulk 1 up beside the upstream', figure: 'bytesPerSecond', of: 'auto', against: 'haproxy-splice-512k', atLeast: 1.05,
	},
	{
		what: 'bulk, sockmap lane with the room check against the textbook SOCKMAP splice', trial: 'bulk 1 up after a pause', figure: 'bytesPerSecond', of: 'sockmap', against: 'textbook', atLeast: 1.2,
	},
	{
		what: 'bulk, 1 stream up: auto as a share of direct', trial: 'bulk 1 up', figure: 'bytesPerSecond', of: 'auto', against: 'direct', atLeast: 0.65,
	},
	{
		what: 'event loop blocked 20 of every 50 ms: p99 of sockmap against itself unblocked', trial: 'pace 64 blocked', figure: 'p99', of: 'sockmap', against: 'sockmap', againstTrial: 'pace 64 unblocked', atMost: 1.1,
	},
	{
		what: 'stalled reader: bytes that are taken, sockmap against one plain TCP connection', trial: 'stalled 8 up', figure: 'bytesPerTunnel', of: 'sockmap', against: 'direct', atMost: 1.2,
	},
	{
		what: 'the same against two of them, which is what any proxy has', trial: 'stalled 8 up', figure: 'bytesPerTunnel', of: 'sockmap', against: 'direct', scale: 0.5, atMost: 1.2,
	},
	...[1000, 4000, 9000].flatMap((tunnels): Target[] => [
		{
			what: `one of ${tunnels.toLocaleString('en')} idle tunnels: RSS with \`{detach: true}\``, trial: `idle ${tunnels}`, figure: 'rssPerTunnel', of: 'auto-detach', scale: 1e-3, unit: ' kB', atMost: 3,
		},
		{
			what: 'the same without', trial: `idle ${tunnels}`, figure: 'rssPerTunnel', of: 'auto', scale: 1e-3, unit: ' kB', atMost: 12,
		},
	]),
	{
		what: 'CPU at rest with 4,000 idle tunnels', trial: 'idle 4000', figure: 'cpuAtRest', of: 'auto', scale: 100, unit: ' %', atMost: 0.1,
	},
	{
		what: 'set-up: upgrades a second, auto against http-proxy alone', trial: 'set-up', figure: 'rate', of: 'auto', against: 'http-proxy', atLeast: 0.95,
	},
	{
		what: 'set-up: CONNECTs a second, auto against a CONNECT proxy written by hand', trial: 'set-up', figure: 'rate', of: 'auto-connect', against: 'hand-connect', atLeast: 0.95,
	},
];

/** `undefined` is a target that nothing was measured for. */
export function outcomeOf(target: Target, lines: readonly Line[]): Outcome {
	const {what, scale = 1, unit = target.against === undefined ? '' : ' ×'} = target;
	const measured = reach(target, lines);
	const reached = measured && mapped(measured, value => value * scale);
	const isReached = reached !== undefined && ('atLeast' in target ? reached.median >= target.atLeast : reached.median <= target.atMost);
	const aim = 'atLeast' in target ? `≥ ${target.atLeast}${unit}` : `≤ ${target.atMost}${unit}`;
	return {
		what, aim, reached, isReached, unit,
	};
}

function reach({trial, figure, of, against, againstTrial}: Target, lines: readonly Line[]): Spread | undefined {
	if (against === undefined) {
		return figureOf(lines, trial, of, figure);
	}

	if (againstTrial === undefined) {
		return ratioOf(lines, trial, of, against, figure);
	}

	// The two trials follow each other, and a repeat of the one goes with the same repeat of the other.
	const joined = [
		...lines.filter(line => line.trial === trial && line.contestant === of),
		...lines.filter(line => line.trial === againstTrial && line.contestant === against).map(line => ({...line, trial, contestant: reference})),
	];
	return ratioOf(joined, trial, of, reference, figure);
}

const reference = 'reference';

/**
In each trial that has all three, `auto` against the better of the two that it chooses from: the one with the better median. The best of each pair of repeats would be held against it otherwise, which of two equals is always better than either.
*/
export function choices(lines: readonly Line[]): ReadonlyArray<{readonly trial: string; readonly ratio: Spread}> {
	return trials.flatMap(({name, group}) => {
		if (group === 'idle' || group === 'stalled') {
			return [];
		}

		const found = linesOf(lines, name, ['auto', 'sockmap', 'splice']);
		if (found === undefined) {
			return [];
		}

		const [figure] = comparedBy[group];
		const ofRun = [...found.values()].flat();
		const [sockmap, splice] = (['sockmap', 'splice'] as const).map(contestant => figureOf(ofRun, name, contestant, figure)!.median);
		const better = (isSmallerBetter(figure) ? sockmap! < splice! : sockmap! > splice!) ? 'sockmap' : 'splice';
		const ratio = ratioOf(ofRun, name, 'auto', better, figure)!;
		return [{trial: `${name} (${better})${figure === 'p99' ? ', p99' : ''}`, ratio: isSmallerBetter(figure) ? mapped(ratio, value => 1 / value) : ratio}];
	});
}

/** All of them, or those only that something was measured for. */
export function targetTable(lines: readonly Line[], which: 'all' | 'measured' = 'all'): string {
	const outcomes: readonly Outcome[] = [
		...targets.map(target => outcomeOf(target, lines)).filter(({reached}) => which === 'all' || reached !== undefined),
		...choices(lines).map(({trial, ratio}) => ({
			what: `auto against the better of sockmap and splice: ${trial}`, aim: '≥ 0.95 ×', reached: ratio, isReached: ratio.median >= 0.95, unit: ' ×',
		})),
	];
	return table(['target', 'aim', 'median (min–max) reached', '95 %', 'reached'], outcomes.map(({what, aim, reached, isReached, unit}) => [
		what, aim, reached ? `${withSpread(reached)}${unit}` : 'not measured', reached?.interval ? fromTo(reached.interval) : '', isReached ? 'yes' : '**no**',
	]));
}

/** Where another contestant that a user could pick is better than `auto`. */
export function losses(lines: readonly Line[]): readonly string[] {
	return trials.flatMap(trial => {
		const {name, group, contestants} = trial;
		const [figure, word] = comparedBy[group];
		return contestants
			.filter(other => other !== 'direct' && other !== 'textbook' && !ours.test(other))
			.flatMap(other => {
				const of = other === 'hand-connect' ? 'auto-connect' : 'auto';
				const ratio = compare(lines, trial, of, other);
				const isLost = ratio !== undefined && (isSmallerBetter(figure) ? ratio > 1.05 : ratio < 0.95);
				return isLost ? [`${name}: ${of} has ${number(ratio)} times the ${word} of ${other}.`] : [];
			});
	});
}

// What an idle process has taken does not depend on what the machine was doing just then, so the latest of both are compared, whenever that was.
function compare(lines: readonly Line[], {name, group}: Trial, of: string, other: string): number | undefined {
	const [figure] = comparedBy[group];
	if (group !== 'idle') {
		return ratioOf(lines, name, of, other, figure)?.median;
	}

	const [own, theirs] = [of, other].map(contestant => figureOf(lines, name, contestant, figure)?.median);
	return own === undefined || theirs === undefined ? undefined : own / theirs;
}

function isSmallerBetter(figure: Figure): boolean {
	return figure !== 'rate' && figure !== 'bytesPerSecond';
}

const ours = /^(?:auto|sockmap|splice|stream)(?:-connect|-detach)?$/u;

const comparedBy = {
	echo: ['rate', 'rate'],
	bulk: ['bytesPerSecond', 'throughput'],
	'fan-out': ['p99', 'p99 latency'],
	'set-up': ['rate', 'rate'],
	idle: ['rssPerTunnel', 'RSS for each tunnel'],
	blocked: ['p99', 'p99 latency'],
	saturated: ['p99', 'p99 latency'],
	stalled: ['bytesPerTunnel', 'bytes taken for a reader that does not read'],
} as const satisfies Record<string, readonly [Figure, string]>;
