// `npm run tidy`: clang-tidy, by addon/.clang-tidy, and a compiler whose warnings are errors. Those who build from source
// get warnings only, as a newer compiler has others.
import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import {createRequire} from 'node:module';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';

const {targets: [{target_name: addonName, sources, defines}]} = JSON.parse(await fs.readFile(new URL('binding.gyp', import.meta.url), 'utf8'));
const root = fileURLToPath(new URL('..', import.meta.url));

// Where node-gyp found them, or where they are beside Node.
const configuration = await fs.readFile(new URL('build/config.gypi', import.meta.url), 'utf8').catch(() => '');
const nodeDirectory = /"nodedir": "(.*)"/v.exec(configuration)?.[1] ?? path.dirname(path.dirname(process.execPath));
const flags = [
	'-std=gnu++17',
	...defines.map(define => `-D${define}`),
	`-DNODE_GYP_MODULE_NAME=${addonName}`,
	'-DBUILDING_NODE_EXTENSION',
	...[path.join(nodeDirectory, 'include', 'node'), createRequire(import.meta.url)('node-addon-api').include_dir].flatMap(folder => ['-isystem', path.resolve(folder)]),
];

const run = async (command, arguments_) => {
	try {
		await promisify(execFile)(command, arguments_, {cwd: root, maxBuffer: 1e8});
	} catch (error) {
		console.log(error.stdout + error.stderr);
		process.exitCode = 1;
	}
};

// As many at once as there are processors.
const waiting = sources.map(source => `addon/${source}`);
await Promise.all(Array.from({length: os.availableParallelism()}, async () => {
	for (let source = waiting.shift(); source !== undefined; source = waiting.shift()) {
		/* eslint-disable no-await-in-loop -- One after the other, for each processor. */
		await run('clang-tidy', ['--quiet', source, '--', ...flags]);
		await run('g++', ['-fsyntax-only', '-O2', '-Wall', '-Wextra', '-Wconversion', '-Werror', ...flags, source]);
		/* eslint-enable no-await-in-loop */
	}
}));
