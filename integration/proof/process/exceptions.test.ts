import type net from 'node:net';
import {connectRequest, upgradeRequest, type Kind} from '../../ends.ts';
import {onEachEngine, type Carrier} from '../../engines.ts';
import {holdings} from '../../holdings.ts';
import {nothingIsLeft, released} from '../../leaks.ts';
import {startProxyProcess} from '../../proxy-process.ts';
import type {Message} from '../../proxy-program.ts';
import {until, within} from '../../until.ts';
import {echo, startUpstream} from '../../upstream.ts';
import {
	dial, ending, readHead, readText,
} from '../../wire.ts';
import {startClients, startUpstreams, type Peers} from './peers.ts';
import {
	chatting, endExactly, letGo, string,
} from './scene.ts';

// Everything that a user can hook into throws, once each, in a process that goes on after an uncaught exception, while other tunnels are in traffic.

nothingIsLeft();

type Row = {
	readonly kind: Kind;

	/** What the client is answered. Nothing, where the exception is in the way of http-proxy itself. */
	readonly status?: number;

	/** Whether it is an uncaught exception, as it would be in any other listener. */
	readonly uncaught?: boolean;

	/** Other than 127.0.0.1. */
	readonly host?: string;

	/** How the client leaves. */
	readonly leaves?: 'end' | 'reset';
	readonly only?: readonly Carrier[];
};

const refused = {kind: 'connect', status: 500} as const;
const heardConnect = {kind: 'connect', status: 200, uncaught: true} as const;
const heardUpgrade = {kind: 'upgrade', status: 101, uncaught: true} as const;
const native = {only: ['splice', 'sockmap']} as const;

const rows: ReadonlyArray<readonly [name: string, row: Row]> = [
	['authenticate', refused],
	['authenticate, later', refused],
	['authenticate, nothing', refused],
	['onRequest', refused],
	['onRequest, later', refused],
	['onRequest, nothing', refused],
	['onRequest, getter', refused],
	['allow', refused],
	['allow, later', refused],
	['allow, nothing', refused],
	['upstreamProxy', refused],
	['upstreamProxy, later', refused],
	['lookup', {kind: 'connect', status: 502, host: 'now.invalid'}],
	['lookup, later', {
		kind: 'connect', status: 504, host: 'later.invalid', uncaught: true,
	}],
	['context', {kind: 'connect', status: 200}],
	['tunnel', heardConnect],
	['tunnel', heardUpgrade],
	['promoted', {...heardConnect, ...native}],
	['promoted', {...heardUpgrade, ...native}],
	['kept', {...heardConnect, only: ['stream']}],
	['kept', {...heardUpgrade, only: ['stream']}],
	['activity', heardConnect],
	['close', heardConnect],
	['close', {...heardUpgrade, leaves: 'reset'}],
	['proxy proxyReqWs', {kind: 'upgrade', uncaught: true}],
	['proxy open', heardUpgrade],
	// On stream, what passes a FIN on is a listener of Node's, behind that of http-proxy which throws.
	['proxy close', {...heardUpgrade, ...native}],
	['proxy error', {kind: 'upgrade', uncaught: true}],
	['client end', heardConnect],
	['client finish', heardUpgrade],
	['client timeout', heardConnect],
	['client error', {...heardConnect, leaves: 'reset'}],
	['client close', heardUpgrade],
	['upstream end', heardUpgrade],
	['upstream finish', heardConnect],
	['upstream close', heardConnect],
];

/** What is called because the client leaves. */
const atTheEnd = /close|end|finish|error/u;

const others = [chatting, chatting, chatting].map(talk => ({client: talk, upstream: talk}));

