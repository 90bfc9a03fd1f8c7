import {type IncomingMessage} from 'node:http';
import {type Socket} from 'node:net';
import {debuglog, inspect} from 'node:util';
import {admit, type Admitted} from './admit.ts';
import {answer, Rejection} from './answer.ts';
import {parseAuthority, showUrl, type Target} from './authority.ts';
import {checkConnectOptions} from './checks.ts';
import {type Gate} from './gate.ts';
import {type Limits} from './limits.ts';
import {type CheckedConnectOptions, type ConnectOptions} from './options.ts';
import {type Tunnel} from './tunnel.ts';

export type ConnectRequest = {
	readonly request: IncomingMessage;
	readonly client: Socket;
	readonly head: Uint8Array;
	readonly options: ConnectOptions | undefined;
	readonly defaults: CheckedConnectOptions;
	readonly limits: Limits;
	readonly gate: Gate;
	readonly open: (admitted: Admitted, options: CheckedConnectOptions) => Tunnel;
	readonly onRejected: (rejection: Rejection) => void;
};

/**
The CONNECT path: admit, answer, open. The client gets an answer in any case, unless it has left.
*/
export async function connect({request, client, head, options, defaults, limits, gate, open, onRejected}: ConnectRequest): Promise<Tunnel | undefined> {
	// From the first moment on: the server has removed its own listener, and the client may leave while we think.
	client.on('error', ignore);
	const checked = checkConnectOptions(options, defaults);
	const access = gate.access.with(options);
	const {allow, connectTimeout, handshakeTimeout} = checked;
	checkHead(head);

	// Before anything else that the client has sent. What follows is kept behind it until the tunnel is open.
	if (head.length > 0) {
		client.unshift(head);
	}

	client.setNoDelay(true);
	const excess = limits.excess(client);
	const leave = limits.enter(client);
	try {
		if (excess) {
			throw new Rejection(503, excess.reason, {error: 'connection_limit_reached', headers: {'Retry-After': 1}});
		}

		const admitted = await admit({
			request, client, allow, access, gate, connectTimeout, handshakeTimeout, parse: () => parse(request.url),
		});
		if (gate.closed) {
			admitted.upstream.destroy();
			throw gate.closed;
		}

		// Neither Transfer-Encoding nor Content-Length: what follows is the tunnel.
		client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
		return open(admitted, checked);
	} catch (error) {
		if (error instanceof Rejection) {
			debug('%s: %d %s', showUrl(request.url), error.status, error.message);
			if (!client.destroyed) {
				onRejected(error);
				answer(client, error);
			}

			return undefined;
		}

		throw error;
	} finally {
		leave();
	}
}

function parse(url = ''): Target {
	const target = parseAuthority(url);
	if (!target) {
		throw new Rejection(400, `Expected the target of CONNECT to look like example.com:443 or [::1]:443, but got ${showUrl(url)}.`, {error: 'http_request_error'});
	}

	return target;
}

function checkHead(head: unknown): void {
	if (!(head instanceof Uint8Array)) {
		throw new TypeError(`Expected \`head\` to be a Buffer, but got ${inspect(head, {depth: 0})}.`);
	}
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

const debug = debuglog('sockmap');
