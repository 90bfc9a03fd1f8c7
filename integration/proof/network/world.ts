import {execFile, execFileSync} from 'node:child_process';
import fs from 'node:fs';
import process from 'node:process';
import {promisify} from 'node:util';
import type {Scope} from './programs.ts';

export type Family = 4 | 6;

export const families: readonly Family[] = [4, 6];

/** One end of a cable. */
export type Plug = {
	readonly namespace: string;
	readonly device: string;
	readonly address: string;
};

/** From a far end to the proxy. */
export type Cable = {
	readonly far: Plug;
	readonly near: Plug;
};

export type Side = 'client' | 'upstream';

/** Three network namespaces and the cables between them: client — proxy — upstream. Nothing leads out of it, so all worlds have the same addresses. */
export type World = {
	readonly family: Family;
	readonly proxy: string;
	readonly cables: Readonly<Record<Side, Cable>>;

	/** The blocks of addresses that a proxy has to allow here. */
	readonly blocks: readonly string[];
};

export type WorldOptions = {
	/** Joins the two ends. Default: a pair of veth. */
	readonly join?: (cable: Cable) => Promise<void>;
};

export async function makeWorld(scope: Scope, family: Family, {join = joinWithVeth}: WorldOptions = {}): Promise<World> {
	await removeAbandoned();
	const name = `${prefix}${process.pid}-${++worlds}`;
	const proxy = `${name}-proxy`;
	const cable = (side: Side, subnet: number): Cable => ({
		far: {namespace: `${name}-${side}`, device: 'proxy', address: addressOf(family, subnet, 1)},
		near: {namespace: proxy, device: side, address: addressOf(family, subnet, 2)},
	});
	const cables = {client: cable('client', 1), upstream: cable('upstream', 2)};

	await addNamespace(scope, proxy);
	for (const cable of Object.values(cables)) {
		/* eslint-disable no-await-in-loop */
		await addNamespace(scope, cable.far.namespace);
		await join(cable);
		await plugIn(family, cable.near);
		await plugIn(family, cable.far);
		/* eslint-enable no-await-in-loop */
	}

	return {family, proxy, cables, blocks: [family === 4 ? '198.18.0.0/15:*' : '[2001:db8::/32]:*']};
}

/**
The machine at the far end is switched off and on again: its connections are gone without a word, its address is the same.
Whatever was to be killed with it is killed by the function, when the cable is gone and nothing gets out any more.
*/
export async function reboot({family, cables}: World, side: Side, kill: () => Promise<void>): Promise<void> {
	const {far, near} = cables[side];
	await ip('-netns', near.namespace, 'link', 'delete', near.device);
	await kill();
	await forgetOrphans(far.namespace);
	await ip('netns', 'delete', far.namespace);
	await ip('netns', 'add', far.namespace);
	await ip('-netns', far.namespace, 'link', 'set', 'lo', 'up');
	await joinWithVeth(cables[side]);
	await plugIn(family, near);
	await plugIn(family, far);
}

/** What the killed have not been able to say is soon not tried any more. A namespace stays as long as somebody in it tries. */
export async function forgetOrphans(namespace: string): Promise<void> {
	await sysctl(namespace, 'ipv4/tcp_orphan_retries', '1');
}

/** Pulls the plug at the far end, or puts it in again. */
export async function setLink({far}: Cable, state: 'up' | 'down'): Promise<void> {
	await ip('-netns', far.namespace, 'link', 'set', far.device, state);
}

export async function ip(...words: string[]): Promise<void> {
	await promisify(execFile)('ip', words);
}

export async function tc(namespace: string, ...words: string[]): Promise<string> {
	const {stdout} = await promisify(execFile)('tc', ['-netns', namespace, ...words]);
	return stdout;
}

/** What a command says in a namespace. */
export async function runIn(namespace: string, ...command: string[]): Promise<string> {
	const {stdout} = await promisify(execFile)('ip', ['netns', 'exec', namespace, ...command]);
	return stdout;
}

/** Sets a variable of the namespace. Sockets made later go by it. */
export async function sysctl(namespace: string, name: string, value: string): Promise<void> {
	await runIn(namespace, 'sh', '-c', 'echo "$2" >"/proc/sys/net/$1"', 'sh', name, value);
}

