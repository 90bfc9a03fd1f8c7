import {fork, type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import {fileURLToPath} from 'node:url';
import type {ExecutionContext} from 'ava';
import {until, within} from '../../until.ts';
import type {Order, Report, Saying} from './peer-program.ts';

/** One side of many tunnels, in a process that can be killed or stopped. */
export type Peers = {
	readonly child: ChildProcess;
	readonly pid: number;

	/** Where upstreams listen. */
	readonly port: number;
	order(order: Order): void;

	/** Resolves with the local port of the client once its tunnel is open at both ends. Rejects if it is refused. */
	opened(id: number): Promise<number>;

	/** Resolves once the client knows whether it has its tunnel or not. */
	answered(id: number): Promise<void>;

	/** What that end has told last. */
	report(id: number): Report | undefined;

	/** Kills it with SIGKILL, and resolves when it is gone and all that it had said is known. */
	kill(): Promise<void>;

	/** Ends it in peace. */
	stop(): Promise<void>;
};

export async function startClients(t: ExecutionContext): Promise<Peers> {
	return start(t, ['clients']);
}

/** At that port, or at a free one. */
export async function startUpstreams(t: ExecutionContext, port = 0): Promise<Peers> {
	return start(t, ['upstreams', String(port)]);
}

async function start(t: ExecutionContext, given: readonly string[]): Promise<Peers> {
	const child = fork(program, given, {execArgv: ['--import=tsx'], stdio: ['ignore', 'inherit', 'inherit', 'ipc']});
	const gone = once(child, 'close');
	t.teardown(async () => {
		child.kill('SIGKILL');
		await gone;
	});
	const reports = new Map<number, Report>();
	const answers = new Map<number, Saying & {readonly type: 'opened' | 'refused'}>();
	let port = 0;
	child.on('message', (saying: Saying) => {
		switch (saying.type) {
			case 'listening': {
				port = saying.port;
				break;
			}

			case 'reports': {
				for (const report of saying.reports) {
					reports.set(report.id, report);
				}

				break;
			}

			case 'opened':
			case 'refused': {
				answers.set(saying.id, saying);
			}
		}
	});
	if (given[0] === 'upstreams') {
		await until('the upstreams listen', () => port !== 0);
	}

	const answered = async (id: number) => until(`tunnel ${id} is answered`, () => answers.has(id), 30_000);
	return {
		child,
		pid: child.pid!,
		get port() {
			return port;
		},
		order(order) {
			child.send(order);
		},
		async opened(id) {
			await answered(id);
			const answer = answers.get(id)!;
			if (answer.type === 'refused') {
				throw new Error(`Tunnel ${id} was refused: ${answer.text}`);
			}

			return answer.localPort;
		},
		answered,
		report: id => reports.get(id),
		async kill() {
			child.kill('SIGKILL');
			await within('it is gone', gone);
		},
		async stop() {
			child.send({type: 'leave'});
			await within('it is gone', gone);
		},
	};
}

const program = fileURLToPath(new URL('peer-program.ts', import.meta.url));
