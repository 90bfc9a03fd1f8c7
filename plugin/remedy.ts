import process from 'node:process';
import {type NativeRefusal} from './native.ts';

/**
What would make it work, as a sentence.
*/
export function remedy({step, code, syscall}: NativeRefusal): string | undefined {
	if (step === 'load the addon') {
		return withoutAddon(code);
	}

	if (code === 'EPERM' || code === 'EACCES') {
		return syscall === 'bpf' || syscall === '' ? capabilitiesNeeded : 'Check what seccomp and the security modules of this system allow.';
	}

	if (/btf/i.test(step)) {
		return 'The sockmap engine needs a kernel with type information in /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF=y).';
	}

	if (step.includes('self-test') && code === '') {
		return 'On this kernel the engine does not carry every byte, so it is not used.';
	}

	// A socket is refused like that too, for what it is. That says nothing about the kernel.
	const isSetup = /^(?:create|load|attach)\b/.test(step);
	return isSetup && (code === 'EINVAL' || code === 'EOPNOTSUPP') ? bpfNeeded : byCode[code];
}

function withoutAddon(code: string): string {
	if (code === 'ERR_SOCKMAP_DISABLED') {
		return 'Unset HTTP_PROXY_SOCKMAP_ADDON to use the addon.';
	}

	return process.platform === 'linux' ? 'Build it with `npm run build:addon` in the folder of the package.' : 'It works on Linux only.';
}

const capabilitiesNeeded = 'Run with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (systemd: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON), or as root; in a container, bpf(2) must be allowed by its seccomp profile too.';
const bpfNeeded = 'The sockmap engine needs a kernel with CONFIG_BPF_SYSCALL=y that lets a program redirect between sockets.';

const byCode: Readonly<Record<string, string>> = {
	ENOSYS: bpfNeeded,
	EMFILE: 'Raise the limit of open files (`ulimit -n`, systemd: LimitNOFILE=).',
	ENFILE: 'The whole system has run out of open files: raise fs.file-max.',
	ENOMEM: 'The system, or the control group of this process, is out of memory.',
	ENOSPC: 'Raise the option `capacity`.',
	E2BIG: 'Raise the option `capacity`.',
};
