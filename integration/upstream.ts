import {once} from 'node:events';
import net, {type AddressInfo} from 'node:net';
import type {ExecutionContext} from 'ava';
import {until, within} from './until.ts';
import {ignore, readHead} from './wire.ts';

/** A TCP server on a free loopback port, whose connections can be asked for by the port they come from. */
export type Upstream = {
	readonly port: number;

	/** The connection from that local port of the proxy. */
	accepted(fromPort: number): Promise<net.Socket>;

	/** The next connection that this method has not returned yet. */
	next(): Promise<net.Socket>;

	/** How many connections are open now. */
	open(): number;
};

export type UpstreamOptions = {
	readonly host?: string;

	/** A free one, if not given. */
	readonly port?: number;

	/** Called as soon as a connection is there, and after its 101 where one is due. */
	readonly onConnection?: (socket: net.Socket) => void;

	/** What answers an upgrade request, in one segment. Without it this is a bare TCP server, which reads nothing by itself. */
	readonly switching?: string | Uint8Array;
};

/** Answers what an upgrade to `websocket` is due, and no more. */
export const switchingProtocols = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

export async function startUpstream(t: ExecutionContext, options: UpstreamOptions = {}): Promise<Upstream> {
	const {host = '127.0.0.1', port = 0, onConnection, switching} = options;
	const sockets = new Set<net.Socket>();
	const ready = new Map<number, net.Socket>();
	const unclaimed: net.Socket[] = [];

	const server = net.createServer({allowHalfOpen: true, noDelay: true}, async socket => {
		const port = socket.remotePort!;
		sockets.add(socket);
		socket.once('close', () => {
			sockets.delete(socket);
			ready.delete(port);
		});
		socket.on('error', ignore);
		try {
			if (switching !== undefined) {
				await readHead(socket);
				socket.write(switching);
			}
		} catch {
			return; // Gone before it asked.
		}

		ready.set(port, socket);
		unclaimed.push(socket);
		onConnection?.(socket);
	});
	server.listen(port, host);
	await once(server, 'listening');

	t.teardown(async () => {
		for (const socket of sockets) {
			socket.destroy();
		}

		server.close();
		await within('the upstream is closed', once(server, 'close'));
	});

	return {
		port: (server.address() as AddressInfo).port,
		async accepted(fromPort) {
			await until(`a connection from port ${fromPort} is accepted`, () => ready.has(fromPort));
			return ready.get(fromPort)!;
		},
		async next() {
			await until('a connection is accepted', () => unclaimed.length > 0);
			return unclaimed.shift()!;
		},
		open: () => sockets.size,
	};
}

/** Sends back what it gets, the FIN too. */
export function echo(socket: net.Socket): void {
	socket.pipe(socket);
}
