import {once} from 'node:events';
import net, {type AddressInfo} from 'node:net';
import process from 'node:process';
import {lookBehindEnd} from '../../../plugin/connection.ts';
import {pattern, PatternReader} from '../../pattern.ts';
import {logarithmic, seeded} from '../../random.ts';
import {switchingProtocols} from '../../upstream.ts';
import {
	ignore, read, readHead, receiveQueue, textOf,
} from '../../wire.ts';

// One side of many tunnels as a program of its own, which can be killed or stopped: the clients of a proxy, or what they connect to.
// It sends what follows from the position, checks what comes, and tells its parent how far it is.

/** What one end of a tunnel does. */
export type Talk = {
	/** As much as the other one takes, a little now and then, or nothing. */
	readonly send: 'bulk' | 'chat' | 'nothing';

	/** Whether it goes on reading when it is told to stop by `deafen`. */
	readonly read: boolean;
};

/** A tunnel to be opened: how the proxy is asked for it, and what both ends do then. */
export type Opening = {
	readonly id: number;
	readonly request: string;
	readonly client: Talk;
	readonly upstream: Talk;
};

export type Order =
	/** For clients: open these through the proxy at that port. Answered with `opened`, or `refused`, for each. */
	| {readonly type: 'open'; readonly port: number; readonly openings: readonly Opening[]}

	/** Send no more, and end what was sent. */
	| {readonly type: 'end'; readonly ids: readonly number[]}
	| {readonly type: 'reset'; readonly ids: readonly number[]}

	/** Those that do not go on reading stop now. */
	| {readonly type: 'deafen'; readonly ids: readonly number[]}

	/** Read, whatever was said before. */
	| {readonly type: 'read'; readonly ids: readonly number[]}

	/** Exit. */
	| {readonly type: 'leave'};

export type Report = {
	readonly id: number;

	/** Bytes that the kernel has accepted. */
	readonly sent: number;

	/** Bytes that came, all of them right unless there is a problem. */
	readonly received: number;

	/** Whether it has stopped reading, and something is left in the kernel for it to read. */
	readonly isDeaf: boolean;

	/** What it has seen of the end: `FIN` or an errno, in this order. */
	readonly endings: readonly string[];
	readonly isClosed: boolean;
	readonly problem?: string;
};

export type Saying =
	| {readonly type: 'listening'; readonly port: number}
	| {readonly type: 'opened'; readonly id: number; readonly localPort: number}
	| {readonly type: 'refused'; readonly id: number; readonly text: string}
	| {readonly type: 'reports'; readonly reports: readonly Report[]};

class Talker {
	readonly #id: number;
	#sent = 0;
	#problem: string | undefined;
	#isEnding = false;
	#isToBeDeaf = false;
	#isDeaf = false;
	#hasChanged = true;
	readonly #endings: string[] = [];
	readonly #socket: net.Socket;
	readonly #talk: Talk;
	readonly #origin: number;
	readonly #random: () => number;
	readonly #reader: PatternReader;

	constructor(id: number, socket: net.Socket, talk: Talk, side: 'client' | 'upstream') {
		this.#id = id;
		this.#socket = socket;
		this.#talk = talk;
		this.#origin = originOf(id, side);
		this.#random = seeded(this.#origin);
		this.#reader = new PatternReader(originOf(id, side === 'client' ? 'upstream' : 'client'));
		socket.on('data', chunk => {
			this.#take(chunk);
		});
		socket.once('end', () => {
			this.#saw(lookBehindEnd(socket)?.reset?.code ?? 'FIN');
			this.end();
		});
		socket.on('error', ({code}: NodeJS.ErrnoException) => {
			this.#saw(code ?? 'error');
		});
		socket.once('close', () => {
			this.#hasChanged = true;
		});
		// Leaving the paused mode, in which the handshake was read, takes a turn.
		setImmediate(() => {
			this.read();
			this.#send();
		});
	}

	read(): void {
		this.#isToBeDeaf = false;
		this.#isDeaf = false;
		this.#socket.resume();
	}

	// Not from the start: a tunnel whose bytes nobody takes is not promoted.
	deafen(): void {
		if (!this.#talk.read) {
			this.#socket.pause();
			this.#isToBeDeaf = true;
		}
	}

	end(): void {
		if (!this.#isEnding) {
			this.#isEnding = true;
			this.#socket.end();
		}
	}

	reset(): void {
		this.#isEnding = true;
		this.#socket.resetAndDestroy();
	}

