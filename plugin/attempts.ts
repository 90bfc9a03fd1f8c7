import {performance} from 'node:perf_hooks';

/**
Counts the wrong credentials of each client address, and says how long its next answer has to wait.

Bounded: of so many guessers that they do not fit, those that have been quiet longest are forgotten.
*/
export class Attempts {
	readonly #byClient = new Map<string, {count: number; until: number}>();
	readonly #capacity: number;
	readonly #now: () => number;
	#total = 0;

	constructor({capacity = 10_000, now = () => performance.now()}: {readonly capacity?: number; readonly now?: () => number} = {}) {
		this.#capacity = capacity;
		this.#now = now;
	}

	/**
	Wrong credentials, of all clients, since the beginning.
	*/
	get total(): number {
		return this.#total;
	}

	/**
	How many clients are remembered.
	*/
	get size(): number {
		return this.#byClient.size;
	}

	/**
	How many milliseconds the client has to stay away, because it was wrong `most` times. Its credentials are not even looked at.
	*/
	lockedFor(client: string, most: number): number {
		const failures = this.#byClient.get(client);
		const left = failures === undefined ? 0 : failures.until - this.#now();
		if (failures && left <= 0) {
			this.#byClient.delete(client);
		}

		return most > 0 && failures && failures.count >= most ? Math.max(0, left) : 0;
	}

	/**
	One more. Returns how many milliseconds the answer has to wait, which doubles each time.
	*/
	failed(client: string): number {
		const count = (this.#byClient.get(client)?.count ?? 0) + 1;
		this.#total++;
		this.#byClient.delete(client); // So that the order is that of the last failure.
		this.#byClient.set(client, {count, until: this.#now() + memory});
		for (const oldest of this.#byClient.keys()) {
			if (this.#byClient.size <= this.#capacity) {
				break;
			}

			this.#byClient.delete(oldest);
		}

		return Math.min(firstDelay * (2 ** (count - 1)), longestDelay);
	}

	succeeded(client: string): void {
		this.#byClient.delete(client);
	}
}

const firstDelay = 100;
const longestDelay = 5000;
// How long a failure counts.
const memory = 60_000;
