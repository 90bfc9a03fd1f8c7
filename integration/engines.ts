import process from 'node:process';
import test, {type ExecutionContext} from 'ava';
import type {LaneStats, Tunnel, TunnelStats} from '../plugin/index.ts';
import {until} from './until.ts';

/** An engine that carries a tunnel; `auto` chooses one of them. */
export type Carrier = 'stream' | 'splice' | 'sockmap';

/**
Registers one test a row. The rows differ in the engine only, and a row fails where its engine cannot be had:
only those that this machine cannot run at all are skipped, and say so.
*/
export function onEachEngine<Arguments extends readonly unknown[]>(title: string, run: Run<Arguments>, ...rest: Arguments): void {
	onEngines(['stream', 'splice', 'sockmap'], title, run, ...rest);
}

/** The same, for what only some engines can do. */
export function onEngines<Arguments extends readonly unknown[]>(engines: readonly Carrier[], title: string, run: Run<Arguments>, ...rest: Arguments): void {
	register(test.serial, engines, title, run, ...rest);
}

/** The same, for tests that mostly wait: those of a file run at the same time. */
export function onEnginesAtOnce<Arguments extends readonly unknown[]>(engines: readonly Carrier[], title: string, run: Run<Arguments>, ...rest: Arguments): void {
	register(test, engines, title, run, ...rest);
}

export function onEachEngineAtOnce<Arguments extends readonly unknown[]>(title: string, run: Run<Arguments>, ...rest: Arguments): void {
	onEnginesAtOnce(['stream', 'splice', 'sockmap'], title, run, ...rest);
}

// eslint-disable-next-line max-params
function register<Arguments extends readonly unknown[]>(test: Register, engines: readonly Carrier[], title: string, run: Run<Arguments>, ...rest: Arguments): void {
	for (const engine of engines) {
		const reason = impossible(engine);
		if (reason === undefined) {
			test(`${engine}: ${title}`, async t => {
				t.timeout(60_000);
				await run(t, engine, ...rest);
			});
		} else {
			test(`${engine}: skipped, ${reason}: ${title}`, t => {
				t.log(`skipped: ${reason}`);
				t.pass();
			});
		}
	}
}

type Register = (title: string, run: (t: ExecutionContext) => Promise<void> | void) => void;

type Run<Arguments extends readonly unknown[]> = (t: ExecutionContext, engine: Carrier, ...rest: Arguments) => Promise<void>;

/** Why this machine cannot run the engine, whatever the addon does. */
export function impossible(engine: Carrier): string | undefined {
	if (engine !== 'stream' && process.platform !== 'linux') {
		return 'this is not Linux';
	}

	return engine === 'sockmap' && process.getuid?.() !== 0 ? 'this is not root' : undefined;
}

/** That the counters show the engine at work; true only of a tunnel that carried bytes which the engine must have had. */
export function assertCarriedBy(t: ExecutionContext, engine: Carrier, stats: TunnelStats): void {
	t.is(stats.engine, engine);
	const lanes = [stats.clientToUpstream, stats.upstreamToClient];
	const sum = (counter: 'bytes' | 'redirected' | 'spilled' | 'piped') => lanes[0]![counter] + lanes[1]![counter];
	t.true(sum('bytes') > 0, 'no bytes counted');
	if (engine === 'sockmap') {
		t.true(sum('redirected') > 0, `nothing redirected: ${JSON.stringify(stats)}`);
	} else {
		t.is(sum('redirected') + sum('spilled'), 0);
	}

	if (engine === 'splice') {
		t.true(sum('piped') > 0, `nothing piped: ${JSON.stringify(stats)}`);
	}

	if (engine === 'stream') {
		t.is(sum('piped'), 0);
	}
}

/** Resolves when the engine has both lanes where it wants them, so that what comes next meets it there and not on its way. */
export async function settled(tunnel: Tunnel): Promise<void> {
	const inKernel = (lane: LaneStats) => lane.state === 'kernel';
	if (tunnel.engine === 'sockmap') {
		await until(`tunnel ${tunnel.id} is in the kernel`, () => {
			const stats = tunnel.stats();
			return inKernel(stats.clientToUpstream) && inKernel(stats.upstreamToClient);
		});
	}
}
