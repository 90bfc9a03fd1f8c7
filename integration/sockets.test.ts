import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import type net from 'node:net';
import {setTimeout as wait} from 'node:timers/promises';
import type {ExecutionContext} from 'ava';
import {
	kinds, startEnds, type Kind,
} from './ends.ts';
import {onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {within} from './until.ts';
import {ending, read, readTextToEnd} from './wire.ts';

// What those who hold a socket of a tunnel can do with it, wherever its connection is.

nothingIsLeft();

for (const kind of kinds) {
	onEachEngine(`${kind}: a socket with a timeout tells of it when no byte has passed for so long, once, and not while there is traffic`, async (t, engine, kind: Kind) => {
		const {open} = await startEnds(t, engine);
		const ends = await open(kind, {inKernel: true});
		const {tunnel} = ends;
		const [short, long] = [100, 700];
		// The time before the last byte that has certainly arrived: those on their way may be counted already, or not.
		let heard = performance.now();
		const exchange = async () => {
			const before = performance.now();
			await pass(ends.client, ends.upstream);
			await pass(ends.upstream, ends.client);
			heard = before;
		};

		const silences: number[] = [];
		tunnel.client.setTimeout(short);
		tunnel.client.on('timeout', () => {
			silences.push(performance.now() - heard);
		});
		for (let turn = 0; turn < 50; turn++) {
			await exchange(); // eslint-disable-line no-await-in-loop
			await wait(10); // eslint-disable-line no-await-in-loop
		}

		// Timers are a matter of whole milliseconds.
		t.true(silences.every(silence => silence >= short - 2), silences.join(' '));
		silences.length = 0;
		await exchange();
		tunnel.upstream.setTimeout(long);
		await within('the other one, with a longer timeout, tells of it', once(tunnel.upstream, 'timeout'));
		t.is(silences.length, 1);
		t.true(silences[0]! >= short - 2, silences.join(' '));

		const again = once(tunnel.client, 'timeout');
		await exchange();
		await within('it tells of the next silence too', again);
		t.is(silences.length, 2);
		tunnel.client.setTimeout(0);
		await exchange();
	}, kind);

	onEachEngine(`${kind}: resetAndDestroy() of the client's socket resets both ends`, resets, kind, 'client');
	onEachEngine(`${kind}: resetAndDestroy() of the upstream's socket resets both ends`, resets, kind, 'upstream');

	onEachEngine(`${kind}: a reset is not held up by a FIN that waits behind bytes which nobody reads`, async (t, engine, kind: Kind) => {
		const {running, open} = await startEnds(t, engine);
		const {client, upstream, tunnel} = await open(kind, {inKernel: true});
		await pass(client, upstream);
		// More than all buffers between here and the client have room for.
		const total = 20_000_000;
		tunnel.client.end(Buffer.alloc(total));
		t.false(tunnel.client.writableFinished);
		const before = client.bytesRead;
		tunnel.reset();
		// Where bytes come right before the reset, libuv reports it as an end of file, so the client is asked what it got.
		const [, other] = await within('both ends are over', Promise.all([ending(client), ending(upstream)]));
		t.is(other, 'ECONNRESET');
		t.true(client.bytesRead - before < total, 'the client got everything');
		t.like(await running.closeOf(tunnel), {engine, reason: 'reset', by: 'proxy'});
	}, kind);

	onEachEngine(`${kind}: what is written between cork() and uncork() arrives whole and in order, of whatever kind it is`, async (t, engine, kind: Kind) => {
		const {running, open} = await startEnds(t, engine);
		const {client, upstream, tunnel} = await open(kind, {inKernel: true});
		tunnel.upstream.cork();
		const written: Array<Promise<void>> = [];
		for (const [chunk, encoding] of [['first, ', 'latin1'], [Buffer.from('bytes, '), undefined], ['68657820', 'hex'], ['and more', 'utf8']] as const) {
			written.push(new Promise((resolve, reject) => {
				tunnel.upstream.write(chunk, encoding, error => {
					if (error) {
						reject(error);
					} else {
						resolve();
					}
				});
			}));
		}

		tunnel.upstream.uncork();
		await within('all of it is written', Promise.all(written));
		client.end();
		t.is(await readTextToEnd(upstream), 'first, bytes, hex and more');
		upstream.end();
		t.is(await readTextToEnd(client), '');
		t.like(await running.closeOf(tunnel), {reason: 'end', engine});
	}, kind);
}

async function resets(t: ExecutionContext, engine: Carrier, kind: Kind, end: 'client' | 'upstream'): Promise<void> {
	const {running, open} = await startEnds(t, engine);
	const ends = await open(kind, {inKernel: true});
	await pass(ends.client, ends.upstream);
	const {[end]: socket} = ends.tunnel;
	t.is(socket.resetAndDestroy(), socket);
	t.true(socket.destroyed);
	t.deepEqual(await Promise.all([ending(ends.client), ending(ends.upstream)]), ['ECONNRESET', 'ECONNRESET']);
	t.like(await running.closeOf(ends.tunnel), {reason: 'destroyed', engine});
}

async function pass(from: net.Socket, to: net.Socket): Promise<void> {
	from.write('x');
	await read(to, 1);
}
