/**
What can be in a roster, one at a time.
*/
export type Member = {
	/**
	Its place in the roster, or -1 while it is in none.
	*/
	seat: number;
};

/**
A set, in no order, of those that come and go by the thousand.

A `Set` or a `Map` would keep them for long. When it outgrows a table, V8 links the old one to the new; one such table that a collection of the young generation has moved to the old one keeps all that come after it, and what was in them, until the next collection of everything.
*/
export class Roster<Kind extends Member> implements Iterable<Kind> {
	readonly #members: Kind[] = [];

	get size(): number {
		return this.#members.length;
	}

	/**
	Nothing happens if it is in already.
	*/
	add(member: Kind): void {
		if (member.seat === -1) {
			member.seat = this.#members.push(member) - 1;
		}
	}

	/**
	Nothing happens if it is not in.
	*/
	delete(member: Kind): void {
		const {seat} = member;
		if (seat !== -1) {
			const last = this.#members.pop()!;
			if (last !== member) {
				this.#members[seat] = last;
				last.seat = seat;
			}

			member.seat = -1;
		}
	}

	/**
	Over those that are in now, whoever leaves meanwhile.
	*/
	[Symbol.iterator](): Iterator<Kind> {
		return [...this.#members][Symbol.iterator]();
	}
}
