import {spawn} from 'node:child_process';
import {once} from 'node:events';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {within} from '../../until.ts';
import type {Answer, Calls, Question} from './calls.ts';

/** What has an end, and somebody to tell: a test of ava, or what a plain program has in its place. */
export type Scope = {
	/** Called when it is over, the last one first. */
	teardown(undo: () => Promise<void> | void): void;
	log(...text: string[]): void;
};

/** A program of ours in a process of its own. */
export type Program<C extends Calls> = {
	call<Name extends keyof C & string>(name: Name, ...argument: Parameters<C[Name]>): Promise<Awaited<ReturnType<C[Name]>>>;

	/** `kill -9`. Resolves when it is gone. */
	kill(): Promise<void>;
};

/** Starts the program in that network namespace. */
export async function startProgram<C extends Calls>(scope: Scope, namespace: string, name: string, env: Readonly<Record<string, string>> = {}): Promise<Program<C>> {
	// Under tsx as TypeScript, and compiled as what it was compiled to.
	const extension = path.extname(fileURLToPath(import.meta.url));
	const file = fileURLToPath(new URL(name + extension, import.meta.url));
	const loader = extension === '.ts' ? ['--import=tsx'] : [];
	const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, ...loader, file], {stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env: {...process.env, ...env}});
	const exited = once(child, 'exit');
	const kill = async () => {
		child.kill('SIGKILL');
		await exited;
	};

	scope.teardown(kill);
	const waiting = new Map<number, (answer: Answer) => void>();
	child.on('message', (answer: Answer) => {
		waiting.get(answer.id)?.(answer);
		waiting.delete(answer.id);
	});
	child.once('exit', () => {
		for (const [id, settle] of waiting) {
			settle({id, error: `${name} is gone`});
		}
	});
	child.once('error', ({message}) => {
		for (const [id, settle] of waiting) {
			settle({id, error: message});
		}
	});

	const answerTo = async (id: number): Promise<Answer> => new Promise(resolve => {
		waiting.set(id, resolve);
	});
	let last = 0;
	const ready = answerTo(last);
	const {error} = await within(`${name} starts`, ready, 120_000);
	if (error !== undefined) {
		throw new Error(error);
	}

	return {
		async call(name, ...[argument]) {
			const id = ++last;
			const answered = answerTo(id);
			child.send({id, name, argument} satisfies Question);
			const {value, error} = await within(`the ${name} of ${JSON.stringify(argument)}`, answered, patience);
			if (error !== undefined) {
				throw new Error(`${name} ${JSON.stringify(argument)}: ${error}`);
			}

			return value as never;
		},
		kill,
	};
}

/** Milliseconds within which everything has an answer. What has to be faster is limited by whoever asks. */
const patience = 240_000;
