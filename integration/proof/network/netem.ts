import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import process from 'node:process';
import {transfer, type Fault} from './faults.ts';
import {
	firstLine, plugs, tc, tcpCounters,
} from './world.ts';

// The faults of the kernel's own emulator of networks, at each end of each cable. Many kernels have it.

export const emulated: Readonly<Record<string, Fault>> = {
	'nothing is lost by a delay of 25 ms that jitters by 10': emulates('delay 25ms 10ms', {bulk: 500_000}),
	'nothing is lost or mixed up where packets overtake each other': emulates('delay 10ms reorder 10% 50%', {bulk: 500_000}),
	'nothing comes twice where packets do': emulates('duplicate 5%', {bulk: 500_000}),
	'nothing is lost where 2 % of the packets are': emulates('loss 2%', {bulk: 400_000}, true),
	'nothing is lost where packets are lost in bursts': emulates('loss gemodel 1% 20%', {bulk: 300_000}, true),
	'nothing is wrong where packets are corrupted': emulates('corrupt 1%', {bulk: 400_000}, true),
	'nothing is lost at 4 Mbit/s with a short queue': emulates('rate 4mbit limit 20', {bulk: 150_000}),
	'nothing is lost with everything wrong at once': emulates('delay 5ms 5ms reorder 5% loss 0.5% duplicate 2% corrupt 0.3%', {bulk: 300_000}, true),
};

/** Why netem is not here, if so. It needs a network namespace. */
export function impossibleNetem(): string | undefined {
	const name = `sockmap-proof-${process.pid}-0`;
	execFileSync('ip', ['netns', 'add', name]);
	try {
		execFileSync('tc', ['-netns', name, 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '1ms'], {stdio: 'pipe'});
		return undefined;
	} catch (error) {
		return `there is no netem here (${firstLine(error)})`;
	} finally {
		execFileSync('ip', ['netns', 'delete', name]);
	}
}

function emulates(parameters: string, {bulk}: {readonly bulk: number}, loses = false): Fault {
	return {
		run: async (scope, circumstances) => transfer(scope, circumstances, {
			// Under emulation of a processor everything takes its time.
			exchange: {bulk, limit: 240_000},
			async prepare(world) {
				for (const {namespace, device} of plugs(world)) {
					await tc(namespace, 'qdisc', 'add', 'dev', device, 'root', 'netem', ...parameters.split(' ')); // eslint-disable-line no-await-in-loop
				}
			},
			async check({world}) {
				const {RetransSegs} = await tcpCounters(world.proxy);
				assert.ok(!loses || RetransSegs! > 0, 'Nothing was sent again: netem did nothing');
			},
		}),
	};
}
