import {inspect} from 'node:util';
import {parseAllow, Rules} from './rules.ts';
import {SockmapError} from './errors.ts';
import {missing, native} from './native.ts';
import {
	type Allow, type AllowFunction, type CheckedConnectOptions, type CheckedOptions, type CheckedTunnelOptions,
	type ConnectOptions, type Engine, type KeepAlive, type Options, type TunnelOptions,
} from './options.ts';

/**
Unknown options are left alone: http-proxy-middleware calls its plugins with the options of the proxy.
*/
export function checkOptions(options: Options = {}): CheckedOptions {
	checkObject('options', options);
	const {engine = 'auto', capacity = defaultCapacity, maxTunnels = 0, maxTunnelsPerClient = 0, activityInterval = 0, pinPath} = options;
	if (!engines.includes(engine)) {
		throw new TypeError(`Expected option \`engine\` to be one of ${engines.map(engine => `'${engine}'`).join(', ')}, but got ${show(engine)}.`);
	}

	checkInteger('capacity', capacity, 1, maximumCapacity);
	if (pinPath !== undefined && (typeof pinPath !== 'string' || pinPath === '')) {
		throw new TypeError(`Expected option \`pinPath\` to be the path of a directory, but got ${show(pinPath)}.`);
	}

	checkInteger('maxTunnels', maxTunnels, 0, Number.MAX_SAFE_INTEGER);
	checkInteger('maxTunnelsPerClient', maxTunnelsPerClient, 0, Number.MAX_SAFE_INTEGER);
	checkInteger('activityInterval', activityInterval, 0, maximumTimeout);
	return {
		engine, capacity, pinPath, maxTunnels, maxTunnelsPerClient, activityInterval, ...checkConnectOptions(options, defaultOptions),
	};
}

export function checkConnectOptions(options: ConnectOptions | undefined, defaults: CheckedConnectOptions): CheckedConnectOptions {
	if (options === undefined) {
		return defaults;
	}

	checkObject('options', options);
	const {allow, connectTimeout = defaults.connectTimeout, handshakeTimeout = defaults.handshakeTimeout} = options;
	checkInteger('connectTimeout', connectTimeout, 0, maximumTimeout);
	checkInteger('handshakeTimeout', handshakeTimeout, 0, maximumTimeout);
	return {
		allow: allow === undefined ? defaults.allow : toFunction(allow),
		connectTimeout,
		handshakeTimeout,
		...checkTunnelOptions(options, defaults),
	};
}

export function checkTunnelOptions(options: TunnelOptions, defaults: CheckedTunnelOptions): CheckedTunnelOptions {
	checkObject('options', options);
	const {
		idleTimeout = defaults.idleTimeout, maxLifetime = defaults.maxLifetime,
		halfClosedTimeout = defaults.halfClosedTimeout, userTimeout = defaults.userTimeout, maxRate = defaults.maxRate, detach = defaults.detach,
	} = options;
	checkInteger('idleTimeout', idleTimeout, 0, maximumTimeout);
	checkInteger('maxLifetime', maxLifetime, 0, maximumTimeout);
	checkInteger('halfClosedTimeout', halfClosedTimeout, 0, maximumTimeout);
	checkInteger('maxRate', maxRate, 0, Number.MAX_SAFE_INTEGER);
	if (userTimeout !== undefined) {
		checkInteger('userTimeout', userTimeout, 0, maximumTimeout);
	}

	if (maxRate > 0 && !native) {
		throw new SockmapError(`The option \`maxRate\` needs the addon. ${missing!.message}.`, {step: missing!.step, code: missing!.code || 'ERR_SOCKMAP_UNAVAILABLE'});
	}

	if (typeof detach !== 'boolean') {
		throw new TypeError(`Expected option \`detach\` to be a boolean, but got ${show(detach)}.`);
	}

	return {
		idleTimeout, maxLifetime, halfClosedTimeout, userTimeout, maxRate, detach, keepAlive: toKeepAlive(options.keepAlive, defaults.keepAlive),
	};
}

function toKeepAlive(given: unknown, byDefault: KeepAlive | undefined): KeepAlive | undefined {
	if (given === undefined) {
		return byDefault;
	}

	if (given === false) {
		return undefined;
	}

	if (typeof given !== 'object' || given === null) {
		throw new TypeError(`Expected option \`keepAlive\` to be false or an object with \`idle\`, \`interval\` and \`count\`, but got ${show(given)}.`);
	}

	const {idle, interval, count} = {...(byDefault ?? defaultKeepAlive), ...given};
	checkInteger('keepAlive.idle', idle, 1, maximumKeepAlive);
	checkInteger('keepAlive.interval', interval, 1, maximumKeepAlive);
	checkInteger('keepAlive.count', count, 1, maximumCount);
	return {idle: wholeSeconds(idle), interval: wholeSeconds(interval), count};
}

function wholeSeconds(milliseconds: number): number {
	return Math.ceil(milliseconds / 1000) * 1000;
}

function toFunction(allow: Allow): AllowFunction {
	if (typeof allow === 'function') {
		return allow;
	}

	if (!Array.isArray(allow)) {
		throw new TypeError(`Expected option \`allow\` to be a list of 'host:port' patterns or a function, but got ${show(allow)}.`);
	}

	const rules = new Rules(allow.flatMap(entry => checkRule(entry)));
	return target => rules.mayAllow(target);
}

function checkRule(pattern: unknown): NonNullable<ReturnType<typeof parseAllow>> {
	const parsed = parseAllow(pattern);
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
const defaultCapacity = 16_384;
const maximumCapacity = 4_194_304;
// What a timer of Node can be set to.
const maximumTimeout = 2_147_483_647;
// What the kernel takes: seconds, and a number.
const maximumKeepAlive = 32_767_000;
const maximumCount = 127;

const defaultKeepAlive: KeepAlive = {idle: 60_000, interval: 10_000, count: 6};

const defaultOptions: CheckedConnectOptions = {
	allow: () => false,
	connectTimeout: 10_000,
	handshakeTimeout: 0,
	idleTimeout: 0,
	maxLifetime: 0,
	halfClosedTimeout: 60_000,
	keepAlive: defaultKeepAlive,
	userTimeout: undefined,
	maxRate: 0,
	detach: false,
};
