/* eslint-disable ava/no-ignored-test-files -- The files that import this one are tests. */
import {execFile} from 'node:child_process';
import fs from 'node:fs';
import process from 'node:process';
import {promisify} from 'node:util';
import test from 'ava';
import {until} from './until.ts';

/** What of this process would outlive its tunnels if somebody forgot it, by kind: `socket`, `bpf-map`, `pipe`… */
export type Holdings = ReadonlyMap<string, readonly string[]>;

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

/** What that process holds now. */
export function holdings(by: number | 'self' = 'self'): Holdings {
	const found = new Map<string, string[]>();
	const add = (kind: string, name: string) => {
		found.set(kind, [...found.get(kind) ?? [], name]);
	};

	for (const fd of fs.readdirSync(`/proc/${by}/fd`)) {
		const link = readOrNothing(() => fs.readlinkSync(`/proc/${by}/fd/${fd}`));
		const kind = /^anon_inode:\[?(?<kind>[\w-]+)\]?$/u.exec(link)?.groups?.kind ?? /^(?<kind>socket|pipe):/u.exec(link)?.groups?.kind;
		if (kind !== undefined) {
			add(kind, `${fd}→${link}`);
		}
	}

	for (const task of fs.readdirSync(`/proc/${by}/task`)) {
		for (const pid of readOrNothing(() => fs.readFileSync(`/proc/${by}/task/${task}/children`, 'utf8')).split(' ').filter(Boolean)) {
			const command = readOrNothing(() => fs.readFileSync(`/proc/${pid}/comm`, 'utf8')).trim();
			// The compiler that loads our TypeScript is a child too.
			if (command !== 'esbuild' && command !== '') {
				add('child process', `${pid} ${command}`);
			}
		}
	}

	return found;
}

// Descriptors and processes go while we look.
function readOrNothing(read: () => string): string {
	try {
		return read();
	} catch {
		return '';
	}
}
