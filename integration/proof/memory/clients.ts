import fs from 'node:fs';
import type net from 'node:net';
import type {ExecutionContext} from 'ava';
import type {Engine} from '../../../plugin/index.ts';
import {connectRequest} from '../../ends.ts';
import {pattern, same} from '../../pattern.ts';
import {within} from '../../until.ts';
import {echo, startUpstream} from '../../upstream.ts';
import {dial, read, readHead} from '../../wire.ts';
import {end} from '../soak/load.ts';
import {startProxy, type Proxy} from '../soak/proxies.ts';

export type Attacked = {
	readonly proxy: Proxy;
	readonly httpPort: number;
	readonly upstreamPort: number;
};

/** A proxy in a process of its own, in front of an upstream that echoes. */
export async function startAttacked(t: ExecutionContext, engine: Engine | 'auto', options: {readonly plugin?: Readonly<Record<string, number>>; readonly descriptors?: number; readonly env?: Readonly<Record<string, string>>} = {}): Promise<Attacked> {
	const {plugin, ...rest} = options;
	const upstream = await startUpstream(t, {onConnection: echo});
	const proxy = startProxy(engine, {engine, upstreamPort: upstream.port, ...(plugin && {plugin})}, rest);
	t.teardown(async () => {
		await end([proxy.child]);
	});
	const {httpPort} = await proxy.ready;
	return {proxy, httpPort, upstreamPort: upstream.port};
}

/** Asks for a tunnel. Resolves with the socket and the status, which is `none` if the connection ended without an answer. */
export async function tryTunnel(t: ExecutionContext, {httpPort, upstreamPort}: Attacked, localAddress: string): Promise<{readonly client: net.Socket; readonly status: string}> {
	const client = await dial(t, httpPort, {localAddress});
	client.write(connectRequest(upstreamPort));
	try {
		const head = await within('there is an answer', readHead(client));
		return {client, status: head.slice(9, 12)};
	} catch (error) {
		if ((error as Error).message.startsWith('Did not happen')) {
			throw error;
		}

		return {client, status: 'none'};
	}
}

/** Whether so many bytes come back as they went. */
export async function echoes(client: net.Socket, origin: number, length: number): Promise<boolean> {
	client.write(pattern(origin, 0, length));
	return same(await within(`${length} bytes come back`, read(client, length), 20_000), pattern(origin, 0, length));
}

export async function hangUp(clients: readonly net.Socket[]): Promise<void> {
	await Promise.all(clients.map(async client => new Promise<void>(resolve => {
		if (client.closed) {
			resolve();
			return;
		}

		client.once('close', resolve).resume().end();
	})));
}

/** Another address of the loopback device for each number. */
export function addressOf(index: number): string {
	return `127.9.${Math.floor(index / 250)}.${1 + (index % 250)}`;
}

export function descriptorsOf({child}: Proxy): number {
	return fs.readdirSync(`/proc/${child.pid}/fd`).length;
}

export function residentMemoryOf({child}: Proxy): number {
	return 1024 * Number(/^VmRSS:\s+(?<kilobytes>\d+)/mu.exec(fs.readFileSync(`/proc/${child.pid}/status`, 'utf8'))!.groups!.kilobytes);
}
