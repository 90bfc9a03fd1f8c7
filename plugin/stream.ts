import {type Socket} from 'node:net';
import process from 'node:process';
import {Connections, toConnectionStats} from './connection.ts';
import {keepDeadlines, type Deadlines, type Limits, type Overdue} from './deadlines.ts';
import {drain} from './drain.ts';
import {internals, tcpHandle} from './internals.ts';
import {endGracefully, failed, networkError, resetSocket} from './lifetime.ts';
import {native} from './native.ts';
import {
	type ConnectionStats, type Ending, type Lanes, type LaneStats,
} from './stats.ts';
import {watchWhileStalled} from './stalled.ts';
import {onTraffic} from './traffic.ts';
import {otherEnd, type Carrier, type End, type Ends} from './carrier.ts';

/**
The engine that is always there: Node's own pipes, supervised, so that a tunnel ends in JavaScript as it does in the kernel.

The pipes carry the bytes and pass each FIN on. What they do not do is done here: a reset of one end resets the other, an end that disappears takes the other with it, and nothing is left open.
*/
export class StreamCarrier implements Carrier {
	readonly #sockets: Ends<Socket>;
	readonly #onClosed: (ending: Ending) => void;
	readonly #received: Ends<number>;
	readonly #listeners: ReadonlyArray<[Socket, string, (...arguments_: any[]) => void]>;
	readonly #counted: {client?: number; upstream?: number} = {};
	readonly #closed = {client: false, upstream: false};
	readonly #connections: Connections;
	readonly #watches: ReadonlyArray<() => void>;
	readonly #deadlines: Deadlines;
	#heardAt = performance.now();
	#receivedAt = this.#heardAt;
	#ending: Ending | undefined;
	#firstFin: End | undefined;
	#closing = false;
	#lingering: NodeJS.Timeout | undefined;

