import {createServer} from 'node:http';
import net from 'node:net';
import process from 'node:process';
import httpProxy from 'http-proxy';

// The proxies that are written in Node, each as short as people have it. Run as `node node.js KIND PORT UPSTREAM OPTIONS`.
// This is JavaScript, and uses the built package, so that what is measured is what is installed.

const [kind, port, upstream, json] = process.argv.slice(2);
const {block, ...options} = JSON.parse(json ?? '{}');

const kinds = {
	/** Two sockets and two pipes. */
	pipe: () => net.createServer({noDelay: true}, client => {
		join(client, net.connect({port: Number(upstream), host: '127.0.0.1', noDelay: true}));
	}),

	'http-proxy'() {
		const proxy = httpProxy.createProxyServer({target: `http://127.0.0.1:${upstream}`});
		proxy.on('error', ignore);
		return createServer().on('upgrade', (request, socket, head) => proxy.ws(request, socket, head));
	},

	async plugin() {
		const {sockmap} = await import('../../../dist/index.js');
		const proxy = httpProxy.createProxyServer({target: `http://127.0.0.1:${upstream}`});
		proxy.on('error', ignore);
		const tunnels = sockmap(proxy, {allow: ['127.0.0.1:*'], ...options});
		return createServer()
			.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head))
			.on('connect', (request, socket, head) => tunnels.connect(request, socket, head));
	},

	/** What is written by hand where a CONNECT proxy is needed. */
	connect: () => createServer().on('connect', (request, client, head) => {
		const {hostname, port} = new URL(`http://${request.url}`);
		const server = net.connect({port: Number(port), host: hostname, noDelay: true}, () => {
			client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
			server.write(head);
			join(client, server);
		});
	}),
};

function join(client, server) {
	client.pipe(server).pipe(client);
	for (const [one, other] of [[client, server], [server, client]]) {
		one.on('error', ignore);
		one.on('close', () => other.destroy());
	}
}

function ignore() {}

// A program that computes for a while, again and again. It sleeps instead, so that it takes no processor time from the others.
if (block) {
	const never = new Int32Array(new SharedArrayBuffer(4));
	setInterval(() => Atomics.wait(never, 0, 0, block.milliseconds), block.every);
}

// eslint-disable-next-line unicorn/no-process-exit -- This is a program.
process.stdin.resume().on('end', () => process.exit());
const server = await kinds[kind]();
server.listen({port: Number(port), host: '127.0.0.1', backlog: 4096});
