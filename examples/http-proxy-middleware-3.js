// With http-proxy-middleware 3, by `plugins`, which are called with the proxy that it makes for itself.
// node examples/http-proxy-middleware-3.js [port] [target]
import {createServer} from 'node:http';
import process from 'node:process';
// In your project it is 'http-proxy-middleware'. Here we have several versions of it.
import {createProxyMiddleware} from 'http-proxy-middleware-3';
import {sockmap} from 'http-proxy-sockmap';

const [port = 8080, target = 'http://127.0.0.1:9000'] = process.argv.slice(2);

// `plugins: [sockmap]` is enough, unless you want to hear of the tunnels.
let tunnels;
const middleware = createProxyMiddleware({
	target,
	plugins: [
		proxy => {
			tunnels = sockmap(proxy);
		},
	],
});

const server = createServer(middleware);
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
