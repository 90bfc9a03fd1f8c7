import {type IncomingMessage} from 'node:http';
import {type AccessOptions} from './access.ts';
import {type Target} from './authority.ts';
import {type Rule} from './rules.ts';

/**
What carries a tunnel: the kernel's redirection from socket to socket, `splice(2)` in a thread of its own, or Node's streams.
*/
export type Engine = 'sockmap' | 'splice' | 'stream';

/**
Options of `sockmap()`. Times are milliseconds, sizes are bytes. Of those that are not given, or `undefined`, the default counts.
*/
export type Options = TunnelOptions & AccessOptions & {
	/**
	What carries the tunnels. `auto` takes the first of `sockmap`, `splice` and `stream` that is available, and on sockmap each direction of a tunnel goes to the kernel once its traffic has shown that this pays: messages do, a bulk transfer is cheaper in the relay's pipe. `sockmap` by name sends both there as soon as they are quiet. A named engine that is not available makes `sockmap()` throw.

	A tunnel that its engine cannot carry, such as one with a TLS end, stays in Node's streams and says why in `tunnel.skipped`.

	@default 'auto'

	@see https://docs.kernel.org/bpf/map_sockmap.html
	@see https://man7.org/linux/man-pages/man2/splice.2.html
	*/
	readonly engine?: 'auto' | Engine;

	/**
	Where `tunnels.connect()` and `tunnels.forward()` may go: a list of rules, of which the first that matches decides, or a function that may be async. Everything else is answered with 403.

	A rule is a `host:port` pattern, or `{allow: hosts, ports: 443}` or `{deny: hosts, ports: '*'}`, where these are the default ports. A port can be `*`, a range such as `8000-8999`, or several with commas. A host can be a name, `*.example.com`, which stands for the names below `example.com` but not for itself, `*`, an address, or a block of addresses such as `10.0.0.0/8`, whose port can be left out and is 443 then. IPv6 addresses are in brackets.

	Wildcards stand for the public internet. An address that is private, loopback, link-local, of a cloud's metadata service or otherwise special, written as such or found by looking a name up, is refused unless a rule names its host, its address or its block. A function that returns `true` has allowed the private, loopback or shared address that the client asked for, but not a name that turns out to have one.

	@default [] (nowhere)

	@example
	```
	sockmap(proxy, {allow: ['*.example.com:443', '[::1]:8443', 'localhost:*']});
	```
	*/
	readonly allow?: Allow;

	/**
	How many CONNECT and forwarded requests may be dialling at once. One more is answered with 503. So a target that swallows connections takes no more than that.

	@default 1024
	*/
	readonly maxDials?: number;

	/**
	Give up dialling the target of a CONNECT request after this many milliseconds, and answer 504. If zero, the system's own limit applies.

	@default 10_000
	*/
	readonly connectTimeout?: number;

	/**
	How many milliseconds an upstream may take to answer an upgrade, or a CONNECT request may take altogether: the function `allow` and the dialling. Then the client is answered with 504. An upgrade that was given up is an `error` of the proxy, with code `ETIMEDOUT`.

	@default 0 (never)
	*/
	readonly handshakeTimeout?: number;

	/**
	How many tunnels may be open at once. A CONNECT request beyond that is answered with 503. An upgrade or a pair works, but stays in JavaScript.

	@default 0 (any number)
	*/
	readonly maxTunnels?: number;

	/**
	The same for the tunnels of one client, by its remote address.

	@default 0 (any number)
	*/
	readonly maxTunnelsPerClient?: number;

	/**
	Emit `activity` at most once in this many milliseconds for each tunnel that has moved bytes since the last time.

	@default 0 (never)
	*/
	readonly activityInterval?: number;

	/**
	How many tunnels the sockmap engine can hold at once: the size of its maps. A tunnel beyond that goes to the next engine.

	Pinned maps have the size that they were set up with.

	@default 16_384
	*/
	readonly capacity?: number;

	/**
	The directory where `http-proxy-sockmap setup` has pinned maps, which the sockmap engine then uses instead of its own, so that it needs no capability.

	@default The environment variable `HTTP_PROXY_SOCKMAP_PINS`; without it, `/run/http-proxy-sockmap/<uid>` if it exists and own maps are refused
	*/
	readonly pinPath?: string;
};

