import {randomBytes} from 'node:crypto';
import {STATUS_CODES, request as sendRequest, type IncomingMessage, type ServerResponse} from 'node:http';
import {type Socket} from 'node:net';
import {pipeline} from 'node:stream';
import {debuglog} from 'node:util';
import {admit} from './admit.ts';
import {Rejection, proxyName} from './answer.ts';
import {parseAuthority, showUrl, type Target} from './authority.ts';
import {checkConnectOptions} from './checks.ts';
import {type Gate} from './gate.ts';
import {type CheckedConnectOptions, type ConnectOptions} from './options.ts';

export type Forwarding = {
	readonly request: IncomingMessage;
	readonly response: ServerResponse;
	readonly options: ConnectOptions | undefined;
	readonly defaults: CheckedConnectOptions;
	readonly gate: Gate;
	readonly onRejected: (rejection: Rejection) => void;
};

/**
Plain HTTP through the proxy: the request with an absolute URL goes where the same questions as for CONNECT let it go. Resolves once the response has begun, or the client was told why there is none.
*/
export async function forward({request, response, options, defaults, gate, onRejected}: Forwarding): Promise<void> {
	const checked = checkConnectOptions(options, defaults);
	const {allow, connectTimeout, idleTimeout} = checked;
	try {
		let path = '';
		const {upstream, target} = await admit({
			request, client: request.socket, allow, connectTimeout, gate, access: gate.access.with(options),
			parse() {
				const location = parse(request);
				({path} = location);
				return location.target;
			},
		});
		await exchange({request, response, upstream, path, target, idleTimeout});
	} catch (error) {
		if (!(error instanceof Rejection)) {
			throw error;
		}

		debug('%s %s: %d %s', request.method, showUrl(request.url), error.status, error.message);
		if (!request.socket.destroyed) {
			onRejected(error);
		}

		if (response.headersSent) {
			response.destroy();
		} else {
			const {status, headers, body} = error;
			response.writeHead(status, STATUS_CODES[status] ?? 'Refused', {...headers, 'Content-Length': body.length});
			response.end(body);
		}
	}
}

function parse({url = '', headers}: IncomingMessage): {readonly target: Target; readonly path: string} {
	const {groups} = /^http:\/\/(?<authority>[^/?#]*)(?<path>[^#]*)$/i.exec(url) ?? {};
	const authority = groups?.authority ?? '';
	const target = parseAuthority(/:\d*$/.test(authority.replace(/^\[.*]/, '')) ? authority : `${authority}:80`);
	if (!groups || !target) {
		throw new Rejection(400, `Expected a URL that looks like http://example.com/, but got ${showUrl(url)}.`, {error: 'http_request_error'});
	}

	if (headers.via?.includes(pseudonym)) {
		throw new Rejection(502, 'This request has been here before.', {error: 'proxy_loop_detected'});
	}

	const path = groups.path!;
	return {target, path: path.startsWith('/') ? path : `/${path}`};
}

type Exchange = {
	readonly request: IncomingMessage;
	readonly response: ServerResponse;
	readonly upstream: Socket;
	readonly path: string;
	readonly target: Target;
	readonly idleTimeout: number;
};

async function exchange({request, response, upstream, path, target, idleTimeout}: Exchange): Promise<void> {
	const {method = 'GET', httpVersion} = request;
	return new Promise((resolve, reject) => {
		// All of them at once: with `Expect` among them, they are sent before this returns.
		const outgoing = sendRequest({
			method,
			path,
			headers: {
				...toRecord(endToEnd(request)),
				host: hostOf(target),
				...bodyFraming(request),
				via: [...(request.headers.via ? [request.headers.via] : []), `${httpVersion} ${pseudonym}`].join(', '),
				connection: 'close',
			},
			createConnection: () => upstream,
		});
		if (idleTimeout > 0) {
			outgoing.setTimeout(idleTimeout, () => {
				outgoing.destroy(new Rejection(504, `There was no byte of a response for ${idleTimeout} ms.`, {error: 'connection_timeout'}));
			});
		}

		outgoing.once('response', incoming => {
			const headers = [...endToEnd(incoming), ['Via', [...(incoming.headers.via ? [incoming.headers.via] : []), `${incoming.httpVersion} ${pseudonym}`].join(', ')]];
			response.writeHead(incoming.statusCode!, incoming.statusMessage, headers.flat());
			pipeline(incoming, response, ignore);
			resolve();
		});
		outgoing.on('error', error => {
			reject(error instanceof Rejection ? error : new Rejection(502, `The connection ended without a response: ${error.message}.`, {error: 'connection_terminated'}));
		});
		response.once('close', () => {
			outgoing.destroy();
		});
		pipeline(request, outgoing, ignore);
	});
}

// What is about this connection only stays here, and so do credentials.
function endToEnd({rawHeaders, headers}: IncomingMessage): ReadonlyArray<readonly [string, string]> {
	const named = new Set((headers.connection ?? '').toLowerCase().split(',').map(name => name.trim()));
	return Array.from({length: rawHeaders.length / 2}, (_, index) => [rawHeaders[index * 2]!, rawHeaders[(index * 2) + 1]!] as const)
		.filter(([name]) => !hopByHop.has(name.toLowerCase()) && !named.has(name.toLowerCase()));
}

function toRecord(pairs: ReadonlyArray<readonly [string, string]>): Record<string, string[]> {
	const record = new Map<string, string[]>();
	for (const [name, value] of pairs) {
		const key = name.toLowerCase();
		if (key !== 'host') {
			record.set(key, [...record.get(key) ?? [], value]);
		}
	}

	return Object.fromEntries(record);
}

// The URL is what counts, whatever the client's Host says.
function hostOf({host, port}: Target): string {
	const name = host.includes(':') ? `[${host}]` : host;
	return port === 80 ? name : `${name}:${port}`;
}

// Node does not chunk the body of a DELETE by itself.
function bodyFraming({headers}: IncomingMessage): Record<string, string> {
	return headers['transfer-encoding'] === undefined ? {} : {'transfer-encoding': 'chunked'};
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

const debug = debuglog('sockmap');
const hopByHop: ReadonlySet<string> = new Set([
	'connection', 'proxy-connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'proxy-authenticate', 'proxy-authorization', 'proxy-authentication-info', 'via',
]);
// Not the name of the machine: that is nobody's business.
const pseudonym = `${proxyName}-${randomBytes(6).toString('hex')}`;
