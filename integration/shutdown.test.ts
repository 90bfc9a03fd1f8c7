import {once} from 'node:events';
import type net from 'node:net';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import {
	connectRequest, startEnds, upgradeRequest, type Ends,
} from './ends.ts';
import {onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern} from './pattern.ts';
import {startProxyProcess, startProxyWorker, type ProxyElsewhere} from './proxy-process.ts';
import {within} from './until.ts';
import {echo, startUpstream, switchingProtocols} from './upstream.ts';
import {
	dial, ending, readHead, readText,
} from './wire.ts';

nothingIsLeft();

onEachEngine('tunnels.close({timeout}) gives those time that drain, and resets the others when it is over and not before', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const [quick, stuck, talking] = [await open('connect', {inKernel: true}), await open('connect', {inKernel: true}), await open('upgrade', {inKernel: true})];
	quick.client.write('last words');
	await readText(quick.upstream, 10);
	pushOn(stuck.client);
	await within('the reader is behind', drainedNoMore(stuck));
	const talk = chatter(talking.client);

	const timeout = 1000;
	const cutOff = once(stuck.client, 'error') as Promise<[NodeJS.ErrnoException]>;
	const from = performance.now();
	const closing = running.tunnels.close({timeout});
	const seen = Promise.all([ending(quick.client), ending(quick.upstream), ending(talking.client), ending(talking.upstream)]);
	t.deepEqual(await within('those that can drain see a FIN', seen), ['FIN', 'FIN', 'FIN', 'FIN']);
	t.true(performance.now() - from < timeout, 'they waited for the one that is stuck');
	for (const socket of [quick.client, quick.upstream, talking.client, talking.upstream]) {
		socket.end();
	}

	await within('close() resolves', closing);
	t.true(performance.now() - from >= timeout - 1, `the one that is stuck had ${performance.now() - from} ms`);
	const [{code}] = await within('its writer is reset', cutOff);
	t.regex(code!, /^(?:ECONNRESET|EPIPE)$/u);
	await talk;
	t.like(await running.closeOf(quick.tunnel), {reason: 'closed', by: 'proxy'});
	t.like(running.tunnels.stats(), {open: 0, closed: 3});
	await t.throwsAsync(async () => running.tunnels.splice(stuck.tunnel.client, stuck.tunnel.upstream), {code: 'ERR_SOCKMAP_CLOSED'});
});

onEachEngine('a second tunnels.close() with a timeout hastens the first one without', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const stuck = await open('connect', {inKernel: true});
	pushOn(stuck.client);
	await within('the reader is behind', drainedNoMore(stuck));
	const patient = running.tunnels.close();
	await within('both resolve', Promise.all([patient, running.tunnels.close({timeout: 100})]), 5000);
	t.is(running.tunnels.stats().open, 0);
});

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
	onEachEngine(`a proxy that is ended by ${signal} with live tunnels cuts them at both ends`, async (t, engine) => {
		const {proxy, ends} = await startTunnels(t, startProxyProcess, engine);
		proxy.child.kill(signal);
		t.like(await within('the process is gone', proxy.exit), {signal});
		await allSeeTheEnd(t, engine, ends);
	});
}

onEachEngine('a worker thread that exits by itself with live tunnels takes them with it, and nothing else', async (t, engine) => {
	const {proxy, ends} = await startTunnels(t, startProxyWorker, engine);
	const exited = once(proxy.worker, 'exit') as Promise<[number]>;
	proxy.command({type: 'exit', code: 3});
	const [code] = await within('the worker is gone', exited);
	t.is(code, 3);
	await allSeeTheEnd(t, engine, ends);

	// The addon goes on working for the others.
	const again = await startTunnels(t, startProxyWorker, engine);
	await again.proxy.worker.terminate();
	await allSeeTheEnd(t, engine, again.ends);
});

async function startTunnels<Proxy extends ProxyElsewhere>(t: ExecutionContext, start: (t: ExecutionContext, options: {readonly engine: Carrier; readonly target: string}) => Proxy, engine: Carrier) {
	const target = await startUpstream(t, {switching: switchingProtocols});
	const bare = await startUpstream(t, {onConnection: echo});
	const proxy = start(t, {engine, target: `http://127.0.0.1:${target.port}`});
	const {port} = await proxy.message('ready');
	const ends: Array<{readonly client: net.Socket; readonly upstream: net.Socket}> = [];
	for (const [request, upstream] of [[upgradeRequest(), target], [connectRequest(bare.port), bare]] as const) {
		/* eslint-disable no-await-in-loop */
		const client = await dial(t, port);
		client.write(request);
		await readHead(client);
		const {engine: actual} = await proxy.message('decided', ({clientPort}) => clientPort === client.localPort);
		t.is(actual, engine);
		ends.push({client, upstream: await upstream.next()});
		/* eslint-enable no-await-in-loop */
	}

	return {proxy, ends};
}

async function allSeeTheEnd(t: ExecutionContext, engine: Carrier, all: ReadonlyArray<{readonly client: net.Socket; readonly upstream: net.Socket}>): Promise<void> {
	for (const {client, upstream} of all) {
		for (const how of await within('both ends see the end', Promise.all([ending(client), gone(upstream)]))) { // eslint-disable-line no-await-in-loop
			// What was cut must not look complete. In Node's streams it ends as connections of Node do.
			t.is(how, engine === 'stream' ? 'FIN' : 'ECONNRESET');
		}
	}
}

/** For one that may be read by somebody else. */
async function gone(socket: net.Socket): Promise<string> {
	if (socket.readableFlowing) {
		while (!socket.readableEnded && !socket.destroyed) {
			await wait(5); // eslint-disable-line no-await-in-loop
		}

		return (socket.errored as NodeJS.ErrnoException)?.code ?? 'FIN';
	}

	return ending(socket);
}

function pushOn(socket: net.Socket): void {
	socket.write(pattern(0, 0, 65_536), error => {
		if (!error) {
			pushOn(socket);
		}
	});
}

/** Resolves when nothing has moved for a while, because nobody reads. */
async function drainedNoMore({tunnel}: Ends): Promise<void> {
	for (let before = -1; before !== tunnel.stats().clientToUpstream.bytes;) {
		before = tunnel.stats().clientToUpstream.bytes;
		await wait(200); // eslint-disable-line no-await-in-loop
	}
}

/** Talks until the other end has stopped listening. */
async function chatter(socket: net.Socket): Promise<void> {
	while (!socket.readableEnded && !socket.destroyed) {
		socket.write('blah');
		await wait(20); // eslint-disable-line no-await-in-loop
	}
}
