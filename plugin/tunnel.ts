import {type Socket} from 'node:net';
import {type Target} from './authority.ts';
import {type Carrier} from './carrier.ts';
import {type Refusal} from './engine.ts';
import {type CheckedTunnelOptions, type Engine} from './options.ts';
import {type Ending, type Lanes, type TunnelStats} from './stats.ts';

export type TunnelKind = 'upgrade' | 'connect' | 'pair';

/**
Two connected sockets whose bytes go to each other.
*/
export class Tunnel {
	readonly id: number;

	/**
	Where it came from: an upgrade through the proxy, `tunnels.connect()`, or `tunnels.splice()`.
	*/
	readonly kind: TunnelKind;

	/**
	The sockets stay alive as long as the tunnel. After the promotion they carry no bytes, but they still tell addresses and counters, emit `end`, `close` and `timeout`, and end the tunnel when they are ended or destroyed.
	*/
	readonly client: Socket;
	readonly upstream: Socket;

	readonly openedAt: Date = new Date();

	/**
	What was given to `tunnels.connect()` or `tunnels.splice()`; otherwise the request.
	*/
	readonly context: unknown;

	/**
	Where a CONNECT request wanted to go.
	*/
	readonly target: Target | undefined;

	/**
	Who has asked for it, as `users` or `authenticate` found out.
	*/
	readonly user: string | undefined;

	/** @internal */
	readonly options: CheckedTunnelOptions;

	/**
	Resolved once both sockets are closed.

	@internal
	*/
	readonly closed: Promise<void>;

	#carrier: Carrier | undefined;
	#skipped: readonly Refusal[] = [];
	#final: TunnelStats | undefined;
	#since = this.openedAt;
	readonly #start = performance.now();
	readonly #resolveClosed: () => void;

	/** @internal */
	constructor(origin: TunnelOrigin) {
		this.id = origin.id;
		this.kind = origin.kind;
		this.client = origin.client;
		this.upstream = origin.upstream;
		this.context = origin.context;
		this.target = origin.target;
		this.user = origin.user;
		this.options = origin.options;
		let resolveClosed: () => void;
		this.closed = new Promise(resolve => {
			resolveClosed = resolve;
		});
		this.#resolveClosed = resolveClosed!;
	}

	/**
	What carries it now: `stream` until it was promoted.
	*/
	get engine(): Engine {
		return this.#carrier!.engine;
	}

	/**
	The engines that could not have it, each with its reason.
	*/
	get skipped(): readonly Refusal[] {
		return this.#skipped;
	}

	stats(): TunnelStats {
		return this.#final ?? {
			engine: this.engine,
			since: this.#since,
			duration: this.age,
			lastActivity: this.#carrier!.lastActivity(),
			...this.#carrier!.connections(),
			...this.#carrier!.lanes(),
		};
	}

	/**
	Closes it gracefully: what has been received so far is delivered both ways, then both ways end. Resolves once both sockets are closed.
	*/
	async close(): Promise<void> {
		if (this.#final === undefined) {
			this.#carrier!.close();
		}

		return this.closed;
	}

	/**
	Closes it at once: both ends get a reset, and bytes under way are lost.
	*/
	reset(): void {
		if (this.#final === undefined) {
			this.#carrier!.reset();
		}
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
		this.#carrier = carrier;
		this.#since = new Date();
	}

	/** @internal */
	skip(refusal: Refusal): void {
		this.#skipped = [...this.#skipped, refusal];
	}

	/** @internal */
	end(ending: Ending): TunnelStats {
		this.#final = {...this.stats(), ...ending};
		this.#resolveClosed();
		return this.#final;
	}
}

/** @internal */
export type TunnelOrigin = {
	readonly id: number;
	readonly kind: TunnelKind;
	readonly client: Socket;
	readonly upstream: Socket;
	readonly context: unknown;
	readonly target?: Target;
	readonly user?: string | undefined;
	readonly options: CheckedTunnelOptions;
};
