import {type Socket} from 'node:net';
import {debuglog} from 'node:util';
import {type Carrier, type End, type Ends, type Owner, otherEnd} from './carrier.ts';
import {toConnectionStats} from './connection.ts';
import {afterEnd, emitEnd, endGracefully, failed, networkError} from './lifetime.ts';
import {
	type NativeCloseEvent, type NativeEngine, type NativeLimits, type NativeStats, type NativeSummary, type NativeTuning,
} from './native.ts';
import {type Quiet} from './quiesce.ts';
import {type Relay, type RelayListener} from './relay.ts';
import {makeShell} from './shell.ts';
import {type Tenant} from './stand-in.ts';
import {type ConnectionStats, type Ending, type Lanes} from './stats.ts';

export type Promotion = {
	readonly engine: NativeEngine;

	/**
	Whether each direction goes to the sockmap only once its traffic has shown that this pays.
	*/
	readonly ifItPays: boolean;
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
	readonly owner: Owner;
};

/**
A tunnel in the relay's hands. What is left in Node are two shells: they end and close when the tunnel does, and the tunnel ends when they are ended or destroyed. Or nothing is left, once it has let go of them.

The relay works on its own duplicates of the descriptors.
*/
export class PromotedCarrier implements Carrier, RelayListener, Tenant {
	readonly engine: NativeEngine;
	readonly #relay: Relay;
	readonly #id: number;
	readonly #streamedByClient: number;
	readonly #streamedByUpstream: number;
	readonly #owner: Owner;
	#closed: readonly End[] = neither;
	#finSent: readonly End[] = neither;
	#sockets: Partial<Ends<Socket>>;
	#heard: {client: number; upstream: number} | undefined;
	#onWritten: {client?: (() => void) | undefined; upstream?: (() => void) | undefined} | undefined;
	#onReleased: Array<() => void> | undefined;
	#final: NativeStats | undefined;
	#summaries: Partial<Ends<NativeSummary>> | undefined;
	#heardAt: number;
	#ending: Ending | undefined;
	#state: 'carrying' | 'ending' | 'resetting' | 'released' = 'carrying';

	/**
	Throws what the relay throws if the engine refuses. Nothing has changed then.
	*/
	constructor({engine, ifItPays, relay, sockets, quiet, streamed, lastActivity, limits, owner}: Promotion) {
		this.engine = engine;
		this.#relay = relay;
		this.#sockets = sockets;
		this.#heardAt = lastActivity.getTime();
		// What Node has read and not written goes to the relay, which counts it.
		this.#streamedByClient = streamed.client - quiet.client.head.length;
		this.#streamedByUpstream = streamed.upstream - quiet.upstream.head.length;
		this.#owner = owner;
		this.#id = relay.add(engine === 'sockmap' && ifItPays ? 'auto' : engine, quiet, limits, this);
		makeShell(sockets.client, quiet.client.head.length, 'client', this);
		makeShell(sockets.upstream, quiet.upstream.head.length, 'upstream', this);
	}

