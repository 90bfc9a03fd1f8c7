import {fork, type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import type {Engine, LaneStats, TunnelStats} from '../../../plugin/index.ts';
import {within} from '../../until.ts';
import {ignore} from '../../wire.ts';
import type {Command, Message, ProgramOptions} from './proxy-program.ts';

/** A proxy as a process of its own. */
export type Proxy = {
	readonly name: string;
	readonly engine: Engine | 'auto';
	readonly child: ChildProcess;
	readonly ready: Promise<Extract<Message, {readonly type: 'ready'}>>;
	readonly closeOf: (address: string) => Promise<Close>;
	readonly closedStatsOf: (address: string) => Promise<TunnelStats>;
	readonly statsOf: (address: string) => Promise<TunnelStats | undefined>;
	readonly lanes: () => Promise<readonly LaneStats[]>;
	readonly stderr: () => string;
};

export type Close = Extract<Message, {readonly type: 'close'}>;

export function startProxy(name: string, options: ProgramOptions, {env = {}, descriptors}: {readonly env?: Readonly<Record<string, string>>; readonly descriptors?: number} = {}): Proxy {
	const child = fork(fileURLToPath(new URL('proxy-program.ts', import.meta.url)), [JSON.stringify(options)], {
		// A shell can set the limit, and Node cannot.
		...(descriptors === undefined ? {execArgv: ['--import=tsx']} : {execPath: '/bin/sh', execArgv: ['-c', `ulimit -n ${descriptors} && exec "${process.execPath}" --import=tsx "$@"`, 'sh']}),
		stdio: ['ignore', 'inherit', 'pipe', 'ipc'], env: {...process.env, ...env},
	});
	child.on('error', ignore); // It has ended, and is asked all the same.
	child.setMaxListeners(0); // Who asks about several tunnels at once, listens as often.
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
	const message = async <Type extends Message['type']>(type: Type, limit: number, fits: (message: Extract<Message, {readonly type: Type}>) => boolean = () => true): Promise<Extract<Message, {readonly type: Type}>> => {
		const done = new AbortController();
		try {
			return await within(`${name} says ${type}`, new Promise((resolve, reject) => {
				const onMessage = (message: Message) => {
					if (message.type === type && fits(message as Extract<Message, {readonly type: Type}>)) {
						resolve(message as Extract<Message, {readonly type: Type}>);
					}
				};

				// Not at `exit`, when its last words may be under way.
				const onClose = (code: number | null, signal: string | null) => { // eslint-disable-line @typescript-eslint/no-restricted-types
					reject(new Error(`${name} ended by ${signal ?? code}: ${stderr}`));
				};

				child.on('message', onMessage).on('close', onClose);
				done.signal.addEventListener('abort', () => {
					child.off('message', onMessage).off('close', onClose);
				});
			}), limit);
		} finally {
			done.abort();
		}
	};

	return {
		name, engine: options.engine, child, ready: message('ready', 30_000), stderr: () => stderr,
		async closeOf(address) {
			const known = closes.get(address);
			closes.delete(address);
			return known ?? within(`the tunnel ${address} closes`, new Promise(resolve => {
				waiting.set(address, resolve);
			}), 20_000);
		},
		async closedStatsOf(address) {
			const {stats} = await this.closeOf(address);
			return stats;
		},
		async lanes() {
			const answer = message('lanes', 5000);
			child.send({type: 'lanes'} satisfies Command);
			const {lanes} = await answer;
			return lanes;
		},
		async statsOf(address) {
			const answer = message('stats', 5000, message => message.address === address);
			child.send({type: 'stats', address} satisfies Command);
			const {stats} = await answer;
			return stats;
		},
	};
}

/** Ends it. Nothing must be open any more, and nothing keep the process alive. */
export async function finish({name, child, stderr}: Proxy, fail: (text: string) => void): Promise<void> {
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

