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
	readonly #seen: {client: ConnectionStats | undefined; upstream: ConnectionStats | undefined} = {client: undefined, upstream: undefined};

	constructor(sockets: Ends<Socket>) {
		this.#sockets = sockets;
	}

	/**
	At both ends.
	*/
	look(): Ends<ConnectionStats | undefined> {
		this.lookAt('client');
		this.lookAt('upstream');
		return this.#seen;
	}

	lookAt(end: End): void {
		const fd = tcpDescriptor(this.#sockets[end]);
		const seen = fd === undefined || native === undefined ? -1 : native.look(fd);
		if (seen >= 0) {
			const retransmits = Math.floor(seen / word);
			this.#seen[end] = {rtt: (seen - (retransmits * word)) / 1000, retransmits};
		}
	}
}

const word = 2 ** 32;

export function toConnectionStats({client, upstream}: Partial<Ends<NativeSummary>>): Ends<ConnectionStats | undefined> {
	return {client: withoutTimes(client), upstream: withoutTimes(upstream)};
}

function withoutTimes(summary: NativeSummary | undefined): ConnectionStats | undefined {
	return summary && {rtt: summary.rtt, retransmits: summary.retransmits};
}
