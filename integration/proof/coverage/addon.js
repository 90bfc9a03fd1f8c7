// `npm run coverage:addon`: the lines of addon/ that the tests have been through, then patterns and options of ava, if
// not all. A process that is killed, and a worker that is terminated, would not get round to writing their counters at
// the end. So they are mapped from a file of each process all the time.
import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {promisify} from 'node:util';
import {runAva} from '../sanitizers/ava.js';
import {buildAddon, root} from '../sanitizers/build.js';

const given = process.argv.slice(2);
const patterns = given.length > 0 ? given : ['plugin/**/*.test.ts', 'integration/*.test.ts', '!integration/package.test.ts'];
if (given.length === 0) {
	console.log('SKIPPED: package.test.ts: it builds and installs the package with its own addon, the one without counters');
}

// Processes of other users read and write here too.
const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'coverage-addon-'));
await fs.chmod(folder, 0o1777);
try {
	const addon = path.join(folder, 'sockmap.node');
	await fs.copyFile(await buildAddon('coverage', flags(), 'clang++'), addon);
	process.exitCode = await runAva(process.execPath, patterns, {...process.env, HTTP_PROXY_SOCKMAP_ADDON: addon, LLVM_PROFILE_FILE: path.join(folder, '%p%c.profraw')});
	await report(addon);
} finally {
	await fs.rm(folder, {recursive: true});
}

async function report(addon) {
	const names = await fs.readdir(folder);
	const profiles = names.filter(name => name.endsWith('.profraw'));
	const list = path.join(folder, 'profiles');
	await fs.writeFile(list, profiles.map(name => `${path.join(folder, name)}\n`).join(''));
	const merged = path.join(folder, 'merged.profdata');
	// Of one that was killed when it had just begun, there is nothing to read.
	await run('llvm-profdata', ['merge', '--sparse', '--failure-mode=all', `--input-files=${list}`, `--output=${merged}`]);
	const {stdout} = await run('llvm-cov', ['report', addon, `--instr-profile=${merged}`, path.join(root, 'addon')]);
	console.log(`\n${profiles.length} processes had the addon loaded.\n\n${stdout}`);
	const {stdout: lines} = await run('llvm-cov', ['show', addon, `--instr-profile=${merged}`, path.join(root, 'addon')]);
	console.log(missed(lines));
}

// The lines that no process has been through, by file: what a test is missing for, or what only a kernel that is out of
// memory would do.
function missed(listing) {
	let file;
	const found = [];
	for (const line of listing.split('\n')) {
		if (/^\/.*:$/v.test(line)) {
			file = path.relative(root, line.slice(0, -1));
		}

		const match = /^\s*(?<number>\d+)\|\s*0\|(?<text>.*)$/v.exec(line);
		if (match) {
			found.push(`${file}:${match.groups.number}:${match.groups.text}`);
		}
	}

	return ['Not been through:', ...found].join('\n');
}

async function run(command, arguments_) {
	return promisify(execFile)(command, arguments_, {cwd: root, maxBuffer: 1e8});
}

// The relay counts in a thread of its own.
function flags() {
	return ['-fprofile-instr-generate', '-fcoverage-mapping', '-fprofile-update=atomic', '-mllvm', '-runtime-counter-relocation'];
}
