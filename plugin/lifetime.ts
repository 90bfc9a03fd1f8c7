import {type Socket} from 'node:net';
import {getSystemErrorName} from 'node:util';
import {internals, tcpHandle} from './internals.ts';

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
	if (socket.readableEnded) {
		socket.destroySoon();
	} else {
		socket.once('end', () => {
			socket.destroySoon();
		});
	}
}

/**
A reset, where that is possible: a TLS or Unix socket is only closed.
*/
export function resetSocket(socket: Socket): void {
	// Libuv refuses to reset while a FIN waits for earlier bytes, and Node leaks the handle then.
	const finPending = socket.writableEnded && !socket.writableFinished;
	if (tcpHandle(socket) !== undefined && !finPending) {
		socket.resetAndDestroy();
	} else {
		socket.destroy();
	}
}

/**
The error that Node would have made of an errno of the kernel.
*/
export function networkError(errno: number): NodeJS.ErrnoException {
	const code = getSystemErrorName(-errno);
	return Object.assign(new Error(`read ${code}`), {code, errno: -errno, syscall: 'read'});
}
