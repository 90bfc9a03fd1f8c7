import {setTimeout as wait} from 'node:timers/promises';
import test from 'ava';
import {Storm} from './storm.ts';

test('what comes alone is run in a microtask', async t => {
	const ran: number[] = [];
	const storm = new Storm<number>(item => ran.push(item));
	storm.add(1);
	t.deepEqual(ran, []);
	await Promise.resolve();
	t.deepEqual(ran, [1]);
});

test('in a storm, all but the first are run later, in their order, and each once', async t => {
	const ran: number[] = [];
	const storm = new Storm<number>(item => ran.push(item));
	for (let item = 0; item < 100; item++) {
		storm.add(item);
	}

	await Promise.resolve();
	t.deepEqual(ran, [0]);
	while (ran.length < 100) {
		await wait(5); // eslint-disable-line no-await-in-loop
	}

	t.deepEqual(ran, Array.from({length: 100}, (_, item) => item));
	await wait(20);
	storm.add(100);
	await Promise.resolve();
	t.is(ran.at(-1), 100, 'the storm is over');
});

test('what is over meanwhile is not run, and the others are', async t => {
	const ran: number[] = [];
	const storm = new Storm<number>(item => ran.push(item));
	const waiting = Array.from({length: 10}, (_, item) => storm.add(item));
	for (const item of [1, 4, 9]) {
		waiting[item]!.item = undefined;
	}

	while (ran.length < 7) {
		await wait(5); // eslint-disable-line no-await-in-loop
	}

	await wait(150);
	t.deepEqual(ran, [0, 2, 3, 5, 6, 7, 8]);
});
