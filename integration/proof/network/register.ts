/* eslint-disable ava/no-ignored-test-files -- The files that import this one are tests. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'ava';
import {impossible} from '../../engines.ts';
import {impossibleDropper} from './dropper.ts';
import type {Fault} from './faults.ts';
import {compileForwarder, impossibleForwarder} from './forwarder.ts';
import {Room} from './room.ts';
import {families, impossibleWorld, ours} from './world.ts';

/**
Registers a test for each fault and family. Each has a network of its own, with all engines in it, and a tunnel of each kind for each of them.
What the machine cannot do is skipped, and says so.
*/
export function registerFaults(faults: Readonly<Record<string, Fault>>, {reason: always = impossibleWorld()}: {readonly reason?: string | undefined} = {}): void {
	const engines = (['stream', 'splice', 'sockmap'] as const).filter(engine => impossible(engine) === undefined);
	const missing = {dropper: impossibleDropper(), forwarder: impossibleForwarder()};
	const [workshop, waitingRoom] = [new Room(2), new Room(6)];
	const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'network-'));
	const compiled: {forwarder?: string} = {};

	test.before('the forwarder compiles', async () => {
		if (missing.forwarder === undefined) {
			compiled.forwarder = await compileForwarder(directory);
		}
	});

	test.after.always('no network namespace is left', t => {
		fs.rmSync(directory, {recursive: true});
		t.deepEqual(ours(), []);
	});

	for (const [title, {needs, waits = false, run}] of Object.entries(faults)) {
		for (const family of families) {
			const sentence = `${engines.join(', ')}: ${title} (IPv${family})`;
			const reason = always ?? (needs && missing[needs]);
			if (reason !== undefined) {
				test(`skipped, ${reason}: ${sentence}`, t => {
					t.log(`skipped: ${reason}`);
					t.pass();
				});
				continue;
			}

			test(sentence, async t => {
				t.timeout(300_000);
				const leave = await (waits ? waitingRoom : workshop).enter();
				// Hooks run in reverse: the room is free again when the network is gone.
				t.teardown(leave);
				await run(t, {family, engines, ...compiled});
				t.pass();
			});
		}
	}
}
