import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import fs from 'node:fs/promises';
import {Agent, createServer, type ClientRequest, type Server} from 'node:http';
import https from 'node:https';
import net, {type AddressInfo} from 'node:net';
import os from 'node:os';
import path from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {WebSocket, WebSocketServer} from 'ws';
import {
	sockmap, type Tunnel, type Tunnels, type TunnelStats,
} from '../plugin/index.ts';
import {selfSigned} from './certificate.ts';
import {upgradeRequest} from './ends.ts';
import {assertCarriedBy, impossible, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {
	bare, libraries, loadBare, missing, type Library, type Proxy, type Setup,
} from './libraries.ts';
import {pattern, same} from './pattern.ts';
import {closed, until, within} from './until.ts';
import {startUpstream, switchingProtocols} from './upstream.ts';
import {
	dial, ending, ignore, readHead, readText, readTextToEnd, textOf,
} from './wire.ts';

nothingIsLeft();

const onEachLibrary = eachOf(libraries);
const onEachBareLibrary = eachOf(bare);

// What `auto` has to find here.
const best: Carrier = impossible('sockmap') === undefined ? 'sockmap' : (impossible('splice') === undefined ? 'splice' : 'stream');

for (const engine of ['stream', 'splice', 'sockmap'] as const) {
	onEachLibrary(`${engine}: ws says text, binary and three megabytes, and its close comes through`, async (t, library) => {
		const upstream = await startWebSockets(t);
		const running = await run(t, library, {target: upstream.url}, {engine});
		const {tunnel, stats} = await converse(t, {port: running.port, tunnel: running.nextTunnel(), upstream});
		assertCarriedBy(t, engine, stats);
		t.like(stats, {reason: 'end'});
		t.is(tunnel.kind, 'upgrade');
		await until('the proxy has emitted what it emits', () => running.events.length >= 2);
		t.deepEqual(running.events, ['open', 'close']);
	}, engine);
}

const answers = {
	'404 with a body': 'HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot here\n',
	'200 without a length': 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nno web socket',
	'426 with the version it wants': 'HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
};

for (const [name, answer] of Object.entries(answers)) {
	onEachLibrary(`an upgrade that is answered ${name} is answered as without the plugin`, async (t, library) => {
		const upstream = await startUpstream(t, {
			async onConnection(socket) {
				await readHead(socket);
				socket.end(answer);
			},
		});
		await sameAsWithout(t, library, {target: `http://127.0.0.1:${upstream.port}`}, async client => {
			client.write(upgradeRequest());
			const text = await readTextToEnd(client);
			t.true(text.startsWith(answer.slice(0, 12)), text);
			return text;
		});
	});
}

onEachLibrary('an upstream that refuses the connection gives the same error event and the same ending as without the plugin', async (t, library) => {
	const {port} = await closedServer();
	const events = await sameAsWithout(t, library, {target: `http://127.0.0.1:${port}`}, async client => {
		client.write(upgradeRequest());
		return ending(client);
	});
	t.true(events.includes('error ECONNREFUSED'), events.join(', '));
});

for (const [name, fail] of Object.entries({
	'is reset before it answers': (socket: net.Socket) => socket.resetAndDestroy(),
	'ends before it answers': (socket: net.Socket) => socket.end(),
	'is reset in the middle of its answer': (socket: net.Socket) => socket.write('HTTP/1.1 101 Switch', () => socket.resetAndDestroy()),
	'answers with what is not HTTP': (socket: net.Socket) => socket.end('SSH-2.0-not-http\r\n'),
})) {
	onEachLibrary(`an upstream that ${name} gives the same error event and the same ending as without the plugin`, async (t, library) => {
		const upstream = await startUpstream(t, {
			async onConnection(socket) {
				await readHead(socket);
				fail(socket);
			},
		});
		const events = await sameAsWithout(t, library, {target: `http://127.0.0.1:${upstream.port}`}, async client => {
			client.write(upgradeRequest());
			return ending(client);
		});
		t.true(events.some(event => event.startsWith('error')), events.join(', '));
	});
}

onEachLibrary('a client that is reset while the upstream is being asked takes nothing with it', async (t, library) => {
	const upstream = await startUpstream(t);
	const running = await run(t, library, {target: `http://127.0.0.1:${upstream.port}`});
	const accepted = once(running.server, 'connection') as Promise<[net.Socket]>;
	const client = await dial(t, running.port);
	client.write(upgradeRequest());
	const [socket] = await accepted;
	const far = await upstream.next();
	await readHead(far);
	const gone = closed(socket);
	client.resetAndDestroy();
	await within('the proxy has seen the reset', gone);
	far.write(switchingProtocols);
	await within('the upstream is left', ending(far));
	far.destroy();
	await until('no tunnel is left', () => running.tunnels.stats().open === 0);
	t.is(running.tunnels.stats().closed, running.tunnels.stats().opened);
});

const requests = {
	'any upgrade but websocket': upgradeRequest().replace('Upgrade: websocket', 'Upgrade: h2c'),
	'an upgrade that is not a GET': upgradeRequest().replace('GET', 'POST'),
};

for (const [name, request] of Object.entries(requests)) {
	onEachLibrary(`${name} ends as without the plugin`, async (t, library) => {
		const upstream = await startUpstream(t, {switching: switchingProtocols.replace('websocket', 'h2c')});
		await sameAsWithout(t, library, {target: `http://127.0.0.1:${upstream.port}`}, async client => {
			client.write(request);
			return ending(client);
		});
	});
}

// Each with what it must have done to the request, so that two proxies that do nothing are not the same.
const options: Record<string, {readonly options: Readonly<Record<string, unknown>>; readonly onProxy?: (proxy: Proxy) => void; readonly expect: RegExp}> = {
	'a handler of proxyReqWs that changes headers': {
		options: {},
		onProxy(proxy) {
			proxy.on('proxyReqWs', (request: ClientRequest) => {
				request.setHeader('X-Added', 'by a handler');
				request.removeHeader('Origin');
			});
		},
		expect: /^x-added: by a handler\r$/imu,
	},
	headers: {options: {headers: {'X-Option': 'of the proxy'}}, expect: /^x-option: of the proxy\r$/imu},
	changeOrigin: {options: {changeOrigin: true}, expect: /^host: 127\.0\.0\.1:UPSTREAM\r$/imu},
	xfwd: {options: {xfwd: true}, expect: /^x-forwarded-for: 127\.0\.0\.1\r$/imu},
	auth: {options: {auth: 'user:secret'}, expect: /^authorization: Basic dXNlcjpzZWNyZXQ=\r$/imu},
	'a target with a path': {options: {}, expect: /^GET \/below\/path /u},
};

for (const [name, {expect, ...setup}] of Object.entries(options)) {
	onEachLibrary(`with ${name} the upstream is asked as without the plugin, and the tunnel is promoted`, async (t, library) => {
		const heads: string[] = [];
		const upstream = await startUpstream(t, {
			async onConnection(socket) {
				heads.push(await readHead(socket));
				socket.write(switchingProtocols);
				socket.pipe(socket);
			},
		});
		const target = `http://127.0.0.1:${upstream.port}${name === 'a target with a path' ? '/below' : ''}`;
		for (const plugin of [false, true]) {
			/* eslint-disable no-await-in-loop */
			const running = await run(t, library, {target, ...setup.options}, {plugin, ...setup.onProxy && {onProxy: setup.onProxy}});
			const decision = plugin ? running.nextTunnel() : undefined;
			const client = await dial(t, running.port);
			client.write(upgradeRequest('/path').replace('Upgrade: websocket', 'Origin: http://somewhere.test\r\nUpgrade: websocket'));
			t.regex(await readHead(client), /^HTTP\/1\.1 101 /u);
			client.write('echo');
			t.is(await readText(client, 4), 'echo');
			if (decision) {
				const {engine, skipped} = await within('the tunnel is promoted or kept', decision);
				t.is(engine, best, JSON.stringify(skipped));
			}

			client.end();
			await ending(client);
			heads.push(heads.pop()!.replaceAll(String(running.port), 'PROXY').replaceAll(String(upstream.port), 'UPSTREAM'));
			/* eslint-enable no-await-in-loop */
		}

		t.is(heads.length, 2);
		t.is(heads[1], heads[0]);
		t.regex(heads[1]!, expect);
	});
}

onEachLibrary('with an agent that keeps connections alive the tunnel is promoted, and the agent keeps nothing of it', async (t, library) => {
	const agent = new Agent({keepAlive: true});
	t.teardown(() => {
		agent.destroy();
	});
	const upstream = await startWebSockets(t);
	const running = await run(t, library, {target: upstream.url, agent});
	for (let round = 0; round < 2; round++) {
		const {stats} = await converse(t, {port: running.port, tunnel: running.nextTunnel(), upstream}); // eslint-disable-line no-await-in-loop
		t.is(stats.engine, best);
	}

	t.deepEqual([Object.keys(agent.sockets), Object.keys(agent.freeSockets)], [[], []]);
});

for (const scheme of ['https', 'wss']) {
	onEachLibrary(`a ${scheme} target whose certificate nobody vouches for stays in JavaScript, says why, and works`, async (t, library) => {
		const upstream = await startWebSockets(t, https.createServer(await selfSigned()));
		const running = await run(t, library, {target: `${scheme}://127.0.0.1:${upstream.port}`, secure: false});
		const {tunnel, stats} = await converse(t, {port: running.port, tunnel: running.nextTunnel(), upstream});
		t.like(stats, {engine: 'stream', reason: 'end'});
		t.true(best === 'stream' || tunnel.skipped.some(({engine, reason}) => engine === best && reason.includes('TLS')), JSON.stringify(tunnel.skipped));
	});
}

onEachLibrary('a Unix-socket target is promoted to splice', async (t, library) => {
	const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'http-proxy-sockmap-'));
	t.teardown(async () => {
		await fs.rm(directory, {recursive: true});
	});
	const socketPath = path.join(directory, 'upstream');
	const upstream = await startWebSockets(t, createServer(), socketPath);
	const running = await run(t, library, {target: {protocol: 'http:', host: 'localhost', pathname: '/', socketPath}});
	const {tunnel, stats} = await converse(t, {port: running.port, tunnel: running.nextTunnel(), upstream});
	t.is(stats.engine, impossible('splice') === undefined ? 'splice' : 'stream', JSON.stringify(tunnel.skipped));
});

