import {Buffer} from 'node:buffer';
import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import type net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {promisify} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import type {Refusal} from '../plugin/index.ts';
import {connectRequest} from './ends.ts';
import {impossible} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {pattern, same} from './pattern.ts';
import {command, pinMaps, runIn} from './pinned.ts';
import {isInstalled, needed, withAmbient, withoutBpf} from './privileges.ts';
import {startProxyProcess, type MessageOf, type ProxyProcess} from './proxy-process.ts';
import {nobody as findNobody, type Unprivileged} from './unprivileged.ts';
import {echo, startUpstream} from './upstream.ts';
import {dial, read, readHead, readTextToEnd} from './wire.ts';

nothingIsLeft();

const reason = impossible('sockmap') ?? (isInstalled('setpriv', '--version') ? undefined : 'setpriv is not installed');

let nobody: Unprivileged;
const cleanups: Array<() => Promise<void>> = [];
test.before('nobody can run the program', async () => {
	if (reason === undefined) {
		nobody = await findNobody({teardown: (cleanup: () => Promise<void>) => cleanups.push(cleanup)} as unknown as ExecutionContext);
	}
});
test.after.always('what nobody was given is taken back', async () => {
	for (const cleanup of cleanups) {
		await cleanup(); // eslint-disable-line no-await-in-loop
	}
});

// One of these needs root, which is there or not for all of them.
function privileged(title: string, run: (t: ExecutionContext) => Promise<void>): void {
	if (reason === undefined) {
		test.serial(title, async t => {
			t.timeout(60_000);
			await run(t);
		});
	} else {
		test.serial(`skipped, ${reason}: ${title}`, t => {
			t.log(`skipped: ${reason}`);
			t.pass();
		});
	}
}

const notPermitted = {code: 'EPERM', errno: 1, syscall: 'bpf'};

privileged('nobody with nothing gets splice, and is told three ways to get sockmap', async t => {
	const {engine, skipped} = await carried(t, start(t, withAmbient(nobody, [])));
	t.is(engine, 'splice');
	t.like(only(t, skipped), {engine: 'sockmap', step: 'create the maps', ...notPermitted});
	t.regex(skipped[0]!.reason, /CAP_BPF.*as root.*setup --user nobody/u);
});

privileged('nobody with maps that setup has pinned gets sockmap without any capability, named by the environment or by the option', async t => {
	const parent = await fs.mkdtemp(path.join(os.tmpdir(), 'http-proxy-sockmap-'));
	const pinPath = path.join(parent, 'pins');
	t.teardown(async () => {
		await command('setup', '--path', pinPath, '--remove');
		await fs.rmdir(parent);
	});
	await fs.chmod(parent, 0o755);
	t.like(await command('setup', '--user', 'nobody', '--path', pinPath), {code: 0, stderr: ''});
	for (const options of [{pins: pinPath}, {pinPath, engine: 'sockmap'}] as const) {
		const {engine, skipped} = await carried(t, start(t, withAmbient(nobody, []), options)); // eslint-disable-line no-await-in-loop
		t.is(engine, 'sockmap');
		t.deepEqual(skipped, []);
	}
});

privileged('pinned maps in the default directory are found without being named', async t => {
	const uid = 65_533; // Of nobody else, so that the other tests do not find them.
	t.teardown(async () => {
		await command('setup', '--user', String(uid), '--remove');
	});
	t.like(await command('setup', '--user', String(uid)), {code: 0, stderr: ''});
	const {engine} = await carried(t, start(t, withAmbient(nobody, [], uid)));
	t.is(engine, 'sockmap');
});

privileged('the pinned maps of another user are refused with EACCES', async t => {
	const pins = await pinMaps(t);
	const {engine, skipped} = await carried(t, start(t, withAmbient(nobody, [], 65_533), {pins}));
	t.is(engine, 'splice');
	t.like(only(t, skipped), {step: 'open the pinned maps', code: 'EACCES', syscall: 'bpf'});
	t.regex(skipped[0]!.reason, /belong to another user/u);
});

