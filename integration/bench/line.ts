import {type Result} from './point.ts';

/** What is kept of one point. CPU is seconds, latencies are microseconds, memory is bytes that the tunnels took. */
export type Line = Place & {
	/** Nothing else is known if it failed. */
	readonly failed?: string;
	readonly tunnels: number;
	readonly seconds: number;
	readonly messages: number;
	readonly bytes: number;
	readonly corrupt: number;
	readonly p50: number;
	readonly p99: number;
	readonly p999: number;
	readonly max: number;
	readonly proxy: number;
	readonly machine: number;
	readonly load: number;
	readonly stolen: number;
	readonly switches: number;

	/** A second, where they were counted. */
	readonly syscalls?: number;
	readonly rss: number;
	readonly descriptors: number;
	readonly slab: number;
	readonly sockets: number;
	readonly available: number;
};

export type Place = {
	/** When the run began that it belongs to: only lines of one run are compared. */
	readonly run: string;
	readonly trial: string;
	readonly contestant: string;
	readonly repeat: number;
};

export function toLine(place: Place, result: Result): Line {
	const {latency, cpu, idle, loaded} = result;
	return {
		...place,
		tunnels: result.tunnels,
		seconds: rounded(result.seconds),
		messages: result.messages,
		bytes: result.bytes,
		corrupt: result.corrupt,
		p50: rounded(latency.p50),
		p99: rounded(latency.p99),
		p999: rounded(latency.p999),
		max: rounded(latency.max),
		proxy: rounded(cpu.proxy),
		machine: rounded(cpu.machine),
		load: rounded(cpu.client + cpu.upstream),
		stolen: cpu.stolen,
		switches: result.switches.voluntary + result.switches.involuntary,
		...(result.syscalls !== undefined && {syscalls: result.syscalls}),
		rss: loaded.rss - idle.rss,
		descriptors: loaded.descriptors - idle.descriptors,
		slab: loaded.slab - idle.slab,
		sockets: loaded.sockets - idle.sockets,
		available: idle.available - loaded.available,
	};
}

export const nothing = {
	tunnels: 0, seconds: 0, messages: 0, bytes: 0, corrupt: 0, p50: 0, p99: 0, p999: 0, max: 0,
	proxy: 0, machine: 0, load: 0, stolen: 0, switches: 0, rss: 0, descriptors: 0, slab: 0, sockets: 0, available: 0,
};

/** More digits than any of these is good for. */
function rounded(value: number): number {
	return Number(value.toPrecision(5));
}
