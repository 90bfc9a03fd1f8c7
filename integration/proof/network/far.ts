import assert from 'node:assert/strict';
import {chat, ended} from './exchange.ts';
import type {Fault} from './faults.ts';
import {forwarders} from './forwarder.ts';
import {startLab, type Lab, type OpenTunnel} from './lab.ts';
import {runIn} from './world.ts';

// A client ten milliseconds away, and an upstream next door. What each may send ahead has to last for its round trip, and not for more.

export const far: Readonly<Record<string, Fault>> = {
	'an end that has sent much may send ahead what its way takes': {
		needs: 'forwarder',
		async run(scope, {family, engines, forwarder}) {
			const cables = forwarders(scope, forwarder!, {delay: 10, queue: 16 * mebibyte});
			const next = forwarders(scope, forwarder!, {});
			const lab = await startLab(scope, family, {engines, join: async cable => (cable.near.device === 'client' ? cables : next).join(cable)});
			for (const engine of engines) {
				/* eslint-disable no-await-in-loop */
				const tunnel = await lab.open(engine, 'connect');
				const said = await chat(lab, tunnel);
				const before = await receiveBuffers(lab, tunnel);
				assert.ok(before.client <= mebibyte / 8 && before.upstream <= mebibyte / 8, `${engine}: ${JSON.stringify(before)}`);
				await Promise.all([
					lab.client.call('send', {number: tunnel.number, length: much}),
					lab.upstream.call('receive', {number: tunnel.number, length: much}),
				]);
				await Promise.all([
					lab.upstream.call('send', {number: tunnel.number, length: much}),
					lab.client.call('receive', {number: tunnel.number, length: much}),
				]);
				assert.deepEqual(await receiveBuffers(lab, tunnel), {client: 4 * mebibyte, upstream: mebibyte}, engine);
				await lab.client.call('send', {number: tunnel.number, length: 1, end: true});
				await lab.upstream.call('receive', {number: tunnel.number, length: 'all'});
				await lab.upstream.call('send', {number: tunnel.number, length: 1, end: true});
				await lab.client.call('receive', {number: tunnel.number, length: 'all'});
				await ended(lab, tunnel, {clientToUpstream: said + much + 1, upstreamToClient: said + much + 1});
				/* eslint-enable no-await-in-loop */
			}

			await lab.stop();
			await cables.stop();
			await next.stop();
		},
	},
};

/** Of the proxy's two connections, as they were set: the kernel says twice that. */
async function receiveBuffers({world}: Lab, {which}: OpenTunnel): Promise<{readonly client: number; readonly upstream: number}> {
	const sockets = await runIn(world.proxy, 'ss', '--tcp', '--memory', '--numeric', '--no-header', '--oneline', 'state', 'established');
	const connections = sockets.split('\n').filter(line => line !== '').map(line => ({peer: line.trim().split(/\s+/u)[3]!, buffer: Number(/rb(\d+)/u.exec(line)![1]) / 2}));
	const {far: {address}} = world.cables.upstream;
	const client = connections.find(({peer}) => peer.endsWith(`:${which.clientPort}`));
	const upstream = connections.find(({peer}) => peer.includes(address));
	return {client: client!.buffer, upstream: upstream!.buffer};
}

const mebibyte = 1024 * 1024;
const much = 4_000_000;