	/** None if nothing has changed since the last one. */
	report(): Report | undefined {
		// Node goes on reading until its own buffer is full.
		if (this.#isToBeDeaf && !this.#isDeaf && this.#socket.readableLength >= this.#socket.readableHighWaterMark && receiveQueue(this.#socket) > 0) {
			this.#isDeaf = true;
			this.#hasChanged = true;
		}

		if (!this.#hasChanged) {
			return undefined;
		}

		this.#hasChanged = false;
		return {
			id: this.#id, sent: this.#sent, received: this.#reader.received, isDeaf: this.#isDeaf, endings: this.#endings, isClosed: this.#socket.closed,
			...(this.#problem !== undefined && {problem: this.#problem}),
		};
	}

	#take(chunk: Uint8Array): void {
		this.#hasChanged = true;
		try {
			this.#reader.take(chunk);
		} catch (error) {
			this.#problem ??= (error as Error).message;
			this.#socket.destroy();
		}
	}

	#saw(ending: string): void {
		this.#endings.push(ending);
		this.#hasChanged = true;
	}

	#send(): void {
		if (this.#isEnding || this.#talk.send === 'nothing') {
			return;
		}

		const isBulk = this.#talk.send === 'bulk';
		const size = logarithmic(this.#random, 1, isBulk ? 262_144 : 2000);
		this.#socket.write(pattern(this.#origin, this.#sent, size), error => {
			if (error) {
				return;
			}

			this.#sent += size;
			this.#hasChanged = true;
			if (isBulk) {
				this.#send();
			} else {
				setTimeout(() => {
					this.#send();
				}, this.#random() * 5);
			}
		});
	}
}

// Both directions of all tunnels start somewhere else in the pattern.
function originOf(id: number, side: 'client' | 'upstream'): number {
	return ((id * 2) + (side === 'client' ? 0 : 1)) * 7919;
}

const talkers = new Map<number, Talker>();

setInterval(() => {
	const reports = [...talkers.values()].map(talker => talker.report()).filter(report => report !== undefined);
	if (reports.length > 0) {
		say({type: 'reports', reports});
	}

	for (const {id, isClosed} of reports) {
		if (isClosed) {
			talkers.delete(id);
		}
	}
}, 10);

process.on('message', async (order: Order) => {
	if (order.type === 'leave') {
		process.exit();
	}

	if (order.type === 'open') {
		await Promise.all(order.openings.map(async opening => open(order.port, opening)));
		return;
	}

	for (const id of order.ids) {
		talkers.get(id)?.[order.type]();
	}
});
process.on('disconnect', () => {
	process.exit();
});

if (process.argv[2] === 'upstreams') {
	await listenForTunnels(Number(process.argv[3]));
}

async function open(port: number, {id, request, client, upstream}: Opening): Promise<void> {
	const socket = net.connect({
		host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true,
	});
	socket.on('error', ignore);
	try {
		await once(socket, 'connect');
		socket.write(request);
		const head = await readHead(socket);
		if (!/^HTTP\/1\.1 (?:101|200) /u.test(head)) {
			throw new Error(head);
		}

		// What the other end is to do; its answer proves that it knows.
		socket.write(JSON.stringify({id, ...upstream}).padEnd(introduction));
		await read(socket, 1);
	} catch (error) {
		socket.destroy();
		say({type: 'refused', id, text: (error as Error).message});
		return;
	}

	talkers.set(id, new Talker(id, socket, client, 'client'));
	say({type: 'opened', id, localPort: socket.localPort!});
}

/** At one port for upgrades and for CONNECT: which of them it is shows in the first byte. */
async function listenForTunnels(port: number): Promise<void> {
	const server = net.createServer({allowHalfOpen: true, noDelay: true}, async socket => {
		socket.on('error', ignore);
		try {
			let first = await read(socket, 1);
			if (textOf(first) === 'G') {
				await readHead(socket);
				socket.write(switchingProtocols);
				first = await read(socket, 1);
			}

			const {id, ...talk} = JSON.parse(textOf(first) + textOf(await read(socket, introduction - 1))) as Talk & {readonly id: number};
			socket.write('!');
			talkers.set(id, new Talker(id, socket, talk, 'upstream'));
		} catch {
			socket.destroy(); // Gone before it was one.
		}
	});
	server.listen(port, '127.0.0.1');
	await once(server, 'listening');
	say({type: 'listening', port: (server.address() as AddressInfo).port});
}

function say(saying: Saying): void {
	if (process.connected) {
		process.send!(saying);
	}
}

/** Bytes with which a client introduces itself. */
const introduction = 64;
