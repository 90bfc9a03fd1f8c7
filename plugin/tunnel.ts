import {IncomingMessage} from 'node:http';
import {type Socket} from 'node:net';
import {performance} from 'node:perf_hooks';
import {type Target} from './authority.ts';
import {type Carrier, type End, type Ends} from './carrier.ts';
import {type Refusal} from './engine.ts';
import {SockmapError} from './errors.ts';
import {type CheckedTunnelOptions, type Engine} from './options.ts';
import {type Ending, type Lanes, type TunnelStats} from './stats.ts';
import {type Waiting} from './storm.ts';

/**
Where a tunnel came from: an upgrade through the proxy, `tunnels.connect()`, or `tunnels.splice()`.
*/
export type TunnelKind = 'upgrade' | 'connect' | 'pair';

/**
Two connected sockets whose bytes go to each other.

Each direction ends by itself, with a FIN that comes after the last byte, and a reset at one end becomes one at the other.

@see https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1 Half-closed connections
*/
export class Tunnel {
	/**
	Counts from 1, anew for each `sockmap()`.
	*/
	readonly id: number;

	/**
	Where it came from.
	*/
	readonly kind: TunnelKind;

	/**
	Where a CONNECT request wanted to go. `undefined` for tunnels of another kind.
	*/
	readonly target: Target | undefined;

	/**
	Who has asked for it, as `users` or `authenticate` found out. `undefined` if nobody was asked, or has no name.
	*/
	readonly user: string | undefined;

	/** @internal */
	readonly options: CheckedTunnelOptions;

	/** @internal */
	seat = -1;

	/** @internal */
	waiting: Waiting<unknown> | undefined;

	#carrier: Carrier | undefined;
	#skipped: readonly Refusal[] = none;
	#final: TunnelStats | undefined;
	#sockets: Ends<Socket> | undefined;
	#context: unknown;
	#closed: Promise<void> | undefined;
	#resolveClosed: (() => void) | undefined;
	readonly #leave: () => void;
	readonly #onOver: (tunnel: Tunnel, stats: TunnelStats) => void;
	readonly #openedAt = Date.now();
	readonly #start = performance.now();
	// How many milliseconds later it came to its carrier. A small number takes no memory of its own in V8, a date does.
	#delay = 0;

	/** @internal */
	constructor(origin: TunnelOrigin, {id, leave, onOver}: TunnelPlace) {
		this.id = id;
		this.kind = origin.kind;
		this.#sockets = {client: origin.client, upstream: origin.upstream};
		this.#context = origin.context;
		this.target = origin.target;
		this.user = origin.user;
		this.options = origin.options;
		this.#leave = leave;
		this.#onOver = onOver;
	}

	/**
	The sockets stay alive as long as the tunnel. After the promotion they carry no bytes, but they still tell addresses and counters, emit `end`, `close` and `timeout`, and end the tunnel when they are ended or destroyed.

	@throws {SockmapError} They are gone after the promotion, because of the option `detach`. The code is `ERR_SOCKMAP_DETACHED`.
	*/
	get client(): Socket {
		return this.#socket('client');
	}

	/**
	The other end. What is said of `client` is true of it, too.

	@throws {SockmapError} See `client`.
	*/
	get upstream(): Socket {
		return this.#socket('upstream');
	}

	/**
	Whether the tunnel goes on without its sockets. See the option `detach`.
	*/
	get isDetached(): boolean {
		return this.#sockets === undefined;
	}

