import {once} from 'node:events';
import {type Server} from 'node:http';
import {type AddressInfo} from 'node:net';
import {Failure, UsageError} from './command.ts';

export type Address = {
	readonly host: string;
	readonly port: number;
};

/**
`[host:]port`. Without a host it is for this machine only.
*/
export function parseAddress(name: string, text: string): Address {
	const {ipv6, host = ipv6 ?? '127.0.0.1', port} = /^(?:(?:\[(?<ipv6>[\d:.a-f]+)]|(?<host>[^:[\]\s]+)):)?(?<port>\d{1,5})$/i.exec(text)?.groups ?? {};
	if (port === undefined || Number(port) > 65_535) {
		throw new UsageError(`Expected ${name} to look like 8080, 0.0.0.0:8080 or [::1]:8080, but got '${text}'.`);
	}

	return {host, port: Number(port)};
}

/**
Resolves with the address that it got, which tells the port where that was left to the system.
*/
export async function listen(server: Server, {host, port}: Address): Promise<string> {
	server.listen(port, host);
	try {
		await once(server, 'listening');
	} catch (error) {
		throw new Failure(`Could not listen on ${host}:${port}: ${(error as Error).message}.`);
	}

	const {address, family, port: actual} = server.address() as AddressInfo;
	return `${family === 'IPv6' ? `[${address}]` : address}:${actual}`;
}
