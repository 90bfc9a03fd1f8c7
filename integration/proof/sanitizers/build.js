// Builds the addon with a sanitizer, or an addon of ours that is wrong on purpose, next to the real one.
import {execFile} from 'node:child_process';
import {existsSync} from 'node:fs';
import fs from 'node:fs/promises';
import {createRequire} from 'node:module';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';

/** The folder of the project. */
export const root = fileURLToPath(new URL('../../..', import.meta.url));

/** By what a run is called: the compiler's flags, the runtime, and what it must see of what control.cc does. */
export const sanitizers = {
	address: {
		flags: ['-fsanitize=address,undefined'],
		runtime: 'libasan.so',
		seen: ['overflow', 'use after free', 'undefined', 'leak'],
		unseen: ['no race'],
	},
	thread: {
		flags: ['-fsanitize=thread'],
		runtime: 'libtsan.so',
		seen: ['race'],
		unseen: ['no race'],
	},
};

/** Builds the addon with these flags of the compiler, unless it is newer than its sources, and says where it is. */
export async function buildAddon(name, flags, compiler = 'g++') {
	const {targets: [{sources, defines}]} = JSON.parse(await fs.readFile(path.join(root, 'addon', 'binding.gyp'), 'utf8'));
	const folder = path.join(root, 'addon', 'build', name);
	const addon = path.join(folder, 'sockmap.node');
	const headers = [...await namesIn('addon', '.h'), ...await namesIn('bpf', '.h'), 'addon/binding.gyp'];
	await fs.mkdir(folder, {recursive: true});
	const common = [...compilerFlags, ...await includes(), ...defines.map(define => `-D${define}`), '-DNODE_GYP_MODULE_NAME=sockmap', ...flags];
	const objects = await Promise.all(sources.map(async source => {
		const object = path.join(folder, source.replace('.cc', '.o'));
		if (!await isNewer(object, [`addon/${source}`, ...headers])) {
			await compile([...common, '-c', `addon/${source}`, '-o', object], compiler);
		}

		return object;
	}));
	// It stays where it is mapped when a worker ends, so that reports about it can still be given names.
	await compile([...flags, '-shared', '-pthread', '-Wl,-z,nodelete', ...objects, '-o', addon], compiler);
	return addon;
}

/** The same for the addon that is wrong on purpose. */
export async function buildControl(name, flags) {
	const addon = path.join(root, 'addon', 'build', name, 'control.node');
	const source = 'integration/proof/sanitizers/control.cc';
	await fs.mkdir(path.dirname(addon), {recursive: true});
	if (!await isNewer(addon, [source])) {
		await compile([...compilerFlags, ...await includes(), '-DNAPI_VERSION=9', '-DNODE_GYP_MODULE_NAME=control', ...flags, '-shared', '-Wl,-z,nodelete', source, '-o', addon]);
	}

	return addon;
}

/** Runs the compiler from the folder of the project. */
export async function compile(arguments_, compiler = 'g++') {
	await promisify(execFile)(compiler, arguments_, {cwd: root});
}

/** Where a library of the compiler is. */
export async function library(name) {
	const {stdout} = await promisify(execFile)('g++', [`-print-file-name=${name}`]);
	return fs.realpath(stdout.trim());
}

async function includes() {
	const candidates = [process.env.npm_package_config_node_gyp_nodedir, process.env.npm_config_nodedir, path.dirname(path.dirname(process.execPath))];
	const configuration = path.join(root, 'addon', 'build', 'config.gypi');
	if (existsSync(configuration)) {
		const nodeDirectory = /"nodedir": "(.*)"/v.exec(await fs.readFile(configuration, 'utf8'))?.[1];
		candidates.push(nodeDirectory);
	}

	const node = candidates.filter(Boolean).map(folder => path.join(folder, 'include', 'node')).find(folder => existsSync(path.join(folder, 'node_api.h')));
	if (node === undefined) {
		throw new Error('The headers of Node are not there. `npm run build:addon` gets them.');
	}

	return [node, path.resolve(createRequire(import.meta.url)('node-addon-api').include_dir)].flatMap(folder => ['-isystem', folder]);
}

async function namesIn(folder, extension) {
	const names = await fs.readdir(path.join(root, folder));
	return names.filter(name => name.endsWith(extension)).map(name => `${folder}/${name}`);
}

async function isNewer(product, sources) {
	if (!existsSync(product)) {
		return false;
	}

	const made = await Promise.all([product, ...sources.map(source => path.join(root, source))].map(async file => {
		const {mtimeMs} = await fs.stat(file);
		return mtimeMs;
	}));
	return made[0] >= Math.max(...made.slice(1));
}

const compilerFlags = ['-std=gnu++17', '-O1', '-g', '-fno-omit-frame-pointer', '-fPIC', '-pthread', '-fvisibility=hidden', '-DBUILDING_NODE_EXTENSION'];