/**
How a tunnel lives. Given to `sockmap()` for all of them, or to `connect()` or `splice()` for one.
*/
export type TunnelOptions = {
	/**
	Close a tunnel after this many milliseconds without a byte in either direction.

	@default 0 (never)
	*/
	readonly idleTimeout?: number;

	/**
	Close a tunnel this many milliseconds after it was opened, whatever it does.

	@default 0 (never)
	*/
	readonly maxLifetime?: number;

	/**
	Close a tunnel one of whose directions has ended, after this many milliseconds without a byte in the other one. If zero, never.

	@default 60_000

	@see https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1
	*/
	readonly halfClosedTimeout?: number;

	/**
	Ask the peers for a sign of life while they are silent: after `idle` milliseconds, then every `interval` milliseconds, and give up after `count` questions without an answer. The kernel counts in seconds, and what is between two of them is rounded up. If `false`, the sockets are left as they are.

	Without the addon only `idle` can be set, by `socket.setKeepAlive()`. The rest is up to the system.

	@default {idle: 60_000, interval: 10_000, count: 6}

	@see https://www.rfc-editor.org/rfc/rfc9293#section-3.8.4
	@see https://man7.org/linux/man-pages/man7/tcp.7.html
	*/
	readonly keepAlive?: false | Partial<KeepAlive>;

	/**
	How many milliseconds what was sent may stay without an acknowledgement before the peer counts as dead (`TCP_USER_TIMEOUT`). If zero, the system's own limit applies. It needs the addon.

	@default `idle` + `interval` × `count` of `keepAlive`, or 0 without `keepAlive`

	@see https://www.rfc-editor.org/rfc/rfc5482
	*/
	readonly userTimeout?: number;

	/**
	How many bytes per second go through a tunnel at most, in each direction. The kernel keeps to it (`SO_MAX_PACING_RATE`), on every engine, but not towards an end that is a Unix socket. It needs the addon: without it, this option makes `sockmap()` throw.

	@default 0 (as many as will)

	@see https://man7.org/linux/man-pages/man8/tc-fq.8.html
	*/
	readonly maxRate?: number;

	/**
	Let go of the sockets in JavaScript once the tunnel was promoted, which is most of the memory that an idle tunnel takes. They emit `close` then, `tunnel.client` and `tunnel.upstream` are gone, http-proxy's own `close` is not emitted, and `server.close()` does not wait for the tunnel. The tunnel's own events, counters and methods stay what they are.

	A tunnel that stays in JavaScript keeps its sockets.

	@default false
	*/
	readonly detach?: boolean;
};

/**
The option `keepAlive` in full. See there for defaults.
*/
export type KeepAlive = {
	/**
	Milliseconds of silence before the first question, from 1 to 32,767,000 (`TCP_KEEPIDLE`).
	*/
	readonly idle: number;

	/**
	Milliseconds between two questions, from 1 to 32,767,000 (`TCP_KEEPINTVL`).
	*/
	readonly interval: number;

	/**
	How many questions may stay without an answer, from 1 to 127 (`TCP_KEEPCNT`).
	*/
	readonly count: number;
};

/**
Options of one `tunnels.connect()` or `tunnels.forward()`. They take precedence over those given to `sockmap()`.
*/
export type ConnectOptions = TunnelOptions & AccessOptions & Pick<Options, 'allow' | 'connectTimeout' | 'handshakeTimeout'> & {
	/**
	Anything, to be found again as `tunnel.context`.

	@default The request
	*/
	readonly context?: unknown;
};

/**
Where clients may go. See the option `allow`.
*/
export type Allow = ReadonlyArray<string | Rule> | AllowFunction;

/**
Decides about one request. `user` is who `authenticate` or `users` found it to be. Where it throws, the client is answered with 500.
*/
export type AllowFunction = (target: Target, request: IncomingMessage, user?: string) => boolean | Promise<boolean>;

/**
What is left of the options once they are checked: every one of them, with zero for "never" and "any". `userTimeout` follows from `keepAlive` if it is not given.
*/
export type CheckedTunnelOptions = {
	readonly idleTimeout: number;
	readonly maxLifetime: number;
	readonly halfClosedTimeout: number;
	readonly keepAlive: KeepAlive | undefined;
	readonly userTimeout: number | undefined;
	readonly maxRate: number;
	readonly detach: boolean;
};

export type CheckedConnectOptions = CheckedTunnelOptions & {
	readonly allow: AllowFunction;
	readonly connectTimeout: number;
	readonly handshakeTimeout: number;
};

export type CheckedOptions = CheckedConnectOptions & {
	readonly engine: 'auto' | Engine;
	readonly maxTunnels: number;
	readonly maxTunnelsPerClient: number;
	readonly activityInterval: number;
	readonly capacity: number;
	readonly pinPath: string | undefined;
};
