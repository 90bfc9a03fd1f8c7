import {type Interval, type Spread} from '../statistics.ts';

/** Three digits, and thousands apart. */
export function number(value: number): string {
	if (value === 0) {
		return '0';
	}

	const rounded = Number(value.toPrecision(3));
	return Math.abs(rounded) >= 1000
		? Math.round(rounded).toLocaleString('en-US')
		: rounded.toLocaleString('en-US', {maximumSignificantDigits: 3});
}

/** The median, and the least and the most in parentheses. */
export function withSpread({median, min, max}: Spread, scale = 1): string {
	return min === max ? number(median * scale) : `${number(median * scale)} (${number(min * scale)}–${number(max * scale)})`;
}

export function fromTo([from, to]: Interval): string {
	return `${number(from)}–${number(to)}`;
}

export function row(cells: readonly string[]): string {
	return `| ${cells.join(' | ')} |`;
}

/** A Markdown table; all columns but the first are numbers. */
export function table(head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
	return [row(head), row(head.map((_, index) => index === 0 ? '---' : '---:')), ...rows.map(cells => row(cells))].join('\n');
}
