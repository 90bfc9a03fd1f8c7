/** Has room for so many at once. The others wait outside, and come in one by one. */
export class Room {
	readonly #waiting: Array<() => void> = [];
	#free: number;

	constructor(places: number) {
		this.#free = places;
	}

	/** Resolves with what has to be called at leaving. */
	async enter(): Promise<() => void> {
		if (this.#free > 0) {
			this.#free--;
		} else {
			await new Promise<void>(resolve => {
				this.#waiting.push(resolve);
			});
		}

		return () => {
			const next = this.#waiting.shift();
			if (next) {
				next();
			} else {
				this.#free++;
			}
		};
	}
}
