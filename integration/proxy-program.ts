import {createServer} from 'node:http';
import type net from 'node:net';
import type {AddressInfo} from 'node:net';
import process from 'node:process';
import {parentPort, workerData} from 'node:worker_threads';
import httpProxy from 'http-proxy';
import {
	capabilities, sockmap, type Capabilities, type Options, type Refusal, type SockmapError, type Tunnel, type Tunnels, type TunnelsEvents, type TunnelsStats, type TunnelStats,
} from '../plugin/index.ts';
import {ignore} from './wire.ts';

// Here is http-proxy with the plugin, as a program of its own: a process that was forked, or a worker thread. It allows every loopback target,
// tells its parent what happens, and does what it is told. `GET /block?ms=…` blocks its event loop.

export type ProgramOptions = Options & {
	readonly target?: string;

	/** Events of the tunnels in which a listener throws. The process goes on. */
	readonly throwIn?: ReadonlyArray<keyof TunnelsEvents>;

	/** An event of the tunnels in which a listener exits, with 9. */
	readonly exitIn?: keyof TunnelsEvents;
};

export type Message =
	| {readonly type: 'ready'; readonly port: number; readonly capabilities: Capabilities}
	| {readonly type: 'refused'; readonly capabilities: Capabilities; readonly error: Pick<SockmapError, 'name' | 'message' | 'code' | 'errno' | 'syscall' | 'step'>}
	/** It was promoted or kept, or it is over already, which in a storm of them can be before that. */
	| {readonly type: 'decided'; readonly id: number; readonly engine: Tunnel['engine']; readonly skipped: readonly Refusal[]; readonly clientPort: number; readonly isOver?: boolean}
	| {readonly type: 'close'; readonly id: number; readonly stats: TunnelStats}
	| {readonly type: 'uncaught'; readonly text: string}
	| {readonly type: 'stats'; readonly stats: TunnelsStats; readonly tunnels: ReadonlyArray<readonly [number, TunnelStats]>};

export type Command =
	/** Answer with a `stats` message. */
	| {readonly type: 'stats'}

	/** Close the server and the channel to the parent: only tunnels can keep the process alive now. */
	| {readonly type: 'let go'}

	/** Stop keeping the process alive for the sake of tunnels. */
	| {readonly type: 'unref'}
	| {readonly type: 'exit'; readonly code: number}

	/** Throw where nobody catches. */
	| {readonly type: 'throw'};

run((workerData as ProgramOptions | null) ?? JSON.parse(process.argv[2]!) as ProgramOptions); // eslint-disable-line @typescript-eslint/no-restricted-types

function run({target, throwIn = [], exitIn, ...options}: ProgramOptions): void {
	const proxy = httpProxy.createProxyServer({...(target !== undefined && {target})});
	proxy.on('error', ignore);
	const tunnels = attach(proxy, options);
	if (tunnels === undefined) {
		return;
	}

	const open = new Set<Tunnel>();
	const server = createServer((request, response) => {
		const ms = Number(new URL(request.url!, 'http://localhost').searchParams.get('ms'));
		response.write('blocking\n', () => {
			Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
			response.end('unblocked\n');
		});
	});
	server.on('upgrade', (request, socket, head) => {
		proxy.ws(request, socket, head);
	});
	server.on('connect', async (request, socket, head) => {
		await tunnels.connect(request, socket, head);
	});

	const ports = new Map<Tunnel, number>();
	tunnels.on('tunnel', tunnel => {
		ports.set(tunnel, tunnel.client.remotePort!);
	});

	const decided = (tunnel: Tunnel, isOver = false) => {
		const {id, engine, skipped} = tunnel;
		tell({
			type: 'decided', id, engine, skipped, clientPort: ports.get(tunnel)!, isOver,
		});
		ports.delete(tunnel);
	};

	for (const event of ['promoted', 'kept'] as const) {
		tunnels.on(event, tunnel => {
			open.add(tunnel);
			decided(tunnel);
		});
	}

	tunnels.on('close', (tunnel, stats) => {
		if (!open.delete(tunnel)) {
			decided(tunnel, true);
		}

		tell({type: 'close', id: tunnel.id, stats});
	});

	for (const name of throwIn) {
		tunnels.on(name, () => {
			throw new Error(`thrown in ${name}`);
		});
	}

	if (exitIn !== undefined) {
		tunnels.on(exitIn, () => {
			process.exit(9);
		});
	}

	if (throwIn.length > 0) {
		process.on('uncaughtException', ({message}) => {
			tell({type: 'uncaught', text: message});
		});
	}

	listen(command => {
		switch (command.type) {
			case 'stats': {
				tell({type: 'stats', stats: tunnels.stats(), tunnels: [...open].map(tunnel => [tunnel.id, tunnel.stats()])});
				break;
			}

			case 'let go': {
				server.close();
				server.closeIdleConnections();
				parentPort?.close();
				process.disconnect?.();
				break;
			}

			case 'unref': {
				tunnels.unref();
				break;
			}

			case 'exit': {
				process.exit(command.code);
				break;
			}

			case 'throw': {
				throw new Error('thrown by order');
			}
		}
	});

	server.listen(0, '127.0.0.1', () => {
		tell({type: 'ready', port: (server.address() as AddressInfo).port, capabilities: capabilities()});
	});
}

function attach(proxy: httpProxy, options: Options): Tunnels | undefined {
	try {
		return sockmap(proxy, {allow: ({host}) => host === '127.0.0.1', ...options});
	} catch (error) {
		const {name, message, code, errno, syscall, step} = error as SockmapError;
		tell({
			type: 'refused', capabilities: capabilities(), error: {
				name, message, code, errno, syscall, step,
			},
		});
		return undefined;
	}
}

function tell(message: Message): void {
	if (parentPort) {
		parentPort.postMessage(message);
	} else if (process.connected) {
		process.send!(message);
	}
}

function listen(listener: (command: Command) => void): void {
	(parentPort ?? process).on('message', listener);
}
