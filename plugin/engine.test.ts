import {userInfo} from 'node:os';
import test from 'ava';
import {capabilities, chooseEngines, explain} from './engine.ts';
import {SockmapError} from './errors.ts';
import {native, type NativeRefusal} from './native.ts';

const refusal: NativeRefusal = {
	step: 'create the targets map', message: 'Could not create the targets map: Operation not permitted', code: 'EPERM', errno: 1, syscall: 'bpf',
};

test('a refusal names the step, the errno and the remedy', t => {
	t.deepEqual(explain('sockmap', refusal), {
		engine: 'sockmap',
		reason: `Could not create the targets map: Operation not permitted. Run with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (systemd: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON), or as root; or run \`sudo npx http-proxy-sockmap setup --user ${userInfo().username}\` once after each boot, and this process needs no capability. In a container, bpf(2) must be allowed by its seccomp profile too.`,
		step: 'create the targets map',
		code: 'EPERM',
		errno: 1,
		syscall: 'bpf',
	});
});

test('a refusal without a system call shows none', t => {
	const explained = explain('sockmap', {
		...refusal, step: 'pass the self-test: half-close', message: 'The self-test lost late bytes', code: '', errno: 0, syscall: '',
	});
	t.deepEqual(Object.keys(explained), ['engine', 'reason', 'step']);
	t.is(explained.reason, 'The self-test lost late bytes. On this kernel the engine does not carry every byte, so it is not used.');
});

const pinned = test.macro({
	exec(t, code: string, reason: RegExp) {
		const explained = explain('sockmap', {
			step: 'open the pinned maps', message: 'Could not open the pinned maps', code, errno: 1, syscall: '',
		}, '/elsewhere');
		t.regex(explained.reason, reason);
	},
	title: (_title, code: string) => `pinned maps that are refused with ${code} come with their remedy`,
});

test(pinned, 'ENOENT', /There are none in \/elsewhere: run `sudo npx http-proxy-sockmap setup --user \S+ --path \/elsewhere`/);
test(pinned, 'ESTALE', /Replace those in \/elsewhere by running `sudo npx .* --path \/elsewhere` with this version/);
test(pinned, 'EBUSY', /with more --slots/);
test(pinned, 'EACCES', /belong to another user.*run `sudo npx http-proxy-sockmap setup --user \S+`\.$/);
test(pinned, 'EPERM', /Linux 5\.19/);

test('pinned maps that are named and not there are the reason, whatever else would work', t => {
	const pinPath = '/nowhere/at/all';
	const {sockmap} = capabilities({pinPath});
	const {unavailable} = chooseEngines({engine: 'auto', pinPath});
	t.false(sockmap.available);
	if (native && !sockmap.available) {
		t.like(sockmap, {step: 'open the pinned maps', code: 'ENOENT', errno: 2});
		t.is(unavailable.find(({engine}) => engine === 'sockmap')?.reason, sockmap.reason);
	}
});

test('streams are always available, and answers stay the same', t => {
	const answer = capabilities();
	t.true(answer.stream.available);
	t.deepEqual(capabilities(), answer);
});

test('nothing but streams is tried if streams are asked for', t => {
	t.deepEqual(chooseEngines({engine: 'stream', pinPath: undefined}), {engines: [], unavailable: []});
});

test('each engine is either tried or refused', t => {
	const {engines, unavailable} = chooseEngines({engine: 'auto', pinPath: undefined});
	t.deepEqual([...engines, ...unavailable.map(({engine}) => engine)].toSorted(), ['sockmap', 'splice']);
});

for (const engine of ['sockmap', 'splice'] as const) {
	test(`${engine} is chosen when named, or its absence is an error`, t => {
		const capability = capabilities()[engine];
		if (capability.available) {
			t.deepEqual(chooseEngines({engine, pinPath: undefined}), {engines: [engine], unavailable: []});
			return;
		}

		const error = t.throws(() => chooseEngines({engine, pinPath: undefined}), {instanceOf: SockmapError});
		t.is(error.message, `The engine '${engine}' is not available. ${capability.reason}`);
		t.is(error.step, capability.step);
	});
}
