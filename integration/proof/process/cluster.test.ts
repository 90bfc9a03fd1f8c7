import {fork} from 'node:child_process';
import {once} from 'node:events';
import net, {type AddressInfo} from 'node:net';
import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import type {ExecutionContext} from 'ava';
import {onEachEngine, onEngines, type Carrier} from '../../engines.ts';
import {holdings} from '../../holdings.ts';
import {nothingIsLeft, released} from '../../leaks.ts';
import {pinMaps} from '../../pinned.ts';
import {startProxyProcess} from '../../proxy-process.ts';
import {seeded} from '../../random.ts';
import {until, within} from '../../until.ts';
import {echo, startUpstream} from '../../upstream.ts';
import {
	dial, ending, readText, readTextToEnd,
} from '../../wire.ts';
import type {ClusterMessage} from './cluster-program.ts';
import {startClients, startUpstreams, type Peers} from './peers.ts';
import {
	kernelObjects, mapsAreEmpty, objectsAreGone, sayIfBlind, socketsAreGone, type KernelObjects,
} from './remains.ts';
import {
	ask, chatting, closedAt, cut, endExactly, pushing, silent, type Plan, type Strung,
} from './scene.ts';

nothingIsLeft();

/** How many workers of the cluster are killed. */
const rounds = Number(process.env.PROOF_ROUNDS ?? 4);

const seed = Number(process.env.PROOF_SEED ?? Date.now() % 1_000_000);

const plans: readonly Plan[] = [
	{client: chatting, upstream: chatting},
	{client: silent, upstream: silent},
	{client: pushing, upstream: pushing},
	{client: chatting, upstream: silent},
];

onEngines(['splice', 'sockmap'], 'of a cluster with maps of their own, a worker that is killed takes its own tunnels with it, and is replaced', killsWorkers, false);

onEngines(['sockmap'], 'of a cluster with shared maps, a worker that is killed takes its own tunnels with it, and is replaced by one that reclaims its slot', killsWorkers, true);

async function killsWorkers(t: ExecutionContext, engine: Carrier, pinned: boolean): Promise<void> {
	t.timeout(60_000 + (rounds * 20_000));
	sayIfBlind(t);
	t.log(`PROOF_SEED=${seed}`);
	const random = seeded(seed);
	const [clients, upstreams] = await Promise.all([startClients(t), startUpstreams(t)]);
	// Two slots for two workers: who comes third must get that of the dead one, and room in it for twice what a round opens.
	const pins = pinned ? await pinMaps(t, {slots: 2, tunnels: 32}) : undefined;
	const cluster = await startCluster(t, {
		engine, capacity: 64, target: `http://127.0.0.1:${upstreams.port}`, ...(pins !== undefined && {pinPath: pins}),
	});
	let open: Placed[] = [];
	let closed = 0;
	const objects: KernelObjects[] = [];
	for (let round = 0; round < rounds; round++) {
		/* eslint-disable no-await-in-loop */
		open.push(...await cluster.string(clients, upstreams.port, engine, [...plans, ...plans]));
		const pids = cluster.pids();
		t.is(pids.length, 2);
		for (const pid of pids) {
			t.true(open.some(tunnel => tunnel.pid === pid), 'both have tunnels');
		}

		objects.push(...pids.map(pid => kernelObjects(pid)));
		const victim = pids[round % 2]!;
		// No more are asked for meanwhile: what the primary of Node's cluster has handed to one that dies, nobody ever answers or closes.
		await wait(random() * 50);
		process.kill(victim, 'SIGKILL');
		const [dead, alive] = [open.filter(({pid}) => pid === victim), open.filter(({pid}) => pid !== victim)];
		for (const {id} of dead) {
			for (const peers of [clients, upstreams]) {
				const {problem, endings} = await closedAt(peers, id, 30_000);
				t.is(problem, undefined);
				t.regex(endings[0]!, cut(engine), `tunnel ${id}`);
			}
		}

		await until('the dead one is replaced', () => cluster.pids().length === 2 && !cluster.pids().includes(victim));
		closed += dead.length;
		open = alive;
		// The rest goes on, and half of it is ended to make room.
		const ended = open.splice(0, Math.floor(open.length / 2));
		await endExactly(t, clients, upstreams, ended);
		closed += ended.length;
		/* eslint-enable no-await-in-loop */
	}

	open.push(...await cluster.string(clients, upstreams.port, engine, plans));
	await endExactly(t, clients, upstreams, open);
	t.log(`${engine}: ${rounds} workers killed, ${closed + open.length} tunnels`);
	if (pinned) {
		await mapsAreEmpty(objects[0]!);
	}

	await cluster.end();
	await Promise.all([clients.stop(), upstreams.stop()]);
	if (pinned) {
		await mapsAreEmpty(objects[0]!);
	} else {
		for (const each of objects) {
			await objectsAreGone(each); // eslint-disable-line no-await-in-loop
		}
	}

	await socketsAreGone(cluster.port(), upstreams.port);
}

