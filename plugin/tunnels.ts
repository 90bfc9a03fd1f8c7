import {type IncomingMessage, type ServerResponse} from 'node:http';
import {Socket} from 'node:net';
import process from 'node:process';
import {type Duplex} from 'node:stream';
import {debuglog, inspect} from 'node:util';
import {EventEmitter} from 'eventemitter3';
import {type Upgrade} from './attach.ts';
import {type Rejection} from './answer.ts';
import {ActivityWatch} from './activity.ts';
import {connect} from './connect.ts';
import {checkOptions, checkTunnelOptions} from './checks.ts';
import {chooseEngines, type Choice, type Refusal} from './engine.ts';
import {SockmapError} from './errors.ts';
import {forward} from './forward.ts';
import {Gate} from './gate.ts';
import {
	type CheckedOptions, type ConnectOptions, type Options, type TunnelOptions,
} from './options.ts';
import {tune} from './keepalive.ts';
import {Limits} from './limits.ts';
import {promote, type Attempt} from './promote.ts';
import {Relay} from './relay.ts';
import {Roster} from './roster.ts';
import {type TunnelsStats, type TunnelStats} from './stats.ts';
import {Storm} from './storm.ts';
import {StreamCarrier} from './stream.ts';
import {Totals} from './totals.ts';
import {Tunnel, type TunnelOrigin} from './tunnel.ts';

/**
The events of `Tunnels`, with the arguments of their listeners.

What a listener throws is an uncaught exception, as it would be anywhere, and does the tunnel no harm.
*/
export type TunnelsEvents = {
	/**
	A tunnel was opened. It is in Node's streams, and stays there if somebody listens to the `data` of its sockets by the end of this event.
	*/
	tunnel: [tunnel: Tunnel];

	/**
	The tunnel has left JavaScript. `tunnel.engine` says for where.
	*/
	promoted: [tunnel: Tunnel];

	/**
	The tunnel stays in JavaScript. `tunnel.skipped` says why.
	*/
	kept: [tunnel: Tunnel];

	/**
	The tunnel is over, and both its sockets are closed. It fires exactly once for each tunnel.
	*/
	close: [tunnel: Tunnel, stats: TunnelStats];

	/**
	The tunnel has moved bytes since the last time. See the option `activityInterval`.
	*/
	activity: [tunnel: Tunnel];
};

type OwnAttempt = Pick<Attempt, 'tunnel' | 'stream' | 'engines'>;

/** @internal */
export type Attach = (how: {readonly handshakeTimeout: number; readonly onUpgrade: (upgrade: Upgrade) => void}) => () => void;

