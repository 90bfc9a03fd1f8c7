import {connectRequest} from '../../ends.ts';
import {onEachEngine} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {until, within} from '../../until.ts';
import {dial} from '../../wire.ts';
import {addressOf, descriptorsOf, echoes, hangUp, residentMemoryOf, startAttacked, tryTunnel} from './clients.ts';

nothingIsLeft();

const pipesKept = 2 * 16;

// What comes before a tunnel is the same for all engines; what is beside it should not be disturbed on any.
onEachEngine('2,000 half requests, 500 silent peers and 3,000 connects that leave again disturb nobody, and leave nothing behind', async (t, engine) => {
	const attacked = await startAttacked(t, engine);
	const {proxy, httpPort, upstreamPort} = attacked;
	const {client: witness} = await tryTunnel(t, attacked, addressOf(0));
	t.true(await echoes(witness, 0, 100_000));
	const before = {descriptors: descriptorsOf(proxy), memory: residentMemoryOf(proxy)};

	const sayAndStay = async (index: number, text: string) => {
		const client = await dial(t, httpPort, {localAddress: addressOf(1 + (index % 500))});
		client.write(text);
		return client;
	};

	const request = connectRequest(upstreamPort);
	const half = await Promise.all(Array.from({length: 2000}, async (_, index) => sayAndStay(index, request.slice(0, 1 + (index % (request.length - 2))))));
	const silent = await Promise.all(Array.from({length: 500}, async (_, index) => {
		const {client, status} = await tryTunnel(t, attacked, addressOf(1000 + index));
		t.is(status, '200');
		return client;
	}));
	t.log(`${engine}: ${((residentMemoryOf(proxy) - before.memory) / 2500 / 1024).toFixed(1)} kB of the process for each`);
	t.true(residentMemoryOf(proxy) - before.memory < 2500 * 64 * 1024);
	t.true(await echoes(witness, 1, 1_000_000));

	let left = 0;
	await Promise.all(Array.from({length: 3000}, async (_, index) => {
		const client = await sayAndStay(index, index % 2 === 0 ? request : '');
		if (index % 3 === 0) {
			client.resetAndDestroy();
		} else {
			client.destroy();
		}

		left++;
	}));
	t.is(left, 3000);
	t.true(await echoes(witness, 2, 1_000_000));
	const late = await within('a new tunnel is opened', tryTunnel(t, attacked, addressOf(2000)));
	t.is(late.status, '200');
	t.true(await echoes(late.client, 3, 100_000));

	for (const client of half) {
		client.destroy();
	}

	await hangUp([...silent, late.client]);
	// The relay keeps some pipes for the next ones.
	await until('everything is given back', () => descriptorsOf(proxy) <= before.descriptors + pipesKept, 20_000);
	await hangUp([witness]);
	const {stats} = await proxy.closeOf(addressOf(0));
	t.is(stats.engine, engine);
	t.is(stats.clientToUpstream.bytes, 2_100_000);
});
