import net, {type Socket} from 'node:net';
import {Rejection} from './answer.ts';
import {formatTarget, type Target} from './authority.ts';

export type DialOptions = {
	readonly client: Socket;
	readonly connectTimeout: number;

	/**
	Aborted with a `Rejection`.
	*/
	readonly signal: AbortSignal;
};

/**
Connects to the target. Gives up when the time is over, when the client has left, or when the signal says so.
*/
export async function dial(target: Target, {client, connectTimeout, signal}: DialOptions): Promise<Socket> {
	return new Promise((resolve, reject) => {
		const name = formatTarget(target);
		const upstream = net.connect({...target, allowHalfOpen: true, noDelay: true});

		const fail = (status: number, message: string) => {
			settle();
			upstream.destroy();
			reject(new Rejection(status, message));
		};

		const onConnect = () => {
			settle();
			resolve(upstream);
		};

		const onError = ({code = '', message}: NodeJS.ErrnoException) => {
			fail(code === 'ETIMEDOUT' ? 504 : 502, `Could not connect to ${name}: ${reasons[code] ?? message} (${code}).`);
		};

		const onClientGone = () => {
			fail(502, `The client left before ${name} has answered.`);
		};

		const onAbort = () => {
			const {status, message} = signal.reason as Rejection;
			fail(status, message);
		};

		const timer = connectTimeout === 0 ? undefined : setTimeout(() => {
			fail(504, `Could not connect to ${name} within ${connectTimeout} ms.`);
		}, connectTimeout);

		const settle = () => {
			clearTimeout(timer);
			upstream.off('connect', onConnect);
			upstream.off('error', onError);
			upstream.on('error', ignore); // It may still fail, before or after somebody else listens.
			client.off('close', onClientGone);
			signal.removeEventListener('abort', onAbort);
		};

		upstream.once('connect', onConnect);
		upstream.once('error', onError);
		client.once('close', onClientGone);
		signal.addEventListener('abort', onAbort);
		if (signal.aborted) {
			onAbort();
		} else if (client.destroyed) {
			onClientGone();
		}
	});
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

const reasons: Readonly<Record<string, string>> = {
	ECONNREFUSED: 'nothing listens there',
	ECONNRESET: 'it was reset',
	EHOSTUNREACH: 'the host cannot be reached',
	ENETUNREACH: 'the network cannot be reached',
	ENOTFOUND: 'there is no such host',
	EAI_AGAIN: 'its name could not be looked up for now',
	ETIMEDOUT: 'it did not answer in time',
	EADDRNOTAVAIL: 'no local address can be used for it',
};
