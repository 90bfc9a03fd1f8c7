import {fork, spawn, type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import process from 'node:process';
import readline from 'node:readline';
import {setTimeout as wait} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import type {Engine, LaneStats, TunnelStats} from '../../../plugin/index.ts';
import {within} from '../../until.ts';
import {buildLoad} from './build.ts';
import type {Command, Message, ProgramOptions} from './proxy-program.ts';

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

	/** Environment of the proxies: another addon, say. */
	readonly env?: Readonly<Record<string, string>>;
	readonly log?: (line: string) => void;
};

/** What a row of the table says: of one engine. */
export type Tally = {
	tunnels: number;

	/** Ended before they could leave Node's streams. */
	streamed: number;
	aborts: number;
	bytes: number;
	redirected: number;
	spilled: number;
	piped: number;
	promotions: number;
	spills: number;
	failures: number;
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
	const {seed, engines, tunnels, seconds, atOnce = 200, hang = 20, traffic = 'mixed', env = {}, log} = options;
	const load = spawn(await buildLoad(), [`seed=${seed}`, `tunnels=${tunnels}`, `seconds=${seconds}`, `at_once=${atOnce}`, `hang=${hang}`, `traffic=${traffic}`], {stdio: ['pipe', 'pipe', 'inherit']});
	load.stdin.on('error', () => {}); // It ends when it wants to. eslint-disable-line @typescript-eslint/no-empty-function
	const loadExit = once(load, 'close') as Promise<[number | null]>; // eslint-disable-line @typescript-eslint/no-restricted-types
	const lines = readline.createInterface({input: load.stdout})[Symbol.asyncIterator]();
	const {listening} = JSON.parse((await lines.next()).value as string) as {readonly listening: number};

	const tallies = new Map<string, Tally>();
	const failures: string[] = [];
	const fail = (failure: string) => {
		failures.push(failure);
		log?.(failure);
	};

	const proxies = engines.map((engine, index) => startProxy(`${engine}-${index}`, {engine, upstreamPort: listening, seed: seed + index}, env));
	const children = [load, ...proxies.map(({child}) => child)];
	try {
		for (const {name, engine, ready, child} of proxies) {
			tallies.set(engine, tallies.get(engine) ?? emptyTally());
			const {httpPort, pairPort} = await ready; // eslint-disable-line no-await-in-loop
			load.stdin.write(`proxy ${name} ${httpPort} ${pairPort}\n`);
			child.on('message', (message: Message) => {
				if (message.type === 'opened') {
					load.stdin.write(`opened ${message.address}\n`);
				}
			});
		}

		load.stdin.write('go\n');
		let summary: Summary | undefined;
		const joins: Array<Promise<void>> = [];
		for (let line = await lines.next(); !line.done; line = await lines.next()) { // eslint-disable-line no-await-in-loop
			const report = JSON.parse(line.value) as Report | Summary;
			if ('milliseconds' in report) {
				summary = report;
				continue;
			}

			const proxy = proxies.find(({name}) => name === report.proxy)!;
			joins.push(join(report, proxy, tallies.get(proxy.engine)!, text => {
				fail(`seed ${seed}, ${proxy.engine}, tunnel ${report.done ?? report.failed}: ${text}`);
			}));
		}

		await loadExit;
		await Promise.all(joins);
		if (summary === undefined) {
			fail(`seed ${seed}: the load generator died`);
		}

		if (failures.length === 0) {
			await Promise.all(proxies.map(async proxy => finish(proxy, fail)));
		}

		return {tunnels: summary?.tunnels ?? 0, bytes: summary?.bytes ?? 0, seconds: (summary?.milliseconds ?? 0) / 1000, byEngine: Object.fromEntries(tallies), failures};
	} finally {
		await Promise.all(children.map(async child => {
			if (child.exitCode === null && child.signalCode === null) {
				const exited = once(child, 'exit');
				child.kill('SIGKILL');
				await exited;
			}
		}));
	}
}

/** The result as lines of a table. */
export function table({tunnels, bytes, seconds, byEngine, failures}: SoakResult): string {
	const rows = Object.entries(byEngine).map(([engine, tally]) => [
		engine.padEnd(7), `${tally.tunnels} tunnels (${tally.aborts} aborted, ${tally.streamed} over before promotion)`, megabytes(tally.bytes),
		`redirected ${megabytes(tally.redirected)}`, `spilled ${megabytes(tally.spilled)}`, `piped ${megabytes(tally.piped)}`,
		`${tally.promotions} promotions`, `${tally.spills} spills`, `${tally.failures} mismatches`,
	].join(', '));
	return [...rows, `in all ${tunnels} tunnels, ${megabytes(bytes)} in ${seconds.toFixed(1)} s, ${failures.length} mismatches`].join('\n');
}

type Summary = {readonly tunnels: number; readonly bytes: number; readonly milliseconds: number};

/** What the load generator says about one tunnel. Pairs are of the client and of the upstream. */
type Report = {
	readonly done?: string;
	readonly failed?: string;
	readonly proxy: string;
	readonly kind: string;
	readonly aborter: 'client' | 'upstream' | 'nobody';
	readonly sent: readonly [number, number];
	readonly received: readonly [number, number];
	readonly what: string;
	readonly plan: string;
};

type Proxy = {
	readonly name: string;
	readonly engine: Engine;
	readonly child: ChildProcess;
	readonly ready: Promise<Extract<Message, {readonly type: 'ready'}>>;
	readonly closeOf: (address: string) => Promise<Close>;
	readonly statsOf: (address: string) => Promise<TunnelStats | undefined>;
	readonly stderr: () => string;
};

