import assert from 'node:assert/strict';
import {ignore} from '../../wire.ts';
import {dropped, drop, type Loss} from './dropper.ts';
import {exchange, openAll, progressed, type Exchange} from './exchange.ts';
import {forwarders, type Happened, type Troubles} from './forwarder.ts';
import {startLab, type Lab, type LabOptions} from './lab.ts';
import type {Scope} from './programs.ts';
import {
	ip, plugs, sysctl, tc, tcpCounters, type Family, type World,
} from './world.ts';
import type {Engine, TunnelStats} from 'http-proxy-sockmap';

// Networks that are bad in a steady way: everything gets through all the same, and comes to an end in peace.

/** What a fault is run with. */
export type Circumstances = {
	readonly family: Family;
	readonly engines: readonly Engine[];

	/** The program that is a cable. */
	readonly forwarder?: string;
};

export type Fault = {
	/** What the machine has to have for it. */
	readonly needs?: 'dropper' | 'forwarder';

	/** Whether it mostly waits, and can run beside many others. */
	readonly waits?: boolean;

	/** Rejects when the promise of the title is not kept. */
	run(scope: Scope, circumstances: Circumstances): Promise<void>;
};

export const faults: Readonly<Record<string, Fault>> = {
	'nothing is lost on a good network': {
		run: async (scope, circumstances) => transfer(scope, circumstances, {exchange: {bulk: 3_000_000}}),
	},
	'nothing is lost where 2 % of the packets are': loses({lostIn1000: 20}, 700_000),
	'nothing is lost where every 30th packet is': loses({every: 30}, 700_000),
	'nothing is lost by a delay of 25 ms that jitters by 20': troubled({delay: 25, jitter: 20}, []),
	'nothing is lost or mixed up where packets overtake each other and come twice': troubled({delay: 8, jitter: 4, reorder: 60, duplicate: 40}, ['reordered', 'duplicated']),
	'nothing is wrong where packets are corrupted': troubled({delay: 2, corrupt: 10}, ['corrupted']),
	'nothing comes twice where segments overlap': troubled({delay: 1, overlap: 100}, ['overlapped']),
	'nothing is lost on a cable with everything wrong at once': troubled({
		delay: 5, jitter: 5, reorder: 20, duplicate: 20, loss: 5, corrupt: 3, overlap: 10,
	}, ['reordered', 'duplicated', 'lost', 'corrupted', 'overlapped'], 400_000),
	'nothing is lost where a short queue overflows at 1 MB/s': troubled({delay: 5, rate: 1_000_000, queue: 20_000}, ['overflowed'], 250_000),
	'nothing is lost at 20 Mbit/s': {
		run: async (scope, circumstances) => transfer(scope, circumstances, {
			exchange: {bulk: 300_000},
			prepare: async world => limitRate(world, '20mbit'),
		}),
	},
	'nothing is lost by the smallest MTU': {
		run: async (scope, circumstances) => transfer(scope, circumstances, {exchange: {bulk: 500_000}, prepare: setMtu}),
	},
	'nothing is lost when the MTU shrinks under way': {
		async run(scope, {family, engines}) {
			const lab = await startLab(scope, family, {engines});
			const tunnels = await openAll(lab, engines);
			const exchanges = Promise.all(tunnels.map(async tunnel => exchange(lab, tunnel, {bulk: 1_000_000, pause: 10})));
			exchanges.catch(ignore); // eslint-disable-line promise/prefer-await-to-then -- Told below.
			await Promise.race([progressed(lab, tunnels, 100_000), exchanges]);
			await setMtu(lab.world);
			await exchanges;
			await lab.stop();
		},
	},
	'nothing is lost through receive buffers of 4 kB at the ends': {
		run: async (scope, circumstances) => transfer(scope, circumstances, {
			exchange: {bulk: 150_000},
			prepare: async ({cables}) => smallBuffers([cables.client.far.namespace, cables.upstream.far.namespace], 'rmem'),
		}),
	},
	'nothing is lost through windows clamped to 2000 bytes by the route': {
		run: async (scope, circumstances) => transfer(scope, circumstances, {exchange: {bulk: 100_000}, prepare: clampWindows}),
	},
	'nothing is lost through buffers of 4 kB at the proxy': {
		run: async (scope, circumstances) => transfer(scope, circumstances, {
			exchange: {bulk: 150_000},
			async prepare({proxy}) {
				await smallBuffers([proxy], 'rmem');
				await smallBuffers([proxy], 'wmem');
			},
		}),
	},
};

