import {once} from 'node:events';
import type net from 'node:net';
import type {ExecutionContext} from 'ava';
import type {SockmapError, Tunnel} from '../plugin/index.ts';
import {
	connectRequest, kinds, startEnds, untilCounted, upgradeRequest, type Kind,
} from './ends.ts';
import {assertCarriedBy, onEngines, type Carrier} from './engines.ts';
import {descriptors} from './holdings.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxy, type RunningProxy} from './proxy.ts';
import {until, within} from './until.ts';
import {startUpstream, switchingProtocols} from './upstream.ts';
import {dial, readHead, readText, readToEnd} from './wire.ts';

nothingIsLeft();

type Detached = {
	readonly running: RunningProxy;
	readonly client: net.Socket;
	readonly upstream: net.Socket;
	readonly tunnel: Tunnel;

	/** What JavaScript held of the tunnel until it was promoted. */
	readonly sockets: readonly net.Socket[];
};

async function detached(t: ExecutionContext, engine: Carrier, kind: Kind): Promise<Detached> {
	const upstream = await startUpstream(t, kind === 'upgrade' ? {switching: switchingProtocols} : {});
	const running = await startProxy(t, {
		engine, detach: true, target: `http://127.0.0.1:${upstream.port}`, allow: [`127.0.0.1:${upstream.port}`],
	});
	const promoted = new Promise<Pick<Detached, 'tunnel' | 'sockets'>>(resolve => {
		running.tunnels.once('promoted', tunnel => {
			resolve({tunnel, sockets: [tunnel.client, tunnel.upstream]});
		});
	});
	const client = await dial(t, running.port);
	client.write(kind === 'upgrade' ? upgradeRequest() : connectRequest(upstream.port));
	await readHead(client);
	const {tunnel, sockets} = await within('the tunnel is promoted', promoted);
	t.is(tunnel.engine, engine);
	return {
		running, client, upstream: await upstream.next(), tunnel, sockets,
	};
}

async function everything(socket: net.Socket): Promise<string> {
	const bytes = await readToEnd(socket);
	return bytes.toString();
}

async function exchange(client: net.Socket, upstream: net.Socket, rounds = 20): Promise<void> {
	for (let round = 0; round < rounds; round++) {
		/* eslint-disable no-await-in-loop */
		client.write('ping');
		await readText(upstream, 4);
		upstream.write('pong!');
		await readText(client, 5);
		/* eslint-enable no-await-in-loop */
	}
}

for (const kind of kinds) {
	onEngines(['splice', 'sockmap'], `a detached ${kind} lives without sockets in JavaScript, and counts and ends as any other`, async (t, engine) => {
		const {running, client, upstream, tunnel, sockets} = await detached(t, engine, kind);
		t.true(tunnel.isDetached);
		t.deepEqual(sockets.map(({destroyed}) => destroyed), [true, true]);
		await within('both have closed', Promise.all(sockets.map(async socket => socket.closed || once(socket, 'close'))));
		const error = t.throws<SockmapError>(() => tunnel.client);
		t.is(error.code, 'ERR_SOCKMAP_DETACHED');
		t.throws(() => tunnel.upstream, {message: /option `detach`/});
		t.is(tunnel.context, undefined);

		await within('bytes go both ways', exchange(client, upstream));
		await untilCounted(tunnel, 80, 100);
		t.is(tunnel.stats().clientToUpstream.bytes, 80);
		t.is(typeof tunnel.stats().client?.rtt, 'number');
		t.true(Date.now() - running.tunnels.lastActivity(tunnel).getTime() < 60_000);

		client.end('last words');
		t.is(await everything(upstream), 'last words');
		upstream.end('the other direction goes on');
		t.is(await everything(client), 'the other direction goes on');
		const stats = await running.closeOf(tunnel);
		t.is(stats.reason, 'end');
		t.is(stats.by, 'client');
		t.deepEqual([stats.clientToUpstream.bytes, stats.upstreamToClient.bytes], [90, 127]);
		assertCarriedBy(t, engine, stats);
	});

	onEngines(['splice', 'sockmap'], `a reset of one end of a detached ${kind} is a reset of the other`, async (t, engine) => {
		const {running, client, upstream, tunnel} = await detached(t, engine, kind);
		await exchange(client, upstream);
		const failed = once(upstream, 'error');
		client.resetAndDestroy();
		const [error] = await within('the upstream is reset', failed) as [NodeJS.ErrnoException];
		t.is(error.code, 'ECONNRESET');
		const stats = await running.closeOf(tunnel);
		t.deepEqual([stats.reason, stats.by], ['reset', 'client']);
	});
}

onEngines(['splice', 'sockmap'], 'a detached tunnel can be closed and reset by the proxy', async (t, engine) => {
	const first = await detached(t, engine, 'connect');
	const ends = Promise.all([readToEnd(first.client), readToEnd(first.upstream)]);
	const closed = first.tunnel.close();
	await within('both ends have the FIN', ends);
	first.client.end();
	first.upstream.end();
	await within('close() resolves', closed);
	await first.tunnel.close();
	const stats = await first.running.closeOf(first.tunnel);
	t.deepEqual([stats.reason, stats.by], ['closed', 'proxy']);

	const second = await detached(t, engine, 'upgrade');
	const errors = Promise.all([once(second.client, 'error'), once(second.upstream, 'error')]);
	second.tunnel.reset();
	await within('both ends are reset', errors);
	const {reason} = await second.running.closeOf(second.tunnel);
	t.is(reason, 'reset');
});

onEngines(['splice', 'sockmap'], 'server.close() does not wait for a detached tunnel, and tunnels.close() does', async (t, engine) => {
	const {running, client, upstream, tunnel} = await detached(t, engine, 'upgrade');
	const serverClosed = once(running.server, 'close');
	running.server.close();
	await within('the server has closed', serverClosed);
	await within('and the tunnel goes on', exchange(client, upstream));
	running.tunnels.unref().ref();

	const closed = running.tunnels.close();
	t.is(await everything(client), '');
	client.end();
	upstream.end();
	await within('tunnels.close() resolves', closed);
	const {reason} = await running.closeOf(tunnel);
	t.is(reason, 'closed');
});

onEngines(['splice', 'sockmap'], 'a promoted tunnel holds two descriptors, and its sockets know where they are connected to', async (t, engine) => {
	const sockets = () => descriptors().filter(([, link]) => link.startsWith('socket:')).length;

	const {open} = await startEnds(t, engine);
	const before = sockets();
	const {client, upstream, tunnel} = await open('connect');
	await until('four are open: two of the tunnel, one of either end', () => sockets() - before === 4);
	t.deepEqual([tunnel.client.remotePort, tunnel.client.remoteAddress, tunnel.client.remoteFamily], [client.localPort, '127.0.0.1', 'IPv4']);
	t.deepEqual(tunnel.upstream.address(), {address: '127.0.0.1', family: 'IPv4', port: upstream.remotePort!});
	t.deepEqual([tunnel.client.localPort, tunnel.upstream.remotePort, tunnel.client.pending], [client.remotePort, upstream.localPort, false]);
	t.is(tunnel.client.setNoDelay(false).setNoDelay(true).setKeepAlive(true, 5000).ref().unref(), tunnel.client);
	await exchange(client, upstream);
});