onEachLibrary('attaching twice is attaching once', async (t, library) => {
	const upstream = await startWebSockets(t);
	const counts: number[][] = [];
	let again: Tunnels | undefined;
	const running = await run(t, library, {target: upstream.url}, {
		onProxy(proxy) {
			counts.push(listeners(proxy));
			again = sockmap(proxy);
			counts.push(listeners(proxy));
		},
	});
	t.is(again, running.tunnels);
	t.deepEqual(counts[1], counts[0]);
	await converse(t, {port: running.port, tunnel: running.nextTunnel(), upstream});
	t.is(running.tunnels.stats().opened, 1);
});

onEachLibrary('tunnels live on after the plugin was detached, and later ones are not its own', async (t, library) => {
	const upstream = await startWebSockets(t);
	const proxies: Proxy[] = [];
	const counts: number[][] = [];
	const count = () => {
		counts.push(listeners(proxies[0]!));
	};

	const running = await run(t, library, {target: upstream.url}, {
		beforePlugin(proxy) {
			proxies.push(proxy);
			count();
		},
		onProxy: count,
	});
	const {stats} = await converse(t, {
		port: running.port, tunnel: running.nextTunnel(), upstream,
		between() {
			count();
			running.tunnels.detach();
			running.tunnels.detach();
			count();
		},
	});
	t.like(stats, {engine: best, reason: 'end'});
	await talk(t, {port: running.port, upstream});
	t.is(running.tunnels.stats().opened, 1);
	const [without, withPlugin, before, after] = counts;
	t.deepEqual(after, before!.map((number, event) => number - withPlugin![event]! + without![event]!));
});

