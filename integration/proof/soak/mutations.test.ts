import {execFile} from 'node:child_process';
import process from 'node:process';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import type {Capabilities} from '../../../plugin/index.ts';
import {impossible} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {buildMutant, type Mutation} from './mutants.ts';
import {soak, table, type SoakOptions} from './soak.ts';

// What the soak says is worth as much as its ability to say no. So each rule that keeps bytes in order is switched off once, with the traffic that it is there for.

nothingIsLeft();

// `selfTest`: whether the addon still passes its own, which is made of a few messages and one stall; not given where that is a matter of luck.
type Row = {readonly rule: string; readonly traffic: string; readonly mutation: Mutation; readonly failure: RegExp; readonly selfTest?: boolean};

const rows: readonly Row[] = [
	{rule: 'the wait before a FIN', traffic: 'last-words', mutation: 'kNoDrain', failure: /got EOF after/u, selfTest: true},
	{rule: 'the kick at the promotion', traffic: 'dialogue', mutation: 'kNoKick', failure: /nothing has moved for/u, selfTest: true},
	{rule: 'the wait between what was redirected and what was spilled', traffic: 'slow-readers', mutation: 'kNoOrder', failure: /got a wrong byte/u},
	{rule: 'that nothing is redirected past spilled bytes', traffic: 'slow-readers', mutation: 'kEarlyConsumed', failure: /got a wrong byte/u, selfTest: true},
];

const bounds: Record<string, Pick<SoakOptions, 'tunnels' | 'seconds'>> = {
	'last-words': {tunnels: 400, seconds: 20},
	dialogue: {tunnels: 400, seconds: 20},
	'slow-readers': {tunnels: 150, seconds: 20},
};

const reason = impossible('sockmap');
const run = async (traffic: string, addon?: string) => soak({
	seed: 1, engines: ['sockmap'], traffic, hang: 8, ...bounds[traffic]!,
	// The mutants are not asked whether they work: what is tested here is what tunnels would notice.
	env: addon === undefined ? {} : {HTTP_PROXY_SOCKMAP_ADDON: addon, SOCKMAP_UNPROBED: '1'},
});

for (const traffic of Object.keys(bounds)) {
	add(`with every rule in its place, ${traffic} pass`, async t => {
		const result = await run(traffic);
		t.log(table(result));
		t.deepEqual(result.failures, []);
		t.true(result.tunnels > 0);
	});
}

add('a promotion that takes its time is no problem as such', async t => {
	const result = await run('dialogue', await buildMutant('kSlowPromotion'));
	t.log(table(result));
	t.deepEqual(result.failures, []);
});

for (const {rule, traffic, mutation, failure, selfTest} of rows) {
	add(`without ${rule}, ${traffic} fail`, async t => {
		const addon = await buildMutant(mutation);
		const {stdout} = await promisify(execFile)(process.execPath, ['--import=tsx', '--eval', askSelfTest], {env: {...process.env, HTTP_PROXY_SOCKMAP_ADDON: addon}});
		const {sockmap} = JSON.parse(stdout) as Capabilities;
		t.log(`the self-test says: ${JSON.stringify(sockmap)}`);
		// What it notices, nobody is hurt by.
		t.is(sockmap.available, selfTest ?? sockmap.available);
		const result = await run(traffic, addon);
		t.log(`${table(result)}\n${result.failures[0]}`);
		t.true(result.failures.length > 0, 'nothing was noticed');
		t.true(result.failures.some(text => failure.test(text)), result.failures.join('\n'));
	});
}

function add(title: string, implementation: (t: ExecutionContext) => Promise<void>): void {
	test.serial(reason === undefined ? title : `skipped, ${reason}: ${title}`, async t => {
		t.timeout(120_000);
		if (reason !== undefined) {
			t.log(`skipped: ${reason}`);
			t.pass();
			return;
		}

		await implementation(t);
	});
}

const askSelfTest = 'const {capabilities} = await import("./plugin/index.ts"); console.log(JSON.stringify(capabilities()))';
