import {type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {availableParallelism} from 'node:os';
import {text} from 'node:stream/consumers';
import {setTimeout as delay} from 'node:timers/promises';
import {buildLoad} from './build.ts';
import {type Conditions, type Contestant} from './contestants.ts';
import {createNetwork, type Network} from './network.ts';

/** What `load` prints. CPU is seconds, latencies are microseconds, memory is bytes. */
export type Result = {
	readonly mode: string;
	readonly tunnels: number;
	readonly size: number;
	readonly seconds: number;
	readonly messages: number;
	readonly rate: number;
	readonly bytes: number;
	readonly bytesPerSecond: number;

	/** Pieces that were not what had been sent. */
	readonly corrupt: number;
	readonly latency: {readonly count: number; readonly mean: number; readonly p50: number; readonly p90: number; readonly p99: number; readonly p999: number; readonly max: number};
	readonly cpu: {readonly proxy: number; readonly machine: number; readonly client: number; readonly upstream: number; readonly stolen: number};
	readonly switches: {readonly voluntary: number; readonly involuntary: number};

	/** Before the first tunnel, and at the end of the load. */
	readonly idle: Memory;
	readonly loaded: Memory;

	/** System calls of the proxy a second, where they were counted. */
	readonly syscalls?: number;
};

export type Memory = {readonly rss: number; readonly descriptors: number; readonly slab: number; readonly sockets: number; readonly available: number};

type Extra = Conditions & {
	/** Count system calls, from so many seconds after the client's start on. It slows the proxy down, so the other figures of such a run are to be ignored. */
	readonly countSyscallsAfter?: number;
};

/** One load through one contestant, once: fresh processes in a fresh network, which are gone afterwards. */
export async function measurePoint(contestant: Contestant, load: readonly string[], conditions: Extra = {}): Promise<Result> {
	const program = buildLoad();
	const network = createNetwork();
	const children: ChildProcess[] = [];
	const start = (command: string, ...args: string[]) => {
		const child = network.spawn(command, args, {stdio: ['pipe', 'ignore', 'inherit']});
		children.push(child);
		return child;
	};

	try {
		const {beside} = conditions;
		const onProcessor = (number: number) => beside ? ['taskset', '--cpu-list', String(number)] : [];
		const asLoad = conditions.realTimeLoad ? [...realTime, program] : [program];
		await listening(start(...commandOf([...onProcessor(1), ...asLoad, 'upstream', String(ports.upstream)])), ports.upstream);
		const command = contestant.command?.(ports, conditions);
		const proxy = command && start(...commandOf([...onProcessor(beside === 'upstream' ? 1 : 0), ...command]));
		if (proxy) {
			await listening(proxy, ports.proxy);
			// What it does once at its start is over, and not counted.
			await delay(settleTime);
		}

		for (let processor = 0; conditions.burn && processor < availableParallelism(); processor++) {
			start(program, 'burn');
		}

		const running = runClient(network, [
			...onProcessor(0),
			...asLoad,
			...load,
			'--access',
			contestant.access,
			'--upstream',
			String(ports.upstream),
			...(proxy ? ['--proxy', String(ports.proxy), '--watch', String(proxy.pid)] : []),
		]);
		const [result, syscalls] = await Promise.all([running, conditions.countSyscallsAfter !== undefined && proxy ? countSyscalls(network, proxy, conditions.countSyscallsAfter) : undefined]);
		return syscalls === undefined ? result : {...result, syscalls};
	} finally {
		await Promise.all(children.map(async child => end(child)));
		network.remove();
	}
}

async function runClient(network: Network, words: readonly string[]): Promise<Result> {
	const [command, ...args] = commandOf(words);
	const child = network.spawn(command, args, {stdio: ['ignore', 'pipe', 'pipe']});
	const [output, complaint, exit] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
	const [code] = exit as [number | undefined];
	if (code !== 0) {
		throw new Error(complaint.trim() || `The client ended with ${String(code)}.`);
	}

	return JSON.parse(output) as Result;
}

/** How many the process makes in a second, once the load has run for a while. */
async function countSyscalls(network: Network, proxy: ChildProcess, after: number): Promise<number | undefined> {
	await delay(after * 1000);
	const perf = network.spawn('perf', ['stat', '--field-separator=;', '--event=raw_syscalls:sys_enter', `--pid=${proxy.pid!}`, '--', 'sleep', String(countSeconds)], {stdio: ['ignore', 'ignore', 'pipe']});
	perf.on('error', () => {}); // eslint-disable-line @typescript-eslint/no-empty-function
	const [output] = await Promise.all([text(perf.stderr!), once(perf, 'close')]);
	const count = /^(\d+);/mu.exec(output);
	return count ? Number(count[1]) / countSeconds : undefined;
}

/** Each has the network to itself, so the ports are always the same, and /proc tells when a process listens. */
async function listening(child: ChildProcess, port: number): Promise<void> {
	const entry = new RegExp(`:${port.toString(16).toUpperCase().padStart(4, '0')} 0{8}:0000 0A`, 'u');
	for (let waited = 0; waited < startTimeout; waited += pollInterval) {
		if (child.exitCode !== null || child.signalCode !== null) {
			throw new Error(`It ended with ${child.exitCode ?? child.signalCode!} instead of listening.`);
		}

		try {
			if (entry.test(readFileSync(`/proc/${child.pid!}/net/tcp`, 'latin1'))) {
				return;
			}
		} catch {
			// It has ended, and we hear of it in a moment.
		}

		await delay(pollInterval); // eslint-disable-line no-await-in-loop
	}

	throw new Error('It does not listen.');
}

async function end(child: ChildProcess): Promise<void> {
	if (child.exitCode === null && child.signalCode === null) {
		child.kill('SIGKILL');
		await once(child, 'exit');
	}
}

function commandOf(words: readonly string[]): [string, ...string[]] {
	return words as [string, ...string[]];
}

const ports = {proxy: 8080, upstream: 9000};

const realTime = ['chrt', '--fifo', '10'];

const startTimeout = 10_000;

const pollInterval = 20;

const settleTime = 100;

const countSeconds = 0.4;
