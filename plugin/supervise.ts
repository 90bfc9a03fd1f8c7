import {Socket} from 'node:net';
import {internals, type Internals} from './internals.ts';
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

	/**
	Its connection is about to be closed.
	*/
	onDestroy(side: Side): void;
	onFinish(side: Side): void;
	onClose(side: Side): void;

	/**
	It was read from, written to, or a write is done. A listener to `data` would tell of reads too, but would make the pipe share its data, and the tunnel stay in JavaScript.
	*/
	onTraffic(side: Side): void;
};

/**
From here on, tells what happens to a socket.

By methods of its own, which all sockets share, and which know by `this` whose they are. Listeners would do for most of it, but adding them, keeping them before those of others, and calling them is what setting up a tunnel would cost most.
*/
export function supervise(side: Side): void {
	const {socket}: {readonly socket: Supervised} = side;
	socket[sideOf] = side;
	// A FIN from one end must not cut off what the other end still sends. The pipes end what has to be ended.
	socket.allowHalfOpen = true;
	// Some tracers replace it, too.
	socket.emit = socket.emit === emitOfNode ? emit : emitThrough(socket.emit);
	internals(socket)._unrefTimer = onTraffic;
	internals(socket)._destroy = onDestroy;
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
}

type Supervised = Socket & {[sideOf]?: Side | undefined};

const sideOf = Symbol('side of a tunnel');

type Emit = (event: string | symbol, ...details: any[]) => boolean;

function emitThrough(inner: Emit): Emit {
	return function (this: Supervised, event, ...details: unknown[]) {
		return emitSupervised(this, inner, event, ...details);
	};
}

function emit(this: Supervised, event: string | symbol, ...details: unknown[]): boolean {
	return emitSupervised(this, emitOfNode, event, ...details);
}

function emitSupervised(socket: Supervised, inner: Emit, event: string | symbol, ...details: unknown[]): boolean {
	const side = socket[sideOf];
	if (side) {
		switch (event) {
			case 'error': {
				// Before http-proxy's own listener, which sends a FIN to the other end, and throws if nobody listens to the errors of the proxy.
				side.supervisor.onError(side, details[0] as NodeJS.ErrnoException);
				if (socket.listenerCount('error') === 0) {
					return false; // It was heard, so it is none to throw.
				}

				break;
			}

			case 'end': {
				side.supervisor.onEnd(side); // Before the pipe's listener, which sends a FIN.
				break;
			}

			case 'pause': {
				watchStalled(side);
				break;
			}

			default:
		}
	}

	try {
		return inner.call(socket, event, ...details);
	} finally {
		// Behind all listeners, even if one of them throws.
		const left = socket[sideOf];
		if (event === 'finish') {
			left?.supervisor.onFinish(left);
		} else if (event === 'close' && left) {
			forgetStalled(left);
			left.supervisor.onClose(left);
		}
	}
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

function onDestroy(this: Supervised, ...details: Parameters<Internals['_destroy']>): void {
	const side = this[sideOf];
	side?.supervisor.onDestroy(side);
	internals(Object.getPrototypeOf(this) as Socket)._destroy.apply(this, details);
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
const emitOfNode: Emit = Socket.prototype.emit;
