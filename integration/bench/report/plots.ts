import {parse, View} from 'vega';
import {compile, type TopLevelSpec} from 'vega-lite';
import {type Figure, figureOf} from '../figures.ts';
import {type Line} from '../line.ts';
import {trials} from '../trials.ts';

/** Bars with a whisker from the least to the most, one row for each contestant, one panel for each trial. */
export type Plot = {
	readonly name: string;
	readonly title: string;
	readonly trials: readonly string[];
	readonly figure: Figure;
	readonly scale: number;
	readonly unit: string;
	readonly isLogarithmic?: boolean;
	readonly without?: readonly string[];
};

export const plots: readonly Plot[] = [
	{
		name: 'echo', title: 'Echo: round trips a second', trials: ['echo 1 × 64 B', 'echo 64 × 128 B', 'echo 64 × 16 KiB'], figure: 'rate', scale: 1e-3, unit: 'thousands a second',
	},
	{
		name: 'cpu', title: 'Echo: CPU time of the whole machine', trials: ['echo 1 × 64 B', 'echo 64 × 128 B', 'echo 64 × 16 KiB'], figure: 'machinePerMessage', scale: 1, unit: 'µs for each message',
	},
	{
		name: 'bulk', title: 'Bulk', trials: ['bulk 1 up', 'bulk 1 both', 'bulk 1 up after a pause'], figure: 'bytesPerSecond', scale: 1e-9, unit: 'GB/s',
	},
	{
		name: 'latency', title: 'p99 of a round trip, 2,000 a second', trials: ['pace 64 unblocked', 'pace 64 blocked', 'pace 64 saturated'], figure: 'p99', scale: 1, unit: 'µs, logarithmic', isLogarithmic: true,
	},
	{
		name: 'set-up', title: 'Tunnels set up, used once and closed', trials: ['set-up'], figure: 'rate', scale: 1, unit: 'a second', without: ['direct'],
	},
	{
		name: 'idle', title: 'An idle tunnel', trials: ['idle 4000'], figure: 'rssPerTunnel', scale: 1e-3, unit: 'kB of RSS', without: ['direct'],
	},
];

/** As SVG; `undefined` where nothing was measured. */
export async function draw(plot: Plot, lines: readonly Line[]): Promise<string | undefined> {
	const values = plot.trials.flatMap(trial => {
		const names = trials.find(({name}) => name === trial)!.contestants.filter(name => !plot.without?.includes(name));
		return names.flatMap(contestant => {
			const spread = figureOf(lines, trial, contestant, plot.figure);
			return spread ? [{
				trial, contestant, whose: whoseIs(contestant), median: spread.median * plot.scale, min: spread.min * plot.scale, max: spread.max * plot.scale,
			}] : [];
		});
	});
	if (values.length === 0) {
		return undefined;
	}

	// Logarithmic ones have no common zero, so they have a common scale.
	const scale = plot.isLogarithmic
		? {type: 'log', nice: false, domain: [Math.min(...values.map(({min}) => min)) * 0.8, Math.max(...values.map(({max}) => max)) * 1.2]}
		: {zero: true};
	const panels = plot.trials.filter(trial => values.some(value => value.trial === trial)).map(trial => ({
		title: {text: trial, fontSize: 12},
		width: 230,
		height: {step: 16},
		data: {values: values.filter(value => value.trial === trial)},
		encoding: {
			y: {
				field: 'contestant', type: 'nominal', title: null,
				sort: values.filter(value => value.trial === trial).map(({contestant}) => contestant),
			},
		},
		layer: [
			{
				mark: plot.isLogarithmic ? {type: 'point', filled: true, size: 60} : {type: 'bar'},
				encoding: {
					x: {
						field: 'median', type: 'quantitative', title: plot.unit, scale,
					},
					color,
				},
			},
			{
				mark: {type: 'rule', color: '#333'},
				encoding: {x: {field: 'min', type: 'quantitative'}, x2: {field: 'max'}},
			},
		],
	}));
	const spec = {
		$schema: 'https://vega.github.io/schema/vega-lite/v5.json',
		title: {text: plot.title, subtitle: 'Medians; lines go from the least to the most of the repeats', anchor: 'start'},
		background: 'white',
		padding: 10,
		hconcat: panels,
		resolve: {scale: {y: 'independent'}},
		config: {view: {stroke: 'transparent'}, axis: {gridOpacity: 0.5}},
	};
	return new View(parse(compile(spec as unknown as TopLevelSpec).spec), {renderer: 'none'}).toSVG();
}

function whoseIs(contestant: string): string {
	if (contestant === 'direct') {
		return 'no proxy';
	}

	return /^(?:auto|sockmap|splice|stream)(?:-connect|-detach)?$/u.test(contestant) ? 'this package' : 'others';
}

const color = {
	field: 'whose',
	type: 'nominal',
	title: null,
	scale: {domain: ['this package', 'others', 'no proxy'], range: ['#1b7f5c', '#9aa5b1', '#d9b44a']},
	legend: {orient: 'bottom'},
} as const;
