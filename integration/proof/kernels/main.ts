import {execFileSync} from 'node:child_process';
import {writeFile} from 'node:fs/promises';
import os from 'node:os';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {
	kernel, offered, outermost, seriesOf,
} from './archive.ts';
import {boot, type Report} from './boot.ts';
import {cache, limit, missing} from './here.ts';
import {makeInitramfs} from './initramfs.ts';
import {passed, toMarkdown} from './report.ts';

// `npm run kernels`: boots kernels of Debian's archive and writes down what the package does on them. See docs/kernels.md.

const {values: {all}, positionals: series} = parseArgs({allowPositionals: true, options: {all: {type: 'boolean', default: false}}});

const impossible = missing();
if (impossible !== undefined) {
	console.log(`SKIPPED: ${impossible}`);
	process.exit(); // eslint-disable-line unicorn/no-process-exit
}

const archive = await offered();
const there = archive.filter(name => series.length === 0 || series.includes(seriesOf(name)));
const names = all ? there : outermost(there);
if (names.length === 0) {
	console.log(`SKIPPED: the archive offers no cloud kernel ${series.join(' ')}`);
}

const reports: Report[] = [];
for (const name of names) {
	/* eslint-disable no-await-in-loop -- One machine at a time. */
	console.log(`\n${name}`);
	const one = await kernel(name, cache);
	const report = await boot(one, await makeInitramfs(one, cache), /./u, limit);
	reports.push(report);
	await write();
	console.log(JSON.stringify(report.self));
	for (const {title, passed, milliseconds, error} of report.results) {
		console.log(`${passed ? 'ok    ' : 'FAILED'} ${title} (${milliseconds} ms)${error ? `\n${error}` : ''}`);
	}

	console.log(`${passed(report) ? 'pass' : `FAIL\n${report.console.join('\n')}`}, ${report.seconds} s`);
	/* eslint-enable no-await-in-loop */
}

process.exitCode = reports.every(report => passed(report)) ? 0 : 1;

// After each kernel, for a run may be cut short.
async function write(): Promise<void> {
	const [processor] = os.cpus();
	const machine = `${processor?.model.trim()}, ${os.cpus().length} processors, ${execFileSync('qemu-system-x86_64', ['--version'], {encoding: 'utf8'}).split('(')[0]!.trim()}`;
	await writeFile(fileURLToPath(new URL('../../../docs/kernels.md', import.meta.url)), toMarkdown(reports, new Date().toISOString().slice(0, 10), machine));
}
