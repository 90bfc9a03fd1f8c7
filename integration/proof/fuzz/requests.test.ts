import {Buffer} from 'node:buffer';
import {fork, type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import fs from 'node:fs';
import net, {type AddressInfo} from 'node:net';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import test, {type ExecutionContext} from 'ava';
import {impossible, type Carrier} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {seeded} from '../../random.ts';
import {until, within} from '../../until.ts';
import {ignore} from '../../wire.ts';
import {bytesOf, mutated} from './mutations.ts';
import type {Report, Setup} from './requests-proxy.ts';

// What a client may send to the proxy before there is a tunnel, and what it never should, over raw sockets: first the
// corpus, then inputs made from it and from a grammar. Each gets an answer or an end in time, and whatever it is: the
// proxy lives on, holds nothing afterwards, and never dials a port that no rule allows, where a canary listens.
// By hand: FUZZ_INPUTS=10000000, and FUZZ_SEED to have the same ones again.

nothingIsLeft();

const inputs = Number(process.env.FUZZ_INPUTS ?? 100_000);
const seed = Number(process.env.FUZZ_SEED ?? Math.trunc(Math.random() * 0xFF_FF_FF_FF));

for (const [index, engine] of (['stream', 'splice', 'sockmap'] as const).entries()) {
	const share = Math.ceil(inputs / 3);
	const reason = impossible(engine);
	if (reason === undefined) {
		test.serial(`${engine}: ${share} inputs for CONNECT, upgrades and forwarding neither crash, hang, leak nor go where they must not`, withstands, engine, share, seed + index);
	} else {
		test.serial(`${engine}: skipped, ${reason}: inputs for CONNECT, upgrades and forwarding`, t => {
			t.log(`skipped: ${reason}`);
			t.pass();
		});
	}
}

// Or else it might be that nobody can see the canary.
test.serial('the same inputs find the canary where a rule allows it', async t => {
	const bench = await start(t, 'stream', true);
	for (const input of corpus) {
		await bench.send(bytesOf(input, bench.ports)); // eslint-disable-line no-await-in-loop
	}

	t.true(bench.canary.met > 2);
	await bench.stop();
});

async function withstands(t: ExecutionContext, engine: Carrier, count: number, seed: number): Promise<void> {
	t.timeout(3_600_000);
	const bench = await start(t, engine);
	const random = seeded(seed);
	const answers = new Map<string, number>();
	const started = Date.now();
	let next = 0;
	const attempt = async (input: string, name: string) => {
		try {
			const answer = await bench.send(bytesOf(input, bench.ports), random);
			answers.set(answer, (answers.get(answer) ?? 0) + 1);
		} catch (error) {
			next = Number.POSITIVE_INFINITY; // The others need not go on.
			throw new Error(`${name}: ${(error as Error).message}\n${JSON.stringify(input.slice(0, 4000))}`);
		}
	};

	for (const [index, input] of corpus.entries()) {
		await attempt(input, `corpus ${index}`); // eslint-disable-line no-await-in-loop
	}

	// All that is allocated once is there after some thousands.
	const warmUp = Math.min(count, 3000);
	const work = async (until: number) => {
		while (next < until) {
			const name = `seed ${seed}, input ${next++}`;
			await attempt(mutated(random, corpus), name); // eslint-disable-line no-await-in-loop
			if (bench.canary.met > 0) {
				throw new Error(`The canary was met by one of the last ${atOnce} inputs up to ${name}`);
			}
		}
	};

	await Promise.all(Array.from({length: atOnce}, async () => work(warmUp)));
	const before = await bench.released();
	await Promise.all(Array.from({length: atOnce}, async () => work(count)));
	const after = await bench.released(countOf(before.descriptors));

	t.is(bench.canary.met, 0);
	t.true(after.rss < (before.rss * 1.5) + (64 * 1024 * 1024), `${before.rss} bytes became ${after.rss}`);
	// The inputs did get everywhere.
	for (const status of ['101', '200', '400', '403', '502']) {
		t.true(answers.get(status)! > 0, `no answer was ${status}: ${JSON.stringify([...answers])}`);
	}

	for (const name of ['connect', 'upgrade', engine]) {
		t.true(after.carried[name]! > count / 100, `too few tunnels were ${name}: ${JSON.stringify(after.carried)}`);
	}

	t.log(`seed ${seed}: ${count} inputs in ${Math.round((Date.now() - started) / 1000)} s, tunnels ${JSON.stringify(after.carried)}, ${Math.round(before.rss / 1e6)} MB then and ${Math.round(after.rss / 1e6)} MB now; answers ${[...answers].sort(([left], [right]) => left.localeCompare(right)).map(([status, times]) => `${status}: ${times}`).join(', ')}`);
	await bench.stop();
}

// Without the pipes that the relay keeps for the next tunnel: at most sixteen, as many as were in use at once.
function countOf(descriptors: readonly string[]): number {
	const pipes = descriptors.filter(name => name.startsWith('pipe:')).length;
	return descriptors.length - Math.min(pipes, 2 * 16);
}

type Bench = {
	readonly ports: Record<'allowed' | 'canary' | 'proxy', number>;
	readonly canary: {readonly met: number};

	/** The status of the answer, or `none`, once the connection has ended. */
	send(bytes: Uint8Array, random?: () => number): Promise<string>;

	/** What the proxy holds when it has nothing to do, once that is no more than so many descriptors. */
	released(most?: number): Promise<Held>;
	stop(): Promise<void>;
};

type Held = Extract<Report, {readonly type: 'held'}>;

async function start(t: ExecutionContext, engine: Carrier, canaryAllowed = false): Promise<Bench> {
	const canary = {met: 0};
	const [allowed, ...canaries] = await listen(t, canary);
	const setup: Setup = {engine, allowed: portOf(allowed!), ...(canaryAllowed && {canaryAllowed: portOf(canaries[0]!)})};
	const child = fork(fileURLToPath(new URL('requests-proxy.ts', import.meta.url)), [JSON.stringify(setup)], {
		// Node has something to say about the URLs that http-proxy parses.
		execArgv: ['--import=tsx', '--expose-gc', '--no-deprecation'], stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
	});
	let stderr = '';
	child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
		stderr += chunk;
	});
	const died = diedOf(child, () => stderr);
	t.teardown(async () => {
		if (child.exitCode === null && child.signalCode === null) {
			child.kill('SIGKILL');
			await once(child, 'close');
		}
	});
	const decided = new Decided();
	child.on('message', (report: Report) => {
		if (report.type === 'decided') {
			decided.tell(report.clientPort);
		}
	});
	const report = async <Type extends 'ready' | 'held'>(type: Type) => {
		for (;;) {
			const [report] = await Promise.race([once(child, 'message'), died]) as [Report]; // eslint-disable-line no-await-in-loop
			if (report.type === type) {
				return report as Extract<Report, {readonly type: Type}>;
			}
		}
	};

	const ready = await within('the proxy listens', report('ready'), 30_000);
	const ports = {allowed: portOf(allowed!), canary: portOf(canaries[0]!), proxy: ready.port};
	return {
		ports,
		canary,
		async send(bytes, random = Math.random) {
			return Promise.race([exchange({port: ports.proxy, bytes, random, decided}), died]);
		},
		async released(most = Number.POSITIVE_INFINITY) {
			let held: Held | undefined;
			try {
				await within('the proxy has let go of everything', (async () => {
					do {
						child.send('what do you hold?');
						held = await report('held'); // eslint-disable-line no-await-in-loop
					} while (held.open > 0 || countOf(held.descriptors) > most);
				})());
			} catch (error) {
				throw new Error(`${(error as Error).message}: ${held!.open} connections, ${countOf(held!.descriptors)} descriptors and not ${most}: ${held!.descriptors.join(', ')}; upstreams still know of ${JSON.stringify([...asked.values()])}`);
			}

			return held!;
		},
		async stop() {
			// Without disconnecting first: Node never emits `close` then.
			child.kill('SIGTERM');
			await once(child, 'close');
			t.is(stderr, '');
			for (const server of [allowed!, ...canaries]) {
				server.close();
			}
		},
	};
}

