import {type Ends} from './carrier.ts';
import {explain, type Refusal} from './engine.ts';
import {tcpHandle} from './internals.ts';
import {type NativeEngine, type NativeLimits, type NativeRefusal} from './native.ts';
import {PromotedCarrier} from './promoted.ts';
import {obstacle, quiesce, unflushed} from './quiesce.ts';
import {type Relay} from './relay.ts';
import {type StreamCarrier} from './stream.ts';
import {type Tunnel} from './tunnel.ts';

export type Attempt = {
	readonly tunnel: Tunnel;
	readonly stream: StreamCarrier;
	readonly engines: readonly NativeEngine[];

	/**
	Whether sockmap was chosen, and not asked for by name.
	*/
	readonly ifItPays: boolean;
	readonly relay: Relay;
	readonly onRefused: (refusal: Refusal) => void;
	readonly onPromoted: () => void;
	readonly onKept: () => void;
};

/**
Moves a tunnel from Node's streams into the relay: to the first engine that takes it, or not at all. A tunnel that stays goes on as if nothing had happened.
*/
export function promote(attempt: Attempt): void {
	const {tunnel: {client, upstream}, engines, relay, onRefused, onKept} = attempt;
	if (client.destroyed || upstream.destroyed) {
		return; // Its `close` is on the way.
	}

	if (engines.length === 0) {
		onKept();
		return;
	}

	const reason = obstacle(client, upstream);
	if (reason === undefined) {
		// The pipes go on meanwhile. Waiting with the reading stopped could wait for ever: an end may read only after it has been heard.
		const busy = unflushed(client, upstream);
		if (busy) {
			busy.write(nothing, () => {
				promote(attempt);
			});
			return;
		}
	}

	const quiet = reason ?? quiesce(client, upstream);
	if (typeof quiet === 'string') {
		for (const engine of engines) {
			onRefused({engine, step: 'take Node out of the path', reason: quiet});
		}
	} else {
		if (engines.some(engine => handOver(attempt, engine, quiet))) {
			return;
		}

		quiet.restore();
	}

	onKept();
}

function handOver(attempt: Attempt, engine: NativeEngine, quiet: Exclude<ReturnType<typeof quiesce>, string>): boolean {
	const {tunnel, stream, ifItPays, relay, onRefused, onPromoted} = attempt;
	if (engine === 'sockmap' && !(tcpHandle(tunnel.client) && tcpHandle(tunnel.upstream))) {
		onRefused({engine, step: 'take TCP sockets', reason: `The ${tcpHandle(tunnel.client) ? 'upstream' : 'client'} is a Unix socket, and redirection is between TCP sockets only.`});
		return false;
	}

	let carrier: PromotedCarrier;
	try {
		const {clientToUpstream, upstreamToClient} = stream.lanes();
		const sockets = {client: tunnel.client, upstream: tunnel.upstream};
		const streamed: Ends<number> = {client: clientToUpstream.bytes, upstream: upstreamToClient.bytes};
		carrier = new PromotedCarrier({
			engine, ifItPays, relay, sockets, quiet, streamed, owner: tunnel, lastActivity: stream.lastActivity(), limits: remaining(tunnel),
		});
	} catch (error) {
		onRefused(explain(engine, asRefusal(error), relay.pins));
		return false;
	}

	tunnel.carriedBy(carrier);
	stream.release();
	onPromoted();
	if (tunnel.options.detach) {
		carrier.letGo();
		tunnel.letGo();
	}

	return true;
}

function remaining({options, age}: Tunnel): NativeLimits {
	const {idleTimeout, maxLifetime, halfClosedTimeout} = options;
	return {idleTimeout, halfClosedTimeout, maxLifetime: maxLifetime === 0 ? 0 : Math.max(1, Math.round(maxLifetime - age))};
}

function asRefusal(error: unknown): NativeRefusal {
	const {step = 'hand over', message, code = '', errno = 0, syscall = ''} = error as Error & Partial<NativeRefusal>;
	return {
		step, message, code, errno, syscall,
	};
}

const nothing = new Uint8Array();
