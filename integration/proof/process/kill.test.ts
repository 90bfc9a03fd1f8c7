import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import type {Ending} from '../../../plugin/index.ts';
import {onEachEngine} from '../../engines.ts';
import {holdings, type Holdings} from '../../holdings.ts';
import {nothingIsLeft, released} from '../../leaks.ts';
import {seeded} from '../../random.ts';
import {until, within} from '../../until.ts';
import type {Report, Talk} from './peer-program.ts';
import {startClients, startUpstreams, type Peers} from './peers.ts';
import {
	kernelObjects, mapsAreEmpty, objectsAreGone, sayIfBlind, socketsAreGone,
} from './remains.ts';
import {
	ask, chatting, closedAt, cut, deaf, letGo, pushing, silent, startProxy, string, type Plan, type StartedProxy, type Strung,
} from './scene.ts';

// Each of the three parties of a tunnel is a process, and one of them is killed with SIGKILL in the middle of traffic, over and over.

nothingIsLeft();

/** How often each party is killed. */
const rounds = Number(process.env.PROOF_ROUNDS ?? 4);

const seed = Number(process.env.PROOF_SEED ?? Date.now() % 1_000_000);

const plans: readonly Plan[] = [
	{client: silent, upstream: silent},
	{client: chatting, upstream: chatting},
	{client: chatting, upstream: chatting},
	{client: pushing, upstream: pushing},
	{client: pushing, upstream: pushing},
	{client: pushing, upstream: silent},
	{client: silent, upstream: pushing},
	{client: pushing, upstream: deaf},
	{client: deaf, upstream: pushing},
];

for (const victim of ['client', 'upstream'] as const) {
	onEachEngine(`${victim === 'client' ? 'a client' : 'an upstream'} that is killed in the middle of traffic ends its tunnels as the kernel ends its connections, and the proxy is as before`, async (t, engine) => {
		t.timeout(30_000 + (rounds * 20_000));
		sayIfBlind(t);
		const random = seeded(seed);
		t.log(`PROOF_SEED=${seed}`);
		let [clients, upstreams] = await Promise.all([startClients(t), startUpstreams(t)]);
		const {port} = upstreams;
		const proxy = await startProxy(t, engine, port, 4 * plans.length);
		let before: Holdings | undefined;
		let received = 0;
		for (let round = 0; round < rounds; round++) {
			/* eslint-disable no-await-in-loop */
			const strung = await string(clients, proxy, port, {engine, plans: rotated(plans, round)});
			await deafen(clients, upstreams, strung);
			// Some more are still being opened when it happens.
			const halfOpen = ask(clients, proxy.port, port, plans.slice(0, 4));
			await wait(random() * 60);
			const [killed, survivors] = victim === 'client' ? [clients, upstreams] : [upstreams, clients];
			await killed.kill();
			survivors.order({type: 'read', ids: strung.map(({id}) => id)});
			for (const tunnel of strung) {
				const seen = await closedAt(survivors, tunnel.id);
				const {stats} = await proxy.message('close', ({id}) => id === tunnel.tunnel);
				t.is(stats.engine, engine);
				endsLikeAConnection(t, {
					killed: tunnel[victim], survivor: tunnel[victim === 'client' ? 'upstream' : 'client'], victim, last: killed.report(tunnel.id), seen, ending: stats,
				});
				received += seen.received;
			}

			for (const id of halfOpen) {
				// Whoever was not opened is not known to the survivor, or is refused.
				await until(`tunnel ${id} is over`, () => survivors.report(id)?.isClosed ?? true);
				t.is(survivors.report(id)?.problem, undefined);
			}

			await hasNoTunnel(proxy);
			t.is(proxy.child.exitCode, null);
			await mapsAreEmpty(kernelObjects(proxy.pid));
			before ??= withPipePool(holdings(proxy.pid));
			await released(before, proxy.pid);
			if (victim === 'client') {
				clients = await startClients(t);
			} else {
				upstreams = await startUpstreams(t, port);
			}
			/* eslint-enable no-await-in-loop */
		}

		t.log(`${engine}: ${rounds * plans.length} tunnels of which the ${victim} was killed, ${(received / 1e6).toFixed(1)} MB came to the survivors`);
		const objects = kernelObjects(proxy.pid);
		t.is(objects.programs.length > 0, engine === 'sockmap');
		await letGo(t, proxy);
		await Promise.all([clients.stop(), upstreams.stop()]);
		await objectsAreGone(objects);
		await socketsAreGone(proxy.port, port);
	});
}

