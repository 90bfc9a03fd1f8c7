// The proxy with the plugin. What differs from a program of yours: it answers the demo's calls.
import {once} from 'node:events';
import {createServer} from 'node:http';
import httpProxy from 'http-proxy';
import {blockable} from './blockable.js';
import {answer, notify} from './child.js';
import {capabilities, sockmap} from 'http-proxy-sockmap';

let proxy;
let tunnels;
let server;

async function listen({target, allow, engine}) {
	proxy = httpProxy.createProxyServer({target});
	proxy.on('error', error => console.error('proxy:', error.message));
	tunnels = sockmap(proxy, {engine, allow: [allow]});

	server = createServer((request, response) => {
		if (request.url === '/block') {
			const {start, end} = blockable.block(2000);
			response.end(`The event loop of the proxy was blocked for ${Math.round(end - start)} ms.\n`);
			return;
		}

		proxy.web(request, response);
	});
	server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head));
	server.on('connect', (request, socket, head) => tunnels.connect(request, socket, head));

	tunnels.on('promoted', tunnel => notify({event: 'promoted', ...describe(tunnel)}));
	tunnels.on('kept', tunnel => notify({event: 'kept', ...describe(tunnel)}));
	tunnels.on('close', (tunnel, stats) => notify({event: 'close', ...describe(tunnel), stats}));

	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	return server.address().port;
}

function describe({id, kind, engine, skipped}) {
	return {
		id, kind, engine, skipped,
	};
}

async function end() {
	server?.close();
	await tunnels?.close({timeout: 1000});
}

answer({...blockable, listen, capabilities}, {end});
