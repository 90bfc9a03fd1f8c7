import {type Socket} from 'node:net';
import process from 'node:process';
import {Connections} from './connection.ts';
import {Deadlines, type Limits, type Overdue, type Watched} from './deadlines.ts';
import {drain} from './drain.ts';
import {internals, tcpHandle} from './internals.ts';
import {endGracefully, failed, resetBehindEnd, resetSocket} from './lifetime.ts';
import {native} from './native.ts';
import {
	type ConnectionStats, type Ending, type Lanes, type LaneStats,
} from './stats.ts';
import {supervise, unsupervise, type Supervisor} from './supervise.ts';
import {otherEnd, type Carrier, type End, type Ends} from './carrier.ts';

/**
The engine that is always there: Node's own pipes, supervised, so that a tunnel ends in JavaScript as it does in the kernel.

The pipes carry the bytes and pass each FIN on. What they do not do is done here: a reset of one end resets the other, an end that disappears takes the other with it, and nothing is left open.
*/
export class StreamCarrier implements Carrier, Supervisor, Watched {
	readonly #sockets: Ends<Socket>;
	readonly #onClosed: (ending: Ending) => void;
	readonly #received: Ends<number>;
	readonly #counted: {client?: number; upstream?: number} = {};
	readonly #closed = {client: false, upstream: false};
	readonly #connections: Connections;
	readonly #deadlines: Deadlines;
	readonly #boundAt = {client: unbound, upstream: unbound};
	readonly #read: {client: number; upstream: number};
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
		const {client, upstream} = sockets;
		this.#received = {client: received(client), upstream: received(upstream)};
		this.#read = {client: client.bytesRead, upstream: upstream.bytesRead};
		supervise(client, 'client', this);
		supervise(upstream, 'upstream', this);
		this.#deadlines = new Deadlines(limits, this);
		pipeOnce(client, upstream);
		pipeOnce(upstream, client);
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
		return this.#connections.look();
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
		this.#deadlines.stop();
		unsupervise(this.#sockets.client);
		unsupervise(this.#sockets.upstream);
	}

	heardAt(): number {
		return this.#heardAt;
	}

	pending(): number {
		return queued(this.#sockets.client) + queued(this.#sockets.upstream);
	}

	// What has been received is still delivered. But whoever is too slow for that is not waited for much longer.
	onOverdue(reason: Overdue): void {
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

	// A write that a reader has taken at last is a sign of life, and so is a FIN. But neither is a byte that came.
	onTraffic(end: End): void {
		const {bytesRead} = this.#sockets[end];
		this.#heardAt = performance.now();
		if (bytesRead !== this.#read[end]) {
			this.#read[end] = bytesRead;
			this.#receivedAt = this.#heardAt;
			if (bytesRead - this.#received[end] >= this.#boundAt[end]) {
				this.#bound(end);
			}
		}
	}

	onError(end: End, {code, syscall}: NodeJS.ErrnoException): void {
		// Node's own errors name the system call. Others come from somebody's `destroy(error)`.
		this.#ending ??= syscall === undefined ? {reason: 'destroyed', by: 'proxy', ...(code !== undefined && {code})} : failed(end, code);
		this.#connections.look();
		resetSocket(this.#sockets[otherEnd(end)]);
	}

	// To those who listen, a reset looks like `destroy()`. But what was cut off must not look complete at the other end.
	onReset(end: End, reset: () => void): void {
		const isGone = this.#sockets[end].destroyed;
		this.#connections.look();
		reset();
		if (!isGone) {
			this.#ending ??= {reason: 'destroyed', by: 'proxy'};
			resetSocket(this.#sockets[otherEnd(end)]);
		}
	}

	onEnd(end: End): void {
		const socket = this.#sockets[end];
		const error = resetBehindEnd(socket);
		if (error) {
			socket.destroy(error);
			this.onError(end, error);
			return;
		}

		this.#firstFin ??= end;
	}

	onFinish(end: End): void {
		const {client, upstream} = this.#sockets;
		// A socket that has ended both ways closes by itself, and this is the last that we see of it.
		this.#connections.lookAt(end);
		if (client.writableFinished && upstream.writableFinished) {
			// Each end has had its FIN, and there is nobody left to read for.
			this.#leave(this.#closing && this.#ending?.reason !== 'half-closed' ? lingerTime : 0);
		} else if (this.#sockets[otherEnd(end)].readableEnded) {
			this.#deadlines.halfClosed();
		} else {
			this.close(); // Somebody called `end()` of this socket.
		}
	}

	onClose(end: End): void {
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

		this.#deadlines.stop();
		clearTimeout(this.#lingering); // It would keep all this for as long as it runs.
		this.#onClosed(this.#ending ?? {reason: 'end', by: this.#firstFin ?? 'proxy'});
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

	// A client may have left while the upstream was being asked. Its events have fired before we listened.
	#noticeIfGone(end: End): void {
		const {destroyed, errored} = this.#sockets[end];
		if (!destroyed) {
			return;
		}

		process.nextTick(() => {
			if (errored) {
				this.onError(end, errored);
			}

			this.onClose(end);
		});
	}

	// What may wait in the kernel for a stalled reader is bounded as the relay does it for its own. But not at once: most tunnels that are over soon have never sent so much.
	#bound(end: End): void {
		const isWide = this.#boundAt[end] !== unbound;
		this.#boundAt[end] = isWide ? Number.POSITIVE_INFINITY : native!.moves;
		const [source, destination] = [end, otherEnd(end)].map(end => tcpHandle(this.#sockets[end])?.fd ?? -1);
		native!.bound(source!, destination!, isWide);
	}

	#lane(end: End): LaneStats {
		const source = this.#sockets[end];
		return {
			bytes: (this.#counted[end] ?? source.bytesRead) - this.#received[end],
			redirected: 0, spilled: 0, piped: 0, injected: 0, promotions: 0, spills: 0, // That is in the kernel.
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

// Bytes that have come in a direction when its buffers are bounded: what the kernel holds unasked, and no more than Node reads at a time.
const unbound = native ? 65_536 : Number.POSITIVE_INFINITY;

// As long as the relay gives those that it cuts off.
const lingerTime = 2000;
