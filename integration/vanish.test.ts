import {execFile, execFileSync, spawn} from 'node:child_process';
import {once} from 'node:events';
import net, {type AddressInfo} from 'node:net';
import {performance} from 'node:perf_hooks';
import process from 'node:process';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import type {Tunnel, TunnelOptions} from '../plugin/index.ts';
import {connectRequest} from './ends.ts';
import {impossible, settled, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxy} from './proxy.ts';
import {within} from './until.ts';
import {startUpstream} from './upstream.ts';
import {
	dial, ending, readHead, readText,
} from './wire.ts';

// Peers that go without a FIN: they live in a network namespace, and their link goes down.

nothingIsLeft();

type Vanishing = {
	readonly who: 'client' | 'upstream';
	readonly options: TunnelOptions;

	/** Whether something is being sent to it. Otherwise only keep-alive can find out. */
	readonly inTraffic: boolean;

	/** Milliseconds until it has to be found dead: not before, and not long after. */
	readonly after: number;
};

const keepAlive = {idle: 1000, interval: 1000, count: 2};

const rows: Readonly<Record<string, Vanishing>> = {
	'an upstream that vanishes while the tunnel is silent is found by keep-alive': {
		who: 'upstream', inTraffic: false, options: {keepAlive}, after: 3000,
	},
	'a client that vanishes while the tunnel is silent is found by keep-alive': {
		who: 'client', inTraffic: false, options: {keepAlive}, after: 3000,
	},
	'an upstream that vanishes while it is being sent to is found by userTimeout': {
		who: 'upstream', inTraffic: true, options: {keepAlive: false, userTimeout: 1500}, after: 1500,
	},
	'a client that vanishes while it is being sent to is found by userTimeout': {
		who: 'client', inTraffic: true, options: {keepAlive: false, userTimeout: 1500}, after: 1500,
	},
};

/**
How much later the kernel may notice: it compares userTimeout when a retransmission is due, and these come at growing distances, up to as far
apart as the time gone by. Keep-alive is asked about when its timer fires, a second more at the most.
*/
const slack = 2500;

const engines = (['stream', 'splice', 'sockmap'] as const).filter(engine => impossible(engine) === undefined);

if (canMakeNamespaces()) {
	for (const [title, vanishing] of Object.entries(rows)) {
		// One namespace for all engines: they mostly wait.
		test(`${engines.join(', ')}: ${title}, and the other end is reset`, async t => {
			t.timeout(60_000);
			await isFoundDead(t, vanishing);
		});
	}
} else {
	test('skipped, no network namespace can be made here: a peer that vanishes without a FIN is found dead', t => {
		t.log('skipped: `ip netns add` is not permitted, or there is no ip(8)');
		t.pass();
	});
}

