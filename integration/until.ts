import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';

/**
Resolves when the condition holds. For states that nothing announces: descriptors of a process, counters of a lane.
Whatever has an event is waited for by its event.
*/
export async function until(what: string, condition: () => boolean, limit = 10_000 * patience): Promise<void> {
	const deadline = Date.now() + limit;
	while (!condition()) {
		if (Date.now() > deadline) {
			throw new Error(`Still waiting after ${limit} ms: ${what}`);
		}

		// eslint-disable-next-line no-await-in-loop
		await wait(2);
	}
}

/** Resolves when it is closed, in peace or not: unlike `once(socket, 'close')`, which rejects at an error. */
export async function closed(closing: {once(event: 'close', listener: () => void): unknown}): Promise<void> {
	return new Promise(resolve => {
		closing.once('close', resolve);
	});
}

/** The promise, or an error that names what did not happen. */
export async function within<Value>(what: string, promise: Promise<Value>, limit = 10_000 * patience): Promise<Value> {
	const abort = new AbortController();
	const late = async (): Promise<never> => {
		await wait(limit, undefined, {signal: abort.signal});
		throw new Error(`Did not happen within ${limit} ms: ${what}`);
	};

	try {
		return await Promise.race([promise, late()]);
	} finally {
		abort.abort();
	}
}

/** How many times as long everything may take, as with a sanitizer. */
export const patience = Number(process.env.TEST_PATIENCE ?? 1);
