// A CONNECT proxy written by hand: splice() takes the two sockets once they are connected.
// node examples/splice.js [port] [target]
import {createServer} from 'node:http';
import {connect} from 'node:net';
import process from 'node:process';
import {sockmap} from 'http-proxy-sockmap';

const [port = 8080, target = '127.0.0.1:9000'] = process.argv.slice(2);

const tunnels = sockmap();
const server = createServer();
server.on('connect', (request, client, head) => {
	if (request.url !== target) {
		client.end('HTTP/1.1 403 Forbidden\r\n\r\n');
		return;
	}

	const {hostname, port} = new URL(`tcp://${target}`);
	const upstream = connect({host: hostname, port});
	const refuse = () => client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
	upstream.once('error', refuse);
	client.on('error', () => upstream.destroy());
	upstream.once('connect', () => {
		upstream.off('error', refuse);
		client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
		client.unshift(head);
		tunnels.splice(client, upstream);
	});
});
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
