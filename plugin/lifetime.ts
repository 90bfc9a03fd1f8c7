import {type Socket} from 'node:net';
import {getSystemErrorName} from 'node:util';
import {type End} from './carrier.ts';
import {internals, tcpHandle} from './internals.ts';
import {native} from './native.ts';
import {type Ending} from './stats.ts';

/**
Makes `end` fire on a socket that nobody reads any more, as it would have if its FIN had come through Node.

Once reading has stopped it never fires by itself, and http-proxy emits its own `close` from it.
*/
export function emitEnd(socket: Socket): void {
	if (socket.destroyed || socket.readableEnded) {
		return;
	}

	internals(socket)._handle?.readStop(); // Nothing may come after the end.
	socket.push(null);
	// Together they reach the end of a socket that flows, that is paused, and that somebody reads by hand.
	socket.resume();
	socket.read(0);
}

/**
Closes a socket in the order that listeners know: `end`, `finish`, `close`.
*/
export function endGracefully(socket: Socket): void {
	emitEnd(socket);
	afterEnd(socket, true, () => {
		// As `destroySoon()` does, but before a listener that may throw.
		if (socket.writableFinished) {
			socket.destroy();
			return;
		}

		// What has ended is not ended again: Node would make an error of it, with a stack, for nobody.
		if (!socket.writableEnded) {
			socket.end();
		}

		socket.prependOnceListener('finish', () => {
			socket.destroy();
		});
	});
}

/**
Does something once the `end` that is `due` has fired, or at once.
*/
export function afterEnd(socket: Socket, due: boolean, action: () => void): void {
	if (due && !socket.readableEnded && !socket.destroyed) {
		// First, because a listener that throws keeps those after it from being called.
		socket.prependOnceListener('end', action);
	} else {
		action();
	}
}

/**
A reset, where that is possible: a TLS or Unix socket is only closed, and so is, without the addon, one whose FIN waits for earlier bytes.
*/
export function resetSocket(socket: Socket): void {
	// Libuv refuses to reset while a FIN waits for earlier bytes, and Node leaks the handle then.
	const finPending = socket.writableEnded && !socket.writableFinished;
	const handle = tcpHandle(socket);
	if (handle !== undefined && !finPending) {
		socket.resetAndDestroy();
		return;
	}

	if (handle !== undefined) {
		native?.abort(handle.fd);
	}

	socket.destroy();
}

/**
Why a tunnel ends whose end `by` has failed. A peer that does not answer any more sends no reset, so it is the kernel that says so.
*/
export function failed(by: End, code: string | undefined): Ending {
	return code === undefined ? {reason: 'reset', by} : {reason: unreachable.has(code) ? 'dead' : 'reset', by, code};
}

/**
The error that Node would have made of an errno of the kernel.
*/
export function networkError(errno: number): NodeJS.ErrnoException {
	const code = getSystemErrorName(-errno);
	const syscall = code === 'EPIPE' ? 'write' : 'read';
	return Object.assign(new Error(`${syscall} ${code}`), {code, errno: -errno, syscall});
}

const unreachable: ReadonlySet<string> = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH']);
