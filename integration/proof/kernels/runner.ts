import {isDeepStrictEqual} from 'node:util';

// As much of ava as the tests need that run in the guest: an emulated machine would take minutes to start the real one.
// They run one after the other, in the order in which they are registered.

export type Result = {readonly title: string; readonly passed: boolean; readonly milliseconds: number; readonly log: readonly string[]; readonly error?: string};

type Run = (t: Scope) => Promise<void> | void;

const tests: Array<{readonly title: string; readonly run: Run}> = [];
const before: Run[] = [];
const after: Run[] = [];

export default function test(title: string, run: Run): void {
	tests.push({title, run});
}

test.serial = test;

test.before = (_title: string, run: Run) => {
	before.push(run);
};

test.after = {
	always(title: string, run: Run) {
		after.push(async t => {
			try {
				await run(t);
			} catch (error) {
				throw new Error(`${title}: ${(error as Error).message}`, {cause: error});
			}
		});
	},
};

export async function runTests(wanted: (title: string) => boolean, report: (result: Result) => void): Promise<void> {
	for (const run of before) {
		await result('before', run); // eslint-disable-line no-await-in-loop
	}

	for (const {title, run} of tests) {
		if (wanted(title)) {
			report(await result(title, run)); // eslint-disable-line no-await-in-loop
		}
	}

	report(await result('no descriptor, map or process is left', async t => {
		for (const run of after) {
			await run(t); // eslint-disable-line no-await-in-loop
		}
	}));
}

async function result(title: string, run: Run): Promise<Result> {
	const started = Date.now();
	const scope = new Scope();
	let error: string | undefined;
	try {
		await run(scope);
	} catch (error_) {
		error = (error_ as Error).stack ?? String(error_);
	}

	try {
		await scope.end();
	} catch (error_) {
		error ??= (error_ as Error).stack ?? String(error_);
	}

	return {
		title, passed: error === undefined, milliseconds: Date.now() - started, log: scope.lines, ...(error !== undefined && {error}),
	};
}

export class Scope {
	readonly lines: string[] = [];
	readonly #undo: Array<() => unknown> = [];

	teardown(undo: () => unknown): void {
		this.#undo.unshift(undo);
	}

	async end(): Promise<void> {
		for (const undo of this.#undo) {
			await undo(); // eslint-disable-line no-await-in-loop
		}
	}

	log(...values: unknown[]): void {
		this.lines.push(values.map(value => typeof value === 'string' ? value : JSON.stringify(value)).join(' '));
	}

	/** The machine as a whole has its time, and not more. */
	timeout(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

	pass(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

	true(actual: unknown, message?: string): void {
		this.is(actual, true, message);
	}

	is(actual: unknown, expected: unknown, message?: string): void {
		if (!Object.is(actual, expected)) {
			throw new Error(`${message ?? ''} expected ${JSON.stringify(expected)}, but got ${JSON.stringify(actual)}`);
		}
	}

	deepEqual(actual: unknown, expected: unknown, message?: string): void {
		if (!isDeepStrictEqual(actual, expected)) {
			throw new Error(`${message ?? ''} expected ${JSON.stringify(expected)}, but got ${JSON.stringify(actual)}`);
		}
	}

	/** That it has these properties, whatever else it has. */
	like(actual: unknown, expected: Readonly<Record<string, unknown>>): void {
		for (const [key, value] of Object.entries(expected)) {
			this.deepEqual((actual as Record<string, unknown>)[key], value, key);
		}
	}
}
