import {type Socket} from 'node:net';
import {Roster, type Member} from './roster.ts';
import {tcpHandle} from './internals.ts';
import {withoutTraffic} from './traffic.ts';

/**
To be called at a `pause`, to notice the reset of a socket that is not being read because the other end of its tunnel is slow.

Once Node has stopped reading, libuv does not look at the socket any more, and would find the reset only when the other end has caught up, if ever. So sockets that stay paused are asked from time to time. One timer does for all, and there is none while no tunnel is stalled.
*/
export function watchStalled(side: Stallable): void {
	stalled.add(side);
	timer ??= setInterval(askAll, interval).unref();
}

/**
Nobody needs to know about it any more.
*/
export function forgetStalled(side: Stallable): void {
	stalled.delete(side);
}

export type Stallable = Member & {readonly socket: Socket};

function askAll(): void {
	for (const side of stalled) {
		const {socket} = side;
		if (socket.readableFlowing !== false || socket.destroyed) {
			stalled.delete(side);
		} else {
			ask(socket);
		}
	}

	if (stalled.size === 0) {
		clearInterval(timer);
		timer = undefined;
	}
}

// A write of nothing sends nothing, and still fails after a reset. TCP lets nobody write after a FIN of ours, and while bytes are queued libuv looks anyway.
function ask(socket: Socket): void {
	const handle = tcpHandle(socket);
	if (handle?.writeQueueSize === 0 && socket.writableLength === 0 && !socket.writableEnded && socket.writableCorked === 0) {
		withoutTraffic(() => {
			socket.write(nothing);
		});
	}
}

const stalled = new Roster<Stallable>();
const nothing = new Uint8Array();
const interval = 1000;
let timer: NodeJS.Timeout | undefined;
