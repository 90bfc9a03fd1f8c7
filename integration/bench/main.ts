import os from 'node:os';
import process from 'node:process';
import {setTimeout as delay} from 'node:timers/promises';
import {parseArgs} from 'node:util';
import {contestants} from './contestants.ts';
import {nothing, toLine, type Line, type Place} from './line.ts';
import {thisMachine} from './machine.ts';
import {matches} from './matching.ts';
import {measurePoint} from './point.ts';
import {addLine, addRun, rawFile, readRaw} from './raw.ts';
import {writeReport} from './report/report.ts';
import {leftOut, trials, type Trial} from './trials.ts';

// Npm run bench                          all of it, and the report
// npm run bench -- sockmap,haproxy 64    only where all the words are in the names of trial and contestant
// npm run bench -- --list                what there is
// npm run bench -- --resume              what the last run did not come to
// --repeats 5 --seconds 0.8 --raw FILE     --quick: once, a third of a second each, and no report

const {values, positionals: words} = parseArgs({
	allowPositionals: true,
	options: {
		repeats: {type: 'string', default: '5'},
		seconds: {type: 'string', default: '0.8'},
		raw: {type: 'string', default: rawFile},
		quick: {type: 'boolean', default: false},
		list: {type: 'boolean', default: false},
		resume: {type: 'boolean', default: false},
	},
});
const quiet = 0.1;

const repeats = values.quick ? 1 : Number(values.repeats);
const seconds = values.quick ? 0.3 : Number(values.seconds);

const chosen = trials
	.map(trial => ({trial, names: trial.contestants.filter(name => matches(`${trial.name} ${name}`, words))}))
	.filter(({names}) => names.length > 0);
if (values.list) {
	for (const {trial, names} of chosen) {
		console.log(`${trial.name.padEnd(26)} ${names.join(' ')}`);
	}
} else if (process.platform !== 'linux' || process.getuid?.() !== 0) {
	console.log('SKIPPED: network namespaces and sockmap take root on Linux.');
} else if (chosen.length === 0) {
	throw new Error('Nothing has all these words in its name. `--list` prints the names.');
} else {
	process.exitCode = await run(chosen) ? 0 : 1;
}

async function run(chosen: ReadonlyArray<{readonly trial: Trial; readonly names: readonly string[]}>): Promise<boolean> {
	const available = new Map(contestants.map(contestant => [contestant.name, contestant]));
	for (const contestant of contestants) {
		const reason = contestant.unavailable?.();
		if (reason !== undefined) {
			console.log(`SKIPPED: ${contestant.name}: ${reason}`);
			available.delete(contestant.name);
		}
	}

	for (const [what, why] of leftOut) {
		console.log(`LEFT OUT: ${what}: ${why}`);
	}

	const {run, done} = values.resume ? lastRun() : {run: new Date().toISOString(), done: []};
	if (done.length === 0) {
		addRun({run, machine: thisMachine(), seconds, repeats}, values.raw);
	}

	let isGood = true;
	for (const {trial, names} of chosen) {
		console.log(`\n${trial.name}`);
		const busy = await busyShare(); // eslint-disable-line no-await-in-loop
		if (busy > quiet) {
			console.log(`  The machine is not quiet: ${Math.round(busy * 100)} % of its processors are busy before anything was started.`);
		}

		for (let repeat = 1; repeat <= repeats; repeat++) {
			// There and back again, so that none is always the one behind another.
			for (const name of repeat % 2 === 1 ? names : names.toReversed()) {
				const place = {run, trial: trial.name, contestant: name, repeat};
				if (available.has(name) && !done.some(line => isAt(line, place))) {
					const line = await measure(trial, place); // eslint-disable-line no-await-in-loop
					addLine(line, values.raw);
					console.log(show(line));
					isGood &&= line.failed === undefined && line.corrupt === 0;
				}
			}
		}
	}

	if (!values.quick) {
		await writeReport(values.raw);
	}

	return isGood;

	async function measure(trial: Trial, place: Place): Promise<Line> {
		const time = trial.ownTime ? [] : ['--seconds', String(seconds), ...(trial.load.includes('--warmup') ? [] : ['--warmup', String(Math.min(0.3, seconds))])];
		const contestant = available.get(place.contestant)!;
		const load = [...trial.load, ...time];
		try {
			const line = keep(trial, toLine(place, await measurePoint(contestant, load, trial.conditions)));
			if (!trial.syscalls || place.repeat > 1 || contestant.command === undefined) {
				return line;
			}

			const {syscalls} = await measurePoint(contestant, [...trial.load, '--seconds', '1', '--warmup', '0.4'], {...trial.conditions, countSyscalls: true});
			return {...line, ...(syscalls !== undefined && {syscalls})};
		} catch (error) {
			return {...place, ...nothing, failed: (error as Error).message};
		}
	}
}

/** What memory it took is told where the trial is about that: there are a thousand lines. */
function keep({group}: Trial, line: Line): Line {
	return group === 'idle' || group === 'stalled' ? line : {
		...line, rss: 0, descriptors: 0, slab: 0, sockets: 0, available: 0,
	};
}

/** How much of the processors others take, over a moment. */
async function busyShare(): Promise<number> {
	const idle = () => os.cpus().reduce((sum, {times}) => sum + times.idle, 0);
	const before = idle();
	const begin = performance.now();
	await delay(300);
	return Math.max(0, 1 - ((idle() - before) / (performance.now() - begin) / os.cpus().length));
}

function lastRun(): {readonly run: string; readonly done: readonly Line[]} {
	const {runs, lines} = readRaw(values.raw);
	const last = runs.at(-1);
	if (last === undefined) {
		throw new Error('There is no run to go on with.');
	}

	return {run: last.run, done: lines.filter(({run}) => run === last.run)};
}

function isAt(line: Line, {trial, contestant, repeat}: Place): boolean {
	return line.trial === trial && line.contestant === contestant && line.repeat === repeat;
}

function show(line: Line): string {
	const {contestant, failed, messages, bytes, seconds, p50, p99, machine, rss, tunnels, corrupt} = line;
	return `  ${contestant.padEnd(20)} ` + (failed === undefined
		? [
			messages > 0 ? `${Math.round(messages / seconds)}/s, p50 ${Math.round(p50)} us, p99 ${Math.round(p99)} us` : `${Math.round(bytes / seconds / 1e6)} MB/s`,
			`machine ${machine.toFixed(2)} s of CPU`,
			...(rss > 0 ? [`RSS ${(rss / tunnels / 1000).toFixed(1)} kB a tunnel`] : []),
			...(corrupt > 0 ? [`CORRUPT ${corrupt}`] : []),
		].join(', ')
		: `FAILED: ${failed}`);
}
