import {execFile} from 'node:child_process';
import {existsSync} from 'node:fs';
import {
	chmod, copyFile, cp, mkdir, mkdtemp, readdir, rm, writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import {build, stop, type Plugin} from 'esbuild';
import {unpacked, type Kernel} from './archive.ts';

const run = promisify(execFile);

const root = fileURLToPath(new URL('../../..', import.meta.url));

/**
A file system in memory with a shell, this Node, the package as it was built, and the tests of guest.ts. It is the same for all kernels, but for their modules.
*/
export async function makeInitramfs({name, modules}: Kernel, cache: string): Promise<string> {
	const folder = await mkdtemp(path.join(os.tmpdir(), 'initramfs-'));
	try {
		const busybox = await busyboxIn(cache);
		await mkdir(path.join(folder, 'bin'));
		await copyFile(busybox, path.join(folder, 'bin/busybox'));
		await copyProgram(process.execPath, 'bin/node', folder);
		await copyProgram(await find('tc'), 'bin/tc', folder);
		await copyModules(modules, path.join(folder, 'modules'));
		await copyPackage(path.join(folder, 'app'));
		await writeFile(path.join(folder, 'init'), init);
		await chmod(path.join(folder, 'init'), 0o755);

		// Not compressed: unpacking takes longer in an emulated machine than reading does.
		const archive = path.join(cache, `${name}.cpio`);
		await run('sh', ['-c', 'find . | "$0" cpio -o -H newc > "$1"', busybox, archive], {cwd: folder});
		return archive;
	} finally {
		await rm(folder, {recursive: true});
	}
}

async function busyboxIn(cache: string): Promise<string> {
	const folder = await unpacked('busybox-static', cache);
	return ['bin/busybox', 'usr/bin/busybox'].map(file => path.join(folder, file)).find(file => existsSync(file))!;
}

async function find(command: string): Promise<string> {
	const {stdout} = await run('sh', ['-c', `PATH="$PATH:/usr/sbin:/sbin" command -v ${command}`]);
	return stdout.trim();
}

/** With the libraries that it is linked to, where it looks for them. */
async function copyProgram(file: string, to: string, folder: string): Promise<void> {
	await copyFile(file, path.join(folder, to));
	const {stdout} = await run('ldd', [file]);
	for (const [library] of stdout.matchAll(/\/\S+/gu)) {
		await mkdir(path.join(folder, path.dirname(library)), {recursive: true}); // eslint-disable-line no-await-in-loop
		await copyFile(library, path.join(folder, library)); // eslint-disable-line no-await-in-loop
	}
}

/** What the tests need that is not in the image. Busybox would not know what to do with compressed ones. */
async function copyModules(from: string, to: string): Promise<void> {
	await mkdir(to);
	for (const file of await readdir(from, {recursive: true})) {
		const match = /(?<name>sch_netem)\.ko(?<compressed>\.xz)?$/u.exec(file);
		if (match) {
			const target = path.join(to, `${match.groups!.name}.ko`);
			await run('sh', ['-c', `${match.groups!.compressed ? 'xz -dc' : 'cat'} "$0" > "$1"`, path.join(from, file), target]); // eslint-disable-line no-await-in-loop
		}
	}
}

async function copyPackage(to: string): Promise<void> {
	await cp(path.join(root, 'dist'), path.join(to, 'dist'), {recursive: true});
	await mkdir(path.join(to, 'addon/build/Release'), {recursive: true});
	for (const file of ['package.json', 'addon/build/Release/sockmap.node']) {
		await copyFile(path.join(root, file), path.join(to, file)); // eslint-disable-line no-await-in-loop
	}

	await build({
		entryPoints: [fileURLToPath(new URL('guest.ts', import.meta.url))],
		outfile: path.join(to, 'guest.mjs'),
		bundle: true,
		platform: 'node',
		format: 'esm',
		logLevel: 'error',
		// What package.json says about side effects holds for the plugin, not for tests.
		ignoreAnnotations: true,
		// What is bundled of the CommonJS kind calls it.
		banner: {js: 'import {createRequire as makeRequire} from "node:module"; const require = makeRequire(import.meta.url);'},
		plugins: [inTheGuest],
	});
	await stop(); // It is a process of its own, and would wait for more.
	await cp(path.join(root, 'node_modules/eventemitter3'), path.join(to, 'node_modules/eventemitter3'), {recursive: true});
}

/** The tests meet the package as it was built, a small runner in place of ava, and more patience. */
const inTheGuest: Plugin = {
	name: 'in the guest',
	setup(build) {
		// It is Go that reads these expressions, and it does not know the `u`.
		const here = (file: string) => ({path: fileURLToPath(new URL(file, import.meta.url))});
		build.onResolve({filter: /\/plugin\/index\.ts$/}, () => ({path: './dist/index.js', external: true}));
		build.onResolve({filter: /^ava$/}, () => here('runner.ts'));
		build.onResolve({filter: /\/until\.ts$/}, ({importer}) => importer.endsWith('patience.ts') ? undefined : here('patience.ts'));
	},
};

const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mkdir -p /proc /sys /dev /tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ip link set lo up
for module in /modules/*.ko; do insmod "$module"; done
node /app/guest.mjs
poweroff -f
`;
