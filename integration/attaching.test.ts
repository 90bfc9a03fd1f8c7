import {once} from 'node:events';
import net, {type AddressInfo} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import httpProxy from 'http-proxy';
import {sockmap, type Tunnel} from '../plugin/index.ts';
import {startEnds, upgradeRequest, type Ends} from './ends.ts';
import {onEachEngine} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxyProcess} from './proxy-process.ts';
import {startProxy} from './proxy.ts';
import {until, within} from './until.ts';
import {echo, startUpstream, switchingProtocols} from './upstream.ts';
import {
	dial, ending, readHead, readText,
} from './wire.ts';

nothingIsLeft();

test.serial('attached twice is attached once, whatever the options of the second time', t => {
	const proxy = httpProxy.createProxyServer();
	const tunnels = sockmap(proxy, {engine: 'stream'});
	const counts = listenerCounts(proxy);
	t.is(sockmap(proxy), tunnels);
	t.is(sockmap(proxy, {engine: 'splice'}), tunnels);
	t.deepEqual(listenerCounts(proxy), counts);
	t.not(sockmap(httpProxy.createProxyServer()), tunnels);
});

onEachEngine('of a proxy that is attached to twice, each upgrade is one tunnel', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	t.is(sockmap(running.proxy, {engine}), running.tunnels);
	const seen: Tunnel[] = [];
	running.tunnels.on('tunnel', tunnel => {
		seen.push(tunnel);
	});
	const ends = await open('upgrade');
	await talks(t, ends);
	t.deepEqual(seen, [ends.tunnel]);
	t.like(running.tunnels.stats(), {open: 1, opened: 1});
});

test.serial('the plugin does not listen to the errors of a proxy, and so hides none of them', t => {
	const proxy = httpProxy.createProxyServer();
	const before = proxy.listenerCount('error');
	const tunnels = sockmap(proxy, {engine: 'stream', handshakeTimeout: 1000});
	t.is(proxy.listenerCount('error'), before);
	tunnels.detach();
	t.deepEqual(listenerCounts(proxy), listenerCounts(httpProxy.createProxyServer()));
});

onEachEngine('an upstream that refuses is one error of the proxy, with the plugin as without', async (t, engine) => {
	const nobody = await portOfNobody();
	const running = await startProxy(t, {engine, target: `http://127.0.0.1:${nobody}`, handshakeTimeout: 5000});
	const errors: Array<string | undefined> = [];
	running.proxy.on('error', ({code}: NodeJS.ErrnoException) => {
		errors.push(code);
	});
	const client = await dial(t, running.port);
	client.write(upgradeRequest());
	await within('the client is let go', ending(client));
	t.deepEqual(errors, ['ECONNREFUSED']);
	t.like(running.tunnels.stats(), {opened: 0});
});

onEachEngine('an upstream that resets its tunnel is an error of the proxy, where somebody listens to the errors of sockets', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const {client, upstream, tunnel} = await open('upgrade', {inKernel: true});
	const failed = once(tunnel.upstream, 'error') as Promise<[NodeJS.ErrnoException]>;
	upstream.resetAndDestroy();
	const [{code, syscall}] = await within('the socket says so', failed);
	t.deepEqual([code, syscall], ['ECONNRESET', 'read']);
	t.is(await ending(client), 'ECONNRESET');
	await running.closeOf(tunnel);
});

onEachEngine('proxy.close() stops the listening and leaves the tunnels alone', async (t, engine) => {
	const target = await startUpstream(t, {onConnection: echo, switching: switchingProtocols});
	const proxy = httpProxy.createProxyServer({target: `http://127.0.0.1:${target.port}`, ws: true});
	const tunnels = sockmap(proxy, {engine});
	proxy.listen(0, '127.0.0.1');
	const server = (proxy as unknown as {readonly _server: net.Server})._server;
	await once(server, 'listening');
	const {port} = server.address() as AddressInfo;
	const client = await dial(t, port);
	client.write(upgradeRequest());
	const decided = Promise.race([eventOf(tunnels, 'promoted'), eventOf(tunnels, 'kept')]);
	await readHead(client);
	const tunnel = await within('it is promoted or kept', decided);
	t.is(tunnel.engine, engine);

	const serverClosed = once(server, 'close');
	proxy.close();
	const late = net.connect({port, host: '127.0.0.1'});
	const [{code}] = await once(late, 'error') as [NodeJS.ErrnoException];
	t.is(code, 'ECONNREFUSED');
	client.write('still here');
	t.is(await readText(client, 10), 'still here');
	t.is(tunnels.stats().open, 1);

	const closed = eventOf(tunnels, 'close');
	client.end();
	t.is(await ending(client), 'FIN');
	t.is(await within('the tunnel is closed', closed), tunnel);
	await within('the server is closed', serverClosed);
	await tunnels.close();
});