	constructor(sockets: Ends<Socket>, limits: Limits, onClosed: (ending: Ending) => void) {
		this.#sockets = sockets;
		this.#onClosed = onClosed;
		this.#connections = new Connections(sockets);
		this.#received = {client: received(sockets.client), upstream: received(sockets.upstream)};
		this.#listeners = [...this.#supervise('client'), ...this.#supervise('upstream')];
		this.#watches = Object.values(sockets).flatMap(socket => [watchWhileStalled(socket), this.#listenTo(socket)]);
		this.#deadlines = keepDeadlines(limits, {
			heardAt: () => this.#heardAt,
			pending: () => queued(sockets.client) + queued(sockets.upstream),
			onOverdue: reason => {
				this.#overdue(reason);
			},
		});
		pipeOnce(sockets.client, sockets.upstream);
		pipeOnce(sockets.upstream, sockets.client);
		this.#noticeIfGone('client');
		this.#noticeIfGone('upstream');
	}

	get engine() {
		return 'stream' as const;
	}

	lanes(): Lanes {
		return {clientToUpstream: this.#lane('client'), upstreamToClient: this.#lane('upstream')};
	}

	connections(): Ends<ConnectionStats | undefined> {
		return toConnectionStats(this.#connections.look());
	}

	lastActivity(): Date {
		return new Date(Date.now() - (performance.now() - this.#receivedAt));
	}

	close(): void {
		if (this.#closing) {
			return;
		}

		this.#closing = true;
		this.#ending ??= {reason: 'closed', by: 'proxy'};
		const {client, upstream} = this.#sockets;
		drain(client, upstream, () => {
			this.#stopCounting('client');
		});
		drain(upstream, client, () => {
			this.#stopCounting('upstream');
		});
	}

	reset(): void {
		this.#ending ??= {reason: 'reset', by: 'proxy'};
		this.#connections.look();
		resetSocket(this.#sockets.client);
		resetSocket(this.#sockets.upstream);
	}

	/**
	Leaves the sockets to somebody else.
	*/
	release(): void {
		this.#unwatch();
		for (const [socket, event, listener] of this.#listeners) {
			socket.off(event, listener);
		}

		for (const socket of Object.values(this.#sockets) as Array<{resetAndDestroy?: unknown}>) {
			delete socket.resetAndDestroy;
		}
	}

	// A write that a reader has taken at last is a sign of life, and so is a FIN. But neither is a byte that came.
	#listenTo(socket: Socket): () => void {
		let before = socket.bytesRead;
		return onTraffic(socket, () => {
			this.#heardAt = performance.now();
			if (socket.bytesRead !== before) {
				before = socket.bytesRead;
				this.#receivedAt = this.#heardAt;
			}
		});
	}

	#unwatch(): void {
		this.#deadlines.stop();
		for (const stop of this.#watches) {
			stop();
		}
	}

	// What has been received is still delivered. But whoever is too slow for that is not waited for much longer.
	#overdue(reason: Overdue): void {
		this.#ending ??= {reason, by: 'proxy'};
		this.#connections.look();
		this.close();
		setTimeout(() => {
			const {client, upstream} = this.#sockets;
			if (!client.writableFinished || !upstream.writableFinished) {
				// What was cut off must not look complete.
				this.reset();
			}
		}, lingerTime).unref();
	}

	// Closing a socket that is still being sent to makes the kernel send a reset, which can destroy what was delivered last. So the peers are given time to answer our FIN. A socket with both FINs closes by itself.
	#leave(linger: number): void {
		const leave = () => {
			endGracefully(this.#sockets.client);
			endGracefully(this.#sockets.upstream);
		};

		if (linger === 0) {
			leave();
		} else {
			this.#lingering = setTimeout(leave, linger).unref();
		}
	}

	// What is discarded has not gone through the tunnel.
	#stopCounting(end: End): void {
		this.#counted[end] ??= this.#sockets[end].bytesRead;
	}

	#supervise(end: End): Array<[Socket, string, (...arguments_: any[]) => void]> {
		const socket = this.#sockets[end];
		// A FIN from one end must not cut off what the other end still sends. The pipes end what has to be ended.
		socket.allowHalfOpen = true;

		const onError = (error: NodeJS.ErrnoException) => {
			this.#failed(end, error);
		};

		const onEnd = () => {
			// When bytes came right before a reset, libuv reports it as the end of the stream.
			const errno = native?.failure(tcpHandle(socket)?.fd ?? -1) ?? 0;
			if (errno !== 0) {
				socket.destroy(networkError(errno));
				this.#failed(end, networkError(errno));
				return;
			}

			this.#firstFin ??= end;
		};

		const onFinish = () => {
			this.#finished(end);
		};

		const onClose = () => {
			this.#disappeared(end);
		};

		// To those who listen, a reset looks like `destroy()`. But what was cut off must not look complete at the other end.
		const {resetAndDestroy} = socket;
		socket.resetAndDestroy = () => {
			const isGone = socket.destroyed;
			this.#connections.look();
			resetAndDestroy.call(socket); // Throws where that is not possible. Then nothing has happened.
			if (!isGone) {
				this.#ending ??= {reason: 'destroyed', by: 'proxy'};
				resetSocket(this.#sockets[otherEnd(end)]);
			}

			return socket;
		};

		// Before http-proxy's own listener, which sends a FIN to the other end, and throws if nobody listens to the errors of the proxy.
		// And before the pipe's, which sends a FIN.
		socket.prependListener('error', onError).prependListener('end', onEnd).on('finish', onFinish).on('close', onClose);
		return [[socket, 'error', onError], [socket, 'end', onEnd], [socket, 'finish', onFinish], [socket, 'close', onClose]];
	}

	// A client may have left while the upstream was being asked. Its events have fired before we listened.
	#noticeIfGone(end: End): void {
		const {destroyed, errored} = this.#sockets[end];
		if (!destroyed) {
			return;
		}

		process.nextTick(() => {
			if (errored) {
				this.#failed(end, errored);
			}

			this.#disappeared(end);
		});
	}

	#failed(end: End, {code, syscall}: NodeJS.ErrnoException): void {
		// Node's own errors name the system call. Others come from somebody's `destroy(error)`.
		this.#ending ??= syscall === undefined ? {reason: 'destroyed', by: 'proxy', ...(code !== undefined && {code})} : failed(end, code);
		this.#connections.look();
		resetSocket(this.#sockets[otherEnd(end)]);
	}

	#finished(end: End): void {
		const {client, upstream} = this.#sockets;
		// A socket that has ended both ways closes by itself, and this is the last that we see of it.
		this.#connections.look([end]);
		if (client.writableFinished && upstream.writableFinished) {
			// Each end has had its FIN, and there is nobody left to read for.
			this.#leave(this.#closing && this.#ending?.reason !== 'half-closed' ? lingerTime : 0);
		} else if (this.#sockets[otherEnd(end)].readableEnded) {
			this.#deadlines.halfClosed();
		} else {
			this.close(); // Somebody called `end()` of this socket.
		}
	}

	#disappeared(end: End): void {
		const socket = this.#sockets[end];
		const peer = this.#sockets[otherEnd(end)];
		if (this.#closed[end]) {
			return;
		}

		this.#closed[end] = true;
		if (!this.#closed[otherEnd(end)]) {
			if (!socket.readableEnded || !socket.writableFinished) {
				this.#ending ??= {reason: 'destroyed', by: 'proxy'};
				// What has come through is still delivered. What still comes is discarded, but read: a FIN or RST would not be noticed otherwise.
				this.#stopCounting(otherEnd(end));
				peer.destroySoon();
				peer.resume();
				this.#deadlines.halfClosed();
			}

			return;
		}

		this.#unwatch();
		clearTimeout(this.#lingering); // It would keep all this for as long as it runs.
		this.#onClosed(this.#ending ?? {reason: 'end', by: this.#firstFin ?? 'proxy'});
	}

	#lane(end: End): LaneStats {
		const source = this.#sockets[end];
		return {
			...nothingInKernel,
			bytes: (this.#counted[end] ?? source.bytesRead) - this.#received[end],
			state: source.readableEnded || source.destroyed ? 'done' : 'stream',
		};
	}
}

// The bytes that came before the tunnel, headers mostly. What is in the buffer now belongs to it.
function received(socket: Socket): number {
	return socket.bytesRead - socket.readableLength;
}

function queued(socket: Socket): number {
	return internals(socket)._handle?.writeQueueSize ?? 0;
}

function pipeOnce(source: Socket, destination: Socket): void {
	if (!internals(source)._readableState.pipes.includes(destination)) {
		source.pipe(destination);
	}
}

const nothingInKernel = {
	redirected: 0, spilled: 0, piped: 0, injected: 0, promotions: 0, spills: 0,
} as const;

// As long as the relay gives those that it cuts off.
const lingerTime = 2000;
