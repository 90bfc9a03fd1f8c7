import {once} from 'node:events';
import net, {type AddressInfo, type Socket} from 'node:net';
import fs from 'node:fs';
import process from 'node:process';
import httpProxy from 'http-proxy';
import {sockmap, type Options} from '../../../plugin/index.ts';
import {holdings} from '../../holdings.ts';
import {closed} from '../../until.ts';
import {echo} from '../../upstream.ts';
import {ignore, readText, readTextToEnd} from '../../wire.ts';
import {relayThreads} from './remains.ts';

// Makes a `Tunnels`, carries a tunnel with it, and closes it, so many times. Says now and then what has become of the process.

export type CyclesOptions = Pick<Options, 'engine' | 'capacity'> & {
	readonly cycles: number;

	/** Take a sample after every so many. */
	readonly every: number;
};

export type Sample = {
	readonly cycle: number;

	/** Descriptors by their kinds: sockets, maps, pipes… */
	readonly held: Readonly<Record<string, number>>;
	readonly relays: number;
	readonly threads: number;
	readonly listeners: number;

	/** Bytes, after a garbage collection. */
	readonly rss: number;
	readonly heap: number;
};

const {cycles, every, ...options} = JSON.parse(process.argv[2]!) as CyclesOptions;

const upstreams = await listen(socket => {
	echo(socket);
});
const accepted: Socket[] = [];
const clients = await listen(socket => {
	accepted.push(socket);
});

// One proxy for all of them: what they leave behind in it would show.
const proxy = httpProxy.createProxyServer();

for (let cycle = 1; cycle <= cycles; cycle++) {
	await live(cycle); // eslint-disable-line no-await-in-loop
	if (cycle % every === 0) {
		process.send!(await sample(cycle)); // eslint-disable-line no-await-in-loop
	}
}

process.exit(); // eslint-disable-line unicorn/no-process-exit -- The servers still listen.

async function live(cycle: number): Promise<void> {
	const tunnels = sockmap(proxy, options);
	// Most have a tunnel. Of these, most end by their ends, some by `close()`, and some are reset by it.
	if (cycle % 10 === 0) {
		await tunnels.close();
		return;
	}

	const [far, near, upstream] = [await dial(clients), accepted.shift()!, await dial(upstreams)];
	const tunnel = tunnels.splice(near, upstream);
	const decided = Promise.race([once(tunnels as never, 'promoted'), once(tunnels as never, 'kept')]);
	far.write(`number ${cycle}`);
	await readText(far, `number ${cycle}`.length);
	await decided;
	if (options.engine !== undefined && tunnel.engine !== options.engine) {
		throw new Error(`Cycle ${cycle} is on ${tunnel.engine}: ${JSON.stringify(tunnel.skipped)}`);
	}

	if (cycle % 10 < 6) {
		far.end();
		await readTextToEnd(far);
		await tunnels.close();
	} else if (cycle % 10 < 8) {
		const closing = tunnels.close();
		await readTextToEnd(far);
		far.end();
		await closing;
	} else {
		const closing = tunnels.close({timeout: 0});
		far.destroy();
		await closing;
	}

	if (!far.closed) {
		await closed(far);
	}
}

async function sample(cycle: number): Promise<Sample> {
	// What was closed just now leaves in the next turns.
	for (let turn = 0; turn < 20; turn++) {
		await new Promise(resolve => { // eslint-disable-line no-await-in-loop
			setImmediate(resolve);
		});
	}

	globalThis.gc!();
	const {rss, heapUsed} = process.memoryUsage();
	return {
		cycle,
		held: Object.fromEntries([...holdings()].map(([kind, names]) => [kind, names.length])),
		relays: relayThreads(process.pid),
		threads: fs.readdirSync('/proc/self/task').length,
		listeners: proxy.eventNames().reduce((sum, name) => sum + proxy.listenerCount(name as string), 0),
		rss,
		heap: heapUsed,
	};
}

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
	const server = net.createServer({allowHalfOpen: true}, socket => {
		socket.on('error', ignore);
		onConnection(socket);
	});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	return (server.address() as AddressInfo).port;
}

async function dial(port: number): Promise<Socket> {
	const socket = net.connect({host: '127.0.0.1', port, allowHalfOpen: true});
	socket.on('error', ignore);
	await once(socket, 'connect');
	return socket;
}
