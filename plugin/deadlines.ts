import {type CheckedTunnelOptions} from './options.ts';

export type Limits = Pick<CheckedTunnelOptions, 'idleTimeout' | 'maxLifetime' | 'halfClosedTimeout'>;

export type Overdue = 'idle' | 'lifetime' | 'half-closed';

export type Deadlines = {
	/**
	One direction has ended, the other one is still open.
	*/
	halfClosed(): void;
	stop(): void;
};

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
export function keepDeadlines({idleTimeout, maxLifetime, halfClosedTimeout}: Limits, watched: Watched): Deadlines {
	const openedAt = performance.now();
	let allowedSilence = idleTimeout;
	let reasonOfSilence: Overdue = 'idle';
	let takenAt = openedAt;
	let pendingBefore = 0;
	let timer: NodeJS.Timeout | undefined;
	let isStopped = false;

	const silentUntil = () => allowedSilence === 0 ? Number.POSITIVE_INFINITY : Math.max(watched.heardAt(), takenAt) + allowedSilence;
	const endOfLife = maxLifetime === 0 ? Number.POSITIVE_INFINITY : openedAt + maxLifetime;

	const arm = () => {
		clearTimeout(timer);
		const next = Math.min(silentUntil(), endOfLife);
		if (next !== Number.POSITIVE_INFINITY && !isStopped) {
			// It needs no reference of its own: what keeps the process alive, or not, are the sockets.
			timer = setTimeout(look, Math.max(1, Math.ceil(next - performance.now()))).unref();
		}
	};

	const look = () => {
		// After the event loop was blocked, timers come before the bytes that have arrived meanwhile. Let those be read first.
		setImmediate(judge);
	};

	const judge = () => {
		if (isStopped) {
			return;
		}

		const now = performance.now();
		const pending = watched.pending();
		if (pending > 0 && pending !== pendingBefore) {
			// Look again soon: when within this time it was taken, nobody knows.
			takenAt = now - (allowedSilence * 9 / 10);
		}

		pendingBefore = pending;
		if (now >= endOfLife) {
			overdue('lifetime');
		} else if (now >= silentUntil()) {
			overdue(reasonOfSilence);
		} else {
			arm();
		}
	};

	const overdue = (reason: Overdue) => {
		isStopped = true;
		watched.onOverdue(reason);
	};

	arm();
	return {
		halfClosed() {
			reasonOfSilence = 'half-closed';
			if (halfClosedTimeout > 0 && (idleTimeout === 0 || halfClosedTimeout < idleTimeout)) {
				allowedSilence = halfClosedTimeout;
				arm();
			}
		},
		stop() {
			isStopped = true;
			clearTimeout(timer);
		},
	};
}
