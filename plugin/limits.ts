import {type Socket} from 'node:net';
import {type CheckedOptions} from './options.ts';

export type Excess = {
	/**
	The name of the option.
	*/
	readonly limit: 'maxTunnels' | 'maxTunnelsPerClient';

	/**
	A sentence.
	*/
	readonly reason: string;
};

/**
Counts the tunnels, and those about to become one, against `maxTunnels` and `maxTunnelsPerClient`.
*/
export class Limits {
	readonly #options: Pick<CheckedOptions, 'maxTunnels' | 'maxTunnelsPerClient'>;
	readonly #byClient = new Map<string, number>();
	#total = 0;

	constructor(options: Pick<CheckedOptions, 'maxTunnels' | 'maxTunnelsPerClient'>) {
		this.#options = options;
	}

	/**
	Why there is no room for one more tunnel of this client, if there is none.
	*/
	excess(client: Socket): Excess | undefined {
		const {maxTunnels, maxTunnelsPerClient} = this.#options;
		if (maxTunnels > 0 && this.#total >= maxTunnels) {
			return {limit: 'maxTunnels', reason: `As many tunnels are open as \`maxTunnels\` allows: ${maxTunnels}.`};
		}

		if (maxTunnelsPerClient > 0 && (this.#byClient.get(addressOf(client)) ?? 0) >= maxTunnelsPerClient) {
			return {limit: 'maxTunnelsPerClient', reason: `As many tunnels of this client are open as \`maxTunnelsPerClient\` allows: ${maxTunnelsPerClient}.`};
		}

		return undefined;
	}

	/**
	Takes a place. Returns what gives it back.
	*/
	enter(client: Socket): () => void {
		this.#total++;
		if (this.#options.maxTunnelsPerClient === 0) {
			return this.#leave; // One for all: tunnels are many.
		}

		// A closed socket does not know its address any more. An open one has to ask the kernel for it.
		const address = addressOf(client);
		this.#byClient.set(address, (this.#byClient.get(address) ?? 0) + 1);
		return () => {
			this.#leave();
			this.#leaveAs(address);
		};
	}

	readonly #leave = () => {
		this.#total--;
	};

	#leaveAs(address: string): void {
		const left = this.#byClient.get(address)! - 1;
		if (left === 0) {
			this.#byClient.delete(address);
		} else {
			this.#byClient.set(address, left);
		}
	}
}

// Clients on a Unix socket have none, and count as one.
function addressOf(client: Socket): string {
	return client.remoteAddress ?? '';
}
