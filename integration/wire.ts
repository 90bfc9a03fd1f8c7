import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import type {ExecutionContext} from 'ava';
import {lookBehindEnd} from '../plugin/connection.ts';

/** A TCP connection that is destroyed when the test is over, whatever happened to it. It half-closes like a TCP socket should. */
export async function dial(t: ExecutionContext, port: number, options: Partial<net.TcpNetConnectOpts> & {readonly highWaterMark?: number} = {}): Promise<net.Socket> {
	const socket = net.connect({
		host: '127.0.0.1', allowHalfOpen: true, noDelay: true, ...options, port,
	});
	t.teardown(() => {
		socket.destroy();
	});
	await once(socket, 'connect');
	socket.on('error', ignore);
	return socket;
}

/** Reads up to and including the empty line that ends an HTTP head. What follows stays unread. */
export async function readHead(socket: net.Socket): Promise<string> {
	let seen = Buffer.alloc(0);
	for (;;) {
		seen = Buffer.concat([seen, await readMore(socket)]); // eslint-disable-line no-await-in-loop
		const end = seen.indexOf('\r\n\r\n');
		if (end !== -1) {
			if (seen.length > end + 4) {
				socket.unshift(seen.subarray(end + 4));
			}

			return seen.toString('latin1', 0, end + 4);
		}
	}
}

/** Reads so many bytes and no more. What follows stays unread. */
export async function read(socket: net.Socket, length: number): Promise<Uint8Array> {
	const chunks: Uint8Array[] = [];
	for (let missing = length; missing > 0;) {
		const chunk = await readMore(socket, missing); // eslint-disable-line no-await-in-loop
		chunks.push(chunk);
		missing -= chunk.length;
	}

	return Buffer.concat(chunks);
}

export async function readText(socket: net.Socket, length: number): Promise<string> {
	return textOf(await read(socket, length));
}

/** Reads to the FIN. Rejects if the connection is reset instead. */
export async function readToEnd(socket: net.Socket): Promise<Uint8Array> {
	const chunks: Uint8Array[] = [];
	for (;;) {
		const chunk = await readSome(socket); // eslint-disable-line no-await-in-loop
		if (chunk === undefined) {
			return Buffer.concat(chunks);
		}

		chunks.push(chunk);
	}
}

export async function readTextToEnd(socket: net.Socket): Promise<string> {
	return textOf(await readToEnd(socket));
}

export function textOf(bytes: Uint8Array): string {
	return new TextDecoder().decode(bytes);
}

/** Reads what is there, up to so many bytes, or waits for something. `undefined` at the FIN; rejects if the connection is reset. */
export async function readSome(socket: net.Socket, most = Number.POSITIVE_INFINITY): Promise<Uint8Array | undefined> {
	for (;;) {
		const chunk = socket.read(Math.min(most, socket.readableLength || 1)) as Uint8Array | null; // eslint-disable-line @typescript-eslint/no-restricted-types
		if (chunk !== null) {
			return chunk;
		}

		if (socket.errored) {
			throw socket.errored;
		}

		if (socket.readableEnded) {
			return undefined;
		}

		if (socket.destroyed) {
			throw new Error('The socket was destroyed');
		}

		await wakeUp(socket); // eslint-disable-line no-await-in-loop
	}
}

/** How the connection ended, seen from here: the errno of a reset, or `FIN`. Reads on, for neither is seen by those who do not. */
export async function ending(socket: net.Socket): Promise<string> {
	let reset: NodeJS.ErrnoException | undefined;
	socket.prependOnceListener('end', () => {
		reset = lookBehindEnd(socket)?.reset;
	});
	try {
		await readToEnd(socket);
		return reset?.code ?? 'FIN';
	} catch (error) {
		return (error as NodeJS.ErrnoException).code ?? String(error);
	}
}

/** Whoever expects an error has a listener of its own; this one is for everybody else. */
export function ignore(): void {
	// Nothing to be done.
}

async function readMore(socket: net.Socket, most?: number): Promise<Uint8Array> {
	const chunk = await readSome(socket, most);
	if (chunk === undefined) {
		throw new Error('The connection ended before all was read');
	}

	return chunk;
}

async function wakeUp(socket: net.Socket): Promise<void> {
	return new Promise(resolve => {
		const wake = () => {
			for (const event of wakers) {
				socket.off(event, wake);
			}

			resolve();
		};

		for (const event of wakers) {
			socket.on(event, wake);
		}
	});
}

/** What waits in the kernel for this socket to read it. */
export function receiveQueue({localPort, remotePort}: net.Socket): number {
	const hexadecimal = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
	const ends = new RegExp(`:${hexadecimal(localPort!)} [0-9A-F]{8}:${hexadecimal(remotePort!)} .. [0-9A-F]{8}:(?<waiting>[0-9A-F]{8})`, 'u');
	return Number.parseInt(ends.exec(fs.readFileSync('/proc/net/tcp', 'utf8'))!.groups!.waiting!, 16);
}

const wakers = ['readable', 'end', 'close', 'error'];