type Transfer = Omit<LabOptions, 'engines'> & {
	readonly exchange: Exchange;
	readonly check?: (lab: Lab) => Promise<void>;
};

/** One exchange for each engine and kind of tunnel, at the same time. */
export async function transfer(scope: Scope, {family, engines}: Pick<Circumstances, 'family' | 'engines'>, {exchange: what, check, ...options}: Transfer): Promise<void> {
	const lab = await startLab(scope, family, {engines, ...options});
	const tunnels = await openAll(lab, engines);
	const stats = await Promise.all(tunnels.map(async tunnel => exchange(lab, tunnel, what)));
	logRedirected(scope, stats);
	await check?.(lab);
	await lab.stop();
}

/** How much of it the kernel carried, and how much it left to the relay. */
function logRedirected(scope: Scope, all: readonly TunnelStats[]): void {
	const lanes = all.filter(({engine}) => engine === 'sockmap').flatMap(({clientToUpstream, upstreamToClient}) => [clientToUpstream, upstreamToClient]);
	const sum = (counter: 'redirected' | 'spilled') => lanes.reduce((sum, lane) => sum + lane[counter], 0);
	scope.log(`sockmap redirected ${sum('redirected')} bytes and spilled ${sum('spilled')}`);
}

function loses(loss: Loss, bulk: number): Fault {
	return {
		needs: 'dropper',
		run: async (scope, circumstances) => transfer(scope, circumstances, {
			exchange: {bulk},
			prepare: async world => drop(plugs(world), loss),
			async check({world}) {
				const counts = await Promise.all(plugs(world).map(async plug => dropped(plug)));
				scope.log(`lost at the ends of the cables: ${counts.join(', ')}`);
				assert.ok(counts.every(count => count > 5), `Too few packets were lost: ${counts.join(', ')}`);
				const {RetransSegs} = await tcpCounters(world.proxy);
				assert.ok(RetransSegs! > 0, 'Nothing was sent again');
			},
		}),
	};
}

function troubled(troubles: Troubles, expected: ReadonlyArray<keyof Happened>, bulk = 500_000): Fault {
	return {
		needs: 'forwarder',
		async run(scope, circumstances) {
			const {join, stop} = forwarders(scope, circumstances.forwarder!, troubles);
			await transfer(scope, circumstances, {exchange: {bulk}, join});
			const happened = await stop();
			scope.log(JSON.stringify(happened));
			for (const what of expected) {
				assert.ok(happened[what] > 5, `Too little was ${what}: ${JSON.stringify(happened)}`);
			}
		},
	};
}

async function limitRate({cables}: World, rate: string): Promise<void> {
	for (const {near, far} of Object.values(cables)) {
		for (const {namespace, device} of [near, far]) {
			await tc(namespace, 'qdisc', 'add', 'dev', device, 'root', 'tbf', 'rate', rate, 'burst', '16kb', 'limit', '64kb'); // eslint-disable-line no-await-in-loop
		}
	}
}

/** The smallest that every host has to take in one piece. */
async function setMtu(world: World): Promise<void> {
	for (const {namespace, device} of plugs(world)) {
		await ip('-netns', namespace, 'link', 'set', device, 'mtu', world.family === 4 ? '576' : '1280'); // eslint-disable-line no-await-in-loop
	}
}

async function smallBuffers(namespaces: readonly string[], kind: 'rmem' | 'wmem'): Promise<void> {
	for (const namespace of namespaces) {
		await sysctl(namespace, `ipv4/tcp_${kind}`, '4096 4096 4096'); // eslint-disable-line no-await-in-loop -- Of IPv6 too.
	}
}

async function clampWindows(world: World): Promise<void> {
	const subnets = world.family === 4 ? {client: '198.18.1.0/30', upstream: '198.18.2.0/30'} : {client: '2001:db8:0:1::/64', upstream: '2001:db8:0:2::/64'};
	for (const side of ['client', 'upstream'] as const) {
		const {namespace, device} = world.cables[side].far;
		const source = world.family === 4 ? ['src', world.cables[side].far.address] : ['proto', 'kernel'];
		await ip('-netns', namespace, `-${world.family}`, 'route', 'replace', subnets[side], 'dev', device, ...source, 'window', '2000'); // eslint-disable-line no-await-in-loop
	}
}