onEachEngine('a proxy that is killed in the middle of traffic leaves a right beginning and an end at each end, and nothing in the kernel', async (t, engine) => {
	t.timeout(30_000 + (rounds * 20_000));
	sayIfBlind(t);
	const random = seeded(seed);
	t.log(`PROOF_SEED=${seed}`);
	const [clients, upstreams] = await Promise.all([startClients(t), startUpstreams(t)]);
	const {port} = upstreams;
	const sending: Array<readonly [Peers, number]> = [];
	const ports: number[] = [];
	for (let round = 0; round < rounds; round++) {
		/* eslint-disable no-await-in-loop */
		const proxy = await startProxy(t, engine, port, 4 * plans.length);
		const strung = await string(clients, proxy, port, {engine, plans: rotated(plans, round)});
		await deafen(clients, upstreams, strung);
		const objects = kernelObjects(proxy.pid);
		t.is(objects.programs.length > 0, engine === 'sockmap');
		const halfOpen = ask(clients, proxy.port, port, plans.slice(0, 4));
		await wait(random() * 60);
		proxy.child.kill('SIGKILL');
		t.like(await within('the proxy is gone', proxy.exit), {signal: 'SIGKILL', stderr: ''});
		for (const peers of [clients, upstreams]) {
			peers.order({type: 'read', ids: strung.map(({id}) => id)});
		}

		for (const {id, client, upstream} of strung) {
			for (const [peers, {send}] of [[clients, client], [upstreams, upstream]] as const) {
				await until(`the end of tunnel ${id} is seen`, () => (peers.report(id)?.endings.length ?? 0) > 0);
				const {problem, endings} = peers.report(id)!;
				t.is(problem, undefined);
				t.regex(endings[0]!, cut(engine), `tunnel ${id}`);
				if (engine === 'stream' && send === 'bulk') {
					// It may find the window of the dead proxy shut, and then learns only from its next question that nobody is there.
					sending.push([peers, id]);
				} else {
					await closedAt(peers, id);
				}
			}
		}

		for (const id of halfOpen) {
			for (const peers of [clients, upstreams]) {
				await until(`tunnel ${id} is over`, () => peers.report(id)?.isClosed ?? true);
				t.is(peers.report(id)?.problem, undefined);
			}
		}

		await objectsAreGone(objects);
		ports.push(proxy.port);
		/* eslint-enable no-await-in-loop */
	}

	for (const [peers, id] of sending) {
		await closedAt(peers, id, 30_000); // eslint-disable-line no-await-in-loop
	}

	await socketsAreGone(...ports);
	await Promise.all([clients.stop(), upstreams.stop()]);
	await socketsAreGone(port);
});

/** Readers that do not read any more have something to read by then, in their own kernel buffers: whoever closes that sends a reset. */
async function deafen(clients: Peers, upstreams: Peers, strung: readonly Strung[]): Promise<void> {
	for (const {id, client, upstream} of strung) {
		for (const [reading, reader] of [[client, clients], [upstream, upstreams]] as const) {
			if (!reading.read) {
				reader.order({type: 'deafen', ids: [id]});
				await until(`the deaf one of tunnel ${id} has something to read`, () => reader.report(id)?.isDeaf === true); // eslint-disable-line no-await-in-loop
			}
		}
	}
}

type Killing = {
	readonly killed: Talk;
	readonly survivor: Talk;
	readonly victim: 'client' | 'upstream';

	/** What the killed one has told last. */
	readonly last: Report | undefined;
	readonly seen: Report;
	readonly ending: Partial<Ending>;
};

function endsLikeAConnection(t: ExecutionContext, {killed, survivor, victim, last, seen, ending}: Killing): void {
	t.is(seen.problem, undefined);
	const [first] = seen.endings;
	const description = JSON.stringify({
		killed, survivor, seen, ending,
	});
	if (survivor.send === 'nothing') {
		// Nothing was unread: a FIN, and before it all that the kernel had taken.
		t.is(first, 'FIN', description);
		t.true(seen.received >= (last?.sent ?? 0), `${description} ${last?.sent}`);
		t.like(ending, {reason: 'end', by: victim}, description);
	} else if (killed.read) {
		t.regex(first!, /^(?:FIN|ECONNRESET|EPIPE)$/u, description);
		t.regex(ending.reason!, /^(?:end|reset)$/u, description);
		t.is(ending.by, victim, description);
	} else {
		t.regex(first!, /^(?:ECONNRESET|EPIPE)$/u, description);
		t.like(ending, {reason: 'reset', by: victim}, description);
	}
}

async function hasNoTunnel(proxy: StartedProxy): Promise<void> {
	for (let left = 1; left > 0;) {
		const {stats} = await proxy.stats(); // eslint-disable-line no-await-in-loop
		left = stats.open + stats.dialling;
	}
}

/** With the spare pipes that the relay keeps. */
function withPipePool(holdings: Holdings): Holdings {
	return new Map([...holdings, ['pipe', [...holdings.get('pipe') ?? [], ...Array.from({length: 32}, (_, index) => `pool ${index}`)]]]);
}

function rotated<Item>(items: readonly Item[], by: number): readonly Item[] {
	return items.map((_, index) => items[(index + by) % items.length]!);
}
