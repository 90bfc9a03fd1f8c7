import {execFileSync} from 'node:child_process';
import {chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmdirSync, rmSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {isDeepStrictEqual} from 'node:util';
import {missing, native, type NativeRefusal, type NativeShares} from '../native.ts';
import {defaultPins} from '../pins.ts';
import {remedy} from '../remedy.ts';
import {Failure} from './command.ts';
import {mounts} from './mounts.ts';

/**
Makes the directory what `new Relay({pins})` wants it to be: a BPF file system with the maps in `maps`, a lock file for each slot in `slots`.
*/
export function pinMaps(directory: string, shares: NativeShares): 'pinned' | 'kept' {
	if (!native) {
		throw new Failure(`${missing!.message}. ${remedy(missing!) ?? ''}`);
	}

	mkdirSync(directory, {recursive: true, mode: 0o755});
	checkOwner(directory);
	chmodSync(directory, 0o755);
	const {maps, slots, about} = partsOf(directory);
	if (fits(directory, shares)) {
		return 'kept';
	}

	makeDirectory(maps);
	makeDirectory(slots);
	if (!isMounted(maps)) {
		mount(maps);
	}

	// What says that there are maps goes first, and comes last: nobody finds half of them. Locks stay, because whoever holds one keeps it.
	rmSync(join(maps, 'layout'), {force: true});
	rmSync(about, {force: true});
	try {
		native.setUp(directory, shares);
	} catch (error) {
		const {message} = error as Error;
		throw new Failure(`${message}. ${remedy(error as Error & NativeRefusal) ?? ''}`.trim());
	}

	removeSurplus(directory, shares.slots);
	writeFileSync(about, JSON.stringify(shares));
	return 'pinned';
}

/**
Returns whether there was anything.
*/
export function removePins(directory: string): boolean {
	if (!existsSync(directory)) {
		return false;
	}

	checkOwner(directory);
	const {maps, slots, about} = partsOf(directory);
	if (!existsSync(maps) && !existsSync(slots)) {
		throw new Failure(`${directory} was not made by setup: there is neither maps nor slots in it.`);
	}

	while (isMounted(maps)) {
		run('umount', [maps]);
	}

	// Only now: within a mounted one it would unpin instead.
	for (const path of [maps, slots, about]) {
		rmSync(path, {recursive: true, force: true});
	}

	rmdirSync(directory);
	if (dirname(directory) === dirname(defaultPins(0))) {
		removeIfEmpty(dirname(directory));
	}

	return true;
}

// Of a set that had more slots.
function removeSurplus(directory: string, count: number): void {
	const {maps, slots} = partsOf(directory);
	for (const slot of readdirSync(slots).filter(name => Number(name) >= count)) {
		rmSync(join(slots, slot));
		rmSync(join(maps, `ring-${slot}`), {force: true});
	}
}

function fits(directory: string, shares: NativeShares): boolean {
	try {
		if (!isDeepStrictEqual(JSON.parse(readFileSync(partsOf(directory).about, 'utf8')), shares)) {
			return false;
		}
	} catch {
		return false;
	}

	// All slots are in use: then they fit their users.
	const refusal = native!.probe('sockmap', directory);
	return refusal === undefined || refusal.code === 'EBUSY';
}

// Root follows paths in here. Nobody else may bend them.
function checkOwner(directory: string): void {
	const stats = lstatSync(directory);
	if (!stats.isDirectory() || stats.uid !== 0 || (stats.mode & 0o022) !== 0) { // eslint-disable-line no-bitwise
		throw new Failure(`Expected ${directory} to be a directory that belongs to root and that nobody else can write to.`);
	}
}

function makeDirectory(directory: string): void {
	if (!existsSync(directory)) {
		mkdirSync(directory);
	}

	checkOwner(directory);
	if (!isMounted(directory)) {
		chmodSync(directory, 0o755);
	}
}

function isMounted(directory: string): boolean {
	const path = realpathSync(directory);
	return mounts().findLast(mount => mount.path === path)?.type === 'bpf';
}

function mount(directory: string): void {
	// The one in /sys/fs/bpf is closed to users on most systems, and opening it would open it for all that is in it.
	run('mount', ['-t', 'bpf', '-o', 'mode=0711,nosuid,nodev,noexec', 'bpf', directory]);
}

function run(command: 'mount' | 'umount', given: readonly string[]): void {
	try {
		execFileSync(command, given, {stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8'});
	} catch (error) {
		const {code, stderr} = error as NodeJS.ErrnoException & {readonly stderr?: string};
		throw new Failure(code === 'ENOENT'
			? `The command ${command} is not installed. It is in the package util-linux or mount (Debian: apt-get install mount). By hand: ${[command, ...given].join(' ')}`
			: `Could not run \`${[command, ...given].join(' ')}\`: ${stderr?.trim() ?? code}`);
	}
}

function partsOf(directory: string) {
	return {maps: join(directory, 'maps'), slots: join(directory, 'slots'), about: join(directory, 'setup.json')};
}

function removeIfEmpty(directory: string): void {
	try {
		rmdirSync(directory);
	} catch {
		// Other users have theirs in it.
	}
}
