import os from 'node:os';
import {setTimeout as delay} from 'node:timers/promises';
import {contestants, type Contestant} from './contestants.ts';
import {nothing, toLine, type Line, type Place} from './line.ts';
import {thisMachine} from './machine.ts';
import {measurePoint, type Result} from './point.ts';
import {addLine, addRun, readRaw} from './raw.ts';
import {leftOut, type Trial} from './trials.ts';
import {undisturbed} from './undisturbed.ts';

export type Plan = {
	readonly points: ReadonlyArray<{readonly trial: Trial; readonly names: readonly string[]}>;
	readonly repeats: number;

	/** Of each point, after its warm-up. */
	readonly seconds: number;

	/** The file that the results are added to. */
	readonly raw: string;

	/** Go on with the last run in it. */
	readonly isResumed: boolean;
};

/** Measures one after the other. Tells the name of the run, and whether every point could be measured and every byte was right. */
export async function run({points, repeats, seconds, raw, isResumed}: Plan): Promise<{readonly name: string; readonly isGood: boolean}> {
	const available = availableContestants();
	for (const [what, why] of leftOut) {
		console.log(`LEFT OUT: ${what}: ${why}`);
	}

	const {name, done} = isResumed ? lastRun(raw) : {name: new Date().toISOString(), done: []};
	if (!isResumed) {
		addRun({
			run: name, machine: thisMachine(), seconds, repeats,
		}, raw);
	}

	let isGood = true;
	for (const {trial, names} of points) {
		console.log(`\n${trial.name}`);
		const busy = await busyShare(); // eslint-disable-line no-await-in-loop
		if (busy > quiet) {
			console.log(`  The machine is not quiet: ${Math.round(busy * 100)} % of its processors are busy before anything was started.`);
		}

		for (let repeat = 1; repeat <= repeats; repeat++) {
			// There and back again, so that none is always the one behind another.
			for (const contestant of repeat % 2 === 1 ? names : names.toReversed()) {
				const place = {
					run: name, trial: trial.name, contestant, repeat,
				};
				if (available.has(contestant) && !done.some(line => isAt(line, place))) {
					const line = await measure(trial, available.get(contestant)!, place, seconds); // eslint-disable-line no-await-in-loop
					addLine(line, raw);
					console.log(show(line));
					isGood &&= line.failed === undefined && line.corrupt === 0;
				}
			}
		}
	}

	return {name, isGood};
}

function availableContestants(): ReadonlyMap<string, Contestant> {
	const available = new Map(contestants.map(contestant => [contestant.name, contestant]));
	for (const contestant of contestants) {
		const reason = contestant.unavailable?.();
		if (reason !== undefined) {
			console.log(`SKIPPED: ${contestant.name}: ${reason}`);
			available.delete(contestant.name);
		}
	}

	return available;
}

function lastRun(raw: string): {readonly name: string; readonly done: readonly Line[]} {
	const {runs, lines} = readRaw(raw);
	const last = runs.at(-1);
	if (last === undefined) {
		throw new Error('There is no run to go on with.');
	}

	return {name: last.run, done: lines.filter(({run}) => run === last.run)};
}

function isAt(line: Line, {trial, contestant, repeat}: Place): boolean {
	return line.trial === trial && line.contestant === contestant && line.repeat === repeat;
}

/** How much of the processors others take, over a moment. */
async function busyShare(): Promise<number> {
	const idle = () => os.cpus().reduce((sum, {times}) => sum + times.idle, 0);
	const before = idle();
	const begin = performance.now();
	await delay(300);
	return Math.max(0, 1 - ((idle() - before) / (performance.now() - begin) / os.cpus().length));
}

async function measure({group, load, conditions, ownTime, times = 1, patience = 0}: Trial, contestant: Contestant, place: Place, seconds: number): Promise<Line> {
	const warmUp = load.includes('--warmup') ? [] : ['--warmup', String(Math.max(Math.min(0.3, seconds), contestant.isNode ? patience : 0))];
	try {
		const measureOnce = async () => measurePoint(contestant, ownTime ? load : [...load, '--seconds', String(times * seconds), ...warmUp], conditions);
		const isAboutMemory = group === 'idle' || group === 'stalled';
		const result = isAboutMemory ? await measureOnce() : await undisturbed(measureOnce, share => {
			console.log(`  ${contestant.name.padEnd(20)} again: the host took ${Math.round(share * 100)} % of the processors meanwhile`);
		});
		// A thousand tunnels a second are opened even on a slow machine.
		const opening = result.tunnels / 1000;
		const counted = !isAboutMemory && place.repeat === 1 && contestant.command !== undefined
			? await measurePoint(contestant, [...load, '--seconds', String(1 + opening), '--warmup', '0.4'], {...conditions, countSyscallsAfter: 0.8 + opening})
			: undefined;
		const line = toLine(place, {...result, ...(counted?.syscalls !== undefined && {syscalls: counted.syscalls * work(result) / work(counted)})});
		// What memory it took is told where the trial is about that: there are a thousand lines.
		return isAboutMemory ? line : {
			...line, rss: 0, descriptors: 0, slab: 0, sockets: 0, available: 0,
		};
	} catch (error) {
		return {...place, ...nothing, failed: (error as Error).message};
	}
}

/** In a second. */
function work({messages, bytes, seconds}: Result): number {
	return (messages > 0 ? messages : bytes) / seconds;
}

function show({contestant, failed, messages, bytes, seconds, p50, p99, machine, rss, tunnels, corrupt}: Line): string {
	return `  ${contestant.padEnd(20)} ` + (failed === undefined
		? [
			messages > 0 ? `${Math.round(messages / seconds)}/s, p50 ${Math.round(p50)} us, p99 ${Math.round(p99)} us` : `${Math.round(bytes / 1e6)} MB, ${Math.round(bytes / seconds / 1e6)} MB/s`,
			`machine ${machine.toFixed(2)} s of CPU`,
			...(rss > 0 ? [`RSS ${(rss / tunnels / 1000).toFixed(1)} kB a tunnel`] : []),
			...(corrupt > 0 ? [`CORRUPT ${corrupt}`] : []),
		].join(', ')
		: `FAILED: ${failed}`);
}

const quiet = 0.1;
