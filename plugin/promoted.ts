import {type Socket} from 'node:net';
import {type Carrier, type End, type Ends, otherEnd} from './carrier.ts';
import {Connections, toConnectionStats} from './connection.ts';
import {afterEnd, emitEnd, endGracefully, failed, networkError} from './lifetime.ts';
import {
	type NativeCloseEvent, type NativeEngine, type NativeLimits, type NativeStats, type NativeSummary,
} from './native.ts';
import {type Quiet} from './quiesce.ts';
import {type Relay} from './relay.ts';
import {makeShell} from './shell.ts';
import {type ConnectionStats, type Ending, type Lanes} from './stats.ts';

export type Promotion = {
	readonly engine: NativeEngine;
	readonly relay: Relay;
	readonly sockets: Ends<Socket>;
	readonly quiet: Quiet;

	/**
	Bytes of the tunnel that Node has read from each end.
	*/
	readonly streamed: Ends<number>;

	/**
	When the last of them came.
	*/
	readonly lastActivity: Date;

	/**
	What is left of the times of the tunnel. The relay keeps them from here on.
	*/
	readonly limits: NativeLimits;
	readonly onClosed: (ending: Ending) => void;
};

/**
A tunnel in the relay's hands. What is left in Node are two shells: they end and close when the tunnel does, and the tunnel ends when they are ended or destroyed.

The relay works on its own duplicates of the descriptors. The sockets close theirs.
*/
export class PromotedCarrier implements Carrier {
	readonly engine: NativeEngine;
	readonly #relay: Relay;
	readonly #id: number;
	readonly #sockets: Ends<Socket>;
	readonly #connections: Connections;
	readonly #streamed: Ends<number>;
	readonly #heard = {client: 0, upstream: 0};
	readonly #onClosed: (ending: Ending) => void;
	readonly #closed = {client: false, upstream: false};
	readonly #finSent = {client: false, upstream: false};
	readonly #onWritten: {client?: (() => void) | undefined; upstream?: (() => void) | undefined} = {};
	readonly #onReleased: Array<() => void> = [];
	#stats: NativeStats = nothingYet;
	#summaries: Partial<Ends<NativeSummary>> | undefined;
	#heardAt: number;
	#ending: Ending | undefined;
	#state: 'carrying' | 'ending' | 'resetting' | 'released' = 'carrying';

