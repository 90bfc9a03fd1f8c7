import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import net, {type AddressInfo} from 'node:net';
import {setTimeout as wait} from 'node:timers/promises';
import {pattern, PatternReader} from '../../pattern.ts';
import {
	ending, ignore, read, readHead, readSome,
} from '../../wire.ts';
import {answer} from './calls.ts';

// A far end of tunnels, as a program of its own: it dials the proxy or is dialled by it, and does what it is told on each connection.
// What it sends follows from the number of the tunnel and the position in the stream, so that the other end can check every byte.

export type Kind = 'connect' | 'upgrade';

export type Address = {readonly host: string; readonly port: number};

export type Dialling = {
	readonly number: number;
	readonly kind: Kind;
	readonly proxy: Address;
	readonly target: Address;
};

export type Sending = {
	readonly number: number;
	readonly length: number;

	/** Bytes of a write. Default: 16384. */
	readonly chunk?: number;

	/** Milliseconds after each. */
	readonly pause?: number;

	/** Whether the FIN comes after it. */
	readonly end?: boolean;
};

export type EndCalls = typeof calls;

type Connection = {
	readonly socket: net.Socket;
	readonly origin: number;
	readonly received: PatternReader;
	written: number;

	/** Of what was written, what the kernel has taken. */
	accepted: number;
};

const connections = new Map<number, Connection>();

const calls = {
	/** Takes tunnels from now on, of either kind. */
	async listen({host}: {readonly host: string}): Promise<number> {
		const server = net.createServer({allowHalfOpen: true, noDelay: true}, welcome).listen(0, host);
		await once(server, 'listening');
		return (server.address() as AddressInfo).port;
	},

	/** Opens a tunnel. Resolves with the local port when the proxy has said yes. */
	async open({number, kind, proxy, target}: Dialling): Promise<number> {
		const socket = net.connect({...proxy, allowHalfOpen: true, noDelay: true});
		await once(socket, 'connect');
		socket.on('error', ignore);
		const authority = `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`;
		socket.write(kind === 'connect' ? `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n` : upgradeRequest(authority));
		const head = await readHead(socket);
		const [status] = head.split('\r\n');
		if (!/^HTTP\/1\.1 (?:200|101) /u.test(status!)) {
			throw new Error(`The proxy says: ${status}`);
		}

		const name = Buffer.alloc(nameLength);
		name.writeUInt32BE(number);
		socket.write(name);
		add(number, socket, 'client');
		return socket.localPort!;
	},

	/** Resolves when the tunnel with that number has come here. */
	async accepted({number}: {readonly number: number}): Promise<void> {
		while (!connections.has(number)) {
			await wait(5); // eslint-disable-line no-await-in-loop
		}
	},

	/** Resolves when the kernel has taken it all. */
	async send({number, length, chunk = 16_384, pause = 0, end = false}: Sending): Promise<void> {
		const connection = connections.get(number)!;
		for (let left = length; left > 0;) {
			const size = Math.min(chunk, left);
			await write(connection, size); // eslint-disable-line no-await-in-loop
			left -= size;
			if (pause > 0) {
				await wait(pause); // eslint-disable-line no-await-in-loop
			}
		}

		if (end) {
			connection.socket.end();
		}
	},

	/** Sends as much as is taken, for so long. Resolves with the length. */
	async sendFor({number, ms}: {readonly number: number; readonly ms: number}): Promise<number> {
		const connection = connections.get(number)!;
		const over = wait(ms, 'over' as const);
		for (let winner; winner !== 'over';) {
			winner = await Promise.race([write(connection, 65_536), over]); // eslint-disable-line no-await-in-loop
		}

		return connection.written;
	},

	/** Reads and checks so many bytes more, or all up to the FIN. Resolves with the length of what was read. */
	async receive({number, length}: {readonly number: number; readonly length: number | 'all'}): Promise<number> {
		const {socket, received} = connections.get(number)!;
		const before = received.received;
		const goal = length === 'all' ? Number.POSITIVE_INFINITY : before + length;
		while (received.received < goal) {
			const chunk = await readSome(socket, goal - received.received); // eslint-disable-line no-await-in-loop
			if (chunk === undefined) {
				if (length !== 'all') {
					throw new Error(`The stream ended after ${received.received} bytes`);
				}

				break;
			}

			received.take(chunk);
		}

		return received.received - before;
	},

	/** `FIN` or the errno. */
	async ending({number}: {readonly number: number}): Promise<string> {
		return ending(connections.get(number)!.socket);
	},

	/** RST. */
	reset({number}: {readonly number: number}): void {
		connections.get(number)!.socket.resetAndDestroy();
	},

	progress({number}: {readonly number: number}): {readonly accepted: number; readonly received: number} {
		const {accepted, received} = connections.get(number)!;
		return {accepted, received: received.received};
	},

	/** How many connections there are. */
	connections: (): number => [...connections.values()].filter(({socket}) => !socket.closed).length,
};

answer(calls);

async function welcome(socket: net.Socket): Promise<void> {
	socket.on('error', ignore);
	try {
		let name = Buffer.from(await read(socket, nameLength));
		if (name.toString('latin1') === 'GET ') {
			socket.unshift(name);
			await readHead(socket);
			socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
			name = Buffer.from(await read(socket, nameLength));
		}

		add(name.readUInt32BE(), socket, 'upstream');
	} catch {
		socket.destroy(); // Gone before it said who it was.
	}
}

function add(number: number, socket: net.Socket, role: 'client' | 'upstream'): void {
	const origins = {client: number * 2003, upstream: (number * 2003) + 1001};
	connections.set(number, {
		socket, origin: origins[role], received: new PatternReader(origins[role === 'client' ? 'upstream' : 'client']), written: 0, accepted: 0,
	});
}

async function write(connection: Connection, length: number): Promise<void> {
	const {socket, origin, written} = connection;
	connection.written += length;
	return new Promise((resolve, reject) => {
		socket.write(pattern(origin, written, length), error => {
			if (error) {
				reject(error);
			} else {
				connection.accepted += length;
				resolve();
			}
		});
	});
}

function upgradeRequest(authority: string): string {
	return `GET / HTTP/1.1\r\nHost: ${authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`;
}

/** The number of a tunnel, its first bytes. A request begins with a letter, a number with zero. */
const nameLength = 4;
