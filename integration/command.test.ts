import {Buffer} from 'node:buffer';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import fs from 'node:fs/promises';
import http from 'node:http';
import type {AddressInfo} from 'node:net';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {text} from 'node:stream/consumers';
import {fileURLToPath} from 'node:url';
import test, {type ExecutionContext} from 'ava';
import {connectRequest, upgradeRequest} from './ends.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, same} from './pattern.ts';
import {command} from './pinned.ts';
import {closed, within} from './until.ts';
import {echo, startUpstream, switchingProtocols} from './upstream.ts';
import {
	dial, read, readHead, readTextToEnd,
} from './wire.ts';

nothingIsLeft();

test.serial('a proxy passes requests and WebSockets to its target, CONNECTs to where the rules say, and tells operators about it', async t => {
	const directory = await temporaryDirectory(t);
	const users = path.join(directory, 'users');
	const log = path.join(directory, 'access.log');
	const config = path.join(directory, 'proxy.json');
	await fs.writeFile(users, '# Who may\nalice:open sesame\n');
	const target = await startTarget(t);
	const bare = await startUpstream(t, {onConnection: echo});
	await fs.writeFile(config, JSON.stringify({
		listen: '1', connect: true, allow: [`127.0.0.1:${bare.port}`], 'user-file': users, 'access-log': log,
	}));
	// What is on the command line takes precedence.
	const proxy = await startCommand(t, '--config', config, '--listen', '0', '--admin', '0', '--target', `http://127.0.0.1:${target}`, '--stop-timeout', '5000');
	t.is(await get(proxy.port, '/page'), '200 This is /page');

	const webSocket = await dial(t, proxy.port);
	webSocket.write(upgradeRequest());
	t.regex(await readHead(webSocket), /^HTTP\/1\.1 101 /u);
	webSocket.write(pattern(1, 0, 100_000));
	t.true(same(await read(webSocket, 100_000), pattern(1, 0, 100_000)));

	const credentials = `Proxy-Authorization: Basic ${Buffer.from('alice:open sesame').toString('base64')}\r\n\r\n`;
	const tunnel = await dial(t, proxy.port);
	tunnel.write(connectRequest(bare.port).replace(/\r\n$/u, credentials));
	t.regex(await readHead(tunnel), /^HTTP\/1\.1 200 /u);
	tunnel.write('through');
	t.is(String(await read(tunnel, 7)), 'through');

	t.is(await connect(t, proxy.port, connectRequest(bare.port)), '407');
	t.is(await connect(t, proxy.port, connectRequest(target).replace(/\r\n$/u, credentials)), '403');

	t.is(await get(proxy.adminPort!, '/healthz'), '200 ok\n');
	const [status, json] = split(await get(proxy.adminPort!, '/tunnels'));
	t.is(status, '200');
	const {stats, tunnels} = JSON.parse(json) as {readonly stats: unknown; readonly tunnels: ReadonlyArray<Record<string, unknown>>};
	t.like(stats, {open: 2, byKind: {upgrade: 1, connect: 1}, rejected: {403: 1, 407: 1}});
	t.like(tunnels[1], {kind: 'connect', user: 'alice', target: {host: '127.0.0.1', port: bare.port}, client: `127.0.0.1:${tunnel.localPort!}`});
	const metrics = await get(proxy.adminPort!, '/metrics');
	t.regex(metrics, /^http_proxy_sockmap_tunnels_opened_total 2$/mu);
	t.regex(metrics, /^http_proxy_sockmap_rejected_total\{status="403"\} 1$/mu);
	t.regex(await get(proxy.adminPort!, '/nowhere'), /^404 /u);
	t.regex(await get(proxy.adminPort!, '//'), /^404 /u);

	proxy.kill('SIGTERM');
	t.is(await readTextToEnd(webSocket), '');
	t.is(await readTextToEnd(tunnel), '');
	webSocket.end();
	tunnel.end();
	t.like(await proxy.exit, {code: 0, stdout: ''});

	const text = await fs.readFile(log, 'utf8');
	const entries = text.trim().split('\n').map(line => JSON.parse(line) as Record<string, unknown>);
	t.like(entries.find(({event}) => event === 'request'), {method: 'GET', url: '/page', status: 200, finished: true});
	t.like(entries.find(({kind}) => kind === 'upgrade'), {event: 'tunnel', url: '/', reason: 'closed', by: 'proxy', clientToUpstream: 100_000, upstreamToClient: 100_000});
	t.like(entries.find(({kind}) => kind === 'connect'), {event: 'tunnel', user: 'alice', url: `127.0.0.1:${bare.port}`, clientToUpstream: 7, upstreamToClient: 7});
	t.is(entries.filter(({event}) => event === 'rejected').length, 2);
	t.false(text.includes('sesame'));
});

