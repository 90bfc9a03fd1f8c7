import {Buffer} from 'node:buffer';
import {STATUS_CODES} from 'node:http';
import {type Socket} from 'node:net';

/**
Why there is no tunnel, with the status that says so in HTTP.
*/
export class Rejection extends Error {
	readonly status: number;
	readonly headers: readonly string[];

	constructor(status: number, message: string, headers: readonly string[] = []) {
		super(message);
		this.status = status;
		this.headers = headers;
	}
}

/**
Tells the client, and closes its connection.
*/
export function answer(client: Socket, {status, message, headers}: Rejection): void {
	const body = `${message}\n`;
	client.end([
		`HTTP/1.1 ${status} ${STATUS_CODES[status]!}`,
		'Content-Type: text/plain; charset=utf-8',
		`Content-Length: ${Buffer.byteLength(body)}`,
		'Connection: close',
		...headers,
		'',
		body,
	].join('\r\n'));

	// Closing with bytes unread would make the kernel send a reset, which can overtake the answer. So read, until the client closes or goes quiet.
	client.resume();
	client.setTimeout(lingerTime, () => {
		client.destroy();
	});
}

const lingerTime = 2000;
