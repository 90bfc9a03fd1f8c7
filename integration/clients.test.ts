import {Buffer} from 'node:buffer';
import {execFile, execFileSync, spawn, type ExecFileException} from 'node:child_process';
import {once} from 'node:events';
import {existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import type net from 'node:net';
import type {AddressInfo} from 'node:net';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import test, {type ExecutionContext} from 'ava';
import {HttpsProxyAgent} from 'https-proxy-agent';
import {ProxyAgent, request as undiciRequest} from 'undici';
import {WebSocketServer} from 'ws';
import {selfSigned} from './certificate.ts';
import {assertCarriedBy, onEachEngine, type Carrier} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, same} from './pattern.ts';
import {startProxy, type RunningProxy} from './proxy.ts';
import {within} from './until.ts';

// Clients as people have them, each on every engine, through a proxy that wants to know who they are.

nothingIsLeft();

const options = (engine: Carrier) => ({engine, allow: ['localhost:*', '127.0.0.1:*', '[::1]:*'], users: {alice: 'p@ss'}}) as const;
const credentials = 'alice:p%40ss';

for (const [title, more, host] of [
	['over HTTP/1.1', ['--http1.1'], 'localhost'],
	['over HTTP/2', ['--http2'], 'localhost'],
	['by an IPv6 address', [], '[::1]'],
	['by a CONNECT of HTTP/1.0', ['--proxy1.0'], 'localhost'],
	['after it was asked who it is', ['--proxy-anyauth'], 'localhost'],
] as const) {
	onEachEngine(`curl fetches a megabyte ${title}`, async (t, engine) => {
		const origin = await startOrigin(t);
		const running = await startProxy(t, options(engine));
		const proxy = `127.0.0.1:${running.port}`;
		const [flag, ...others] = more;
		const stdout = await run('curl', ['-sS', '--insecure', '--noproxy', '', '--max-time', '20', ...(flag === '--proxy1.0' ? [flag, proxy] : ['--proxy', `http://${proxy}`, ...(flag ? [flag] : [])]), ...others, '--proxy-user', 'alice:p@ss', `https://${host}:${origin.port}/megabyte`]);
		t.true(same(stdout, megabyte));
		t.is(origin.versions.at(-1), title.includes('HTTP/2') || !title.includes('HTTP/1.1') ? '2.0' : '1.1');
		await carried(t, running, engine);
	});
}

withTools(['wget'], 'wget fetches a megabyte', async (t, engine) => {
	const origin = await startOrigin(t);
	const running = await startProxy(t, options(engine));
	const stdout = await run('wget', ['-q', '-O', '-', '--no-check-certificate', '-e', `https_proxy=http://127.0.0.1:${running.port}`, '--proxy-user=alice', '--proxy-password=p@ss', `https://localhost:${origin.port}/megabyte`]);
	t.true(same(stdout, megabyte));
	await carried(t, running, engine);
});

