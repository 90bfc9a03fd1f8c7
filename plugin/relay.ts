import {debuglog} from 'node:util';
import {native, type NativeCloseEvent, type NativeEnd, type NativeEngine, type NativeLimits, type NativeRelay, type NativeStats, type NativeSummary, type NativeTuning} from './native.ts';
import {type End} from './carrier.ts';

/**
What happens to a tunnel while the relay has it.
*/
export type RelayListener = {
	onHalfClose(end: End): void;
	onWritten(end: End): void;
	onReleased(event: NativeCloseEvent): void;
};

/**
The native relay of one `Tunnels`: made when the first tunnel needs it, gone after the last one if nobody will bring another.

Only an engine that was found to be available is ever asked for, so the addon is there. It keeps the event loop alive while it has tunnels. Sockets that Node has stopped reading do not.
*/
export class Relay {
	readonly #maps: {readonly capacity: number; readonly pins?: string};
	readonly #listeners = new Map<number, RelayListener>();
	#relay: NativeRelay | undefined;
	#wantsRef = true;
	#retiring = false;

	/**
	Sockmap uses the maps pinned in `pins`, or makes its own for `capacity` tunnels.
	*/
	constructor(maps: {readonly capacity: number; readonly pins?: string}) {
		this.#maps = maps;
	}

	get pins(): string | undefined {
		return this.#maps.pins;
	}

	/**
	Throws what the native relay throws. Nothing has changed then.
	*/
	add(engine: NativeEngine | 'auto', ends: Readonly<Record<End, NativeEnd>>, limits: NativeLimits, listener: RelayListener): number {
		this.#relay ??= new native!.Relay(this.#maps, event => {
			const listener = this.#listeners.get(event.id);
			if (event.type === 'half-close') {
				debug('half-close: %o', event);
				listener?.onHalfClose(event.end);
				return;
			}

			if (event.type === 'written') {
				listener?.onWritten(event.end);
				return;
			}

			this.#remove(event.id);
			listener?.onReleased(event);
		});
		const id = this.#relay.add(engine, ends.client, ends.upstream, limits);
		this.#listeners.set(id, listener);
		this.#updateRef();
		return id;
	}

	end(id: number, linger: boolean): void {
		this.#relay!.end(id, linger);
	}

	write(id: number, end: End, bytes: Uint8Array): void {
		this.#relay!.write(id, end, bytes);
	}

	reset(id: number): void {
		this.#relay!.reset(id);
	}

	stats(id: number): NativeStats | undefined {
		return this.#listeners.has(id) ? this.#relay!.stats(id) : undefined;
	}

	summary(id: number, end: End): NativeSummary | undefined {
		return this.#listeners.has(id) ? this.#relay!.summary(id, end) : undefined;
	}

	tune(id: number, end: End, options: NativeTuning): void {
		if (this.#listeners.has(id)) {
			this.#relay!.tune(id, end, options);
		}
	}

	ref(): void {
		this.#wantsRef = true;
		this.#updateRef();
	}

	unref(): void {
		this.#wantsRef = false;
		this.#updateRef();
	}

	/**
	Ends the native relay as soon as it has no tunnel.
	*/
	retire(): void {
		this.#retiring = true;
		this.#closeIfIdle();
	}

	#remove(id: number): void {
		this.#listeners.delete(id);
		this.#updateRef();
		// Not from within its own callback: closing joins the thread that has called us.
		setImmediate(() => {
			this.#closeIfIdle();
		});
	}

	#updateRef(): void {
		if (this.#wantsRef && this.#listeners.size > 0) {
			this.#relay?.ref();
		} else {
			this.#relay?.unref();
		}
	}

	#closeIfIdle(): void {
		if (this.#retiring && this.#listeners.size === 0) {
			this.#relay?.close();
			this.#relay = undefined;
		}
	}
}

const debug = debuglog('sockmap');
