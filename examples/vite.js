// Vite: `configure` is called with the proxy of each entry of `server.proxy`.
// node examples/vite.js [port] [target]
import process from 'node:process';
import {createServer} from 'vite';
import {sockmap} from 'http-proxy-sockmap';

const [port = 8080, target = 'http://127.0.0.1:9000'] = process.argv.slice(2);

// What you would write into vite.config.js. `configure: sockmap` is enough, unless you want to hear of the tunnels.
let tunnels;
const config = {
	server: {
		proxy: {
			'/': {
				target,
				ws: true,
				configure(proxy) {
					tunnels = sockmap(proxy);
				},
			},
		},
	},
};

const server = await createServer({
	...config, configFile: false, root: import.meta.dirname, logLevel: 'warn', optimizeDeps: {noDiscovery: true},
	server: {...config.server, host: '127.0.0.1', port: Number(port)},
});
await server.listen();
console.log(`http://127.0.0.1:${server.httpServer.address().port} leads to ${target}`);

tunnels.on('promoted', tunnel => console.log(`Tunnel ${tunnel.id} is on ${tunnel.engine}.`));
tunnels.on('kept', tunnel => console.log(`Tunnel ${tunnel.id} stays in JavaScript:`, tunnel.skipped));
tunnels.on('close', (tunnel, {reason, by}) => console.log(`Tunnel ${tunnel.id} is over: ${reason} by ${by}.`));

for (const signal of ['SIGINT', 'SIGTERM']) {
	process.once(signal, async () => {
		server.close();
		await tunnels.close({timeout: 1000});
	});
}
