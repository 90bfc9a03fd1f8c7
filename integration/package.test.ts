import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import {platform} from '../plugin/addon.ts';
import {impossible} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';

// The package as others get it: packed, installed without running scripts, and used from an empty project. What is
// packed is what `npm run build` has made, and the binary for this machine, which is made here.

nothingIsLeft();

test.serial.before('the package is packed and installed', async () => {
	folder = await fs.mkdtemp(path.join(os.tmpdir(), 'package-'));
	if (process.platform === 'linux') {
		try {
			await run(root, process.execPath, ['addon/prebuild.js', platform()]);
		} catch (error) {
			noBinary = /There is no .*/.exec(String(error))?.[0];
			if (noBinary === undefined) {
				throw error;
			}
		}
	}

	await run(root, 'npm', ['pack', '--ignore-scripts', '--pack-destination', folder]);
	for await (const {name} of await fs.opendir(folder)) {
		if (name.endsWith('.tgz')) {
			tarball = path.join(folder, name);
		}
	}

	await install('npm', 'npm', ['install', ...quiet, tarball]);
});

test.after.always('the folder of the projects is removed', async () => {
	await fs.rm(folder, {recursive: true, force: true});
});

test.serial('the tarball holds what was built and what everybody reads, and nothing else', async t => {
	const {stdout} = await run(folder, 'tar', ['--list', '--file', tarball]);
	const files = stdout.trim().split('\n').map(file => file.replace(/^package\//, ''));
	t.deepEqual(files.filter(file => !/^(?:README\.md|LICENSE|package\.json|prebuilds\/linux(?:musl)?-(?:x64|arm64)\.node|dist\/.*(?<!\.test)(?:\.d\.ts|(?<!\.test)\.js))$/.test(file)), []);
	t.true(files.includes('dist/index.d.ts'));
});

test.serial('whoever installs the package compiles nothing and runs none of its scripts, on any system', async t => {
	const {scripts, ...manifest} = JSON.parse(await fs.readFile(path.join(installed('npm'), 'package.json'), 'utf8')) as Record<string, Record<string, string>>;
	t.deepEqual(Object.keys(scripts!).filter(name => /^(?:pre|post)?install$|^prepare$/.test(name)), []);
	t.like(manifest, {gypfile: false, os: undefined, cpu: undefined, libc: undefined});
});

test.serial('no file of the package names a folder of the machine that built it', async t => {
	const files = await fs.readdir(installed('npm'), {recursive: true, withFileTypes: true});
	const built = files.filter(({name}) => /\.(?:node|js|d\.ts)$/.test(name));
	t.true(built.length > 20);
	for (const {parentPath, name} of built) {
		const content = await fs.readFile(path.join(parentPath, name), 'latin1'); // eslint-disable-line no-await-in-loop
		for (const named of name.endsWith('.node') ? [`${root}/`, `${os.homedir()}/`, `${os.tmpdir()}/`, '/usr/'] : [`${root}/`]) {
			t.false(content.includes(named), `${name} names ${named}`);
		}
	}
});

test.serial('an ES module that imports the package gets the best engine', async t => {
	carries(t, await use('npm', 'use.mjs', process.execPath));
});

test.serial('a CommonJS module that requires the package gets the best engine', async t => {
	carries(t, await use('npm', 'use.cjs', process.execPath));
});

test.serial('the package that pnpm has installed gets the best engine', async t => {
	await install('pnpm', bin('pnpm'), ['add', '--ignore-scripts', '--store-dir', path.join(folder, 'store'), tarball]);
	carries(t, await use('pnpm', 'use.mjs', process.execPath));
});

test.serial('the package that Yarn has installed without node_modules gets the best engine', async t => {
	await install('yarn', bin('yarn'), ['add', `http-proxy-sockmap@file:${tarball}`]);
	await t.throwsAsync(fs.access(path.join(folder, 'yarn', 'node_modules')), {code: 'ENOENT'});
	carries(t, await use('yarn', 'use.mjs', bin('yarn'), 'node'));
});

for (const version of ['20', '22', '24'].filter(version => !process.version.startsWith(`v${version}.`))) {
	test.serial(`on Node ${version} the package gets the best engine`, worksOn, version);
}

test.serial('without its binary the package carries the same in streams, and says what is missing', async t => {
	await fs.cp(path.join(folder, 'npm'), path.join(folder, 'bare'), {recursive: true});
	await fs.rm(path.join(installed('bare'), 'prebuilds'), {recursive: true, force: true});
	const {engine, echoed, skipped} = await use('bare', 'use.mjs', process.execPath);
	t.is(engine, 'stream');
	t.is(echoed, 'through the tunnel');
	t.deepEqual(skipped.map(({engine, step}) => [engine, step]), [['sockmap', 'load the addon'], ['splice', 'load the addon']]);
	for (const {reason} of skipped) {
		t.true(reason.startsWith(`Could not load the addon: there is no addon for ${platform()}. `), reason);
	}
});

// TypeScript knows since 5.8 that CommonJS can require the package, but `node16` stands for a Node that could not.
for (const [resolution, module, ...files] of [
	['node16', 'node16', 'use.mts'],
	['nodenext', 'nodenext', 'use.mts', 'use.cts'],
	['bundler', 'preserve', 'use.mts', 'use.cts'],
] as const) {
	test.serial(`the types are complete with moduleResolution ${resolution}`, typesAreComplete, ['--module', module, '--moduleResolution', resolution, ...files]);
}

test.serial('publint has nothing to say', async t => {
	const {stdout} = await run(folder, bin('publint'), [tarball, '--strict']);
	t.regex(stdout, /All good!/);
});

test.serial('the types are wrong nowhere', async t => {
	// A CommonJS module gets an ES module here, by `require()` of Node 20.19 and later, which is what `engines` asks for.
	// The profile leaves out only the resolution of Node 10, which does not know `exports`.
	await t.notThrowsAsync(run(folder, bin('attw'), [tarball, '--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm']));
});

async function worksOn(t: ExecutionContext, version: string): Promise<void> {
	const name = `node-${process.platform}-${process.arch}`;
	try {
		await install(`node-${version}`, 'npm', ['install', ...quiet, `${name}@${version}`]);
	} catch (error) {
		t.log(`skipped: Node ${version} could not be installed. ${/npm error .*/.exec(String(error))?.[0] ?? ''}`);
		t.pass();
		return;
	}

	const node = path.join(folder, `node-${version}`, 'node_modules', name, 'bin', 'node');
	const {stdout} = await run(folder, node, ['--version']);
	t.regex(stdout, new RegExp(`^v${version}\\.`));
	carries(t, await use('npm', 'use.mjs', node));
	carries(t, await use('npm', 'use.cjs', node));
}

async function typesAreComplete(t: ExecutionContext, arguments_: readonly string[]): Promise<void> {
	const cwd = path.join(folder, 'npm');
	const types = path.join(cwd, 'node_modules', '@types');
	await fs.mkdir(types, {recursive: true});
	await fs.rm(path.join(types, 'node'), {force: true});
	await fs.symlink(path.join(root, 'node_modules', '@types', 'node'), path.join(types, 'node'));
	await fs.writeFile(path.join(cwd, 'use.mts'), typed);
	await fs.writeFile(path.join(cwd, 'use.cts'), typed);
	try {
		await run(cwd, bin('tsc'), ['--noEmit', '--strict', '--skipLibCheck', 'false', '--target', 'es2022', '--types', 'node', ...arguments_]);
		t.pass();
	} catch (error) {
		t.fail((error as {readonly stdout: string}).stdout);
	}
}

type Use = {
	readonly engine: string;
	readonly echoed: string;
	readonly skipped: ReadonlyArray<{readonly engine: string; readonly step: string; readonly reason: string}>;
};

function carries(t: ExecutionContext, {engine, echoed, skipped}: Use): void {
	t.is(echoed, 'through the tunnel');
	if (noBinary === undefined) {
		t.is(engine, best, JSON.stringify(skipped));
	} else {
		t.log(`skipped: the engine, because the binary could not be built. ${noBinary}`);
	}
}

async function use(project: string, file: string, command: string, ...arguments_: readonly string[]): Promise<Use> {
	const imports = file.endsWith('.cjs') ? requires : imported;
	await fs.writeFile(path.join(folder, project, file), `${imports}\n${program}`);
	const {stdout} = await run(path.join(folder, project), command, [...arguments_, file]);
	return JSON.parse(stdout) as Use;
}

async function install(project: string, command: string, arguments_: readonly string[]): Promise<void> {
	const cwd = path.join(folder, project);
	await fs.mkdir(cwd);
	await fs.writeFile(path.join(cwd, 'package.json'), JSON.stringify({name: 'empty', version: '0.0.0', private: true}));
	// Yarn looks for the project that a folder without a lock file belongs to.
	await fs.writeFile(path.join(cwd, 'yarn.lock'), '');
	await run(cwd, command, arguments_);
}

async function run(cwd: string, command: string, arguments_: readonly string[]) {
	const {HTTP_PROXY_SOCKMAP_ADDON: _, ...environment} = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(?:package|lifecycle|config_local_prefix)|^NODE_OPTIONS$/.test(name)));
	return promisify(execFile)(command, arguments_, {
		cwd,
		timeout: 100_000,
		env: {
			...environment,
			COREPACK_ENABLE_STRICT: '0',
			YARN_ENABLE_SCRIPTS: 'false',
			YARN_ENABLE_TELEMETRY: '0',
			YARN_ENABLE_IMMUTABLE_INSTALLS: 'false',
			YARN_GLOBAL_FOLDER: path.join(folder, 'yarn-global'),
			...(registry === undefined ? {} : {YARN_NPM_REGISTRY_SERVER: registry}),
		},
	});
}

