import {Socket} from 'node:net';
import {Rejection} from './answer.ts';

/**
What is done for a client, until it is done, or until there is a reason to give it up: the client has left, the signal says so, or one of its times is over. One signal stands for all of these.
*/
export class Attempt {
	readonly #controller = new AbortController();
	readonly #client: Socket;
	readonly #shutdown: AbortSignal;
	readonly #timers: NodeJS.Timeout[] = [];

	/**
	`shutdown` is aborted with a `Rejection`.
	*/
	constructor(client: Socket, shutdown: AbortSignal) {
		this.#client = client;
		this.#shutdown = shutdown;
		client.once('close', this.#onClientGone);
		shutdown.addEventListener('abort', this.#onShutdown);
		if (shutdown.aborted) {
			this.#onShutdown();
		} else if (client.destroyed) {
			this.#onClientGone();
		}
	}

	get signal(): AbortSignal {
		return this.#controller.signal;
	}

	/**
	Gives up in so many milliseconds; zero is never.
	*/
	limit(milliseconds: number, rejection: () => Rejection): void {
		if (milliseconds > 0) {
			this.#timers.push(setTimeout(() => {
				this.#controller.abort(rejection());
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

		this.#client.off('close', this.#onClientGone);
		this.#shutdown.removeEventListener('abort', this.#onShutdown);
	}

	readonly #onClientGone = () => {
		this.#controller.abort(new Rejection(502, 'The client left before there was an answer.'));
	};

	readonly #onShutdown = () => {
		this.#controller.abort(this.#shutdown.reason);
	};
}

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

