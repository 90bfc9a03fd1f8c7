import {execFile, execFileSync} from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import {firstLine, tc, type Plug} from './world.ts';

// Loss where the kernel has no netem.

export type Loss = {readonly lostIn1000: number} | {readonly every: number};

/** From now on packets that arrive at these ends of cables are lost. */
export async function drop(plugs: readonly Plug[], loss: Loss): Promise<void> {
	const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'dropper-'));
	try {
		const object = path.join(directory, 'dropper.o');
		await promisify(execFile)('clang', compiling(object, 'every' in loss ? `EVERY=${loss.every}` : `LOST_IN_1000=${loss.lostIn1000}`));
		for (const {namespace, device} of plugs) {
			/* eslint-disable no-await-in-loop */
			await tc(namespace, 'qdisc', 'add', 'dev', device, 'clsact');
			await tc(namespace, 'filter', 'add', 'dev', device, 'ingress', 'bpf', 'direct-action', 'object-file', object, 'section', 'tc');
			/* eslint-enable no-await-in-loop */
		}
	} finally {
		await fs.rm(directory, {recursive: true});
	}
}

/** How many packets were lost on their way to this end. */
export async function dropped({namespace, device}: Plug): Promise<number> {
	const [{drops}] = JSON.parse(await tc(namespace, '-json', '-statistics', 'qdisc', 'show', 'dev', device, 'clsact')) as [{readonly drops: number}];
	return drops;
}

/** Why there is no dropper here, if so. */
export function impossibleDropper(): string | undefined {
	try {
		const targets = execFileSync('clang', ['-print-targets'], {encoding: 'utf8', stdio: 'pipe'});
		return /^ +bpf /mu.test(targets) ? undefined : 'clang does not compile BPF here';
	} catch (error) {
		return `there is no clang here (${firstLine(error)})`;
	}
}

function compiling(object: string, macro: string): string[] {
	const source = fileURLToPath(new URL('dropper.bpf.c', import.meta.url));
	// The type information is for the one variable, which libbpf makes a map of. `v3` has the atomic addition that returns something.
	return ['-O2', '-g', '-target', 'bpf', '-mcpu=v3', `-D${macro}`, `-I/usr/include/${multiarch()}`, '-c', source, '-o', object];
}

/** Where Debian has <asm/types.h>. */
function multiarch(): string {
	return `${os.machine()}-linux-gnu`;
}
