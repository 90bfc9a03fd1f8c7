import {getHeapSpaceStatistics, setFlagsFromString} from 'node:v8';
import {runInNewContext} from 'node:vm';
import test from 'ava';
import {seeded} from '../integration/random.ts';
import {Roster} from './roster.ts';

test('has those that were added and not deleted, as a set would', t => {
	const random = seeded(1);
	const members = Array.from({length: 50}, (_, id) => ({id, seat: -1}));
	const roster = new Roster<(typeof members)[number]>();
	const expected = new Set<(typeof members)[number]>();
	for (let step = 0; step < 5000; step++) {
		const member = members[Math.floor(random() * members.length)]!;
		if (random() < 0.5) {
			roster.add(member);
			expected.add(member);
		} else {
			roster.delete(member);
			expected.delete(member);
		}

		t.is(roster.size, expected.size);
		t.true([...roster].every(member => expected.has(member)));
	}
});

test('those that leave while they are gone through are not missed, and neither is any other', t => {
	const members = Array.from({length: 5}, (_, id) => ({id, seat: -1}));
	const roster = new Roster<(typeof members)[number]>();
	for (const member of members) {
		roster.add(member);
	}

	const seen: number[] = [];
	for (const member of roster) {
		seen.push(member.id);
		roster.delete(member);
	}

	t.deepEqual(seen, [0, 1, 2, 3, 4]);
	t.is(roster.size, 0);
});

test('who has left is not kept until the next full collection', t => {
	setFlagsFromString('--expose-gc');
	const collect = runInNewContext('gc') as (how: {readonly type: 'minor'}) => void;
	const roster = new Roster<{seat: number; readonly load: readonly number[]}>();
	const inside: Array<{seat: number; readonly load: readonly number[]}> = [];
	const comeAndGo = (count: number) => {
		for (let step = 1; step <= count; step++) {
			const member = {seat: -1, load: Array.from({length: 100}, () => step)};
			roster.add(member);
			if (inside.push(member) > 16) {
				roster.delete(inside.shift()!);
			}

			if (step % 1000 === 0) {
				collect({type: 'minor'});
			}
		}
	};

	comeAndGo(10);
	// What is there for a while is moved to the old generation. Of a `Set`, that is its table.
	for (let time = 0; time < 3; time++) {
		collect({type: 'minor'});
	}

	const before = oldSpace();
	comeAndGo(30_000);
	const kept = oldSpace() - before;
	t.log(`${(kept / 1000).toFixed(0)} kB of 30 MB`);
	t.true(kept < 1e6);
});

function oldSpace(): number {
	return getHeapSpaceStatistics().find(({space_name: name}) => name === 'old_space')!.space_used_size;
}
