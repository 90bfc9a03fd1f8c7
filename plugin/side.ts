import {type Socket} from 'node:net';
import {type End} from './carrier.ts';
import {look, lookBehindEnd} from './connection.ts';
import {internals} from './internals.ts';
import {type Stallable} from './stalled.ts';
import {type ConnectionStats, type LaneStats} from './stats.ts';
import {type Supervisor} from './supervise.ts';

/**
One end of a tunnel in Node's streams, and the direction that begins there.

One object for all that belongs to it: fields of the tunnel that are found by `client` or `upstream` would be looked up anew at each read and write.
*/
export class Side implements Stallable {
	readonly end: End;
	readonly socket: Socket;
	readonly supervisor: Supervisor;
	seat = -1;
	isClosed = false;

	/**
	Bytes that have come in this direction when its buffers are bounded, or bounded anew.
	*/
	boundAt: number;

	/**
	What TCP knew of the connection when it was asked last.
	*/
	connection: ConnectionStats | undefined;

	/**
	Whether nothing has been read or written since.
	*/
	isKnown = false;
	readonly #before: number;
	#read: number;
	#counted: number | undefined;

	constructor({end, socket, supervisor, boundAt}: Pick<Side, 'end' | 'socket' | 'supervisor' | 'boundAt'>) {
		this.end = end;
		this.socket = socket;
		this.supervisor = supervisor;
		this.#read = socket.bytesRead;
		// The bytes that came before the tunnel, headers mostly. What is in the buffer now belongs to it.
		this.#before = this.#read - socket.readableLength;
		this.boundAt = boundAt;
	}

	/**
	Bytes of the tunnel that have come from here.
	*/
	get bytes(): number {
		return (this.#counted ?? this.socket.bytesRead) - this.#before;
	}

	/**
	Whether any have come since this was asked last.
	*/
	hasRead(): boolean {
		const before = this.#read;
		this.#read = this.socket.bytesRead;
		return this.#read !== before;
	}

	/**
	Whether there were `boundAt` of them then.
	*/
	get isDue(): boolean {
		return this.#read - this.#before >= this.boundAt;
	}

	/**
	Bytes on their way out of Node.
	*/
	get queued(): number {
		return internals(this.socket)._handle?.writeQueueSize ?? 0;
	}

	/**
	What is discarded has not gone through the tunnel.
	*/
	stopCounting(): void {
		this.#counted ??= this.socket.bytesRead;
	}

	/**
	TCP knows nothing any more once a socket is closed, so what was seen last is kept.
	*/
	look(): void {
		this.#know(look(this.socket));
	}

	/**
	As its end has come. Returns the reset behind that, if it was one.
	*/
	lookBehindEnd(): NodeJS.ErrnoException | undefined {
		const seen = lookBehindEnd(this.socket);
		this.#know(seen?.connection);
		return seen?.reset;
	}

	lane(): LaneStats {
		const {bytes, socket: {readableEnded, destroyed}} = this;
		return {
			bytes,
			redirected: 0, spilled: 0, piped: 0, injected: 0, promotions: 0, spills: 0, // That is in the kernel.
			state: readableEnded || destroyed ? 'done' : 'stream',
		};
	}

	#know(connection: ConnectionStats | undefined): void {
		this.connection = connection ?? this.connection;
		this.isKnown = true;
	}
}
