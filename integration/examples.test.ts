import {spawn, type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import process from 'node:process';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import test, {type ExecutionContext} from 'ava';
import {WebSocket, WebSocketServer} from 'ws';
import {connectRequest} from './ends.ts';
import {impossible} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {missing} from './libraries.ts';
import {until, within} from './until.ts';
import {echo, startUpstream} from './upstream.ts';
import {dial, readHead, readText, readTextToEnd} from './wire.ts';

// The examples import the package by its name, so they run what `npm run build` has made.

nothingIsLeft();

for (const [name, library] of [
	['http-proxy', 'http-proxy'],
	['http-proxy-3', 'http-proxy-3'],
	['httpxy', 'httpxy'],
	['http-proxy-middleware-2', 'http-proxy-middleware-2'],
	['http-proxy-middleware-3', 'http-proxy-middleware-3'],
	['http-proxy-middleware-4', 'http-proxy-middleware-4'],
	['vite', 'vite'],
] as const) {
	const reason = missing(library);
	test.serial(`examples/${name}.js ${reason === undefined ? '' : `(skipped, ${reason}) `}takes a WebSocket to the best engine, and exits when it is told to`, async t => {
		if (reason === undefined) {
			await carriesWebSocket(t, name);
		} else {
			t.log(`skipped: ${reason}`);
			t.pass();
		}
	});
}

for (const name of ['splice', 'connect']) {
	test.serial(`examples/${name}.js takes a CONNECT tunnel to the best engine, refuses another target, and exits when it is told to`, carriesConnect, name);
}

async function carriesWebSocket(t: ExecutionContext, name: string): Promise<void> {
	const webSockets = new WebSocketServer({host: '127.0.0.1', port: 0});
	await once(webSockets, 'listening');
	t.teardown(() => {
		for (const client of webSockets.clients) {
			client.terminate();
		}

		webSockets.close();
	});
	webSockets.on('connection', socket => {
		socket.on('message', (data: Uint8Array, binary) => {
			socket.send(data, {binary});
		});
	});

	const {port: target} = webSockets.address() as {port: number};
	const example = await startExample(t, name, `http://127.0.0.1:${target}`);
	const client = new WebSocket(`ws://127.0.0.1:${example.port}/`);
	t.teardown(() => {
		client.terminate();
	});
	await within('the WebSocket is open', once(client, 'open'));
	await example.says(`Tunnel 1 is on ${best}.`);
	for (const message of ['hello', 'x'.repeat(100_000)]) {
		client.send(message);
		const [data] = await within('the message is back', once(client, 'message')) as [Uint8Array]; // eslint-disable-line no-await-in-loop
		t.is(data.toString(), message);
	}

	client.close(1000);
	const [code] = await within('the WebSocket is closed', once(client, 'close')) as [number];
	t.is(code, 1000);
	await example.says('Tunnel 1 is over: end by ');
	await example.stop();
}

async function carriesConnect(t: ExecutionContext, name: string): Promise<void> {
	const upstream = await startUpstream(t, {onConnection: echo});
	const example = await startExample(t, name, `127.0.0.1:${upstream.port}`);
	const other = await dial(t, example.port);
	other.write(connectRequest(upstream.port, 'localhost'));
	t.regex(await readHead(other), /^HTTP\/1\.1 403 /u);
	other.destroy();

	const client = await dial(t, example.port);
	client.write(connectRequest(upstream.port));
	t.regex(await readHead(client), /^HTTP\/1\.1 200 /u);
	await example.says(`Tunnel 1 is on ${best}.`);
	client.write('hello');
	t.is(await readText(client, 5), 'hello');
	client.end('the end');
	t.is(await readTextToEnd(client), 'the end');
	await example.says('Tunnel 1 is over: end by client.');
	await example.stop();
}

async function startExample(t: ExecutionContext, name: string, target: string) {
	const child = spawn(process.execPath, [`examples/${name}.js`, '0', target], {
		cwd: fileURLToPath(new URL('..', import.meta.url)), stdio: ['ignore', 'pipe', 'pipe'], env: {...process.env, NODE_NO_WARNINGS: '1'},
	});
	const exit = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>; // eslint-disable-line @typescript-eslint/no-restricted-types
	t.teardown(async () => {
		child.kill('SIGKILL');
		await exit;
	});
	const lines = linesOf(child);
	const find = (text: string) => lines.find(line => line.includes(text));
	const says = async (text: string) => {
		await until(`examples/${name}.js says "${text}", and not ${JSON.stringify(lines)}`, () => find(text) !== undefined || child.exitCode !== null);
		t.truthy(find(text), `examples/${name}.js said ${JSON.stringify(lines)} and exited`);
		return find(text)!;
	};

	const port = Number(/:(?<port>\d+) leads to/u.exec(await says('leads to'))!.groups!.port);
	return {
		port,
		says,
		async stop() {
			child.kill('SIGINT');
			t.deepEqual(await within(`examples/${name}.js exits by itself`, exit), [0, null]);
		},
	};
}

function linesOf(child: ChildProcess): string[] {
	const lines: string[] = [];
	for (const stream of [child.stdout!, child.stderr!]) {
		createInterface(stream).on('line', line => {
			lines.push(line);
		});
	}

	return lines;
}

// What `auto` has to find here.
const best = impossible('sockmap') === undefined ? 'sockmap' : (impossible('splice') === undefined ? 'splice' : 'stream');