// The upstream that may be reached, and the canary, which listens on one port of every loopback address.
async function listen(t: ExecutionContext, canary: {met: number}): Promise<net.Server[]> {
	const upstream = net.createServer({allowHalfOpen: true}, answer);
	const meet = (socket: net.Socket) => {
		canary.met++;
		socket.on('error', ignore).resume();
		socket.end('HTTP/1.1 200 Canary\r\nContent-Length: 0\r\n\r\n');
	};

	const canaries = [net.createServer(meet), net.createServer(meet)];
	t.teardown(() => {
		for (const server of [upstream, ...canaries]) {
			server.close();
		}
	});
	const ready = async (server: net.Server, port: number, host: string) => {
		server.listen(port, host);
		await once(server, 'listening');
	};

	await ready(upstream, 0, '127.0.0.1');
	await ready(canaries[0]!, 0, '127.0.0.1');
	await ready(canaries[1]!, portOf(canaries[0]!), '::1');
	return [upstream, ...canaries];
}

// What each connection to the upstream began with.
const asked = new Map<net.Socket, string>();

// Switches protocols where it is asked to, answers a request, and sends everything else back.
function answer(socket: net.Socket): void {
	asked.set(socket, '');
	socket.once('close', () => {
		asked.delete(socket);
	});
	socket.on('error', ignore);
	socket.once('data', (first: Uint8Array) => {
		const text = Buffer.from(first).toString('latin1');
		asked.set(socket, text.slice(0, 500));
		if (/^upgrade: *\S/imu.test(text)) {
			socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
			socket.pipe(socket);
		} else if (/^[A-Z]+ \S* HTTP\/1\.1\r\n/u.test(text)) {
			socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
			socket.resume();
		} else {
			socket.write(first);
			socket.pipe(socket);
		}
	});
	socket.once('end', () => {
		socket.end();
	});
}

