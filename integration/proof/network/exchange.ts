import assert from 'node:assert/strict';
import {setTimeout as wait} from 'node:timers/promises';
import {within} from '../../until.ts';
import type {Kind} from './end-program.ts';
import {assertCarriedBy, kinds, type Lab, type OpenTunnel} from './lab.ts';
import type {Engine, TunnelStats} from 'http-proxy-sockmap';

/** What goes through a tunnel. Sizes are bytes, for each direction. */
export type Exchange = {
	readonly bulk: number;

	/** Milliseconds after each write of the bulk. */
	readonly pause?: number;

	/** What the bulk has to wait for. */
	readonly start?: () => Promise<void>;

	/** Milliseconds within which all of it has to be there. */
	readonly limit?: number;
};

/** A tunnel of each kind for each engine, all at once. */
export async function openAll({open}: Lab, engines: readonly Engine[], which: readonly Kind[] = kinds): Promise<readonly OpenTunnel[]> {
	return Promise.all(engines.flatMap(engine => which.map(async kind => open(engine, kind))));
}

/** A conversation in turns, whose messages follow each other as a user's do: each is redirected where the engine can. */
export async function chat({client, upstream}: Lab, {number}: OpenTunnel, rounds = 12): Promise<number> {
	let length = 0;
	for (let round = 0; round < rounds; round++) {
		const size = 1 + ((round * 397) % 2900);
		for (const [sender, receiver] of [[client, upstream], [upstream, client]] as const) {
			await sender.call('send', {number, length: size}); // eslint-disable-line no-await-in-loop
			await receiver.call('receive', {number, length: size}); // eslint-disable-line no-await-in-loop
		}

		length += size;
	}

	return length;
}

/**
Both directions at once. The client ends first, and is told more all the same: its FIN ends one direction and not the other.
Then the upstream ends, and the tunnel with it: by FIN on both sides, every byte checked and counted.
*/
export async function exchange(lab: Lab, tunnel: OpenTunnel, {bulk, pause = 0, start, limit = 60_000}: Exchange): Promise<TunnelStats> {
	const {client, upstream} = lab;
	const {number} = tunnel;
	const said = await chat(lab, tunnel);
	await start?.();
	const everything = async () => {
		const sending = Promise.all([
			client.call('send', {
				number, length: bulk, pause, end: true,
			}),
			upstream.call('send', {number, length: bulk, pause}),
		]);
		const receiving = Promise.all([
			upstream.call('receive', {number, length: 'all'}),
			client.call('receive', {number, length: bulk}),
		]);
		const [, received] = await Promise.all([sending, receiving]);
		assert.deepEqual(received, [bulk, bulk]);
		await upstream.call('send', {number, length: tail, end: true});
		assert.equal(await client.call('receive', {number, length: 'all'}), tail);
	};

	await within(`everything arrives (${tunnel.engine}, ${tunnel.kind})`, everything(), limit);
	const stats = await ended(lab, tunnel, {clientToUpstream: said + bulk, upstreamToClient: said + bulk + tail});
	assert.equal(stats.by, 'client');
	return stats;
}

/** Something to be called so often: all calls resolve at the last one. */
export function together(count: number): () => Promise<void> {
	let missing = count;
	const waiting: Array<() => void> = [];
	return async () => new Promise(resolve => {
		waiting.push(resolve);
		if (--missing === 0) {
			for (const one of waiting) {
				one();
			}
		}
	});
}

/** Resolves when so many bytes have arrived at the upstream through each tunnel. */
export async function progressed({upstream}: Lab, tunnels: readonly OpenTunnel[], bytes: number): Promise<void> {
	for (const {number} of tunnels) {
		let received = 0;
		while (received < bytes) {
			/* eslint-disable no-await-in-loop */
			await wait(5);
			({received} = await upstream.call('progress', {number}));
			/* eslint-enable no-await-in-loop */
		}
	}
}

/** That the tunnel ended in peace, and its counters tell what was sent. */
export async function ended({proxy}: Lab, {engine, kind, which}: OpenTunnel, lengths: Readonly<Record<'clientToUpstream' | 'upstreamToClient', number>>): Promise<TunnelStats> {
	const stats = await within(`the tunnel is over (${engine}, ${kind})`, proxy.call('closed', which), 20_000);
	assert.equal(stats.reason, 'end', JSON.stringify(stats));
	// The client says first which tunnel it is.
	assert.equal(stats.clientToUpstream.bytes, 4 + lengths.clientToUpstream);
	assert.equal(stats.upstreamToClient.bytes, lengths.upstreamToClient);
	assertCarriedBy(engine, stats);
	return stats;
}

/** What comes after the client's FIN. */
const tail = 50_000;
