import {type AddressInfo, type Server, type Socket} from 'node:net';
import os from 'node:os';
import {canonical, specialRange} from './addresses.ts';

/**
Whether a connection to this address would come back to the server that has accepted the client: a tunnel through such a one would ask for itself for ever.
*/
export function leadsBack(client: Socket, address: string, port: number): boolean {
	const own = addressOf(client);
	if (port !== own.port) {
		return false;
	}

	const range = specialRange(own.address);
	const [dialled, listening] = [canonical(address), canonical(own.address)];
	if (dialled === listening || specialRange(address) === 'unspecified') {
		return true;
	}

	// All addresses of this machine lead to a server that is not bound to one.
	return range === 'unspecified' && (specialRange(address) === 'loopback' || interfaces().has(dialled));
}

// Where the server listens that has accepted the client, or else where the client has connected to.
function addressOf(client: Socket): {readonly address: string; readonly port: number | undefined} {
	// Node sets it on each socket that a server accepts, and says so nowhere.
	const {server} = client as Socket & {readonly server?: Server};
	const bound = server && (listening.get(server) ?? server.address());
	if (!server || typeof bound !== 'object' || bound === null) {
		return {address: client.localAddress ?? '', port: client.localPort};
	}

	if (!listening.has(server)) {
		listening.set(server, bound);
		server.once('listening', () => {
			listening.delete(server); // Again, and then maybe elsewhere.
		});
	}

	return bound;
}

// Asking the kernel each time would be a tenth of what a CONNECT costs.
const listening = new WeakMap<Server, AddressInfo>();

function interfaces(): ReadonlySet<string> {
	return new Set(Object.values(os.networkInterfaces()).flatMap(list => list ?? []).map(({address}) => canonical(address)));
}
