import {debuglog} from 'node:util';
import {tcpDescriptor} from './internals.ts';
import {native} from './native.ts';
import {type KeepAlive} from './options.ts';
import {type Tunnel} from './tunnel.ts';

/**
Has the kernel look after both connections of a tunnel: find out whether the peers are still there, and keep to the rate. It goes on whatever carries the tunnel.
*/
export function tune({client, upstream, options: {keepAlive, userTimeout, maxRate}}: Tunnel): void {
	const questions = keepAlive ?? none;
	const tuning = {
		keepAliveIdle: toSeconds(questions.idle),
		keepAliveInterval: toSeconds(questions.interval),
		keepAliveCount: questions.count,
		userTimeout: userTimeout ?? silenceOf(questions),
		pacingRate: maxRate,
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
function silenceOf({idle, interval, count}: KeepAlive): number {
	return Math.min(idle + (interval * count), longest);
}

// The kernel is not told what is zero.
const none: KeepAlive = {idle: 0, interval: 0, count: 0};

const debug = debuglog('sockmap');
const longest = 2_147_483_647;