privileged('exactly CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON as ambient capabilities are enough for sockmap', async t => {
	const {engine, skipped} = await carried(t, start(t, withAmbient(nobody, needed)));
	t.is(engine, 'sockmap');
	t.deepEqual(skipped, []);
});

privileged('exactly these three as capabilities of the file are enough, too', async t => {
	if (!isInstalled('setcap', '-h')) {
		t.log('skipped: setcap is not installed');
		t.pass();
		return;
	}

	const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'http-proxy-sockmap-'));
	t.teardown(async () => {
		await fs.rm(directory, {recursive: true});
	});
	await fs.chmod(directory, 0o755);
	const node = path.join(directory, 'node');
	await fs.copyFile(process.execPath, node);
	await fs.chmod(node, 0o755);
	await promisify(execFile)('setcap', [needed.map(name => `cap_${name}`).join(',') + '+ep', node]);
	const {engine, skipped} = await carried(t, start(t, {...nobody, options: {...nobody.options, execPath: node}}));
	t.is(engine, 'sockmap');
	t.deepEqual(skipped, []);
});

const stepWithout: Readonly<Record<string, RegExp>> = {bpf: /^(?:create the maps|load the verdict program)$/u, net_admin: /^create the maps$/u, perfmon: /^load the verdict program$/u};

for (const missing of needed) {
	privileged(`without CAP_${missing.toUpperCase()} the other two are not enough for sockmap`, async t => {
		await isNotEnough(t, needed.filter(name => name !== missing), stepWithout[missing]!);
	});
}

async function isNotEnough(t: ExecutionContext, capabilities: readonly string[], step: RegExp): Promise<void> {
	const {engine, skipped} = await carried(t, start(t, withAmbient(nobody, capabilities)));
	t.is(engine, 'splice');
	const {step: refused, code, syscall, reason} = only(t, skipped);
	t.regex(refused, step);
	t.is(syscall, 'bpf');
	// The verifier says EINVAL where it does not offer a helper to somebody without CAP_PERFMON.
	t.is(code, refused === 'create the maps' ? 'EPERM' : (code === 'EPERM' ? code : 'EINVAL'));
	t.regex(reason, /CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON/u);
}

privileged('a seccomp filter that refuses bpf(2) leaves splice even to root, with and without pinned maps', async t => {
	const filtered = withoutBpf({...nobody, options: {cwd: nobody.options.cwd, execPath: nobody.options.execPath}});
	if (!isInstalled('python3', '--version')) {
		t.log('skipped: python3 is not installed');
		t.pass();
		return;
	}

	const own = await carried(t, start(t, filtered));
	t.is(own.engine, 'splice');
	t.like(only(t, own.skipped), {step: 'create the maps', ...notPermitted});
	t.regex(own.skipped[0]!.reason, /seccomp/u);
	const pins = await pinMaps(t);
	const pinned = await carried(t, start(t, filtered, {pins}));
	t.is(pinned.engine, 'splice');
	t.like(only(t, pinned.skipped), {step: 'open the pinned maps', ...notPermitted});
	t.regex(pinned.skipped[0]!.reason, /seccomp/u);

	const {code, stdout} = await runIn(filtered.launcher, ['doctor', '--json'], {cwd: nobody.options.cwd, env: nobody.env});
	t.is(code, 1);
	const own_ = (JSON.parse(stdout) as Diagnosis).findings.find(({name}) => name === 'sockmap, maps of our own');
	t.like(own_, {status: 'no', ...notPermitted});
	// It has the capabilities, so they are not what would help.
	t.deepEqual(own_!.fixes!.map(fix => fix.for), ['docker', 'kubernetes', 'systemd']);
});

