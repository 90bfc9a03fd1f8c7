import {debuglog} from 'node:util';
import {tcpDescriptor} from './internals.ts';
import {native} from './native.ts';
import {type CheckedTunnelOptions} from './options.ts';
import {type Tunnel} from './tunnel.ts';

/**
Has the kernel look after both connections of a tunnel: find out whether the peers are still there, and keep to the rate. It goes on whatever carries the tunnel.
*/
export function tune({client, upstream, options: {keepAlive, userTimeout, maxRate}}: Tunnel): void {
	// Zero is not set.
	const {idle, interval, count} = keepAlive ?? {idle: 0, interval: 0, count: 0};
	const tuning = {
		keepAliveIdle: toSeconds(idle), keepAliveInterval: toSeconds(interval), keepAliveCount: count, userTimeout: userTimeout ?? silenceOf(keepAlive), pacingRate: maxRate,
	};
	for (const socket of [client, upstream]) {
		const fd = tcpDescriptor(socket);
		if (fd !== undefined && native) {
			try {
				native.tune(fd, tuning);
			} catch (error) {
				debug('%o', error); // A connection that is gone already takes no options.
			}
		} else if (keepAlive) {
			socket.setKeepAlive(true, keepAlive.idle);
		}
	}
}

// The kernel counts these in whole seconds.
function toSeconds(milliseconds: number): number {
	return Math.ceil(milliseconds / 1000);
}

// When the last question has gone without an answer. The same should hold for data without an acknowledgement.
function silenceOf(keepAlive: CheckedTunnelOptions['keepAlive']): number {
	return keepAlive ? Math.min(keepAlive.idle + (keepAlive.interval * keepAlive.count), longest) : 0;
}

const debug = debuglog('sockmap');
const longest = 2_147_483_647;
