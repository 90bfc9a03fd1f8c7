// Both ends of a tunnel, in one process that keeps its processor from everybody else while it writes to them.
const {Buffer} = require('node:buffer');
const net = require('node:net');
const process = require('node:process');

const chunk = Buffer.alloc(65_536, 'x');
let client;
let upstream;

const server = net.createServer({allowHalfOpen: true}, socket => {
	upstream = socket;
	process.send({type: 'accepted'});
}).listen(0, '127.0.0.1', () => {
	process.send({type: 'listening', port: server.address().port});
});

process.on('message', ({proxy, head, chat, flood, end, read}) => {
	if (proxy) {
		client = net.connect({port: proxy, host: '127.0.0.1', allowHalfOpen: true}, () => client.write(head));
		client.once('data', () => {
			process.send({type: 'open', port: client.localPort});
		});
	}

	if (chat) {
		upstream.once('data', () => upstream.write('pong'));
		client.once('data', () => process.send({type: 'answered'}));
		client.write('ping');
	}

	if (flood) {
		client.pause();
		upstream.pause();
		for (let count = 0; count < flood; count++) {
			client.write(chunk);
			upstream.write(chunk);
		}

		process.send({type: 'flooded', taken: [client, upstream].map(({bytesWritten, writableLength}) => bytesWritten - writableLength)});
	}

	if (end) {
		client.end();
		upstream.end();
	}

	if (read) {
		const socket = read === 'client' ? client : upstream;
		let length = 0;
		socket.on('data', bytes => {
			length += bytes.length;
		});
		socket.resume();
		socket.once('end', () => process.send({type: 'read', length}));
	}
});