const unprivilegedBpf = '/proc/sys/kernel/unprivileged_bpf_disabled';
const readValue = async () => fs.readFile(unprivilegedBpf, {encoding: 'utf8'}).then(text => text.trim()); // eslint-disable-line promise/prefer-await-to-then

privileged('whatever unprivileged_bpf_disabled is, nobody needs the capabilities or pinned maps', async t => {
	const before = await readValue();
	const pins = await pinMaps(t);
	// The other tests have it as it is. 1 cannot be left again before the next boot, so it is tried only where it is set already.
	for (const value of before === '1' ? ['1'] : [before === '0' ? '2' : '0']) {
		/* eslint-disable no-await-in-loop */
		if (value !== before) {
			try {
				await fs.writeFile(unprivilegedBpf, value);
			} catch (error) {
				t.log(`skipped: unprivileged_bpf_disabled cannot be set to ${value}: ${(error as Error).message}`);
				continue;
			}

			t.teardown(async () => fs.writeFile(unprivilegedBpf, before));
		}

		t.is(await readValue(), value);
		const [bare, pinned, capable] = await Promise.all([
			carried(t, start(t, withAmbient(nobody, []))),
			carried(t, start(t, withAmbient(nobody, []), {pins})),
			carried(t, start(t, withAmbient(nobody, needed))),
		]);
		t.is(bare.engine, 'splice');
		t.like(only(t, bare.skipped), {step: 'create the maps', ...notPermitted});
		t.is(pinned.engine, 'sockmap');
		t.is(capable.engine, 'sockmap');
		/* eslint-enable no-await-in-loop */
	}
});

privileged('a directory without pinned maps is refused with ENOENT and the command that makes them', async t => {
	const pins = await pinMaps(t);
	await fs.rm(path.join(pins, 'maps', 'layout'));
	const {engine, skipped} = await carried(t, start(t, withAmbient(nobody, []), {pins}));
	t.is(engine, 'splice');
	t.like(only(t, skipped), {step: 'open the pinned maps', code: 'ENOENT', errno: 2});
	t.true(skipped[0]!.reason.includes(`setup --user nobody --path ${pins}`));
});

privileged('a set whose layout is another map is stale, and setup replaces it', async t => {
	const pins = await pinMaps(t);
	await fs.rename(path.join(pins, 'maps', 'flows'), path.join(pins, 'maps', 'layout'));
	await isStale(t, pins);
	t.like(await command('setup', '--user', 'nobody', '--path', pins), {code: 0});
	const {engine} = await carried(t, start(t, withAmbient(nobody, []), {pins}));
	t.is(engine, 'sockmap');
});

privileged('a set of another version is stale', async t => {
	if (!isInstalled('bpftool', 'version')) {
		t.log('skipped: bpftool is not installed');
		t.pass();
		return;
	}

	const pins = await pinMaps(t);
	const version = [1, 2, 3, 4, 5, 6, 7, 8, 16, 0, 0, 0, 0, 32, 0, 0].map(String);
	await promisify(execFile)('bpftool', ['map', 'update', 'pinned', path.join(pins, 'maps', 'layout'), 'key', '0', '0', '0', '0', 'value', ...version]);
	await isStale(t, pins);
});

privileged('with all slots taken a process gets splice, and the slot and the lanes of a crashed one are reclaimed', async t => {
	const pins = await pinMaps(t, {slots: 1, tunnels: 1});
	const first = start(t, withAmbient(nobody, []), {pins});
	const open = await connected(t, first);
	t.is(open.decision.engine, 'sockmap');

	const second = await carried(t, start(t, withAmbient(nobody, []), {pins}));
	t.is(second.engine, 'splice');
	t.like(only(t, second.skipped), {step: 'open the pinned maps', code: 'EBUSY', errno: 16});
	t.regex(second.skipped[0]!.reason, /all 1 slots are taken.*--slots/u);

	first.child.kill('SIGKILL');
	await first.exit;
	// There is one lane for each direction only: it must have been reclaimed.
	const third = await carried(t, start(t, withAmbient(nobody, []), {pins}));
	t.is(third.engine, 'sockmap');
	t.deepEqual(third.skipped, []);
});

