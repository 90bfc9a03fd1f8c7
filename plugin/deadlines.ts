import {performance} from 'node:perf_hooks';
import {type CheckedTunnelOptions} from './options.ts';
import {soon} from './soon.ts';

export type Limits = Pick<CheckedTunnelOptions, 'idleTimeout' | 'maxLifetime' | 'halfClosedTimeout'>;

export type Overdue = 'idle' | 'lifetime' | 'half-closed';

export type Watched = {
	/**
	When the last byte passed, on the clock of `performance.now()`.
	*/
	heardAt(): number;

	/**
	Bytes on their way to readers. A slow reader who takes some is not silent.
	*/
	pending(): number;
	onOverdue(reason: Overdue): void;
};

/**
Keeps the times of a tunnel in Node's streams, as the relay does for its own. There is one timer, and none where there is no limit.

A byte does not touch the timer: it looks for bytes when it fires, and is set anew to when there would have been none for long enough.
*/
export class Deadlines {
	readonly #limits: Limits;
	readonly #watched: Watched;
	readonly #endOfLife: number;
	#allowedSilence: number;
	#reasonOfSilence: Overdue = 'idle';
	#takenAt: number;
	#pendingBefore = 0;
	#timer: NodeJS.Timeout | undefined;
	#isStopped = false;

	constructor(limits: Limits, watched: Watched) {
		this.#limits = limits;
		this.#watched = watched;
		this.#takenAt = watched.heardAt();
		this.#allowedSilence = limits.idleTimeout;
		this.#endOfLife = limits.maxLifetime === 0 ? Number.POSITIVE_INFINITY : this.#takenAt + limits.maxLifetime;
		this.#arm();
	}

	/**
	One direction has ended, the other one is still open.
	*/
	halfClosed(): void {
		const {halfClosedTimeout, idleTimeout} = this.#limits;
		this.#reasonOfSilence = 'half-closed';
		if (halfClosedTimeout > 0 && (idleTimeout === 0 || halfClosedTimeout < idleTimeout)) {
			this.#allowedSilence = halfClosedTimeout;
			// The second FIN of most tunnels follows the first in no time.
			soon(() => {
				this.#arm();
			});
		}
	}

	stop(): void {
		this.#isStopped = true;
		clearTimeout(this.#timer);
	}

	get #silentUntil(): number {
		return this.#allowedSilence === 0 ? Number.POSITIVE_INFINITY : Math.max(this.#watched.heardAt(), this.#takenAt) + this.#allowedSilence;
	}

	#arm(): void {
		clearTimeout(this.#timer);
		const next = Math.min(this.#silentUntil, this.#endOfLife);
		if (next !== Number.POSITIVE_INFINITY && !this.#isStopped) {
			// It needs no reference of its own: what keeps the process alive, or not, are the sockets.
			this.#timer = setTimeout(() => {
				// After the event loop was blocked, timers come before the bytes that have arrived meanwhile. Let those be read first.
				setImmediate(() => {
					this.#judge();
				});
			}, Math.max(1, Math.ceil(next - performance.now()))).unref();
		}
	}

	#judge(): void {
		if (this.#isStopped) {
			return;
		}

		const now = performance.now();
		const pending = this.#watched.pending();
		if (pending > 0 && pending !== this.#pendingBefore) {
			// Look again soon: when within this time it was taken, nobody knows.
			this.#takenAt = now - (this.#allowedSilence * 9 / 10);
		}

		this.#pendingBefore = pending;
		if (now >= this.#endOfLife) {
			this.#overdue('lifetime');
		} else if (now >= this.#silentUntil) {
			this.#overdue(this.#reasonOfSilence);
		} else {
			this.#arm();
		}
	}

	#overdue(reason: Overdue): void {
		this.#isStopped = true;
		this.#watched.onOverdue(reason);
	}
}
