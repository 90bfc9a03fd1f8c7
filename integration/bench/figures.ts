import {type Line} from './line.ts';
import {spread, type Spread} from './statistics.ts';

/** What can be said about one line, as a number. */
export type Figure = keyof typeof figures;

export const figures = {
	rate: ({messages, seconds}: Line) => messages / seconds,
	bytesPerSecond: ({bytes, seconds}: Line) => bytes / seconds,
	p50: ({p50}: Line) => p50,
	p99: ({p99}: Line) => p99,
	p999: ({p999}: Line) => p999,
	max: ({max}: Line) => max,
	proxyPerMessage: ({proxy, messages}: Line) => proxy * 1e6 / messages,
	machinePerMessage: ({machine, messages}: Line) => machine * 1e6 / messages,
	proxyPerGigabyte: ({proxy, bytes}: Line) => proxy * 1e12 / bytes,
	machinePerGigabyte: ({machine, bytes}: Line) => machine * 1e12 / bytes,
	switchesPerMessage: ({switches, messages}: Line) => switches / messages,
	switchesPerGigabyte: ({switches, bytes}: Line) => switches * 1e9 / bytes,
	syscallsPerMessage: ({syscalls, messages, seconds}: Line) => syscalls === undefined ? Number.NaN : syscalls * seconds / messages,
	syscallsPerGigabyte: ({syscalls, bytes, seconds}: Line) => syscalls === undefined ? Number.NaN : syscalls * seconds * 1e9 / bytes,
	rssPerTunnel: ({rss, tunnels}: Line) => rss / tunnels,
	descriptorsPerTunnel: ({descriptors, tunnels}: Line) => descriptors / tunnels,
	slabPerTunnel: ({slab, tunnels}: Line) => slab / tunnels,
	bytesPerTunnel: ({bytes, tunnels}: Line) => bytes / tunnels,
	socketsPerTunnel: ({sockets, tunnels}: Line) => sockets / tunnels,
	availablePerTunnel: ({available, tunnels}: Line) => available / tunnels,
	cpuAtRest: ({proxy, seconds}: Line) => proxy / seconds,
} as const;

/** The lines of the latest run that has all of these contestants, without those that failed. */
export function linesOf(lines: readonly Line[], trial: string, contestants: readonly string[]): ReadonlyMap<string, readonly Line[]> | undefined {
	const ofTrial = lines.filter(line => line.trial === trial && line.failed === undefined);
	const runs = [...new Set(ofTrial.map(({run}) => run))].sort().reverse();
	for (const run of runs) {
		const found = new Map(contestants.map(contestant => [contestant, ofTrial.filter(line => line.run === run && line.contestant === contestant)]));
		if ([...found.values()].every(lines => lines.length > 0)) {
			return found;
		}
	}

	return undefined;
}

/** A figure of one contestant, of the latest run that has it. */
export function figureOf(lines: readonly Line[], trial: string, contestant: string, figure: Figure): Spread | undefined {
	const found = linesOf(lines, trial, [contestant])?.get(contestant)!.map(line => figures[figure](line)).filter(value => Number.isFinite(value));
	return found && found.length > 0 ? spread(found) : undefined;
}

/** How often one contestant's figure holds another's, repeat by repeat: both were measured within seconds of each other. */
// eslint-disable-next-line max-params
export function ratioOf(lines: readonly Line[], trial: string, contestant: string, other: string, figure: Figure): Spread | undefined {
	const found = linesOf(lines, trial, [contestant, other]);
	const ratios = found?.get(contestant)!.flatMap(line => {
		const against = found.get(other)!.find(({repeat}) => repeat === line.repeat);
		return against === undefined ? [] : [figures[figure](line) / figures[figure](against)];
	}).filter(ratio => Number.isFinite(ratio));
	return ratios && ratios.length > 0 ? spread(ratios) : undefined;
}
