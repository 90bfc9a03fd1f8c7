// With http-proxy-middleware 2, which hides its proxy, by the two events that are needed.
// node examples/http-proxy-middleware-2.js [port] [target]
import {EventEmitter} from 'node:events';
import {createServer} from 'node:http';
import process from 'node:process';
// In your project it is 'http-proxy-middleware'. Here we have several versions of it.
import {createProxyMiddleware} from 'http-proxy-middleware-2';
import {sockmap} from 'http-proxy-sockmap';

const [port = 8080, target = 'http://127.0.0.1:9000'] = process.argv.slice(2);

const proxy = new EventEmitter(); // eslint-disable-line unicorn/prefer-event-target
const tunnels = sockmap(proxy);
const middleware = createProxyMiddleware({
	target,
	onProxyReqWs: (...event) => proxy.emit('proxyReqWs', ...event),
	onOpen: upstream => proxy.emit('open', upstream),
});

const server = createServer((request, response) => middleware(request, response, () => response.writeHead(404).end()));
server.on('upgrade', middleware.upgrade);
server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port} leads to ${target}`));

tunnels.on('promoted', tunnel => console.log(`Tunnel ${tunnel.id} is on ${tunnel.engine}.`));
tunnels.on('kept', tunnel => console.log(`Tunnel ${tunnel.id} stays in JavaScript:`, tunnel.skipped));
tunnels.on('close', (tunnel, {reason, by}) => console.log(`Tunnel ${tunnel.id} is over: ${reason} by ${by}.`));

for (const signal of ['SIGINT', 'SIGTERM']) {
	process.once(signal, async () => {
		server.close();
		await tunnels.close({timeout: 1000});
	});
}
