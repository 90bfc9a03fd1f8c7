import {type Rejection} from './answer.ts';
import {type Refusal} from './engine.ts';
import {type Engine} from './options.ts';
import {type Lanes, type TunnelsStats, type TunnelStats} from './stats.ts';
import {type Tunnel, type TunnelKind} from './tunnel.ts';

/**
The counters of all tunnels. Those of open ones are asked of them, so that only what is over has to be added up.
*/
export class Totals {
	readonly #refusals: Record<string, number> = {};
	readonly #rejected: Record<string, number> = {};
	readonly #rejectedFor: Record<string, number> = {};
	readonly #bytes = {clientToUpstream: 0, upstreamToClient: 0};
	readonly #closedBy = {
		end: 0, reset: 0, dead: 0, closed: 0, destroyed: 0, idle: 0, lifetime: 0, 'half-closed': 0,
	};

	#opened = 0;

	/**
	Returns the number of the tunnel.
	*/
	opened(): number {
		return ++this.#opened;
	}

	closed(stats: TunnelStats): void {
		addBytes(this.#bytes, stats);
		this.#closedBy[stats.reason!]++;
	}

	refused({engine, step}: Refusal): void {
		increment(this.#refusals, `${engine}: ${step}`);
	}

	rejected({status, details: {error}}: Rejection): void {
		increment(this.#rejected, String(status));
		if (error !== undefined) {
			increment(this.#rejectedFor, error);
		}
	}

	stats(open: Iterable<Tunnel> & {readonly size: number}): Omit<TunnelsStats, 'dialling' | 'wrongCredentials'> {
		const byEngine: Record<Engine, number> = {sockmap: 0, splice: 0, stream: 0};
		const byKind: Record<TunnelKind, number> = {upgrade: 0, connect: 0, pair: 0};
		const bytes = {...this.#bytes};
		for (const tunnel of open) {
			byEngine[tunnel.engine]++;
			byKind[tunnel.kind]++;
			addBytes(bytes, tunnel.lanes());
		}

		return {
			open: open.size,
			opened: this.#opened,
			closed: this.#opened - open.size,
			closedBy: {...this.#closedBy},
			byEngine,
			byKind,
			bytes,
			refusals: {...this.#refusals},
			rejected: {...this.#rejected},
			rejectedFor: {...this.#rejectedFor},
		};
	}
}

function addBytes(sum: {clientToUpstream: number; upstreamToClient: number}, {clientToUpstream, upstreamToClient}: Lanes): void {
	sum.clientToUpstream += clientToUpstream.bytes;
	sum.upstreamToClient += upstreamToClient.bytes;
}

function increment(counts: Record<string, number>, name: string): void {
	counts[name] = (counts[name] ?? 0) + 1;
}
