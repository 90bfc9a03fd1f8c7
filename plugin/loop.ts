import {type AddressInfo, type Server, type Socket} from 'node:net';
import os from 'node:os';
import {canonical, specialRange} from './addresses.ts';

/**
Whether a connection to this address would come back to the server that has accepted the client: a tunnel through such a one would ask for itself for ever.
*/
export function leadsBack(client: Socket, address: string, port: number): boolean {
	// Node sets it on each socket that a server accepts, and says so nowhere.
	const {server} = client as Socket & {readonly server?: Server};
	const bound = server?.address();
	const own = typeof bound === 'object' && bound !== null ? bound : {address: client.localAddress ?? '', port: client.localPort};
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

function interfaces(): ReadonlySet<string> {
	return new Set(Object.values(os.networkInterfaces()).flatMap(list => list ?? []).map(({address}) => canonical(address)));
}
