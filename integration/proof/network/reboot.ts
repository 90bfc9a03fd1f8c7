import assert from 'node:assert/strict';
import {within} from '../../until.ts';
import {chat, openAll} from './exchange.ts';
import type {Fault} from './faults.ts';
import {assertCarriedBy, startLab} from './lab.ts';
import {reboot, type Side} from './world.ts';

// A machine that is switched off and on. It does not know its old connections any more, and answers them with RST.

export const reboots: Readonly<Record<string, Fault>> = {
	'an upstream that was rebooted resets the client as soon as that says something': isRebooted('upstream', 'traffic'),
	'a client that was rebooted resets the upstream as soon as that says something': isRebooted('client', 'traffic'),
	'an upstream that was rebooted is found by keep-alive, and the client is reset': isRebooted('upstream', 'silence'),
	'a client that was rebooted is found by keep-alive, and the upstream is reset': isRebooted('client', 'silence'),
};

function isRebooted(side: Side, during: 'traffic' | 'silence'): Fault {
	return {
		waits: true,
		async run(scope, {family, engines}) {
			const options = during === 'silence' ? {keepAlive: {idle: 1000, interval: 1000, count: 20}} : {};
			const lab = await startLab(scope, family, {engines, options});
			const tunnels = await openAll(lab, engines);
			await Promise.all(tunnels.map(async tunnel => chat(lab, tunnel)));

			await reboot(lab.world, side, lab[side].kill);

			const survivor = lab[side === 'client' ? 'upstream' : 'client'];
			await Promise.all(tunnels.map(async ({number, engine, kind, which}) => {
				if (during === 'traffic') {
					await survivor.call('send', {number, length: 100});
				}

				const name = `(${engine}, ${kind})`;
				assert.equal(await within(`the survivor is reset ${name}`, survivor.call('ending', {number}), 15_000), 'ECONNRESET', name);
				const stats = await within(`the tunnel is over ${name}`, lab.proxy.call('closed', which));
				assert.deepEqual([stats.reason, stats.by, stats.code], ['reset', side, 'ECONNRESET'], name);
				assertCarriedBy(engine, stats);
			}));
			assert.equal(await survivor.call('connections'), 0);
			await lab.stop(side);
		},
	};
}
