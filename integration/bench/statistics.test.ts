import test from 'ava';
import {figureOf, ratioOf} from './figures.ts';
import {type Line} from './line.ts';
import {matches} from './matching.ts';
import {intervalOfMedian, median, spread} from './statistics.ts';

test('the median is the middle one, or lies between the two in the middle', t => {
	t.is(median([3, 1, 2]), 2);
	t.is(median([4, 1, 3, 2]), 2.5);
	t.deepEqual(spread([5, 9, 1]), {median: 5, min: 1, max: 9});
});

test('the interval leaves out as many values on each side as chance allows', t => {
	const numbers = (count: number) => Array.from({length: count}, (_, index) => count - index);
	t.is(intervalOfMedian(numbers(5)), undefined); // 2 of 32 is more than 5 %.
	t.deepEqual(intervalOfMedian(numbers(6)), [1, 6]); // 2 of 64.
	t.deepEqual(intervalOfMedian(numbers(9)), [2, 8]); // As in tables of the sign test.
	t.deepEqual(intervalOfMedian(numbers(25)), [8, 18]);
	t.deepEqual(spread(numbers(9)).interval, [2, 8]);
});

test('a ratio is taken within a repeat, and only then is its median', t => {
	// The machine gets twice as fast from repeat to repeat. Medians of each contestant alone, in another order, would not say 2.
	const lines = [1, 2, 4].flatMap((speed, index) => [
		line({contestant: 'sockmap', repeat: index + 1, messages: 2 * speed}),
		line({contestant: 'haproxy', repeat: index + 1, messages: speed}),
	]);
	t.deepEqual(ratioOf(lines, 'echo', 'sockmap', 'haproxy', 'rate'), {median: 2, min: 2, max: 2});
});

test('contestants are compared within the latest run that has all of them', t => {
	const lines = [
		line({run: '1', contestant: 'sockmap', messages: 10}),
		line({run: '1', contestant: 'haproxy', messages: 5}),
		line({run: '2', contestant: 'sockmap', messages: 100}),
	];
	t.is(ratioOf(lines, 'echo', 'sockmap', 'haproxy', 'rate')?.median, 2);
	t.is(figureOf(lines, 'echo', 'sockmap', 'rate')?.median, 100);
});

test('what failed is not counted', t => {
	t.is(figureOf([line({failed: 'It does not listen.'})], 'echo', 'sockmap', 'rate'), undefined);
	t.is(ratioOf([line({})], 'echo', 'sockmap', 'haproxy', 'rate'), undefined);
});

test('names match by whole words, by commas and by stars', t => {
	t.true(matches('echo 64 × 128 B sockmap', ['sockmap', '64']));
	t.false(matches('echo 64 × 128 B sockmap-connect', ['sockmap', '64']));
	t.true(matches('echo 64 × 128 B sockmap-connect', ['sockmap*']));
	t.true(matches('bulk 1 up haproxy', ['echo,bulk', 'haproxy']));
	t.false(matches('echo 640 × 128 B sockmap', ['64']));
	t.true(matches('bulk 1 up haproxy', []));
	t.false(matches('idle 1000 auto', ['1.00']));
});

function line(difference: Partial<Line>): Line {
	return {
		run: '1', trial: 'echo', contestant: 'sockmap', repeat: 1, tunnels: 1, seconds: 1, messages: 1, bytes: 1, corrupt: 0, p50: 1, p99: 1, p999: 1, max: 1,
		proxy: 0, machine: 1, load: 1, stolen: 0, switches: 0, rss: 0, descriptors: 0, slab: 0, sockets: 0, available: 0, ...difference,
	};
}
