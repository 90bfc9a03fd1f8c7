import {Buffer} from 'node:buffer';
import {type IncomingMessage, STATUS_CODES} from 'node:http';
import {type Socket} from 'node:net';
import {debuglog, inspect} from 'node:util';
import {formatTarget, parseAuthority, type Target} from './authority.ts';
import {checkConnectOptions} from './checks.ts';
import {dial, DialError} from './dial.ts';
import {type AllowFunction, type CheckedConnectOptions, type ConnectOptions} from './options.ts';
import {type Tunnel} from './tunnel.ts';

export type ConnectRequest = {
	readonly request: IncomingMessage;
	readonly client: Socket;
	readonly head: Uint8Array;
	readonly options: ConnectOptions;
	readonly defaults: CheckedConnectOptions;

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
export async function connect({request, client, head, options, defaults, signal, open, onRejected}: ConnectRequest): Promise<Tunnel | undefined> {
	// From the first moment on: the server has removed its own listener, and the client may leave while we think.
	client.on('error', ignore);
	const checked = checkConnectOptions(options, defaults);
	const {allow, connectTimeout} = checked;
	checkHead(head);

	// Before anything else that the client has sent. What follows is kept behind it until the tunnel is open.
	if (head.length > 0) {
		client.unshift(head);
	}

	client.setNoDelay(true);
	try {
		const target = parse(request.url);
		await authorize(allow, target, request);
		const upstream = await dial(target, {client, connectTimeout, signal});
		if (signal.aborted) {
			upstream.destroy();
			throw new Rejection(503, 'This proxy is shutting down.');
		}

		// Neither Transfer-Encoding nor Content-Length: what follows is the tunnel.
		client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
		return open(upstream, target, checked);
	} catch (error) {
		if (error instanceof Rejection || error instanceof DialError) {
			if (!client.destroyed) {
				onRejected(error.status);
				answer(client, error.status, error.message);
			}

			return undefined;
		}

		throw error;
	}
}

class Rejection extends Error {
	readonly status: number;

	constructor(status: number, message: string) {
		super(message);
		this.status = status;
	}
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

function answer(client: Socket, status: number, sentence: string): void {
	const body = `${sentence}\n`;
	client.end([
		`HTTP/1.1 ${status} ${STATUS_CODES[status]!}`,
		'Content-Type: text/plain; charset=utf-8',
		`Content-Length: ${Buffer.byteLength(body)}`,
		'Connection: close',
		'',
		body,
	].join('\r\n'));

	// Closing with bytes unread would make the kernel send a reset, which can overtake the answer. So read, until the client closes or goes quiet.
	client.resume();
	client.setTimeout(lingerTime, () => {
		client.destroy();
	});
}

function checkHead(head: unknown): void {
	if (!(head instanceof Uint8Array)) {
		throw new TypeError(`Expected \`head\` to be a Buffer, but got ${inspect(head, {depth: 0})}.`);
	}
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

const debug = debuglog('sockmap');
const lingerTime = 2000;