function installed(project: string): string {
	return path.join(folder, project, 'node_modules', 'http-proxy-sockmap');
}

function bin(name: string): string {
	return path.join(root, 'node_modules', '.bin', name);
}

let folder = '';
let tarball = '';
let noBinary: string | undefined;

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const quiet = ['--ignore-scripts', '--no-audit', '--no-fund'];
const best = impossible('sockmap') === undefined ? 'sockmap' : (impossible('splice') === undefined ? 'splice' : 'stream');
const {npm_config_registry: registry} = process.env;

const imported = `
import {once} from 'node:events';
import net from 'node:net';
import {sockmap} from 'http-proxy-sockmap';
`;

const requires = `
const {once} = require('node:events');
const net = require('node:net');
const {sockmap} = require('http-proxy-sockmap');
`;

const program = `
void main();

async function main() {
	const tunnels = sockmap();
	const decided = new Promise(resolve => {
		tunnels.once('promoted', resolve);
		tunnels.once('kept', resolve);
	});
	const closed = new Promise(resolve => {
		tunnels.once('close', (tunnel, stats) => resolve(stats));
	});

	const upstream = net.createServer(socket => socket.pipe(socket)).listen(0, '127.0.0.1');
	await once(upstream, 'listening');
	const proxy = net.createServer({allowHalfOpen: true}, client => {
		const socket = net.connect({host: '127.0.0.1', port: upstream.address().port, allowHalfOpen: true});
		socket.once('connect', () => tunnels.splice(client, socket));
	}).listen(0, '127.0.0.1');
	await once(proxy, 'listening');

	const client = net.connect(proxy.address().port, '127.0.0.1');
	const {skipped} = await decided;
	client.end('through the tunnel');
	let echoed = '';
	for await (const chunk of client) {
		echoed += chunk;
	}

	const {engine} = await closed;
	console.log(JSON.stringify({engine, echoed, skipped}));
	proxy.close();
	upstream.close();
	await tunnels.close();
}
`;

const typed = `
import {capabilities, sockmap, SockmapError, type Options} from 'http-proxy-sockmap';

const options: Options = {engine: 'auto', allow: ['example.com:443']};
const tunnels = sockmap(options.engine === 'auto' ? undefined : undefined, options);
tunnels.on('close', (tunnel, stats) => {
	const bytes: number = stats.clientToUpstream.bytes;
	console.log(tunnel.id, bytes);
});
const {sockmap: capability} = capabilities();
const reason: string | undefined = capability.available ? undefined : capability.reason;
const isOurs = (error: unknown): error is SockmapError => error instanceof SockmapError;
console.log(reason, isOurs(reason));
`;
