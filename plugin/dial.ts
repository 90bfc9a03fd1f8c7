import net, {isIP, type Socket, type TcpNetConnectOpts} from 'node:net';
import {type DuplexOptions} from 'node:stream';
import {Rejection, type ProxyError} from './answer.ts';
import {type Attempt} from './attempt.ts';
import {familyOf} from './addresses.ts';
import {formatTarget, type Target} from './authority.ts';

export type ConnectTo = {
	/**
	What to dial, and nothing else: nobody looks the name up again.
	*/
	readonly addresses: readonly string[];
	readonly localAddress?: string | undefined;
};

/**
Connects to the first address that answers, of either family.
*/
export async function connectTo(target: Target, {addresses, localAddress}: ConnectTo, attempt: Attempt): Promise<Socket> {
	attempt.throwIfGivenUp();
	const usable = localAddress === undefined ? addresses : addresses.filter(address => familyOf(address) === familyOf(localAddress));
	return new Promise((resolve, reject) => {
		const name = formatTarget(target);
		if (usable.length === 0) {
			reject(new Rejection(502, `Could not connect to ${name}: it has no address of the family of ${localAddress}.`, {error: 'destination_ip_unroutable'}));
			return;
		}

		const all = usable.map(address => ({address, family: isIP(address)}));
		const options: TcpNetConnectOpts & DuplexOptions = {
			host: all.length === 1 ? usable[0]! : target.host,
			port: target.port,
			...(localAddress !== undefined && {localAddress}),
			lookup(_hostname, {all: wantsAll}, callback) {
				if (wantsAll) {
					callback(null, all);
				} else {
					callback(null, all[0]!.address, all[0]!.family);
				}
			},
			autoSelectFamily: all.length > 1,
			allowHalfOpen: true,
			noDelay: true,
			// What Node adds to its copy of the options. V8 makes new hidden classes for a copy that grows, and finds nothing in its caches for them: 8 µs for each socket.
			emitClose: false,
			autoDestroy: true,
			decodeStrings: false,
		};
		const upstream = net.connect(options);

		const onConnect = () => {
			settle();
			resolve(upstream);
		};

		const onError = (error: NodeJS.ErrnoException) => {
			settle();
			reject(unreachable(name, error));
		};

		const onGivenUp = () => {
			settle();
			upstream.destroy();
			reject(attempt.reason!);
		};

		const settle = () => {
			upstream.off('error', onError);
			upstream.on('error', ignore); // It may still fail, before or after somebody else listens.
			stopListening();
		};

		upstream.once('connect', onConnect);
		upstream.once('error', onError);
		const stopListening = attempt.onGivenUp(onGivenUp);
	});
}

function unreachable(name: string, {code = '', message}: NodeJS.ErrnoException): Rejection {
	const {status, error, reason} = failures[code] ?? {status: 502, error: 'destination_unavailable', reason: message};
	return new Rejection(status, `Could not connect to ${name}: ${reason} (${code}).`, {error});
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

const exhausted = {status: 503, error: 'connection_limit_reached', reason: 'this proxy has no more descriptors'} as const;

const failures: Readonly<Record<string, {readonly status: number; readonly error: ProxyError; readonly reason: string}>> = {
	ECONNREFUSED: {status: 502, error: 'connection_refused', reason: 'nothing listens there'},
	ECONNRESET: {status: 502, error: 'connection_terminated', reason: 'it was reset'},
	EHOSTUNREACH: {status: 502, error: 'destination_ip_unroutable', reason: 'the host cannot be reached'},
	ENETUNREACH: {status: 502, error: 'destination_ip_unroutable', reason: 'the network cannot be reached'},
	EACCES: {status: 502, error: 'destination_ip_unroutable', reason: 'this machine does not let it be reached'},
	ETIMEDOUT: {status: 504, error: 'connection_timeout', reason: 'it did not answer in time'},
	EADDRNOTAVAIL: {status: 503, error: 'connection_limit_reached', reason: 'no local address can be used for it'},
	EMFILE: exhausted,
	ENFILE: exhausted,
	ENOBUFS: exhausted,
	ENOMEM: exhausted,
};