	/**
	Throws what the relay throws if the engine refuses. Nothing has changed then.
	*/
	constructor({engine, relay, sockets, quiet, streamed, lastActivity, limits, onClosed}: Promotion) {
		this.engine = engine;
		this.#relay = relay;
		this.#sockets = sockets;
		this.#connections = new Connections(sockets);
		this.#heardAt = lastActivity.getTime();
		// What Node has read and not written goes to the relay, which counts it.
		this.#streamed = {client: streamed.client - quiet.client.head.length, upstream: streamed.upstream - quiet.upstream.head.length};
		this.#onClosed = onClosed;
		this.#id = relay.add(engine, quiet, limits, {
			onHalfClose: end => {
				this.#halfClosed(end);
			},
			onWritten: end => {
				this.#written(end);
			},
			onClose: event => {
				this.#released(event);
			},
		});
		this.#makeShell('client', quiet.client.head.length);
		this.#makeShell('upstream', quiet.upstream.head.length);
	}

	lanes(): Lanes {
		const {clientToUpstream, upstreamToClient} = this.#latest();
		return {
			clientToUpstream: {...clientToUpstream, bytes: clientToUpstream.bytes + this.#streamed.client},
			upstreamToClient: {...upstreamToClient, bytes: upstreamToClient.bytes + this.#streamed.upstream},
		};
	}

	connections(): Ends<ConnectionStats | undefined> {
		return toConnectionStats(this.#look());
	}

	lastActivity(): Date {
		this.#hear(this.#look());
		return new Date(this.#heardAt);
	}

	close(): void {
		this.#end({reason: 'closed', by: 'proxy'});
	}

	reset(): void {
		this.#reset({reason: 'reset', by: 'proxy'});
	}

	#latest(): NativeStats {
		this.#stats = this.#relay.stats(this.#id) ?? this.#stats;
		return this.#stats;
	}

	#look(): Partial<Ends<NativeSummary>> {
		return this.#summaries ?? this.#connections.look();
	}

	// Bytes in the kernel tell nobody of themselves, but TCP remembers when it had some last.
	#hear(summaries: Partial<Ends<NativeSummary>>): void {
		if (this.#state === 'released') {
			return; // The clocks of the summaries have stopped.
		}

		const now = Date.now();
		for (const [end, lane] of [['client', 'clientToUpstream'], ['upstream', 'upstreamToClient']] as const) {
			const {bytes} = this.#latest()[lane];
			const summary = summaries[end];
			if (summary !== undefined) {
				this.#heardAt = Math.max(this.#heardAt, now - summary.lastReceived);
			} else if (bytes !== this.#heard[end]) {
				// A Unix socket does not remember, but the connection that its bytes went on to does.
				this.#heardAt = Math.max(this.#heardAt, now - (summaries[otherEnd(end)]?.lastSent ?? 0));
			}

			this.#heard[end] = bytes;
		}
	}

	#end(ending: Ending): void {
		if (this.#state === 'carrying') {
			this.#state = 'ending';
			this.#ending = ending;
			// Who destroys a socket does not wait for an answer either.
			this.#relay.end(this.#id, ending.reason !== 'destroyed');
		}
	}

	#reset(ending: Ending): void {
		if (this.#state === 'carrying' || this.#state === 'ending') {
			this.#state = 'resetting';
			this.#ending ??= ending;
			this.#relay.reset(this.#id);
		}
	}

	// The FIN of one end has come, and has gone out to the other.
	#halfClosed(end: End): void {
		this.#finSent[otherEnd(end)] = true;
		emitEnd(this.#sockets[end]);
		this.#sockets[otherEnd(end)].end();
	}

	#written(end: End): void {
		const callback = this.#onWritten[end];
		this.#onWritten[end] = undefined;
		callback?.();
	}

	#released({reason, by, code, errno, stats, client, upstream}: NativeCloseEvent): void {
		this.#stats = stats;
		this.#summaries = {...(client && {client}), ...(upstream && {upstream})};
		this.#hear(this.#summaries);
		this.#state = 'released';
		// What this process has asked for counts, whatever the network made of it.
		this.#ending ??= reason === 'reset' && by !== 'proxy' ? failed(by, code === '' ? undefined : code) : {reason, by};
		this.#written('client');
		this.#written('upstream');
		for (const callback of this.#onReleased) {
			callback();
		}

		for (const end of ['client', 'upstream'] as const) {
			if (reason === 'reset') {
				// Its FIN may have been heard in this very turn, and its `end` be on the way.
				afterEnd(this.#sockets[end], this.#finSent[otherEnd(end)], () => {
					this.#sockets[end].destroy(by === end && errno > 0 ? networkError(errno) : undefined);
				});
			} else {
				endGracefully(this.#sockets[end]);
			}
		}

		this.#finishIfClosed();
	}

	#makeShell(end: End, unread: number): void {
		const [from, to] = end === 'client' ? ['clientToUpstream', 'upstreamToClient'] as const : ['upstreamToClient', 'clientToUpstream'] as const;
		makeShell(this.#sockets[end], unread, {
			bytes: () => {
				const stats = this.#latest();
				return {read: stats[from].bytes, written: stats[to].bytes + stats[to].injected};
			},
			onWrite: (bytes, callback) => {
				if (this.#state === 'released') {
					callback();
				} else {
					this.#onWritten[end] = callback;
					this.#relay.write(this.#id, end, bytes);
				}
			},
			onEnd: callback => {
				if (this.#state === 'released' || this.#finSent[end]) {
					callback();
				} else {
					this.#onReleased.push(callback);
					this.close();
				}
			},
			onReset: code => {
				this.#reset({reason: 'destroyed', by: 'proxy', ...(code !== undefined && {code})});
			},
			onClose: isClean => {
				this.#closed[end] = true;
				if (!isClean) {
					this.#end({reason: 'destroyed', by: 'proxy'});
				}

				this.#finishIfClosed();
			},
		});
	}

	#finishIfClosed(): void {
		if (this.#closed.client && this.#closed.upstream && this.#state === 'released') {
			this.#onClosed(this.#ending!);
		}
	}
}

const emptyLane = {
	state: 'pipe', bytes: 0, redirected: 0, spilled: 0, piped: 0, injected: 0, promotions: 0, spills: 0,
} as const;
const nothingYet: NativeStats = {clientToUpstream: emptyLane, upstreamToClient: emptyLane};