test.serial('a proxy for CONNECT only has no pages and no WebSockets, and stops at once when nothing is open', async t => {
	const proxy = await startCommand(t, '--listen', '0', '--connect', '--allow', '*:443', '--engine', 'stream', '--access-log', '-');
	t.regex(await get(proxy.port, '/page'), /^404 /u);
	t.is(await connect(t, proxy.port, upgradeRequest()), '404');
	// A wildcard does not mean addresses of this machine.
	t.is(await connect(t, proxy.port, connectRequest(443)), '403');
	proxy.kill('SIGINT');
	const {code, stdout} = await proxy.exit;
	t.is(code, 0);
	t.deepEqual(stdout.trim().split('\n').map(line => (JSON.parse(line) as {readonly event: string}).event), ['request', 'rejected']);
});

test.serial('a target that is down is a 502', async t => {
	const server = http.createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const {port} = server.address() as AddressInfo;
	server.close();
	await once(server, 'close');
	const proxy = await startCommand(t, '--listen', '0', '--target', `http://127.0.0.1:${port}`, '--engine', 'stream');
	t.regex(await get(proxy.port, '/'), /^502 /u);
	t.is(await connect(t, proxy.port, upgradeRequest()), '502');
	t.is(await connect(t, proxy.port, connectRequest(443)), '405');
});

test.serial('what cannot be understood is exit code 2 and a hint, and help is 0', async t => {
	const outcomes = await Promise.all([['--version'], ['setup', '--help'], ['nonsense'], ['proxy'], ['proxy', '--connect'], ['proxy', '--connect', '--allow', 'nonsense'], ['setup']].map(async given => command(...given)));
	t.deepEqual(outcomes.map(({code}) => code), [0, 0, 2, 2, 2, 2, 2]);
	const [version, help, ...wrong] = outcomes;
	t.regex(version!.stdout, /^\d+\.\d+\.\d+/u);
	t.regex(help!.stdout, /Examples:\n {2}\$ sudo npx http-proxy-sockmap setup --user www-data/u);
	for (const {stdout, stderr} of wrong) {
		t.is(stdout, '');
		t.regex(stderr, /^http-proxy-sockmap: .+\nSee `http-proxy-sockmap .*--help`\.\n$/u);
	}
});

test.serial('each way of asking for help gets the same, and without a command it is there too, but was not asked for', async t => {
	const [overview, asCommand, nothing, ofSetup, setup] = await Promise.all([['--help'], ['help'], [], ['help', 'setup'], ['setup', '--help']].map(async given => command(...given)));
	t.is(overview!.code, 0);
	for (const name of ['doctor', 'setup', 'proxy']) {
		t.regex(overview!.stdout, new RegExp(`^  ${name} +\\S`, 'mu'));
	}

	t.deepEqual(asCommand, overview);
	t.deepEqual(nothing, {...overview, code: 2, stdout: '', stderr: overview!.stdout});
	t.deepEqual(ofSetup, setup);
});

