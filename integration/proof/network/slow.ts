import assert from 'node:assert/strict';
import {setTimeout as wait} from 'node:timers/promises';
import {within} from '../../until.ts';
import {ignore} from '../../wire.ts';
import {chat, ended, openAll} from './exchange.ts';
import type {Fault} from './faults.ts';
import {startLab, type Lab, type OpenTunnel} from './lab.ts';
import {sysctl, tc, type Side, type World} from './world.ts';

// One side as fast as the machine, the other at 1 Mbit/s: what the fast one may send ahead is bounded.

export const slow: Readonly<Record<string, Fault>> = {
	'an upstream at 1 Mbit/s holds up a fast client, and gets everything': isSlow('upstream'),
	'a client at 1 Mbit/s holds up a fast upstream, and gets everything': isSlow('client'),
};

function isSlow(side: Side): Fault {
	return {
		waits: true,
		async run(scope, {family, engines}) {
			const lab = await startLab(scope, family, {engines, prepare: limitSendBuffers});
			const {world, proxy} = lab;
			const sides = {sender: lab[side === 'client' ? 'upstream' : 'client'], receiver: lab[side]};
			const tunnels = await openAll(lab, engines);
			const said = await Promise.all(tunnels.map(async tunnel => chat(lab, tunnel)));
			const {near} = world.cables[side];
			await tc(near.namespace, 'qdisc', 'add', 'dev', near.device, 'root', 'tbf', 'rate', '1mbit', 'burst', '8kb', 'limit', '32kb');

			const before = await proxy.call('memory');
			const receiving = Promise.all(tunnels.map(async ({number}) => sides.receiver.call('receive', {number, length: 'all'})));
			receiving.catch(ignore); // eslint-disable-line promise/prefer-await-to-then -- Told below.
			const sending = Promise.all(tunnels.map(async ({number}) => sides.sender.call('sendFor', {number, ms: 6000})));
			sending.catch(ignore); // eslint-disable-line promise/prefer-await-to-then
			const most = await mostAhead(sides, tunnels, 6000);
			const grown = await proxy.call('memory') - before;
			scope.log(`sent ahead at most: ${tunnels.map(({engine, kind}, index) => `${engine}/${kind} ${megabytes(most[index]!)}`).join(', ')}; the proxy grew by ${megabytes(grown)}`);
			for (const [index, bytes] of most.entries()) {
				const {engine} = tunnels[index]!;
				assert.ok(bytes <= bound, `${megabytes(bytes)} were sent ahead (${engine})`);
				assert.ok(bytes > 20_000, `The sender was not faster (${engine})`);
			}

			assert.ok(grown < tunnels.length * bound, `The proxy grew by ${megabytes(grown)}`);

			// The rest would take minutes.
			await tc(near.namespace, 'qdisc', 'delete', 'dev', near.device, 'root');
			await sending;
			await Promise.all(tunnels.map(async ({number}) => sides.sender.call('send', {number, length: 1, end: true})));
			const received = await within('everything arrives', receiving, 40_000);
			for (const [index, tunnel] of tunnels.entries()) {
				const {number} = tunnel;
				const {accepted} = await sides.sender.call('progress', {number}); // eslint-disable-line no-await-in-loop
				assert.equal(received[index]! + said[index]!, accepted);
			}

			await Promise.all(tunnels.map(async ({number}) => sides.receiver.call('send', {number, length: 1, end: true})));
			await Promise.all(tunnels.map(async ({number}) => sides.sender.call('receive', {number, length: 'all'})));
			await Promise.all(tunnels.map(async (tunnel, index) => {
				const [long, short] = [said[index]! + received[index]!, said[index]! + 1];
				await ended(lab, tunnel, side === 'upstream' ? {clientToUpstream: long, upstreamToClient: short} : {clientToUpstream: short, upstreamToClient: long});
			}));
			await lab.stop();
		},
	};
}

/** For each tunnel, the most bytes that its sender was ahead of its receiver within that time. */
async function mostAhead({sender, receiver}: {readonly sender: Lab['client']; readonly receiver: Lab['client']}, tunnels: readonly OpenTunnel[], ms: number): Promise<readonly number[]> {
	const most = tunnels.map(() => 0);
	const over = Date.now() + ms;
	while (Date.now() < over) {
		for (const [index, {number}] of tunnels.entries()) {
			const {accepted} = await sender.call('progress', {number}); // eslint-disable-line no-await-in-loop
			const {received} = await receiver.call('progress', {number}); // eslint-disable-line no-await-in-loop
			most[index] = Math.max(most[index]!, accepted - received);
		}

		await wait(100); // eslint-disable-line no-await-in-loop
	}

	return most;
}

/** So that it is known what the senders' own buffers add. */
async function limitSendBuffers({cables, proxy}: World): Promise<void> {
	for (const namespace of [cables.client.far.namespace, cables.upstream.far.namespace, proxy]) {
		await sysctl(namespace, 'ipv4/tcp_wmem', '4096 16384 1048576'); // eslint-disable-line no-await-in-loop
	}
}

function megabytes(bytes: number): string {
	return `${(bytes / 1e6).toFixed(2)} MB`;
}

/** The send buffers of the sender and of the proxy, 1 MiB each; the receive buffer of the proxy, 2 MiB; what is under way. */
const bound = 4_500_000;