privileged('two processes that share one set carry their own bytes at the same time, and one that goes does not disturb the other', async t => {
	const pins = await pinMaps(t, {slots: 2, tunnels: 4});
	const processes = [start(t, withAmbient(nobody, []), {pins}), start(t, withAmbient(nobody, []), {pins})] as const;
	const ends = await Promise.all([...processes, ...processes].map(async proxy => connected(t, proxy)));
	t.deepEqual(ends.map(({decision}) => decision.engine), ['sockmap', 'sockmap', 'sockmap', 'sockmap']);
	await Promise.all(ends.map(async ({client}, seed) => exchange(t, client, seed)));

	processes[0].child.kill('SIGKILL');
	await processes[0].exit;
	await Promise.all(ends.filter((_end, index) => index % 2 === 1).map(async ({client}, seed) => exchange(t, client, seed)));
});

privileged('setup leaves alone what fits, replaces what does not, and removes all of it', async t => {
	const pins = await pinMaps(t, {slots: 2, tunnels: 4096});
	const layout = path.join(pins, 'maps', 'layout');
	const before = await fs.stat(layout);
	const again = await command('setup', '--user', 'nobody', '--path', pins, '--slots', '2');
	t.regex(again.stdout, /^The maps are there already/u);
	const after = await fs.stat(layout);
	t.is(after.ino, before.ino);
	const smaller = await command('setup', '--user', 'nobody', '--path', pins, '--slots', '1');
	t.regex(smaller.stdout, /^Pinned maps/u);
	t.deepEqual(await fs.readdir(path.join(pins, 'slots')), ['0']);
	t.like(await command('setup', '--path', pins, '--remove'), {code: 0});
	await t.throwsAsync(fs.stat(pins), {code: 'ENOENT'});
	const mounts = await fs.readFile('/proc/self/mountinfo', 'utf8');
	t.false(mounts.includes(pins));
});

privileged('setup pins nothing in a directory that somebody else can write to', async t => {
	const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'http-proxy-sockmap-'));
	t.teardown(async () => {
		await fs.rm(directory, {recursive: true});
	});
	await fs.chown(directory, 65_534, 65_534);
	const {code, stderr} = await command('setup', '--user', 'nobody', '--path', directory);
	t.is(code, 1);
	t.regex(stderr, /belongs to root/u);
	t.deepEqual(await fs.readdir(directory), []);
});

privileged('setup is for root, and says so', async t => {
	const {launcher, options, env} = withAmbient(nobody, []);
	const {code, stderr} = await runIn(launcher, ['setup', '--user', 'nobody'], {cwd: options.cwd, env});
	t.is(code, 1);
	t.regex(stderr, /Only root can do this/u);
});

privileged('doctor finds for nobody what a proxy of his would get', async t => {
	const {launcher, options: {cwd}, env} = withAmbient(nobody, []);
	const bare = await runIn(launcher, ['doctor', '--json'], {cwd, env});
	t.is(bare.code, 1, bare.stderr);
	const without = JSON.parse(bare.stdout) as Diagnosis;
	t.is(without.engine, 'splice');
	const addon = without.findings.find(({name}) => name === 'addon');
	t.regex(addon!.detail, /^\/.+\.node$/u);
	const own = without.findings.find(({name}) => name === 'sockmap, maps of our own');
	t.like(own, {status: 'no', step: 'create the maps', ...notPermitted});
	t.deepEqual(own!.fixes!.map(fix => fix.for), ['command', 'systemd', 'docker', 'kubernetes']);

	const pins = await pinMaps(t, {slots: 3});
	const holder = start(t, withAmbient(nobody, []), {pins});
	await connected(t, holder);
	const pinned = await runIn(launcher, ['doctor', '--pin-path', pins], {cwd, env});
	t.is(pinned.code, 0, pinned.stdout);
	t.true(pinned.stdout.includes(`${pins}, of user 65534, 2 of 3 slots free`), pinned.stdout);
	t.true(pinned.stdout.endsWith(`A proxy would get the engine sockmap, with the maps pinned in ${pins}.\n`), pinned.stdout);
});

