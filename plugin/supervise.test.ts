import {once} from 'node:events';
import net, {type AddressInfo, type Socket} from 'node:net';
import test from 'ava';
import {native} from './native.ts';
import {sockmap} from './sockmap.ts';
import {type Tunnels} from './tunnels.ts';

async function connection(): Promise<readonly [ours: Socket, theirs: Socket]> {
	const server = net.createServer({allowHalfOpen: true}).listen(0, '127.0.0.1');
	await once(server, 'listening');
	const theirs = net.connect({port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true});
	const [[ours]] = await Promise.all([once(server, 'connection'), once(theirs, 'connect')]) as [[Socket], unknown];
	server.close();
	return [ours, theirs];
}

type Ends = {readonly ours: readonly [Socket, Socket]; readonly client: Socket; readonly upstream: Socket};

async function connections(): Promise<Ends> {
	const [[client, theirClient], [upstream, theirUpstream]] = await Promise.all([connection(), connection()]);
	return {ours: [client, upstream], client: theirClient, upstream: theirUpstream};
}

async function closeOf(tunnels: Tunnels): Promise<void> {
	return new Promise(resolve => {
		tunnels.once('close', () => {
			resolve();
		});
	});
}

test('a socket whose emit() somebody has replaced, as tracers do, still tells them of its events', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	const {ours, client, upstream} = await connections();
	const told = ours.map(socket => {
		const events: string[] = [];
		const {emit} = socket;
		socket.emit = function (this: Socket, event: string | symbol, ...details: any[]) {
			events.push(String(event));
			return (emit as (...all: any[]) => boolean).call(this, event, ...details); // eslint-disable-line @typescript-eslint/no-unsafe-argument
		};

		return events;
	});
	const tunnel = tunnels.splice(...ours);
	client.end('question');
	const [question] = await once(upstream, 'data') as [Uint8Array];
	t.is(String(question), 'question');
	const closed = closeOf(tunnels);
	upstream.end();
	client.resume();
	await closed;
	t.like(tunnel.stats(), {reason: 'end', by: 'client'});
	for (const events of told) {
		for (const event of ['end', 'finish', 'close']) {
			t.deepEqual(events.filter(other => other === event), [event]);
		}
	}
});

test('a reset that nobody else listens to is heard by the tunnel, and not thrown', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	const {ours, client, upstream} = await connections();
	const tunnel = tunnels.splice(...ours);
	upstream.on('error', () => {}); // eslint-disable-line @typescript-eslint/no-empty-function
	upstream.resume();
	const closed = closeOf(tunnels);
	client.resetAndDestroy();
	await closed;
	t.like(tunnel.stats(), {reason: 'reset', by: 'client', code: 'ECONNRESET'});
	t.is(tunnel.stats().client === undefined, native === undefined, 'TCP was not asked before the socket was closed');
});

test('those who listen hear of an error, and of the end of the tunnel after that of its sockets', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	const {ours, client, upstream} = await connections();
	const heard: string[] = [];
	for (const [index, socket] of ours.entries()) {
		socket.on('error', ({code}: NodeJS.ErrnoException) => {
			heard.push(`${index}: ${code}`);
		});
		socket.on('close', () => {
			heard.push(`${index}: close`);
		});
	}

	tunnels.splice(...ours);
	upstream.on('error', () => {}); // eslint-disable-line @typescript-eslint/no-empty-function
	upstream.resume();
	tunnels.on('close', () => {
		heard.push('tunnel');
	});
	const closed = closeOf(tunnels);
	client.resetAndDestroy();
	await closed;
	t.deepEqual([...heard].sort((one, other) => one.localeCompare(other)), ['0: close', '0: ECONNRESET', '1: close', 'tunnel']);
	t.is(heard.at(-1), 'tunnel');
});
