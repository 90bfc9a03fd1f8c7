// With httpxy it is the same line, too. Only its own ws() takes the head last.
// node examples/httpxy.js [port] [target]
import {createServer} from 'node:http';
import process from 'node:process';
import {createProxyServer} from 'httpxy';
import {sockmap} from 'http-proxy-sockmap';

const [port = 8080, target = 'http://127.0.0.1:9000'] = process.argv.slice(2);

const proxy = createProxyServer({target});
const tunnels = sockmap(proxy);

proxy.on('error', (error, request, responseOrSocket) => {
	console.error(error.message);
	responseOrSocket.destroy();
});

const server = createServer((request, response) => proxy.web(request, response));
server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, {}, head));
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
