import {once} from 'node:events';
import {createServer, type IncomingMessage, type Server, type ServerOptions} from 'node:http';
import type net from 'node:net';
import type {AddressInfo} from 'node:net';
import type {Duplex} from 'node:stream';
import type {ExecutionContext} from 'ava';
import httpProxy from 'http-proxy';
import {
	sockmap, type ConnectOptions, type Options, type Tunnel, type Tunnels, type TunnelStats,
} from '../plugin/index.ts';
import {within} from './until.ts';
import {ignore} from './wire.ts';

/** Http-proxy with the plugin on a free loopback port, in this process. */
export type RunningProxy = {
	readonly port: number;
	readonly proxy: httpProxy;
	readonly server: Server;
	readonly tunnels: Tunnels;

	/** Every tunnel that there was, the oldest first. */
	readonly opened: readonly Tunnel[];

	/** The tunnel of the client that connected from this local port, once it is known what carries it. */
	tunnelOf(client: net.Socket | number): Promise<Tunnel>;

	/** What the tunnel's `close` event said. */
	closeOf(tunnel: Tunnel): Promise<TunnelStats>;

	/** Closes everything. The test is over before, usually; it fails if something does not let itself be closed. */
	stop(): Promise<void>;
};

export type ProxyOptions = Options & {
	/** Where upgrades go. */
	readonly target?: string;

	/** More options of http-proxy. */
	readonly httpProxy?: httpProxy.ServerOptions;

	/** Where the server listens. Default: 127.0.0.1. */
	readonly host?: string;

	/** Options of the server. */
	readonly server?: ServerOptions;

	/** Whether requests go to `tunnels.forward()` in the place of `proxy.web()`. */
	readonly forward?: boolean;

	/** Options of each `tunnels.connect()`. */
	readonly connect?: ConnectOptions;

	/** Whether tunnels have to end up on `engine`, unless it is `auto`. Default: yes. */
	readonly strict?: boolean;
};

export async function startProxy(t: ExecutionContext, options: ProxyOptions = {}): Promise<RunningProxy> {
	const {target, httpProxy: proxyOptions, connect, strict = true, host = '127.0.0.1', forward = false, server: serverOptions = {}, ...pluginOptions} = options;
	const proxy = httpProxy.createProxyServer({...(target !== undefined && {target}), ...proxyOptions});
	const tunnels = sockmap(proxy, pluginOptions);
	proxy.on('error', ignore); // Without a listener it throws. Nothing is lost with it: the tests look at the ends.

	const server = createServer(serverOptions, async (request, response) => {
		if (forward) {
			await tunnels.forward(request, response);
		} else {
			proxy.web(request, response);
		}
	});
	server.on('upgrade', (request, socket, head) => {
		proxy.ws(request, socket, head);
	});
	server.on('connect', async (request: IncomingMessage, socket: Duplex, head) => {
		await tunnels.connect(request, socket, head, connect);
	});

	const known = new Map<number, Promise<Tunnel>>();
	const closes = new Map<Tunnel, Promise<TunnelStats>>();
	const waiting = new Map<number, (tunnel: Promise<Tunnel>) => void>();
	const opened: Tunnel[] = [];
	tunnels.on('tunnel', tunnel => {
		opened.push(tunnel);
		const decision = decided(tunnels, tunnel);
		const port = tunnel.client.remotePort!;
		closes.set(tunnel, closed(tunnels, tunnel));
		known.set(port, decision);
		waiting.get(port)?.(decision);
		tunnel.client.once('close', () => {
			known.delete(port);
		});
	});

	server.listen(0, host);
	await once(server, 'listening');

	let stopped: Promise<void> | undefined;
	const stop = async () => {
		server.close();
		const serverClosed = once(server, 'close');
		await within('every tunnel is closed', tunnels.close({timeout: 500}));
		server.closeAllConnections(); // Those that never became a tunnel.
		await within('server.close() completes', serverClosed);
	};

	const running: RunningProxy = {
		port: (server.address() as AddressInfo).port,
		proxy,
		server,
		tunnels,
		opened,
		async tunnelOf(client) {
			const port = typeof client === 'number' ? client : client.localPort!;
			const tunnel = await within(`a tunnel of the client at port ${port} is promoted or kept`, known.get(port) ?? new Promise<Tunnel>(resolve => {
				waiting.set(port, resolve);
			}));
			waiting.delete(port);
			const {engine = 'auto'} = pluginOptions;
			if (strict && engine !== 'auto') {
				t.is(tunnel.engine, engine, `the tunnel is on ${tunnel.engine}: ${JSON.stringify(tunnel.skipped)}`);
			}

			return tunnel;
		},
		async closeOf(tunnel) {
			return within(`tunnel ${tunnel.id} is closed`, closes.get(tunnel)!);
		},
		async stop() {
			stopped ??= stop();
			return stopped;
		},
	};
	t.teardown(running.stop);
	return running;
}

/** The tunnel, once it was promoted or kept. */
async function decided(tunnels: Tunnels, tunnel: Tunnel): Promise<Tunnel> {
	return new Promise(resolve => {
		const listener = (other: Tunnel) => {
			if (other === tunnel) {
				tunnels.off('promoted', listener);
				tunnels.off('kept', listener);
				tunnels.off('close', listener);
				resolve(tunnel);
			}
		};

		tunnels.on('promoted', listener);
		tunnels.on('kept', listener);
		tunnels.on('close', listener); // Too short for either: it stayed where it was.
	});
}

async function closed(tunnels: Tunnels, tunnel: Tunnel): Promise<TunnelStats> {
	return new Promise(resolve => {
		const listener = (other: Tunnel, stats: TunnelStats) => {
			if (other === tunnel) {
				tunnels.off('close', listener);
				resolve(stats);
			}
		};

		tunnels.on('close', listener);
	});
}