type Exchange = {
	readonly port: number;
	readonly bytes: Uint8Array;
	readonly random: () => number;

	readonly decided: Decided;
};

async function exchange({port, bytes, random, decided}: Exchange): Promise<string> {
	const [style, more] = [random(), Math.trunc(random() * 50_000)];
	return new Promise((resolve, reject) => {
		const socket = net.connect({port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true});
		let seen = '';
		const timer = setTimeout(() => {
			socket.destroy();
			reject(new Error(`It neither ended nor was answered for ${patience} ms; so far ${JSON.stringify(seen)}`));
		}, patience);
		socket.on('error', ignore);
		socket.on('data', (chunk: Uint8Array) => {
			if (seen.length < 16) {
				seen += Buffer.from(chunk).toString('latin1').slice(0, 16);
			}
		});
		socket.once('end', () => {
			socket.end();
		});
		socket.once('close', () => {
			clearTimeout(timer);
			const status = /^HTTP\/1\.1 (?<status>\d{3}) /u.exec(seen)?.groups?.status;
			if (status === undefined && seen.length >= 13) {
				reject(new Error(`The answer is none: ${JSON.stringify(seen)}`));
			} else {
				resolve(status ?? 'none');
			}
		});
		socket.once('connect', () => {
			decided.forget(socket.localPort!);
			if (style < 0.4) {
				// As most clients do. Those who are not answered do not wait for ever.
				socket.write(bytes);
				const impatient = setTimeout(() => {
					socket.end();
				}, 50);
				socket.once('data', (answer: Uint8Array) => {
					clearTimeout(impatient);
					if (style < 0.2 && /^HTTP\/1\.1 (?:101|200 Connection Established)/u.test(Buffer.from(answer).toString('latin1'))) {
						// Others are gone before the engine has them.
						decided.listen(socket.localPort!, () => {
							socket.end(new Uint8Array(more));
						});
					} else {
						socket.end();
					}
				});
			} else if (style < 0.6) {
				// Node gives up the requests of those who have sent FIN, but not tunnels.
				socket.end(bytes);
			} else if (style < 0.7) {
				// Its reset may come before anything was read.
				socket.write(bytes, () => {
					socket.resetAndDestroy();
				});
			} else {
				const cut = Math.trunc(random() * bytes.length);
				socket.write(bytes.subarray(0, cut), () => {
					setImmediate(() => {
						socket.end(bytes.subarray(cut));
					});
				});
			}
		});
	});
}

/** Which tunnels were promoted or kept, by the ports of their clients. That may be known before the client has its answer. */
class Decided {
	readonly #told = new Set<number>();
	readonly #listeners = new Map<number, () => void>();

	tell(port: number): void {
		this.#told.add(port);
		this.#listeners.get(port)?.();
	}

	listen(port: number, listener: () => void): void {
		if (this.#told.has(port)) {
			listener();
		} else {
			this.#listeners.set(port, listener);
		}
	}

	/** The port is somebody else's now. */
	forget(port: number): void {
		this.#told.delete(port);
		this.#listeners.delete(port);
	}
}

async function diedOf(child: ChildProcess, stderr: () => string): Promise<never> {
	const [code, signal] = await once(child, 'exit') as [number | null, string | null]; // eslint-disable-line @typescript-eslint/no-restricted-types
	throw new Error(`The proxy ended with ${code ?? signal}: ${stderr()}`);
}

function portOf(server: net.Server): number {
	return (server.address() as AddressInfo).port;
}

const corpusFolder = new URL('corpus/requests/', import.meta.url);
const corpus = fs.readdirSync(corpusFolder).sort().map(name => fs.readFileSync(new URL(name, corpusFolder), 'latin1'));

const atOnce = 64;

// Nothing here takes more than milliseconds, unless all are waiting for the machine.
const patience = 20_000;
