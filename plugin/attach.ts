import {type ClientRequest, type IncomingMessage} from 'node:http';
import {Socket} from 'node:net';
import process from 'node:process';
import {limitHandshake} from './handshake.ts';
import {internals} from './internals.ts';

/**
The events of http-proxy, http-proxy-3, httpxy and their relatives that tell about a WebSocket. Nothing else of a proxy is touched.
*/
export type ProxyLike = {
	/**
	As that of an `EventEmitter`.
	*/
	on(event: string, listener: (...arguments_: any[]) => void): unknown;

	/**
	The same.
	*/
	off(event: string, listener: (...arguments_: any[]) => void): unknown;
};

/**
A tunnel that the proxy has just opened: the 101 is written, and both ends are piped to each other.
*/
export type Upgrade = {
	readonly request: IncomingMessage;
	readonly client: Socket;
	readonly upstream: Socket;
};

export type How = {
	/**
	Milliseconds that an upstream may take to answer; zero is any time.
	*/
	readonly handshakeTimeout: number;
	readonly onUpgrade: (upgrade: Upgrade) => void;
};

/**
Tells of each tunnel that the proxy opens from here on. Returns what stops that.
*/
export function attach(proxy: ProxyLike, {handshakeTimeout, onUpgrade}: How): () => void {
	// `open` tells the upstream only. What belongs to it was seen one step before.
	const upgradeOf = Symbol('upgrade');
	type Upgraded = Socket & {[upgradeOf]?: Upgrade | undefined};

	const onRequest = (proxyRequest: ClientRequest, request: IncomingMessage, client: unknown) => {
		if (!(client instanceof Socket)) {
			return;
		}

		// While the upstream is being asked nobody listens, and a client that is reset would take the process with it.
		client.on('error', ignore);
		if (handshakeTimeout > 0) {
			limitHandshake(handshakeTimeout, {proxy, proxyRequest, client});
		}

		// Prepended, because one of the relatives listens already, and emits `open` from there.
		proxyRequest.prependOnceListener('upgrade', (_response: IncomingMessage, upstream: Upgraded) => {
			upstream[upgradeOf] = {request, client, upstream};
		});
	};

	const onOpen = (upstream: Upgraded) => {
		const upgrade = upstream[upgradeOf];
		if (upgrade) {
			upstream[upgradeOf] = undefined;
			upstream.prependListener('error', () => {
				// Without us it would have been destroyed at its FIN. Its reset, after late data of the client, would have been nobody's error.
				if (internals(upstream)._readableState.ended) {
					keepFromThrowing(proxy);
				}
			});
			onUpgrade(upgrade);
		}
	};

	proxy.on('proxyReqWs', onRequest);
	proxy.on('open', onOpen);
	return () => {
		proxy.off('proxyReqWs', onRequest);
		proxy.off('open', onOpen);
	};
}

// A proxy whose errors nobody listens to throws them, which would end the process. While there is one more listener it does not.
function keepFromThrowing(proxy: ProxyLike): void {
	proxy.on('error', ignore);
	process.nextTick(() => {
		proxy.off('error', ignore);
	});
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function
