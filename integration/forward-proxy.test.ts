import {Buffer} from 'node:buffer';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import process from 'node:process';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import {connectRequest} from './ends.ts';
import {nothingIsLeft} from './leaks.ts';
import {until, within} from './until.ts';
import {
	dial, readHead, readText, readTextToEnd,
} from './wire.ts';

// The example imports the package by its name, so it runs what `npm run build` has made.

nothingIsLeft();

test.serial('examples/forward-proxy.js lets users through, by CONNECT and plain HTTP, and logs a line for each', async t => {
	const origin = createServer((_request, response) => {
		response.end('hello');
	}).listen(0, '127.0.0.1');
	await once(origin, 'listening');
	t.teardown(async () => {
		origin.close();
		origin.closeAllConnections();
		await within('the origin is closed', once(origin, 'close'));
	});
	const {port: target} = origin.address() as AddressInfo;
	const child = spawn(process.execPath, ['examples/forward-proxy.js', '0', `127.0.0.1:${target}`], {
		cwd: fileURLToPath(new URL('..', import.meta.url)), stdio: ['ignore', 'pipe', 'inherit'], env: {...process.env, PASSWORD: 'secret', NODE_NO_WARNINGS: '1'},
	});
	const exit = once(child, 'exit');
	t.teardown(async () => {
		child.kill('SIGKILL');
		await exit;
	});
	const lines: string[] = [];
	createInterface(child.stdout).on('line', line => {
		lines.push(line);
	});
	const says = async (pattern: RegExp) => until(`it says ${String(pattern)}, not ${JSON.stringify(lines)}`, () => lines.some(line => pattern.test(line)));
	await says(/:\d+$/u);
	const port = Number(/:(?<port>\d+)$/u.exec(lines[0]!)!.groups!.port);
	const login = `Proxy-Authorization: Basic ${Buffer.from('alice:secret').toString('base64')}\r\n\r\n`;

	const stranger = await dial(t, port);
	stranger.write(connectRequest(target));
	t.regex(await readHead(stranger), /^HTTP\/1\.1 407 /u);
	stranger.destroy();

	const client = await dial(t, port);
	client.write(connectRequest(target).replace(/\r\n$/u, login));
	t.regex(await readHead(client), /^HTTP\/1\.1 200 /u);
	client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
	t.regex(await readTextToEnd(client), /hello/u);
	client.end();
	await says(new RegExp(String.raw`^127\.0\.0\.1 - alice \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000\] "CONNECT 127\.0\.0\.1:${target} HTTP/1\.1" 200 [1-9]\d+$`, 'u'));

	const plain = await dial(t, port);
	plain.write(`GET http://127.0.0.1:${target}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${login}`);
	t.regex(await readText(plain, 12), /^HTTP\/1\.1 200/u);
	t.regex(await readTextToEnd(plain), /hello/u);
	await says(new RegExp(`"GET http://127.0.0.1:${target}/ HTTP/1.1" 200`, 'u'));
	t.false(lines.some(line => line.includes('secret')));

	child.kill('SIGINT');
	t.deepEqual(await within('it exits by itself', exit), [0, null]);
});
