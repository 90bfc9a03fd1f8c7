import {type Socket} from 'node:net';
import {type Ends} from './carrier.ts';
import {tcpDescriptor, tcpHandle} from './internals.ts';
import {networkError} from './lifetime.ts';
import {native, type NativeSummary} from './native.ts';
import {type ConnectionStats} from './stats.ts';

/**
What TCP knows about the connection of a socket that Node holds.
*/
export function look(socket: Socket): ConnectionStats | undefined {
	const fd = tcpDescriptor(socket);
	return fd !== undefined && native?.look(fd, answer) ? answered() : undefined;
}

/**
The same for a socket whose end has come, and the reset behind that end, if it was one. When bytes came right before it, libuv reports it as the end of the stream. It is told once.
*/
export function lookBehindEnd(socket: Socket): {readonly connection: ConnectionStats; readonly reset: NodeJS.ErrnoException | undefined} | undefined {
	const handle = native && tcpHandle(socket);
	if (handle === undefined) {
		return undefined;
	}

	const errno = native!.failure(handle.fd, answer);
	return {connection: answered(), reset: errno === 0 ? undefined : networkError(errno)};
}

function answered(): ConnectionStats {
	return {rtt: answer[0]!, retransmits: answer[1]!};
}

const answer = new Float64Array(2);

export function toConnectionStats({client, upstream}: Partial<Ends<NativeSummary>>): Ends<ConnectionStats | undefined> {
	return {client: withoutTimes(client), upstream: withoutTimes(upstream)};
}

function withoutTimes(summary: NativeSummary | undefined): ConnectionStats | undefined {
	return summary && {rtt: summary.rtt, retransmits: summary.retransmits};
}
