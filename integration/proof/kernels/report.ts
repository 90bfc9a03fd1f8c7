import {seriesOf} from './archive.ts';
import type {Report} from './boot.ts';
import type {Result} from './runner.ts';

/** Whether the kernel did all that was asked of it. A self-test that says no is an answer; then the others have to work. */
export function passed({self, complete, results, complaints}: Report): boolean {
	return self !== undefined && complete && complaints.length === 0
		&& results.filter(result => !result.passed).every(({title}) => title.startsWith('sockmap: ') && !self.sockmap.available);
}

export function toMarkdown(reports: readonly Report[], date: string, machine: string): string {
	return [
		'# Kernels',
		'',
		'What `npm run kernels` has found. Do not edit: it is written by that script.',
		'',
		`${date}, ${machine}, each kernel with two emulated processors (qemu, no KVM). Times are of an emulated machine, and of what else the real one had to do.`,
		'',
		'| kernel | engine | reason | self-test | tests | seconds | result |',
		'|---|---|---|---|---|---|---|',
		...reports.map(report => row(report)),
		'',
		'## How to read it',
		'',
		'- **engine** is what `capabilities()` chooses, by trying: maps, program, attaching, and a tunnel between sockets of its own. **reason** is what was refused, and why.',
		'- **self-test** is how long that took, in milliseconds, for both engines.',
		'- **tests** are those of `integration/proof/kernels/guest.ts` on each engine: endings of every kind (half-closes, resets, closing, in both kinds of tunnels), many tunnels at once, a stalled reader, and networks that netem makes bad: loss, delay and jitter, reordering, duplication, corruption. Every byte is compared.',
		'- **result** is `pass` when all of them passed, the machine came to its end by itself, and its kernel complained about nothing.',
		'',
		'`npm run kernels` boots the oldest and the newest cloud kernel of each series that Debian\'s archive offers, `npm run kernels -- 6.1` those of one series, and `npm run kernels -- --all` every one. No kernel is installed. It needs `qemu-system-x86_64`, `dpkg-deb`, `xz`, `tc`, and an archive to fetch from.',
		'',
		'## Kernels with known bugs',
		'',
		'No list says which kernels are good: distributions carry fixes back, and a number proves nothing. The self-test has to notice. By their changelogs, all kernels of the archive have the fixes for the bugs that lose or repeat redirected bytes (6.1.142, 6.12.34), so that no run here has met one. The symptoms are made instead, in `integration/proof/kernels/symptoms.test.ts`: the program is compiled anew with one of them in it, and the self-test has to refuse it.',
		'',
		'## What each test did',
		...reports.flatMap(report => details(report)),
		'',
	].join('\n');
}

function row(report: Report): string {
	const {name, self, results, seconds} = report;
	const good = results.filter(result => result.passed).length;
	const refused = self && [self.sockmap, self.splice].flatMap(capability => capability.available ? [] : [capability.reason]);
	return `| ${cells([
		`${self?.build.replace(/^.*Debian /u, '').replace(/ .*$/u, '') ?? name} (${seriesOf(name)})`,
		self ? chosen(self) : '?',
		refused === undefined ? 'did not boot' : refused.join(' ') || 'it works',
		self ? `${self.milliseconds}` : '?',
		`${good} of ${results.length}`,
		`${seconds}`,
		passed(report) ? 'pass' : 'FAIL',
	])} |`;
}

function chosen({sockmap, splice}: NonNullable<Report['self']>): string {
	if (sockmap.available) {
		return 'sockmap';
	}

	return splice.available ? 'splice' : 'stream';
}

function details({name, self, results, complaints, complete, console}: Report): string[] {
	return [
		'',
		`### ${name}`,
		'',
		...(self ? [`\`${self.build}\`, Node ${self.node}`, ''] : []),
		...groups(results).map(({engine, list}) => `- ${engine}: ${list.filter(result => result.passed).length} of ${list.length} passed, in ${(sum(list) / 1000).toFixed(0)} s`),
		...results.filter(result => !result.passed).map(({title, error}) => `- FAILED: ${title}: ${error?.split('\n')[0]}`),
		...results.filter(({title, log}) => /tunnels, eight|stalls/u.test(title) && log.length > 0).map(({title, log}) => `- ${title.split(':')[0]}: ${log.join(' ')}`),
		...complaints.map(line => `- The kernel said: ${line}`),
		...(complete ? [] : ['', 'It did not come to its end. The last lines of its console:', '', '```', ...console, '```']),
	];
}

function groups(results: readonly Result[]): Array<{readonly engine: string; readonly list: readonly Result[]}> {
	const engines = ['stream', 'splice', 'sockmap'];
	return engines.map(engine => ({engine, list: results.filter(({title}) => title.startsWith(`${engine}: `))}));
}

const sum = (list: readonly Result[]) => list.reduce((sum, {milliseconds}) => sum + milliseconds, 0);

const cells = (list: readonly string[]) => list.map(cell => cell.replaceAll('|', String.raw`\|`)).join(' | ');
