import type net from 'node:net';
import type {ExecutionContext} from 'ava';
import type {Tunnel} from '../plugin/index.ts';
import {settled, type Carrier} from './engines.ts';
import {startProxy, type ProxyOptions, type RunningProxy} from './proxy.ts';
import {until} from './until.ts';
import {startUpstream, switchingProtocols} from './upstream.ts';
import {dial, readHead} from './wire.ts';

/** The two far ends of one tunnel, as plain TCP sockets: what the client writes, the upstream reads. */
export type Ends = {
	readonly client: net.Socket;
	readonly upstream: net.Socket;
	readonly tunnel: Tunnel;
};

/**
Waits until the tunnel has counted so many bytes each way. The relay counts what it has sent, and a reader can be faster than that.
*/
export async function untilCounted(tunnel: Tunnel, clientToUpstream: number, upstreamToClient: number): Promise<void> {
	await until('what went through is counted', () => {
		const stats = tunnel.stats();
		return stats.clientToUpstream.bytes === clientToUpstream && stats.upstreamToClient.bytes === upstreamToClient;
	});
}

export type Kind = 'upgrade' | 'connect';

export const kinds: readonly Kind[] = ['upgrade', 'connect'];

export type EndsMaker = {
	readonly running: RunningProxy;

	/** Opens a tunnel of that kind. It has been promoted (or kept), and no byte but the heads has passed. */
	open(kind: Kind, options?: OpenOptions): Promise<Ends>;
};

export type OpenOptions = {
	/** Also wait until the kernel has both lanes, where the engine is sockmap. */
	readonly inKernel?: boolean;

	/** How much Node reads ahead for a slow client. */
	readonly highWaterMark?: number;
};

/** A proxy with two upstreams: one that switches protocols, and one that is met by CONNECT. */
export async function startEnds(t: ExecutionContext, engine: Carrier | 'auto', options: ProxyOptions = {}): Promise<EndsMaker> {
	const upstreams = {
		upgrade: await startUpstream(t, {switching: switchingProtocols}),
		connect: await startUpstream(t),
	};
	const running = await startProxy(t, {
		engine, target: `http://127.0.0.1:${upstreams.upgrade.port}`, allow: [`127.0.0.1:${upstreams.connect.port}`], ...options,
	});

	return {
		running,
		async open(kind, {inKernel = false, ...socketOptions} = {}) {
			const client = await dial(t, running.port, socketOptions);
			client.write(kind === 'upgrade' ? upgradeRequest() : connectRequest(upstreams.connect.port));
			const [status] = lines(await readHead(client));
			if (status !== expected[kind]) {
				throw new Error(`${kind} was answered: ${status}`);
			}

			const tunnel = await running.tunnelOf(client);
			const upstream = await upstreams[kind].accepted(tunnel.upstream.localPort!);
			if (inKernel) {
				await settled(tunnel);
			}

			return {client, upstream, tunnel};
		},
	};
}

/** A WebSocket handshake, head to empty line. */
export function upgradeRequest(path = '/'): string {
	return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`;
}

export function connectRequest(port: number, host = '127.0.0.1'): string {
	return `CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`;
}

function lines(head: string): string[] {
	return head.split('\r\n');
}

const expected = {
	upgrade: 'HTTP/1.1 101 Switching Protocols',
	connect: 'HTTP/1.1 200 Connection Established',
};
