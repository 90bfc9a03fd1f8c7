import {createRequire} from 'node:module';
import process from 'node:process';
import {addonFile, platform} from './addon.ts';

/**
The one door to C++. Everything that decides or times is on this side of it, the addon does as told and reports errno.
*/
export type Native = {
	/**
	Bytes that have gone all the way in a direction that moves. It gets wider buffers then.
	*/
	readonly moves: number;

	readonly Relay: new (options: {readonly capacity: number; readonly pins?: string}, onEvent: (event: NativeEvent) => void) => NativeRelay;

	/**
	Tries the engine for real on a loopback pair. It blocks, for well under a second. `undefined` when the engine works.

	With `pins`, sockmap is tried with the maps pinned in that directory, and takes one of their slots meanwhile.
	*/
	probe(engine: NativeEngine, pins?: string): NativeRefusal | undefined;

	/**
	For root: pins maps in `directory`/maps, which has to be a bpffs, and makes the lock files of the slots in `directory`/slots. Replaces what is there, and whoever uses that keeps it. Throws a `NativeRefusal` that is an `Error`.
	*/
	setUp(directory: string, shares: NativeShares): void;

	/**
	Sends an RST, whatever waits to be sent and whoever else holds the connection. A Unix socket is shut down.
	*/
	abort(fd: number): void;

	/**
	Bounds what may wait in the kernel on the way from one connection to the other, for a stalled reader. `isWide` once it has sent `moves` bytes.
	*/
	bound(source: number, destination: number, isWide: boolean): void;

	/**
	Puts what TCP knows about this connection now into the first two places of `into`: the round-trip time, and the segments sent again. False if it is none.
	*/
	look(fd: number, into: Float64Array): boolean;

	/**
	The same. The errno of what has happened to the connection and nobody has been told yet, or 0.
	*/
	failure(fd: number, into: Float64Array): number;

	/**
	Sets what is given and not zero. Throws a `NativeRefusal` that is an `Error`.
	*/
	tune(fd: number, options: NativeTuning): void;
};

/**
How pinned maps are divided between processes, and whose they are.
*/
export type NativeShares = {
	readonly slots: number;

	/**
	In each slot.
	*/
	readonly tunnels: number;
	readonly user: number;
	readonly group: number;
};

/**
Of `TCP_INFO`: milliseconds, segments, and milliseconds ago.
*/
export type NativeSummary = {
	readonly rtt: number;
	readonly retransmits: number;
	readonly lastReceived: number;
	readonly lastSent: number;
};

export type NativeTuning = {
	readonly keepAlive?: boolean;
	readonly noDelay?: boolean;

	/**
	Seconds, as all that the kernel takes for keep-alive.
	*/
	readonly keepAliveIdle?: number;
	readonly keepAliveInterval?: number;
	readonly keepAliveCount?: number;

	/**
	Milliseconds.
	*/
	readonly userTimeout?: number;

	/**
	Bytes per second.
	*/
	readonly pacingRate?: number;
};

/**
Milliseconds; zero is never.
*/
export type NativeLimits = {
	readonly idleTimeout: number;
	readonly maxLifetime: number;
	readonly halfClosedTimeout: number;
};

export type NativeEngine = 'sockmap' | 'splice';

/**
What the kernel refused: the step of ours, and its errno. `code` is empty and `errno` 0 when no system call failed, such as for a self-test whose bytes differ.
*/
export type NativeRefusal = {
	readonly step: string;

	/**
	The step and the reason, such as `Could not create the maps: Operation not permitted (bpf)`.
	*/
	readonly message: string;
	readonly code: string;
	readonly errno: number;
	readonly syscall: string;
};

/**
One end of a tunnel at the hand-over: its descriptor, which stays Node's, and the bytes Node has already read from it, which go to the other end first.
*/
export type NativeEnd = {
	readonly fd: number;
	readonly head: Uint8Array;
};

