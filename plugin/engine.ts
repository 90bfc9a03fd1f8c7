import os from 'node:os';
import {SockmapError} from './errors.ts';
import {missing, native, type NativeEngine, type NativeRefusal} from './native.ts';
import {type CheckedOptions} from './options.ts';
import {foundPins, namedPins} from './pins.ts';
import {remedy} from './remedy.ts';

/**
An engine that could not have a tunnel, and why.
*/
export type Refusal = {
	/**
	The engine in question. Node's streams refuse nothing.
	*/
	readonly engine: NativeEngine;

	/**
	A sentence, with what would make it work if we know.
	*/
	readonly reason: string;

	/**
	What we were doing, in a few words.
	*/
	readonly step: string;

	/**
	The name of the kernel's error, such as `EPERM`, or one of ours, such as `ERR_SOCKMAP_NO_ADDON`. Missing where nothing failed, as for a TLS end.
	*/
	readonly code?: string;

	/**
	Its number, positive, if it is the kernel's.

	@see https://man7.org/linux/man-pages/man3/errno.3.html
	*/
	readonly errno?: number;

	/**
	The system call that failed, such as `bpf`.
	*/
	readonly syscall?: string;
};

/**
Whether an engine works here: `available`. If not, the rest says why.
*/
export type Capability = {readonly available: true} | ({readonly available: false} & Omit<Refusal, 'engine'>);

/**
What `capabilities()` has found out.
*/
export type Capabilities = {
	/**
	It takes Linux with BTF, and root, or `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON`, or pinned maps.

	@see https://man7.org/linux/man-pages/man7/capabilities.7.html
	*/
	readonly sockmap: Capability;

	/**
	It takes Linux and the addon, and no privileges.
	*/
	readonly splice: Capability;

	/**
	Node's streams work everywhere.
	*/
	readonly stream: {readonly available: true};
};

/**
Which engines work here, and what the others would need.

Each engine is tried for real the first time, which blocks for well under a second. The answer is remembered, unless it was due to a passing shortage.

`pinPath` is what you would give to `sockmap()`. It never throws for what is missing: that is its answer.

@see https://man7.org/linux/man-pages/man2/bpf.2.html
*/
export function capabilities({pinPath}: {readonly pinPath?: string} = {}): Capabilities {
	return {sockmap: toCapability(findMaps(pinPath).refusal), splice: toCapability(unavailability('splice')), stream: {available: true}};
}

export type Choice = {
	/**
	The engines to try for each tunnel, fastest first. Node's streams are what remains.
	*/
	readonly engines: readonly NativeEngine[];

	/**
	Those that need not be tried.
	*/
	readonly unavailable: readonly Refusal[];

	/**
	The directory of the pinned maps that sockmap uses. It makes its own if there is none.
	*/
	readonly pins?: string;
};

export function chooseEngines({engine: wanted, pinPath}: Pick<CheckedOptions, 'engine' | 'pinPath'>): Choice {
	if (wanted === 'stream') {
		return {engines: [], unavailable: []};
	}

	if (wanted === 'auto') {
		const {pins, refusal} = findMaps(pinPath);
		const unavailable = [refusal, unavailability('splice')].filter(refusal => refusal !== undefined);
		return {engines: nativeEngines.filter(engine => unavailable.every(refusal => refusal.engine !== engine)), unavailable, ...(pins !== undefined && {pins})};
	}

	// Who names an engine wants to know at once. Falling back silently is what `auto` is not for either.
	const {pins, refusal} = wanted === 'sockmap' ? findMaps(pinPath) : {refusal: unavailability(wanted)};
	if (refusal !== undefined) {
		const {reason, step, code = 'ERR_SOCKMAP_UNAVAILABLE', errno, syscall} = refusal;
		throw new SockmapError(`The engine '${wanted}' is not available. ${reason}`, {
			step, code, errno, syscall,
		});
	}

	return {engines: [wanted], unavailable: [], ...(pins !== undefined && {pins})};
}

/**
What the kernel said, in the words of `tunnel.skipped` and `capabilities()`.
*/
export function explain(engine: NativeEngine, refusal: NativeRefusal, pins?: string): Refusal {
	const known = withKnownCode(refusal);
	const {step, message, code, errno, syscall} = known;
	const advice = remedy(known, pins);
	return {
		engine,
		reason: advice === undefined ? `${message}.` : `${message}. ${advice}`,
		step,
		...(code && {code}),
		...(errno && {errno}),
		...(syscall && {syscall}),
	};
}

// Libuv does not know every errno of the kernel by name, and the addon asks libuv.
function withKnownCode(refusal: NativeRefusal): NativeRefusal {
	const known = Object.entries(os.constants.errno).find(([, errno]) => errno === refusal.errno);
	return known === undefined || !refusal.code.startsWith('Unknown') ? refusal : {...refusal, code: known[0]};
}

/**
Which maps sockmap would use, or why there are none. Those that are named are used. Otherwise we make our own, and look for pinned ones where these are refused.

@internal
*/
export function findMaps(pinPath?: string): {readonly pins?: string; readonly refusal?: Refusal | undefined} {
	const named = namedPins(pinPath);
	if (named !== undefined) {
		return {pins: named, refusal: unavailability('sockmap', named)};
	}

	const refusal = unavailability('sockmap');
	const found = refusal === undefined || !native || passing.has(refusal.code ?? '') ? undefined : foundPins();
	return found === undefined ? {refusal} : {pins: found, refusal: unavailability('sockmap', found)};
}

function toCapability(refusal: Refusal | undefined): Capability {
	if (refusal === undefined) {
		return {available: true};
	}

	const {engine: _, ...details} = refusal;
	return {available: false, ...details};
}

/** @internal */
export function unavailability(engine: NativeEngine, pins?: string): Refusal | undefined {
	const tried = pins === undefined ? engine : `${engine}: ${pins}`;
	if (!probed.has(tried)) {
		const refusal = native ? native.probe(engine, pins) : missing;
		const explained = refusal && explain(engine, refusal, pins);
		// Maps can be pinned at any time, and a slot of theirs becomes free.
		if (explained && (pins !== undefined || passing.has(refusal.code))) {
			return explained;
		}

		probed.set(tried, explained);
	}

	return probed.get(tried);
}

const probed = new Map<string, Refusal | undefined>();

// Fastest first.
const nativeEngines = ['sockmap', 'splice'] as const;

// Shortages that say nothing about the engine. They could be over the next time.
const passing: ReadonlySet<string> = new Set(['EAGAIN', 'EINTR', 'EMFILE', 'ENFILE', 'ENOBUFS', 'EADDRINUSE', 'EADDRNOTAVAIL']);