onEachBareLibrary('proxy.close() ends the listening, not the tunnel', async (t, library) => {
	const upstream = await startWebSockets(t);
	const create = await loadBare(library.name);
	const proxy = create({target: upstream.url, ws: true});
	proxy.on('error', ignore);
	const tunnels = sockmap(proxy);
	t.teardown(async () => {
		await tunnels.close({timeout: 500});
	});
	const port = await freePort();
	proxy.listen(port, '127.0.0.1');
	const {stats} = await converse(t, {
		port, tunnel: nextTunnel(tunnels), upstream,
		between() {
			proxy.close();
		},
	});
	t.like(stats, {engine: best, reason: 'end'});
	const late = net.connect(port, '127.0.0.1');
	const [error] = await once(late, 'error') as [NodeJS.ErrnoException];
	t.is(error.code, 'ECONNREFUSED');
});

onEachBareLibrary('the plugin is no error listener: a proxy without one throws as it does without the plugin', async (t, library) => {
	const create = await loadBare(library.name);
	const {port} = await closedServer();
	const observe = async (plugin: boolean) => {
		const proxy = create({target: `http://127.0.0.1:${port}`, ws: true});
		const tunnels = plugin ? sockmap(proxy) : undefined;
		const count = proxy.listenerCount('error');
		const error = t.throws(() => {
			proxy.emit('error', new Error('nobody listens'), {}, {});
		});
		await tunnels?.close();
		return [count, error?.message];
	};

	t.deepEqual(await observe(true), await observe(false));
});