onEachEngine('detach() lets the tunnels live on, leaves new ones to the proxy alone, and can be attached anew', async (t, engine) => {
	const {running, open} = await startEnds(t, engine);
	const {proxy, tunnels} = running;
	const ends = [await open('upgrade', {inKernel: true}), await open('connect', {inKernel: true})];
	const [upgrade] = ends;
	const untouched = listenerCounts(httpProxy.createProxyServer()).length;
	tunnels.detach();
	tunnels.detach();
	t.is(proxy.listenerCount('open') + proxy.listenerCount('proxyReqWs'), 0);
	t.true(listenerCounts(proxy).length >= untouched);
	for (const one of ends) {
		await talks(t, one); // eslint-disable-line no-await-in-loop
		t.is(one.tunnel.engine, engine);
	}

	// Plain http-proxy, which does not close everything by itself.
	const accepted = once(running.server, 'upgrade');
	const client = await dial(t, running.port);
	client.write(upgradeRequest());
	const [, plain] = await accepted as [unknown, net.Socket];
	t.regex(await readHead(client), /^HTTP\/1\.1 101 /u);
	t.like(tunnels.stats(), {open: 2, opened: 2});
	plain.destroy();

	const others = sockmap(proxy, {engine});
	t.not(others, tunnels);
	t.is(sockmap(proxy), others);
	const opened = Promise.race([eventOf(others, 'promoted'), eventOf(others, 'kept')]);
	const again = await dial(t, running.port);
	again.write(upgradeRequest());
	await readHead(again);
	const other = await within('the others have it', opened);
	t.is(other.engine, engine);
	t.like(tunnels.stats(), {open: 2, opened: 2});
	t.like(others.stats(), {open: 1, opened: 1});

	// Both end their own.
	upgrade!.client.end();
	t.is(await ending(upgrade!.upstream), 'FIN');
	upgrade!.upstream.end();
	t.like(await running.closeOf(upgrade!.tunnel), {reason: 'end', engine});
	t.like(others.stats(), {open: 1});
	again.resetAndDestroy();
	await until('the other one is closed', () => others.stats().open === 0);
	await others.close();
});

onEachEngine('an upgrade that is under way at detach() is left to the proxy, and works', async (t, engine) => {
	const target = await startUpstream(t);
	const running = await startProxy(t, {engine, target: `http://127.0.0.1:${target.port}`});
	const client = await dial(t, running.port);
	const accepted = once(running.server, 'upgrade');
	client.write(upgradeRequest());
	const [, plain] = await accepted as [unknown, net.Socket];
	const upstream = await target.next();
	await readHead(upstream);
	running.tunnels.detach();
	upstream.write(switchingProtocols);
	t.regex(await readHead(client), /^HTTP\/1\.1 101 /u);
	client.write('hello');
	t.is(await readText(upstream, 5), 'hello');
	t.is(running.proxy.listenerCount('open'), 0);
	t.is(running.tunnels.stats().opened, 0);
	plain.destroy();
});

onEachEngine('what listeners throw is an uncaught exception each, and stops no tunnel', async (t, engine) => {
	const target = await startUpstream(t, {onConnection: echo, switching: switchingProtocols});
	const events = ['tunnel', 'promoted', 'kept', 'close', 'activity'] as const;
	const proxy = startProxyProcess(t, {engine, target: `http://127.0.0.1:${target.port}`, maxTunnels: 1, activityInterval: 20, throwIn: events});
	const {port} = await proxy.message('ready');
	const open = async () => {
		const client = await dial(t, port);
		client.write(upgradeRequest());
		await readHead(client);
		const {engine: actual, id} = await proxy.message('decided', ({clientPort}) => clientPort === client.localPort);
		return {client, actual, id};
	};

	const talk = async ({client}: {readonly client: net.Socket}) => {
		client.write('going on');
		t.is(await within('it is echoed', readText(client, 8)), 'going on');
	};

	// The second one is one too many, and stays in JavaScript.
	const [first, second] = [await open(), await open()];
	t.deepEqual([first.actual, second.actual], [engine, 'stream']);
	for (const name of events.filter(name => name !== 'close' && (name !== 'promoted' || engine !== 'stream'))) {
		await talk(first); // eslint-disable-line no-await-in-loop
		await talk(second); // eslint-disable-line no-await-in-loop
		await proxy.message('uncaught', ({text}) => text === `thrown in ${name}`); // eslint-disable-line no-await-in-loop
	}

	first.client.end();
	t.is(await within('the first one ends', ending(first.client)), 'FIN');
	const {stats} = await proxy.message('close', ({id}) => id === first.id);
	t.like(stats, {engine, reason: 'end', by: 'client'});
	await proxy.message('uncaught', ({text}) => text === 'thrown in close');
	await talk(second);
	const third = await open();
	await talk(third);
	for (const {client, id} of [second, third]) {
		client.end();
		t.is(await within('it ends', ending(client)), 'FIN'); // eslint-disable-line no-await-in-loop
		const {stats} = await proxy.message('close', message => message.id === id); // eslint-disable-line no-await-in-loop
		t.like(stats, {reason: 'end', by: 'client'});
	}

	const totals = await proxy.stats();
	t.like(totals.stats, {open: 0, opened: 3, closed: 3});
	proxy.command({type: 'let go'});
	t.deepEqual(await within('the process exits', proxy.exit), {code: 0, signal: undefined, stderr: ''});
});

async function talks(t: ExecutionContext, {client, upstream}: Ends): Promise<void> {
	client.write('question');
	t.is(await within('the question arrives', readText(upstream, 8)), 'question');
	upstream.write('answer');
	t.is(await within('the answer arrives', readText(client, 6)), 'answer');
}

async function eventOf(tunnels: ReturnType<typeof sockmap>, name: 'promoted' | 'kept' | 'close'): Promise<Tunnel> {
	return new Promise(resolve => {
		tunnels.once(name, (...[tunnel]: readonly [Tunnel, unknown?]) => {
			resolve(tunnel);
		});
	});
}

function listenerCounts(proxy: httpProxy): ReadonlyArray<readonly [string, number]> {
	return proxy.eventNames().map(name => [String(name), proxy.listenerCount(name as string)] as const).toSorted(([one], [other]) => one.localeCompare(other));
}

async function portOfNobody(): Promise<number> {
	const server = net.createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const {port} = server.address() as AddressInfo;
	server.close();
	await once(server, 'close');
	return port;
}