type Close = Extract<Message, {readonly type: 'close'}>;

function startProxy(name: string, options: ProgramOptions, env: Readonly<Record<string, string>>): Proxy {
	const child = fork(fileURLToPath(new URL('proxy-program.ts', import.meta.url)), [JSON.stringify(options)], {
		execArgv: ['--import=tsx'], stdio: ['ignore', 'inherit', 'pipe', 'ipc'], env: {...process.env, ...env},
	});
	let stderr = '';
	child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
		stderr += chunk;
	});
	const closes = new Map<string, Close>();
	const waiting = new Map<string, (close: Close) => void>();
	child.on('message', (message: Message) => {
		if (message.type === 'close') {
			const resolve = waiting.get(message.address);
			if (resolve) {
				waiting.delete(message.address);
				resolve(message);
			} else {
				closes.set(message.address, message);
			}
		}
	});
	const message = async <Type extends Message['type']>(type: Type, limit: number): Promise<Extract<Message, {readonly type: Type}>> => within(`${name} says ${type}`, new Promise((resolve, reject) => {
		child.on('message', (message: Message) => {
			if (message.type === type) {
				resolve(message as Extract<Message, {readonly type: Type}>);
			}
		});
		child.once('exit', () => {
			reject(new Error(`${name} ended: ${stderr}`));
		});
	}), limit);
	return {
		name, engine: options.engine, child, ready: message('ready', 30_000), stderr: () => stderr,
		async closeOf(address) {
			const known = closes.get(address);
			closes.delete(address);
			return known ?? within(`the tunnel ${address} closes`, new Promise(resolve => {
				waiting.set(address, resolve);
			}), 20_000);
		},
		async statsOf(address) {
			const answer = message('stats', 5000);
			child.send({type: 'stats', address} satisfies Command);
			const {stats} = await answer;
			return stats;
		},
	};
}

// What the proxy says about a tunnel has to be what its far ends have seen.
async function join(report: Report, proxy: Proxy, tally: Tally, fail: (text: string) => void): Promise<void> {
	const wrong = (text: string, stats?: TunnelStats) => {
		tally.failures++;
		fail(`${text}\n  ${report.plan || JSON.stringify(report)}\n  sent ${report.sent.join(' and ')}, received ${report.received.join(' and ')}\n  proxy: ${JSON.stringify(stats)}`);
	};

	if (report.failed !== undefined) {
		try {
			wrong(report.what, await proxy.statsOf(report.failed));
		} catch (error) {
			wrong(`${report.what}; and ${(error as Error).message} ${proxy.stderr()}`);
		}

		return;
	}

	let close: Close;
	try {
		close = await proxy.closeOf(report.done!);
	} catch (error) {
		wrong(`both ends are through, but the proxy does not close it: ${(error as Error).message}`);
		return;
	}

	const {stats, skipped} = close;
	tally.tunnels++;
	add(tally, stats.clientToUpstream);
	add(tally, stats.upstreamToClient);
	const aborted = report.aborter !== 'nobody';
	tally.aborts += aborted ? 1 : 0;
	if (stats.engine !== proxy.engine) {
		// It ended, or began to, before it could leave Node's streams: the only reason that there may be.
		tally.streamed++;
		if (stats.engine !== 'stream' || skipped.some(({reason}) => !/ended|end/u.test(reason))) {
			wrong(`carried by ${stats.engine}: ${JSON.stringify(skipped)}`, stats);
		}
	}

	if (aborted) {
		if (stats.reason !== 'reset' || stats.by !== report.aborter) {
			wrong(`the ${report.aborter} has reset it, but the proxy says ${stats.reason} by ${stats.by}`, stats);
		}

		return;
	}

	if (stats.reason !== 'end') {
		wrong(`it ended in peace, but the proxy says ${stats.reason}`, stats);
	}

	// Pairs that had been piped before have bytes that no tunnel has seen.
	const counted = [stats.clientToUpstream.bytes, stats.upstreamToClient.bytes];
	if (counted.some((bytes, index) => report.kind === 'pair' ? bytes > report.sent[index]! : bytes !== report.sent[index])) {
		wrong('the proxy has counted other bytes', stats);
	}
}

// Nothing is open any more, and nothing keeps the process alive.
async function finish({name, child, stderr}: Proxy, fail: (text: string) => void): Promise<void> {
	const open = new Promise<number>(resolve => {
		child.on('message', (message: Message) => {
			if (message.type === 'open') {
				resolve(message.tunnels);
			}
		});
	});
	const exit = once(child, 'exit') as Promise<[number | null]>; // eslint-disable-line @typescript-eslint/no-restricted-types
	child.send({type: 'finish'} satisfies Command);
	const tunnels = await within(`${name} answers`, open);
	if (tunnels > 0) {
		fail(`${name} still has ${tunnels} tunnels`);
	}

	const code = await Promise.race([exit, wait(10_000, undefined, {ref: false})]);
	if (code?.[0] !== 0) {
		fail(`${name} does not end by itself once everything is closed: ${code?.join(' ')} ${stderr()}`);
	}
}

function add(tally: Tally, lane: LaneStats): void {
	for (const counter of ['bytes', 'redirected', 'spilled', 'piped', 'promotions', 'spills'] as const) {
		tally[counter] += lane[counter];
	}
}

function emptyTally(): Tally {
	return {tunnels: 0, streamed: 0, aborts: 0, bytes: 0, redirected: 0, spilled: 0, piped: 0, promotions: 0, spills: 0, failures: 0};
}

function megabytes(bytes: number): string {
	return `${(bytes / 1e6).toFixed(1)} MB`;
}
