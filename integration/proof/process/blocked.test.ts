import {once} from 'node:events';
import {get, type IncomingMessage} from 'node:http';
import process from 'node:process';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import {onEnginesAtOnce} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {within} from '../../until.ts';
import {startClients, startUpstreams, type Peers} from './peers.ts';
import {
	chatting, closedAt, endExactly, letGo, pushing, silent, startProxy, string, type Plan, type StartedProxy, type Strung,
} from './scene.ts';

nothingIsLeft();

/** How long the event loop is blocked. */
const seconds = Number(process.env.PROOF_BLOCKED ?? 30);

const chats: Plan = {client: chatting, upstream: chatting};
const staying: readonly Plan[] = [{client: pushing, upstream: pushing}, {client: pushing, upstream: silent}, {client: silent, upstream: pushing}, chats, chats];

/** Three to be ended, and three to be reset. */
const leaving: readonly Plan[] = [chats, {client: pushing, upstream: chatting}, chats, chats, {client: chatting, upstream: pushing}, chats];

// There is no row for stream: when JavaScript is blocked, so is a pipe of Node.
onEnginesAtOnce(['splice', 'sockmap'], `while the event loop of the proxy is blocked for ${seconds} s under load, tunnels go on at full rate, half-close and reset`, async (t, engine) => {
	t.timeout(60_000 + (seconds * 2000));
	const [clients, upstreams] = await Promise.all([startClients(t), startUpstreams(t)]);
	const proxy = await startProxy(t, engine, upstreams.port);
	const strung = await string(clients, proxy, upstreams.port, {engine, plans: [...staying, ...leaving]});
	const [stayers, leavers] = [strung.slice(0, staying.length), strung.slice(staying.length)];
	const came = () => stayers.map(tunnel => cameTo(clients, upstreams, tunnel));
	const total = () => came().reduce((sum, bytes) => sum + bytes, 0);

	await wait(1000);
	const atFirst = total();
	await wait(3000);
	const rateBefore = (total() - atFirst) / 3;

	const {unblocked} = await block(t, proxy, seconds * 1000);
	let isBlocked = true;
	const over = (async () => {
		await unblocked;
		isBlocked = false;
	})();
	const start = total();
	let from = Date.now();
	const begin = from;
	let before = came();
	let slowest = Number.POSITIVE_INFINITY;
	const left: Strung[] = [];
	while (Date.now() < begin + (seconds * 1000) - 4000) {
		/* eslint-disable no-await-in-loop */
		await wait(2000);
		const now = came();
		const took = (Date.now() - from) / 1000;
		slowest = Math.min(slowest, (now.reduce((sum, bytes) => sum + bytes, 0) - before.reduce((sum, bytes) => sum + bytes, 0)) / took);
		const then = before;
		t.true(now.every((bytes, index) => bytes > then[index]!), `every tunnel goes on: ${then.join(', ')} → ${now.join(', ')}`);
		[from, before] = [Date.now(), now];
		const leaver = leavers[left.length];
		if (leaver !== undefined) {
			left.push(leaver);
			await (left.length % 2 === 0 ? resets(t, clients, upstreams, leaver) : halfCloses(t, clients, upstreams, leaver));
		}
		/* eslint-enable no-await-in-loop */
	}

	t.true(isBlocked, 'all of this was while it was blocked');
	const rate = (total() - start) / ((Date.now() - begin) / 1000);
	await over;
	t.is(left.length, Math.min(leavers.length, Math.floor((seconds - 4) / 2)));
	const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB/s`;
	t.log(`${engine}: ${megabytes(rateBefore)} before, ${megabytes(rate)} while it was blocked (${megabytes(slowest)} in the slowest two seconds)`);
	// A machine has other things to do. But it does not do so for half a minute.
	t.true(rate > rateBefore / 3, `${megabytes(rateBefore)} before, ${megabytes(rate)} blocked`);

	// JavaScript hears of it all afterwards.
	for (const [index, {tunnel}] of left.entries()) {
		const {stats} = await proxy.message('close', ({id}) => id === tunnel); // eslint-disable-line no-await-in-loop
		t.like(stats, {engine, by: 'client', reason: index % 2 === 0 ? 'end' : 'reset'});
	}

	await endExactly(t, clients, upstreams, [...stayers, ...leavers.slice(left.length)]);
	await letGo(t, proxy);
});

async function halfCloses(t: ExecutionContext, clients: Peers, upstreams: Peers, {id}: Strung): Promise<void> {
	clients.order({type: 'end', ids: [id]});
	const [client, upstream] = await Promise.all([closedAt(clients, id), closedAt(upstreams, id)]);
	t.deepEqual([client.endings, upstream.endings], [['FIN'], ['FIN']]);
	t.deepEqual([client.received, upstream.received], [upstream.sent, client.sent]);
	t.deepEqual([client.problem, upstream.problem], [undefined, undefined]);
}

async function resets(t: ExecutionContext, clients: Peers, upstreams: Peers, {id}: Strung): Promise<void> {
	clients.order({type: 'reset', ids: [id]});
	const {endings, problem} = await closedAt(upstreams, id);
	t.regex(endings[0]!, /^(?:ECONNRESET|EPIPE)$/u);
	t.is(problem, undefined);
}

/** Resolves when the event loop is about to block. */
async function block(t: ExecutionContext, {port}: StartedProxy, ms: number): Promise<{readonly unblocked: Promise<unknown>}> {
	const request = get({
		host: '127.0.0.1', port, path: `/block?ms=${ms}`, agent: false,
	});
	const [response] = await once(request, 'response') as [IncomingMessage];
	const [chunk] = await once(response, 'data') as [Uint8Array];
	t.is(new TextDecoder().decode(chunk), 'blocking\n');
	return {unblocked: within('the event loop goes on', once(response, 'data'), ms * 2)};
}

function cameTo(clients: Peers, upstreams: Peers, {id}: Strung): number {
	return (clients.report(id)?.received ?? 0) + (upstreams.report(id)?.received ?? 0);
}
