import {readFileSync, statSync} from 'node:fs';
import process from 'node:process';

/**
What the kernel says about this process in /proc/self/status.
*/
export type ProcessStatus = {
	/**
	Names of the effective capabilities, such as `CAP_BPF`.
	*/
	readonly capabilities: readonly string[];
	readonly seccomp: 'none' | 'strict' | 'filter';
};

export function processStatus(): ProcessStatus {
	const fields = Object.fromEntries(read('/proc/self/status').split('\n').map(line => line.split(':\t') as [string, string]));
	return {
		capabilities: capabilitiesIn(BigInt(`0x${fields.CapEff?.trim() ?? '0'}`)),
		seccomp: (['none', 'strict', 'filter'] as const)[Number(fields.Seccomp ?? 0)] ?? 'none',
	};
}

export function capabilitiesIn(mask: bigint): string[] {
	return capabilityNames.filter((_name, number) => (mask >> BigInt(number)) & 1n).map(name => `CAP_${name}`); // eslint-disable-line no-bitwise
}

/**
Soft limits of this process, such as `Max open files`. Infinite if unlimited.
*/
export function limit(name: string): number | undefined {
	const line = read('/proc/self/limits').split('\n').find(line => line.startsWith(name));
	const soft = line?.slice(name.length).trim().split(/\s+/)[0];
	return soft === undefined ? undefined : (soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft));
}

export function sysctl(name: string): string | undefined {
	return read(`/proc/sys/${name.replaceAll('.', '/')}`).trim() || undefined;
}

/**
The file that the addon was loaded from, as the kernel has mapped it. There is no other one in this process.
*/
export function mappedAddon(): string | undefined {
	return read('/proc/self/maps').split('\n').map(line => line.slice(line.indexOf('/'))).find(path => path.endsWith('.node'));
}

/**
Whether some process holds a lock of `flock(2)` on the file. Processes that this one cannot see do not count.
*/
export function isLocked(path: string): boolean {
	const {dev, ino} = statSync(path);
	// Major and minor are the numbers of the device, and the kernel packs them like this.
	const major = Math.floor(dev / 256) % 4096;
	const minor = (dev % 256) + (Math.floor(dev / 1_048_576) * 256);
	const hex = (number: number) => number.toString(16).padStart(2, '0');
	return read('/proc/locks').includes(` ${hex(major)}:${hex(minor)}:${ino} `);
}

export function inContainer(): boolean {
	return read('/proc/1/cgroup').includes('kubepods') || process.env.KUBERNETES_SERVICE_HOST !== undefined
		|| exists('/.dockerenv') || exists('/run/.containerenv');
}

function exists(path: string): boolean {
	try {
		statSync(path);
		return true;
	} catch {
		return false;
	}
}

function read(path: string): string {
	try {
		return readFileSync(path, 'utf8');
	} catch {
		return '';
	}
}

/**
In the order of their numbers.

@see https://man7.org/linux/man-pages/man7/capabilities.7.html
*/
const capabilityNames = [
	'CHOWN',
	'DAC_OVERRIDE',
	'DAC_READ_SEARCH',
	'FOWNER',
	'FSETID',
	'KILL',
	'SETGID',
	'SETUID',
	'SETPCAP',
	'LINUX_IMMUTABLE',
	'NET_BIND_SERVICE',
	'NET_BROADCAST',
	'NET_ADMIN',
	'NET_RAW',
	'IPC_LOCK',
	'IPC_OWNER',
	'SYS_MODULE',
	'SYS_RAWIO',
	'SYS_CHROOT',
	'SYS_PTRACE',
	'SYS_PACCT',
	'SYS_ADMIN',
	'SYS_BOOT',
	'SYS_NICE',
	'SYS_RESOURCE',
	'SYS_TIME',
	'SYS_TTY_CONFIG',
	'MKNOD',
	'LEASE',
	'AUDIT_WRITE',
	'AUDIT_CONTROL',
	'SETFCAP',
	'MAC_OVERRIDE',
	'MAC_ADMIN',
	'SYSLOG',
	'WAKE_ALARM',
	'BLOCK_SUSPEND',
	'AUDIT_READ',
	'PERFMON',
	'BPF',
	'CHECKPOINT_RESTORE',
] as const;
