import type {ExecutionContext} from 'ava';
import {connectRequest, upgradeRequest} from '../../ends.ts';
import type {Carrier} from '../../engines.ts';
import {startProxyProcess, type ProxyElsewhere, type ProxyProcess} from '../../proxy-process.ts';
import {until, within} from '../../until.ts';
import type {Report, Talk} from './peer-program.ts';
import type {Peers} from './peers.ts';

/** What both ends of a tunnel do. */
export type Plan = {readonly client: Talk; readonly upstream: Talk};

/** A tunnel in a proxy of another process, between ends in two more. */
export type Strung = Plan & {
	/** Its number for the peers. */
	readonly id: number;

	/** Its number in the proxy. */
	readonly tunnel: number;
};

export type StartedProxy = ProxyProcess & {readonly port: number; readonly pid: number};

/** A proxy whose upgrades go to that port, and whose maps have just the room that is asked for. */
export async function startProxy(t: ExecutionContext, engine: Carrier, upstreamPort: number, capacity = 64): Promise<StartedProxy> {
	const proxy = startProxyProcess(t, {engine, capacity, target: `http://127.0.0.1:${upstreamPort}`});
	const {port} = await proxy.message('ready');
	return {...proxy, port, pid: proxy.child.pid!};
}

/** Asks for one tunnel for each plan, in turns by an upgrade and by CONNECT. Nobody waits for an answer here. */
export function ask(clients: Peers, proxyPort: number, upstreamPort: number, plans: readonly Plan[]): readonly number[] {
	const openings = plans.map((plan, index) => ({id: lastId + index + 1, request: index % 2 === 0 ? upgradeRequest() : connectRequest(upstreamPort), ...plan}));
	lastId += plans.length;
	clients.order({type: 'open', port: proxyPort, openings});
	return openings.map(({id}) => id);
}

/** What an end of a tunnel does. */
export const silent: Talk = {send: 'nothing', read: true};
export const chatting: Talk = {send: 'chat', read: true};
export const pushing: Talk = {send: 'bulk', read: true};
export const deaf: Talk = {send: 'nothing', read: false};

/** Opens one tunnel for each plan. They are in full traffic, and on the engine, when this resolves. */
export async function string(clients: Peers, proxy: ProxyElsewhere & {readonly port: number}, upstreamPort: number, {engine, plans}: {readonly engine: Carrier; readonly plans: readonly Plan[]}): Promise<readonly Strung[]> {
	// Ports are used again, numbers of tunnels are not.
	const {stats: {opened}} = await proxy.stats();
	const ids = ask(clients, proxy.port, upstreamPort, plans);
	return Promise.all(ids.map(async (id, index) => {
		const localPort = await clients.opened(id);
		const decided = await proxy.message('decided', message => message.clientPort === localPort && message.id > opened);
		if (decided.engine !== engine && !decided.isOver) {
			throw new Error(`The tunnel is on ${decided.engine}: ${JSON.stringify(decided.skipped)}`);
		}

		return {...plans[index]!, id, tunnel: decided.id};
	}));
}

/** Waits until both ends have told that their connection is closed. */
export async function closedAt(peers: Peers, id: number, limit = 30_000): Promise<Report> {
	await until(`the end of tunnel ${id} is closed: ${JSON.stringify(peers.report(id))}`, () => peers.report(id)?.isClosed === true, limit);
	return peers.report(id)!;
}

/** Whatever the end of a connection may look like. */
export const anyEnd = /^(?:FIN|ECONNRESET|EPIPE)$/u;

/** How the ends of a tunnel see that the proxy is gone. It has been cut, so that it must not look complete; only what is in Node's streams ends as connections of Node do. */
export function cut(engine: Carrier): RegExp {
	return engine === 'stream' ? anyEnd : /^(?:ECONNRESET|EPIPE)$/u;
}

/** Ends both directions of live tunnels, and checks that every byte that one end has sent has come to the other, and a FIN after it. */
export async function endExactly(t: ExecutionContext, clients: Peers, upstreams: Peers, tunnels: readonly Strung[]): Promise<void> {
	const ids = tunnels.map(({id}) => id);
	for (const peers of [clients, upstreams]) {
		peers.order({type: 'read', ids});
		peers.order({type: 'end', ids});
	}

	await Promise.all(ids.map(async id => {
		const [client, upstream] = await Promise.all([closedAt(clients, id), closedAt(upstreams, id)]);
		for (const {problem, endings} of [client, upstream]) {
			t.is(problem, undefined);
			t.deepEqual(endings, ['FIN']);
		}

		t.deepEqual([client.received, upstream.received], [upstream.sent, client.sent], `tunnel ${id}`);
	}));
}

/** Lets the proxy go that has no tunnel any more: it ends by itself, and has nothing to complain about. */
export async function letGo(t: ExecutionContext, proxy: ProxyProcess): Promise<void> {
	proxy.command({type: 'let go'});
	t.deepEqual(await within('the proxy exits', proxy.exit), {code: 0, signal: undefined, stderr: ''});
}

let lastId = 0;
