import * as native from '../../until.ts';

// An emulated machine is some ten times as slow as the one that it runs on, and that one has more to do.

const patience = 10;

export const {closed} = native;

export async function until(what: string, condition: () => boolean, limit = 10_000): Promise<void> {
	return native.until(what, condition, limit * patience);
}

export async function within<Value>(what: string, promise: Promise<Value>, limit = 10_000): Promise<Value> {
	return native.within(what, promise, limit * patience);
}