export type NativeRelay = {
	/**
	Duplicates both descriptors and registers them. With `auto`, each direction goes to the sockmap once its traffic has shown that this pays; with `sockmap`, as soon as it is quiet. From its return on the relay owns the traffic. It throws a `NativeRefusal` that is an `Error` if the engine refuses, and nothing has changed then.
	*/
	add(engine: NativeEngine | 'auto', client: NativeEnd, upstream: NativeEnd, limits: NativeLimits): number;

	/**
	Graceful: what has been received so far is delivered both ways, then FIN both ways. With `linger`, the peers are given two seconds to answer with theirs.
	*/
	end(id: number, linger: boolean): void;

	/**
	Bytes to one end, between those of the other. One call at a time for each end, until its `written` event.
	*/
	write(id: number, end: 'client' | 'upstream', bytes: Uint8Array): void;

	/**
	RST to both.
	*/
	reset(id: number): void;

	/**
	Counters now; `undefined` once the `close` event was delivered.
	*/
	stats(id: number): NativeStats | undefined;

	/**
	What TCP knows about the connection to that end; `undefined` if it is none, and once the relay has let go of it.
	*/
	summary(id: number, end: 'client' | 'upstream'): NativeSummary | undefined;

	/**
	Sets what is given and not zero, if the relay has the connection still. Throws a `NativeRefusal` that is an `Error`.
	*/
	tune(id: number, end: 'client' | 'upstream', options: NativeTuning): void;

	/**
	Whether the relay keeps the event loop alive. It does not count, and starts unref'ed.
	*/
	ref(): void;
	unref(): void;

	/**
	Resets what is left and joins the thread. No event comes after it.
	*/
	close(): void;
};

export type NativeLaneStats = {
	readonly state: 'pipe' | 'kernel' | 'spilling' | 'draining' | 'done';
	readonly bytes: number;
	readonly redirected: number;
	readonly spilled: number;
	readonly piped: number;

	/**
	Bytes of `write()`, which are in none of the others.
	*/
	readonly injected: number;
	readonly promotions: number;
	readonly spills: number;
};

export type NativeStats = {
	readonly clientToUpstream: NativeLaneStats;
	readonly upstreamToClient: NativeLaneStats;
};

export type NativeEvent =
	// This end's FIN arrived, all it had sent was delivered, and the FIN was passed on.
	| {readonly type: 'half-close'; readonly id: number; readonly end: 'client' | 'upstream'}
	// This end has accepted what `write()` was given last, or never will.
	| {readonly type: 'written'; readonly id: number; readonly end: 'client' | 'upstream'}
	| NativeCloseEvent;

/**
The relay has let go of its duplicates. Destroying both sockets is up to JavaScript.
*/
export type NativeCloseEvent = {
	readonly type: 'close';
	readonly id: number;
	readonly reason: 'end' | 'reset' | 'closed' | 'idle' | 'lifetime' | 'half-closed';
	readonly by: 'client' | 'upstream' | 'proxy';
	readonly code: string;
	readonly errno: number;
	readonly stats: NativeStats;

	/**
	The last word about each connection.
	*/
	readonly client: NativeSummary | undefined;
	readonly upstream: NativeSummary | undefined;
};

/**
The addon, or why there is none. Importing this module never throws: without the addon the stream engine carries everything.
*/
export const {native, missing} = load(process.env.HTTP_PROXY_SOCKMAP_ADDON);

/** @internal */
export function load(wanted: string | undefined): {readonly native?: Native; readonly missing?: NativeRefusal} {
	if (wanted === 'none') {
		return {missing: refusal('HTTP_PROXY_SOCKMAP_ADDON is "none"', 'ERR_SOCKMAP_DISABLED')};
	}

	const file = addonFile(wanted);
	if (file === undefined) {
		return {missing: refusal(`there is no addon for ${platform()}`, 'ERR_SOCKMAP_NO_ADDON')};
	}

	try {
		return {native: createRequire(import.meta.url)(file) as Native};
	} catch (error) {
		const {code, message} = error as NodeJS.ErrnoException;
		return {missing: refusal(message.split('\n', 1)[0]!.replace(/\.$/, ''), code ?? '')};
	}
}

function refusal(message: string, code: string): NativeRefusal {
	return {
		step: 'load the addon', message: `Could not load the addon: ${message}`, code, errno: 0, syscall: '',
	};
}
