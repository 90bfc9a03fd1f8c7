import {once} from 'node:events';
import {createServer, ServerResponse, type IncomingMessage, type Server} from 'node:http';
import {Socket} from 'node:net';
import type httpProxy from 'http-proxy';
import {type Tunnels} from '../tunnels.ts';
import {type AccessLog} from './access-log.ts';
import {addressOf} from './admin.ts';
import {Failure} from './command.ts';

export type Serving = {
	readonly tunnels: Tunnels;
	readonly reverseProxy: httpProxy | undefined;
	readonly connect: boolean;
	readonly log: AccessLog | undefined;
};

export type Service = {
	readonly server: Server;
	isClosing(): boolean;

	/**
	Resolves when the last connection is closed, which is after so many milliseconds at the latest.
	*/
	stop(timeout: number): Promise<void>;
};

export async function createReverseProxy(target: string): Promise<httpProxy> {
	const {default: httpProxy} = await importHttpProxy();
	const proxy = httpProxy.createProxyServer({target, xfwd: true});
	proxy.on('error', (_error, _request, response) => {
		if (response instanceof ServerResponse && !response.headersSent) {
			response.writeHead(502, {'content-type': 'text/plain'}).end('The target does not answer.\n');
		} else if (response instanceof Socket && response.writable && response.bytesWritten === 0) {
			response.end('HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
		} else {
			response.destroy();
		}
	});
	return proxy;
}

/**
An HTTP server whose requests, upgrades and CONNECTs go to where the options say.
*/
export function serve({tunnels, reverseProxy, connect, log}: Serving): Service {
	const server = createServer(async (request, response) => {
		logResponse(log, request, response);
		if (connect && /^http:\/\//i.test(request.url!)) {
			await tunnels.forward(request, response);
		} else if (reverseProxy) {
			reverseProxy.web(request, response);
		} else {
			response.writeHead(404, {'content-type': 'text/plain'}).end('This is a forward proxy.\n');
		}
	});

	server.on('upgrade', (request, socket, head) => {
		if (reverseProxy) {
			reverseProxy.ws(request, socket, head);
		} else {
			refuse(socket as Socket, '404 Not Found');
		}
	});

	server.on('connect', async (request, socket, head) => {
		if (!connect) {
			refuse(socket as Socket, '405 Method Not Allowed');
			return;
		}

		const client = addressOf(socket as Socket);
		const tunnel = await tunnels.connect(request, socket, head);
		if (tunnel === undefined) {
			log?.write({event: 'rejected', client, target: request.url});
		}
	});

	tunnels.on('tunnel', tunnel => {
		// A closed socket has forgotten where it was connected to.
		const client = addressOf(tunnel.client);
		const upstream = addressOf(tunnel.upstream);
		const {id, kind, target, user, context} = tunnel;
		const url = target ? `${target.host}:${target.port}` : (context as IncomingMessage).url;
		const onClose = (other: typeof tunnel, stats: ReturnType<typeof tunnel.stats>) => {
			if (other === tunnel) {
				tunnels.off('close', onClose);
				const {engine, duration, reason, by, code, clientToUpstream, upstreamToClient} = stats;
				log!.write({
					event: 'tunnel', id, kind, client, upstream, user, url, engine, duration: Math.round(duration), reason, by, code, clientToUpstream: clientToUpstream.bytes, upstreamToClient: upstreamToClient.bytes,
				});
			}
		};

		if (log) {
			tunnels.on('close', onClose);
		}
	});

	let isClosing = false;
	return {
		server,
		isClosing: () => isClosing,
		async stop(timeout) {
			isClosing = true;
			const closed = server.listening ? once(server, 'close') : undefined;
			server.close();
			const timer = setTimeout(() => {
				server.closeAllConnections();
			}, timeout);
			await tunnels.close({timeout});
			await closed;
			clearTimeout(timer);
		},
	};
}

async function importHttpProxy() {
	try {
		return await import('http-proxy');
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') {
			throw new Failure('--target needs the package http-proxy: npm install http-proxy');
		}

		throw error;
	}
}

// Credentials in a URL are nobody's business.
function logResponse(log: AccessLog | undefined, request: IncomingMessage, response: ServerResponse): void {
	const {method, url, socket} = request;
	const client = addressOf(socket);
	const start = performance.now();
	response.once('close', () => {
		log?.write({
			event: 'request', client, method, url: url!.replace(/^(https?:\/\/)[^/?#]*@/i, '$1'), status: response.statusCode, finished: response.writableFinished, duration: Math.round(performance.now() - start),
		});
	});
}

function refuse(socket: Socket, status: string): void {
	socket.on('error', () => {
		socket.destroy();
	});
	socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
