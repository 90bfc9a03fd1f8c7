import {type Socket} from 'node:net';
import {internals} from './internals.ts';

/**
Calls back at each read and write of a socket. Returns what stops that.

A listener to `data` would tell of reads too, but would make the pipe share its data, and the tunnel stay in JavaScript.
*/
export function onTraffic(socket: Socket, listener: () => void): () => void {
	const {_unrefTimer: restartTimer} = internals(socket);
	const shadow = () => {
		if (!asking) {
			listener();
			restartTimer.call(socket);
		}
	};

	internals(socket)._unrefTimer = shadow;
	return () => {
		if (internals(socket)._unrefTimer === shadow) {
			delete (internals(socket) as Partial<ReturnType<typeof internals>>)._unrefTimer;
		}
	};
}

/**
Runs what writes to a socket without being traffic.
*/
export function withoutTraffic(write: () => void): void {
	asking = true;
	try {
		write();
	} finally {
		asking = false;
	}
}

let asking = false;
