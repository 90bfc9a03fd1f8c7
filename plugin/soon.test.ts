import test from 'ava';
import {soon} from './soon.ts';

test('each is called once, in order, and not at once', async t => {
	const called: number[] = [];
	await new Promise<void>(resolve => {
		// It keeps no process alive by itself.
		const alive = setTimeout(() => undefined, 60_000);
		for (const number of [1, 2]) {
			soon(() => {
				called.push(number);
			});
		}

		soon(() => {
			// What comes meanwhile has its own moment.
			soon(() => {
				clearTimeout(alive);
				resolve();
			});
			called.push(3);
		});
		t.deepEqual(called, []);
	});
	t.deepEqual(called, [1, 2, 3]);
});
