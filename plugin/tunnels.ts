import {type IncomingMessage} from 'node:http';
import {Socket} from 'node:net';
import {type Duplex} from 'node:stream';
import {debuglog, inspect} from 'node:util';
import {EventEmitter} from 'eventemitter3';
import {type Upgrade} from './attach.ts';
import {connect} from './connect.ts';
import {checkOptions, checkTunnelOptions} from './checks.ts';
import {chooseEngines, type Choice, type Refusal} from './engine.ts';
import {SockmapError} from './errors.ts';
import {tcpHandle} from './internals.ts';
import {native} from './native.ts';
import {
	type CheckedOptions, type CheckedTunnelOptions, type ConnectOptions, type Engine, type Options, type TunnelOptions,
} from './options.ts';
import {promote} from './promote.ts';
import {Relay} from './relay.ts';
import {type Ending, type Lanes, type TunnelsStats, type TunnelStats} from './stats.ts';
import {StreamCarrier} from './stream.ts';
import {Tunnel, type TunnelKind, type TunnelOrigin} from './tunnel.ts';

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
};

export class Tunnels extends EventEmitter<TunnelsEvents> {
	readonly #options: CheckedOptions;
	readonly #choice: Choice;
	readonly #relay: Relay;
	readonly #open = new Set<Tunnel>();
	readonly #dials = new AbortController();
	readonly #detach: (() => void) | undefined;
	readonly #refusals: Record<string, number> = {};
	readonly #closedBytes = {clientToUpstream: 0, upstreamToClient: 0};
	readonly #rejected: Record<string, number> = {};
	readonly #closedBy: Record<Ending['reason'], number> = {
		end: 0, reset: 0, dead: 0, closed: 0, destroyed: 0, idle: 0, lifetime: 0, 'half-closed': 0,
	};

	#opened = 0;
	#closing: Promise<void> | undefined;
	#wantsRef = true;

	/** @internal */
	constructor(options?: Options, attach?: (onUpgrade: (upgrade: Upgrade) => void) => () => void) {
		super();
		this.#options = checkOptions(options);
		this.#choice = chooseEngines(this.#options.engine);
		this.#relay = new Relay(this.#options.capacity);
		this.#detach = attach?.(({request, client, upstream}) => {
			this.#carry({
				kind: 'upgrade', client, upstream, context: request, options: this.#options,
			});
		});
	}

	/**
	Answers a CONNECT request: dials its target, if `allow` names it, and carries the tunnel.

	The client gets an answer in any case: 400 for a malformed target, 403 for one that is not allowed, 502 for one that cannot be reached, 504 for one that does not answer in time. Resolves with the tunnel, or with `undefined` if there is none.

	@example
	```
	server.on('connect', (request, socket, head) => tunnels.connect(request, socket, head));
	```
	*/
	async connect(request: IncomingMessage, socket: Duplex, head: Uint8Array, options: ConnectOptions = {}): Promise<Tunnel | undefined> {
		const client = checkSocket('socket', socket);
		return connect({
			request, client, head, options, defaults: this.#options, signal: this.#dials.signal,
			open: (upstream, target, checked) => this.#carry({
				kind: 'connect', client, upstream, context: options.context ?? request, target, options: checked,
			}),
			onRejected: status => {
				this.#rejected[status] = (this.#rejected[status] ?? 0) + 1;
			},
		});
	}

	/**
	Carries the tunnel between two connected sockets, which may be piped to each other already or not. For proxies written by hand.

	The sockets belong to the tunnel from here on. Close them by closing it.
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

	stats(): TunnelsStats {
		const byEngine: Record<Engine, number> = {sockmap: 0, splice: 0, stream: 0};
		const byKind: Record<TunnelKind, number> = {upgrade: 0, connect: 0, pair: 0};
		const bytes = {...this.#closedBytes};
		for (const tunnel of this.#open) {
			byEngine[tunnel.engine]++;
			byKind[tunnel.kind]++;
			addBytes(bytes, tunnel.lanes());
		}

		const open = this.#open.size;
		return {
			open, opened: this.#opened, closed: this.#opened - open, closedBy: {...this.#closedBy},
			byEngine, byKind, bytes, refusals: {...this.#refusals}, rejected: {...this.#rejected},
		};
	}

	/**
	Detaches from the proxy and closes every tunnel gracefully. Resolves after the last `close`.

	With a `timeout`, what is left after so many milliseconds is reset.
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
	Let open tunnels keep the process alive, as they do by default, or not.
	*/
	ref(): this {
		return this.#setRef(true);
	}

	unref(): this {
		return this.#setRef(false);
	}

	async #closeAll(): Promise<void> {
		this.#detach?.();
		this.#dials.abort();
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

	#carry(origin: Omit<TunnelOrigin, 'id'>): Tunnel {
		const {client, upstream} = origin;
		const tunnel = new Tunnel({id: ++this.#opened, ...origin});
		const onClosed = (ending: Ending) => {
			this.#over(tunnel, ending);
		};

		const stream = new StreamCarrier({client, upstream}, origin.options, onClosed);
		tunnel.carriedBy(stream);
		for (const refusal of this.#choice.unavailable) {
			this.#refuse(tunnel, refusal);
		}

		this.#open.add(tunnel);
		if (!this.#wantsRef) {
			refSockets(tunnel, false);
		}

		this.emit('tunnel', tunnel);
		// Not yet: whoever has made the tunnel may be about to listen to its sockets.
		queueMicrotask(() => {
			this.#promote(tunnel, stream, onClosed);
		});
		return tunnel;
	}

	#promote(tunnel: Tunnel, stream: StreamCarrier, onClosed: (ending: Ending) => void): void {
		promote({
			tunnel, stream, engines: this.#choice.engines, relay: this.#relay, onClosed,
			onKept: () => {
				boundBuffers(tunnel);
				this.emit('kept', tunnel);
			},
			onRefused: refusal => {
				this.#refuse(tunnel, refusal);
			},
			onPromoted: () => {
				this.emit('promoted', tunnel);
			},
		});
	}

	#refuse(tunnel: Tunnel, refusal: Refusal): void {
		const name = `${refusal.engine}: ${refusal.step}`;
		this.#refusals[name] = (this.#refusals[name] ?? 0) + 1;
		tunnel.skip(refusal);
		debug('tunnel %d: %s', tunnel.id, refusal.reason);
	}

	#over(tunnel: Tunnel, ending: Ending): void {
		const stats = tunnel.end(ending);
		addBytes(this.#closedBytes, stats);
		this.#closedBy[ending.reason]++;
		this.#open.delete(tunnel);
		debug('tunnel %d is over: %o', tunnel.id, stats);
		this.emit('close', tunnel, stats);
	}
}

function addBytes(sum: {clientToUpstream: number; upstreamToClient: number}, {clientToUpstream, upstreamToClient}: Lanes): void {
	sum.clientToUpstream += clientToUpstream.bytes;
	sum.upstreamToClient += upstreamToClient.bytes;
}

function refSockets({client, upstream}: Tunnel, wantsRef: boolean): void {
	for (const socket of [client, upstream]) {
		if (wantsRef) {
			socket.ref();
		} else {
			socket.unref();
		}
	}
}

// As the relay does for its own.
function boundBuffers({client, upstream}: Tunnel): void {
	for (const socket of [client, upstream]) {
		const fd = tcpHandle(socket)?.fd;
		if (fd !== undefined) {
			native?.bound(fd);
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
