import {Socket} from 'node:net';
import {type End} from './carrier.ts';
import {internals} from './internals.ts';
import {forgetStalled, watchStalled, type Stallable} from './stalled.ts';
import {isTraffic} from './traffic.ts';

/**
Who looks after the two sockets of a tunnel while Node carries it.
*/
export type Supervisor = {
	onError(end: End, error: NodeJS.ErrnoException): void;

	/**
	Somebody calls `resetAndDestroy()`. `reset` does it, or throws where it is not possible.
	*/
	onReset(end: End, reset: () => void): void;
	onEnd(end: End): void;
	onFinish(end: End): void;
	onClose(end: End): void;

	/**
	It was read from, written to, or a write is done. A listener to `data` would tell of reads too, but would make the pipe share its data, and the tunnel stay in JavaScript.
	*/
	onTraffic(end: End): void;
};

/**
From here on, tells what happens to a socket.

All sockets share the listeners, which know by `this` whose they are: a dozen closures for each tunnel is what setting it up would cost most.
*/
export function supervise(socket: Socket, end: End, supervisor: Supervisor): void {
	(socket as Supervised)[placeOf] = {
		end, supervisor, socket, seat: -1,
	};
	// A FIN from one end must not cut off what the other end still sends. The pipes end what has to be ended.
	socket.allowHalfOpen = true;
	// Before http-proxy's own listener, which sends a FIN to the other end, and throws if nobody listens to the errors of the proxy.
	// And before the pipe's, which sends a FIN.
	socket.prependListener('error', onError).prependListener('end', onEnd).on('finish', onFinish).on('close', onClose).on('pause', onPause);
	internals(socket)._unrefTimer = onTraffic;
	socket.resetAndDestroy = onReset;
}

/**
Leaves the socket to somebody else.
*/
export function unsupervise(socket: Socket): void {
	forgetStalled((socket as Supervised)[placeOf]!);
	// Deleting what it has of ours would make it slow and large, as V8 keeps objects.
	(socket as Supervised)[placeOf] = undefined;
	socket.off('error', onError).off('end', onEnd).off('finish', onFinish).off('close', onClose).off('pause', onPause);
}

type Place = Stallable & {readonly end: End; readonly supervisor: Supervisor};
type Supervised = Socket & {[placeOf]?: Place | undefined};

const placeOf = Symbol('place in a tunnel');

function onError(this: Supervised, error: NodeJS.ErrnoException): void {
	const {end, supervisor} = this[placeOf]!;
	supervisor.onError(end, error);
}

function onEnd(this: Supervised): void {
	const {end, supervisor} = this[placeOf]!;
	supervisor.onEnd(end);
}

function onFinish(this: Supervised): void {
	const {end, supervisor} = this[placeOf]!;
	supervisor.onFinish(end);
}

function onClose(this: Supervised): void {
	const place = this[placeOf]!;
	forgetStalled(place);
	place.supervisor.onClose(place.end);
}

function onPause(this: Supervised): void {
	watchStalled(this[placeOf]!);
}

function onReset(this: Supervised): Supervised {
	const reset = () => {
		(Object.getPrototypeOf(this) as Socket).resetAndDestroy.call(this);
	};

	const place = this[placeOf];
	if (place === undefined) {
		reset();
	} else {
		place.supervisor.onReset(place.end, reset);
	}

	return this;
}

// In place of Node's own, which restarts the timer of `setTimeout()`.
function onTraffic(this: Supervised): void {
	if (isTraffic()) {
		const place = this[placeOf];
		place?.supervisor.onTraffic(place.end);
		restartTimer.call(this);
	}
}

const {_unrefTimer: restartTimer} = internals(Socket.prototype);
