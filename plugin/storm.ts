import {performance} from 'node:perf_hooks';

/**
Runs what it is given soon, or, in a storm, later: while they keep coming, it waits until each has stood for a while.

Promoting a tunnel costs about as much as opening it. In a storm of them that is time the next ones wait for, and it is wasted on those that are over in a moment. A tunnel that comes alone is promoted at once.
*/
export class Storm<Item> {
	readonly #run: (item: Item) => void;
	#waiting: Array<{readonly item: Item; readonly due: number}> = [];
	#last = Number.NEGATIVE_INFINITY;

	constructor(run: (item: Item) => void) {
		this.#run = run;
	}

	add(item: Item): void {
		const now = performance.now();
		const isAlone = now - this.#last > calm;
		this.#last = now;
		if (isAlone) {
			// Not yet: whoever has made the tunnel may be about to listen to its sockets.
			queueMicrotask(() => {
				this.#run(item);
			});
			return;
		}

		this.#waiting.push({item, due: now + patience});
		if (this.#waiting.length === 1) {
			this.#wait(patience);
		}
	}

	#wait(milliseconds: number): void {
		// Items are there as long as their sockets, which keep the process alive, or not.
		setTimeout(() => {
			this.#runDue();
		}, milliseconds).unref();
	}

	#runDue(): void {
		const now = performance.now();
		const firstLater = this.#waiting.findIndex(({due}) => due > now);
		const due = firstLater === -1 ? this.#waiting : this.#waiting.slice(0, firstLater);
		this.#waiting = firstLater === -1 ? [] : this.#waiting.slice(firstLater);
		if (this.#waiting.length > 0) {
			this.#wait(Math.max(1, this.#waiting[0]!.due - now));
		}

		for (const {item} of due) {
			this.#run(item);
		}
	}
}

// Milliseconds without another one after which it counts as alone, and that each has to stand for otherwise.
const calm = 10;
const patience = 100;
