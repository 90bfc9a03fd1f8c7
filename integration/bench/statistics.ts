/** The middle one; the mean of the two in the middle where their number is even. */
export function median(values: readonly number[]): number {
	const sorted = ascending(values);
	const middle = sorted.length >> 1; // eslint-disable-line no-bitwise
	return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export type Spread = {readonly median: number; readonly min: number; readonly max: number; readonly interval?: Interval};

/** From, to. */
export type Interval = readonly [number, number];

export function spread(values: readonly number[]): Spread {
	const interval = intervalOfMedian(values);
	return {
		median: median(values), min: Math.min(...values), max: Math.max(...values), ...(interval && {interval}),
	};
}

/**
Where the median of what was drawn from lies, with a certainty of 95 %. There is none with less than six values.

How many of `n` values are below that median is what `n` coins show. So it takes no assumption on how they are distributed, and none that are far out weigh more than others.
*/
export function intervalOfMedian(values: readonly number[]): Interval | undefined {
	const sorted = ascending(values);
	const {length} = sorted;
	let left = 0.025; // On each side.
	let outside = 0;
	for (let probability = 0.5 ** length; probability <= left; outside++) {
		left -= probability;
		probability *= (length - outside) / (outside + 1);
	}

	return outside === 0 ? undefined : [sorted[outside - 1]!, sorted[length - outside]!];
}

/** What a function that only grows, or only falls, makes of it. */
export function mapped({median, min, max, interval}: Spread, change: (value: number) => number): Spread {
	const between = (one: number, other: number): Interval => [Math.min(change(one), change(other)), Math.max(change(one), change(other))];
	const [low, high] = between(min, max);
	return {
		median: change(median), min: low, max: high, ...(interval && {interval: between(...interval)}),
	};
}

function ascending(values: readonly number[]): readonly number[] {
	return [...values].sort((one, other) => one - other);
}
