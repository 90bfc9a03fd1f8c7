import {execFileSync} from 'node:child_process';
import fs from 'node:fs';
import type {ExecutionContext} from 'ava';
import {isInstalled} from '../../privileges.ts';
import {until} from '../../until.ts';

// What a proxy has in the kernel, and whether it is gone. Tests of other files run meanwhile, with maps and sockets of their own: so everything
// here is asked for by its id or its port, never by counting what the machine has.

/** The maps and programs of a process, by their ids. */
export type KernelObjects = {
	readonly maps: readonly number[];
	readonly programs: readonly number[];
};

/** Without bpftool that part is skipped, and said. */
const bpftool = isInstalled('bpftool', 'version');

export function sayIfBlind(t: ExecutionContext): void {
	if (!bpftool) {
		t.log('skipped: bpftool is not installed, so nobody looks for maps, entries and programs that are left');
	}
}

/** Those that the process holds by a descriptor, and those that hang on them: the program, and the map of its rings. */
export function kernelObjects(pid: number): KernelObjects {
	const held = new Set<number>();
	for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
		const id = mapBehind(pid, fd);
		if (id !== undefined) {
			held.add(id);
		}
	}

	const programs = list<Program>('prog').filter(({map_ids: maps = []}) => maps.some(id => held.has(id)));
	return {
		maps: [...new Set([...held, ...programs.flatMap(({map_ids: maps = []}) => maps)])],
		programs: programs.map(({id}) => id),
	};
}

/** Resolves when the kernel has taken all of them apart, which it does a little after the last descriptor is closed. */
export async function objectsAreGone({maps, programs}: KernelObjects): Promise<void> {
	const left = () => [
		...list<Identified>('map').filter(({id}) => maps.includes(id)).map(({id}) => `map ${id}`),
		...list<Identified>('prog').filter(({id}) => programs.includes(id)).map(({id}) => `program ${id}`),
	];
	await untilNothing('maps and programs', left);
}

/** Resolves when no socket is in the maps and no cookie of one. */
export async function mapsAreEmpty({maps}: KernelObjects): Promise<void> {
	await untilNothing('entries of maps', () => entries(maps));
}

/** Resolves when the kernel knows no socket that is bound to the port or connected to it, except those that wait out their time after a good end. */
export async function socketsAreGone(...ports: readonly number[]): Promise<void> {
	await untilNothing('sockets', () => ports.flatMap(port => run('ss', ['-Htano', `( sport = :${port} or dport = :${port} )`])
		.split('\n').filter(line => line !== '' && !line.includes('timer:(timewait'))));
}

/** How many threads of the relay the process has. */
export function relayThreads(pid: number): number {
	return fs.readdirSync(`/proc/${pid}/task`).filter(task => {
		try {
			return fs.readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim() === 'sockmap-relay';
		} catch {
			return false;
		}
	}).length;
}

function entries(maps: readonly number[]): string[] {
	const found: string[] = [];
	for (const {id, type} of list<Identified & {readonly type: string}>('map')) {
		if (maps.includes(id) && ['sockmap', 'hash'].includes(type)) {
			// What a sockmap has no socket for is shown with an error.
			const filled = (JSON.parse(run('bpftool', ['map', 'dump', 'id', String(id), '-j'])) as ReadonlyArray<{readonly key: unknown; readonly value: unknown}>)
				.filter(({value}) => Array.isArray(value));
			found.push(...filled.map(({key, value}) => `${type} ${id}: ${JSON.stringify(key)} → ${JSON.stringify(value)}`));
		}
	}

	return found;
}

async function untilNothing(what: string, left: () => readonly string[]): Promise<void> {
	try {
		await until(`no ${what} are left`, () => left().length === 0, 5000);
	} catch {
		throw new Error(`Left behind: ${left().join('; ')}`);
	}
}

// Descriptors and processes go while we look.
function mapBehind(pid: number, fd: string): number | undefined {
	try {
		const [, id] = /^map_id:\s*(\d+)$/mu.exec(fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')) ?? [];
		return id === undefined ? undefined : Number(id);
	} catch {
		return undefined;
	}
}

function list<Item>(kind: 'map' | 'prog'): readonly Item[] {
	return bpftool ? JSON.parse(run('bpftool', [kind, 'list', '-j'])) as readonly Item[] : [];
}

function run(file: string, given: readonly string[]): string {
	return execFileSync(file, given, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']});
}

type Identified = {readonly id: number};

type Program = Identified & {readonly map_ids?: readonly number[]};
