import {EventEmitter, once} from 'node:events';
import {createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse} from 'node:http';
import process from 'node:process';
import type {Duplex} from 'node:stream';
import type {ProxyLike} from '../plugin/index.ts';

/** What all of them make, as far as we use it. */
export type Proxy = ProxyLike & {
	listenerCount(event: string): number;
	emit(event: string, ...arguments_: unknown[]): boolean;
};

/** A proxy server of http-proxy or one of its forks, which can be called directly. */
export type BareProxy = Proxy & {
	web(request: IncomingMessage, response: ServerResponse): unknown;
	ws(request: IncomingMessage, socket: Duplex, ...headAndOptions: unknown[]): unknown;
	listen(port: number, host: string): unknown;
	close(callback?: () => void): void;
};

export type Setup = {
	/** Options of the proxy, `target` among them. */
	readonly options: Readonly<Record<string, unknown>>;

	/** Called with the proxy where the users of that library have it in their hands. */
	readonly onProxy: (proxy: Proxy) => void;
};

export type Library = {
	/** The name under which it is installed here: an npm alias where there are several versions. */
	readonly name: string;

	/** Makes an HTTP server that proxies everything, upgrades too, and is not listening yet. Vite's is. */
	readonly serve: (setup: Setup) => Promise<Server>;
};

/** The library, loaded, if it can be called directly. */
export async function loadBare(name: string): Promise<(options: Setup['options']) => BareProxy> {
	const module_ = await load(name) as {createProxyServer: (options: Setup['options']) => BareProxy};
	return options => module_.createProxyServer({...options});
}

export const bare: readonly Library[] = ['http-proxy', 'http-proxy-node16', '@refactorjs/http-proxy', 'http-proxy-3', 'http-proxy-3-2', 'httpxy'].map(name => ({
	name,
	async serve({options, onProxy}) {
		const create = await loadBare(name);
		const proxy = create(options);
		onProxy(proxy);
		const server = createServer((request, response) => {
			proxy.web(request, response);
		});
		server.on('upgrade', (request, socket, head) => {
			if (name === 'httpxy') {
				proxy.ws(request, socket, {}, head);
			} else {
				proxy.ws(request, socket, head);
			}
		});
		return server;
	},
}));

export const libraries: readonly Library[] = [
	...bare,
	{
		name: 'http-proxy-middleware-2',
		async serve({options, onProxy}) {
			const proxy = new EventEmitter(); // eslint-disable-line unicorn/prefer-event-target
			onProxy(proxy);
			const on = (event: string) => (...arguments_: unknown[]) => {
				if (proxy.listenerCount(event) > 0) {
					proxy.emit(event, ...arguments_);
				}
			};

			return serveMiddleware('http-proxy-middleware-2', {
				...options, logLevel: 'silent', onProxyReqWs: on('proxyReqWs'), onOpen: on('open'), onClose: on('close'), onError: on('error'),
			});
		},
	},
	...['http-proxy-middleware-3', 'http-proxy-middleware-4'].map(name => ({
		name,
		async serve({options, onProxy}: Setup) {
			return serveMiddleware(name, {...options, plugins: [onProxy]});
		},
	})),
	{
		name: 'vite',
		async serve({options, onProxy}) {
			const {createServer} = await load('vite') as {createServer: (config: unknown) => Promise<{httpServer: Server; close(): Promise<void>; listen(): Promise<unknown>}>};
			const vite = await createServer({
				configFile: false, root: import.meta.dirname, cacheDir: '.vite', appType: 'custom', logLevel: 'silent', optimizeDeps: {noDiscovery: true},
				server: {
					host: '127.0.0.1', port: 0, ws: false, watch: null,
					proxy: {'/': {...options, ws: true, configure: onProxy}},
				},
			});
			await vite.listen();
			vite.httpServer.once('closing', async () => {
				await vite.close();
			});
			return vite.httpServer;
		},
	},
];

async function serveMiddleware(name: string, options: Readonly<Record<string, unknown>>): Promise<Server> {
	type Middleware = ((request: IncomingMessage, response: ServerResponse, next: () => void) => void) & {upgrade(request: IncomingMessage, socket: Duplex, head: Uint8Array): void};
	const {createProxyMiddleware} = await load(name) as {createProxyMiddleware: (options: Readonly<Record<string, unknown>>) => Middleware};
	const middleware = createProxyMiddleware(options);
	const listener: RequestListener = (request, response) => {
		middleware(request, response, () => response.writeHead(404).end());
	};

	return createServer(listener).on('upgrade', (request, socket, head) => {
		middleware.upgrade(request, socket, head);
	});
}

async function load(name: string): Promise<unknown> {
	const module_ = await import(name) as {readonly default?: unknown};
	return 'createProxyServer' in module_ || 'createProxyMiddleware' in module_ || 'createServer' in module_ ? module_ : module_.default;
}

// Last, because it waits: a test file that imports this one can ask at once.
const reasons = new Map<string, string>();
for (const {name} of libraries) {
	try {
		await load(name); // eslint-disable-line no-await-in-loop
	} catch (error) {
		reasons.set(name, `${name} does not load on Node ${process.versions.node}: ${(error as Error).message}`);
	}
}

/** Why it cannot be used here, as its own `import()` says. */
export function missing(name: string): string | undefined {
	return reasons.get(name);
}
