import {type IncomingMessage} from 'node:http';
import {inspect} from 'node:util';
import {parsePattern, isNamed, type Pattern, type Target} from './authority.ts';

/**
What carries a tunnel: the kernel's redirection from socket to socket, `splice(2)` in a thread of its own, or Node's streams.
*/
export type Engine = 'sockmap' | 'splice' | 'stream';

export type Options = {
	/**
	What carries the tunnels. `auto` takes the first of `sockmap`, `splice` and `stream` that is available. A named engine that is not available makes `sockmap()` throw.

	A tunnel that its engine cannot carry, such as one with a TLS end, stays in Node's streams and says why in `tunnel.skipped`.

	@default 'auto'
	*/
	readonly engine?: 'auto' | Engine;

	/**
	Where `tunnels.connect()` may dial: a list of `host:port` patterns, or a function that may be async. Everything else is answered with 403.

	In a pattern, the port can be `*`, and the host `*` or `*.example.com`, which stands for the names below `example.com` but not for itself. IPv6 addresses are in brackets.

	@default [] (nowhere)

	@example
	```
	sockmap(proxy, {allow: ['*.example.com:443', '[::1]:8443', 'localhost:*']});
	```
	*/
	readonly allow?: Allow;

	/**
	Give up dialling the target of a CONNECT request after this many milliseconds, and answer 504. If zero, the system's own limit applies.

	@default 10_000
	*/
	readonly connectTimeout?: number;

	/**
	How many tunnels the sockmap engine can hold at once: the size of its maps. A tunnel beyond that goes to the next engine.

	@default 16_384
	*/
	readonly capacity?: number;
};

/**
Options of one `tunnels.connect()`. They take precedence over those given to `sockmap()`.
*/
export type ConnectOptions = Pick<Options, 'allow' | 'connectTimeout'> & {
	/**
	Anything, to be found again as `tunnel.context`.

	@default The request
	*/
	readonly context?: unknown;
};

export type Allow = readonly string[] | ((target: Target, request: IncomingMessage) => boolean | Promise<boolean>);

export type CheckedOptions = {
	readonly engine: 'auto' | Engine;
	readonly allow: AllowFunction;
	readonly connectTimeout: number;
	readonly capacity: number;
};

export type AllowFunction = (target: Target, request: IncomingMessage) => boolean | Promise<boolean>;

/**
Unknown options are left alone: http-proxy-middleware calls its plugins with the options of the proxy.
*/
export function checkOptions(options: Options = {}): CheckedOptions {
	checkObject('options', options);
	const {engine = 'auto', capacity = defaultCapacity} = options;
	if (!engines.includes(engine)) {
		throw new TypeError(`Expected option \`engine\` to be one of ${engines.map(engine => `'${engine}'`).join(', ')}, but got ${show(engine)}.`);
	}

	checkInteger('capacity', capacity, 1, maximumCapacity);
	return {engine, capacity, ...checkConnectOptions(options, {allow: () => false, connectTimeout: defaultConnectTimeout})};
}

export function checkConnectOptions(
	options: ConnectOptions,
	defaults: Pick<CheckedOptions, 'allow' | 'connectTimeout'>,
): Pick<CheckedOptions, 'allow' | 'connectTimeout'> {
	checkObject('options', options);
	const {allow, connectTimeout = defaults.connectTimeout} = options;
	checkInteger('connectTimeout', connectTimeout, 0, maximumTimeout);
	return {allow: allow === undefined ? defaults.allow : toFunction(allow), connectTimeout};
}

function toFunction(allow: Allow): AllowFunction {
	if (typeof allow === 'function') {
		return allow;
	}

	if (!Array.isArray(allow)) {
		throw new TypeError(`Expected option \`allow\` to be a list of 'host:port' patterns or a function, but got ${show(allow)}.`);
	}

	const patterns = allow.map(pattern => checkPattern(pattern));
	return target => isNamed(target, patterns);
}

function checkPattern(pattern: unknown): Pattern {
	const parsed = typeof pattern === 'string' ? parsePattern(pattern) : undefined;
	if (parsed === undefined) {
		throw new TypeError(`Expected each pattern of option \`allow\` to look like 'example.com:443', '*.example.com:443', '[::1]:443' or '*:443', with '*' for any port, but got ${show(pattern)}.`);
	}

	return parsed;
}

function checkInteger(name: string, value: unknown, minimum: number, maximum: number): void {
	if (!Number.isInteger(value) || (value as number) < minimum || (value as number) > maximum) {
		throw new TypeError(`Expected option \`${name}\` to be an integer from ${minimum} to ${maximum}, but got ${show(value)}.`);
	}
}

function checkObject(name: string, value: unknown): void {
	if (typeof value !== 'object' || value === null) {
		throw new TypeError(`Expected \`${name}\` to be an object, but got ${show(value)}.`);
	}
}

function show(value: unknown): string {
	return inspect(value, {depth: 0, breakLength: Number.POSITIVE_INFINITY});
}

const engines: ReadonlyArray<'auto' | Engine> = ['auto', 'sockmap', 'splice', 'stream'];
const defaultConnectTimeout = 10_000;
const defaultCapacity = 16_384;
const maximumCapacity = 4_194_304;
// What a timer of Node can be set to.
const maximumTimeout = 2_147_483_647;
