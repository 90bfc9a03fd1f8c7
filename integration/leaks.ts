/* eslint-disable ava/no-ignored-test-files -- The files that import this one are tests. */
import {execFile} from 'node:child_process';
import process from 'node:process';
import {promisify} from 'node:util';
import test from 'ava';
import {holdings, type Holdings} from './holdings.ts';
import {until} from './until.ts';

/**
Registers two hooks: what the process holds before the first test is what it holds after the last.
Every file of this folder calls it.
*/

export function nothingIsLeft(): void {
	let before: Holdings;

	test.before('what the process holds is noted', async () => {
		before = await baseline();
	});

	test.after.always('no descriptor, map or process is left', async t => {
		await released(before);
		t.pass();
	});
}

export async function baseline(): Promise<Holdings> {
	// The first child makes libuv's signal pipe, which stays: have it now.
	await promisify(execFile)(process.execPath, ['--version']);
	return holdings();
}

/** Resolves when nothing is held that was not held then; rejects with a list of it. */
export async function released(before: Holdings, by: number | 'self' = 'self'): Promise<void> {
	try {
		await until('everything is released', () => surplus(before, by).length === 0, 5000);
	} catch {
		throw new Error(`Left behind: ${surplus(before, by).join(', ')}`);
	}
}

function surplus(before: Holdings, by: number | 'self'): string[] {
	const surplus: string[] = [];
	for (const [kind, names] of holdings(by)) {
		const known = before.get(kind) ?? [];
		const fresh = names.filter(name => !known.includes(name));
		// Node may replace one of its own (an epoll set of a worker, say): more of a kind is the leak, not another.
		if (names.length > known.length) {
			surplus.push(`${names.length - known.length} × ${kind} (${fresh.join(' ')})`);
		}
	}

	return surplus;
}
