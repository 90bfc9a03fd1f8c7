import process from 'node:process';
import test from 'ava';
import {type NativeRefusal} from './native.ts';
import {remedy} from './remedy.ts';

const refusal: NativeRefusal = {
	step: 'create the targets map', message: 'Could not create the targets map', code: 'EIO', errno: 5, syscall: 'bpf',
};

const advises = test.macro({
	exec(t, given: Partial<NativeRefusal>, advice: RegExp | undefined, pins?: string) {
		const found = remedy({...refusal, ...given}, pins);
		if (advice === undefined) {
			t.is(found, undefined);
		} else {
			t.regex(found ?? '', advice);
		}
	},
	title: (_title, given: Partial<NativeRefusal>, advice: RegExp | undefined, pins?: string) => `${JSON.stringify(given)}${pins === undefined ? '' : `, with the maps in ${pins},`} is answered with ${advice?.source ?? 'nothing'}`,
});

test(advises, {step: 'load the addon', code: 'ERR_SOCKMAP_DISABLED', syscall: ''}, /^Unset HTTP_PROXY_SOCKMAP_ADDON/);
test(advises, {step: 'load the addon', code: 'ERR_SOCKMAP_NO_ADDON', syscall: ''}, process.platform === 'linux' ? /npm ci && npm run build/ : /Linux only/);
test(advises, {code: 'EPERM'}, /^Run with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON/);
test(advises, {code: 'EACCES'}, /^Run with CAP_BPF/);
test(advises, {code: 'EPERM', syscall: 'socket'}, /seccomp and the security modules/);
test(advises, {step: 'load the program', message: 'cannot use helper bpf_probe_read_kernel', code: 'EINVAL'}, /^Run with CAP_BPF/);
test(advises, {step: 'read /sys/kernel/btf/vmlinux', code: 'ENOENT', syscall: 'open'}, /CONFIG_DEBUG_INFO_BTF=y/);
test(advises, {step: 'pass the self-test: half-close', code: '', syscall: ''}, /does not carry every byte/);
test(advises, {step: 'attach the program', code: 'EINVAL'}, /CONFIG_BPF_SYSCALL=y/);
test(advises, {step: 'create the targets map', code: 'EOPNOTSUPP'}, /CONFIG_BPF_SYSCALL=y/);
test(advises, {code: 'ENOSYS'}, /CONFIG_BPF_SYSCALL=y/);
// For what a socket is, not for what the kernel can do.
test(advises, {step: 'put the client into the map', code: 'EOPNOTSUPP'}, undefined);
test(advises, {code: 'EMFILE'}, /ulimit -n/);
test(advises, {code: 'ENFILE'}, /fs\.file-max/);
test(advises, {code: 'ENOMEM'}, /out of memory/);
test(advises, {step: 'put the client into the map', code: 'E2BIG'}, /^Raise the option `capacity`/);
test(advises, {step: 'put the client into the map', code: 'E2BIG'}, /^Pin larger maps: run `sudo npx .* --path \/pins` with a higher --tunnels/, '/pins');
test(advises, {step: 'open the pinned maps', code: 'EMFILE'}, /ulimit -n/, '/pins');
test(advises, {step: 'open the pinned maps', code: 'EIO'}, undefined, '/pins');
test(advises, {}, undefined);