	/**
	When the proxy had both ends: after the 101, the 200, or in `splice()`.
	*/
	get openedAt(): Date {
		return new Date(this.#openedAt);
	}

	/**
	What was given to `tunnels.connect()` or `tunnels.splice()`; otherwise the request. With the option `detach`, a request is gone after the promotion, as the sockets are.
	*/
	get context(): unknown {
		return this.#context;
	}

	/**
	What carries it now: `stream` until it was promoted.
	*/
	get engine(): Engine {
		return this.#carrier!.engine;
	}

	/**
	The engines that could not have it, each with its reason. Empty where the first one has it.
	*/
	get skipped(): readonly Refusal[] {
		return this.#skipped;
	}

	/**
	What it has moved, and how its connections are. Once it is over, how it ended; the figures stay then.

	As long as it is open, each call asks TCP about both connections.
	*/
	stats(): TunnelStats {
		return this.#final ?? this.#look();
	}

	/**
	Closes it gracefully: what has been received so far is delivered both ways, then both ways end. Resolves once both sockets are closed, which takes as long as the slower reader. May be called more than once.
	*/
	async close(): Promise<void> {
		const {closed} = this;
		if (this.#final === undefined) {
			this.#carrier!.close();
		}

		return closed;
	}

	/**
	Closes it at once: both ends get a reset, and bytes under way are lost. Does nothing once it is over.

	@see https://www.rfc-editor.org/rfc/rfc9293#section-3.10.5 ABORT
	*/
	reset(): void {
		if (this.#final === undefined) {
			this.#carrier!.reset();
		}
	}

	/**
	Resolved once both sockets are closed.

	@internal
	*/
	get closed(): Promise<void> {
		this.#closed ??= this.#final ? Promise.resolve() : new Promise(resolve => {
			this.#resolveClosed = resolve;
		});
		return this.#closed;
	}

	/**
	How many milliseconds ago it was opened.

	@internal
	*/
	get age(): number {
		return performance.now() - this.#start;
	}

	/** @internal */
	isOpen(): boolean {
		return this.#final === undefined;
	}

	/**
	The part of the counters that costs no system call.

	@internal
	*/
	lanes(): Lanes {
		return this.#final ?? this.#carrier!.lanes();
	}

	/** @internal */
	lastActivity(): Date {
		return this.#final?.lastActivity ?? this.#carrier!.lastActivity();
	}

	/** @internal */
	carriedBy(carrier: Carrier): void {
		if (this.#carrier) {
			this.#delay = Math.round(this.age); // The first one had it from the beginning.
		}

		this.#carrier = carrier;
	}

	/**
	Forgets the sockets, and the request that refers to one of them.

	@internal
	*/
	letGo(): void {
		this.#sockets = undefined;
		if (this.#context instanceof IncomingMessage) {
			this.#context = undefined;
		}
	}

	/** @internal */
	skip(refusal: Refusal): void {
		this.#skipped = [...this.#skipped, refusal];
	}

	/** @internal */
	over(ending: Ending): void {
		this.#leave();
		this.#final = Object.assign(this.#look(), ending);
		this.#resolveClosed?.();
		this.#onOver(this, this.#final);
	}

	#look(): TunnelStats {
		const carrier = this.#carrier!;
		const {client, upstream} = carrier.connections();
		const {clientToUpstream, upstreamToClient} = carrier.lanes();
		return {
			engine: carrier.engine,
			since: new Date(this.#openedAt + this.#delay),
			duration: this.age,
			lastActivity: carrier.lastActivity(),
			client, upstream, clientToUpstream, upstreamToClient,
		};
	}

	#socket(end: End): Socket {
		if (this.#sockets === undefined) {
			throw new SockmapError(`Tunnel ${this.id} has let go of its sockets, because of the option \`detach\`. Ask for them before or in the event \`promoted\`.`, {code: 'ERR_SOCKMAP_DETACHED'});
		}

		return this.#sockets[end];
	}
}

const none: readonly Refusal[] = []; // One for all of them.

/** @internal */
export type TunnelOrigin = {
	readonly kind: TunnelKind;
	readonly client: Socket;
	readonly upstream: Socket;
	readonly context: unknown;
	readonly target?: Target;
	readonly user?: string | undefined;
	readonly options: CheckedTunnelOptions;
};

/** @internal */
export type TunnelPlace = {
	readonly id: number;

	/**
	Gives back its place among those that there may be.
	*/
	readonly leave: () => void;
	readonly onOver: (tunnel: Tunnel, stats: TunnelStats) => void;
};
