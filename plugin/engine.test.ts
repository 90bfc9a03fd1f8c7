import test from 'ava';
import {capabilities, chooseEngines, explain} from './engine.ts';
import {SockmapError} from './errors.ts';
import {type NativeRefusal} from './native.ts';

const refusal: NativeRefusal = {
	step: 'create the targets map', message: 'Could not create the targets map: Operation not permitted', code: 'EPERM', errno: 1, syscall: 'bpf',
};

test('a refusal names the step, the errno and the remedy', t => {
	t.deepEqual(explain('sockmap', refusal), {
		engine: 'sockmap',
		reason: 'Could not create the targets map: Operation not permitted. Run with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (systemd: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON), or as root; in a container, bpf(2) must be allowed by its seccomp profile too.',
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

test('streams are always available, and answers stay the same', t => {
	const answer = capabilities();
	t.true(answer.stream.available);
	t.deepEqual(capabilities(), answer);
});

test('nothing but streams is tried if streams are asked for', t => {
	t.deepEqual(chooseEngines('stream'), {engines: [], unavailable: []});
});

test('each engine is either tried or refused', t => {
	const {engines, unavailable} = chooseEngines('auto');
	t.deepEqual([...engines, ...unavailable.map(({engine}) => engine)].toSorted(), ['sockmap', 'splice']);
});

for (const engine of ['sockmap', 'splice'] as const) {
	test(`${engine} is chosen when named, or its absence is an error`, t => {
		const capability = capabilities()[engine];
		if (capability.available) {
			t.deepEqual(chooseEngines(engine), {engines: [engine], unavailable: []});
			return;
		}

		const error = t.throws(() => chooseEngines(engine), {instanceOf: SockmapError});
		t.is(error.message, `The engine '${engine}' is not available. ${capability.reason}`);
		t.is(error.step, capability.step);
	});
}