for (const engine of ['stream', 'splice', 'sockmap'] as const) {
	onEachBareLibrary(`${engine}: an upstream that has closed, and answers late data with a reset, throws no error where nobody listens to errors`, async (t, library) => {
		const upstream = await startUpstream(t, {
			async onConnection(socket) {
				await readHead(socket);
				socket.write(switchingProtocols);
				await readText(socket, 4);
				socket.destroy();
			},
		});
		let proxy: Proxy | undefined;
		const running = await run(t, library, {target: `http://127.0.0.1:${upstream.port}`}, {
			engine, isHeard: false,
			onProxy(made) {
				proxy = made;
			},
		});
		const decision = running.nextTunnel();
		const client = await dial(t, running.port);
		client.write(upgradeRequest());
		t.regex(await readHead(client), /^HTTP\/1\.1 101 /u);
		const tunnel = await decision;
		const listening = proxy!.listenerCount('error');
		const over = statsOf(tunnel);
		client.write('last');
		t.is(await ending(client), 'FIN');
		await until('the upstream has reset the tunnel', () => {
			client.write('late');
			return !tunnel.isOpen();
		});
		t.like(await over, {engine, reason: 'reset', by: 'upstream'});
		t.is(proxy!.listenerCount('error'), listening);
	}, engine);
}

type Running = {
	readonly port: number;
	readonly server: Server;
	readonly tunnels: Tunnels;

	/** What the proxy emitted, in order. */
	readonly events: string[];

	/** The next tunnel, once it was promoted or kept. */
	nextTunnel(): Promise<Tunnel>;
};

type RunOptions = {
	readonly plugin?: boolean;
	readonly engine?: Carrier | 'auto';

	/** Whether somebody listens to the errors of the proxy. Default: yes. */
	readonly isHeard?: boolean;
	readonly beforePlugin?: (proxy: Proxy) => void;
	readonly onProxy?: (proxy: Proxy) => void;
};

