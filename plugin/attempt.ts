import {Socket} from 'node:net';
import {performance} from 'node:perf_hooks';
import {Rejection} from './answer.ts';
import {type Gate} from './gate.ts';
import {type Member} from './roster.ts';
import {soon} from './soon.ts';

/**
What is done for a client, until it is done, or until there is a reason to give it up: the client has left, the gate is closed, or one of its times is over.

It is an `AbortSignal` with what is needed of one, because each CONNECT needs one, and the real one would take longer than all the questions that are asked about it.
*/
export class Attempt implements Member {
	seat = -1;
	readonly #listeners: Array<() => void> = [];
	#reason: Rejection | undefined;
	#isOver = false;
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

	/**
	Why it was given up, if it was. The first reason counts.
	*/
	get reason(): Rejection | undefined {
		return this.#reason;
	}

	giveUp(reason: Rejection): void {
		if (this.#reason === undefined) {
			this.#reason = reason;
			for (const listener of this.#listeners.splice(0)) {
				listener();
			}
		}
	}

	throwIfGivenUp(): void {
		if (this.#reason) {
			throw this.#reason;
		}
	}

	/**
	Calls back when it is given up. Returns what stops that.
	*/
	onGivenUp(listener: () => void): () => void {
		this.#listeners.push(listener);
		return () => {
			remove(this.#listeners, listener);
		};
	}

	/**
	What `work` comes to, or the reason for which it was given up. A socket that comes too late is destroyed.
	*/
	async unlessGivenUp<Value>(work: () => Promise<Value>): Promise<Value> {
		this.throwIfGivenUp();
		return new Promise((resolve, reject) => {
			const stopListening = this.onGivenUp(() => {
				reject(this.#reason!);
			});

			const settle = async () => {
				try {
					const value = await work();
					if (this.#reason && value instanceof Socket) {
						value.destroy();
					}

					resolve(value);
				} catch (error) {
					reject(error); // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
				} finally {
					stopListening();
				}
			};

			void settle();
		});
	}

	/**
	Gives up in so many milliseconds; zero is never.
	*/
	limit(milliseconds: number, rejection: () => Rejection): void {
		if (milliseconds > 0) {
			const end = performance.now() + milliseconds;
			soon(() => {
				if (!this.#isOver) {
					this.#timers.push(setTimeout(() => {
						this.giveUp(rejection());
					}, Math.ceil(end - performance.now())));
				}
			});
		}
	}

	/**
	Nobody is to give it up any more.
	*/
	end(): void {
		this.#isOver = true;
		for (const timer of this.#timers) {
			clearTimeout(timer);
		}

		unwatch(this.#client, this);
		this.#gate.leave(this);
	}
}

// One listener for all that is attempted for a client, who may have pipelined many requests. Node would warn of a leak.
function watch(client: Client, attempt: Attempt): void {
	client[attemptsOf] ??= [];
	if (client[attemptsOf].push(attempt) === 1) {
		client.on('close', onClientGone);
	}
}

function unwatch(client: Client, attempt: Attempt): void {
	remove(client[attemptsOf]!, attempt);
	if (client[attemptsOf]!.length === 0) {
		client.off('close', onClientGone);
	}
}

function onClientGone(this: Client): void {
	for (const attempt of this[attemptsOf]!) {
		attempt.giveUp(clientLeft());
	}
}

// They are few, so a list does.
type Client = Socket & {[attemptsOf]?: Attempt[]};

const attemptsOf = Symbol('attempts');

function remove<Item>(list: Item[], item: Item): void {
	const index = list.indexOf(item);
	if (index !== -1) {
		list.splice(index, 1);
	}
}

function clientLeft(): Rejection {
	return new Rejection(502, 'The client left before there was an answer.');
}