test.serial('doctor says in lines what it says in JSON, whatever that is', async t => {
	const [lines, json] = [await command('doctor'), await command('doctor', '--json')];
	const {engine, findings} = JSON.parse(json.stdout) as {readonly engine: string; readonly findings: ReadonlyArray<{readonly name: string; readonly status: string; readonly detail: string; readonly fixes?: readonly unknown[]}>};
	t.is(lines.code, engine === 'sockmap' ? 0 : 1);
	t.is(json.code, lines.code);
	const said = lines.stdout.trimEnd().split('\n');
	t.regex(said.pop()!, new RegExp(`^A proxy would get the engine ${engine}\\b.*\\.$`, 'u'));
	t.is(said.pop(), '');
	t.is(said.length, findings.reduce((sum, {fixes = []}) => sum + 1 + fixes.length, 0));
	const marks: Readonly<Record<string, string>> = {ok: 'ok', no: 'no', info: '--'};
	for (const {name, status, detail} of findings) {
		t.true(said.some(line => line.startsWith(`${marks[status]!}  ${name} `) && line.endsWith(detail)), `${name}: ${detail}`);
	}
});

test.serial('an engine that is named and not available is a failure', async t => {
	const {code, stderr} = await command('proxy', '--target', 'http://127.0.0.1:1', '--engine', 'sockmap', '--pin-path', '/nowhere');
	t.is(code, 1);
	t.regex(stderr, /The engine 'sockmap' is not available\..*\/nowhere/u);
});

async function startTarget(t: ExecutionContext): Promise<number> {
	const server = http.createServer((request, response) => {
		response.end(`This is ${request.url!}`);
	});
	server.on('upgrade', (_request, socket) => {
		socket.write(switchingProtocols);
		socket.pipe(socket);
	});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	t.teardown(async () => {
		server.closeAllConnections();
		server.close();
		await within('the target is closed', once(server, 'close'));
	});
	return (server.address() as AddressInfo).port;
}

async function startCommand(t: ExecutionContext, ...given: readonly string[]) {
	const child = spawn(process.execPath, ['--import=tsx', main, 'proxy', ...given], {stdio: ['ignore', 'pipe', 'pipe']});
	const stdout = text(child.stdout);
	const exited = closed(child);
	t.teardown(async () => {
		child.kill('SIGKILL');
		await exited;
	});
	let stderr = '';
	const ready = new Promise<void>((resolve, reject) => {
		child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
			stderr += chunk;
			if (/^Listening/mu.test(stderr) && (!given.includes('--admin') || /^Admin/mu.test(stderr))) {
				resolve();
			}
		});
		child.once('exit', () => {
			reject(new Error(stderr));
		});
	});
	await within('the proxy listens', ready);
	const portIn = (line: RegExp) => Number(line.exec(stderr)?.groups?.port);
	return {
		port: portIn(/^Listening on .*:(?<port>\d+)$/mu),
		adminPort: given.includes('--admin') ? portIn(/^Admin on .*:(?<port>\d+)$/mu) : undefined,
		kill(signal: NodeJS.Signals) {
			child.kill(signal);
		},
		exit: (async () => {
			await exited;
			return {code: child.exitCode, stdout: await stdout};
		})(),
	};
}

/** Status and body. */
async function get(port: number, url: string): Promise<string> {
	const response = await fetch(`http://127.0.0.1:${port}${url}`, {headers: {connection: 'close'}});
	return `${response.status} ${await response.text()}`;
}

function split(answer: string): [string, string] {
	return [answer.slice(0, 3), answer.slice(4)];
}

/** The status of the answer, after which the connection is closed. */
async function connect(t: ExecutionContext, port: number, request: string): Promise<string> {
	const client = await dial(t, port);
	client.write(request);
	const head = await readHead(client);
	client.destroy();
	return head.split(' ')[1]!;
}

async function temporaryDirectory(t: ExecutionContext): Promise<string> {
	const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'http-proxy-sockmap-'));
	t.teardown(async () => {
		await fs.rm(directory, {recursive: true});
	});
	return directory;
}

const main = fileURLToPath(new URL('../plugin/cli/main.ts', import.meta.url));
