import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {parseArgs} from 'node:util';
import {matches} from './matching.ts';
import {rawFile, readRaw} from './raw.ts';
import {writeReport} from './report/report.ts';
import {targetTable} from './report/targets.ts';
import {run} from './run.ts';
import {trials} from './trials.ts';

// Npm run bench                          all of it, and the report
// npm run bench -- sockmap,haproxy 64    only where all the words are in the names of trial and contestant
// npm run bench -- --list                what there is
// npm run bench -- --resume              what the last run did not come to
// --repeats 5 --seconds 0.6
// --raw FILE                             to keep the results there, and print the targets only
// --quick                                once and briefly, to see that everything works: the results are kept with --raw only

const {values, positionals: words} = parseArgs({
	allowPositionals: true,
	options: {
		repeats: {type: 'string', default: '5'},
		seconds: {type: 'string', default: '0.6'},
		raw: {type: 'string'},
		quick: {type: 'boolean', default: false},
		list: {type: 'boolean', default: false},
		resume: {type: 'boolean', default: false},
	},
});
const plan = {
	repeats: values.quick ? 1 : Number(values.repeats),
	seconds: values.quick ? 0.3 : Number(values.seconds),
	raw: values.raw ?? (values.quick ? path.join(os.tmpdir(), 'benchmarks-quick.jsonl') : rawFile),
	isResumed: values.resume,
	points: trials
		.map(trial => ({trial, names: trial.contestants.filter(name => matches(`${trial.name} ${name}`, words))}))
		.filter(({names}) => names.length > 0),
};

if (values.list) {
	for (const {trial, names} of plan.points) {
		console.log(`${trial.name.padEnd(26)} ${names.join(' ')}`);
	}
} else if (process.platform !== 'linux' || process.getuid?.() !== 0) {
	console.log('SKIPPED: network namespaces and sockmap take root on Linux.');
} else if (plan.points.length === 0) {
	throw new Error('Nothing has all these words in its name. `--list` prints the names.');
} else {
	for (const signal of ['SIGINT', 'SIGTERM']) {
		// So that what a point has made is removed.
		process.once(signal, () => process.exit(1));
	}

	const {isGood, name} = await run(plan);
	console.log(`\n${targetTable(readRaw(plan.raw).lines.filter(line => line.run === name), 'measured')}`);
	if (plan.raw === rawFile) {
		await writeReport();
	}

	process.exitCode = isGood ? 0 : 1;
}
