import {type Socket} from 'node:net';

/**
Every undocumented part of Node that we lean on, in one place. Each has kept its meaning from Node 12 to 26, and what is missing makes a socket stay in JavaScript.
*/
export type Internals = {
	_handle: StreamHandle | null; // eslint-disable-line @typescript-eslint/no-restricted-types
	readonly _readableState: {
		readonly ended: boolean;
		readonly pipes: readonly unknown[];
		readonly awaitDrainWriters: unknown;
	};

	// Methods that a promoted socket gets its own version of. `delete` brings Node's back.
	_read?(size: number): void;
	_write?(chunk: unknown, encoding: string, callback: (error?: Error) => void): void;
	_writev?(chunks: unknown, callback: (error?: Error) => void): void;
	_final?(callback: (error?: Error) => void): void;
	_reset?(): unknown;
	_onTimeout?(): void;

	// Closes the handle, whoever wants it: the last moment to ask about it.
	_destroy(error: Error | null, callback: (error?: Error | null) => void): void; // eslint-disable-line @typescript-eslint/no-restricted-types

	// Restarts the timer of `setTimeout()`. Node calls it at each read, at each write, and when a write is done.
	_unrefTimer(): void;
};

export type StreamHandle = {
	readonly fd: number;
	readonly writeQueueSize: number;
	reading: boolean;
	readStop(): number;
	close(callback?: () => void): void;

	// Zero, and the address is in `out`. A Unix socket has neither.
	getpeername?(out: Address): number;
	getsockname?(out: Address): number;
};

export type Address = {readonly address?: string; readonly family?: string; readonly port?: number};

export function internals(socket: Socket): Internals {
	return socket as unknown as Internals;
}

/**
The handle of a socket whose bytes are those of its descriptor: TCP, or a Unix socket.

The constructor's name is what tells, never the descriptor: a TLS handle shows the descriptor of the TCP socket below it.
*/
export function plainHandle(socket: Socket): StreamHandle | undefined {
	const {_handle: handle} = internals(socket);
	return handle && kindOf(handle) !== undefined && handle.fd >= 0 ? handle : undefined;
}

export function tcpHandle(socket: Socket): StreamHandle | undefined {
	const {_handle: handle} = internals(socket);
	return handle && kindOf(handle) === 'TCP' && handle.fd >= 0 ? handle : undefined;
}

/**
The descriptor of the TCP connection below a socket, with or without TLS.
*/
export function tcpDescriptor(socket: Socket): number | undefined {
	const {_handle: handle} = internals(socket);
	return handle && kindOf(handle) !== 'Pipe' && handle.fd >= 0 ? handle.fd : undefined;
}

function kindOf({constructor}: StreamHandle): Kind {
	if (!kinds.has(constructor)) {
		kinds.set(constructor, constructor.name === 'TCP' || constructor.name === 'Pipe' ? constructor.name : undefined);
	}

	return kinds.get(constructor);
}

type Kind = 'TCP' | 'Pipe' | undefined;

// They are few, and asking one for its name each time takes longer than all else here.
const kinds = new Map<unknown, Kind>();
