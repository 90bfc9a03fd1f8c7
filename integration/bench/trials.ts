import {type Conditions} from './contestants.ts';

/** One kind of load under one set of conditions. */
export type Trial = {
	readonly name: string;
	readonly about: string;
	readonly load: readonly string[];
	readonly conditions?: Conditions;

	/** The part of the report that it belongs to. */
	readonly group: Group;

	/** Names of contestants, in the order of the table. */
	readonly contestants: readonly string[];

	/** How many times as long as the others: the tail of a distribution needs many messages, and one hiccup of the machine must not be all of it. */
	readonly times?: number;

	/** For how many seconds contestants in Node are left alone before, as they give memory back when they have been idle for a while. */
	readonly patience?: number;

	/** It takes as long as it takes, whatever `--seconds` says. */
	readonly ownTime?: boolean;
};

export type Group = 'echo' | 'bulk' | 'fan-out' | 'set-up' | 'idle' | 'blocked' | 'saturated' | 'stalled';

const main = ['direct', 'http-proxy', 'auto', 'haproxy'];

const everybody = [
	'direct',
	'http-proxy',
	'pipe',
	'stream',
	'splice',
	'sockmap',
	'auto',
	'textbook',
	'haproxy',
	'haproxy-splice',
	'nginx',
	'hand-connect',
	'stream-connect',
	'splice-connect',
	'sockmap-connect',
	'auto-connect',
];

export const trials: readonly Trial[] = [
	echo(1, '64 B', everybody.filter(name => !['haproxy-splice', 'stream-connect', 'splice-connect'].includes(name))),
	echo(64, '128 B', everybody),
	echo(64, '16 KiB', ['direct', 'http-proxy', 'splice', 'sockmap', 'auto', 'haproxy', 'haproxy-splice-512k', 'nginx', 'auto-connect']),
	echo(1, '1 KiB', main),
	echo(1, '16 KiB', main),
	echo(1, '128 KiB', main),
	echo(1, '2 MiB', main),
	echo(64, '1 KiB', main),
	echo(64, '128 KiB', [...main, 'splice', 'sockmap', 'haproxy-splice-512k']),
	echo(64, '2 MiB', main),
	echo(500, '64 B', [...main, 'splice', 'sockmap']),
	echo(500, '1 KiB', main),
	echo(500, '16 KiB', main),
	echo(500, '128 KiB', main),
	echo(4000, '64 B', [...main, 'splice', 'sockmap']),
	echo(4000, '1 KiB', main),
	echo(4000, '16 KiB', main),

	bulk(1, 'up', ['direct', 'http-proxy', 'pipe', 'splice', 'sockmap', 'auto', 'haproxy', 'haproxy-auto', 'haproxy-splice', 'haproxy-splice-512k', 'nginx', 'hand-connect', 'auto-connect']),
	bulk(1, 'down', [...main, 'splice', 'sockmap', 'haproxy-splice', 'haproxy-splice-512k']),
	bulk(1, 'both', [...main, 'splice', 'sockmap', 'haproxy-splice', 'haproxy-splice-512k']),
	bulk(8, 'up', [...main, 'haproxy-splice', 'haproxy-splice-512k']),
	bulk(8, 'both', [...main, 'haproxy-splice', 'haproxy-splice-512k']),
	{
		name: 'bulk 1 up after a pause',
		about: '1 stream from the client to the upstream, in a tunnel that was quiet for half a second before, so that engines that promote quiet tunnels have done so',
		group: 'bulk',
		load: ['bulk', '--tunnels', '1', '--direction', 'up', '--pause', '0.5'],
		contestants: ['direct', 'sockmap', 'auto', 'textbook', 'haproxy-splice-512k'],
	},

	...(['client', 'upstream'] as const).map((beside): Trial => ({
		name: `bulk 1 up beside the ${beside}`,
		about: `1 stream from the client to the upstream, which have a processor each, while the proxy has that of the ${beside}. Where the scheduler places them, as above, one proxy can be more lucky than another`,
		group: 'bulk',
		load: ['bulk', '--tunnels', '1', '--direction', 'up'],
		conditions: {beside},
		contestants: [...main, 'splice', 'sockmap', 'haproxy-splice', 'haproxy-splice-512k'],
	})),

	{
		name: 'fan-out 2000',
		about: 'The upstream sends 20,000 messages of 128 B a second, in turn to 2,000 tunnels; latency is one way, from the time when a message was due',
		group: 'fan-out',
		times: 4,
		// Long enough for whoever moves a tunnel into the kernel to have done so.
		load: ['fanout', '--tunnels', '2000', '--size', '128', '--rate', '20000', '--warmup', '3'],
		contestants: ['direct', 'http-proxy', 'splice', 'sockmap', 'auto', 'haproxy', 'nginx'],
	},

	{
		name: 'set-up',
		about: '16 at a time: connect, handshake, one echo of 64 B, close',
		group: 'set-up',
		// Until V8 has compiled what is there to be compiled, which is more with this package.
		load: ['setup', '--tunnels', '16', '--warmup', '4'],
		times: 8,
		contestants: ['direct', 'http-proxy', 'stream', 'splice', 'sockmap', 'auto', 'haproxy', 'nginx', 'hand-connect', 'stream-connect', 'sockmap-connect', 'auto-connect'],
	},

	{
		name: 'set-up held',
		about: '300 at a time: connect, handshake, one echo of 64 B, 0.3 s of silence, in which whoever moves tunnels into the kernel does so, one more echo, close',
		group: 'set-up',
		load: ['setup', '--tunnels', '300', '--hold', '0.3', '--warmup', '4'],
		times: 8,
		contestants: ['http-proxy', 'stream', 'splice', 'sockmap', 'auto', 'haproxy'],
	},

	idle(1000, ['direct', 'http-proxy', 'auto', 'auto-detach', 'haproxy', 'nginx']),
	idle(4000, ['direct', 'http-proxy', 'auto', 'auto-detach', 'haproxy', 'nginx']),
	idle(9000, ['direct', 'http-proxy', 'auto', 'auto-detach', 'haproxy', 'nginx']),

	...([['unblocked', {}], ['blocked', {block: {milliseconds: 20, every: 50}}]] as const).map(([name, conditions]): Trial => ({
		name: `pace 64 ${name}`,
		about: `2,000 messages of 128 B a second in 64 tunnels, ${name === 'blocked' ? 'while the event loop of the proxy is blocked for 20 of every 50 ms' : 'undisturbed'}; latency is a round trip, from the time when a message was due`,
		group: 'blocked',
		times: 8,
		load: ['pace', '--tunnels', '64', '--size', '128', '--rate', '2000', '--warmup', '1.5'],
		conditions,
		contestants: ['http-proxy', 'stream', 'splice', 'sockmap', 'auto', 'auto-connect'],
	})),

	{
		name: 'echo 1 saturated',
		about: 'An echo of 128 B in 1 tunnel, closed loop, while a program that computes runs on each CPU and has as much right to it as the client, the proxy and the upstream',
		group: 'saturated',
		times: 8,
		load: ['echo', '--tunnels', '1', '--size', '128'],
		conditions: {burn: true},
		contestants: ['direct', 'http-proxy', 'splice', 'sockmap', 'auto', 'haproxy', 'nginx'],
	},
	{
		name: 'pace 64 saturated',
		about: '2,000 messages of 128 B a second in 64 tunnels, open loop, while a program that computes runs on each CPU. The client and the upstream have real-time priority, so that only the proxy has to compete',
		group: 'saturated',
		times: 8,
		load: ['pace', '--tunnels', '64', '--size', '128', '--rate', '2000', '--warmup', '1.5'],
		conditions: {burn: true, realTimeLoad: true},
		contestants: ['direct', 'http-proxy', 'splice', 'sockmap', 'auto', 'haproxy', 'nginx'],
	},

	...(['up', 'down'] as const).map((direction): Trial => ({
		name: `stalled 8 ${direction}`,
		about: `8 tunnels in which the ${direction === 'up' ? 'upstream' : 'client'} never reads, and the other end sends for as long as anything is taken`,
		group: 'stalled',
		load: ['stalled', '--tunnels', '8', '--direction', direction],
		ownTime: true,
		contestants: ['direct', 'http-proxy', 'splice', 'sockmap', 'auto', 'haproxy', 'nginx', ...(direction === 'up' ? ['textbook'] : [])],
	})),
];

