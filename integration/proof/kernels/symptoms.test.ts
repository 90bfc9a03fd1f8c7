import {execFile} from 'node:child_process';
import {mkdtempSync} from 'node:fs';
import {
	cp, readFile, rm, symlink, writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import type {Capabilities} from '../../../plugin/index.ts';
import {impossible} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {has} from './here.ts';

// Kernels have had bugs that lose, repeat or hold back redirected bytes. No archive offers one of them any more, so the
// program is compiled anew to do to the bytes what those kernels did, and the self-test has to refuse it. What it is
// told, a user of such a kernel would be told.

nothingIsLeft();

const run = promisify(execFile);

const root = fileURLToPath(new URL('../../..', import.meta.url));

type Symptom = {readonly place: string | RegExp; readonly instead: string; readonly places?: number};

// Where the program decides that the kernel redirects, and where it leaves the bytes to the relay.
const redirecting = 'if (has_room(flow, lane, passed_before, len) && sk_redirect_map(skb, &targets, lane, 0) == SK_PASS) {';
const waking = '	wake_relay(flow, lane);\n	return SK_PASS;';

const symptoms: Readonly<Record<string, Symptom>> = {
	'drops what is redirected to a destination that is full (before 5.10)': {
		place: waking, instead: waking.replace('SK_PASS', 'SK_DROP'),
	},
	'sends a part of a large segment twice (6.4 to 6.16)': {
		place: redirecting, instead: `if (len > 1000) {
		char part[16];
		((long (*)(void *, __u32, void *, __u32))BPF_FUNC_skb_load_bytes)(skb, 0, part, sizeof(part));
		((long (*)(void *, __u32, __u64))BPF_FUNC_skb_change_tail)(skb, len + sizeof(part), 0);
		((long (*)(void *, __u32, const void *, __u32, __u64))BPF_FUNC_skb_store_bytes)(skb, len, part, sizeof(part), 0);
	}
	${redirecting}`,
	},
	'wakes nobody (5.13 to 6.0)': {
		place: waking, instead: '	return SK_PASS;',
	},
	'poisons the destination with a redirected FIN (since 6.0)': {
		// Of what is empty from the start, and of what is after a repetition was cut off.
		place: /\tif \((?:skb->)?len == 0\)\n\t\treturn SK_DROP;\n/gu, instead: '', places: 2,
	},
	'loses a small segment now and then': {
		place: redirecting, instead: `if (flow->redirected > 1000 && len == 100)
		return SK_DROP;
	${redirecting}`,
	},
};

const reason = impossible('sockmap') ?? ['clang', 'llvm-objcopy', 'llvm-readelf', 'cc', 'make'].map(command => has(command) ? undefined : `${command} is not installed`).find(Boolean);

const folder = mkdtempSync(path.join(os.tmpdir(), 'symptoms-'));

test.before('the addon is copied, to be built again and again', async () => {
	for (const part of ['addon', 'bpf', 'dist', 'package.json']) {
		await cp(path.join(root, part), path.join(folder, part), {recursive: true, preserveTimestamps: true}); // eslint-disable-line no-await-in-loop
	}

	await symlink(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
});

test.after.always('the copy is removed', async () => {
	await rm(folder, {recursive: true, force: true});
});

test.serial('the self-test accepts this kernel with the program as it is', async t => {
	if (reason !== undefined) {
		t.log(`skipped: ${reason}`);
		t.pass();
		return;
	}

	t.deepEqual(await selfTest(), {available: true});
});

for (const [title, {place, instead, places = 1}] of Object.entries(symptoms)) {
	test.serial(`the self-test refuses a kernel that ${title}`, async t => {
		t.timeout(5 * 60_000);
		if (reason !== undefined) {
			t.log(`skipped: ${reason}`);
			t.pass();
			return;
		}

		const source = await readFile(path.join(root, 'bpf/verdict.bpf.c'), 'utf8');
		t.is(source.split(place).length, places + 1, 'the program has changed, and this test has to follow');
		await writeFile(path.join(folder, 'bpf/verdict.bpf.c'), source.replace(place, () => instead));
		await run(process.execPath, ['bpf/build.js'], {cwd: folder});
		await run('make', ['-C', 'addon/build', 'BUILDTYPE=Release'], {cwd: folder});

		const sockmap = await selfTest();
		t.false(sockmap.available);
		const {step, reason: told} = sockmap as Exclude<typeof sockmap, {readonly available: true}>;
		t.log(told);
		t.true(step.startsWith('pass the self-test'), `refused at: ${step}`);
	});
}

async function selfTest(): Promise<Capabilities['sockmap']> {
	const {stdout} = await run(process.execPath, ['--input-type=module', '--eval', 'import {capabilities} from "http-proxy-sockmap"; console.log(JSON.stringify(capabilities().sockmap));'], {
		cwd: folder,
		env: {...process.env, HTTP_PROXY_SOCKMAP_ADDON: path.join(folder, 'addon/build/Release/sockmap.node')},
	});
	return JSON.parse(stdout) as Capabilities['sockmap'];
}
