import fs from 'node:fs';
import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import {onEachEngine, onEngines, type Carrier} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {seeded} from '../../random.ts';
import {until} from '../../until.ts';
import {startClients, startUpstreams, type Peers} from './peers.ts';
import {
	kernelObjects, mapsAreEmpty, objectsAreGone, sayIfBlind, socketsAreGone,
} from './remains.ts';
import {
	ask, chatting, closedAt, endExactly, letGo, pushing, silent, startProxy, string, type Plan, type StartedProxy, type Strung,
} from './scene.ts';

// SIGSTOP at any moment, and SIGCONT a little later, for each of the three parties of a tunnel.

nothingIsLeft();

/** How often each party is stopped. */
const rounds = Number(process.env.PROOF_ROUNDS ?? 10);

const seed = Number(process.env.PROOF_SEED ?? Date.now() % 1_000_000);

const plans: readonly Plan[] = [
	{client: chatting, upstream: chatting},
	{client: chatting, upstream: silent},
	{client: pushing, upstream: pushing},
	{client: silent, upstream: pushing},
];

onEachEngine('whoever of proxy, clients and upstreams is stopped and goes on, in traffic and while tunnels are opened, costs no byte', async (t, engine) => {
	t.timeout(60_000 + (rounds * 10_000));
	sayIfBlind(t);
	t.log(`PROOF_SEED=${seed}`);
	const random = seeded(seed);
	const {clients, upstreams, proxy} = await startAll(t, engine);
	const strung = [...await string(clients, proxy, upstreams.port, {engine, plans})];
	const parties = [proxy, clients, upstreams].map(({child}) => child);
	for (let round = 0; round < rounds; round++) {
		/* eslint-disable no-await-in-loop */
		for (const child of parties) {
			const opening = string(clients, proxy, upstreams.port, {engine, plans: [plans[round % plans.length]!]});
			await wait(random() * 20);
			child.kill('SIGSTOP');
			await wait(random() * 150);
			child.kill('SIGCONT');
			strung.push(...await opening);
		}

		// So that they do not become more and more.
		await endExactly(t, clients, upstreams, strung.splice(0, 3));
		/* eslint-enable no-await-in-loop */
	}

	await endExactly(t, clients, upstreams, strung);
	t.log(`${engine}: ${3 * rounds} stops, ${strung.length + (3 * rounds)} tunnels exact to the last byte`);
	await endAll(t, {clients, upstreams, proxy});
});

onEngines(['sockmap'], 'what is in the kernel goes on while the proxy is stopped', async t => {
	const {clients, upstreams, proxy} = await startAll(t, 'sockmap');
	const strung = await string(clients, proxy, upstreams.port, {engine: 'sockmap', plans: [plans[0]!, plans[0]!, plans[1]!]});
	for (const {tunnel} of strung) {
		await inKernel(proxy, tunnel); // eslint-disable-line no-await-in-loop
	}

	proxy.child.kill('SIGSTOP');
	await stopped(proxy);
	const before = cameTo(clients, upstreams, strung);
	const start = Date.now();
	// What `before` does not know yet may have come by another way.
	await until('every chat goes on for 150 kB', () => cameTo(clients, upstreams, strung).every((bytes, index) => index % 2 === 0 && strung[index / 2]!.upstream === silent ? bytes === 0 : bytes > before[index]! + 150_000), 20_000);
	const took = Date.now() - start;
	proxy.child.kill('SIGCONT');
	t.log(`150 kB each way in ${took} ms while the proxy was stopped`);
	await endExactly(t, clients, upstreams, strung);
	for (const {tunnel} of strung) {
		const {stats} = await proxy.message('close', ({id}) => id === tunnel); // eslint-disable-line no-await-in-loop
		t.true(stats.clientToUpstream.redirected > 100_000, JSON.stringify(stats));
	}

	await endAll(t, {clients, upstreams, proxy});
});

onEachEngine('a FIN and a reset that come while the proxy is stopped are passed on when it goes on', async (t, engine) => {
	const {clients, upstreams, proxy} = await startAll(t, engine);
	// Libuv takes a reset for an end where it finds data before it in the same turn, so that on stream those that are reset have sent nothing.
	const toBeReset: Plan = {client: engine === 'stream' ? silent : chatting, upstream: chatting};
	const strung = await string(clients, proxy, upstreams.port, {engine, plans: [plans[0]!, toBeReset, plans[1]!, toBeReset]});
	const [ended, reset, halfClosed, alsoReset] = strung.map(({id}) => id) as [number, number, number, number];
	proxy.child.kill('SIGSTOP');
	await stopped(proxy);
	clients.order({type: 'end', ids: [ended, halfClosed]});
	clients.order({type: 'reset', ids: [reset, alsoReset]});
	await until('the clients have closed', () => clients.report(reset)?.isClosed === true && clients.report(alsoReset)?.isClosed === true);
	t.deepEqual([ended, reset, halfClosed, alsoReset].map(id => upstreams.report(id)?.endings ?? []), [[], [], [], []], 'nobody could pass it on');
	proxy.child.kill('SIGCONT');
	for (const id of [ended, halfClosed]) {
		const [client, upstream] = await Promise.all([closedAt(clients, id), closedAt(upstreams, id)]); // eslint-disable-line no-await-in-loop
		t.deepEqual([client.endings, upstream.endings], [['FIN'], ['FIN']]);
		t.deepEqual([client.received, upstream.received], [upstream.sent, client.sent]);
	}

	for (const id of [reset, alsoReset]) {
		const {endings, problem} = await closedAt(upstreams, id); // eslint-disable-line no-await-in-loop
		t.regex(endings[0]!, /^(?:ECONNRESET|EPIPE)$/u);
		t.is(problem, undefined);
	}

	await endAll(t, {clients, upstreams, proxy});
});

type All = {readonly clients: Peers; readonly upstreams: Peers; readonly proxy: StartedProxy};

async function startAll(t: ExecutionContext, engine: Carrier): Promise<All> {
	const [clients, upstreams] = await Promise.all([startClients(t), startUpstreams(t)]);
	return {clients, upstreams, proxy: await startProxy(t, engine, upstreams.port)};
}

async function endAll(t: ExecutionContext, {clients, upstreams, proxy}: All): Promise<void> {
	const objects = kernelObjects(proxy.pid);
	await mapsAreEmpty(objects);
	await letGo(t, proxy);
	await Promise.all([clients.stop(), upstreams.stop()]);
	await objectsAreGone(objects);
	await socketsAreGone(proxy.port, upstreams.port);
}

async function inKernel(proxy: StartedProxy, tunnel: number): Promise<void> {
	for (;;) {
		const {tunnels} = await proxy.stats(); // eslint-disable-line no-await-in-loop
		const [, stats] = tunnels.find(([id]) => id === tunnel)!;
		if (stats.clientToUpstream.state === 'kernel' && stats.upstreamToClient.state === 'kernel') {
			return;
		}
	}
}

/** Every thread of it, the relay's too. */
async function stopped({pid}: StartedProxy): Promise<void> {
	await until('the proxy is stopped', () => fs.readdirSync(`/proc/${pid}/task`).every(task => fs.readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8').includes(') T ')));
}

/** At the client and at the upstream of each. */
function cameTo(clients: Peers, upstreams: Peers, tunnels: readonly Strung[]): readonly number[] {
	return tunnels.flatMap(({id}) => [clients, upstreams].map(peers => peers.report(id)?.received ?? 0));
}