/** The library on a free port of the loopback interface, with the plugin or without. */
async function run(t: ExecutionContext, library: Library, proxyOptions: Setup['options'], {plugin = true, engine = 'auto', isHeard = true, beforePlugin, onProxy}: RunOptions = {}): Promise<Running> {
	let tunnels: Tunnels | undefined;
	const events: string[] = [];
	const server = await library.serve({
		options: proxyOptions,
		onProxy(proxy) {
			if (isHeard) {
				proxy.on('error', (error: NodeJS.ErrnoException) => {
					events.push(`error ${error.code ?? error.message}`);
				});
			}

			proxy.on('open', () => {
				events.push('open');
			});
			proxy.on('close', () => {
				events.push('close');
			});
			beforePlugin?.(proxy);
			if (plugin) {
				tunnels = sockmap(proxy, {engine});
			}

			onProxy?.(proxy);
		},
	});
	const sockets = new Set<net.Socket>();
	server.on('connection', (socket: net.Socket) => {
		sockets.add(socket);
	});
	if (!server.listening) {
		server.listen(0, '127.0.0.1');
		await once(server, 'listening');
	}

	t.teardown(async () => {
		const serverClosed = closed(server);
		server.close();
		server.emit('closing');
		await tunnels?.close({timeout: 500});
		// Without the plugin, clients stay open after their tunnels have ended.
		for (const socket of sockets) {
			socket.destroy();
		}

		await within('the server is closed', serverClosed);
	});
	return {
		port: (server.address() as AddressInfo).port,
		server,
		tunnels: tunnels!,
		events,
		async nextTunnel() {
			return nextTunnel(tunnels!);
		},
	};
}

/** What a client sees and what the proxy emits, with the plugin and without; that no tunnel came of it. Returns the events. */
async function sameAsWithout(t: ExecutionContext, library: Library, proxyOptions: Setup['options'], see: (client: net.Socket) => Promise<string>): Promise<string[]> {
	const observe = async (plugin: boolean) => {
		const running = await run(t, library, proxyOptions, {plugin});
		const client = await dial(t, running.port);
		const seen = await within('the client has seen its end', see(client));
		client.destroy();
		return {seen, events: running.events, opened: plugin ? running.tunnels.stats().opened : 0};
	};

	const without = await observe(false);
	t.deepEqual(await observe(true), without);
	return without.events;
}

type WebSockets = {readonly url: string; readonly port: number; next(): Promise<WebSocket>};

/** A `ws` server that sends every message back. */
async function startWebSockets(t: ExecutionContext, server: Server | https.Server = createServer(), socketPath?: string): Promise<WebSockets> {
	const webSockets = new WebSocketServer({server, maxPayload: 33_554_432});
	webSockets.on('connection', socket => {
		socket.on('message', (data: Uint8Array, binary) => {
			socket.send(data, {binary});
		});
		socket.on('error', ignore);
	});
	if (socketPath === undefined) {
		server.listen(0, '127.0.0.1');
	} else {
		server.listen(socketPath);
	}

	await once(server, 'listening');
	t.teardown(async () => {
		for (const client of webSockets.clients) {
			client.terminate();
		}

		webSockets.close();
		server.close();
		await within('the WebSocket server is closed', closed(server));
	});
	const {port = 0} = server.address() as Partial<AddressInfo>;
	return {
		port,
		url: `http://127.0.0.1:${port}`,
		async next() {
			const [socket] = await once(webSockets, 'connection') as [WebSocket];
			return socket;
		},
	};
}

/** A conversation that any engine must carry; `between` happens in its middle. */
async function converse(t: ExecutionContext, {port, tunnel, upstream, between}: Conversation): Promise<{tunnel: Tunnel; stats: TunnelStats}> {
	const {promoted, over} = await talk(t, {port, tunnel, upstream, between});
	return {tunnel: promoted!, stats: await within('the tunnel is closed', over!)};
}

