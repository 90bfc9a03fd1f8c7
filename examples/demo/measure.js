import {on} from 'node:events';
import {setTimeout as sleep} from 'node:timers/promises';
import {now} from './now.js';

export const freeTime = 1000;
export const blockedTime = 2000;

/**
Open the two tunnels through `proxy`, push messages through them while its JavaScript is free and then while it is blocked, and close them.

`events` are the notices of a proxy with the plugin. Without it there is no engine to report and nobody who counts.
*/
export async function measure({proxy, port, client, secure, events}) {
	const [, decided] = await Promise.all([
		client.call('open', {proxy: port, secure}),
		events && collect(events, ['promoted', 'kept'], 2),
	]);

	await proxy.call('startCpuTime');
	await client.call('push');
	const free = {start: now()};
	await sleep(freeTime);
	free.end = now();
	const blocked = await proxy.call('block', blockedTime);
	const cpuTime = await proxy.call('cpuTime');
	const inCpuTime = {start: 0, end: now()};

	const echoed = await client.call('settle');
	const counts = await client.call('count', {free, blocked, inCpuTime});
	const [wires, closed] = await Promise.all([
		client.call('close'),
		events && collect(events, ['close'], 2),
	]);

	return {
		blockedTime: blocked.end - blocked.start,
		cpuTime,
		cpuTimeOfThousand: cpuTime / counts.reduce((sum, {inCpuTime}) => sum + inCpuTime, 0) * 1000,
		tunnels: ['upgrade', 'connect'].map((kind, index) => ({
			kind,
			...echoed[index],
			free: counts[index].free,
			blocked: counts[index].blocked,
			wire: wires[index],
			engine: decided?.find(notice => notice.kind === kind)?.engine,
			skipped: decided?.find(notice => notice.kind === kind)?.skipped,
			stats: closed?.find(notice => notice.kind === kind)?.stats,
		})),
	};
}

// The first `count` notices whose event is one of `names`.
async function collect(events, names, count) {
	const found = [];
	for await (const [notice] of on(events, 'notice', {signal: AbortSignal.timeout(15_000)})) {
		if (names.includes(notice.event) && found.push(notice) === count) {
			return found;
		}
	}
}
