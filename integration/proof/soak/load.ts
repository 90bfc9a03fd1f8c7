import {spawn, type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import readline from 'node:readline';
import {ignore} from '../../wire.ts';
import {buildLoad} from './build.ts';

/** The load generator as a process of its own: lines in, JSON objects out. */
export type Load = {
	readonly child: ChildProcess;
	readonly upstreamPort: number;

	/** Objects that it writes, until it ends. */
	readonly objects: AsyncIterable<unknown>;
	say(line: string): void;
};

export async function startLoad(settings: Readonly<Record<string, string | number>>): Promise<Load> {
	const child = spawn(await buildLoad(), Object.entries(settings).map(([name, value]) => `${name}=${value}`), {stdio: ['pipe', 'pipe', 'inherit']});
	child.stdin.on('error', ignore); // It ends when it wants to.
	const lines = readline.createInterface({input: child.stdout});
	const objects = (async function * () {
		for await (const line of lines) {
			yield JSON.parse(line) as unknown;
		}
	})();
	const first = await objects.next();
	return {
		child, upstreamPort: (first.value as {readonly listening: number}).listening, objects,
		say(line) {
			child.stdin.write(`${line}\n`);
		},
	};
}

/** Ends what is still there. */
export async function end(children: readonly ChildProcess[]): Promise<void> {
	await Promise.all(children.map(async child => {
		if (child.exitCode === null && child.signalCode === null) {
			const exited = once(child, 'exit');
			child.kill('SIGKILL');
			await exited;
		}
	}));
}