/** Counters of the TCP of a namespace since it was made, by name: `RetransSegs`, `InErrs`… */
export async function tcpCounters(namespace: string): Promise<Readonly<Record<string, number>>> {
	const counters = await runIn(namespace, 'cat', '/proc/net/snmp');
	const [names, values] = counters.split('\n').filter(line => line.startsWith('Tcp:')).map(line => line.split(' ').slice(1));
	return Object.fromEntries(names!.map((name, index) => [name, Number(values![index])]));
}

/** All four ends of the two cables. */
export function plugs({cables}: World): readonly Plug[] {
	return Object.values(cables).flatMap(({far, near}) => [far, near]);
}

/** Why no such world can be made here, if so. */
export function impossibleWorld(): string | undefined {
	if (process.platform !== 'linux') {
		return 'this is not Linux';
	}

	const name = `${prefix}${process.pid}-0`;
	try {
		execFileSync('ip', ['netns', 'add', name], {stdio: 'pipe'});
	} catch (error) {
		return `no network namespace can be made here (${firstLine(error)})`;
	}

	try {
		execFileSync('ip', ['-netns', name, 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far'], {stdio: 'pipe'});
		return undefined;
	} catch (error) {
		return `there is no veth here (${firstLine(error)})`;
	} finally {
		execFileSync('ip', ['netns', 'delete', name]);
	}
}

/** The namespaces of this process that exist now. */
export function ours(): readonly string[] {
	return namespaces().filter(name => name.startsWith(`${prefix}${process.pid}-`));
}

async function addNamespace(scope: Scope, name: string): Promise<void> {
	await ip('netns', 'add', name);
	scope.teardown(async () => {
		await ip('netns', 'delete', name);
	});
	// The self-test of the engines talks to itself.
	await ip('-netns', name, 'link', 'set', 'lo', 'up');
}

async function joinWithVeth({far, near}: Cable): Promise<void> {
	await ip('link', 'add', far.device, 'netns', far.namespace, 'type', 'veth', 'peer', 'name', near.device, 'netns', near.namespace);
	// What is lost, late or doubled is a packet then and not 64 KiB of them, as on a cable.
	for (const {namespace, device} of [far, near]) {
		await ip('-netns', namespace, 'link', 'set', device, 'gso_max_segs', '1'); // eslint-disable-line no-await-in-loop
	}
}

async function plugIn(family: Family, {namespace, device, address}: Plug): Promise<void> {
	if (family === 6) {
		// An address of IPv6 does not survive its link going down, unless it is asked to.
		await sysctl(namespace, `ipv6/conf/${device}/keep_addr_on_down`, '1');
		await ip('-netns', namespace, 'address', 'add', `${address}/64`, 'dev', device, 'nodad');
	} else {
		await ip('-netns', namespace, 'address', 'add', `${address}/30`, 'dev', device);
	}

	await ip('-netns', namespace, 'link', 'set', device, 'up');
}

/** Of the addresses for benchmarks and for documentation, which nobody has. */
function addressOf(family: Family, subnet: number, host: number): string {
	return family === 4 ? `198.18.${subnet}.${host}` : `2001:db8:0:${subnet}::${host}`;
}

/** What a run has left that was killed. Whoever has the number of its process now keeps them alive until next time. */
async function removeAbandoned(): Promise<void> {
	const abandoned = namespaces().filter(name => {
		const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length).split('-', 1)[0]) : undefined;
		return pid !== undefined && pid !== process.pid && !fs.existsSync(`/proc/${pid}`);
	});
	for (const name of abandoned) {
		try {
			await ip('netns', 'delete', name); // eslint-disable-line no-await-in-loop
		} catch {
			// Somebody else has seen it too.
		}
	}
}

function namespaces(): string[] {
	try {
		return fs.readdirSync('/run/netns');
	} catch {
		return []; // Nobody has ever made one.
	}
}

/** What a command had to complain about. */
export function firstLine(error: unknown): string {
	const {stderr, message} = error as Error & {readonly stderr?: Uint8Array};
	return (stderr === undefined || stderr.length === 0 ? message : String(stderr)).trim().split('\n', 1)[0]!;
}

let worlds = 0;

const prefix = 'sockmap-proof-';
