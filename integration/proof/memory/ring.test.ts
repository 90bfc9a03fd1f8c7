import process from 'node:process';
import test, {type ExecutionContext} from 'ava';
import {impossible} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {buildMutant} from '../soak/mutants.ts';
import type {Proxy} from '../soak/proxies.ts';
import {park} from './park.ts';

// The verdict program names the lanes that need the relay in a ring, and nobody empties that while the relay does not run. So the proxy is
// stopped, and every lane that there can be runs out of room: if one wake-up found no place, its lane would stay as it is when the proxy goes on.

nothingIsLeft();

const tunnels = 200;

add('as many lanes as there can be ask for the relay at once, while it sleeps, and each is heard', async t => {
	const {heard, failures} = await askAtOnce();
	t.log(`${heard} of ${2 * tunnels} lanes were heard`);
	t.is(heard, 2 * tunnels);
	t.deepEqual(failures, []);
});

add('with a ring that is too small, some are not', async t => {
	const {heard} = await askAtOnce(await buildMutant('kSmallRing'));
	t.log(`${heard} of ${2 * tunnels} lanes were heard`);
	t.true(heard < 2 * tunnels);
});

/** How many lanes have told the relay that their reader is too slow, a while after it woke up. */
async function askAtOnce(addon?: string): Promise<{readonly heard: number; readonly failures: readonly string[]}> {
	let heard = 0;
	const {failures} = await park({
		engine: 'sockmap', tunnels, write: 65_536, reader: 'both', plugin: {capacity: tunnels}, forever: addon !== undefined, ...(addon !== undefined && {env: {HTTP_PROXY_SOCKMAP_ADDON: addon}}),
		async whenOpen(proxy) {
			await counted(proxy, ({state}) => state === 'kernel');
			process.kill(proxy.child.pid!, 'SIGSTOP');
		},
		async whenBlocked(proxy) {
			process.kill(proxy.child.pid!, 'SIGCONT');
			heard = await counted(proxy, ({spills}) => spills > 0);
		},
	});
	return {heard, failures};
}

type Lane = {readonly state: string; readonly spills: number};

/** Resolves when all lanes are so, or with how many are when their number does not grow any more. */
async function counted(proxy: Proxy, is: (lane: Lane) => boolean): Promise<number> {
	let count = 0;
	let since = Date.now();
	for (;;) {
		const lanes = await proxy.lanes(); // eslint-disable-line no-await-in-loop
		const now = lanes.filter(lane => is(lane)).length;
		if (now > count) {
			since = Date.now();
		}

		count = now;
		if (count === 2 * tunnels || Date.now() > since + 3000) {
			return count;
		}
	}
}

function add(title: string, implementation: (t: ExecutionContext) => Promise<void>): void {
	const reason = impossible('sockmap');
	test.serial(reason === undefined ? title : `skipped, ${reason}: ${title}`, async t => {
		t.timeout(60_000);
		if (reason === undefined) {
			await implementation(t);
		} else {
			t.log(`skipped: ${reason}`);
			t.pass();
		}
	});
}
