import {Buffer} from 'node:buffer';
import {type Socket} from 'node:net';
import {type End} from './carrier.ts';
import {internals, type Internals} from './internals.ts';
import {StandIn, type Tenant} from './stand-in.ts';

/**
Keeps a socket alive for those who hold it while its connection is elsewhere: it counts, times out, ends and closes as before, and tells who wants to end it.

`unread` bytes are those that Node has read and given back.
*/
export function makeShell(socket: Socket, unread: number, end: End, tenant: Tenant): void {
	const standIn = new StandIn(socket, unread, end, tenant);
	// In this order: V8 gives each object a hidden class of its own, of half a kilobyte, that gets a property after its prototype was changed.
	(socket as Shell)[standInOf] = standIn;
	// Its methods are in a prototype that all shells share: a dozen closures for each would weigh more than the socket.
	Object.setPrototypeOf(socket, shellOf(Object.getPrototypeOf(socket) as Socket));

	if (socket.timeout) {
		socket.setTimeout(socket.timeout); // The running timer is bound to Node's own `_onTimeout`.
	}

	// Node must not answer the FIN of one direction with one of its own.
	socket.allowHalfOpen = true;
	// Before http-proxy's own listener, which ends the other socket.
	socket.prependListener('error', onError);
	// A listener that throws keeps those after it from being called.
	socket.prependListener('close', onClose);
}

const standInOf = Symbol('stand-in');

type Shell = Socket & {
	[standInOf]: StandIn;
	[seen]?: number;
	[isReported]?: boolean;
};

function onError(this: Socket, {code}: NodeJS.ErrnoException): void {
	const {tenant, end} = (this as Shell)[standInOf];
	tenant.onReset(end, code);
}

function onClose(this: Socket): void {
	const {tenant, end} = (this as Shell)[standInOf];
	tenant.onClose(end, this.readableEnded && this.writableFinished);
}

// One for each class of sockets that there is, which is one.
const shells = new WeakMap<Socket, Socket>();

function shellOf(prototype: Socket): Socket {
	let shell = shells.get(prototype);
	if (shell === undefined) {
		shell = Object.create(prototype, Object.getOwnPropertyDescriptors(methods)) as Socket;
		shells.set(prototype, shell);
	}

	return shell;
}

const methods: ThisType<Shell> & Pick<Internals, '_write' | '_writev' | '_final' | '_onTimeout'> & Pick<Socket, 'bytesRead' | 'bytesWritten' | 'resetAndDestroy'> = {
	get bytesRead() {
		return this[standInOf].bytesRead;
	},

	get bytesWritten() {
		return this[standInOf].bytesWritten;
	},

	_write(chunk: string | Uint8Array, encoding: BufferEncoding, callback: () => void) {
		const {tenant, end} = this[standInOf];
		tenant.onWrite(end, toBytes({chunk, encoding}), callback);
	},

	_writev(chunks: readonly Chunk[], callback: () => void) {
		const {tenant, end} = this[standInOf];
		tenant.onWrite(end, Buffer.concat(chunks.map(chunk => toBytes(chunk))), callback);
	},

	_final(callback: () => void) {
		const {tenant, end} = this[standInOf];
		tenant.onEnd(end, callback);
	},

	// Closing a descriptor would not send the RST that this promises.
	resetAndDestroy() {
		const {tenant, end} = this[standInOf];
		tenant.onReset(end);
		return this.destroy();
	},

	// Traffic does not restart the timer any more, so the timer looks for traffic. It can be late by as much as it was set to.
	_onTimeout() {
		const total = this.bytesRead + this.bytesWritten;
		const isIdle = total === (this[seen] ?? this[standInOf].bytesBefore);
		this[seen] = total;
		internals(this)._unrefTimer();
		if (isIdle && !this[isReported]) {
			this.emit('timeout');
		}

		this[isReported] = isIdle;
	},
};

const seen = Symbol('bytes at the last look');
const isReported = Symbol('silence is reported');

type Chunk = {readonly chunk: string | Uint8Array; readonly encoding: BufferEncoding};

// Sockets do not ask their streams to decode strings.
function toBytes({chunk, encoding}: Chunk): Uint8Array {
	return typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
}
