import test from 'ava';
import {Attempts} from './attempts.ts';

test('the wait doubles, up to five seconds', t => {
	const attempts = new Attempts();
	t.deepEqual(Array.from({length: 8}, () => attempts.failed('a')), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
	t.is(attempts.failed('b'), 100);
	t.is(attempts.total, 9);
});

test('success wipes the slate', t => {
	const attempts = new Attempts();
	attempts.failed('a');
	attempts.succeeded('a');
	t.is(attempts.failed('a'), 100);
});

test('a client is locked out after so many failures, for a minute after the last one', t => {
	let now = 0;
	const attempts = new Attempts({now: () => now});
	attempts.failed('a');
	t.is(attempts.lockedFor('a', 2), 0);
	now = 30_000;
	attempts.failed('a');
	t.is(attempts.lockedFor('a', 2), 60_000);
	t.is(attempts.lockedFor('a', 0), 0);
	t.is(attempts.lockedFor('b', 2), 0);
	now = 90_000;
	t.is(attempts.lockedFor('a', 2), 0);
	t.is(attempts.failed('a'), 100);
});

test('only so many clients are remembered, those that were wrong last', t => {
	const attempts = new Attempts({capacity: 3});
	for (const client of ['a', 'b', 'c', 'a', 'd']) {
		attempts.failed(client);
	}

	t.is(attempts.size, 3);
	t.is(attempts.lockedFor('b', 1), 0);
	t.true(attempts.lockedFor('a', 2) > 0);
});
