import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import process from 'node:process';
import httpProxy from 'http-proxy';
import {sockmap, type Tunnel} from '../../../plugin/index.ts';
import {descriptors} from '../../holdings.ts';
import {ignore} from '../../wire.ts';

// The proxy that is fuzzed, as a process of its own: it upgrades, connects and forwards. It looks up no name of this
// world. Anything that nobody catches ends it, which is what it is watched for.

export type Setup = {
	readonly engine: 'stream' | 'splice' | 'sockmap';

	/** The port that may be reached, on 127.0.0.1 and as good.test. */
	readonly allowed: number;

	/** The port of the canary, where it is allowed after all. */
	readonly canaryAllowed?: number;
};

export type Report =
	| {readonly type: 'ready'; readonly port: number}
	/** The tunnel of the client at that port was promoted, or kept. */
	| {readonly type: 'decided'; readonly clientPort: number}
	| {readonly type: 'held'; readonly descriptors: readonly string[]; readonly rss: number; readonly open: number; readonly carried: Readonly<Record<string, number>>};

run(JSON.parse(process.argv[2]!) as Setup);

function run({engine, allowed, canaryAllowed}: Setup): void {
	const proxy = httpProxy.createProxyServer({target: `http://127.0.0.1:${allowed}`});
	proxy.on('error', (_error, _request, response) => {
		if (response && 'writeHead' in response) {
			response.writeHead(502).end();
		} else {
			response?.end();
		}
	});
	const tunnels = sockmap(proxy, {
		engine,
		// Whatever is below public.test, these are wildcards: they stand for public addresses, and names there have others.
		allow: [`127.0.0.1:${allowed}`, `good.test:${allowed}`, '*.public.test:*', 'nowhere.test:1', ...(canaryAllowed === undefined ? [] : [`127.0.0.1:${canaryAllowed}`])],
		lookup(name, _options, callback) {
			const known = name === 'good.test' || name.endsWith('.public.test') || name === 'localhost';
			const error = known ? null : Object.assign(new Error('there is no such name here'), {code: 'ENOTFOUND'});
			setImmediate(callback, error, known ? [{address: '127.0.0.1', family: 4}, {address: '::1', family: 6}] : []);
		},
	});

	const clientPorts = new WeakMap<Tunnel, number>();
	tunnels.on('tunnel', tunnel => {
		clientPorts.set(tunnel, tunnel.client.remotePort!);
	});
	for (const event of ['promoted', 'kept'] as const) {
		tunnels.on(event, tunnel => {
			tell({type: 'decided', clientPort: clientPorts.get(tunnel)!});
		});
	}

	// How many tunnels of each kind were on which engine, by the end.
	const carried: Record<string, number> = {};
	tunnels.on('close', ({kind}, {engine}) => {
		for (const name of [kind, engine]) {
			carried[name] = (carried[name] ?? 0) + 1;
		}
	});

	const server = createServer(async (request, response) => {
		await tunnels.forward(request, response);
	});
	server.on('upgrade', (request, socket, head) => {
		socket.on('error', ignore);
		// What http-proxy does not survive, with or without us: a URL that does not parse escapes from `ws()`, and so does
		// that Node refuses to send a `Trailer` without chunks, which leaves a connection behind, too.
		delete request.headers.trailer;
		try {
			proxy.ws(request, socket, head);
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code !== 'ERR_INVALID_URL') {
				throw error;
			}

			socket.destroy();
		}
	});
	server.on('connect', async (request, socket, head) => {
		await tunnels.connect(request, socket, head);
	});

	let connections = 0;
	server.on('connection', socket => {
		connections++;
		socket.once('close', () => {
			connections--;
		});
	});

	process.on('message', () => {
		globalThis.gc?.();
		tell({
			type: 'held', descriptors: descriptors().map(([, link]) => link), rss: process.memoryUsage.rss(), open: connections + tunnels.stats().open, carried,
		});
	});
	server.listen(0, '127.0.0.1', () => {
		tell({type: 'ready', port: (server.address() as AddressInfo).port});
	});
}

function tell(report: Report): void {
	process.send!(report);
}