type Diagnosis = {
	readonly engine: string;
	readonly findings: ReadonlyArray<{readonly name: string; readonly status: string; readonly detail: string; readonly fixes?: ReadonlyArray<{readonly for: string}>}>;
};

function start(t: ExecutionContext, as: Unprivileged, {pins, ...options}: {readonly pins?: string; readonly pinPath?: string; readonly engine?: 'sockmap'} = {}): ProxyProcess {
	return startProxyProcess(t, {as: {...as, env: {...as.env, ...(pins !== undefined && {[pinsVariable]: pins})}}, ...options});
}

/** A tunnel through the proxy to an echo, and what carries it. */
async function connected(t: ExecutionContext, proxy: ProxyProcess): Promise<{readonly client: net.Socket; readonly decision: MessageOf<'decided'>}> {
	const {port} = await proxy.message('ready');
	const upstream = await startUpstream(t, {onConnection: echo});
	const client = await dial(t, port);
	client.write(connectRequest(upstream.port));
	t.regex(await readHead(client), /^HTTP\/1\.1 200 /u);
	const decision = await proxy.message('decided', ({clientPort}) => clientPort === client.localPort);
	if (decision.engine === 'sockmap') {
		await redirecting(proxy, decision.id, client);
	}

	return {client, decision};
}

/** Exchanges messages until the kernel has both directions, as it has with `auto` once it has seen some, so that what comes next is redirected. */
async function redirecting(proxy: ProxyProcess, id: number, client: net.Socket): Promise<void> {
	const message = Buffer.alloc(5000, 'x');
	for (;;) {
		/* eslint-disable no-await-in-loop */
		client.write(message);
		await read(client, message.length);
		const {tunnels} = await proxy.stats();
		/* eslint-enable no-await-in-loop */
		const stats = tunnels.find(([other]) => other === id)?.[1];
		if (stats?.clientToUpstream.state === 'kernel' && stats.upstreamToClient.state === 'kernel') {
			return;
		}
	}
}

/** What carried a tunnel whose bytes all came through, and that ended in peace. */
async function carried(t: ExecutionContext, proxy: ProxyProcess): Promise<MessageOf<'decided'>> {
	const {client, decision} = await connected(t, proxy);
	await exchange(t, client, 7);
	client.end('the end');
	t.is(await readTextToEnd(client), 'the end');
	const {stats} = await proxy.message('close', ({id}) => id === decision.id);
	t.is(stats.engine, decision.engine);
	t.is(stats.clientToUpstream.redirected > 0, decision.engine === 'sockmap', JSON.stringify(stats));
	return decision;
}

async function exchange(t: ExecutionContext, client: net.Socket, seed: number): Promise<void> {
	client.write(pattern(seed, 0, 500_000));
	t.true(same(await read(client, 500_000), pattern(seed, 0, 500_000)));
}

async function isStale(t: ExecutionContext, pins: string): Promise<void> {
	const {engine, skipped} = await carried(t, start(t, withAmbient(nobody, []), {pins}));
	t.is(engine, 'splice');
	t.like(only(t, skipped), {step: 'open the pinned maps', code: 'ESTALE', errno: 116});
	t.true(skipped[0]!.reason.includes(`setup --user nobody --path ${pins}`), skipped[0]!.reason);
}

function only(t: ExecutionContext, skipped: readonly Refusal[]): Refusal {
	t.is(skipped.length, 1, JSON.stringify(skipped));
	return skipped[0]!;
}

const pinsVariable = 'HTTP_PROXY_SOCKMAP_PINS';
