import {type Engine} from './options.ts';
import {type ConnectionStats, type Ending, type Lanes} from './stats.ts';

export type End = 'client' | 'upstream';

export type Ends<Value> = Readonly<Record<End, Value>>;

export function otherEnd(end: End): End {
	return end === 'client' ? 'upstream' : 'client';
}

/**
Whose carrier it is.
*/
export type Owner = {
	/**
	Both sockets have closed. It is called once.
	*/
	over(ending: Ending): void;
};

/**
Whatever carries a tunnel at the moment: Node's streams first, and the relay once it was promoted.
*/
export type Carrier = {
	readonly engine: Engine;
	lanes(): Lanes;
	connections(): Ends<ConnectionStats | undefined>;

	/**
	When the last byte came from either end, as far as this carrier knows.
	*/
	lastActivity(): Date;

	/**
	Delivers what has been received so far both ways, then ends both ways.
	*/
	close(): void;

	/**
	RST to both.
	*/
	reset(): void;
};