/** Combinations that would say nothing, and why. */
export const leftOut: ReadonlyArray<readonly [what: string, why: string]> = [
	['echo 500 × 2 MiB, 4000 × 128 KiB and 4000 × 2 MiB', 'half a gigabyte and more would be on the way at once: that measures memory pressure'],
	['more than 9,000 idle tunnels', 'each takes two descriptors of a proxy, of which a process may have 20,000 here'],
];

function echo(tunnels: number, size: string, contestants: readonly string[]): Trial {
	return {
		name: `echo ${tunnels} × ${size}`,
		about: `${tunnels} ${tunnels === 1 ? 'tunnel' : 'tunnels'}, in each a message of ${size} goes there and back, and then the next`,
		group: 'echo',
		// With many tunnels each has few messages a second, and `auto` wants to see some of them.
		load: ['echo', '--tunnels', String(tunnels), '--size', String(bytesOf(size)), ...(tunnels > 1 ? ['--warmup', tunnels > 64 ? '2' : '1'] : [])],
		contestants,
	};
}

function bulk(streams: number, direction: 'up' | 'down' | 'both', contestants: readonly string[]): Trial {
	const way = {up: 'from the client to the upstream', down: 'from the upstream to the client', both: 'both ways at once'}[direction];
	return {
		name: `bulk ${streams} ${direction}`,
		about: `${streams} ${streams === 1 ? 'stream' : 'streams'}, as much as fits, ${way}`,
		group: 'bulk',
		load: ['bulk', '--tunnels', String(streams), '--direction', direction],
		contestants,
	};
}

function idle(tunnels: number, contestants: readonly string[]): Trial {
	const patience = 90;
	return {
		name: `idle ${tunnels}`,
		about: `${tunnels} tunnels, an echo in each, and then nothing: for ${patience} seconds where Node is in it, which gives memory back when it has been idle for a while`,
		group: 'idle',
		load: ['idle', '--tunnels', String(tunnels)],
		patience,
		contestants,
	};
}

export function bytesOf(size: string): number {
	const [, number, unit] = /^(\d+) (B|KiB|MiB)$/u.exec(size)!;
	return Number(number) * {B: 1, KiB: 1024, MiB: 1024 ** 2}[unit as 'B' | 'KiB' | 'MiB'];
}
