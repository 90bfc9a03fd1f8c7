import {Buffer} from 'node:buffer';
import {createHash} from 'node:crypto';
import {once} from 'node:events';
import {createServer} from 'node:http';
import type net from 'node:net';
import type {AddressInfo} from 'node:net';
import type {ExecutionContext} from 'ava';
import {WebSocket, WebSocketServer, type ClientOptions} from 'ws';
import {assertCarriedBy, onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern} from './pattern.ts';
import {startProxy} from './proxy.ts';
import {closed, within} from './until.ts';

/** What one end of a WebSocket saw, in order. Two conversations are the same if their transcripts are. */
type Transcript = string[];

type Conversation = {
	readonly name: string;
	readonly deflate?: boolean;
	readonly hold: (client: WebSocket, server: WebSocket) => Promise<void> | void;
};

nothingIsLeft();

const conversations: readonly Conversation[] = [
	{
		name: 'text and binary messages, empty ones and long ones, and the close of a client that is done',
		async hold(client) {
			for (const message of ['', 'hello', 'Grüße, 世界 🚇', 'x'.repeat(125), 'x'.repeat(126), 'x'.repeat(65_536), Buffer.alloc(0), Buffer.from([0, 255]), Buffer.from(pattern(7, 0, 300_000))]) {
				client.send(message);
				await once(client, 'message'); // eslint-disable-line no-await-in-loop
			}

			client.close();
		},
	},
	{
		name: 'a burst of messages that nobody waits for',
		async hold(client) {
			for (let index = 0; index < 2000; index++) {
				client.send(`message ${index} ${'.'.repeat(index % 300)}`);
			}

			client.send('last');
			await messageOf(client, 'last');
			client.close(1000, 'all said');
		},
	},
	{
		name: 'fragmented messages with control frames between the fragments',
		async hold(client) {
			client.send('one, ', {fin: false});
			client.ping('between');
			client.send('two, ', {fin: false});
			await once(client, 'pong');
			client.send('three', {fin: true});
			await once(client, 'message');
			client.send(Buffer.from(pattern(3, 0, 70_000)), {binary: true, fin: false});
			client.send(Buffer.from(pattern(3, 70_000, 70_000)), {binary: true, fin: true});
			await once(client, 'message');
			client.close();
		},
	},
	{
		name: 'pings and pongs of both ends, with and without payload',
		async hold(client, server) {
			for (const payload of ['', 'are you there?', 'p'.repeat(125)]) {
				client.ping(payload);
				await once(client, 'pong'); // eslint-disable-line no-await-in-loop
				server.ping(payload);
				await once(server, 'pong'); // eslint-disable-line no-await-in-loop
			}

			client.pong('unasked');
			client.send('last');
			await messageOf(client, 'last');
			client.close();
		},
	},
	{
		name: 'permessage-deflate, with its context kept from message to message',
		deflate: true,
		async hold(client, server) {
			for (let index = 0; index < 20; index++) {
				client.send(JSON.stringify({index, text: 'compress me, '.repeat(index * 50)}));
				await once(client, 'message'); // eslint-disable-line no-await-in-loop
			}

			server.send(Buffer.from(pattern(11, 0, 1_000_000)));
			await once(client, 'message');
			client.close();
		},
	},
	{
		name: 'messages of 16 MB, text there and binary back',
		async hold(client, server) {
			client.send('16 MB of text. '.repeat(1_118_482).slice(0, 16_777_216));
			await once(client, 'message');
			server.send(Buffer.from(pattern(5, 0, 16_777_216)));
			await once(client, 'message');
			client.close();
		},
	},
	{
		name: 'a close by the client with a code and a reason of its own',
		hold(client) {
			client.close(4321, 'because, 世界');
		},
	},
	{
		name: 'a close by the server with a code and a reason of its own',
		hold(_client, server) {
			server.close(1013, 'try again later');
		},
	},
	{
		name: 'messages right before the close of the server, all of which arrive',
		hold(_client, server) {
			for (let index = 0; index < 100; index++) {
				server.send(`going ${index}`);
			}

			server.close(1001, 'gone');
		},
	},
	{
		name: 'a client that vanishes without a close frame',
		async hold(client) {
			client.send('last');
			await messageOf(client, 'last');
			client.terminate();
		},
	},
	{
		name: 'a server that vanishes without a close frame',
		async hold(client, server) {
			client.send('last');
			await messageOf(client, 'last');
			server.terminate();
		},
	},
	{
		name: 'a frame that breaks the protocol',
		async hold(client, server) {
			client.send('last');
			await messageOf(client, 'last');
			rawSocket(server).write(Buffer.from([0x8F, 0x00])); // An opcode that nobody has defined.
		},
	},
];

