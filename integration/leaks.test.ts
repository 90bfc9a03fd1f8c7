import {once} from 'node:events';
import type net from 'node:net';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import httpProxy from 'http-proxy';
import {
	connectRequest, kinds, startEnds, upgradeRequest,
} from './ends.ts';
import {onEachEngine, type Carrier} from './engines.ts';
import {baseline, nothingIsLeft, released} from './leaks.ts';
import {pattern, same} from './pattern.ts';
import {startProxyProcess, startProxyWorker, type ProxyElsewhere} from './proxy-process.ts';
import {until, within} from './until.ts';
import {echo, startUpstream, switchingProtocols} from './upstream.ts';
import {
	dial, ending, ignore, read, readHead, readText, readTextToEnd,
} from './wire.ts';

nothingIsLeft();

onEachEngine('1,000 tunnels, 100 at once, leave no descriptor, no map entry, no listener and nothing open', async (t, engine) => {
	t.timeout(90_000);
	const before = await baseline();
	// The maps have no room for an entry that is not taken out again.
	const {running, open} = await startEnds(t, engine, {capacity: 100});
	const listeners = listenerCounts(running.proxy);
	let opened = 0;

	const openAndClose = async () => {
		while (opened < 1000) {
			const number = opened++;
			/* eslint-disable no-await-in-loop */
			const ends = await open(kinds[number % 2]!);
			const [first, second] = number % 3 === 0 ? [ends.client, ends.upstream] as const : [ends.upstream, ends.client] as const;
			first.write(pattern(number, 0, 3000));
			t.true(same(await read(second, 3000), pattern(number, 0, 3000)));
			if (number % 5 === 0) {
				first.resetAndDestroy();
				t.is(await ending(second), 'ECONNRESET');
			} else {
				first.end();
				t.is(await readTextToEnd(second), '');
				second.end();
				t.is(await readTextToEnd(first), '');
			}

			await running.closeOf(ends.tunnel);
			/* eslint-enable no-await-in-loop */
		}
	};

	await Promise.all(Array.from({length: 100}, openAndClose));
	t.like(running.tunnels.stats(), {
		open: 0, opened: 1000, closed: 1000, byEngine: {stream: 0, splice: 0, sockmap: 0},
	});
	t.deepEqual(listenerCounts(running.proxy), listeners);
	await running.stop();
	const untouched = httpProxy.createProxyServer();
	untouched.on('error', ignore); // As startProxy() does.
	t.deepEqual(listenerCounts(running.proxy), listenerCounts(untouched));
	// The upstreams still listen: two sockets of ours.
	await released(new Map([...before, ['socket', [...before.get('socket') ?? [], 'one', 'two']]]));
});

onEachEngine('the process of a proxy exits by itself after its server and its clients are gone', async (t, engine) => {
	const {proxy, client, id} = await startProxyWithTunnel(t, engine);
	client.end();
	t.is(await readTextToEnd(client), '');
	t.like(await proxy.message('close', message => message.id === id), {stats: {engine}});
	proxy.command({type: 'let go'});
	t.deepEqual(await within('the process exits', proxy.exit), cleanExit);
});

onEachEngine('a live tunnel keeps the process alive, and its end lets it exit', async (t, engine) => {
	const {proxy, client} = await startProxyWithTunnel(t, engine);
	proxy.command({type: 'let go'});
	await once(proxy.child, 'disconnect');
	// Long after a process with nothing to wait for would be gone.
	for (let turn = 0; turn < 50; turn++) {
		client.write('still here');
		t.is(await readText(client, 10), 'still here'); // eslint-disable-line no-await-in-loop
		await wait(10); // eslint-disable-line no-await-in-loop
	}

	t.is(proxy.child.exitCode, null);
	client.end();
	t.is(await readTextToEnd(client), '');
	t.deepEqual(await within('the process exits', proxy.exit), cleanExit);
});

onEachEngine('a live tunnel that is unref\'ed does not keep the process alive', async (t, engine) => {
	const {proxy} = await startProxyWithTunnel(t, engine);
	proxy.command({type: 'unref'});
	proxy.command({type: 'let go'});
	t.deepEqual(await within('the process exits', proxy.exit), cleanExit);
});

onEachEngine('process.exit() with live tunnels in full traffic exits with its code, and the ends hear of it', async (t, engine) => {
	const {proxy, client, stream} = await startProxyWithTunnel(t, engine);
	const ended = stream(client);
	proxy.command({type: 'exit', code: 7});
	t.deepEqual(await within('the process exits', proxy.exit), {code: 7, signal: undefined, stderr: ''});
	t.regex(await within('the client hears of it', ended), /^(?:FIN|ECONNRESET|EPIPE)$/u);
});

onEachEngine('a worker thread that is terminated with live tunnels in full traffic takes everything with it', async (t, engine) => {
	const before = await baseline();
	const upstream = await startUpstream(t, {onConnection: echo, switching: switchingProtocols});
	const bare = await startUpstream(t, {onConnection: echo});
	const proxy = startProxyWorker(t, {engine, target: `http://127.0.0.1:${upstream.port}`});
	const {port} = await proxy.message('ready');
	const clients = await Promise.all([
		openThrough(t, proxy, port, upgradeRequest()), openThrough(t, proxy, port, connectRequest(bare.port)), openThrough(t, proxy, port, upgradeRequest()),
	]);
	t.deepEqual(clients.map(client => client.engine), [engine, engine, engine]);
	const ended = clients.map(async ({client}) => keepEchoing(client));
	await within('the worker is terminated', proxy.worker.terminate());
	for (const how of await within('the clients hear of it', Promise.all(ended))) {
		t.regex(how, /^(?:FIN|ECONNRESET|EPIPE)$/u);
	}

	await until('the upstreams hear of it', () => upstream.open() + bare.open() === 0);
	await released(new Map([...before, ['socket', [...before.get('socket') ?? [], 'one', 'two']]]));
});

/** A proxy in its own process with one live tunnel to an echo in this one. */
async function startProxyWithTunnel(t: ExecutionContext, engine: Carrier) {
	const upstream = await startUpstream(t, {onConnection: echo, switching: switchingProtocols});
	const proxy = startProxyProcess(t, {engine, target: `http://127.0.0.1:${upstream.port}`});
	const {port} = await proxy.message('ready');
	const opened = await openThrough(t, proxy, port, upgradeRequest());
	t.is(opened.engine, engine);
	return {proxy, stream: keepEchoing, ...opened};
}

async function openThrough(t: ExecutionContext, proxy: ProxyElsewhere, port: number, request: string) {
	const client = await dial(t, port);
	client.write(request);
	await readHead(client);
	const {id, engine} = await proxy.message('decided', ({clientPort}) => clientPort === client.localPort);
	client.write('up and down');
	t.is(await readText(client, 11), 'up and down');
	return {client, id, engine};
}

/** Sends without rest, and reads what comes back. Resolves with how the connection ended. */
async function keepEchoing(client: net.Socket): Promise<string> {
	const push = () => {
		client.write(pattern(0, 0, 10_000), error => {
			if (!error) {
				push();
			}
		});
	};

	push();
	return ending(client);
}

function listenerCounts(proxy: httpProxy): ReadonlyArray<readonly [string, number]> {
	return proxy.eventNames().map(name => [String(name), proxy.listenerCount(name as string)] as const).toSorted(([one], [other]) => one.localeCompare(other));
}

const cleanExit = {code: 0, signal: undefined, stderr: ''};
