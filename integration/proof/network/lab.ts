import assert from 'node:assert/strict';
import {within} from '../../until.ts';
import type {Address, EndCalls, Kind} from './end-program.ts';
import type {Carried, ProxyCalls, Which} from './proxy-program.ts';
import {startProgram, type Program, type Scope} from './programs.ts';
import {makeWorld, type Family, type Side, type World, type WorldOptions} from './world.ts';
import type {Engine, Options, TunnelStats} from 'http-proxy-sockmap';

/** A world with its three programs: the far ends dial and are dialled through a proxy with a server for each engine. */
export type Lab = {
	readonly world: World;
	readonly client: Program<EndCalls>;
	readonly proxy: Program<ProxyCalls>;
	readonly upstream: Program<EndCalls>;

	/** Opens a tunnel, which its engine has where it wants it. */
	open(engine: Engine, kind: Kind): Promise<OpenTunnel>;

	/** Everything is closed, and nothing is left. Of an end that was killed nothing is asked. */
	stop(killed?: Side): Promise<void>;
};

export const kinds: readonly Kind[] = ['connect', 'upgrade'];

export type OpenTunnel = {
	readonly number: number;
	readonly engine: Engine;
	readonly kind: Kind;
	readonly which: Which;
};

export type LabOptions = WorldOptions & {
	readonly engines: readonly Engine[];
	readonly options?: Options;

	/** Variables of the proxy's environment. */
	readonly env?: Readonly<Record<string, string>>;

	/** Called when the world is there and before anybody is in it. */
	readonly prepare?: (world: World) => Promise<void>;
};

export async function startLab(scope: Scope, family: Family, {engines, options = {}, env, prepare, ...worldOptions}: LabOptions): Promise<Lab> {
	const world = await makeWorld(scope, family, worldOptions);
	await prepare?.(world);
	const {cables} = world;
	const [client, proxy, upstream] = await Promise.all([
		startProgram<EndCalls>(scope, cables.client.far.namespace, 'end-program'),
		startProgram<ProxyCalls>(scope, world.proxy, 'proxy-program', env),
		startProgram<EndCalls>(scope, cables.upstream.far.namespace, 'end-program'),
	]);
	const host = cables.upstream.far.address;
	const target: Address = {host, port: await upstream.call('listen', {host})};
	const ports = new Map<Engine, number>();
	for (const engine of engines) {
		// eslint-disable-next-line no-await-in-loop
		ports.set(engine, await proxy.call('serve', {
			host: cables.client.near.address,
			target: `http://${host.includes(':') ? `[${host}]` : host}:${target.port}`,
			options: {engine, allow: world.blocks, ...options},
		}));
	}

	return {
		world, client, proxy, upstream,
		async open(engine, kind) {
			const number = ++tunnels;
			const port = ports.get(engine)!;
			const opening = async (): Promise<OpenTunnel> => {
				const clientPort = await client.call('open', {
					number, kind, target, proxy: {host: cables.client.near.address, port},
				});
				await upstream.call('accepted', {number});
				const carried: Carried = await proxy.call('settled', {port, clientPort});
				assert.equal(carried.engine, engine, JSON.stringify(carried.skipped));
				return {
					number, engine, kind, which: {port, clientPort},
				};
			};

			return within(`a tunnel of ${engine} opens by ${kind}`, opening(), 45_000);
		},
		async stop(killed) {
			assert.deepEqual(await within('the proxy stops', proxy.call('stop'), 20_000), [], 'The proxy has not let go of everything');
			for (const [name, end] of Object.entries({client, upstream}).filter(([name]) => name !== killed)) {
				assert.equal(await end.call('connections'), 0, `Connections are left at the ${name}`); // eslint-disable-line no-await-in-loop
			}
		},
	};
}

/** That the counters show the engine at work. */
export function assertCarriedBy(engine: Engine, stats: TunnelStats): void {
	const {clientToUpstream, upstreamToClient} = stats;
	const text = JSON.stringify(stats);
	assert.equal(stats.engine, engine, text);
	const redirected = clientToUpstream.redirected + upstreamToClient.redirected;
	assert.equal(redirected > 0, engine === 'sockmap', text);
	const piped = clientToUpstream.piped + upstreamToClient.piped;
	assert.ok(engine === 'sockmap' || (piped > 0) === (engine === 'splice'), text);
}

let tunnels = 0;
