import {type Engine} from './options.ts';
import {type ConnectionStats, type Lanes} from './stats.ts';

export type End = 'client' | 'upstream';

export type Ends<Value> = Readonly<Record<End, Value>>;

export function otherEnd(end: End): End {
	return end === 'client' ? 'upstream' : 'client';
}

/**
Whatever carries a tunnel at the moment: Node's streams first, and the relay once it was promoted.

It calls back once, after both sockets have closed. Whoever made it owns it until then.
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
