import {Buffer} from 'node:buffer';
import {type IncomingMessage} from 'node:http';
import {isIP, type Socket} from 'node:net';
import tls, {type ConnectionOptions} from 'node:tls';
import type {SocksClient as SocksClientClass} from 'socks'; // `import {type …}` would leave an `import` behind, of a package that need not be there.
import {Rejection, type ProxyError} from './answer.ts';
import {formatTarget, parseAuthority, type Target} from './authority.ts';
import {type Attempt} from './attempt.ts';

/**
One proxy, or a chain of them, nearest first.
*/
export type ProxyChain = ProxyUrl | readonly ProxyUrl[];

/**
Where a proxy listens, with the credentials for it if need be: `http://user:password@proxy.example:3128`.

@see https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1 Credentials in a URL
*/
export type ProxyUrl = string | URL | {
	/**
	The same where `tls` comes with it.
	*/
	readonly url: string | URL;

	/**
	For the connection to an `https:` proxy, such as `ca`.

	@default What Node does: certificates are verified against its own list of authorities
	*/
	readonly tls?: ConnectionOptions;
};

/**
The next proxy, or a function that finds it for each request; `undefined` and an empty list stand for none. Where it throws, the client is answered with 500. See the option `upstreamProxy`.
*/
export type UpstreamProxy = ProxyChain | ((request: IncomingMessage, target: Target) => ProxyChain | undefined | Promise<ProxyChain | undefined>);

export type NextProxy = {
	readonly protocol: 'http:' | 'https:' | 'socks4:' | 'socks4a:' | 'socks5:' | 'socks5h:';

	/**
	Where it listens.
	*/
	readonly target: Target;
	readonly user: string;
	readonly password: string;
	readonly tls: ConnectionOptions | undefined;

	/**
	Without the credentials, for sentences.
	*/
	readonly name: string;
};

/**
Whether the proxy wants an address, so that the name is to be looked up here.
*/
export function wantsAddress({protocol}: NextProxy): 4 | 5 | undefined {
	return ({'socks4:': 4, 'socks5:': 5} as const)[protocol as string];
}

export function parseProxies(given: UpstreamProxy): (request: IncomingMessage, target: Target) => Promise<readonly NextProxy[]> {
	if (typeof given === 'function') {
		return async (request, target) => {
			try {
				return toChain(await given(request, target) ?? []);
			} catch {
				// What was thrown may well quote the credentials.
				throw new Rejection(500, 'Could not find out which proxy is next.', {error: 'proxy_configuration_error'});
			}
		};
	}

	const chain = toChain(given);
	return async () => chain;
}

/**
Has each proxy of the chain connect to the next one, and the last one to the target. `socket` is connected to the first one.
*/
export async function throughProxies(socket: Socket, chain: readonly NextProxy[], target: Target, attempt: Attempt): Promise<Socket> {
	let last = socket;
	try {
		for (const [index, proxy] of chain.entries()) {
			const next = chain[index + 1]?.target ?? target;
			last = await attempt.unlessGivenUp(async () => through(last, proxy, next)); // eslint-disable-line no-await-in-loop, @typescript-eslint/no-loop-func
		}

		return last;
	} catch (error) {
		last.destroy();
		socket.destroy();
		throw error;
	}
}

