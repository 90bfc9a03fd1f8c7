import {fork, type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import {fileURLToPath} from 'node:url';
import process from 'node:process';
import {Worker} from 'node:worker_threads';
import type {ExecutionContext} from 'ava';
import type {Command, Message, ProgramOptions} from './proxy-program.ts';
import type {Unprivileged} from './unprivileged.ts';
import {within} from './until.ts';

/** The proxy as a process or a worker thread of its own. */
export type ProxyElsewhere = {
	/** The first message of that type that fits, among those that came and those that come. */
	message<Type extends Message['type']>(type: Type, fits?: (message: MessageOf<Type>) => boolean): Promise<MessageOf<Type>>;
	command(command: Command): void;

	/** Counters of now. */
	stats(): Promise<MessageOf<'stats'>>;
};

export type ProxyProcess = ProxyElsewhere & {
	readonly child: ChildProcess;

	/** How it ended, and what it had to complain about. */
	readonly exit: Promise<{readonly code: number | undefined; readonly signal: string | undefined; readonly stderr: string}>;
};

export type MessageOf<Type extends Message['type']> = Extract<Message, {readonly type: Type}>;

type ProcessOptions = ProgramOptions & {
	/** Which addon it is given: `none`, or a path. */
	readonly addon?: string;

	/** Run it without any capability. */
	readonly as?: Unprivileged;

	/** Another program that says and understands the same. */
	readonly program?: URL;
};

export function startProxyProcess(t: ExecutionContext, {addon, as, program = ordinaryProgram, ...options}: ProcessOptions): ProxyProcess {
	const child = fork(as?.program ?? fileURLToPath(program), [JSON.stringify(options)], {
		execArgv: ['--import=tsx'],
		stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
		env: {...process.env, ...(addon !== undefined && {[addonVariable]: addon}), ...as?.env},
		...as?.options,
	});
	let stderr = '';
	child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
		stderr += chunk;
	});
	const exited = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>; // eslint-disable-line @typescript-eslint/no-restricted-types
	t.teardown(async () => {
		child.kill('SIGKILL');
		await exited;
		if (stderr !== '') {
			t.log(stderr);
		}
	});

	return {
		...conversation(child, command => {
			child.send(command);
		}),
		child,
		exit: (async () => {
			const [code, signal] = await exited;
			return {code: code ?? undefined, signal: signal ?? undefined, stderr};
		})(),
	};
}

export function startProxyWorker(t: ExecutionContext, options: ProgramOptions): ProxyElsewhere & {readonly worker: Worker} {
	// What loads TypeScript into the main thread does not do it in a worker by itself.
	const loader = `import('tsx/esm/api').then(({register}) => { register(); return import('${ordinaryProgram.href}'); })`;
	const worker = new Worker(loader, {eval: true, workerData: options, execArgv: []});
	t.teardown(async () => {
		await worker.terminate();
	});
	return {
		...conversation(worker, command => {
			worker.postMessage(command);
		}),
		worker,
	};
}

function conversation(other: ChildProcess | Worker, command: (command: Command) => void): ProxyElsewhere {
	const seen: Message[] = [];
	const waiting = new Set<(message: Message) => void>();
	(other as ChildProcess).on('message', (message: Message) => {
		seen.push(message);
		for (const listener of waiting) {
			listener(message);
		}
	});

	const message: ProxyElsewhere['message'] = async (type, fits = () => true) => {
		const is = (message: Message): message is MessageOf<typeof type> => message.type === type && fits(message as MessageOf<typeof type>);
		const past = seen.find(message => is(message));
		return (past) ?? within(`the proxy says ${type}`, new Promise(resolve => {
			const listener = (message: Message) => {
				if (is(message)) {
					waiting.delete(listener);
					resolve(message);
				}
			};

			waiting.add(listener);
		}));
	};

	return {
		message,
		command,
		async stats() {
			const already = seen.filter(({type}) => type === 'stats').length;
			command({type: 'stats'});
			return message('stats', message => !seen.includes(message) || seen.filter(({type}) => type === 'stats').indexOf(message) >= already);
		},
	};
}

const addonVariable = 'HTTP_PROXY_SOCKMAP_ADDON';

const ordinaryProgram = new URL('proxy-program.ts', import.meta.url);
