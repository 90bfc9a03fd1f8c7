import process from 'node:process';
import {parseArgs} from 'node:util';
import {contestants, type Conditions} from './contestants.ts';
import {measurePoint, type Result} from './point.ts';
import {spread} from './statistics.ts';

// One load on a few contestants, interleaved, for whoever changes something and wants to see:
//
//   node --import=tsx integration/bench/try.ts direct,sockmap,haproxy --repeats 3 -- echo --tunnels 64 --size 128
//
// What comes after `--` is for the load generator: see load/main.cc.

const split = process.argv.indexOf('--', 2);
const [own, load] = [process.argv.slice(2, split), process.argv.slice(split + 1)];
const {positionals, values} = parseArgs({
	args: own, allowPositionals: true, options: {repeats: {type: 'string', default: '3'}, block: {type: 'boolean', default: false}, beside: {type: 'string'}},
});
const {beside} = values;
if (beside !== undefined && beside !== 'client' && beside !== 'upstream') {
	throw new Error(`Expected \`--beside\` to be client or upstream, but got ${beside}.`);
}

const conditions: Conditions = {...(values.block && {block: {milliseconds: 20, every: 50}}), ...(beside && {beside})};
const names = positionals.flatMap(list => list.split(','));
const results = new Map<string, Result[]>(names.map(name => [name, []]));
for (let repeat = 0; repeat < Number(values.repeats); repeat++) {
	for (const name of names) {
		const contestant = contestants.find(contestant => contestant.name === name);
		if (!contestant) {
			throw new Error(`No contestant is called ${name}, but ${contestants.map(({name}) => name).join(', ')} are.`);
		}

		results.get(name)!.push(await measurePoint(contestant, load, conditions)); // eslint-disable-line no-await-in-loop
	}
}

const columns: ReadonlyArray<readonly [string, (result: Result) => number]> = [
	['msg/s', ({rate}) => rate],
	['MB/s', ({bytesPerSecond}) => bytesPerSecond / 1e6],
	['p50 us', ({latency}) => latency.p50],
	['p99 us', ({latency}) => latency.p99],
	['p99.9 us', ({latency}) => latency.p999],
	['max us', ({latency}) => latency.max],
	['proxy us/msg', ({cpu, messages}) => cpu.proxy * 1e6 / messages],
	['machine us/msg', ({cpu, messages}) => cpu.machine * 1e6 / messages],
	['machine ms/GB', ({cpu, bytes}) => cpu.machine * 1e12 / bytes],
	['switches/msg', ({switches, messages}) => (switches.voluntary + switches.involuntary) / messages],
	['stolen s', ({cpu}) => cpu.stolen],
	['RSS kB/tunnel', ({idle, loaded, tunnels}) => (loaded.rss - idle.rss) / 1000 / tunnels],
	['corrupt', ({corrupt}) => corrupt],
];
console.log(['contestant'.padEnd(20), ...columns.map(([title]) => title.padStart(14))].join(''));
for (const [name, ofName] of results) {
	console.log([name.padEnd(20), ...columns.map(([, value]) => show(spread(ofName.map(result => value(result))).median).padStart(14))].join(''));
}

if (Number(values.repeats) > 1) {
	console.log('\nrate or bytes, min to max:');
	for (const [name, ofName] of results) {
		const {min, max} = spread(ofName.map(result => result.messages > 0 ? result.rate : result.bytesPerSecond / 1e6));
		console.log(`${name.padEnd(20)} ${show(min)} to ${show(max)}`);
	}
}

function show(value: number): string {
	return Number.isFinite(value) ? value.toPrecision(4).replace(/e\+?\d+$/u, '') && String(Number(value.toPrecision(4))) : '-';
}
