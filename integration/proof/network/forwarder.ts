import {execFile, execFileSync, spawn, type ChildProcessByStdio} from 'node:child_process';
import {once} from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import {createInterface} from 'node:readline';
import type {Readable, Writable} from 'node:stream';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import type {Scope} from './programs.ts';
import {firstLine, type Cable} from './world.ts';

/** What happens to packets on a cable in user space. Times are milliseconds, the others are chances in a thousand. */
export type Troubles = {
	readonly delay?: number;

	/** Up to that much more delay, in order. */
	readonly jitter?: number;
	readonly reorder?: number;
	readonly duplicate?: number;
	readonly loss?: number;
	readonly corrupt?: number;

	/** Segments that begin before the end of what came before them, a bare FIN too. */
	readonly overlap?: number;

	/** Bytes that a segment must have for that. */
	readonly least?: number;

	/** Bytes a second. */
	readonly rate?: number;

	/** Bytes that wait when there is a rate. */
	readonly queue?: number;
};

/** What has happened to them. */
export type Happened = Readonly<Record<'packets' | 'reordered' | 'duplicated' | 'lost' | 'corrupted' | 'overlapped' | 'overflowed' | 'fins', number>>;

export type Forwarders = {
	/** Joins the two ends of a cable. */
	readonly join: (cable: Cable) => Promise<void>;

	/** Cuts all cables. Resolves with the sums. */
	readonly stop: () => Promise<Happened>;
};

export function forwarders(scope: Scope, program: string, troubles: Troubles): Forwarders {
	const running: Array<{readonly child: ChildProcessByStdio<Writable, Readable, null>; readonly lines: AsyncIterator<string>}> = []; // eslint-disable-line @typescript-eslint/no-restricted-types
	return {
		async join({far, near}) {
			const words = Object.entries({...troubles, seed: running.length + 1}).map(([word, number]) => `${word}=${number}`);
			const child = spawn(program, [far.namespace, far.device, near.namespace, near.device, ...words], {stdio: ['pipe', 'pipe', 'inherit']});
			const exited = once(child, 'exit');
			scope.teardown(async () => {
				child.kill('SIGKILL');
				await exited;
			});
			const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
			running.push({child, lines});
			const {value} = await lines.next() as {readonly value: unknown};
			if (value !== 'ready') {
				throw new Error(`The forwarder did not start: ${String(value)}`);
			}
		},
		async stop() {
			const all = await Promise.all(running.map(async ({child, lines}) => {
				child.stdin.end();
				const {value} = await lines.next() as {readonly value: string};
				return JSON.parse(value) as Happened;
			}));
			const names = Object.keys(all[0]!) as Array<keyof Happened>;
			return Object.fromEntries(names.map(name => [name, all.reduce((sum, happened) => sum + happened[name], 0)])) as Happened;
		},
	};
}

/** Why there is no forwarder here, if so. */
export function impossibleForwarder(): string | undefined {
	try {
		fs.closeSync(fs.openSync('/dev/net/tun', 'r+'));
	} catch (error) {
		return `there is no TUN device here (${firstLine(error)})`;
	}

	try {
		execFileSync('c++', ['--version'], {stdio: 'pipe'});
		return undefined;
	} catch (error) {
		return `there is no compiler here (${firstLine(error)})`;
	}
}

/** Resolves with the program. */
export async function compileForwarder(directory: string): Promise<string> {
	const program = path.join(directory, 'forwarder');
	await promisify(execFile)('c++', ['-std=c++17', '-O2', '-Wall', '-Wextra', '-Werror', '-o', program, fileURLToPath(new URL('forwarder.cc', import.meta.url))]);
	return program;
}
