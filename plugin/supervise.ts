import {Socket} from 'node:net';
import {internals} from './internals.ts';
import {type Side} from './side.ts';
import {forgetStalled, watchStalled} from './stalled.ts';
import {isTraffic} from './traffic.ts';

/**
Who looks after the two sockets of a tunnel while Node carries it.
*/
export type Supervisor = {
	onError(side: Side, error: NodeJS.ErrnoException): void;

	/**
	Somebody calls `resetAndDestroy()`. `reset` does it, or throws where it is not possible.
	*/
	onReset(side: Side, reset: () => void): void;
	onEnd(side: Side): void;
	onFinish(side: Side): void;
	onClose(side: Side): void;

	/**
	It was read from, written to, or a write is done. A listener to `data` would tell of reads too, but would make the pipe share its data, and the tunnel stay in JavaScript.
	*/
	onTraffic(side: Side): void;
};

/**
From here on, tells what happens to a socket.

All sockets share the listeners, which know by `this` whose they are: a dozen closures for each tunnel is what setting it up would cost most.
*/
export function supervise(side: Side): void {
	const {socket}: {readonly socket: Supervised} = side;
	socket[sideOf] = side;
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
export function unsupervise(side: Side): void {
	const {socket}: {readonly socket: Supervised} = side;
	forgetStalled(side);
	// Deleting what it has of ours would make it slow and large, as V8 keeps objects.
	socket[sideOf] = undefined;
	socket.off('error', onError).off('end', onEnd).off('finish', onFinish).off('close', onClose).off('pause', onPause);
}

type Supervised = Socket & {[sideOf]?: Side | undefined};

const sideOf = Symbol('side of a tunnel');

function onError(this: Supervised, error: NodeJS.ErrnoException): void {
	const side = this[sideOf]!;
	side.supervisor.onError(side, error);
}

function onEnd(this: Supervised): void {
	const side = this[sideOf]!;
	side.supervisor.onEnd(side);
}

function onFinish(this: Supervised): void {
	const side = this[sideOf]!;
	side.supervisor.onFinish(side);
}

function onClose(this: Supervised): void {
	const side = this[sideOf]!;
	forgetStalled(side);
	side.supervisor.onClose(side);
}

function onPause(this: Supervised): void {
	watchStalled(this[sideOf]!);
}

function onReset(this: Supervised): Supervised {
	const reset = () => {
		(Object.getPrototypeOf(this) as Socket).resetAndDestroy.call(this);
	};

	const side = this[sideOf];
	if (side === undefined) {
		reset();
	} else {
		side.supervisor.onReset(side, reset);
	}

	return this;
}

// In place of Node's own, which restarts the timer of `setTimeout()`.
function onTraffic(this: Supervised): void {
	if (isTraffic()) {
		const side = this[sideOf];
		side?.supervisor.onTraffic(side);
		restartTimer.call(this);
	}
}

const {_unrefTimer: restartTimer} = internals(Socket.prototype);
