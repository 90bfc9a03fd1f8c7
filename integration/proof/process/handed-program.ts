import {once} from 'node:events';
import net, {type Socket} from 'node:net';
import process from 'node:process';
import {sockmap} from '../../../plugin/index.ts';
import type {Message, ProgramOptions} from '../../proxy-program.ts';
import {ignore} from '../../wire.ts';

// A process that accepts nothing itself: its parent hands it connected sockets, and it carries each to the port that it was told.

const {target: port, ...options} = JSON.parse(process.argv[2]!) as ProgramOptions;

const tunnels = sockmap(undefined, options);
for (const name of ['promoted', 'kept'] as const) {
	tunnels.on(name, ({id, engine, skipped, client}) => {
		tell({
			type: 'decided', id, engine, skipped, clientPort: client.remotePort!,
		});
	});
}

process.on('message', async (_order, client?: Socket) => {
	if (client === undefined) {
		process.disconnect();
		return;
	}

	client.on('error', ignore);
	client.allowHalfOpen = true;
	const upstream = net.connect({host: '127.0.0.1', port: Number(port), allowHalfOpen: true});
	await once(upstream, 'connect');
	tunnels.splice(client, upstream);
});

function tell(message: Message): void {
	if (process.connected) {
		process.send!(message);
	}
}
