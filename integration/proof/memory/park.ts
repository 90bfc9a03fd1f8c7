import fs from 'node:fs';
import {setTimeout as wait} from 'node:timers/promises';
import type {Engine} from '../../../plugin/index.ts';
import {compare, emptyTally, type Report, type Tally} from '../soak/compare.ts';
import {end, startLoad} from '../soak/load.ts';
import {startProxy, type Proxy} from '../soak/proxies.ts';
import type {Message} from '../soak/proxy-program.ts';

export type ParkOptions = {
	/** Without one there is no proxy: straight from the client to the upstream. */
	readonly engine: Engine | undefined;
	readonly tunnels: number;

	/** Bytes of each write. */
	readonly write: number;
	readonly reader: 'client' | 'upstream' | 'both' | 'either';

	/** Seconds after which writers that are still not blocked have had their time. */
	readonly seconds?: number;
	readonly env?: Readonly<Record<string, string>>;

	/** When all tunnels are open, before anybody writes. */
	readonly whenOpen?: (proxy: Proxy) => Promise<void>;

	/** When the writers are blocked, before anybody reads. */
	readonly whenBlocked?: (proxy: Proxy) => Promise<void>;
	readonly plugin?: Readonly<Record<string, number>>;

	/** Nobody reads at all: for tunnels that would not come to an end. */
	readonly forever?: boolean;
};

/** Bytes, in excess of what was there before. */
export type Parked = {
	/** Written by the senders and not read. */
	readonly payload: number;

	/** What TCP has charged its sockets for: `mem` of /proc/net/sockstat. */
	readonly sockets: number;
	readonly slab: number;

	/** What MemAvailable has lost, whatever it is for. */
	readonly unavailable: number;

	/** Resident memory of the proxy. */
	readonly process: number;
	readonly tally: Tally;
	readonly failures: readonly string[];
};

/** Lets senders run against readers that do not read, until they are blocked; says what that costs; and then lets everybody go on to the end. */
export async function park({engine, tunnels, write, reader, seconds = 15, env, whenOpen, whenBlocked, plugin, forever = false}: ParkOptions): Promise<Parked> {
	const load = await startLoad({seed: 1, tunnels, at_once: tunnels, seconds: 60, hang: 120, write, traffic: `stalled-${reader}`, held: 1});
	const proxy = engine === undefined ? undefined : startProxy(engine, {engine, upstreamPort: load.upstreamPort, ...(plugin && {plugin})}, {...(env && {env})});
	const failures: string[] = [];
	const tally = emptyTally();
	try {
		const {httpPort, pairPort} = proxy === undefined ? {httpPort: 0, pairPort: 0} : await proxy.ready;
		proxy?.child.on('message', (message: Message) => {
			if (message.type === 'opened') {
				load.say(`opened ${message.address}`);
			}
		});
		load.say(`proxy ${proxy?.name ?? 'plain'} ${httpPort} ${pairPort}`);
		const before = measure(proxy?.child.pid);
		load.say('go');

		const sent: Array<(answer: Sent) => void> = [];
		const joins: Array<Promise<void>> = [];
		const over = (async () => {
			for await (const object of load.objects) {
				const line = object as Report | Sent | {readonly milliseconds: number};
				if ('opened' in line && 'sent' in line && typeof line.sent === 'number') {
					sent.shift()!(line);
				} else if ('plan' in line) {
					const fail = (text: string) => {
						failures.push(text);
					};

					if (line.failed !== undefined && proxy === undefined) {
						fail(line.what);
					} else if (proxy) {
						joins.push(compare(line, proxy, tally, fail));
					}
				}
			}
		})();

		const ask = async (): Promise<Sent> => new Promise(resolve => {
			sent.push(resolve);
			load.say('sent');
		});
		await untilOpen(tunnels, ask);
		if (proxy) {
			await whenOpen?.(proxy);
		}

		load.say('begin');
		const payload = await untilBlocked(seconds, ask);
		const after = measure(proxy?.child.pid);
		if (proxy) {
			await whenBlocked?.(proxy);
		}

		if (!forever) {
			load.say('resume');
			await over;
			await Promise.all(joins);
		}

		return {
			payload, tally, failures,
			sockets: after.sockets - before.sockets, slab: after.slab - before.slab, unavailable: before.available - after.available, process: after.process - before.process,
		};
	} finally {
		await end([load.child, ...(proxy ? [proxy.child] : [])]);
	}
}

async function untilOpen(tunnels: number, ask: () => Promise<Sent>): Promise<void> {
	for (let opened = 0; opened < tunnels;) {
		({opened} = await ask()); // eslint-disable-line no-await-in-loop
		await wait(50); // eslint-disable-line no-await-in-loop
	}
}

/** Resolves with the bytes that were sent by then. */
async function untilBlocked(seconds: number, ask: () => Promise<Sent>): Promise<number> {
	const deadline = Date.now() + (seconds * 1000);
	let payload = 0;
	for (let quiet = 0; quiet < 3 && Date.now() < deadline;) {
		await wait(300); // eslint-disable-line no-await-in-loop
		const {sent} = await ask(); // eslint-disable-line no-await-in-loop
		quiet = sent === payload && payload > 0 ? quiet + 1 : 0;
		payload = sent;
	}

	return payload;
}

export function show({payload, sockets, slab, unavailable, process, tally}: Parked): string {
	const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
	return `${megabytes(payload)} written and not read, sockets ${megabytes(sockets)}, slab ${megabytes(slab)}, unavailable ${megabytes(unavailable)}, process ${megabytes(process)}; redirected ${megabytes(tally.redirected)}, spilled ${megabytes(tally.spilled)}`;
}

type Sent = {readonly sent: number; readonly opened: number};

function measure(pid: number | undefined) {
	const number = (file: string, pattern: RegExp) => Number(pattern.exec(fs.readFileSync(file, 'utf8'))!.groups!.number);
	return {
		sockets: 4096 * number('/proc/net/sockstat', /^TCP: .* mem (?<number>\d+)/mu),
		slab: 1024 * number('/proc/meminfo', /^Slab: +(?<number>\d+)/mu),
		available: 1024 * number('/proc/meminfo', /^MemAvailable: +(?<number>\d+)/mu),
		process: pid === undefined ? 0 : 1024 * number(`/proc/${pid}/status`, /^VmRSS:\s+(?<number>\d+)/mu),
	};
}
