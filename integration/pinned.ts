import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import type {ExecutionContext} from 'ava';
import {pinMaps as pin, removePins} from '../plugin/cli/pinning.ts';

/** Maps that are pinned for nobody, in a directory of their own, until the test is over. */
export async function pinMaps(t: ExecutionContext, {slots = 4, tunnels = 16}: {readonly slots?: number; readonly tunnels?: number} = {}): Promise<string> {
	const parent = await fs.mkdtemp(path.join(os.tmpdir(), 'http-proxy-sockmap-pins-'));
	await fs.chmod(parent, 0o755);
	const directory = path.join(parent, 'pins');
	t.teardown(async () => {
		removePins(directory);
		await fs.rm(parent, {recursive: true});
	});
	// What the command does, without the time that another process takes. The command itself is run where it is what the test is about.
	pin(directory, {slots, tunnels, user: 65_534, group: 65_534});
	return directory;
}

/** Runs `http-proxy-sockmap`. */
export async function command(...given: readonly string[]): Promise<Outcome> {
	return runIn([process.execPath], given);
}

/** The same with something before the path of Node. */
export async function runIn([file, ...launcher]: readonly string[], given: readonly string[], {env, cwd = root}: {readonly env?: NodeJS.ProcessEnv; readonly cwd?: string} = {}): Promise<Outcome> {
	try {
		const {stdout, stderr} = await promisify(execFile)(file!, [...launcher, '--import=tsx', path.join(cwd, 'plugin', 'cli', 'main.ts'), ...given], {cwd, env: {...process.env, ...env}});
		return {code: 0, stdout, stderr};
	} catch (error) {
		const {code, stdout, stderr} = error as Error & Outcome;
		return {code, stdout, stderr};
	}
}

export type Outcome = {
	readonly code: number;
	readonly stdout: string;
	readonly stderr: string;
};

const root = fileURLToPath(new URL('..', import.meta.url));
