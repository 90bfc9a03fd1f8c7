import {type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
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
	readonly corrupt: number;
	readonly latency: {readonly count: number; readonly mean: number; readonly p50: number; readonly p90: number; readonly p99: number; readonly p999: number; readonly max: number};
	readonly cpu: {readonly proxy: number; readonly machine: number; readonly client: number; readonly upstream: number; readonly stolen: number};
	readonly switches: {readonly voluntary: number; readonly involuntary: number};
	readonly idle: Memory;
	readonly loaded: Memory;
};

export type Memory = {readonly rss: number; readonly descriptors: number; readonly slab: number; readonly sockets: number; readonly available: number};

/** One load through one contestant, once: fresh processes in a fresh network, which are gone afterwards. */
export async function measurePoint(contestant: Contestant, load: readonly string[], conditions: Conditions = {}): Promise<Result> {
	const program = buildLoad();
	const network = createNetwork();
	const children: ChildProcess[] = [];
	const start = (command: string, ...args: string[]) => {
		const child = network.spawn(command, args, {stdio: ['pipe', 'ignore', 'inherit']});
		children.push(child);
		return child;
	};

	try {
		await listening(start(program, 'upstream', String(ports.upstream)), ports.upstream);
		const [command, ...args] = contestant.command?.(ports, conditions) ?? [];
		const proxy = command === undefined ? undefined : start(command, ...args);
		if (proxy) {
			await listening(proxy, ports.proxy);
			// What it does once at its start is over, and not counted.
			await delay(settleTime);
		}

		return await runClient(network, program, [
			...load, '--access', contestant.access, '--upstream', String(ports.upstream),
			...(proxy ? ['--proxy', String(ports.proxy), '--watch', String(proxy.pid)] : []),
		]);
	} finally {
		await Promise.all(children.map(async child => end(child)));
		network.remove();
	}
}

async function runClient(network: Network, program: string, args: readonly string[]): Promise<Result> {
	const child = network.spawn(program, args, {stdio: ['ignore', 'pipe', 'pipe']});
	const [output, complaint, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
	if (code !== 0) {
		throw new Error(complaint.trim() || `The client ended with ${code as string}.`);
	}

	return JSON.parse(output) as Result;
}

/** Each has the network to itself, so the ports are always the same, and /proc tells when a process listens. */
async function listening(child: ChildProcess, port: number): Promise<void> {
	const entry = new RegExp(`:${port.toString(16).toUpperCase().padStart(4, '0')} 0{8}:0000 0A`, 'v');
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

const ports = {proxy: 8080, upstream: 9000};

const startTimeout = 10_000;

const pollInterval = 20;

const settleTime = 100;