onEachEngine('openssl s_client talks to a server through it, with credentials', async (t, engine) => {
	const origin = await startOrigin(t);
	const running = await startProxy(t, options(engine));
	const stdout = await run('openssl', ['s_client', '-quiet', '-ign_eof', '-proxy', `127.0.0.1:${running.port}`, '-proxy_user', 'alice', '-proxy_pass', 'pass:p@ss', '-connect', `localhost:${origin.port}`, '-servername', 'localhost'], 'GET /megabyte HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
	t.true(same(stdout.subarray(Buffer.from(stdout).indexOf('\r\n\r\n') + 4), megabyte));
	await carried(t, running, engine);
});

withTools(['git'], 'git clones a repository over https', async (t, engine) => {
	const folder = temporary(t);
	const git = (...rest: string[]) => execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@example.test', '-c', 'init.defaultBranch=main', ...rest], {cwd: folder, stdio: 'pipe'});
	git('init', '--quiet', 'source');
	writeFileSync(path.join(folder, 'source', 'file'), pattern(5, 0, 300_000));
	git('-C', 'source', 'add', 'file');
	git('-C', 'source', 'commit', '--quiet', '--message', 'one');
	const origin = await startOrigin(t, path.join(folder));
	const running = await startProxy(t, options(engine));
	await run('git', ['-c', 'http.sslVerify=false', '-c', `http.proxy=http://${credentials}@127.0.0.1:${running.port}`, 'clone', '--quiet', `https://localhost:${origin.port}/source/.git`, path.join(folder, 'copy')]);
	t.is(execFileSync('git', ['-C', path.join(folder, 'copy'), 'log', '--format=%s']).toString(), 'one\n');
	await carried(t, running, engine);
});

onEachEngine('https-proxy-agent gives a request of Node its tunnel', async (t, engine) => {
	const origin = await startOrigin(t);
	const running = await startProxy(t, options(engine));
	const agent = new HttpsProxyAgent(`http://${credentials}@127.0.0.1:${running.port}`, {keepAlive: false});
	const request = https.get({host: 'localhost', port: origin.port, path: '/megabyte', agent, rejectUnauthorized: false});
	const [response] = await once(request, 'response') as [AsyncIterable<Uint8Array>];
	const chunks: Uint8Array[] = [];
	for await (const chunk of response) {
		chunks.push(chunk);
	}

	t.true(same(Buffer.concat(chunks), megabyte));
	await carried(t, running, engine);
});

onEachEngine('undici\'s ProxyAgent gives a request its tunnel', async (t, engine) => {
	const origin = await startOrigin(t);
	const running = await startProxy(t, options(engine));
	const dispatcher = new ProxyAgent({uri: `http://127.0.0.1:${running.port}`, token: `Basic ${Buffer.from('alice:p@ss').toString('base64')}`, requestTls: {rejectUnauthorized: false}});
	const {body} = await undiciRequest(`https://localhost:${origin.port}/megabyte`, {dispatcher});
	t.true(same(new Uint8Array(await body.arrayBuffer()), megabyte));
	await dispatcher.close();
	await carried(t, running, engine);
});

withTools(['ssh', 'ssh-keygen', '/usr/sbin/sshd', 'nc'], 'ssh logs in by a ProxyCommand, and what is piped through it comes back', async (t, engine) => {
	const folder = temporary(t);
	for (const key of ['host', 'user']) {
		execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path.join(folder, key)]);
	}

	if (process.getuid?.() === 0) {
		mkdirSync('/run/sshd', {recursive: true}); // Where it locks itself up.
	}

	const port = await freePort();
	const server = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', '/dev/null', '-p', String(port), '-h', path.join(folder, 'host'), ...['ListenAddress=127.0.0.1', `AuthorizedKeysFile=${folder}/user.pub`, 'StrictModes=no', 'UsePAM=no', 'PidFile=none'].flatMap(option => ['-o', option])], {stdio: ['ignore', 'ignore', 'pipe']});
	t.teardown(async () => {
		server.kill();
		await within('sshd has ended', once(server, 'close'));
	});
	await within('sshd listens', once(server.stderr, 'data'));
	server.stderr.resume();
	const running = await startProxy(t, {engine, allow: [`127.0.0.1:${port}`]});
	const stdout = await run('ssh', ['-F', 'none', '-i', path.join(folder, 'user'), '-p', String(port), ...['BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', `ProxyCommand=nc -X connect -x 127.0.0.1:${running.port} %h %p`].flatMap(option => ['-o', option]), `${os.userInfo().username}@127.0.0.1`, 'cat'], megabyte);
	t.true(same(stdout, megabyte));
	await carried(t, running, engine, '');
});

