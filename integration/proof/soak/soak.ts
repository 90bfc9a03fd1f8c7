import type {Engine} from '../../../plugin/index.ts';
import {compare, emptyTally, type Report, type Tally} from './compare.ts';
import {end, startLoad} from './load.ts';
import {finish, startProxy} from './proxies.ts';
import type {Message} from './proxy-program.ts';

export type SoakOptions = {
	readonly seed: number;

	/** One proxy for each; tunnels take turns. One that is named twice gets twice as many. */
	readonly engines: readonly Engine[];

	/** Whichever is reached first ends the run. */
	readonly tunnels: number;
	readonly seconds: number;
	readonly atOnce?: number;

	/** Seconds without a byte in a tunnel, after which it hangs. */
	readonly hang?: number;

	/** `mixed`, or traffic for one rule: `last-words`, `dialogue`, `slow-readers`. */
	readonly traffic?: string;

	/** The proxy may reset a tunnel for a reason of its own. */
	readonly resetsAllowed?: boolean;

	/** Environment of the proxies: another addon, say. */
	readonly env?: Readonly<Record<string, string>>;
	readonly log?: (line: string) => void;
};

export type SoakResult = {
	readonly tunnels: number;
	readonly bytes: number;
	readonly seconds: number;
	readonly byEngine: Readonly<Record<string, Tally>>;

	/** Each with the seed, the plan and the counters of its tunnel. */
	readonly failures: readonly string[];
};

/** Runs the load against the proxies, and compares what the one and the others say about each tunnel. */
export async function soak(options: SoakOptions): Promise<SoakResult> {
	const {seed, engines, tunnels, seconds, atOnce = 200, hang = 20, traffic = 'mixed', resetsAllowed = false, env = {}, log} = options;
	const load = await startLoad({seed, tunnels, seconds, at_once: atOnce, hang, traffic, resets_allowed: resetsAllowed ? 1 : 0});
	const tallies = new Map<string, Tally>();
	const failures: string[] = [];
	const fail = (failure: string) => {
		failures.push(failure);
		log?.(failure);
	};

	const proxies = engines.map((engine, index) => startProxy(`${engine}-${index}`, {engine, upstreamPort: load.upstreamPort, seed: seed + index}, {env}));
	const children = [load.child, ...proxies.map(({child}) => child)];
	try {
		for (const {name, engine, ready, child} of proxies) {
			tallies.set(engine, tallies.get(engine) ?? emptyTally());
			const {httpPort, pairPort} = await ready; // eslint-disable-line no-await-in-loop
			load.say(`proxy ${name} ${httpPort} ${pairPort}`);
			child.on('message', (message: Message) => {
				if (message.type === 'opened') {
					load.say(`opened ${message.address}`);
				}
			});
		}

		load.say('go');
		let summary: Summary | undefined;
		const joins: Array<Promise<void>> = [];
		for await (const object of load.objects) {
			const report = object as Report | Summary;
			if ('milliseconds' in report) {
				summary = report;
				continue;
			}

			const proxy = proxies.find(({name}) => name === report.proxy)!;
			joins.push(compare(report, proxy, tallies.get(proxy.engine)!, text => {
				fail(`seed ${seed}, ${proxy.engine}, tunnel ${report.done ?? report.failed}: ${text}`);
			}));
		}

		await Promise.all(joins);
		if (summary === undefined) {
			fail(`seed ${seed}: the load generator died`);
		}

		if (failures.length === 0) {
			await Promise.all(proxies.map(async proxy => finish(proxy, fail)));
		}

		return {tunnels: summary?.tunnels ?? 0, bytes: summary?.bytes ?? 0, seconds: (summary?.milliseconds ?? 0) / 1000, byEngine: Object.fromEntries(tallies), failures};
	} finally {
		await end(children);
	}
}

/** The result as lines of a table. */
export function table({tunnels, bytes, seconds, byEngine, failures}: SoakResult): string {
	const rows = Object.entries(byEngine).map(([engine, tally]) => [
		engine.padEnd(7),
		`${tally.tunnels} tunnels (${tally.aborts} aborted, ${tally.streamed} over before promotion)`,
		megabytes(tally.bytes),
		`redirected ${megabytes(tally.redirected)}`,
		`spilled ${megabytes(tally.spilled)}`,
		`piped ${megabytes(tally.piped)}`,
		`${tally.promotions} promotions`,
		`${tally.spills} spills`,
		`${tally.failures} mismatches`,
	].join(', '));
	return [...rows, `in all ${tunnels} tunnels, ${megabytes(bytes)} in ${seconds.toFixed(1)} s, ${failures.length} mismatches`].join('\n');
}

type Summary = {readonly tunnels: number; readonly bytes: number; readonly milliseconds: number};

function megabytes(bytes: number): string {
	return `${(bytes / 1e6).toFixed(1)} MB`;
}
