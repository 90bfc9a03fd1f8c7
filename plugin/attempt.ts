import {Socket} from 'node:net';
import {Rejection} from './answer.ts';
import {type Gate} from './gate.ts';
import {type Member} from './roster.ts';

/**
What is done for a client, until it is done, or until there is a reason to give it up: the client has left, the gate is closed, or one of its times is over. One signal stands for all of these.
*/
export class Attempt implements Member {
	/** @internal */
	seat = -1;
	readonly #controller = new AbortController();
	readonly #client: Socket;
	readonly #gate: Gate;
	readonly #timers: NodeJS.Timeout[] = [];

	constructor(client: Socket, gate: Gate) {
		this.#client = client;
		this.#gate = gate;
		watch(client, this);
		gate.enter(this);
		if (gate.closed) {
			this.giveUp(gate.closed);
		} else if (client.destroyed) {
			this.giveUp(clientLeft());
		}
	}

	get signal(): AbortSignal {
		return this.#controller.signal;
	}

	giveUp(reason: Rejection): void {
		this.#controller.abort(reason);
	}

	/**
	Gives up in so many milliseconds; zero is never.
	*/
	limit(milliseconds: number, rejection: () => Rejection): void {
		if (milliseconds > 0) {
			this.#timers.push(setTimeout(() => {
				this.giveUp(rejection());
			}, milliseconds));
		}
	}

	/**
	Nobody is to give it up any more.
	*/
	end(): void {
		for (const timer of this.#timers) {
			clearTimeout(timer);
		}

		unwatch(this.#client, this);
		this.#gate.leave(this);
	}
}

// One listener for all that is attempted for a client, who may have pipelined many requests. Node would warn of a leak.
function watch(client: Socket, attempt: Attempt): void {
	const others = attempts.get(client);
	if (others) {
		others.add(attempt);
	} else {
		attempts.set(client, new Set([attempt]));
		client.on('close', onClientGone);
	}
}

function unwatch(client: Socket, attempt: Attempt): void {
	const all = attempts.get(client)!;
	all.delete(attempt);
	if (all.size === 0) {
		attempts.delete(client);
		client.off('close', onClientGone);
	}
}

function onClientGone(this: Socket): void {
	for (const attempt of attempts.get(this)!) {
		attempt.giveUp(clientLeft());
	}
}

function clientLeft(): Rejection {
	return new Rejection(502, 'The client left before there was an answer.');
}

const attempts = new WeakMap<Socket, Set<Attempt>>();

/**
What `work` comes to, or the reason for which the signal was aborted. A socket that comes too late is destroyed.
*/
export async function unlessAborted<Value>(work: () => Promise<Value>, signal: AbortSignal): Promise<Value> {
	signal.throwIfAborted();
	return new Promise((resolve, reject) => {
		const onAbort = () => {
			reject(signal.reason as Error);
		};

		signal.addEventListener('abort', onAbort);
		const settle = async () => {
			try {
				const value = await work();
				if (signal.aborted && value instanceof Socket) {
					value.destroy();
				}

				resolve(value);
			} catch (error) {
				reject(error); // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
			} finally {
				signal.removeEventListener('abort', onAbort);
			}
		};

		void settle();
	});
}
