import type {LaneStats, TunnelStats} from '../../../plugin/index.ts';
import type {Close, Proxy} from './proxies.ts';

/** What the load generator says about one tunnel. Pairs are of the client and of the upstream. */
export type Report = {
	readonly done?: string;
	readonly failed?: string;
	readonly proxy: string;
	readonly kind: string;
	readonly aborter: 'client' | 'upstream' | 'nobody';
	/** The proxy has reset it, of its own accord. */
	readonly reset: boolean;
	readonly sent: readonly [number, number];
	readonly received: readonly [number, number];
	readonly what: string;
	readonly plan: string;
};

/** What a row of the table says: of one engine. */
export type Tally = {
	tunnels: number;

	/** Ended before they could leave Node's streams. */
	streamed: number;
	aborts: number;

	/** Of the proxy's own accord, where that is allowed. */
	resets: number;
	bytes: number;
	redirected: number;
	spilled: number;
	piped: number;
	promotions: number;
	spills: number;
	failures: number;
};

/** What the proxy says about a tunnel has to be what its far ends have seen. */
export async function compare(report: Report, proxy: Proxy, tally: Tally, fail: (text: string) => void): Promise<void> {
	const wrong = (text: string, stats?: TunnelStats) => {
		tally.failures++;
		fail(`${text}\n  ${report.plan || JSON.stringify(report)}\n  sent ${report.sent.join(' and ')}, received ${report.received.join(' and ')}\n  proxy: ${JSON.stringify(stats)}`);
	};

	if (report.failed !== undefined) {
		try {
			let stats = await proxy.statsOf(report.failed);
			stats ??= await proxy.closedStatsOf(report.failed);
			wrong(report.what, stats);
		} catch (error) {
			wrong(`${report.what}; and ${(error as Error).message} ${proxy.stderr()}`);
		}

		return;
	}

	let close: Close;
	try {
		close = await proxy.closeOf(report.done!);
	} catch (error) {
		wrong(`both ends are through, but the proxy does not close it: ${(error as Error).message}`);
		return;
	}

	const {stats, skipped} = close;
	tally.tunnels++;
	add(tally, stats.clientToUpstream);
	add(tally, stats.upstreamToClient);
	const aborted = report.aborter !== 'nobody';
	tally.aborts += aborted ? 1 : 0;
	if (stats.engine !== proxy.engine) {
		// It ended, or began to, before it could leave Node's streams: the only reason that there may be. A socket that has seen FIN cannot go into a map.
		tally.streamed++;
		if (stats.engine !== 'stream' || skipped.some(({step, code, reason}) => !(step === 'admit the tunnel to the maps' && code === 'ENOTSUP') && !reason.includes('half-closed already'))) {
			wrong(`carried by ${stats.engine}: ${JSON.stringify(skipped)}`, stats);
		}
	}

	if (aborted) {
		// Both may have a reason at the same time, where the proxy is allowed one.
		if (stats.reason !== 'reset' || (stats.by !== report.aborter && stats.code !== 'ENOMEM')) {
			wrong(`the ${report.aborter} has reset it, but the proxy says ${stats.reason} by ${stats.by}`, stats);
		}

		return;
	}

	if (report.reset) {
		tally.resets++;
		if (stats.reason !== 'reset') {
			wrong(`its ends were reset, but the proxy says ${stats.reason}`, stats);
		}

		return;
	}

	if (stats.reason !== 'end') {
		wrong(`it ended in peace, but the proxy says ${stats.reason}`, stats);
	}

	// Pairs that had been piped before have bytes that no tunnel has seen.
	const counted = [stats.clientToUpstream.bytes, stats.upstreamToClient.bytes];
	if (counted.some((bytes, index) => report.kind === 'pair' ? bytes > report.sent[index]! : bytes !== report.sent[index])) {
		wrong('the proxy has counted other bytes', stats);
	}
}

function add(tally: Tally, lane: LaneStats): void {
	for (const counter of ['bytes', 'redirected', 'spilled', 'piped', 'promotions', 'spills'] as const) {
		tally[counter] += lane[counter];
	}
}

export function emptyTally(): Tally {
	return {tunnels: 0, streamed: 0, aborts: 0, resets: 0, bytes: 0, redirected: 0, spilled: 0, piped: 0, promotions: 0, spills: 0, failures: 0};
}

