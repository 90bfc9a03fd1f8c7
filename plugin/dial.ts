import net, {isIP, type Socket} from 'node:net';
import {Rejection, type ProxyError} from './answer.ts';
import {familyOf} from './addresses.ts';
import {formatTarget, type Target} from './authority.ts';

export type DialOptions = {
	readonly client: Socket;
	readonly connectTimeout: number;

	/**
	Aborted with a `Rejection`.
	*/
	readonly signal: AbortSignal;

	/**
	Connects. What it still has open when it is aborted is its own to close.
	*/
	readonly reach: (signal: AbortSignal) => Promise<Socket>;
};

/**
Connects to the target, by whatever `reach` does. Gives up when the time is over, when the client has left, or when the signal says so.
*/
export async function dial(target: Target, {client, connectTimeout, signal, reach}: DialOptions): Promise<Socket> {
	const name = formatTarget(target);
	const attempt = new AbortController();
	const onClientGone = () => {
		attempt.abort(new Rejection(502, `The client left before ${name} has answered.`));
	};

	const onAbort = () => {
		attempt.abort(signal.reason);
	};

	const timer = connectTimeout === 0 ? undefined : setTimeout(() => {
		attempt.abort(new Rejection(504, `Could not connect to ${name} within ${connectTimeout} ms.`, {error: 'connection_timeout'}));
	}, connectTimeout);
	const stopWatching = onceClosed(client, onClientGone);
	signal.addEventListener('abort', onAbort);
	try {
		if (signal.aborted) {
			onAbort();
		} else if (client.destroyed) {
			onClientGone();
		}

		return await unlessAborted(async () => reach(attempt.signal), attempt.signal);
	} finally {
		clearTimeout(timer);
		stopWatching();
		signal.removeEventListener('abort', onAbort);
	}
}

// One listener for all that is dialled for a client, who may have pipelined many requests. Node would warn of a leak.
function onceClosed(socket: Socket, listener: () => void): () => void {
	let waiting = waitingFor.get(socket);
	if (waiting === undefined) {
		const listeners = new Set<() => void>();
		const onClose = () => {
			for (const listener of listeners) {
				listener();
			}
		};

		socket.once('close', onClose);
		waiting = {listeners, onClose};
		waitingFor.set(socket, waiting);
	}

	const {listeners, onClose} = waiting;
	listeners.add(listener);
	return () => {
		listeners.delete(listener);
		if (listeners.size === 0) {
			socket.off('close', onClose);
			waitingFor.delete(socket);
		}
	};
}

const waitingFor = new WeakMap<Socket, {readonly listeners: Set<() => void>; readonly onClose: () => void}>();

/**
What `work` comes to, or the reason for which the signal was aborted. A socket that comes too late is destroyed.
*/
export async function unlessAborted<Value>(work: () => Promise<Value>, signal: AbortSignal): Promise<Value> {
	signal.throwIfAborted();
	return new Promise((resolve, reject) => {
		const onAbort = () => {
			reject(signal.reason as Error);
		};

		signal.addEventListener('abort', onAbort);
		const settle = async () => {
			try {
				const value = await work();
				if (signal.aborted && value instanceof net.Socket) {
					value.destroy();
				}

				resolve(value);
			} catch (error) {
				reject(error); // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
			} finally {
				signal.removeEventListener('abort', onAbort);
			}
		};

		void settle();
	});
}

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
export async function connectTo(target: Target, {addresses, localAddress}: ConnectTo, signal: AbortSignal): Promise<Socket> {
	signal.throwIfAborted();
	const usable = localAddress === undefined ? addresses : addresses.filter(address => familyOf(address) === familyOf(localAddress));
	return new Promise((resolve, reject) => {
		const name = formatTarget(target);
		if (usable.length === 0) {
			reject(new Rejection(502, `Could not connect to ${name}: it has no address of the family of ${localAddress}.`, {error: 'destination_ip_unroutable'}));
			return;
		}

		const all = usable.map(address => ({address, family: isIP(address)}));
		const upstream = net.connect({
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
		});

		const onConnect = () => {
			settle();
			resolve(upstream);
		};

		const onError = (error: NodeJS.ErrnoException) => {
			settle();
			reject(unreachable(name, error));
		};

		const onAbort = () => {
			settle();
			upstream.destroy();
			reject(signal.reason as Error);
		};

		const settle = () => {
			upstream.off('connect', onConnect);
			upstream.off('error', onError);
			upstream.on('error', ignore); // It may still fail, before or after somebody else listens.
			signal.removeEventListener('abort', onAbort);
		};

		upstream.once('connect', onConnect);
		upstream.once('error', onError);
		signal.addEventListener('abort', onAbort);
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