for (const conversation of conversations) {
	onEachEngine(`ws notices nothing of the tunnel: ${conversation.name}`, sameAsDirect, conversation);
}

async function sameAsDirect(t: ExecutionContext, engine: Carrier, {deflate = false, hold}: Conversation): Promise<void> {
	const server = await startWebSocketServer(t, deflate);
	const running = await startProxy(t, {engine, target: `http://127.0.0.1:${server.port}`});

	const direct = await server.converse(t, server.port, hold);
	const tunnelled = await server.converse(t, running.port, async (client, other) => {
		const tunnel = await running.tunnelOf(rawSocket(client));
		await hold(client, other);
		const stats = await running.closeOf(tunnel);
		if (stats.clientToUpstream.bytes + stats.upstreamToClient.bytes > 1000) {
			assertCarriedBy(t, engine, stats);
		}
	});
	t.deepEqual(tunnelled.client, direct.client);
	t.deepEqual(tunnelled.server, direct.server);
	t.true(direct.client.at(-1)!.startsWith('close'));
}

/** A `ws` server that sends every message back, and a way to have the same conversation with it by different routes. */
async function startWebSocketServer(t: ExecutionContext, deflate: boolean) {
	const perMessageDeflate = deflate && {threshold: 0};
	const http = createServer();
	const server = new WebSocketServer({
		server: http, perMessageDeflate, maxPayload: 33_554_432, handleProtocols: protocols => [...protocols].at(-1)!,
	});
	http.listen(0, '127.0.0.1');
	await once(http, 'listening');
	t.teardown(async () => {
		for (const client of server.clients) {
			client.terminate();
		}

		server.close();
		http.close();
		await once(http, 'close');
	});

	return {
		port: (http.address() as AddressInfo).port,
		async converse(t: ExecutionContext, port: number, hold: Conversation['hold']): Promise<{client: Transcript; server: Transcript}> {
			const options: ClientOptions = {perMessageDeflate, maxPayload: 33_554_432};
			const connected = once(server, 'connection') as Promise<[WebSocket]>;
			const client = new WebSocket(`ws://127.0.0.1:${port}/path?query=1`, ['first', 'second'], options);
			t.teardown(() => {
				client.terminate();
			});
			const clientSaw = transcribe(client);
			const [[other]] = await within('the WebSocket is open', Promise.all([connected, once(client, 'open')]));
			const serverSaw = transcribe(other);
			clientSaw.push(`${client.protocol} ${client.extensions}`);
			other.on('message', (data: Uint8Array, isBinary) => {
				other.send(data, {binary: isBinary});
			});
			const bothClosed = Promise.all([closed(client), closed(other)]);
			await hold(client, other);
			await within('the WebSocket is closed at both ends', bothClosed);
			return {client: clientSaw, server: serverSaw};
		},
	};
}

function transcribe(socket: WebSocket): Transcript {
	const transcript: Transcript = [];
	socket.on('message', (data: Uint8Array, isBinary) => {
		transcript.push(`message ${isBinary ? 'binary' : 'text'} ${data.length} ${createHash('sha1').update(data).digest('hex')}`);
	});
	for (const event of ['ping', 'pong'] as const) {
		socket.on(event, data => {
			transcript.push(`${event} ${data.toString()}`);
		});
	}

	socket.on('error', (error: NodeJS.ErrnoException) => {
		transcript.push(`error ${error.code} ${error.message}`);
	});
	socket.on('close', (code, reason) => {
		transcript.push(`close ${code} ${reason.toString()}`);
	});
	return transcript;
}

async function messageOf(socket: WebSocket, text: string): Promise<void> {
	return new Promise(resolve => {
		socket.on('message', (data: Uint8Array) => {
			if (data.toString() === text) {
				resolve();
			}
		});
	});
}

function rawSocket(socket: WebSocket): net.Socket {
	return (socket as WebSocket & {readonly _socket: net.Socket})._socket;
}
