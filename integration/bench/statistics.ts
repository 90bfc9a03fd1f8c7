/** The middle one; the mean of the two in the middle where their number is even. */
export function median(values: readonly number[]): number {
	const sorted = [...values].sort((one, other) => one - other);
	const middle = sorted.length >> 1; // eslint-disable-line no-bitwise
	return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export type Spread = {readonly median: number; readonly min: number; readonly max: number};

export function spread(values: readonly number[]): Spread {
	return {median: median(values), min: Math.min(...values), max: Math.max(...values)};
}
