import {Buffer} from 'node:buffer';
import {type Socket} from 'node:net';
import {internals} from './internals.ts';

export type Tenant = {
	/**
	Bytes that this socket would have read and written since it was emptied.
	*/
	bytes(): {readonly read: number; readonly written: number};

	/**
	Somebody wrote to the socket. Call back when that is done.
	*/
	onWrite(bytes: Uint8Array, callback: () => void): void;

	/**
	Somebody ended the socket. Call back when that is done.
	*/
	onEnd(callback: () => void): void;

	/**
	Somebody reset it, or destroyed it with an error.
	*/
	onReset(code?: string): void;

	/**
	It is closed. `isClean` if both its directions had ended before.
	*/
	onClose(isClean: boolean): void;
};

/**
Keeps a socket alive for those who hold it while its bytes go elsewhere: it counts, times out, ends and closes as before, and tells who wants to end it.

`unread` bytes are those that Node has read and given back.
*/
export function makeShell(socket: Socket, unread: number, tenant: Tenant): void {
	const before = {read: socket.bytesRead - unread, written: socket.bytesWritten};
	Object.defineProperties(socket, {
		bytesRead: {configurable: true, get: () => before.read + tenant.bytes().read},
		bytesWritten: {configurable: true, get: () => before.written + tenant.bytes().written},
	});

	Object.assign(internals(socket), {
		_onTimeout: onTimeout(socket),
		_write(chunk: string | Uint8Array, encoding: BufferEncoding, callback: () => void) {
			tenant.onWrite(toBytes({chunk, encoding}), callback);
		},
		_writev(chunks: readonly Chunk[], callback: () => void) {
			tenant.onWrite(Buffer.concat(chunks.map(chunk => toBytes(chunk))), callback);
		},
		_final(callback: () => void) {
			tenant.onEnd(callback);
		},
		// Closing one of two descriptors would not send the RST that `resetAndDestroy()` promises.
		_reset() {
			tenant.onReset();
			return socket.destroy();
		},
	});

	if (socket.timeout) {
		socket.setTimeout(socket.timeout); // The running timer is bound to Node's own `_onTimeout`.
	}

	// Node must not answer the FIN of one direction with one of its own.
	socket.allowHalfOpen = true;
	// Before http-proxy's own listener, which ends the other socket.
	socket.prependListener('error', ({code}: NodeJS.ErrnoException) => {
		tenant.onReset(code);
	});
	socket.on('close', () => {
		tenant.onClose(socket.readableEnded && socket.writableFinished);
	});
}

// Traffic does not restart the timer any more, so the timer looks for traffic. It can be late by as much as it was set to.
function onTimeout(socket: Socket): () => void {
	const total = () => socket.bytesRead + socket.bytesWritten;
	let seen = total();
	let isReported = false;
	return () => {
		const isIdle = total() === seen;
		seen = total();
		internals(socket)._unrefTimer();
		if (isIdle && !isReported) {
			socket.emit('timeout');
		}

		isReported = isIdle;
	};
}

type Chunk = {readonly chunk: string | Uint8Array; readonly encoding: BufferEncoding};

// Sockets do not ask their streams to decode strings.
function toBytes({chunk, encoding}: Chunk): Uint8Array {
	return typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
}
