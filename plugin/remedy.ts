import process from 'node:process';
import {type NativeRefusal} from './native.ts';
import {setUpCommand} from './pins.ts';

/**
What would make it work, as a sentence. `pins` is the directory of the pinned maps that were asked for.
*/
export function remedy({step, message, code, syscall}: NativeRefusal, pins?: string): string | undefined {
	if (step === 'load the addon') {
		return withoutAddon(code);
	}

	if (pins !== undefined && step === 'open the pinned maps') {
		return withPins(code, pins);
	}

	if (code === 'EPERM' || code === 'EACCES') {
		return syscall === 'bpf' || syscall === '' ? capabilitiesNeeded() : 'Check what seccomp and the security modules of this system allow.';
	}

	// The verifier's words for CAP_PERFMON.
	if (message.includes('cannot use helper') || message.includes('unknown func')) {
		return capabilitiesNeeded();
	}

	if (/btf/i.test(step)) {
		return 'The sockmap engine needs a kernel with type information in /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF=y).';
	}

	if (step.includes('self-test') && code === '') {
		return 'On this kernel the engine does not carry every byte, so it is not used.';
	}

	if (pins !== undefined && (code === 'ENOSPC' || code === 'E2BIG')) {
		return `Pin larger maps: run \`${setUpCommand(pins)}\` with a higher --tunnels.`;
	}

	// A socket is refused like that too, for what it is. That says nothing about the kernel.
	const isSetup = /^(?:create|load|attach)\b/.test(step);
	return isSetup && (code === 'EINVAL' || code === 'EOPNOTSUPP') ? bpfNeeded : byCode[code];
}

function withoutAddon(code: string): string {
	if (code === 'ERR_SOCKMAP_DISABLED') {
		return 'Unset HTTP_PROXY_SOCKMAP_ADDON to use the addon.';
	}

	return process.platform === 'linux' ? 'Build it in a checkout of the repository (`npm ci && npm run build`), and name its addon/build/Release/sockmap.node in HTTP_PROXY_SOCKMAP_ADDON.' : 'It works on Linux only.';
}

function withPins(code: string, pins: string): string | undefined {
	switch (code) {
		case 'ENOENT': {
			return `There are none in ${pins}: run \`${setUpCommand(pins)}\`, once after each boot.`;
		}

		case 'ESTALE': {
			return `Replace those in ${pins} by running \`${setUpCommand(pins)}\` with this version of the package.`;
		}

		case 'EBUSY': {
			return `Give each process a slot: run \`${setUpCommand(pins)}\` with more --slots, or stop one of the processes.`;
		}

		case 'EACCES': {
			return `Those in ${pins} belong to another user. Each user needs maps of its own: run \`${setUpCommand()}\`.`;
		}

		case 'EPERM': {
			return 'Pinned maps need Linux 5.19 or later, or CAP_BPF; in a container, bpf(2) must be allowed by its seccomp profile too.';
		}

		default: {
			return byCode[code];
		}
	}
}

function capabilitiesNeeded(): string {
	return `Run with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (systemd: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON), or as root; or run \`${setUpCommand()}\` once after each boot, and this process needs no capability. In a container, bpf(2) must be allowed by its seccomp profile too.`;
}

const bpfNeeded = 'The sockmap engine needs a kernel with CONFIG_BPF_SYSCALL=y that lets a program redirect between sockets.';

const byCode: Readonly<Record<string, string>> = {
	ENOSYS: bpfNeeded,
	EMFILE: 'Raise the limit of open files (`ulimit -n`, systemd: LimitNOFILE=).',
	ENFILE: 'The whole system has run out of open files: raise fs.file-max.',
	ENOMEM: 'The system, or the control group of this process, is out of memory.',
	ENOSPC: 'Raise the option `capacity`.',
	E2BIG: 'Raise the option `capacity`.',
};
