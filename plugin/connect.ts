import {type IncomingMessage} from 'node:http';
import {type Socket} from 'node:net';
import {debuglog, inspect} from 'node:util';
import {answer, Rejection} from './answer.ts';
import {formatTarget, parseAuthority, type Target} from './authority.ts';
import {checkConnectOptions} from './checks.ts';
import {dial} from './dial.ts';
import {type Limits} from './limits.ts';
import {type AllowFunction, type CheckedConnectOptions, type ConnectOptions} from './options.ts';
import {type Tunnel} from './tunnel.ts';

export type ConnectRequest = {
	readonly request: IncomingMessage;
	readonly client: Socket;
	readonly head: Uint8Array;
	readonly options: ConnectOptions;
	readonly defaults: CheckedConnectOptions;
	readonly limits: Limits;

	/**
	Aborted when there are to be no more tunnels.
	*/
	readonly signal: AbortSignal;
	readonly open: (upstream: Socket, target: Target, options: CheckedConnectOptions) => Tunnel;
	readonly onRejected: (status: number) => void;
};

/**
The CONNECT path: parse, ask the policy, dial, answer, open. The client gets an answer in any case, unless it has left.
*/
export async function connect({request, client, head, options, defaults, limits, signal, open, onRejected}: ConnectRequest): Promise<Tunnel | undefined> {
	// From the first moment on: the server has removed its own listener, and the client may leave while we think.
	client.on('error', ignore);
	const checked = checkConnectOptions(options, defaults);
	const {allow, connectTimeout, handshakeTimeout} = checked;
	checkHead(head);

	// Before anything else that the client has sent. What follows is kept behind it until the tunnel is open.
	if (head.length > 0) {
		client.unshift(head);
	}

	client.setNoDelay(true);
	const excess = limits.excess(client);
	const leave = limits.enter(client);
	const handshake = new AbortController();
	const onShutdown = () => {
		handshake.abort(signal.reason);
	};

	signal.addEventListener('abort', onShutdown);
	const timer = handshakeTimeout === 0 ? undefined : setTimeout(() => {
		handshake.abort(new Rejection(504, `There was no connection within ${handshakeTimeout} ms.`));
	}, handshakeTimeout);
	try {
		if (excess) {
			throw new Rejection(503, excess.reason, ['Retry-After: 1']);
		}

		const target = parse(request.url);
		if (signal.aborted) {
			onShutdown();
		}

		await unlessAborted(async () => authorize(allow, target, request), handshake.signal);
		const upstream = await dial(target, {client, connectTimeout, signal: handshake.signal});
		if (handshake.signal.aborted) {
			upstream.destroy();
			handshake.signal.throwIfAborted();
		}

		// Neither Transfer-Encoding nor Content-Length: what follows is the tunnel.
		client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
		return open(upstream, target, checked);
	} catch (error) {
		if (error instanceof Rejection) {
			debug('%s: %d %s', request.url, error.status, error.message);
			if (!client.destroyed) {
				onRejected(error.status);
				answer(client, error);
			}

			return undefined;
		}

		throw error;
	} finally {
		clearTimeout(timer);
		signal.removeEventListener('abort', onShutdown);
		leave();
	}
}

// Whoever decides about the target may never come to a decision.
async function unlessAborted<Value>(decide: () => Promise<Value>, signal: AbortSignal): Promise<Value> {
	signal.throwIfAborted();
	const aborted = new Promise<never>((_resolve, reject) => {
		signal.addEventListener('abort', () => {
			reject(signal.reason as Rejection);
		});
	});
	return Promise.race([decide(), aborted]);
}

function parse(url = ''): Target {
	const target = parseAuthority(url);
	if (!target) {
		throw new Rejection(400, `Expected the target of CONNECT to look like example.com:443 or [::1]:443, but got ${inspect(url.slice(0, 300))}.`);
	}

	return target;
}

async function authorize(allow: AllowFunction, target: Target, request: IncomingMessage): Promise<void> {
	let isAllowed;
	try {
		isAllowed = await allow(target, request);
	} catch (error) {
		debug('allow() failed: %o', error);
		throw new Rejection(500, 'Could not find out whether this target is allowed.');
	}

	if (!isAllowed) {
		throw new Rejection(403, `This proxy does not allow tunnels to ${formatTarget(target)}.`);
	}
}

function checkHead(head: unknown): void {
	if (!(head instanceof Uint8Array)) {
		throw new TypeError(`Expected \`head\` to be a Buffer, but got ${inspect(head, {depth: 0})}.`);
	}
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

const debug = debuglog('sockmap');
