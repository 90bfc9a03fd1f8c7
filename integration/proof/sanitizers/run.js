// Runs the tests with an addon that was built with sanitizers: `npm run sanitize -- address` or `thread`, then patterns
// and options of ava, if not all of integration/. Node itself is not built with them, so it is a copy of it, which needs
// their runtime before all else: that is inherited by workers and forked proxies, and by other programs it is not, of
// which some do not start with it. First it is made sure that they see what they are there for.
//
// Fails if a test fails, or if anything was reported that is not Node's own.
import {execFile, spawnSync} from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {promisify} from 'node:util';
import {runAva} from './ava.js';
import {
	buildAddon, buildControl, library, sanitizers,
} from './build.js';
import {ofNode, reportsIn} from './reports.js';
import {skipped} from './skipped.js';

const [kind, ...given] = process.argv.slice(2);
if (!Object.hasOwn(sanitizers, kind)) {
	throw new TypeError(`Which sanitizer? Expected ${Object.keys(sanitizers).join(' or ')}, got ${kind}`);
}

const {flags, runtime, seen, unseen} = sanitizers[kind];
const patterns = given.length > 0 ? given : ['integration/*.test.ts', ...skipped.filter(({kinds}) => kinds.includes(kind)).map(({file}) => `!integration/${file}`)];
// Processes of other users write into it too.
const folder = await fs.mkdtemp(path.join(os.tmpdir(), `sanitize-${kind}-`));
await fs.chmod(folder, 0o1777);
try {
	const [addon, control, node] = await Promise.all([buildAddon(kind, flags), buildControl(kind, flags), nodeWith(runtime)]);
	checkControl(control, node);
	process.exitCode = await runTests(addon, node);
	const reports = await collect(path.join(folder, 'tests'));
	const counted = reports.filter(report => !ofNode(report));
	for (const {text} of counted) {
		console.log(`\n${named(text)}`);
		process.exitCode = 1;
	}

	console.log(`\nReports: ${counted.length}. Not counted, because it is Node that leaks: ${reports.length - counted.length}.`);
} finally {
	await fs.rm(folder, {recursive: true});
}

async function nodeWith(runtime) {
	const node = path.join(folder, 'bin', 'node');
	await fs.mkdir(path.dirname(node));
	await fs.copyFile(process.execPath, node);
	await promisify(execFile)('patchelf', ['--add-needed', await library(runtime), node]);
	return node;
}

// What the addon that is wrong on purpose does has to be reported, and what it does right must not be.
function checkControl(control, node) {
	for (const what of [...seen, ...unseen]) {
		const {stdout, stderr, error} = spawnSync(node, ['--eval', `require(${JSON.stringify(control)})(${JSON.stringify(what)})`], {
			env: environment(), encoding: 'utf8', timeout: 60_000,
		});
		if (error) {
			throw error;
		}

		const found = reportsIn(stdout + stderr).filter(report => !ofNode(report));
		const expected = seen.includes(what);
		if ((found.length > 0) !== expected || !found.every(({text}) => named(text).includes('control.cc'))) {
			throw new Error(`The sanitizers should ${expected ? '' : 'not '}have reported: ${what}\n${stdout}${stderr}`);
		}

		console.log(`${expected ? 'Seen' : 'Rightly not reported'}: ${what}`);
	}
}

async function runTests(addon, node) {
	for (const {kinds, file, why} of skipped) {
		if (kinds.includes(kind) && given.length === 0) {
			console.log(`SKIPPED: ${file}: ${why}`);
		}
	}

	// Somewhere that everybody may read.
	const copy = path.join(folder, 'sockmap.node');
	await fs.copyFile(addon, copy);
	await fs.mkdir(path.join(folder, 'tests'));
	await fs.chmod(path.join(folder, 'tests'), 0o1777);
	return runAva(node, ['--timeout=5m', ...patterns], {...environment(path.join(folder, 'tests', 'report')), HTTP_PROXY_SOCKMAP_ADDON: copy});
}

// Each process would need seconds to give all of Node's functions their names, and only those of the addon matter.
function named(text) {
	return text.replaceAll(/\((?<file>\S*\.node)\+(?<offset>0x[\da-f]+)\).*$/gmv, (whole, file, offset) => {
		const {status, stdout} = spawnSync('addr2line', ['--demangle', '--functions', '--basenames', '--exe', file, offset], {encoding: 'utf8'});
		return status === 0 ? stdout.trim().replace('\n', ' ') : whole;
	});
}

async function collect(directory) {
	const names = await fs.readdir(directory);
	const texts = await Promise.all(names.map(name => fs.readFile(path.join(directory, name), 'utf8')));
	return texts.flatMap(text => reportsIn(text));
}

function environment(log) {
	const to = log === undefined ? '' : `:log_path=${log}`;
	return {
		...process.env,
		// For those that are started by their first line.
		PATH: `${path.join(folder, 'bin')}:${process.env.PATH}`,
		ASAN_OPTIONS: `detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:symbolize=0${to}`,
		// Node leaks at exit. Which leaks are ours is told by their stacks.
		LSAN_OPTIONS: 'exitcode=0',
		// Everything takes longer.
		TEST_PATIENCE: '6',
		UBSAN_OPTIONS: `print_stacktrace=1${to}`,
		// Node and its libraries synchronize in ways that are not seen. What our code does, and what it has libc do for
		// it, is.
		TSAN_OPTIONS: `ignore_noninstrumented_modules=1:second_deadlock_stack=1:exitcode=0:atexit_sleep_ms=0${to}`,
	};
}
