import {type Figure, figureOf, ratioOf} from '../figures.ts';
import {type Line} from '../line.ts';
import {type Group, type Trial} from '../trials.ts';
import {number, table, withSpread} from './format.ts';

type Column = {readonly title: string; readonly figure: Figure; readonly scale?: number; readonly hasSpread?: boolean};

/** The figures of one trial, a row for each contestant. */
export function trialTable({name, group, contestants}: Trial, lines: readonly Line[]): string {
	const columns = columnsOf[group];
	const compared = group === 'echo' ? 'rate' : (group === 'bulk' ? 'bytesPerSecond' : undefined);
	const rows = contestants.flatMap(contestant => {
		const cells = columns.map(({figure, scale = 1, hasSpread}) => {
			const value = figureOf(lines, name, contestant, figure);
			if (value === undefined) {
				return '';
			}

			return hasSpread ? withSpread(value, scale) : number(value.median * scale);
		});
		const ratio = compared && ratioOf(lines, name, contestant, 'http-proxy', compared);
		return cells.every(cell => cell === '') ? [] : [[contestant, ...cells, ...(compared ? [ratio ? number(ratio.median) : ''] : [])]];
	});
	return table(['contestant', ...columns.map(({title}) => title), ...(compared ? ['× http-proxy'] : [])], rows);
}

const latencies: readonly Column[] = [
	{title: 'p50 µs', figure: 'p50'},
	{title: 'p99 µs', figure: 'p99', hasSpread: true},
	{title: 'p99.9 µs', figure: 'p999'},
	{title: 'max µs', figure: 'max'},
];

const perMessage: readonly Column[] = [
	{title: 'proxy µs', figure: 'proxyPerMessage'},
	{title: 'machine µs', figure: 'machinePerMessage'},
	{title: 'switches', figure: 'switchesPerMessage'},
	{title: 'syscalls', figure: 'syscallsPerMessage'},
];

const rate: Column = {title: 'a second', figure: 'rate', hasSpread: true};

const columnsOf: Readonly<Record<Group, readonly Column[]>> = {
	echo: [rate, ...latencies.map(({title, figure}) => ({title, figure})), ...perMessage],
	bulk: [
		{
			title: 'MB/s', figure: 'bytesPerSecond', scale: 1e-6, hasSpread: true,
		},
		{title: 'proxy ms/GB', figure: 'proxyPerGigabyte'},
		{title: 'machine ms/GB', figure: 'machinePerGigabyte'},
		{title: 'switches/GB', figure: 'switchesPerGigabyte'},
		{title: 'syscalls/GB', figure: 'syscallsPerGigabyte'},
	],
	'fan-out': [rate, ...latencies, ...perMessage],
	'set-up': [rate, ...latencies, ...perMessage],
	idle: [
		{
			title: 'RSS kB', figure: 'rssPerTunnel', scale: 1e-3, hasSpread: true,
		},
		{title: 'descriptors', figure: 'descriptorsPerTunnel'},
		{title: 'slab kB', figure: 'slabPerTunnel', scale: 1e-3},
		{title: 'CPU at rest %', figure: 'cpuAtRest', scale: 100},
	],
	blocked: [...latencies, ...perMessage],
	saturated: [...latencies, ...perMessage],
	stalled: [
		{
			title: 'taken kB', figure: 'bytesPerTunnel', scale: 1e-3, hasSpread: true,
		},
		{title: 'socket buffers kB', figure: 'socketsPerTunnel', scale: 1e-3},
		{title: 'memory kB', figure: 'availablePerTunnel', scale: 1e-3},
	],
};