async function through(socket: Socket, proxy: NextProxy, target: Target): Promise<Socket> {
	if (proxy.protocol.startsWith('socks')) {
		return throughSocks(socket, proxy, target);
	}

	const connection = proxy.protocol === 'https:' ? await encrypt(socket, proxy) : socket;
	const authority = formatTarget(target);
	const credentials = proxy.user === '' && proxy.password === '' ? '' : `Proxy-Authorization: Basic ${Buffer.from(`${proxy.user}:${proxy.password}`).toString('base64')}\r\n`;
	connection.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials}\r\n`);
	for (;;) {
		const head = await readHead(connection, proxy); // eslint-disable-line no-await-in-loop
		const [, digits] = /^HTTP\/1\.[01] (\d{3})[ \r]/.exec(head) ?? [];
		const status = Number(digits);
		if (digits === undefined || status === 101) {
			throw new Rejection(502, `${proxy.name} did not answer as a proxy does.`, {error: 'http_protocol_error'});
		}

		if (status >= 200) {
			if (status < 300) {
				return connection;
			}

			throw refused(status, head, proxy, authority);
		}
	}
}

function refused(status: number, head: string, {name}: NextProxy, authority: string): Rejection {
	const earlier = /^proxy-status: *(?<value>[^\r]*)/im.exec(head)?.groups!.value;
	if (status === 401 || status === 407) {
		// The client cannot do anything about our credentials, and must not be asked for them.
		return new Rejection(502, `${name} does not accept the credentials of this proxy.`, {error: 'proxy_configuration_error', parameters: {'received-status': status}, earlier});
	}

	return new Rejection(passedOn.has(status) ? status : 502, `${name} refused to connect to ${authority} (${status}).`, {
		error: errorsByStatus[status] ?? 'http_protocol_error', parameters: {'received-status': status}, earlier,
	});
}

async function encrypt(socket: Socket, {target: {host}, name, tls: options}: NextProxy): Promise<Socket> {
	return new Promise((resolve, reject) => {
		const session = tls.connect({
			...(isIP(host) === 0 && {servername: host}), ...options, host, ALPNProtocols: ['http/1.1'], socket,
		});
		const onError = ({message, code = ''}: NodeJS.ErrnoException) => {
			const isCertificate = /CERT|ALTNAME|SELF_SIGNED|ISSUER/.test(code);
			reject(new Rejection(502, `There is no TLS connection to ${name}: ${message}.`, {error: isCertificate ? 'tls_certificate_error' : 'tls_protocol_error'}));
		};

		session.once('error', onError);
		session.once('secureConnect', () => {
			session.off('error', onError);
			session.on('error', ignore);
			resolve(session);
		});
	});
}

// Leaves unread what comes behind the head: it may be of the target already.
async function readHead(socket: Socket, {name}: NextProxy): Promise<string> {
	return new Promise((resolve, reject) => {
		let seen = Buffer.alloc(0);
		const settle = () => {
			socket.off('readable', onReadable);
			socket.off('end', onEnd);
			socket.off('close', onEnd);
		};

		const fail = (sentence: string, error: ProxyError) => {
			settle();
			reject(new Rejection(502, sentence, {error}));
		};

		const onEnd = () => {
			fail(`${name} closed the connection without an answer.`, 'connection_terminated');
		};

		const onReadable = () => {
			for (let chunk; (chunk = socket.read() as Buffer | null) !== null;) { // eslint-disable-line @typescript-eslint/no-restricted-types
				seen = Buffer.concat([seen, chunk]);
				const end = seen.indexOf('\r\n\r\n');
				if (end !== -1) {
					settle();
					if (seen.length > end + 4) {
						socket.unshift(seen.subarray(end + 4));
					}

					resolve(seen.toString('latin1', 0, end + 4));
					return;
				}

				if (seen.length > maximumHead) {
					fail(`${name} did not answer as a proxy does.`, 'http_protocol_error');
					return;
				}
			}
		};

		socket.on('readable', onReadable);
		socket.once('end', onEnd);
		socket.once('close', onEnd);
		if (socket.destroyed) {
			onEnd();
		}
	});
}

async function throughSocks(socket: Socket, {protocol, target: proxy, user, password, name}: NextProxy, target: Target): Promise<Socket> {
	let SocksClient: typeof SocksClientClass;
	try {
		({SocksClient} = await import('socks'));
	} catch {
		throw new Rejection(500, `To reach ${name}, this proxy needs the package \`socks\`, which is not installed.`, {error: 'proxy_configuration_error'});
	}

	try {
		const {socket: connected} = await SocksClient.createConnection({
			proxy: {
				host: proxy.host, port: proxy.port, type: protocol.startsWith('socks4') ? 4 : 5, ...(user !== '' && {userId: user, password}),
			},
			command: 'connect',
			destination: target,
			existing_socket: socket,
			timeout: longestTimeout, // `connectTimeout` is what counts.
		});
		return connected;
	} catch (error) {
		const {message} = error as Error;
		const [, failure] = socksFailures.find(([pattern]) => pattern.test(message)) ?? [undefined, {status: 502, error: 'destination_unavailable'} as const];
		throw new Rejection(failure.status, `${name} did not connect to ${formatTarget(target)}: ${message}.`, {error: failure.error});
	}
}

function toChain(given: ProxyChain): readonly NextProxy[] {
	return (Array.isArray(given) ? given as readonly ProxyUrl[] : [given as ProxyUrl]).map(one => toProxy(one));
}

function toProxy(given: ProxyUrl): NextProxy {
	const {url: text, tls: options} = typeof given === 'object' && given !== null && 'url' in given ? given : {url: given, tls: undefined};
	const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : text;
	const port = url instanceof URL ? (url.port || defaultPorts[url.protocol]) : undefined;
	const target = port === undefined ? undefined : parseAuthority(`${(url as URL).hostname}:${port}`);
	if (target === undefined) {
		// Not a word about what was given: there are credentials in it.
		throw new TypeError(`Expected option \`upstreamProxy\` to be a URL, a list of URLs or a function, with protocols ${Object.keys(defaultPorts).join(', ')}.`);
	}

	const {protocol, username, password} = url as URL;
	return {
		protocol: protocol as NextProxy['protocol'], target, user: decodeURIComponent(username), password: decodeURIComponent(password), tls: options, name: `${protocol}//${formatTarget(target)}`,
	};
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

const defaultPorts: Readonly<Record<string, string>> = {
	'http:': '80', 'https:': '443', 'socks5:': '1080', 'socks5h:': '1080', 'socks4:': '1080', 'socks4a:': '1080',
};
const maximumHead = 65_536;
const longestTimeout = 2_147_483_647;
// What is about the target, not about us.
const passedOn = new Set([403, 404, 410, 421, 429, 451, 500, 502, 503, 504, 508]);

const errorsByStatus: Readonly<Record<number, ProxyError>> = {
	400: 'http_request_error',
	403: 'http_request_denied',
	404: 'destination_unavailable',
	429: 'http_request_denied',
	451: 'http_request_denied',
	500: 'destination_unavailable',
	502: 'destination_unavailable',
	503: 'destination_unavailable',
	504: 'connection_timeout',
	508: 'proxy_loop_detected',
};

const socksFailures: ReadonlyArray<readonly [RegExp, {readonly status: number; readonly error: ProxyError}]> = [
	[/NotAllowed/, {status: 403, error: 'http_request_denied'}],
	[/ConnectionRefused/, {status: 502, error: 'connection_refused'}],
	[/ttlexpired|timed out/i, {status: 504, error: 'connection_timeout'}],
	[/Unreachable/, {status: 502, error: 'destination_ip_unroutable'}],
	[/[Aa]uthentication|accepted auth/, {status: 502, error: 'proxy_configuration_error'}],
];