onEachEngine('whatever a hook or a listener throws, it costs the other tunnels nothing, and its own request gets an answer or an uncaught exception', async (t, engine) => {
	t.timeout(120_000);
	const [clients, upstreams, echoing] = await Promise.all([startClients(t), startUpstreams(t), startUpstream(t, {onConnection: echo})]);
	const proxy = startProxyProcess(t, {
		program, engine, target: `http://127.0.0.1:${upstreams.port}`, capacity: 16,
	});
	const uncaught: string[] = [];
	const decided: number[] = [];
	const closed: number[] = [];
	proxy.child.on('message', (message: Message) => {
		switch (message.type) {
			case 'uncaught': {
				uncaught.push(message.text);
				break;
			}

			case 'decided': {
				decided.push(message.id);
				break;
			}

			case 'close': {
				closed.push(message.id);
				break;
			}

			case 'ready':
			case 'refused':
			case 'stats':
		}
	});
	const {port} = await proxy.message('ready');
	const witnesses = await string(clients, {...proxy, port}, upstreams.port, {engine, plans: others});
	const before = holdings(proxy.child.pid);

	for (const [name, row] of rows) {
		const {kind, status, host, leaves = 'end', only} = row;
		if (only !== undefined && !only.includes(engine)) {
			continue;
		}

		/* eslint-disable no-await-in-loop */
		const what = `${name} of ${kind}`;
		const heard = uncaught.length;
		const ended = closed.length;
		const witnessed = progress(clients, upstreams, witnesses);
		const client = await dial(t, port);
		// The upgrades go to the program that talks to the others too, which lets whoever does not introduce himself wait.
		client.write((kind === 'connect' ? connectRequest(echoing.port, host) : upgradeRequest()).replace('\r\n\r\n', `\r\nx-throw: ${name}\r\n\r\n`));
		if (status === undefined) {
			await until(`${what} is an uncaught exception`, () => uncaught.length > heard);
			// Http-proxy has forgotten about it by then, and would not hear its FIN.
			client.resetAndDestroy();
		} else {
			const head = await within(`${what} is answered`, readHead(client));
			t.is(Number(head.slice(9, 12)), status, what);
			if (status === 200) {
				client.write('still here');
				t.is(await readText(client, 10), 'still here', what);
			}

			if (status < 300) {
				await until(`the tunnel of ${what} is promoted or kept`, () => decided.length > ended + others.length);
			}

			if (row.uncaught && !atTheEnd.test(name)) {
				await until(`${what} is an uncaught exception`, () => uncaught.length > heard);
			}

			await leave(client, leaves, what);
			if (status < 300) {
				await until(`the tunnel of ${what} is closed`, () => closed.length > ended);
			}
		}

		await proxy.stats(); // What was said before has come.
		const thrown = uncaught.slice(heard);
		t.deepEqual([...new Set(thrown)], row.uncaught ? [`thrown in ${name}`] : [], what);
		t.true(thrown.length <= 1 || name === 'activity', `${what}: ${thrown.length} times`);
		t.is(closed.length - ended, status !== undefined && status < 300 ? 1 : 0, what);
		await until('the other tunnels go on', () => progress(clients, upstreams, witnesses).every((bytes, index) => bytes > witnessed[index]!));
		/* eslint-enable no-await-in-loop */
	}

	const {stats} = await proxy.stats();
	t.is(stats.open, witnesses.length);
	t.is(stats.dialling, 0);
	// The pipes of the others come and go.
	await released(new Map([...before, ['pipe', Array.from({length: 200}, String)]]), proxy.child.pid);
	await endExactly(t, clients, upstreams, witnesses);
	await letGo(t, proxy);
	t.log(`${engine}: ${uncaught.length} uncaught exceptions, ${others.length} other tunnels exact to the last byte`);
});

/** How many bytes have come to each end of them. */
function progress(clients: Peers, upstreams: Peers, tunnels: ReadonlyArray<{readonly id: number}>): readonly number[] {
	return tunnels.flatMap(({id}) => [clients, upstreams].map(peers => peers.report(id)?.received ?? 0));
}

async function leave(client: net.Socket, how: 'end' | 'reset', what: string): Promise<void> {
	if (how === 'reset') {
		client.resetAndDestroy();
	} else {
		client.end();
		await within(`the client of ${what} sees the end`, ending(client));
	}
}

const program = new URL('throwing-program.ts', import.meta.url);
