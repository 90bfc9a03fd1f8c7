import {setTimeout as wait} from 'node:timers/promises';
import test from 'ava';
import {Deadlines, type Limits, type Overdue} from './deadlines.ts';

const never: Limits = {idleTimeout: 0, maxLifetime: 0, halfClosedTimeout: 0};

type Watch = {
	readonly deadlines: Deadlines;
	readonly overdue: Promise<{readonly reason: Overdue; readonly after: number}>;
	readonly isOver: () => boolean;
	hear(): void;
};

function watch(limits: Partial<Limits>, pending: () => number = () => 0): Watch {
	const openedAt = performance.now();
	let heardAt = openedAt;
	let isOver = false;
	let onOverdue: (reason: Overdue) => void;
	const overdue = new Promise<{reason: Overdue; after: number}>(resolve => {
		onOverdue = reason => {
			isOver = true;
			resolve({reason, after: performance.now() - openedAt});
		};
	});
	const deadlines = new Deadlines({...never, ...limits}, {heardAt: () => heardAt, pending, onOverdue: onOverdue!});
	return {
		deadlines, overdue, isOver: () => isOver, hear() {
			heardAt = performance.now();
		},
	};
}

test('a tunnel is idle after its time without a byte, not before', async t => {
	const {overdue, hear} = watch({idleTimeout: 400});
	await wait(300);
	hear();
	await wait(300);
	hear();
	const [{reason, after}] = await Promise.all([overdue, wait(500)]); // The watch itself keeps no process alive.
	t.is(reason, 'idle');
	t.true(after >= 995, `after ${after} ms`);
});

test('bytes do not prolong a life', async t => {
	const {overdue, hear} = watch({idleTimeout: 200, maxLifetime: 350});
	for (let round = 0; round < 6; round++) {
		await wait(100); // eslint-disable-line no-await-in-loop
		hear();
	}

	const {reason, after} = await overdue;
	t.is(reason, 'lifetime');
	t.true(after >= 349, `after ${after} ms`);
});

test('a half-closed tunnel is given the shorter of both times', async t => {
	const {deadlines, overdue} = watch({idleTimeout: 5000, halfClosedTimeout: 200});
	deadlines.halfClosed();
	const [{reason}] = await Promise.all([overdue, wait(400)]);
	t.is(reason, 'half-closed');
});

test('a tunnel that is not half-closed does not mind that limit', async t => {
	const {isOver} = watch({halfClosedTimeout: 50});
	await wait(200);
	t.false(isOver());
});

test('a slow reader who takes some is not silent', async t => {
	let pending = 1000;
	const {isOver, overdue} = watch({idleTimeout: 200}, () => pending);
	const reader = setInterval(() => {
		pending--;
	}, 10);
	await wait(600);
	t.false(isOver());
	clearInterval(reader);
	const [{reason}] = await Promise.all([overdue, wait(500)]);
	t.is(reason, 'idle');
});

test('nothing is overdue any more once stopped', async t => {
	const {deadlines, isOver} = watch({idleTimeout: 50, maxLifetime: 50});
	deadlines.stop();
	await wait(200);
	t.false(isOver());
});
