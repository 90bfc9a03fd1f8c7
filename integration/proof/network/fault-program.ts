import process from 'node:process';
import {parseArgs} from 'node:util';
import {cuts} from './cut.ts';
import {cutForGood} from './dead.ts';
import {impossibleDropper} from './dropper.ts';
import {faults, type Circumstances, type Fault} from './faults.ts';
import {emulated, impossibleNetem} from './netem.ts';
import type {Scope} from './programs.ts';
import {reboots} from './reboot.ts';
import {slow} from './slow.ts';
import {families, impossibleWorld, ours} from './world.ts';
import type {Engine} from 'http-proxy-sockmap';

// The tests of this folder as a plain program, one after the other, for a machine that has Node, iproute2 and not much else. Reports in TAP.
//
//     npx tsc --project integration/proof/network/tsconfig.build.json
//     node integration/proof/network/dist/proof/network/fault-program.js --groups netem
//         [--engines stream,splice,sockmap] [--families 4,6] [--match WORDS] [--forwarder FILE]

const {values} = parseArgs({
	options: {
		groups: {type: 'string', default: 'netem'},
		engines: {type: 'string', default: 'stream,splice,sockmap'},
		families: {type: 'string', default: families.join(',')},
		match: {type: 'string', default: ''},

		/** What `forwarder.cc` was compiled to. */
		forwarder: {type: 'string'},
	},
});

const groups: Readonly<Record<string, Readonly<Record<string, Fault>>>> = {
	netem: emulated, steady: faults, cut: cuts, dead: cutForGood, reboot: reboots, slow,
};

const engines = values.engines.split(',') as Engine[];

const missing = {
	world: impossibleWorld(),
	dropper: impossibleDropper(),
	forwarder: values.forwarder === undefined ? 'no --forwarder was given' : undefined,
};

const noNetem = missing.world ?? impossibleNetem();

const tally = {passed: 0, failed: 0, skipped: 0};

console.log('TAP version 13');
for (const group of values.groups.split(',')) {
	for (const [title, fault] of Object.entries(groups[group]!).filter(([title]) => title.includes(values.match))) {
		for (const family of families.filter(family => values.families.split(',').includes(String(family)))) {
			const reason = (group === 'netem' ? noNetem : missing.world) ?? (fault.needs && missing[fault.needs]);
			await report(`${engines.join(', ')}: ${title} (IPv${family})`, fault, reason, family); // eslint-disable-line no-await-in-loop
		}
	}
}

const left = ours();
console.log(`1..${number()}\n# ${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
if (left.length > 0) {
	console.log(`# Left behind: ${left.join(', ')}`);
}

process.exitCode = tally.failed > 0 || left.length > 0 ? 1 : 0;

async function report(title: string, fault: Fault, reason: string | undefined, family: Circumstances['family']): Promise<void> {
	if (reason !== undefined) {
		tally.skipped++;
		console.log(`ok ${number()} - ${title} # SKIP ${reason}`);
		return;
	}

	try {
		await run(fault, {family, engines, ...(values.forwarder !== undefined && {forwarder: values.forwarder})});
		tally.passed++;
		console.log(`ok ${number()} - ${title}`);
	} catch (error) {
		tally.failed++;
		console.log(`not ok ${number()} - ${title}\n# ${(error as Error).stack?.replaceAll('\n', '\n# ')}`);
	}
}

async function run(fault: Fault, circumstances: Circumstances): Promise<void> {
	const undo: Array<Parameters<Scope['teardown']>[0]> = [];
	try {
		await fault.run({
			teardown(one) {
				undo.unshift(one);
			},
			log(...text) {
				console.log(`# ${text.join(' ')}`);
			},
		}, circumstances);
	} finally {
		for (const one of undo) {
			await one(); // eslint-disable-line no-await-in-loop
		}
	}
}

function number(): number {
	return tally.passed + tally.failed + tally.skipped;
}