async function isFoundDead(t: ExecutionContext, {who, options, inTraffic, after}: Vanishing): Promise<void> {
	const elsewhere = await startElsewhere(t);
	const tunnels = await Promise.all(engines.map(async engine => {
		const opened = await (who === 'upstream' ? toUpstreamElsewhere : fromClientElsewhere)(t, engine, elsewhere, options);
		await settled(opened.tunnel);
		t.is(opened.tunnel.engine, engine);
		return opened;
	}));

	await elsewhere.vanish();
	const from = performance.now();
	await Promise.all(tunnels.map(async ({running, near, tunnel}) => {
		if (inTraffic) {
			near.write('is anybody there?');
		}

		const how = await within('the other end is reset', ending(near), after + slack);
		const elapsed = performance.now() - from;
		t.is(how, 'ECONNRESET', tunnel.engine);
		t.true(elapsed >= after - lastWord, `${tunnel.engine}: found dead after ${elapsed} ms, and not ${after}`);
		const stats = await running.closeOf(tunnel);
		t.like(stats, {reason: 'dead', by: who});
		t.regex(stats.code!, /^(?:ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/u);
		t.is(running.tunnels.stats().closedBy.dead, 1);
		t.is(running.tunnels.stats().open, 0);
	}));
}

/** Keep-alive counts from the last word of the peer, which came before the link went down: to do that takes a process or two. */
const lastWord = 900;

type Opened = {
	readonly running: Awaited<ReturnType<typeof startProxy>>;

	/** The end that does not vanish. */
	readonly near: net.Socket;
	readonly tunnel: Tunnel;
};

async function toUpstreamElsewhere(t: ExecutionContext, engine: Carrier, elsewhere: Elsewhere, options: TunnelOptions): Promise<Opened> {
	const {host, port} = elsewhere;
	const running = await startProxy(t, {engine, allow: [`${host}:${port}`], ...options});
	const near = await dial(t, running.port);
	near.write(connectRequest(port, host));
	await readHead(near);
	const tunnel = await running.tunnelOf(near);
	near.write('hello');
	t.is(await within('the upstream answers', readText(near, 5)), 'hello');
	return {running, near, tunnel};
}

async function fromClientElsewhere(t: ExecutionContext, engine: Carrier, elsewhere: Elsewhere, options: TunnelOptions): Promise<Opened> {
	const running = await startProxy(t, {engine});
	const server = net.createServer({allowHalfOpen: true, noDelay: true}).listen(0, elsewhere.here);
	await once(server, 'listening');
	const accepting = once(server, 'connection') as Promise<[net.Socket]>;
	elsewhere.dialTo((server.address() as AddressInfo).port);
	const [accepted] = await within('the client comes', accepting);
	server.close();
	const target = await startUpstream(t);
	const dialled = await dial(t, target.port);
	const near = await target.accepted(dialled.localPort!);
	const tunnel = running.tunnels.splice(accepted, dialled, undefined, options);
	await running.tunnelOf(accepted.remotePort!);
	near.write('hello');
	t.is(await within('the client answers', readText(near, 5)), 'hello');
	return {running, near, tunnel};
}

type Elsewhere = {
	/** Our address, as seen from there. */
	readonly here: string;

	/** Who echoes there. */
	readonly host: string;
	readonly port: number;

	/** Has an echo dial us. */
	dialTo(port: number): void;
	vanish(): Promise<void>;
};

/** A process that echoes, in a network namespace of its own, with a cable to ours. */
async function startElsewhere(t: ExecutionContext): Promise<Elsewhere> {
	const number = ++namespaces;
	const name = `sockmap-${process.pid}-${number}`;
	const [cable, other] = [`sm${process.pid}-${number}`, `sn${process.pid}-${number}`];
	// Of the addresses for documentation and benchmarks, which nobody has.
	const subnet = `198.18.${process.pid % 256}`;
	const [here, host] = [`${subnet}.${(number * 4) + 1}`, `${subnet}.${(number * 4) + 2}`];
	await ip('netns', 'add', name);
	t.teardown(async () => {
		await ip('netns', 'delete', name);
	});
	await ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', other, 'netns', name);
	t.teardown(async () => {
		await ip('link', 'delete', cable);
	});
	await ip('address', 'add', `${here}/30`, 'dev', cable);
	await ip('link', 'set', cable, 'up');
	await ip('-netns', name, 'address', 'add', `${host}/30`, 'dev', other);
	await ip('-netns', name, 'link', 'set', other, 'up');

	const child = spawn('ip', ['netns', 'exec', name, process.execPath, '--eval', `
		const net = require('node:net');
		const echo = socket => socket.on('error', () => {}).pipe(socket);
		process.on('message', port => net.connect(port, '${here}', function () { echo(this); }));
		const server = net.createServer(echo).listen(0, '${host}', () => process.send(server.address().port));
	`], {stdio: ['ignore', 'inherit', 'inherit', 'ipc']});
	const exited = once(child, 'exit');
	t.teardown(async () => {
		child.kill('SIGKILL');
		await exited;
	});
	const [port] = await within('the echo listens', once(child, 'message')) as [number];
	return {
		here, host, port,
		dialTo(port) {
			child.send(port);
		},
		async vanish() {
			await ip('-netns', name, 'link', 'set', other, 'down');
		},
	};
}

let namespaces = 0;

function canMakeNamespaces(): boolean {
	const name = `sockmap-${process.pid}-0`;
	try {
		execFileSync('ip', ['netns', 'add', name], {stdio: 'ignore'});
		execFileSync('ip', ['netns', 'delete', name], {stdio: 'ignore'});
		return true;
	} catch {
		return false;
	}
}

async function ip(...words: string[]): Promise<void> {
	await promisify(execFile)('ip', words);
}
