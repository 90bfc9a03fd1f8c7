import assert from 'node:assert/strict';
import {setTimeout as wait} from 'node:timers/promises';
import {ignore} from '../../wire.ts';
import {
	exchange, openAll, progressed, together,
} from './exchange.ts';
import type {Fault} from './faults.ts';
import {startLab} from './lab.ts';
import {setLink, type Side} from './world.ts';

// A cable that is pulled out and put in again.

export const cuts: Readonly<Record<string, Fault>> = {
	'a tunnel survives ten seconds without a link to the client': isCut('client'),
	'a tunnel survives ten seconds without a link to the upstream': isCut('upstream'),
	'a tunnel survives a link that comes and goes': {
		async run(scope, {family, engines}) {
			const lab = await startLab(scope, family, {engines});
			const tunnels = await openAll(lab, engines);
			const exchanges = Promise.all(tunnels.map(async tunnel => exchange(lab, tunnel, {bulk: 1_500_000, pause: 10})));
			exchanges.catch(ignore); // eslint-disable-line promise/prefer-await-to-then
			for (let time = 1; time <= 6; time++) {
				const cable = lab.world.cables[time % 2 === 0 ? 'client' : 'upstream'];
				/* eslint-disable no-await-in-loop */
				await Promise.race([progressed(lab, tunnels, time * 150_000), exchanges]);
				await setLink(cable, 'down');
				await wait(100);
				await setLink(cable, 'up');
				/* eslint-enable no-await-in-loop */
			}

			await exchanges;
			await lab.stop();
		},
	},
};

function isCut(side: Side): Fault {
	return {
		waits: true,
		async run(scope, {family, engines}) {
			const lab = await startLab(scope, family, {engines});
			const tunnels = await openAll(lab, engines);
			const start = together(tunnels.length);
			const exchanges = Promise.all(tunnels.map(async tunnel => exchange(lab, tunnel, {bulk, pause: 20, start})));
			// Whatever goes wrong is told in the end, and not while nobody listens.
			exchanges.catch(ignore); // eslint-disable-line promise/prefer-await-to-then
			await Promise.race([progressed(lab, tunnels, 50_000), exchanges]);
			await setLink(lab.world.cables[side], 'down');
			await wait(10_000);
			for (const {number, engine} of tunnels) {
				const {received} = await lab.upstream.call('progress', {number}); // eslint-disable-line no-await-in-loop
				assert.ok(received < bulk, `Nothing was under way (${engine})`);
			}

			await setLink(lab.world.cables[side], 'up');
			await exchanges;
			await lab.stop();
		},
	};
}

const bulk = 2_000_000;
