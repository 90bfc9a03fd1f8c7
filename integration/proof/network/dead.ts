import assert from 'node:assert/strict';
import {performance} from 'node:perf_hooks';
import {within} from '../../until.ts';
import {chat, openAll} from './exchange.ts';
import type {Fault} from './faults.ts';
import {assertCarriedBy, startLab} from './lab.ts';
import {forgetOrphans, setLink, type Side} from './world.ts';
import type {TunnelOptions} from 'http-proxy-sockmap';

// A peer behind a cable that was cut for good: nobody says so, and it has to be found out.

type Death = {
	readonly options: TunnelOptions;

	/** Whether something is sent to it. */
	readonly inTraffic: boolean;

	/** What the other end sees, and what the tunnel says. */
	readonly ending: 'FIN' | 'ECONNRESET';
	readonly reason: 'dead' | 'idle';

	/** Milliseconds until then: not much earlier, and not long after. */
	readonly after: number;
};

const deaths: Readonly<Record<string, Death>> = {
	'is found dead by keep-alive': {
		options: {keepAlive: {idle: 1000, interval: 1000, count: 2}}, inTraffic: false, ending: 'ECONNRESET', reason: 'dead', after: 3000,
	},
	'is found dead by userTimeout while it is being sent to': {
		options: {keepAlive: false, userTimeout: 1500}, inTraffic: true, ending: 'ECONNRESET', reason: 'dead', after: 1500,
	},
	'is let go by idleTimeout': {
		options: {keepAlive: false, idleTimeout: 2500}, inTraffic: false, ending: 'FIN', reason: 'idle', after: 2500,
	},
};

export const cutForGood: Readonly<Record<string, Fault>> = Object.fromEntries(Object.entries(deaths).flatMap(([what, death]) =>
	(['client', 'upstream'] as const).map(side => [`the ${side} behind a cut link ${what}`, isFound(side, death)])));

function isFound(side: Side, {options, inTraffic, ending, reason, after}: Death): Fault {
	return {
		waits: true,
		async run(scope, {family, engines}) {
			const lab = await startLab(scope, family, {engines, options});
			const tunnels = await openAll(lab, engines);
			await Promise.all(tunnels.map(async tunnel => chat(lab, tunnel)));
			// Some were done long before others. Now all have said their last word at about the same time.
			const from = performance.now();
			await Promise.all(tunnels.map(async tunnel => chat(lab, tunnel, 1)));
			await setLink(lab.world.cables[side], 'down');
			const survivor = lab[side === 'client' ? 'upstream' : 'client'];
			await Promise.all(tunnels.map(async ({number, engine, kind, which}) => {
				if (inTraffic) {
					await survivor.call('send', {number, length: 100});
				}

				const name = `(${engine}, ${kind})`;
				assert.equal(await within(`the other end hears of it ${name}`, survivor.call('ending', {number}), after + slack), ending, name);
				const elapsed = performance.now() - from;
				assert.ok(elapsed >= after - granularity, `After ${elapsed} ms, and not ${after}, ${name}`);
				if (ending === 'FIN') {
					await survivor.call('send', {number, length: 0, end: true});
				}

				const stats = await within(`the tunnel is over ${name}`, lab.proxy.call('closed', which));
				assert.equal(stats.reason, reason, name);
				assert.equal(stats.by, reason === 'dead' ? side : 'proxy', name);
				assertCarriedBy(engine, stats);
			}));
			await lab[side].kill();
			await forgetOrphans(lab.world.cables[side].far.namespace);
			await lab.stop(side);
		},
	};
}

/** Of the relay's clock and the kernel's. */
const granularity = 50;

/**
How much later it may be noticed: userTimeout is compared when a retransmission is due, and these come at growing distances;
keep-alive is asked about when its timer fires.
*/
const slack = 4000;