withTools(['chromium'], 'Chromium loads a page over TLS and talks to a WebSocket', async (t, engine) => {
	const server = https.createServer(await selfSigned(), (_request, response) => {
		response.setHeader('Content-Type', 'text/html');
		response.end('<script>const socket = new WebSocket("wss://" + location.host); socket.onopen = () => socket.send("x".repeat(100000)); socket.onmessage = ({data}) => socket.send("got " + data.length);</script>');
	}).listen(0);
	await once(server, 'listening');
	const {port} = server.address() as AddressInfo;
	const sockets = new WebSocketServer({server});
	const report = new Promise<string>(resolve => {
		sockets.on('connection', socket => {
			socket.on('message', data => {
				const text = new TextDecoder().decode(data as Uint8Array);
				if (text.startsWith('got')) {
					resolve(text);
				} else {
					socket.send(text);
				}
			});
		});
	});
	const running = await startProxy(t, {engine, allow: [`localhost:${port}`]});
	const browser = spawn('chromium', [
		...['headless', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-background-networking', 'disable-component-update', 'disable-sync', 'ignore-certificate-errors'].map(flag => `--${flag}`),
		`--user-data-dir=${temporary(t)}`,
		`--proxy-server=http://127.0.0.1:${running.port}`,
		'--proxy-bypass-list=<-loopback>',
		'--remote-debugging-port=0',
		`https://localhost:${port}/`,
	], {stdio: 'ignore', detached: true});
	t.teardown(async () => {
		for (const client of sockets.clients) {
			client.terminate();
		}

		server.close();
		server.closeAllConnections();
		await within('the origin is closed', once(server, 'close'));
	});
	const gone = once(browser, 'close');
	try {
		t.is(await within('the page reports', report, 30_000), 'got 100000');
	} finally {
		process.kill(-browser.pid!, 'SIGKILL');
		await within('Chromium has ended', gone);
	}

	const stats = await Promise.all(running.opened.map(async tunnel => running.closeOf(tunnel)));
	const [webSocket, ...pages] = stats.sort((one, other) => other.clientToUpstream.bytes - one.clientToUpstream.bytes);
	t.true(webSocket!.clientToUpstream.bytes > 100_000);
	assertCarriedBy(t, engine, webSocket!);
	t.true(pages.some(page => page.engine === engine && page.upstreamToClient.bytes > 0), 'the page came by a tunnel of its own');
});

/** What has not been installed is not tested, and says so. CI installs it. */
function withTools(tools: readonly string[], title: string, run: (t: ExecutionContext, engine: Carrier) => Promise<void>): void {
	const missing = tools.find(tool => !(process.env.PATH ?? '').split(path.delimiter).some(folder => existsSync(path.resolve(folder, tool))));
	if (missing === undefined) {
		onEachEngine(title, run);
	} else {
		test(`skipped, there is no ${missing}: ${title}`, t => {
			t.log(`skipped: there is no ${missing}`);
			t.pass();
		});
	}
}

function temporary(t: ExecutionContext): string {
	const folder = mkdtempSync(path.join(os.tmpdir(), 'clients-'));
	t.teardown(() => {
		rmSync(folder, {recursive: true, force: true, maxRetries: 10});
	});
	return folder;
}

async function freePort(): Promise<number> {
	const server = https.createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const {port} = server.address() as AddressInfo;
	server.close();
	await once(server, 'close');
	return port;
}

/** The origin: HTTP/1.1 and 2 over TLS, on both loopback addresses. With a folder, its repositories by git's own program. */
async function startOrigin(t: ExecutionContext, folder?: string): Promise<{readonly port: number; readonly versions: readonly string[]}> {
	const versions: string[] = [];
	const server = http2.createSecureServer({...await selfSigned(), allowHTTP1: true}, async (request, response) => {
		versions.push(request.httpVersion);
		if (folder === undefined) {
			response.end(megabyte);
			return;
		}

		const {pathname, searchParams} = new URL(request.url, 'https://localhost');
		const backend = execFile('git', ['http-backend'], {
			encoding: 'buffer', maxBuffer: 10_000_000, env: {
				...process.env, GIT_PROJECT_ROOT: folder, GIT_HTTP_EXPORT_ALL: '1', PATH_INFO: pathname, QUERY_STRING: searchParams.toString(), REQUEST_METHOD: request.method,
				CONTENT_TYPE: request.headers['content-type'] ?? '', HTTP_CONTENT_ENCODING: String(request.headers['content-encoding'] ?? ''), GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*',
			},
		}, (_error, stdout) => {
			const end = stdout.indexOf('\r\n\r\n');
			for (const line of stdout.toString('latin1', 0, end).split('\r\n')) {
				const [name, value] = line.split(': ') as [string, string];
				if (name !== 'Status') {
					response.setHeader(name, value);
				}
			}

			response.end(stdout.subarray(end + 4));
		});
		request.pipe(backend.stdin!);
	});
	server.listen(0);
	await once(server, 'listening');
	const sockets = new Set<net.Socket>();
	server.on('connection', (socket: net.Socket) => {
		sockets.add(socket);
	});
	t.teardown(async () => {
		for (const socket of sockets) {
			socket.destroy();
		}

		server.close();
		await within('the origin is closed', once(server, 'close'));
	});
	return {port: (server.address() as AddressInfo).port, versions};
}

/** That the one tunnel that there was, or the last one, was carried by the engine, and that it belonged to alice. */
async function carried(t: ExecutionContext, running: RunningProxy, engine: Carrier, user = 'alice'): Promise<void> {
	const [tunnel] = running.opened.slice(-1);
	t.is(tunnel!.user ?? '', user);
	assertCarriedBy(t, engine, await running.closeOf(tunnel!));
}

async function run(command: string, arguments_: readonly string[], input: string | Uint8Array = ''): Promise<Uint8Array> {
	return new Promise((resolve, reject) => {
		const child = execFile(command, [...arguments_], {encoding: 'buffer', maxBuffer: 10_000_000, timeout: 30_000, env: {...process.env, HOME: os.tmpdir(), GIT_TERMINAL_PROMPT: '0'}}, (error: ExecFileException | null, stdout, stderr) => { // eslint-disable-line @typescript-eslint/no-restricted-types
			if (error) {
				reject(new Error(`${command}: ${error.message}\n${stderr.toString()}`));
			} else {
				resolve(stdout);
			}
		});
		child.stdin!.end(input);
	});
}

const megabyte = pattern(3, 0, 1_000_000);