onEachEngine('sockets that a process hands to its fork are carried there, and go with it', async (t, engine) => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const server = net.createServer({pauseOnConnect: true, allowHalfOpen: true});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	t.teardown(() => {
		server.close();
	});
	const {port} = server.address() as AddressInfo;
	const {child, message, exit} = startProxyProcess(t, {program: new URL('handed-program.ts', import.meta.url), engine, target: String(upstream.port)});
	const before = holdings();
	const hand = async (text: string) => {
		const [client, [accepted]] = await Promise.all([dial(t, port), once(server, 'connection') as Promise<[net.Socket]>]);
		child.send('carry it', accepted);
		client.write(text);
		t.is(await readText(client, text.length), text);
		const decided = await message('decided', ({clientPort}) => clientPort === client.localPort);
		t.is(decided.engine, engine);
		return client;
	};

	const [first, second, third] = [await hand('one'), await hand('two'), await hand('three')];
	first.end('last words');
	t.is(await readTextToEnd(first), 'last words');
	const objects = kernelObjects(child.pid!);
	child.kill('SIGKILL');
	t.like(await within('the fork is gone', exit), {signal: 'SIGKILL', stderr: ''});
	t.regex(await within('the second sees it', ending(second)), cut(engine));
	t.regex(await within('the third sees it', ending(third)), cut(engine));
	for (const socket of [second, third]) {
		socket.destroy();
	}

	// Nothing of them has stayed with the one that has accepted them.
	await released(before);
	await objectsAreGone(objects);
});

/** A tunnel, and the worker that has it. */
type Placed = Strung & {readonly pid: number};

async function startCluster(t: ExecutionContext, options: Readonly<Record<string, unknown>>) {
	const child = fork(fileURLToPath(new URL('cluster-program.ts', import.meta.url)), [JSON.stringify(options)], {execArgv: ['--import=tsx'], stdio: ['ignore', 'inherit', 'inherit', 'ipc']});
	const gone = once(child, 'exit');
	const pids = new Set<number>();
	const decided = new Map<number, {readonly pid: number; readonly id: number; readonly engine: string; readonly skipped: unknown}>();
	let port = 0;
	t.teardown(async () => {
		for (const pid of pids) {
			end(pid);
		}

		child.kill('SIGKILL');
		await gone;
	});
	child.on('message', (said: ClusterMessage) => {
		if (said.type === 'worker') {
			pids.add(said.pid);
			port = said.port;
		} else if (said.message.type === 'decided') {
			const {message, pid} = said;
			decided.set(message.clientPort, {...message, pid});
		}
	});
	const living = () => [...pids].filter(pid => isAlive(pid));
	await until('both workers are ready', () => living().length === 2);

	return {
		port: () => port,
		pids: living,
		async string(clients: Peers, upstreamPort: number, engine: Carrier, plans: readonly Plan[]): Promise<Placed[]> {
			decided.clear();
			const ids = ask(clients, port, upstreamPort, plans);
			return Promise.all(ids.map(async (id, index) => {
				const clientPort = await clients.opened(id);
				await until('it is decided', () => decided.has(clientPort));
				const {pid, id: tunnel, engine: actual, skipped} = decided.get(clientPort)!;
				t.is(actual, engine, JSON.stringify(skipped));
				return {...plans[index]!, id, tunnel, pid};
			}));
		},
		async end() {
			child.send('end');
			const [code] = await within('the cluster ends', gone) as [number];
			t.is(code, 0);
			t.deepEqual(living(), []);
		},
	};
}

function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch {
		return false;
	}
}

function end(pid: number): void {
	if (isAlive(pid)) {
		process.kill(pid, 'SIGKILL');
	}
}
