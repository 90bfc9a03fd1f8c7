/* eslint-disable @typescript-eslint/promise-function-async -- An async function could not throw at once. */
import {createServer, type IncomingMessage} from 'node:http';
import type {AddressInfo, Socket} from 'node:net';
import process from 'node:process';
import httpProxy from 'http-proxy';
import {capabilities, sockmap, type Tunnel, type TunnelsEvents} from '../../../plugin/index.ts';
import type {Command, Message, ProgramOptions} from '../../proxy-program.ts';

// A proxy in which everything that is called throws, if the request says so: `x-throw: NAME` for a hook or an event, `NAME, later` for a promise
// that rejects, `NAME, nothing` to throw `undefined`. It tells its parent of each uncaught exception, and goes on.

const {target, ...options} = JSON.parse(process.argv[2]!) as ProgramOptions;

const proxy = httpProxy.createProxyServer({target: target!});
const open = new Set<Tunnel>();

const tunnels = sockmap(proxy, {
	...options,
	handshakeTimeout: 1000,
	activityInterval: 20,
	authenticate: request => hook(request, 'authenticate') ?? true,
	onRequest(_target, request) {
		if (request.headers[header] === 'onRequest, getter') {
			return {
				get target(): string {
					throw new Error('thrown in onRequest, getter');
				},
			};
		}

		return hook(request, 'onRequest');
	},
	allow: ({host}, request) => hook(request, 'allow') ?? (host === '127.0.0.1' || host.endsWith('.invalid')),
	upstreamProxy: request => hook(request, 'upstreamProxy'),
	lookup(hostname) {
		if (hostname === 'now.invalid') {
			fail('lookup');
		}

		setImmediate(() => {
			fail('lookup, later');
		});
	},
});

for (const name of ['tunnel', 'promoted', 'kept', 'activity', 'close'] as const satisfies ReadonlyArray<keyof TunnelsEvents>) {
	tunnels.on(name, (...[tunnel]: readonly [Tunnel, ...unknown[]]) => {
		if (name === 'promoted' || name === 'kept') {
			open.add(tunnel);
			const {id, engine, skipped, client} = tunnel;
			tell({
				type: 'decided', id, engine, skipped, clientPort: client.remotePort!,
			});
		}

		if (name === 'close') {
			open.delete(tunnel);
			tell({type: 'close', id: tunnel.id, stats: tunnel.stats()});
		}

		trip(requestOf(tunnel), name);
	});
}

tunnels.on('tunnel', tunnel => {
	const [end, event] = String(requestOf(tunnel).headers[header]).split(' ') as ['client' | 'upstream', string];
	if (end === 'client' || end === 'upstream') {
		if (event === 'timeout') {
			tunnel[end].setTimeout(50);
		}

		tunnel[end].on(event, () => {
			fail(`${end} ${event}`);
		});
	}
});

const requests = new WeakMap<Socket, IncomingMessage>();
let opening: IncomingMessage;
proxy.on('proxyReqWs', (_proxyRequest, request) => {
	opening = request;
	trip(request, 'proxy proxyReqWs');
});
proxy.on('open', upstream => {
	requests.set(upstream, opening);
	trip(opening, 'proxy open');
});
proxy.on('close', (_response, upstream) => {
	trip(requests.get(upstream), 'proxy close');
});
proxy.on('error', (_error, request) => {
	trip(request, 'proxy error');
});

const server = createServer();
server.on('upgrade', (request, socket, head) => {
	// Nothing listens there.
	proxy.ws(request, socket, head, request.headers[header] === 'proxy error' ? {target: 'http://127.0.0.1:1'} : {});
});
server.on('connect', async (request, socket, head) => {
	await tunnels.connect(request, socket, head, request.headers[header] === 'context' ? {context: hostile(request)} : {});
});

process.on('uncaughtException', error => {
	tell({type: 'uncaught', text: (error as Error | undefined)?.message ?? String(error)});
});
process.on('message', (command: Command) => {
	if (command.type === 'stats') {
		tell({type: 'stats', stats: tunnels.stats(), tunnels: [...open].map(tunnel => [tunnel.id, tunnel.stats()])});
	} else if (command.type === 'let go') {
		server.close();
		server.closeIdleConnections();
		process.disconnect();
	}
});
server.listen(0, '127.0.0.1', () => {
	tell({type: 'ready', port: (server.address() as AddressInfo).port, capabilities: capabilities()});
});

function trip(request: IncomingMessage | undefined, name: string): void {
	if (request?.headers[header] === name) {
		fail(name);
	}

	if (request?.headers[header] === `${name}, nothing`) {
		throw undefined; // eslint-disable-line @typescript-eslint/only-throw-error -- That, too, is thrown.
	}
}

function hook(request: IncomingMessage, name: string): Promise<never> | undefined {
	trip(request, name);
	return request.headers[header] === `${name}, later` ? Promise.reject(new Error(`thrown in ${name}, later`)) : undefined;
}

function fail(name: string): never {
	throw new Error(`thrown in ${name}`);
}

const context = Symbol('the request behind a context that nobody may touch');

/** Throws at whatever is done to it by somebody who does not know the symbol. */
function hostile(request: IncomingMessage): unknown {
	const touched = () => fail('context');
	return new Proxy({}, {
		get: (_object, name) => name === context ? request : touched(), has: (_object, name) => name === context || touched(), ownKeys: touched, getPrototypeOf: touched, getOwnPropertyDescriptor: touched, set: touched,
	});
}

function requestOf(tunnel: Tunnel): IncomingMessage {
	const given = tunnel.context as IncomingMessage & {readonly [context]?: IncomingMessage};
	return given[context] ?? given;
}

function tell(message: Message): void {
	if (process.connected) {
		process.send!(message);
	}
}

const header = 'x-throw';
