import {execFile} from 'node:child_process';
import {cp, mkdtemp, rm} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import {nothingIsLeft} from '../../leaks.ts';

// Has spin go through all interleavings of the model beside this file, as it should be and with one mistake at a time.
// `SEGMENTS=4` makes the stream longer, and the search a good deal.

nothingIsLeft();

const run = promisify(execFile);

// How the first counterexample ends.
const lost = /assertion violated .*arrived/u; // Bytes that nobody will ever move again.
const misplaced = /assertion violated .*==next/u;
const incomplete = /assertion violated .*next==\(\(2\*/u; // At the shutdown.
const torn = /assertion violated .*half_written/u;
const dropped = /assertion violated 0/u; // By the kernel.

holds('no byte is lost, repeated or out of place, no wake-up is lost, and it comes to an end');
holds('the barriers are enough without the lock that recv takes', 'LOOKS_AT_ONCE');

finds('a program that looks at `consumed` before its addition to `passed` is seen', lost, 'LOOKS_AT_ONCE', 'PROGRAM_WITHOUT_BARRIER');
finds('a relay that looks at `passed` before its store to `consumed` is seen', lost, 'LOOKS_AT_ONCE', 'RELAY_WITHOUT_BARRIER');
finds('inserting while a segment is half read', misplaced, 'INSERTED_BEFORE_QUIET');
finds('inserting without a kick', lost, 'WITHOUT_KICK');
finds('sending before what was redirected is written', misplaced, 'SENDS_BEFORE_DRAINED');
finds('waiting for that before recv, not after it', misplaced, 'WAITS_BEFORE_RECEIVING');
finds('publishing before sending', misplaced, 'PUBLISHES_BEFORE_SENDING');
finds('falling asleep because recv has nothing, while the kernel holds passed bytes', incomplete, 'SLEEPS_WHEN_NOTHING_TO_RECEIVE');
finds('believing an end of file while the kernel holds passed bytes', incomplete, 'BELIEVES_END_OF_FILE');
finds('shutting down before what was redirected is written', incomplete, 'SHUTS_DOWN_BEFORE_DRAINED');
finds('injecting without holding the program back', torn, 'WITHOUT_HELD');

finds('leaving the sockmap, with the locks that bpf(2) takes', dropped, 'LEAVES');
finds('leaving it, if only the verdicts that are being made were finished', lost, 'LEAVES', 'VERDICTS_FINISH');
finds('leaving it with bytes that were passed because redirecting failed', incomplete, 'LEAVES', 'DELETED_UNDER_LOCK', 'REDIRECT_FAILS');
holds('leaving it, if the kernel deleted under the lock of the socket', 'LEAVES', 'DELETED_UNDER_LOCK');
holds('leaving it, if verdicts were finished and a kick waited for them', 'LEAVES', 'VERDICTS_FINISH', 'KICK_AFTER_DELETE');

test.serial('the search for cycles finds one: polling without an end', async t => {
	await withModel(t, ['POLLS'], async search => {
		t.regex(await search('cycles'), /non-progress cycle[^]*errors: 1/u);
	});
});

function holds(title: string, ...defines: readonly string[]): void {
	test.serial(`holds: ${title}`, async t => {
		await withModel(t, defines, async search => {
			for (const kind of ['states', 'cycles'] as const) {
				// eslint-disable-next-line no-await-in-loop
				t.regex(await search(kind), /errors: 0/u);
			}
		});
	});
}

function finds(title: string, mistake: RegExp, ...defines: readonly string[]): void {
	test.serial(`found: ${title}`, async t => {
		await withModel(t, defines, async search => {
			const output = await search('states');
			t.regex(output, /errors: 1/u);
			t.regex(output, mistake);
		});
	});
}

type Search = (kind: keyof typeof searches) => Promise<string>;

async function withModel(t: ExecutionContext, defines: readonly string[], use: (search: Search) => Promise<void>): Promise<void> {
	t.timeout(10 * 60_000);
	const missing = await absent();
	if (missing !== undefined) {
		t.log(`skipped: ${missing} is not installed`);
		t.pass();
		return;
	}

	const directory = await mkdtemp(path.join(os.tmpdir(), 'lane-model-'));
	try {
		await cp(here, directory, {recursive: true});
		const options = {cwd: directory, maxBuffer: 16_000_000};
		// A lane that comes and goes has many more states.
		const segments = process.env.SEGMENTS ?? (defines.includes('LEAVES') ? '2' : '3');
		await run('spin', [`-DSKBS=${segments}`, ...defines.map(define => `-D${define}`), '-a', 'lane.pml'], options);
		await use(async kind => {
			const {compile, find} = searches[kind];
			await run('cc', ['-O1', '-w', '-DVECTORSZ=1024', '-DMEMLIM=4000', ...compile, '-o', kind, 'pan.c'], options);
			const {stdout} = await run(`./${kind}`, [...find, '-m1000000'], options);
			// A search that was cut short has not seen everything.
			t.notRegex(stdout, /max search depth too small|out of memory|reached -DMEMLIM/u);
			t.log(/\d+ states, stored/u.exec(stdout)?.[0] ?? stdout);
			return stdout;
		});
	} finally {
		await rm(directory, {recursive: true});
	}
}

async function absent(): Promise<string | undefined> {
	for (const [command, argument] of [['spin', '-V'], ['cc', '--version']] as const) {
		try {
			await run(command, [argument]); // eslint-disable-line no-await-in-loop
		} catch {
			return command;
		}
	}

	return undefined;
}

const here = path.dirname(fileURLToPath(import.meta.url));

const searches = {
	// Assertions, and ends where somebody still waits.
	states: {compile: ['-DSAFETY'], find: []},
	// No state is called progress, so that every cycle is one without.
	cycles: {compile: ['-DNP', '-DNOREDUCE'], find: ['-l']},
} as const;
