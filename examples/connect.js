// CONNECT, which http-proxy does not have: connect() dials, answers and carries.
// node examples/connect.js [port] [target]
import {createServer} from 'node:http';
import process from 'node:process';
import {sockmap} from 'http-proxy-sockmap';

const [port = 8080, target = '127.0.0.1:9000'] = process.argv.slice(2);

const tunnels = sockmap(undefined, {allow: [target]});
const server = createServer();
server.on('connect', (request, socket, head) => tunnels.connect(request, socket, head));
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
