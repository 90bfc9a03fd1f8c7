import cluster from 'node:cluster';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import process from 'node:process';
import httpProxy from 'http-proxy';
import {capabilities, sockmap} from '../../../plugin/index.ts';
import type {Message, ProgramOptions} from '../../proxy-program.ts';
import {ignore} from '../../wire.ts';

// A cluster of two proxies at one port. Who of them is killed is replaced. The primary passes on what they say, each with who says it.

export type ClusterMessage =
	/** One of them is ready, at the port of all. */
	| {readonly type: 'worker'; readonly pid: number; readonly port: number}
	| {readonly type: 'said'; readonly pid: number; readonly message: Message};

const {target, ...options} = JSON.parse(process.argv[2]!) as ProgramOptions;

if (cluster.isPrimary) {
	let isEnding = false;
	const fork = () => {
		const worker = cluster.fork();
		worker.on('message', (message: Message) => {
			const {pid} = worker.process;
			tell(message.type === 'ready' ? {type: 'worker', pid: pid!, port: message.port} : {type: 'said', pid: pid!, message});
		});
	};

	cluster.on('exit', () => {
		if (!isEnding) {
			fork();
		}
	});
	process.on('message', () => {
		isEnding = true;
		cluster.disconnect(() => {
			process.disconnect();
		});
	});
	fork();
	fork();
} else {
	const proxy = httpProxy.createProxyServer({target: target!});
	proxy.on('error', ignore);
	const tunnels = sockmap(proxy, {allow: ['127.0.0.1:*'], ...options});
	const server = createServer();
	server.on('upgrade', (request, socket, head) => {
		proxy.ws(request, socket, head);
	});
	server.on('connect', async (request, socket, head) => {
		await tunnels.connect(request, socket, head);
	});
	for (const name of ['promoted', 'kept'] as const) {
		tunnels.on(name, ({id, engine, skipped, client}) => {
			say({
				type: 'decided', id, engine, skipped, clientPort: client.remotePort!,
			});
		});
	}

	tunnels.on('close', ({id}, stats) => {
		say({type: 'close', id, stats});
	});
	// One free port, and the same for all.
	server.listen(0, '127.0.0.1', () => {
		say({type: 'ready', port: (server.address() as AddressInfo).port, capabilities: capabilities()});
	});
}

function say(message: Message): void {
	if (process.connected) {
		process.send!(message);
	}
}

function tell(message: ClusterMessage): void {
	if (process.connected) {
		process.send!(message);
	}
}
