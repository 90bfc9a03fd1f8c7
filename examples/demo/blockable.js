// What both proxies let the demo do to them: stop their event loop, and read the clocks.
import process from 'node:process';
import {now} from './now.js';

let usageAtStart;

export const blockable = {
	/** Blocks the event loop and uses no CPU time by it, so that `cpuTime()` stays comparable. */
	block(milliseconds) {
		const start = now();
		Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
		return {start, end: now()};
	},

	startCpuTime() {
		usageAtStart = process.cpuUsage();
	},

	/** CPU time in milliseconds since `startCpuTime()`, of all threads of this process. */
	cpuTime() {
		const {user, system} = process.cpuUsage(usageAtStart);
		return (user + system) / 1000;
	},
};
