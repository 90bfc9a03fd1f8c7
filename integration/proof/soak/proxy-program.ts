import {createServer} from 'node:http';
import net, {type AddressInfo} from 'node:net';
import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';
import httpProxy from 'http-proxy';
import {sockmap, type Engine, type LaneStats, type Options, type Refusal, type Tunnel, type TunnelStats} from '../../../plugin/index.ts';
import {seeded} from '../../random.ts';
import {ignore} from '../../wire.ts';

// A proxy with one engine, as a process of its own: CONNECT and upgrades at one port, and at another one pairs that are spliced by hand.
// Both far ends of a tunnel have the same loopback address, by which it is known to all.

export type ProgramOptions = {
	readonly engine: Engine | 'auto';
	readonly upstreamPort: number;
	readonly seed?: number;

	/** More options of the plugin. */
	readonly plugin?: Options;
};

export type Message =
	| {readonly type: 'ready'; readonly httpPort: number; readonly pairPort: number}
	| {readonly type: 'opened'; readonly address: string}
	| {readonly type: 'close'; readonly address: string; readonly stats: TunnelStats; readonly skipped: readonly Refusal[]}
	| {readonly type: 'stats'; readonly address: string; readonly stats: TunnelStats | undefined}
	| {readonly type: 'lanes'; readonly lanes: readonly LaneStats[]}
	| {readonly type: 'open'; readonly tunnels: number};

export type Command =
	/** Answer with `stats` of now. */
	| {readonly type: 'stats'; readonly address: string}

	/** Answer with the `lanes` of all open tunnels. */
	| {readonly type: 'lanes'}

	/** Close everything, and end once nothing is left that keeps the process alive. */
	| {readonly type: 'finish'};

const {engine, upstreamPort, seed = 1, plugin} = JSON.parse(process.argv[2]!) as ProgramOptions;
const random = seeded(seed);
const open = new Map<string, Tunnel>();

const proxy = httpProxy.createProxyServer();
proxy.on('error', ignore);
const tunnels = sockmap(proxy, {engine, allow: [`127.0.0.0/8:${upstreamPort}`], ...plugin});
tunnels.on('tunnel', tunnel => {
	const address = tunnel.client.remoteAddress!;
	open.set(address, tunnel);
	addresses.set(tunnel, address);
	// No end sends its FIN before it is told that the tunnel is open. Some are told at once, and may be over before the promotion.
	if (random() < 0.1) {
		tell({type: 'opened', address});
	} else {
		undecided.add(tunnel);
	}
});
for (const event of ['promoted', 'kept'] as const) {
	tunnels.on(event, tunnel => {
		if (undecided.delete(tunnel)) {
			tell({type: 'opened', address: addresses.get(tunnel)!});
		}
	});
}

tunnels.on('close', (tunnel, stats) => {
	const address = addresses.get(tunnel)!;
	open.delete(address);
	undecided.delete(tunnel);
	tell({type: 'close', address, stats, skipped: tunnel.skipped});
});
const undecided = new Set<Tunnel>();
const addresses = new WeakMap<Tunnel, string>();

const httpServer = createServer();
httpServer.on('upgrade', (request, socket, head) => {
	proxy.ws(request, socket, head, {target: `http://${(socket as net.Socket).remoteAddress!}:${upstreamPort}`});
});
httpServer.on('connect', async (request, socket, head) => {
	await tunnels.connect(request, socket, head);
});

const pairServer = net.createServer({allowHalfOpen: true, pauseOnConnect: true}, client => {
	const upstream = net.connect({host: client.remoteAddress!, port: upstreamPort, allowHalfOpen: true});
	upstream.once('connect', async () => {
		// At once, or in the midst of the traffic of pipes that are there already.
		if (random() < 0.7) {
			client.pipe(upstream);
			upstream.pipe(client);
			await wait(random() * random() * 100);
		}

		tunnels.splice(client, upstream);
	});
});

for (const server of [httpServer, pairServer]) {
	server.listen({port: 0, host: '127.0.0.1', backlog: 1024}, () => {
		if (httpServer.listening && pairServer.listening) {
			tell({type: 'ready', httpPort: portOf(httpServer), pairPort: portOf(pairServer)});
		}
	});
}

// Whoever has started us is gone.
process.once('disconnect', () => {
	process.exit(1);
});

process.on('message', async (command: Command) => {
	if (command.type === 'stats') {
		tell({type: 'stats', address: command.address, stats: open.get(command.address)?.stats()});
		return;
	}

	if (command.type === 'lanes') {
		tell({
			type: 'lanes', lanes: [...open.values()].flatMap(tunnel => {
				const {clientToUpstream, upstreamToClient} = tunnel.stats();
				return [clientToUpstream, upstreamToClient];
			}),
		});
		return;
	}

	tell({type: 'open', tunnels: tunnels.stats().open});
	httpServer.close();
	pairServer.close();
	await tunnels.close();
	process.removeAllListeners('disconnect');
	process.disconnect();
});

function tell(message: Message): void {
	process.send!(message);
}

function portOf(server: net.Server): number {
	return (server.address() as AddressInfo).port;
}
