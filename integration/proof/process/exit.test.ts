import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import {onEachEngine} from '../../engines.ts';
import {baseline, nothingIsLeft, released} from '../../leaks.ts';
import {startProxyProcess, startProxyWorker} from '../../proxy-process.ts';
import type {ProgramOptions} from '../../proxy-program.ts';
import {seeded} from '../../random.ts';
import {until, within} from '../../until.ts';
import {startClients, startUpstreams, type Peers} from './peers.ts';
import {
	kernelObjects, objectsAreGone, relayThreads, sayIfBlind, socketsAreGone,
} from './remains.ts';
import {
	anyEnd, ask, chatting, closedAt, cut, pushing, silent, string, type Plan, type StartedProxy,
} from './scene.ts';

// A process or a worker that ends while its tunnels are in traffic, and others are being opened.

nothingIsLeft();

/** How often a worker is terminated. */
const rounds = Number(process.env.PROOF_ROUNDS ?? 6);

const seed = Number(process.env.PROOF_SEED ?? Date.now() % 1_000_000);

const plans: readonly Plan[] = [
	{client: chatting, upstream: chatting},
	{client: pushing, upstream: pushing},
	{client: silent, upstream: pushing},
	{client: pushing, upstream: silent},
	{client: silent, upstream: silent},
];

type Exit = {
	readonly options?: Partial<ProgramOptions>;

	/** Makes it exit, unless opening another tunnel does. */
	readonly order?: (proxy: StartedProxy) => void;
	readonly code: number;
	readonly stderr: RegExp;
};

const exits: Readonly<Record<string, Exit>> = {
	'process.exit()': {
		code: 7, stderr: /^$/u, order(proxy) {
			proxy.command({type: 'exit', code: 7});
		},
	},
	'an uncaught exception': {
		code: 1, stderr: /Error: thrown by order/u, order(proxy) {
			proxy.command({type: 'throw'});
		},
	},
	'process.exit() in a listener of `close`': {options: {exitIn: 'close'}, code: 9, stderr: /^$/u},
};

for (const [name, {options, order, code, stderr}] of Object.entries(exits)) {
	onEachEngine(`${name} with live tunnels, and others on their way, exits as ever, and leaves a right beginning and an end at each end`, async (t, engine) => {
		sayIfBlind(t);
		const [clients, upstreams] = await Promise.all([startClients(t), startUpstreams(t)]);
		const started = startProxyProcess(t, {
			engine, capacity: 64, target: `http://127.0.0.1:${upstreams.port}`, ...options,
		});
		const {port} = await started.message('ready');
		const proxy = {...started, port, pid: started.child.pid!};
		const strung = await string(clients, proxy, upstreams.port, {engine, plans});
		const objects = kernelObjects(proxy.pid);
		const opening = ask(clients, port, upstreams.port, plans);
		if (order) {
			order(proxy);
		} else {
			clients.order({type: 'end', ids: [strung[0]!.id]});
		}

		const exit = await within('the process exits', proxy.exit);
		t.like(exit, {code, signal: undefined});
		t.regex(exit.stderr, stderr);
		await allSeeTheEnd(t, clients, upstreams, (order ? strung : strung.slice(1)).map(({id}) => id), cut(engine));
		await allSeeTheEnd(t, clients, upstreams, [strung[0]!.id, ...opening]);
		await objectsAreGone(objects);
		await Promise.all([clients.stop(), upstreams.stop()]);
		await socketsAreGone(port, upstreams.port);
	});
}

onEachEngine('a worker that is terminated at any moment, in traffic and while tunnels are promoted, takes everything with it', async (t, engine) => {
	t.timeout(60_000 + (rounds * 20_000));
	sayIfBlind(t);
	t.log(`PROOF_SEED=${seed}`);
	const random = seeded(seed);
	const before = await baseline();
	const [clients, upstreams] = await Promise.all([startClients(t), startUpstreams(t)]);
	const inBetween: string[] = [];
	for (let round = 0; round < rounds; round++) {
		/* eslint-disable no-await-in-loop */
		const {worker, ...started} = startProxyWorker(t, {engine, capacity: 64, target: `http://127.0.0.1:${upstreams.port}`});
		const {port} = await started.message('ready');
		const proxy = {...started, port};
		const strung = round % 2 === 0 ? await string(clients, proxy, upstreams.port, {engine, plans}) : [];
		const objects = kernelObjects(process.pid);
		const opening = ask(clients, port, upstreams.port, [...plans, ...plans]);
		await wait(random() * 200);
		inBetween.push(...opening.filter(id => clients.report(id) !== undefined).map(String));
		await within('the worker is terminated', worker.terminate());
		await allSeeTheEnd(t, clients, upstreams, strung.map(({id}) => id), cut(engine));
		await allSeeTheEnd(t, clients, upstreams, opening);
		await objectsAreGone(objects);
		await until('its thread has ended', () => relayThreads(process.pid) === 0);
		await socketsAreGone(port);
		/* eslint-enable no-await-in-loop */
	}

	t.log(`${engine}: of ${rounds * 10} tunnels that were asked for just before, ${inBetween.length} were open`);
	await Promise.all([clients.stop(), upstreams.stop()]);
	await socketsAreGone(upstreams.port);
	await released(before);
});

/** Each that was open is closed now, and what came was right. Those that were not even opened have nothing to tell. */
// eslint-disable-next-line max-params
async function allSeeTheEnd(t: ExecutionContext, clients: Peers, upstreams: Peers, ids: readonly number[], how = anyEnd): Promise<void> {
	for (const id of ids) {
		/* eslint-disable no-await-in-loop */
		await clients.answered(id);
		for (const peers of [clients, upstreams]) {
			if (peers.report(id) !== undefined) {
				const {problem, endings} = await closedAt(peers, id, 30_000);
				t.is(problem, undefined);
				t.regex(endings[0]!, how, `tunnel ${id}`);
			}
		}
		/* eslint-enable no-await-in-loop */
	}
}

