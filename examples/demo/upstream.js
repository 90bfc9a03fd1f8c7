// What the proxy leads to: a page and a WebSocket echo over HTTP, and over TLS an echo of bytes with a page for curl.
import {once} from 'node:events';
import {readFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import process from 'node:process';
import tls from 'node:tls';
import {WebSocketServer} from 'ws';
import {answer} from './child.js';

const page = await readFile(new URL('page.html', import.meta.url));
const pem = await readFile(new URL('demo-only.pem', import.meta.url));

const web = createServer((request, response) => {
	response.setHeader('content-type', 'text/html; charset=utf-8');
	response.end(page);
});
new WebSocketServer({server: web}).on('connection', socket => {
	socket.on('message', (data, binary) => socket.send(data, {binary}));
	socket.on('error', () => {});
});

const hello = createServer((request, response) => {
	response.end(`Hello from the TLS server, process ${process.pid}. You came through a CONNECT tunnel.\n`);
});

// Whoever speaks HTTP says so by ALPN, as curl and browsers do. All others get their bytes back.
const secure = tls.createServer({key: pem, cert: pem, ALPNProtocols: ['http/1.1']}, socket => {
	socket.on('error', () => {});
	if (socket.alpnProtocol) {
		hello.emit('connection', socket);
	} else {
		socket.pipe(socket);
	}
});

async function listen() {
	web.listen(0, '127.0.0.1');
	secure.listen(0, '127.0.0.1');
	await Promise.all([once(web, 'listening'), once(secure, 'listening')]);
	return {web: web.address().port, secure: secure.address().port};
}

answer({listen}, {
	end() {
		process.exit(); // eslint-disable-line unicorn/no-process-exit
	},
});
