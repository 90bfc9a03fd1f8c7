import {type Socket} from 'node:net';
import {type End} from './carrier.ts';
import {internals, type Address, type StreamHandle} from './internals.ts';
import {type NativeTuning} from './native.ts';

/**
Who has the connection that a socket has given away.
*/
export type Tenant = {
	/**
	Bytes that this end would have read and written since it was given away.
	*/
	counted(end: End): {readonly read: number; readonly written: number};

	/**
	Somebody wrote to the socket. Call back when that is done.
	*/
	onWrite(end: End, bytes: Uint8Array, callback: () => void): void;

	/**
	Somebody ended the socket. Call back when that is done.
	*/
	onEnd(end: End, callback: () => void): void;

	/**
	Somebody reset it, or destroyed it with an error.
	*/
	onReset(end: End, code?: string): void;

	/**
	It is closed. `isClean` if both its directions had ended before.
	*/
	onClose(end: End, isClean: boolean): void;

	/**
	Somebody set an option of the connection.
	*/
	onTune(end: End, options: NativeTuning): void;
};

/**
Stands in for the handle of a socket whose connection is elsewhere: remembers its addresses, counts on, passes options on, and has no descriptor. So Node's descriptor and the memory of its handle are free while the tunnel lives.
*/
export class StandIn implements StreamHandle {
	readonly tenant: Tenant;
	readonly end: End;
	readonly #peer: Address | undefined;
	readonly #own: Address | undefined;
	readonly #readBefore: number;
	readonly #writtenBefore: number;

	/**
	Takes the place of the socket's handle, and closes that. `unread` bytes are those that Node has read and given back.
	*/
	constructor(socket: Socket, unread: number, end: End, tenant: Tenant) {
		const handle = internals(socket)._handle!;
		this.tenant = tenant;
		this.end = end;
		this.#peer = addressOf(handle.getpeername?.bind(handle));
		this.#own = addressOf(handle.getsockname?.bind(handle));
		this.#readBefore = socket.bytesRead - unread;
		this.#writtenBefore = socket.bytesWritten;
		internals(socket)._handle = this;
		// It leaves libuv's epoll set with this and not before: libuv ends the process where its set is not what it believes it to be.
		handle.close();
	}

	get fd(): number {
		return -1;
	}

	get writeQueueSize(): number {
		return 0;
	}

	get reading(): boolean {
		return true; // Nothing is gained by starting it.
	}

	set reading(_value: boolean) {} // eslint-disable-line @typescript-eslint/no-empty-function

	/**
	What was read and written before.
	*/
	get bytesBefore(): number {
		return this.#readBefore + this.#writtenBefore;
	}

	get bytesRead(): number {
		return this.#readBefore + this.tenant.counted(this.end).read;
	}

	get bytesWritten(): number {
		return this.#writtenBefore + this.tenant.counted(this.end).written;
	}

	getpeername(out: Address): number {
		return copy(this.#peer, out);
	}

	getsockname(out: Address): number {
		return copy(this.#own, out);
	}

	setNoDelay(noDelay: boolean): number {
		this.tenant.onTune(this.end, {noDelay});
		return 0;
	}

	setKeepAlive(keepAlive: boolean, seconds: number): number {
		this.tenant.onTune(this.end, {keepAlive, keepAliveIdle: seconds});
		return 0;
	}

	readStart(): number {
		return 0;
	}

	readStop(): number {
		return 0;
	}

	// The tunnel keeps the process alive, or not.
	ref(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

	unref(): void {} // eslint-disable-line @typescript-eslint/no-empty-function

	hasRef(): boolean {
		return false;
	}

	close(callback?: () => void): void {
		if (callback) {
			setImmediate(callback); // As a handle does: not in the turn that closes it.
		}
	}
}

function addressOf(ask: ((out: Address) => number) | undefined): Address | undefined {
	const out: Address = {};
	return ask?.(out) === 0 ? out : undefined;
}

// Zero, or that it is not known: an errno as libuv has it, which Node takes for no address.
function copy(address: Address | undefined, out: Address): number {
	if (address === undefined) {
		return notConnected;
	}

	Object.assign(out, address);
	return 0;
}

const notConnected = -107;
