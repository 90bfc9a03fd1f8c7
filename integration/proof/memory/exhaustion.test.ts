/* eslint-disable no-await-in-loop -- One after the other, so that it is known who comes too late. */
import type net from 'node:net';
import test from 'ava';
import {impossible, onEachEngine} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {until, within} from '../../until.ts';
import {addressOf, descriptorsOf, echoes, hangUp, startAttacked, tryTunnel} from './clients.ts';

nothingIsLeft();

onEachEngine('without descriptors it refuses, or stays in JavaScript, and whoever is in loses nothing; and it has all of them back afterwards', async (t, engine) => {
	const attacked = await startAttacked(t, engine, {descriptors: 256});
	const {proxy} = attacked;
	// Once, so that what is made for the first tunnel is there.
	const first = await tryTunnel(t, attacked, addressOf(0));
	t.true(await echoes(first.client, 0, 1000));
	await hangUp([first.client]);
	await within('the first tunnel closes', proxy.closeOf(addressOf(0)));
	const before = descriptorsOf(proxy);

	const inside: net.Socket[] = [];
	const statuses: Record<string, number> = {};
	for (let index = 1; index <= 200; index++) {
		const {client, status} = await tryTunnel(t, attacked, addressOf(index));
		statuses[status] = (statuses[status] ?? 0) + 1;
		if (status === '200') {
			inside.push(client);
		}
	}

	t.log(`${engine}: ${JSON.stringify(statuses)}`);
	t.true(inside.length > 40 && inside.length < 150, `${inside.length} got in`);
	t.deepEqual(await Promise.all(inside.map(async (client, index) => echoes(client, index, 100_000))), inside.map(() => true));

	await hangUp(inside);
	await until('all descriptors are back', () => descriptorsOf(proxy) <= before);
	const {client, status} = await tryTunnel(t, attacked, addressOf(300));
	t.is(status, '200');
	t.true(await echoes(client, 1, 100_000));
	await hangUp([client]);
	const {stats} = await proxy.closeOf(addressOf(300));
	t.is(stats.engine, engine);
});

test.serial('beyond the capacity of its maps, tunnels go to splice, and to sockmap again when there is room', async t => {
	if (impossible('sockmap') !== undefined) {
		t.log(`skipped: ${impossible('sockmap')}`);
		t.pass();
		return;
	}

	const attacked = await startAttacked(t, 'auto', {plugin: {capacity: 50}});
	const open = async (from: number, to: number) => {
		const clients: net.Socket[] = [];
		for (let index = from; index < to; index++) {
			const {client, status} = await tryTunnel(t, attacked, addressOf(index));
			t.is(status, '200');
			clients.push(client);
		}

		// In a storm of them, tunnels are promoted a little later.
		for (let index = from; index < to; index++) {
			for (let engine: string | undefined = 'stream'; engine === 'stream';) {
				const stats = await attacked.proxy.statsOf(addressOf(index));
				engine = stats?.engine;
			}
		}

		return clients;
	};

	const clients = await open(0, 200);
	t.deepEqual(await Promise.all(clients.map(async (client, index) => echoes(client, index, 200_000))), clients.map(() => true));
	await hangUp(clients);
	const engines: Record<string, number> = {};
	for (let index = 0; index < 200; index++) {
		const {stats, skipped} = await attacked.proxy.closeOf(addressOf(index));
		engines[stats.engine] = (engines[stats.engine] ?? 0) + 1;
		t.deepEqual(skipped.map(({engine, code}) => [engine, code]), stats.engine === 'sockmap' ? [] : [['sockmap', 'ENOSPC']]);
	}

	t.deepEqual(engines, {sockmap: 50, splice: 150});
	const again = await open(200, 250);
	t.deepEqual(await Promise.all(again.map(async (client, index) => echoes(client, index, 200_000))), again.map(() => true));
	await hangUp(again);
	for (let index = 200; index < 250; index++) {
		const {stats} = await attacked.proxy.closeOf(addressOf(index));
		t.is(stats.engine, 'sockmap');
	}
});
