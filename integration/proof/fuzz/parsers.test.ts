import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {isInstalled} from '../../privileges.ts';

// LibFuzzer on what parses bytes in C++, with AddressSanitizer and UBSan. It goes on from the inputs in corpus/, those
// that once failed among them. More by hand: FUZZ_RUNS=10000000 FUZZ_MINUTES=60, and FUZZ_SEED to do the same again.

const runs = Number(process.env.FUZZ_RUNS ?? 100_000);
const minutes = Number(process.env.FUZZ_MINUTES ?? 3);
const seed = Number(process.env.FUZZ_SEED ?? Math.trunc(Math.random() * 0xFF_FF_FF_FF) + 1);

for (const name of ['btf', 'program']) {
	const title = `${runs} inputs neither crash nor hang ${name}.cc`;
	if (isInstalled('clang++', '--version')) {
		test(title, async t => {
			t.timeout((minutes + 1) * 60_000);
			const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'fuzz-'));
			t.teardown(async () => {
				await fs.rm(folder, {recursive: true});
			});
			const fuzzer = path.join(folder, 'fuzzer');
			await run('clang++', [...flags, `integration/proof/fuzz/${name}.cc`, 'addon/btf.cc', '-o', fuzzer], {cwd: root});

			// The first folder gets what is new.
			const found = path.join(folder, 'found');
			await fs.mkdir(found);
			const {stderr} = await run(fuzzer, [`-runs=${runs}`, `-seed=${seed}`, '-max_len=2048', '-timeout=5', '-rss_limit_mb=1024', '-print_final_stats=1', `-artifact_prefix=${os.tmpdir()}/`, found, path.join('corpus', name)], {
				cwd: fileURLToPath(new URL('.', import.meta.url)), maxBuffer: 1e8,
			});
			const executed = Number(/number_of_executed_units: (?<count>\d+)/u.exec(stderr)?.groups?.count);
			t.log(`seed ${seed}, ${executed} inputs, ${/cov: (?<points>\d+)[^\n]*\n(?:[^\n]*\n)*?Done/u.exec(stderr)?.groups?.points ?? '?'} points of the code reached`);
			t.true(executed >= runs);
		});
	} else {
		test(`skipped, clang++ is not installed: ${title}`, t => {
			t.log('skipped: clang++ is not installed');
			t.pass();
		});
	}
}

// What fails is printed by whoever waits for it: the fuzzer's last words are on its standard error.
async function run(file: string, arguments_: readonly string[], options: {readonly cwd: string; readonly maxBuffer?: number}): Promise<{stderr: string}> {
	try {
		return await promisify(execFile)(file, arguments_, {timeout: minutes * 60_000, ...options});
	} catch (error) {
		const {stderr = '', message} = error as Error & {stderr?: string};
		throw new Error(`${path.basename(file)}: ${stderr.slice(-5000) || message}`);
	}
}

const flags = ['-std=gnu++17', '-O1', '-g', '-fsanitize=fuzzer,address,undefined', '-fno-sanitize-recover=undefined'];

const root = fileURLToPath(new URL('../../..', import.meta.url));
