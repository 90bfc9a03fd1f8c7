import {type Tunnel} from './tunnel.ts';

/**
Tells of the tunnels that have moved bytes, at most once in an interval for each of them. One timer does for all, and it runs while there are tunnels.
*/
export class ActivityWatch {
	readonly #interval: number;
	readonly #onActive: (tunnel: Tunnel) => void;
	readonly #moved = new Map<Tunnel, number>();
	#timer: NodeJS.Timeout | undefined;

	/**
	With an `interval` of zero, it never tells.
	*/
	constructor(interval: number, onActive: (tunnel: Tunnel) => void) {
		this.#interval = interval;
		this.#onActive = onActive;
	}

	add(tunnel: Tunnel): void {
		if (this.#interval > 0) {
			this.#moved.set(tunnel, 0);
			this.#timer ??= setInterval(() => {
				this.#look();
			}, this.#interval).unref();
		}
	}

	delete(tunnel: Tunnel): void {
		this.#moved.delete(tunnel);
		if (this.#moved.size === 0) {
			clearInterval(this.#timer);
			this.#timer = undefined;
		}
	}

	#look(): void {
		for (const [tunnel, before] of this.#moved) {
			const {clientToUpstream, upstreamToClient} = tunnel.lanes();
			const moved = clientToUpstream.bytes + upstreamToClient.bytes;
			if (moved !== before) {
				this.#moved.set(tunnel, moved);
				this.#onActive(tunnel);
			}
		}
	}
}