	lanes(): Lanes {
		const {clientToUpstream, upstreamToClient} = this.#latest();
		return {
			clientToUpstream: {...clientToUpstream, bytes: clientToUpstream.bytes + this.#streamedByClient},
			upstreamToClient: {...upstreamToClient, bytes: upstreamToClient.bytes + this.#streamedByUpstream},
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

	/**
	The sockets close, and the tunnel goes on without them.
	*/
	letGo(): void {
		const {client, upstream} = this.#sockets;
		this.#sockets = noSockets;
		this.#closed = both;
		client?.destroy();
		upstream?.destroy();
	}

	// The end's FIN has come, and has gone out to the other.
	onHalfClose(end: End): void {
		this.#finSent = [...this.#finSent, otherEnd(end)];
		const {[end]: socket, [otherEnd(end)]: other} = this.#sockets;
		if (socket && other) {
			emitEnd(socket);
			other.end();
		}
	}

	onWritten(end: End): void {
		const callback = this.#onWritten?.[end];
		if (callback) {
			this.#onWritten![end] = undefined;
			callback();
		}
	}

	onReleased({reason, by, code, errno, stats, client, upstream}: NativeCloseEvent): void {
		this.#final = stats;
		this.#summaries = {...(client && {client}), ...(upstream && {upstream})};
		this.#hear(this.#summaries);
		this.#state = 'released';
		// What this process has asked for counts, whatever the network made of it.
		this.#ending ??= reason === 'reset' && by !== 'proxy' ? failed(by, code === '' ? undefined : code) : {reason, by};
		this.onWritten('client');
		this.onWritten('upstream');
		for (const callback of this.#onReleased ?? []) {
			callback();
		}

		for (const end of ['client', 'upstream'] as const) {
			const socket = this.#sockets[end];
			if (socket && reason === 'reset') {
				// Its FIN may have been heard in this very turn, and its `end` be on the way.
				afterEnd(socket, this.#finSent.includes(otherEnd(end)), () => {
					socket.destroy(by === end && errno > 0 ? networkError(errno) : undefined);
				});
			} else if (socket) {
				endGracefully(socket);
			}
		}

		this.#finishIfClosed();
	}

	counted(end: End): {readonly read: number; readonly written: number} {
		const [from, to] = end === 'client' ? ['clientToUpstream', 'upstreamToClient'] as const : ['upstreamToClient', 'clientToUpstream'] as const;
		const stats = this.#latest();
		return {read: stats[from].bytes, written: stats[to].bytes + stats[to].injected};
	}

	onWrite(end: End, bytes: Uint8Array, callback: () => void): void {
		if (this.#state === 'released') {
			callback();
		} else {
			this.#onWritten ??= {};
			this.#onWritten[end] = callback;
			this.#relay.write(this.#id, end, bytes);
		}
	}

	onEnd(end: End, callback: () => void): void {
		if (this.#state === 'released' || this.#finSent.includes(end)) {
			callback();
		} else {
			this.#onReleased ??= [];
			this.#onReleased.push(callback);
			this.close();
		}
	}

	onReset(_end: End, code?: string): void {
		this.#reset({reason: 'destroyed', by: 'proxy', ...(code !== undefined && {code})});
	}

	onClose(end: End, isClean: boolean): void {
		if (this.#sockets[end] === undefined || this.#closed.includes(end)) {
			return;
		}

		this.#closed = [...this.#closed, end];
		if (!isClean) {
			this.#end({reason: 'destroyed', by: 'proxy'});
		}

		this.#finishIfClosed();
	}

	onTune(end: End, options: NativeTuning): void {
		try {
			this.#relay.tune(this.#id, end, options);
		} catch (error) {
			debug('%o', error); // A connection that is gone takes no options.
		}
	}

	// Not kept: most tunnels are never asked twice.
	#latest(): NativeStats {
		return this.#final ?? this.#relay.stats(this.#id) ?? nothingYet;
	}

	#look(): Partial<Ends<NativeSummary>> {
		if (this.#summaries) {
			return this.#summaries;
		}

		const client = this.#relay.summary(this.#id, 'client');
		const upstream = this.#relay.summary(this.#id, 'upstream');
		return {...(client && {client}), ...(upstream && {upstream})};
	}

	// Bytes in the kernel tell nobody of themselves, but TCP remembers when it had some last.
	#hear(summaries: Partial<Ends<NativeSummary>>): void {
		if (this.#state === 'released') {
			return; // The clocks of the summaries have stopped.
		}

		const now = Date.now();
		const heard = this.#heard ?? {client: 0, upstream: 0};
		this.#heard = heard;
		for (const [end, lane] of [['client', 'clientToUpstream'], ['upstream', 'upstreamToClient']] as const) {
			const {bytes} = this.#latest()[lane];
			const summary = summaries[end];
			if (summary !== undefined) {
				this.#heardAt = Math.max(this.#heardAt, now - summary.lastReceived);
			} else if (bytes !== heard[end]) {
				// A Unix socket does not remember, but the connection that its bytes went on to does.
				this.#heardAt = Math.max(this.#heardAt, now - (summaries[otherEnd(end)]?.lastSent ?? 0));
			}

			heard[end] = bytes;
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

	#finishIfClosed(): void {
		if (this.#closed.length === both.length && this.#state === 'released') {
			this.#owner.over(this.#ending!);
		}
	}
}

// One for all of them: tunnels are many, and most are at neither end for long.
const neither: readonly End[] = [];
const both: readonly End[] = ['client', 'upstream'];
const noSockets: Partial<Ends<Socket>> = {};

const emptyLane = {
	state: 'pipe', bytes: 0, redirected: 0, spilled: 0, piped: 0, injected: 0, promotions: 0, spills: 0,
} as const;
const nothingYet: NativeStats = {clientToUpstream: emptyLane, upstreamToClient: emptyLane};

const debug = debuglog('sockmap');
