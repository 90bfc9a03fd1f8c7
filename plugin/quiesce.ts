import {Buffer} from 'node:buffer';
import {type Socket} from 'node:net';
import {TLSSocket} from 'node:tls';
import {internals, plainHandle} from './internals.ts';
import {type NativeEnd} from './native.ts';

/**
Why Node cannot be taken out of the path of this pair, as a sentence, or `undefined` if it can.

Nothing is touched. A socket that somebody else reads, has paused or has begun to end belongs to them, and stays in JavaScript.
*/
export function obstacle(client: Socket, upstream: Socket): string | undefined {
	return obstacleAt('client', client, upstream) ?? obstacleAt('upstream', upstream, client);
}

/**
The end that has bytes on their way out of Node, if any. They would be overtaken by what goes through the kernel.
*/
export function unflushed(client: Socket, upstream: Socket): Socket | undefined {
	return [client, upstream].find(socket => socket.writableLength > 0 || plainHandle(socket)!.writeQueueSize > 0);
}

export type Quiet = {
	readonly client: NativeEnd;
	readonly upstream: NativeEnd;

	/**
	Puts everything back as it was, in the right order: what was read, the pipes, the reading.
	*/
	restore(): void;
};

/**
Takes Node out of the path, completely or not at all. For a pair without an obstacle and with nothing unflushed.

All of it happens in one go, so that no byte and no FIN can come in between.
*/
export function quiesce(client: Socket, upstream: Socket): Quiet | string {
	client.unpipe(upstream);
	upstream.unpipe(client);
	const heads = {client: stopReading(client), upstream: stopReading(upstream)};
	const restore = () => {
		startReading(client, heads.client, upstream);
		startReading(upstream, heads.upstream, client);
	};

	// The pipe's own listener is gone now. Whoever is left has been hiding behind it.
	if (client.listenerCount('data') + upstream.listenerCount('data') > 0) {
		restore();
		return othersListen('client or upstream');
	}

	return {
		client: {fd: plainHandle(client)!.fd, head: heads.client},
		upstream: {fd: plainHandle(upstream)!.fd, head: heads.upstream},
		restore,
	};
}

function obstacleAt(end: string, socket: Socket, peer: Socket): string | undefined {
	const {pipes, ended, awaitDrainWriters} = internals(socket)._readableState;
	if (socket instanceof TLSSocket || 'encrypted' in socket) {
		return `The ${end} speaks TLS, whose bytes only Node can encrypt and decrypt.`;
	}

	if (socket.destroyed) {
		return `The ${end} is already gone.`;
	}

	if (socket.connecting) {
		return `The ${end} is not connected yet.`;
	}

	if (plainHandle(socket) === undefined) {
		return `The ${end} is neither a TCP nor a Unix socket.`;
	}

	if (ended || socket.writableEnded) {
		return `The ${end} is half-closed already.`;
	}

	if (socket.readableEncoding !== null) {
		return `The ${end} decodes what it reads: somebody called its setEncoding().`;
	}

	if (pipes.length !== 1 || pipes[0] !== peer || socket.listenerCount('data') > 1 || socket.listenerCount('readable') > 0) {
		return othersListen(end);
	}

	// A pipe pauses too, while the other end is slow.
	if (socket.readableFlowing === false && !awaitDrainWriters) {
		return `The ${end} is paused.`;
	}

	return socket.writableCorked > 0 ? `The ${end} is corked.` : undefined;
}

function othersListen(end: string): string {
	return `Somebody else reads the ${end}: it has more listeners to \`data\` or \`readable\` than the pipe's own.`;
}

function stopReading(socket: Socket): Uint8Array {
	const handle = plainHandle(socket)!;
	// First of all, because read() and pending ticks of the stream start the handle again through it.
	internals(socket)._read = ignore;
	handle.readStop();
	handle.reading = false;

	const chunks: Uint8Array[] = [];
	for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) { // eslint-disable-line @typescript-eslint/no-restricted-types
		chunks.push(chunk);
	}

	return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

function startReading(socket: Socket, head: Uint8Array, peer: Socket): void {
	delete internals(socket)._read;
	if (head.length > 0) {
		socket.unshift(head);
	}

	socket.pipe(peer);
	// The stream believes that a read is under way, the one that our `_read` has ignored, and would wait for it for ever.
	internals(socket)._read!(0);
}