async function talk(t: ExecutionContext, {port, tunnel, upstream, between}: Partial<Conversation> & Pick<Conversation, 'port' | 'upstream'>) {
	const accepted = upstream.next();
	const client = new WebSocket(`ws://127.0.0.1:${port}/path?query`);
	t.teardown(() => {
		client.terminate();
	});
	const [far] = await within('the WebSocket is open', Promise.all([accepted, once(client, 'open')]));
	const promoted = tunnel && await within('the tunnel is promoted or kept', tunnel);
	const messages: Array<string | Uint8Array> = ['', 'Grüße, 世界', 'x'.repeat(66_000), Buffer.from([0, 255]), pattern(5, 0, 3_000_000)];
	for (const [index, message] of messages.entries()) {
		if (index === 2) {
			between?.();
		}

		const received = once(client, 'message') as Promise<[Uint8Array, boolean]>;
		client.send(message);
		const [data, binary] = await within(`message ${index} is back`, received); // eslint-disable-line no-await-in-loop
		t.is(binary, typeof message !== 'string');
		t.true(typeof message === 'string' ? textOf(data) === message : same(data, message), `message ${index}`);
	}

	const ended = Promise.all([once(client, 'close'), once(far, 'close')]) as Promise<Array<[number, Uint8Array]>>;
	const over = promoted && statsOf(promoted);
	client.close(4001, 'that is all');
	for (const [code, reason] of await within('the WebSocket is closed at both ends', ended)) {
		t.is(code, 4001);
		t.is(textOf(reason), 'that is all');
	}

	return {promoted, over};
}

type Conversation = {
	readonly port: number;

	/** The tunnel that will come of it. */
	readonly tunnel: Promise<Tunnel>;
	readonly upstream: WebSockets;
	readonly between?: (() => void) | undefined;
};

async function nextTunnel(tunnels: Tunnels): Promise<Tunnel> {
	return new Promise(resolve => {
		const decided = (tunnel: Tunnel) => {
			tunnels.off('promoted', decided);
			tunnels.off('kept', decided);
			owners.set(tunnel, tunnels);
			resolve(tunnel);
		};

		tunnels.on('promoted', decided);
		tunnels.on('kept', decided);
	});
}

async function statsOf(tunnel: Tunnel): Promise<TunnelStats> {
	const tunnels = owners.get(tunnel)!;
	return new Promise(resolve => {
		const onClose = (other: Tunnel, stats: TunnelStats) => {
			if (other === tunnel) {
				tunnels.off('close', onClose);
				resolve(stats);
			}
		};

		tunnels.on('close', onClose);
	});
}

const owners = new WeakMap<Tunnel, Tunnels>();

function listeners(proxy: Proxy): number[] {
	return ['proxyReqWs', 'open', 'close', 'error'].map(event => proxy.listenerCount(event));
}

/** A port where nobody listens. */
async function closedServer(): Promise<{readonly port: number}> {
	return {port: await freePort()};
}

async function freePort(): Promise<number> {
	const server = net.createServer();
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	const {port} = server.address() as AddressInfo;
	server.close();
	await once(server, 'close');
	return port;
}

/** Registers a test for each of the libraries; those that do not load on this Node are skipped, and say so. */
function eachOf(all: readonly Library[]) {
	return (title: string, implementation: (t: ExecutionContext, library: Library) => Promise<void>, engine: Carrier = 'stream') => {
		for (const library of all) {
			const reason = missing(library.name) ?? impossible(engine);
			test.serial(`${library.name}: ${reason === undefined ? '' : `skipped, ${reason}: `}${title}`, async t => {
				if (reason === undefined) {
					await implementation(t, library);
				} else {
					t.log(`skipped: ${reason}`);
					t.pass();
				}
			});
		}
	};
}
