import {inspect} from 'node:util';
import {Access} from './access.ts';
import {Rejection} from './answer.ts';
import {type Attempt} from './attempt.ts';
import {Attempts} from './attempts.ts';
import {type Options} from './options.ts';
import {Roster} from './roster.ts';

/**
What all requests share: who may come in, who has tried in vain, and how many are being dialled for.
*/
export class Gate {
	readonly access: Access;
	readonly attempts = new Attempts();
	readonly #maxDials: number;
	readonly #inside = new Roster<Attempt>();
	#dialling = 0;
	#closed: Rejection | undefined;

	constructor(options: Options) {
		const {maxDials = 1024} = options;
		if (!Number.isInteger(maxDials) || maxDials < 1) {
			throw new TypeError(`Expected option \`maxDials\` to be an integer from 1, but got ${inspect(maxDials, {depth: 0})}.`);
		}

		this.#maxDials = maxDials;
		this.access = new Access(options);
	}

	get dialling(): number {
		return this.#dialling;
	}

	/**
	Lets nobody in any more, and gives up what is being attempted.
	*/
	close(): void {
		this.#closed = new Rejection(503, 'This proxy is shutting down.', {error: 'connection_limit_reached'});
		for (const attempt of this.#inside) {
			attempt.giveUp(this.#closed);
		}
	}

	/**
	Why nobody is let in any more, if so.
	*/
	get closed(): Rejection | undefined {
		return this.#closed;
	}

	enter(attempt: Attempt): void {
		this.#inside.add(attempt);
	}

	leave(attempt: Attempt): void {
		this.#inside.delete(attempt);
	}

	/**
	Takes a place among those being dialled. Returns what gives it back.
	*/
	enterDial(): () => void {
		if (this.#dialling >= this.#maxDials) {
			throw new Rejection(503, `This proxy is dialling ${this.#maxDials} targets already, as many as \`maxDials\` allows.`, {error: 'connection_limit_reached', headers: {'Retry-After': 1}});
		}

		this.#dialling++;
		return () => {
			this.#dialling--;
		};
	}
}
