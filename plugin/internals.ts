import {type Socket} from 'node:net';

/**
Every undocumented part of Node that we lean on, in one place. Each has kept its meaning from Node 12 to 26, and what is missing makes a socket stay in JavaScript.
*/
export type Internals = {
	_handle: TcpHandle | null; // eslint-disable-line @typescript-eslint/no-restricted-types
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

	// Restarts the timer of `setTimeout()`, as each read and write does.
	_unrefTimer(): void;
};

export type TcpHandle = {
	readonly fd: number;
	readonly writeQueueSize: number;
	reading: boolean;
	readStop(): number;
};

export function internals(socket: Socket): Internals {
	return socket as unknown as Internals;
}

/**
The handle of a plain TCP socket.

The constructor's name is what tells, never the descriptor: a TLS handle shows the descriptor of the TCP socket below it.
*/
export function tcpHandle(socket: Socket): TcpHandle | undefined {
	const {_handle: handle} = internals(socket);
	return handle?.constructor.name === 'TCP' && handle.fd >= 0 ? handle : undefined;
}
