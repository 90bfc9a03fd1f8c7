import type {ExecutionContext} from 'ava';
import {onEachEngine, type Carrier} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {park, show, type Parked} from './park.ts';

nothingIsLeft();

const tunnels = 200;

for (const write of [65_536, 1]) {
	for (const reader of ['either', 'both'] as const) {
		onEachEngine(`${tunnels} tunnels whose writers write ${write} at once, and ${reader === 'both' ? 'nobody reads' : 'whose readers do not read'}, cost no more than half as much again as plain connections, and nothing is lost`, costsAsMuch, write, reader);
	}
}

async function costsAsMuch(t: ExecutionContext, engine: Carrier, write: number, reader: 'either' | 'both'): Promise<void> {
	t.timeout(120_000);
	const key = `${write} ${reader}`;
	const plain = plainCosts.get(key) ?? await park({engine: undefined, tunnels, write, reader, seconds: 8});
	plainCosts.set(key, plain);
	const parked = await park({engine, tunnels, write, reader, seconds: 8});
	t.log(`plain TCP: ${show(plain)}`);
	t.log(`${engine}: ${show(parked)}`);
	t.deepEqual(parked.failures, []);
	t.deepEqual(plain.failures, []);
	t.is(parked.tally.tunnels, tunnels);
	const cost = ({sockets, process}: Parked) => sockets + process;
	// A tunnel is two connections in the place of one.
	const most = (1.5 * cost(plain)) + slack;
	t.log(`${engine}: ${(cost(parked) / cost(plain)).toFixed(2)} times plain TCP`);
	t.true(cost(parked) <= most, `${cost(parked)}, more than ${most}`);
	// Rough: it is of the machine, and pages that nobody accounts are in it.
	t.true(parked.unavailable <= Math.max(most, 2 * plain.unavailable) + (4 * slack), `${parked.unavailable} are not available any more`);
}

const plainCosts = new Map<string, Parked>();

// What 200 tunnels cost a process that has nothing to do, and what else goes on in the machine.
const slack = 50_000_000;
