/* eslint-disable no-await-in-loop -- A program of its own, which one of the tests starts with few descriptors. */
import {once} from 'node:events';
import {createServer} from 'node:http';
import net, {type AddressInfo} from 'node:net';
import process from 'node:process';
import {sockmap} from '../plugin/index.ts';

const statuses: Record<string, number> = {};
const errors: Record<string, number> = {};

const target = net.createServer({allowHalfOpen: true}, socket => {
	socket.on('error', ignore);
	socket.pipe(socket);
}).listen(0, '127.0.0.1');
await once(target, 'listening');
const {port: targetPort} = target.address() as AddressInfo;

const tunnels = sockmap(undefined, {engine: 'stream', allow: [`127.0.0.1:${targetPort}`]});
const server = createServer();
server.on('connect', (request, socket, head) => {
	void tunnels.connect(request, socket, head);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const {port} = server.address() as AddressInfo;

// Each tunnel takes four descriptors of this process, and each of these takes one more at first.
const clients: net.Socket[] = [];
const answers: Array<Promise<string>> = [];
for (let count = 0; count < 20; count++) {
	const client = net.connect({host: '127.0.0.1', port});
	client.on('error', ignore);
	clients.push(client);
	answers.push(statusOf(client)); // eslint-disable-line unicorn/prefer-top-level-await -- They are not answered before all have asked.
	await Promise.race([once(client, 'connect'), once(client, 'close')]).catch(ignore); // eslint-disable-line promise/prefer-await-to-then
}

for (const client of clients) {
	client.write(`CONNECT 127.0.0.1:${targetPort} HTTP/1.1\r\nHost: a\r\n\r\n`);
}

for (const line of await Promise.all(answers)) {
	const status = line.slice(9, 12);
	statuses[status] = (statuses[status] ?? 0) + 1;
}

const {rejectedFor, rejected} = tunnels.stats();
Object.assign(errors, rejectedFor);
await Promise.all(clients.map(async client => new Promise<void>(resolve => {
	client.once('close', resolve);
	client.destroy();
	if (client.closed) {
		resolve();
	}
})));
while (tunnels.stats().open > 0) {
	await new Promise<void>(resolve => {
		tunnels.once('close', () => {
			resolve();
		});
	});
}

const last = net.connect({host: '127.0.0.1', port});
last.on('error', ignore);
last.write(`CONNECT 127.0.0.1:${targetPort} HTTP/1.1\r\nHost: a\r\n\r\n`);
const after = await statusOf(last);
console.log(JSON.stringify({
	statuses, errors, after, mostRejected: rejected[503] ?? 0,
}));
process.exit(); // eslint-disable-line unicorn/no-process-exit -- With all that is open.

async function statusOf(client: net.Socket): Promise<string> {
	return new Promise(resolve => {
		client.once('data', (chunk: Uint8Array) => {
			resolve(new TextDecoder().decode(chunk).split('\r\n', 1)[0]!);
		});
		client.once('close', () => {
			resolve('');
		});
	});
}

function ignore(): void {
	// Whoever has no descriptor hears so elsewhere.
}
