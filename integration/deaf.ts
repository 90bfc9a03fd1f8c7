import {once} from 'node:events';
import net from 'node:net';
import {Worker} from 'node:worker_threads';
import type {ExecutionContext} from 'ava';
import {dial} from './wire.ts';

/** Listens, but with a full backlog and nobody to accept: a SYN is not even refused. */
export async function startDeafListener(t: ExecutionContext): Promise<number> {
	const gate = new Int32Array(new SharedArrayBuffer(4));
	const worker = new Worker(`
		const {parentPort, workerData} = require('node:worker_threads');
		const server = require('node:net').createServer().listen({port: 0, host: '127.0.0.1', backlog: 1}, () => {
			parentPort.postMessage(server.address().port);
			Atomics.wait(workerData, 0, 0);
		});
	`, {eval: true, workerData: gate});
	t.teardown(async () => {
		Atomics.notify(gate, 0);
		await worker.terminate();
	});
	const [port] = await once(worker, 'message') as [number];

	// Two fit (the backlog is exceeded before it is full), the third waits for ever.
	await dial(t, port);
	await dial(t, port);
	const third = net.connect({port, host: '127.0.0.1'});
	t.teardown(() => {
		third.destroy();
	});
	third.once('connect', () => {
		t.fail('the backlog is not full');
	});
	return port;
}
