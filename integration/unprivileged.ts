import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import type {ExecutionContext} from 'ava';

/** How to fork the proxy's program as somebody without any capability. */
export type Unprivileged = {
	readonly program: string;
	readonly options: {readonly uid?: number; readonly gid?: number; readonly cwd: string; readonly execPath: string};
	readonly env: NodeJS.ProcessEnv;
};

/** `nobody`, who may have to be given a copy of what he cannot read here. If we are not root, we are nobody ourselves. */
export async function nobody(t: ExecutionContext): Promise<Unprivileged> {
	if (process.getuid?.() !== 0) {
		return forkedFrom(root, process.execPath, {});
	}

	const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'http-proxy-sockmap-'));
	await fs.chmod(directory, 0o755);
	t.teardown(async () => {
		await fs.rm(directory, {recursive: true});
	});
	const user = {uid: 65_534, gid: 65_534};
	let {execPath} = process;
	if (!await canRun(execPath, ['--version'], user)) {
		execPath = path.join(directory, 'node');
		await fs.copyFile(process.execPath, execPath);
		await fs.chmod(execPath, 0o755);
	}

	if (await canRun(execPath, ['--import=tsx', '--eval', 'require("fs").accessSync(process.argv[1])', fileURLToPath(new URL('../plugin/index.ts', import.meta.url))], {...user, cwd: root})) {
		return forkedFrom(root, execPath, user);
	}

	await copyTree(directory);
	return forkedFrom(directory, execPath, user);
}

function forkedFrom(cwd: string, execPath: string, user: {readonly uid?: number; readonly gid?: number}): Unprivileged {
	return {
		program: path.join(cwd, 'integration', 'proxy-program.ts'),
		options: {cwd, execPath, ...user},
		env: {[home]: os.tmpdir()},
	};
}

async function canRun(file: string, arguments_: readonly string[], options: {readonly uid: number; readonly gid: number; readonly cwd?: string}): Promise<boolean> {
	try {
		await promisify(execFile)(file, arguments_, {cwd: '/', ...options, env: {...process.env, [home]: os.tmpdir()}});
		return true;
	} catch {
		return false;
	}
}

/** What the program needs: sources, the built addon, and the packages it imports with all that they import. */
async function copyTree(directory: string): Promise<void> {
	const packages = new Set(['tsx', 'http-proxy', 'eventemitter3']);
	for (const name of packages) {
		const manifest = JSON.parse(await fs.readFile(path.join(root, 'node_modules', name, 'package.json'), 'utf8')) as Manifest; // eslint-disable-line no-await-in-loop
		for (const dependency of Object.keys({...manifest.dependencies, ...manifest.optionalDependencies})) {
			// Those for other platforms are not there.
			if (await exists(path.join(root, 'node_modules', dependency))) { // eslint-disable-line no-await-in-loop
				packages.add(dependency);
			}
		}
	}

	const addon = 'addon/build/Release/sockmap.node';
	const needed = ['package.json', 'tsconfig.json', 'plugin', 'integration', ...(await exists(path.join(root, addon)) ? [addon] : []), ...[...packages].map(name => `node_modules/${name}`)];
	for (const name of needed) {
		await fs.cp(path.join(root, name), path.join(directory, name), {recursive: true}); // eslint-disable-line no-await-in-loop
	}

	await promisify(execFile)('chmod', ['-R', 'a+rX', directory]);
}

async function exists(file: string): Promise<boolean> {
	try {
		await fs.access(file);
		return true;
	} catch {
		return false;
	}
}

type Manifest = {readonly dependencies?: Record<string, string>; readonly optionalDependencies?: Record<string, string>};

// Where tsx would put things, were it somebody with a home.
const home = 'HOME';

const root = fileURLToPath(new URL('..', import.meta.url));