/**
The tunnels of a proxy. What `sockmap()` returns; there is no other way to make one.
*/
export class Tunnels extends EventEmitter<TunnelsEvents> {
	readonly #options: CheckedOptions;
	readonly #choice: Choice;
	readonly #relay: Relay;
	readonly #open = new Roster<Tunnel>();
	readonly #totals = new Totals();
	readonly #limits: Limits;
	readonly #gate: Gate;
	readonly #activity: ActivityWatch;
	readonly #storm = new Storm<OwnAttempt>(attempt => {
		this.#settle(attempt);
	});

	#stopListening: (() => void) | undefined;
	#closing: Promise<void> | undefined;
	#wantsRef = true;

	/** @internal */
	constructor(options?: Options, attach?: Attach) {
		super();
		this.#options = checkOptions(options);
		this.#choice = chooseEngines(this.#options);
		this.#relay = new Relay({capacity: this.#options.capacity, ...(this.#choice.pins !== undefined && {pins: this.#choice.pins})});
		this.#limits = new Limits(this.#options);
		this.#gate = new Gate(options ?? {});
		this.#activity = new ActivityWatch(this.#options.activityInterval, tunnel => {
			this.#tell('activity', tunnel);
		});
		this.#stopListening = attach?.({
			handshakeTimeout: this.#options.handshakeTimeout,
			onUpgrade: ({request, client, upstream}) => {
				this.#carry({
					kind: 'upgrade', client, upstream, context: request, options: this.#options,
				});
			},
		});
	}

	/**
	Answers a CONNECT request: dials its target, if `allow` names it, and carries the tunnel.

	The client gets an answer in any case: 400 for a malformed target, 403 for one that is not allowed, 502 for one that cannot be reached, 503 for one tunnel too many, 504 for one that does not answer in time. Resolves with the tunnel, or with `undefined` if there is none.

	`head` is what the client has sent already, from the server's event `connect`. `options` come before those of `sockmap()`, for this one.

	@throws {TypeError} `socket` is not a `net.Socket`, `head` no bytes, or an option has a value that it cannot have.
	@throws {SockmapError} `maxRate` was given and there is no addon.
	@see https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6 CONNECT
	@see https://www.rfc-editor.org/rfc/rfc9209 Proxy-Status, which says why there is no tunnel

	@example
	```
	server.on('connect', (request, socket, head) => tunnels.connect(request, socket, head));
	```
	*/
	async connect(request: IncomingMessage, socket: Duplex, head: Uint8Array, options?: ConnectOptions): Promise<Tunnel | undefined> {
		const client = checkSocket('socket', socket);
		return connect({
			request, client, head, options, defaults: this.#options, limits: this.#limits, gate: this.#gate,
			open: ({upstream, target, user}, checked) => this.#carry({
				kind: 'connect', client, upstream, context: options?.context ?? request, target, user, options: checked,
			}),
			onRejected: rejection => {
				this.#totals.rejected(rejection);
			},
		});
	}

	/**
	Forwards a request for plain HTTP, as a proxy gets it (`GET http://example.com/`), under the rules of `connect()`. Together they make a complete forward proxy.

	The client gets an answer in any case: 400 for a URL that is none of plain HTTP, and otherwise as for `connect()`. Resolves once it has begun.

	@throws {TypeError} An option has a value that it cannot have.
	@see https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2 The absolute form of a request target

	@example
	```
	server.on('request', (request, response) => tunnels.forward(request, response));
	```
	*/
	async forward(request: IncomingMessage, response: ServerResponse, options?: ConnectOptions): Promise<void> {
		return forward({
			request, response, options, defaults: this.#options, gate: this.#gate,
			onRejected: rejection => {
				this.#totals.rejected(rejection);
			},
		});
	}

	/**
	Carries the tunnel between two connected sockets, which may be piped to each other already or not. For proxies written by hand.

	The sockets belong to the tunnel from here on. Close them by closing it. `context` can be anything, to be found again as `tunnel.context`.

	@throws {TypeError} One of them is not a `net.Socket`, or an option has a value that it cannot have.
	@throws {SockmapError} After `close()`, with code `ERR_SOCKMAP_CLOSED`; or `maxRate` was given and there is no addon.
	@see https://man7.org/linux/man-pages/man2/splice.2.html What carries it where sockmap cannot
	*/
	splice(client: Socket, upstream: Socket, context?: unknown, options: TunnelOptions = {}): Tunnel {
		if (this.#closing) {
			throw new SockmapError('Cannot carry another tunnel after `tunnels.close()`.', {code: 'ERR_SOCKMAP_CLOSED'});
		}

		return this.#carry({
			kind: 'pair', client: checkSocket('client', client), upstream: checkSocket('upstream', upstream), context,
			options: checkTunnelOptions(options, this.#options),
		});
	}

	/**
	Counters of all tunnels since the beginning, open and closed ones.
	*/
	stats(): TunnelsStats {
		return {...this.#totals.stats(this.#open), dialling: this.#gate.dialling, wrongCredentials: this.#gate.attempts.total};
	}

	/**
	When the last byte came from either end of the tunnel, for those who would have listened to `data` to know.
	*/
	lastActivity(tunnel: Tunnel): Date {
		return tunnel.lastActivity();
	}

	/**
	Stops listening to the proxy, while the tunnels live on. `sockmap()` attaches to it anew.
	*/
	detach(): void {
		this.#stopListening?.();
		this.#stopListening = undefined;
	}

	/**
	Detaches from the proxy and closes every tunnel gracefully. Resolves after the last `close`.

	With a `timeout`, what is left after so many milliseconds is reset. Without one, it takes as long as the slowest reader.

	After it, upgrades are the proxy's own again, `connect()` and `forward()` answer 503, and `splice()` throws.
	*/
	async close({timeout}: {readonly timeout?: number} = {}): Promise<void> {
		const timer = timeout === undefined ? undefined : setTimeout(() => {
			for (const tunnel of this.#open) {
				tunnel.reset();
			}
		}, timeout);
		this.#closing ??= this.#closeAll();
		await this.#closing;
		clearTimeout(timer);
	}

	/**
	Has open tunnels keep the process alive, as they do by default.
	*/
	ref(): this {
		return this.#setRef(true);
	}

	/**
	Lets the process end while tunnels are open, as `unref()` of a socket does.
	*/
	unref(): this {
		return this.#setRef(false);
	}

	async #closeAll(): Promise<void> {
		this.detach();
		this.#gate.close();
		await Promise.all([...this.#open].map(async tunnel => tunnel.close()));
		this.#relay.retire();
	}

	#setRef(wantsRef: boolean): this {
		this.#wantsRef = wantsRef;
		if (wantsRef) {
			this.#relay.ref();
		} else {
			this.#relay.unref();
		}

		for (const tunnel of this.#open) {
			refSockets(tunnel, wantsRef);
		}

		return this;
	}

	#carry(origin: TunnelOrigin): Tunnel {
		const {client, upstream} = origin;
		// A CONNECT request has been counted, and let in, before.
		const excess = origin.kind === 'connect' ? undefined : this.#limits.excess(client);
		const tunnel = new Tunnel(origin, {id: this.#totals.opened(), leave: this.#limits.enter(client), onOver: this.#onOver});
		const stream = new StreamCarrier({client, upstream}, origin.options, tunnel);
		tunnel.carriedBy(stream);
		if (origin.options.maxRate > 0) {
			tune(tunnel); // From its first byte on. What else there is to set is for tunnels that last.
		}

		for (const refusal of this.#choice.unavailable) {
			this.#refuse(tunnel, refusal);
		}

		for (const engine of excess ? this.#choice.engines : []) {
			this.#refuse(tunnel, {engine, step: `stay within ${excess!.limit}`, reason: excess!.reason});
		}

		this.#open.add(tunnel);
		this.#activity.add(tunnel);
		if (!this.#wantsRef) {
			refSockets(tunnel, false);
		}

		this.#tell('tunnel', tunnel);
		this.#promoteSoon({
			tunnel, stream, engines: excess ? [] : this.#choice.engines,
		});
		return tunnel;
	}

	#promoteSoon(attempt: OwnAttempt): void {
		attempt.tunnel.waiting = this.#storm.add(attempt);
		if (attempt.engines.length === 0) {
			queueMicrotask(() => {
				this.#promote(attempt);
			});
		}
	}

	// It is still there after what a storm takes, and will be for a while.
	#settle(attempt: OwnAttempt): void {
		const {tunnel, engines} = attempt;
		tunnel.waiting = undefined;
		if (tunnel.isOpen() && tunnel.options.maxRate === 0) {
			tune(tunnel);
		}

		if (engines.length > 0) {
			this.#promote(attempt);
		}
	}

	#promote(attempt: OwnAttempt): void {
		const {tunnel, stream, engines} = attempt;
		// Each by its name: what is spread and then has more added becomes a dictionary in V8, of more than 2 kB.
		promote({
			tunnel,
			stream,
			engines,
			relay: this.#relay,
			ifItPays: this.#options.engine === 'auto',
			onKept: () => {
				debug('tunnel %d: kept in streams', tunnel.id);
				this.#tell('kept', tunnel);
			},
			onRefused: refusal => {
				this.#refuse(tunnel, refusal);
			},
			onPromoted: () => {
				debug('tunnel %d: promoted to %s', tunnel.id, tunnel.engine);
				this.#tell('promoted', tunnel);
			},
		});
	}

	#refuse(tunnel: Tunnel, refusal: Refusal): void {
		this.#totals.refused(refusal);
		tunnel.skip(refusal);
		debug('tunnel %d: not on %s: %s', tunnel.id, refusal.engine, refusal.reason);
	}

	// One for all of them: a closure for each would weigh as much as half a tunnel.
	readonly #onOver = (tunnel: Tunnel, stats: TunnelStats) => {
		this.#totals.closed(stats);
		this.#open.delete(tunnel);
		this.#activity.delete(tunnel);
		if (tunnel.waiting) {
			tunnel.waiting.item = undefined;
		}

		if (debug.enabled) { // What three arguments cost it where it is not is more than all else here.
			debug('tunnel %d: closed: %o', tunnel.id, stats);
		}

		this.#tell('close', tunnel, stats);
	};

	// What a listener throws is an uncaught exception, as it would be anywhere. But it must not stop us halfway.
	#tell<Name extends keyof TunnelsEvents>(name: Name, ...details: TunnelsEvents[Name]): void {
		try {
			this.emit(name, ...details as any); // eslint-disable-line @typescript-eslint/no-unsafe-argument
		} catch (error) {
			process.nextTick(() => {
				throw error;
			});
		}
	}
}

function refSockets(tunnel: Tunnel, wantsRef: boolean): void {
	for (const socket of tunnel.isDetached ? [] : [tunnel.client, tunnel.upstream]) {
		if (wantsRef) {
			socket.ref();
		} else {
			socket.unref();
		}
	}
}

function checkSocket(name: string, socket: unknown): Socket {
	if (!(socket instanceof Socket)) {
		throw new TypeError(`Expected \`${name}\` to be a net.Socket, but got ${inspect(socket, {depth: 0})}.`);
	}

	return socket;
}

const debug = debuglog('sockmap');
