import {type Socket} from 'node:net';
import {type Ends} from './carrier.ts';
import {tcpDescriptor} from './internals.ts';
import {native, type NativeSummary} from './native.ts';
import {type ConnectionStats} from './stats.ts';

/**
What TCP knows about the connection of a socket that Node holds.
*/
export function look(socket: Socket): ConnectionStats | undefined {
	const fd = tcpDescriptor(socket);
	return fd !== undefined && native?.look(fd, answer) ? {rtt: answer[0]!, retransmits: answer[1]!} : undefined;
}

const answer = new Float64Array(2);

export function toConnectionStats({client, upstream}: Partial<Ends<NativeSummary>>): Ends<ConnectionStats | undefined> {
	return {client: withoutTimes(client), upstream: withoutTimes(upstream)};
}

function withoutTimes(summary: NativeSummary | undefined): ConnectionStats | undefined {
	return summary && {rtt: summary.rtt, retransmits: summary.retransmits};
}
