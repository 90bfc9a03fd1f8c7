import {once} from 'node:events';
import {createServer, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';
import httpProxy from 'http-proxy';
import {descriptors} from '../../holdings.ts';
import {ignore} from '../../wire.ts';
import {answer} from './calls.ts';
import {
	capabilities, sockmap, type Engine, type Options, type Refusal, type Tunnel, type Tunnels, type TunnelStats,
} from 'http-proxy-sockmap';

// The proxy, as a program of its own that does what it is told. It has a server for each set of options, because an engine is an option.

export type Serving = {
	readonly host: string;
	readonly target: string;
	readonly options: Options;
};

/** A tunnel, by the ports of the server and of its client. */
export type Which = {readonly port: number; readonly clientPort: number};

export type Carried = {readonly engine: Engine; readonly skipped: readonly Refusal[]};

export type ProxyCalls = typeof calls;

type Running = {
	readonly server: Server;
	readonly tunnels: Tunnels;
	readonly known: Map<number, Tunnel>;
	readonly decided: Set<Tunnel>;
	readonly over: Map<Tunnel, TunnelStats>;
};

const running = new Map<number, Running>();
let before: readonly string[];

const calls = {
	/** Engines that work here. */
	engines: (): readonly Engine[] => (['stream', 'splice', 'sockmap'] as const).filter(engine => engine === 'stream' || capabilities()[engine].available),

	/** Resolves with the port of a new server. */
	async serve({host, target, options}: Serving): Promise<number> {
		before ??= ours();
		const proxy = httpProxy.createProxyServer({target});
		proxy.on('error', ignore); // The ends see it.
		const tunnels = sockmap(proxy, options);
		const server = createServer();
		server.on('upgrade', (request, socket, head) => {
			proxy.ws(request, socket, head);
		});
		server.on('connect', async (request, socket, head) => {
			await tunnels.connect(request, socket, head);
		});
		const known = new Map<number, Tunnel>();
		const decided = new Set<Tunnel>();
		tunnels.on('tunnel', tunnel => {
			known.set(tunnel.client.remotePort!, tunnel);
		});
		for (const event of ['promoted', 'kept'] as const) {
			tunnels.on(event, tunnel => {
				decided.add(tunnel);
			});
		}

		const over = new Map<Tunnel, TunnelStats>();
		tunnels.on('close', (tunnel, stats) => {
			over.set(tunnel, stats);
		});

		server.listen(0, host);
		await once(server, 'listening');
		const {port} = server.address() as AddressInfo;
		running.set(port, {
			server, tunnels, known, decided, over,
		});
		return port;
	},

	/** Resolves when the engine has the tunnel where it wants it. */
	async settled({port, clientPort}: Which): Promise<Carried> {
		const {known, decided} = running.get(port)!;
		let tunnel: Tunnel | undefined;
		while (!((tunnel = known.get(clientPort)) && decided.has(tunnel) && isSettled(tunnel))) {
			await wait(5); // eslint-disable-line no-await-in-loop
		}

		return {engine: tunnel.engine, skipped: tunnel.skipped};
	},

	stats: ({port, clientPort}: Which): TunnelStats => running.get(port)!.known.get(clientPort)!.stats(),

	/** The same, when the tunnel is over. */
	async closed({port, clientPort}: Which): Promise<TunnelStats> {
		const {known, over} = running.get(port)!;
		const tunnel = known.get(clientPort)!;
		while (!over.has(tunnel)) {
			await wait(5); // eslint-disable-line no-await-in-loop
		}

		return over.get(tunnel)!;
	},

	/** Bytes of memory that belong to the process. */
	memory: (): number => process.memoryUsage.rss(),

	/** Closes everything. Resolves with what is left all the same, after some patience. */
	async stop(): Promise<readonly string[]> {
		for (const {server, tunnels} of running.values()) {
			const closed = once(server, 'close');
			server.close();
			await tunnels.close({timeout: 500}); // eslint-disable-line no-await-in-loop
			server.closeAllConnections();
			await closed; // eslint-disable-line no-await-in-loop
		}

		running.clear();
		for (let patience = 500; patience > 0 && surplus().length > 0; patience--) {
			await wait(10); // eslint-disable-line no-await-in-loop
		}

		return surplus();
	},
};

answer(calls);

function isSettled(tunnel: Tunnel): boolean {
	const {clientToUpstream, upstreamToClient} = tunnel.stats();
	return tunnel.engine !== 'sockmap' || [clientToUpstream, upstreamToClient].every(({state}) => state === 'kernel');
}

/** What of our kind is open: a descriptor that something else may have got since is known by what it is. */
function ours(): readonly string[] {
	return descriptors().map(([, link]) => link).filter(link => /^(?:anon_inode|socket|pipe):/u.test(link));
}

function surplus(): string[] {
	const left = [...before];
	return ours().filter(link => {
		const index = left.indexOf(link);
		if (index !== -1) {
			left.splice(index, 1);
		}

		return index === -1;
	});
}
