import {execFile} from 'node:child_process';
import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {promisify} from 'node:util';
import test from 'ava';
import {impossible} from './engines.ts';

const reason = impossible('sockmap');
if (reason === undefined) {
	test('sockmap is available under the profiler, whose signals come all the time', async t => {
		const folder = await mkdtemp(path.join(tmpdir(), 'profiled-'));
		t.teardown(async () => rm(folder, {recursive: true}));
		const {stdout} = await promisify(execFile)(process.execPath, [
			'--cpu-prof',
			'--cpu-prof-interval=100',
			`--cpu-prof-dir=${folder}`,
			'--import=tsx',
			'--eval',
			`import(${JSON.stringify(plugin.href)}).then(({capabilities}) => console.log(JSON.stringify(capabilities().sockmap)))`,
		]);
		t.like(JSON.parse(stdout), {available: true});
	});
} else {
	test(`skipped, ${reason}: sockmap is available under the profiler`, t => {
		t.log(`skipped: ${reason}`);
		t.pass();
	});
}

const plugin = new URL('../plugin/index.ts', import.meta.url);
