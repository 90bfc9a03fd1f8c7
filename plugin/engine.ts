import {SockmapError} from './errors.ts';
import {missing, native, type NativeEngine, type NativeRefusal} from './native.ts';
import {type CheckedOptions} from './options.ts';
import {remedy} from './remedy.ts';

/**
An engine that could not have a tunnel, and why.
*/
export type Refusal = {
	readonly engine: NativeEngine;

	/**
	A sentence, with what would make it work if we know.
	*/
	readonly reason: string;

	/**
	What we were doing, in a few words.
	*/
	readonly step: string;
	readonly code?: string;
	readonly errno?: number;
	readonly syscall?: string;
};

export type Capability = {readonly available: true} | ({readonly available: false} & Omit<Refusal, 'engine'>);

export type Capabilities = {
	readonly sockmap: Capability;
	readonly splice: Capability;
	readonly stream: {readonly available: true};
};

/**
Which engines work here, and what the others would need.

Each engine is tried for real the first time, which blocks for well under a second. The answer is remembered, unless it was due to a passing shortage.
*/
export function capabilities(): Capabilities {
	return {sockmap: capability('sockmap'), splice: capability('splice'), stream: {available: true}};
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
};

export function chooseEngines(wanted: CheckedOptions['engine']): Choice {
	if (wanted === 'stream') {
		return {engines: [], unavailable: []};
	}

	if (wanted === 'auto') {
		const unavailable = nativeEngines.map(engine => unavailability(engine)).filter(refusal => refusal !== undefined);
		return {engines: nativeEngines.filter(engine => unavailable.every(refusal => refusal.engine !== engine)), unavailable};
	}

	// Who names an engine wants to know at once. Falling back silently is what `auto` is not for either.
	const refusal = unavailability(wanted);
	if (refusal !== undefined) {
		const {reason, step, code = 'ERR_SOCKMAP_UNAVAILABLE', errno, syscall} = refusal;
		throw new SockmapError(`The engine '${wanted}' is not available. ${reason}`, {
			step, code, errno, syscall,
		});
	}

	return {engines: [wanted], unavailable: []};
}

/**
What the kernel said, in the words of `tunnel.skipped` and `capabilities()`.
*/
export function explain(engine: NativeEngine, refusal: NativeRefusal): Refusal {
	const {step, message, code, errno, syscall} = refusal;
	const advice = remedy(refusal);
	return {
		engine,
		reason: advice === undefined ? `${message}.` : `${message}. ${advice}`,
		step,
		...(code && {code}),
		...(errno && {errno}),
		...(syscall && {syscall}),
	};
}

function capability(engine: NativeEngine): Capability {
	const refusal = unavailability(engine);
	if (refusal === undefined) {
		return {available: true};
	}

	const {engine: _, ...details} = refusal;
	return {available: false, ...details};
}

function unavailability(engine: NativeEngine): Refusal | undefined {
	if (!probed.has(engine)) {
		const refusal = native ? native.probe(engine) : missing;
		const explained = refusal && explain(engine, refusal);
		if (explained && passing.has(refusal.code)) {
			return explained;
		}

		probed.set(engine, explained);
	}

	return probed.get(engine);
}

const probed = new Map<NativeEngine, Refusal | undefined>();

// Fastest first.
const nativeEngines = ['sockmap', 'splice'] as const;

// Shortages that say nothing about the engine. They could be over the next time.
const passing: ReadonlySet<string> = new Set(['EAGAIN', 'EINTR', 'EMFILE', 'ENFILE', 'ENOBUFS', 'EADDRINUSE', 'EADDRNOTAVAIL']);
