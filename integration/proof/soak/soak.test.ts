import process from 'node:process';
import test from 'ava';
import {impossible} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {soak, table} from './soak.ts';

nothingIsLeft();

const seed = Number(process.env.SOAK_SEED ?? Date.now() % 1_000_000);
const reason = impossible('sockmap');

test.serial(`5,000 tunnels on all engines at once, 200 at a time, and not one byte, FIN or RST is wrong (seed ${seed})`, async t => {
	t.timeout(5 * 60_000);
	if (reason !== undefined) {
		t.log(`skipped for sockmap: ${reason}`);
	}

	const result = await soak({seed, engines: reason === undefined ? ['sockmap', 'sockmap', 'splice', 'stream'] : ['splice', 'stream'], tunnels: 5000, seconds: 150});
	t.log(`seed ${seed}\n${table(result)}`);
	if (result.tunnels < 5000) {
		t.log(`only ${result.tunnels} of 5,000 tunnels: the time was up after ${result.seconds} s`);
	}

	t.deepEqual(result.failures, []);
	t.true(result.tunnels >= 500, 'too few to mean anything');
	for (const [engine, tally] of Object.entries(result.byEngine)) {
		t.true(tally.aborts > 0 && tally.bytes > 0, `nothing on ${engine}`);
		// Some end before they can leave Node's streams. Most must not.
		t.true(tally.streamed < tally.tunnels / 4, `${tally.streamed} of ${tally.tunnels} never came to ${engine}`);
		t.is(tally.redirected > 0 && tally.spilled > 0 && tally.spills > 0 && tally.promotions > 0, engine === 'sockmap', `redirected by ${engine}`);
		t.is(tally.piped > 0, engine !== 'stream', `piped by ${engine}`);
	}
});
