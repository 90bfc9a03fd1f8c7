import {type Socket} from 'node:net';
import {type End, type Ends} from './carrier.ts';
import {tcpDescriptor} from './internals.ts';
import {native, type NativeSummary} from './native.ts';
import {type ConnectionStats} from './stats.ts';

/**
What TCP knows about the connections to both ends. It knows nothing any more once a socket is closed, so what was seen last is kept.
*/
export class Connections {
	readonly #sockets: Ends<Socket>;
	readonly #seen: {client?: NativeSummary; upstream?: NativeSummary} = {};

	constructor(sockets: Ends<Socket>) {
		this.#sockets = sockets;
	}

	/**
	At both ends, or at one.
	*/
	look(ends: readonly End[] = ['client', 'upstream']): Partial<Ends<NativeSummary>> {
		for (const end of ends) {
			const fd = tcpDescriptor(this.#sockets[end]);
			const summary = fd === undefined ? undefined : native?.summary(fd);
			if (summary !== undefined) {
				this.#seen[end] = summary;
			}
		}

		return this.#seen;
	}
}

export function toConnectionStats({client, upstream}: Partial<Ends<NativeSummary>>): Ends<ConnectionStats | undefined> {
	return {client: withoutTimes(client), upstream: withoutTimes(upstream)};
}

function withoutTimes(summary: NativeSummary | undefined): ConnectionStats | undefined {
	return summary && {rtt: summary.rtt, retransmits: summary.retransmits};
}
