import {performance} from 'node:perf_hooks';

/**
Runs what it is given soon, or, in a storm, later: while they keep coming, it waits until each has stood for a while.

Promoting a tunnel costs about as much as opening it. In a storm of them that is time the next ones wait for, and it is wasted on those that are over in a moment. A tunnel that comes alone is promoted at once.
*/
export class Storm<Item> {
	readonly #run: (item: Item) => void;
	// In the order in which they came, which is the order in which they are due.
	readonly #waiting: Array<Waiting<Item>> = [];
	#last = Number.NEGATIVE_INFINITY;
	#timer: NodeJS.Timeout | undefined;

	constructor(run: (item: Item) => void) {
		this.#run = run;
	}

	add(item: Item): Waiting<Item> {
		const now = performance.now();
		const isAlone = now - this.#last > calm;
		this.#last = now;
		const waiting: Waiting<Item> = {item, due: isAlone ? now : now + patience};
		if (isAlone) {
			// Not yet: whoever has made the tunnel may be about to listen to its sockets.
			queueMicrotask(() => {
				this.#runOne(waiting);
			});
		} else {
			this.#waiting.push(waiting);
			this.#wait(patience);
		}

		return waiting;
	}

	// For the first of them. Those behind it are waited for when it has had its turn.
	#wait(milliseconds: number): void {
		// Items are there as long as their sockets, which keep the process alive, or not.
		this.#timer ??= setTimeout(() => {
			this.#timer = undefined;
			this.#runDue();
		}, milliseconds).unref();
	}

	#runDue(): void {
		const now = performance.now();
		// What was taken away is not waited for either: where tunnels are over in a moment, that is nearly all.
		const next = this.#waiting.findIndex(({item, due}) => item !== undefined && due > now);
		for (const waiting of this.#waiting.splice(0, next === -1 ? this.#waiting.length : next)) {
			this.#runOne(waiting);
		}

		const [first] = this.#waiting;
		if (first) {
			this.#wait(Math.max(1, first.due - now));
		}
	}

	#runOne(waiting: Waiting<Item>): void {
		const {item} = waiting;
		if (item !== undefined) {
			waiting.item = undefined;
			this.#run(item);
		}
	}
}

/**
What is to be run, until it was. Taken away from here, it is not run, and nothing is kept of it for as long as it would have waited: there may be thousands.
*/
export type Waiting<Item> = {
	item: Item | undefined;
	readonly due: number;
};

// Milliseconds without another one after which it counts as alone, and that each has to stand for otherwise.
const calm = 10;
const patience = 100;
