// A forward proxy for a team: users, rules, quotas, and a line in the access log for each tunnel and each request.
// node examples/forward-proxy.js [port] [allowed target]…
import {createServer} from 'node:http';
import process from 'node:process';
import {hashPassword, sockmap} from 'http-proxy-sockmap';

const [port = 3128, ...targets] = process.argv.slice(2);

const tunnels = sockmap(undefined, {
	users: {alice: await hashPassword(process.env.PASSWORD ?? 'wonderland')}, // Keep the hashes in a file, not the passwords.
	clients: ['127.0.0.0/8', '::1', '10.0.0.0/8'],
	deny: ['*:25', '*.internal.example'],
	allow: [...targets, {allow: '*', ports: [80, 443]}], // A wildcard does not lead into your own network.
	maxTunnelsPerClient: 100,
	maxRate: 12_500_000, // Bytes per second of a tunnel: 100 Mbit/s.
	idleTimeout: 600_000,
	maxLifetime: 86_400_000,
});

// The common log format. What a tunnel has moved to the client is the size.
function log({address, user = '-', request, status, bytes = '-'}) {
	const [, day, month, year, time] = new Date().toUTCString().split(/[ ,]+/);
	console.log(`${address} - ${user} [${day}/${month}/${year}:${time} +0000] "${request}" ${status} ${bytes}`);
}

tunnels.on('tunnel', ({client}) => addresses.set(client, client.remoteAddress));
tunnels.on('close', ({client, user, context: {url}}, {upstreamToClient}) => {
	log({address: addresses.get(client), user, request: `CONNECT ${url} HTTP/1.1`, status: 200, bytes: upstreamToClient.bytes});
});

// Those who send half a request get ten seconds for the rest.
const server = createServer({headersTimeout: 10_000, requestTimeout: 300_000});
server.on('connect', async (request, socket, head) => {
	const {remoteAddress: address} = socket;
	if (!await tunnels.connect(request, socket, head)) {
		log({address, request: `CONNECT ${request.url} HTTP/1.1`, status: 403});
	}
});
server.on('request', (request, response) => {
	const {remoteAddress: address} = request.socket;
	response.once('close', () => log({address, request: `${request.method} ${request.url} HTTP/${request.httpVersion}`, status: response.statusCode}));
	tunnels.forward(request, response);
});
server.listen(port, '127.0.0.1', () => console.log(`http://alice@127.0.0.1:${server.address().port}`));

const addresses = new WeakMap(); // A closed socket does not know its own any more.

for (const signal of ['SIGINT', 'SIGTERM']) {
	process.once(signal, async () => {
		server.close();
		await tunnels.close({timeout: 1000});
	});
}
