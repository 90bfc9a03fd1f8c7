import {type Socket} from 'node:net';
import {performance} from 'node:perf_hooks';
import process from 'node:process';
import {Deadlines, type Limits, type Overdue, type Watched} from './deadlines.ts';
import {drain} from './drain.ts';
import {internals, tcpHandle} from './internals.ts';
import {endGracefully, failed, resetSocket} from './lifetime.ts';
import {native} from './native.ts';
import {Side} from './side.ts';
import {type ConnectionStats, type Ending, type Lanes} from './stats.ts';
import {supervise, unsupervise, type Supervisor} from './supervise.ts';
import {type Carrier, type End, type Ends, type Owner} from './carrier.ts';

/**
The engine that is always there: Node's own pipes, supervised, so that a tunnel ends in JavaScript as it does in the kernel.

The pipes carry the bytes and pass each FIN on. What they do not do is done here: a reset of one end resets the other, an end that disappears takes the other with it, and nothing is left open.
*/
export class StreamCarrier implements Carrier, Supervisor, Watched {
	readonly #client: Side;
	readonly #upstream: Side;
	readonly #owner: Owner;
	readonly #deadlines: Deadlines;
	#heardAt = performance.now();
	#receivedAt = this.#heardAt;
	#ending: Ending | undefined;
	#firstFin: End | undefined;
	#closing = false;
	#lingering: NodeJS.Timeout | undefined;

	constructor({client, upstream}: Ends<Socket>, limits: Limits, owner: Owner) {
		this.#owner = owner;
		this.#client = new Side({
			end: 'client', socket: client, supervisor: this, boundAt: unbound,
		});
		this.#upstream = new Side({
			end: 'upstream', socket: upstream, supervisor: this, boundAt: unbound,
		});
		supervise(this.#client);
		supervise(this.#upstream);
		this.#deadlines = new Deadlines(limits, this);
		pipeOnce(client, upstream);
		pipeOnce(upstream, client);
		this.#noticeIfGone(this.#client);
		this.#noticeIfGone(this.#upstream);
	}

	get engine() {
		return 'stream' as const;
	}

	lanes(): Lanes {
		return {clientToUpstream: this.#client.lane(), upstreamToClient: this.#upstream.lane()};
	}

	connections(): Ends<ConnectionStats | undefined> {
		this.#client.look();
		this.#upstream.look();
		return {client: this.#client.connection, upstream: this.#upstream.connection};
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
		const [client, upstream] = [this.#client, this.#upstream];
		drain(client.socket, upstream.socket, () => {
			client.stopCounting();
		});
		drain(upstream.socket, client.socket, () => {
			upstream.stopCounting();
		});
	}

	reset(): void {
		this.#ending ??= {reason: 'reset', by: 'proxy'};
		resetSocket(this.#client.socket);
		resetSocket(this.#upstream.socket);
	}

	/**
	Leaves the sockets to somebody else.
	*/
	release(): void {
		this.#deadlines.stop();
		unsupervise(this.#client);
		unsupervise(this.#upstream);
	}

	heardAt(): number {
		return this.#heardAt;
	}

	pending(): number {
		return this.#client.queued + this.#upstream.queued;
	}

	// What has been received is still delivered. But whoever is too slow for that is not waited for much longer.
	onOverdue(reason: Overdue): void {
		this.#ending ??= {reason, by: 'proxy'};
		this.close();
		setTimeout(() => {
			if (!this.#client.socket.writableFinished || !this.#upstream.socket.writableFinished) {
				// What was cut off must not look complete.
				this.reset();
			}
		}, lingerTime).unref();
	}

	// A write that a reader has taken at last is a sign of life, and so is a FIN. But neither is a byte that came.
	onTraffic(side: Side): void {
		side.isKnown = false;
		this.#heardAt = performance.now();
		if (side.hasRead()) {
			this.#receivedAt = this.#heardAt;
			if (side.isDue) {
				this.#bound(side);
			}
		}
	}

	onError(side: Side, {code, syscall}: NodeJS.ErrnoException): void {
		// Node's own errors name the system call. Others come from somebody's `destroy(error)`.
		this.#ending ??= syscall === undefined ? {reason: 'destroyed', by: 'proxy', ...(code !== undefined && {code})} : failed(side.end, code);
		resetSocket(this.#opposite(side).socket);
	}

	// To those who listen, a reset looks like `destroy()`. But what was cut off must not look complete at the other end.
	onReset(side: Side, reset: () => void): void {
		const isGone = side.socket.destroyed;
		reset();
		if (!isGone) {
			this.#ending ??= {reason: 'destroyed', by: 'proxy'};
			resetSocket(this.#opposite(side).socket);
		}
	}

	onEnd(side: Side): void {
		const error = side.lookBehindEnd();
		if (error) {
			side.socket.destroy(error);
			this.onError(side, error);
			return;
		}

		this.#firstFin ??= side.end;
	}

	onDestroy(side: Side): void {
		if (!side.isKnown) {
			side.look();
		}
	}

	onFinish(side: Side): void {
		if (this.#client.socket.writableFinished && this.#upstream.socket.writableFinished) {
			// Each end has had its FIN, and there is nobody left to read for.
			this.#leave(this.#closing && this.#ending?.reason !== 'half-closed' ? lingerTime : 0);
		} else if (this.#opposite(side).socket.readableEnded) {
			this.#deadlines.halfClosed();
		} else {
			this.close(); // Somebody called `end()` of this socket.
		}
	}

	onClose(side: Side): void {
		if (side.isClosed) {
			return;
		}

		side.isClosed = true;
		const peer = this.#opposite(side);
		if (!peer.isClosed) {
			if (!side.socket.readableEnded || !side.socket.writableFinished) {
				this.#ending ??= {reason: 'destroyed', by: 'proxy'};
				// What has come through is still delivered. What still comes is discarded, but read: a FIN or RST would not be noticed otherwise.
				peer.stopCounting();
				peer.socket.destroySoon();
				peer.socket.resume();
				this.#deadlines.halfClosed();
			}

			return;
		}

		this.#deadlines.stop();
		clearTimeout(this.#lingering); // It would keep all this for as long as it runs.
		this.#owner.over(this.#ending ?? {reason: 'end', by: this.#firstFin ?? 'proxy'});
	}

	#opposite(side: Side): Side {
		return side === this.#client ? this.#upstream : this.#client;
	}

	// Closing a socket that is still being sent to makes the kernel send a reset, which can destroy what was delivered last. So the peers are given time to answer our FIN. A socket with both FINs closes by itself.
	#leave(linger: number): void {
		const leave = () => {
			endGracefully(this.#client.socket);
			endGracefully(this.#upstream.socket);
		};

		if (linger === 0) {
			leave();
		} else {
			this.#lingering = setTimeout(leave, linger).unref();
		}
	}

	// A client may have left while the upstream was being asked. Its events have fired before we listened.
	#noticeIfGone(side: Side): void {
		const {destroyed, errored} = side.socket;
		if (!destroyed) {
			return;
		}

		process.nextTick(() => {
			if (errored) {
				this.onError(side, errored);
			}

			this.onClose(side);
		});
	}

	// What may wait in the kernel for a stalled reader is bounded as the relay does it for its own. But not at once: most tunnels that are over soon have never sent so much.
	#bound(side: Side): void {
		const isWide = side.boundAt !== unbound;
		side.boundAt = isWide ? Number.POSITIVE_INFINITY : native!.moves;
		const [source, destination] = [side, this.#opposite(side)].map(({socket}) => tcpHandle(socket)?.fd ?? -1);
		native!.bound(source!, destination!, isWide);
	}
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
