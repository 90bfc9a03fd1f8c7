// The same proxy without the plugin, to compare with. http-proxy has no CONNECT: this is how people add it by hand.
import {once} from 'node:events';
import {createServer} from 'node:http';
import {connect} from 'node:net';
import process from 'node:process';
import httpProxy from 'http-proxy';
import {blockable} from './blockable.js';
import {answer} from './child.js';

async function listen({target}) {
	const proxy = httpProxy.createProxyServer({target});
	proxy.on('error', error => console.error('plain proxy:', error.message));

	const server = createServer((request, response) => proxy.web(request, response));
	server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head));
	server.on('connect', (request, client, head) => {
		const {hostname, port} = new URL(`http://${request.url}`);
		const upstream = connect(Number(port), hostname, () => {
			client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
			upstream.write(head);
			upstream.pipe(client).pipe(upstream);
		});
		upstream.on('error', () => client.destroy());
		client.on('error', () => upstream.destroy());
	});

	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	return server.address().port;
}

answer({...blockable, listen}, {
	// Plain http-proxy leaves client sockets open after their tunnel has ended, so that this process would never end by itself.
	end() {
		process.exit(); // eslint-disable-line unicorn/no-process-exit
	},
});
