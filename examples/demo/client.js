// The client: a WebSocket and a TLS session in a CONNECT tunnel, both through one proxy, both kept busy with messages that come back.
import {Buffer} from 'node:buffer';
import {randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {readFile} from 'node:fs/promises';
import {request} from 'node:http';
import {connect} from 'node:net';
import process from 'node:process';
import tls from 'node:tls';
import {WebSocket} from 'ws';
import {answer} from './child.js';
import {now} from './now.js';

const ca = await readFile(new URL('demo-only.pem', import.meta.url));
let echoes;

async function open({proxy, secure}) {
	echoes = await Promise.all([openWebSocket(proxy), openTls(proxy, secure)]);
}

const functions = {
	open,
	push() {
		for (const echo of echoes) {
			echo.push();
		}
	},
	settle: async () => Promise.all(echoes.map(echo => echo.settle())),
	/** For each tunnel the number of messages that came back within each of `spans`. */
	count: spans => echoes.map(echo => Object.fromEntries(Object.entries(spans).map(([name, {start, end}]) =>
		[name, echo.times.filter(time => time >= start && time < end).length]))),
	close: async () => Promise.all(echoes.map(echo => echo.close())),
};

async function openWebSocket(proxy) {
	const socket = connect(proxy, '127.0.0.1');
	const ws = new WebSocket('ws://localhost/', {createConnection: () => socket, perMessageDeflate: false});
	const [response] = await once(ws, 'upgrade');
	const headers = {read: socket.bytesRead, written: socket.bytesWritten};
	if (response.statusCode !== 101 || ws.readyState !== WebSocket.OPEN) {
		await once(ws, 'open');
	}

	const echo = new Echo({size: 1024, inFlight: 8, send: data => ws.send(data)});
	ws.on('message', data => echo.receive(data));
	return Object.assign(echo, {
		async close() {
			ws.close(1000);
			const [code] = await once(ws, 'close');
			return {...bytes(socket, headers), clean: code === 1000};
		},
	});
}

async function openTls(proxy, secure) {
	const [, socket, head] = await once(request({port: proxy, method: 'CONNECT', path: `127.0.0.1:${secure}`}).end(), 'connect');
	const headers = {read: socket.bytesRead - head.length, written: socket.bytesWritten};
	socket.unshift(head);
	const session = tls.connect({socket, ca, host: '127.0.0.1'});
	await once(session, 'secureConnect');

	const echo = new Echo({size: 16_384, inFlight: 4, send: data => session.write(data)});
	session.on('data', data => echo.receive(data));
	return Object.assign(echo, {
		async close() {
			let clean = false;
			session.on('end', () => {
				clean = true;
			});
			const closed = once(socket, 'close');
			session.end();
			await closed;
			return {...bytes(socket, headers), clean};
		},
	});
}

// What went through the tunnel; the headers that came before it are not part of it.
function bytes(socket, headers) {
	return {
		clientToUpstream: socket.bytesWritten - headers.written,
		upstreamToClient: socket.bytesRead - headers.read,
	};
}

// Keeps `inFlight` messages under way, each with its number and random content, and compares every byte that returns.
class Echo {
	times = [];
	mismatches = 0;
	sent = 0;
	#content;
	#received = Buffer.alloc(0);
	#running = false;
	#options;
	#settled;

	constructor(options) {
		this.#options = options;
		this.#content = randomBytes(options.size);
	}

	push() {
		this.#running = true;
		for (let count = 0; count < this.#options.inFlight; count++) {
			this.#send();
		}
	}

	receive(data) {
		const {size} = this.#options;
		this.#received = this.#received.length === 0 ? data : Buffer.concat([this.#received, data]);
		while (this.#received.length >= size) {
			this.#compare(this.#received.subarray(0, size));
			this.#received = this.#received.subarray(size);
		}
	}

	/** Stops sending, and waits for the messages that are under way. */
	async settle() {
		this.#running = false;
		await new Promise(resolve => {
			this.#settled = resolve;
			this.#settleIfAllCame();
		});
		return {sent: this.sent, echoed: this.times.length, mismatches: this.mismatches};
	}

	#send() {
		this.#options.send(this.#message(this.sent++));
	}

	#compare(message) {
		if (!message.equals(this.#message(this.times.length))) {
			this.mismatches++;
		}

		this.times.push(now());
		if (this.#running) {
			this.#send();
		}

		this.#settleIfAllCame();
	}

	#settleIfAllCame() {
		if (this.times.length === this.sent) {
			this.#settled?.();
		}
	}

	#message(number) {
		const message = Buffer.from(this.#content);
		message.writeUInt32BE(number);
		return message;
	}
}

answer(functions, {
	end() {
		process.exit(); // eslint-disable-line unicorn/no-process-exit
	},
});
