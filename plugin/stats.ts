import {type Engine} from './options.ts';

/**
One direction of a tunnel. Sizes are bytes.
*/
export type LaneStats = {
	/**
	Bytes of the tunnel that went this way. The headers before the tunnel are not counted.

	Whatever is not `redirected`, `spilled` or `piped` went through Node's streams: all of it on the stream engine, on the others what flowed before the promotion.
	*/
	readonly bytes: number;

	/**
	Bytes that never left the kernel's redirection.
	*/
	readonly redirected: number;

	/**
	Bytes that were passed up to the relay because the receiver was slow.
	*/
	readonly spilled: number;

	/**
	Bytes that the relay moved before, or instead of, redirection.
	*/
	readonly piped: number;

	/**
	Bytes that JavaScript wrote into the tunnel, by `write()` of one of its sockets, after the promotion. Not part of `bytes`.
	*/
	readonly injected: number;

	/**
	How often the direction was handed to the kernel's redirection.
	*/
	readonly promotions: number;

	/**
	How often the receiver was too slow for it.
	*/
	readonly spills: number;

	/**
	Where the direction is now: in Node's streams, in the relay's pipe, redirected by the kernel, passing up what a slow receiver could not take, delivering the last bytes before a FIN, or finished.
	*/
	readonly state: 'stream' | 'pipe' | 'kernel' | 'spilling' | 'draining' | 'done';
};

/**
The two directions of a tunnel.
*/
export type Lanes = {
	/**
	What the client sends.
	*/
	readonly clientToUpstream: LaneStats;

	/**
	What the upstream sends.
	*/
	readonly upstreamToClient: LaneStats;
};

/**
How a tunnel ended.
*/
export type Ending = {
	/**
	- `end`: both directions finished with a FIN.
	- `reset`: one end was reset or failed, and the other end was reset too.
	- `dead`: one end did not answer any more, or could not be reached; the other end was reset.
	- `closed`: `tunnel.close()`, or `end()` of one of its sockets.
	- `destroyed`: `destroy()` of one of its sockets.
	- `idle`, `lifetime`, `half-closed`: `idleTimeout`, `maxLifetime` or `halfClosedTimeout` was over.
	*/
	readonly reason: 'end' | 'reset' | 'dead' | 'closed' | 'destroyed' | 'idle' | 'lifetime' | 'half-closed';

	/**
	Who began it: the end whose FIN came first or that failed, or this process.
	*/
	readonly by: 'client' | 'upstream' | 'proxy';

	/**
	The error behind it, such as `ECONNRESET`.
	*/
	readonly code?: string;
};

/**
What the kernel knows about the connection to one end (`TCP_INFO`).

@see https://man7.org/linux/man-pages/man7/tcp.7.html
*/
export type ConnectionStats = {
	/**
	Round-trip time in milliseconds, smoothed.
	*/
	readonly rtt: number;

	/**
	Segments that had to be sent again.
	*/
	readonly retransmits: number;
};

/**
What there is to know about a tunnel. How it ended is there once it has.
*/
export type TunnelStats = Partial<Ending> & Lanes & {
	/**
	What carries it, or carried it last.
	*/
	readonly engine: Engine;

	/**
	When the tunnel came to this engine.
	*/
	readonly since: Date;

	/**
	When the last byte came from either end.
	*/
	readonly lastActivity: Date;

	/**
	`undefined` for what is not TCP, and where there is no addon. Once the tunnel is over, what was known last.
	*/
	readonly client: ConnectionStats | undefined;

	/**
	The same for the other end.
	*/
	readonly upstream: ConnectionStats | undefined;

	/**
	Milliseconds since the tunnel was opened, until it closed.
	*/
	readonly duration: number;
};

/**
What there is to know about all tunnels of one `sockmap()`, since it was called.
*/
export type TunnelsStats = {
	/**
	Tunnels now open.
	*/
	readonly open: number;

	/**
	Tunnels that were opened, whether they are over or not.
	*/
	readonly opened: number;

	/**
	Tunnels that are over.
	*/
	readonly closed: number;

	/**
	Closed ones by the reason of their `close`.
	*/
	readonly closedBy: Readonly<Record<Ending['reason'], number>>;

	/**
	Open ones by what carries them now.
	*/
	readonly byEngine: Readonly<Record<Engine, number>>;

	/**
	Open ones by where they came from.
	*/
	readonly byKind: Readonly<Record<'upgrade' | 'connect' | 'pair', number>>;

	/**
	Bytes of all tunnels, open and closed, by direction.
	*/
	readonly bytes: {
		/**
		What clients have sent.
		*/
		readonly clientToUpstream: number;

		/**
		What upstreams have sent.
		*/
		readonly upstreamToClient: number;
	};

	/**
	How often an engine refused a tunnel, by `engine: step`. See `tunnel.skipped` for the whole sentences.
	*/
	readonly refusals: Readonly<Record<string, number>>;

	/**
	CONNECT requests that did not become a tunnel, and requests that were not forwarded, by the status that they were answered with.
	*/
	readonly rejected: Readonly<Record<string, number>>;

	/**
	The same by the error type of their Proxy-Status (RFC 9209), such as `connection_refused`.
	*/
	readonly rejectedFor: Readonly<Record<string, number>>;

	/**
	Requests that are being dialled for now. `maxDials` is the limit.
	*/
	readonly dialling: number;

	/**
	Requests that came with credentials that were wrong.
	*/
	readonly wrongCredentials: number;
};

