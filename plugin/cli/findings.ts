import {accessSync, constants, existsSync, readdirSync, statSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import process from 'node:process';
import {type Refusal, unavailability} from '../engine.ts';
import {missing, native, type NativeEngine} from '../native.ts';
import {defaultPins, namedPins, setUpCommand} from '../pins.ts';
import {remedy} from '../remedy.ts';
import {fixesFor, type Fix} from './fixes.ts';
import {mounts} from './mounts.ts';
import {isLocked, limit, mappedAddon, processStatus, sysctl} from './process-status.ts';

/**
One thing that was looked at.
*/
export type Finding = {
	readonly name: string;

	/**
	`info` is neither good nor bad by itself.
	*/
	readonly status: 'ok' | 'no' | 'info';
	readonly detail: string;
	readonly step?: string;
	readonly code?: string;
	readonly errno?: number;
	readonly syscall?: string;

	/**
	Any of them would do.
	*/
	readonly fixes?: readonly Fix[];
};

/**
Everything that decides about the engines, in the order in which it matters.
*/
export function examine(pinPath?: string): Finding[] {
	if (process.platform !== 'linux') {
		return [{name: 'system', status: 'no', detail: `${os.type()} has neither sockmap nor splice. Everything works on streams.`}, addon()];
	}

	return [
		addon(),
		{name: 'kernel', status: 'info', detail: `Linux ${os.release()} ${os.machine()}, Node ${process.version}`},
		btf(),
		capabilities(),
		seccomp(),
		unprivilegedBpf(),
		bpffs(),
		selfTest('sockmap, maps of our own', 'sockmap'),
		...pinned(namedPins(pinPath)),
		selfTest('splice', 'splice'),
		...limits(),
	];
}

function addon(): Finding {
	if (native) {
		return {name: 'addon', status: 'ok', detail: mappedAddon() ?? 'loaded'};
	}

	const {message, step, code} = missing!;
	return {
		name: 'addon', status: 'no', detail: `${message}. ${remedy(missing!) ?? ''}`.trim(), step, ...(code && {code}),
	};
}

function btf(): Finding {
	const path = '/sys/kernel/btf/vmlinux';
	try {
		accessSync(path, constants.R_OK);
		return {name: 'BTF', status: 'ok', detail: path};
	} catch (error) {
		const {code} = error as NodeJS.ErrnoException;
		return {
			name: 'BTF', status: 'no', detail: `${path} cannot be read (${code!}); pinned maps do not need it`, code: code!,
			fixes: [{for: 'kernel', text: 'CONFIG_DEBUG_INFO_BTF=y'}, {for: 'container', text: 'mount /sys read-only into it'}],
		};
	}
}

function capabilities(): Finding {
	const {capabilities} = processStatus();
	const lacking = needed.filter(name => !capabilities.includes(name) && !(name !== 'CAP_NET_ADMIN' && capabilities.includes('CAP_SYS_ADMIN')));
	const held = [...needed, 'CAP_SYS_ADMIN'].filter(name => capabilities.includes(name)).join(', ') || 'none of those that matter';
	return {
		name: 'capabilities', status: lacking.length === 0 ? 'ok' : 'info',
		detail: lacking.length === 0 ? held : `${held}; ${lacking.join(', ')} would be needed for maps of our own`,
	};
}

function seccomp(): Finding {
	const {seccomp} = processStatus();
	return {
		name: 'seccomp', status: 'info',
		detail: seccomp === 'none' ? 'no filter' : 'a filter, which may refuse bpf(2): Docker\'s does, unless CAP_BPF or CAP_SYS_ADMIN is added',
	};
}

function unprivilegedBpf(): Finding {
	const value = sysctl('kernel.unprivileged_bpf_disabled');
	return {
		name: 'unprivileged bpf', status: 'info',
		detail: value === undefined ? 'there is no kernel.unprivileged_bpf_disabled' : `kernel.unprivileged_bpf_disabled = ${value}: ${value === '0' ? 'on, but maps for sockets need CAP_NET_ADMIN, and the program CAP_BPF, all the same' : 'off, so creating maps needs CAP_BPF'}`,
	};
}

function bpffs(): Finding {
	const paths = mounts().filter(({type}) => type === 'bpf').map(({path}) => path);
	return {name: 'bpffs', status: 'info', detail: paths.length === 0 ? 'none is mounted; `setup` mounts one of its own' : paths.join(', ')};
}

function selfTest(name: string, engine: NativeEngine, pins?: string): Finding {
	const refusal = unavailability(engine, pins);
	return refusal === undefined ? {name, status: 'ok', detail: 'passed the self-test'} : refused(name, refusal);
}

function refused(name: string, {reason, step, code, errno, syscall}: Refusal): Finding {
	const fixes = fixesFor({step, ...(code !== undefined && {code})}, processStatus());
	return {
		name, status: 'no', detail: reason, step, ...(code && {code}), ...(errno && {errno}), ...(syscall && {syscall}), ...(fixes.length > 0 && {fixes}),
	};
}

function pinned(named: string | undefined): Finding[] {
	const directory = named ?? defaultPins(process.geteuid!());
	if (!existsSync(directory)) {
		return [{
			name: 'pinned maps', status: named === undefined ? 'info' : 'no', detail: `none in ${directory}`, ...(named !== undefined && {code: 'ENOENT', errno: 2}),
			fixes: [{for: 'command', text: setUpCommand(directory)}],
		}];
	}

	return [{name: 'pinned maps', status: 'info', detail: describe(directory)}, selfTest('sockmap, pinned maps', 'sockmap', directory)];
}

function describe(directory: string): string {
	try {
		const {uid} = statSync(join(directory, 'maps', 'layout'));
		const slots = readdirSync(join(directory, 'slots'));
		const free = slots.filter(name => !isLocked(join(directory, 'slots', name))).length;
		return `${directory}, of user ${uid}, ${free} of ${slots.length} slots free`;
	} catch (error) {
		return `${directory}, but ${(error as Error).message}`;
	}
}

function limits(): Finding[] {
	return [
		atLeast('open files', limit('Max open files'), 16_384, {
			detail: 'a tunnel takes 4, and more while splice has bytes of it', fixes: [{for: 'command', text: 'ulimit -n 65536'}, {for: 'systemd', text: 'LimitNOFILE=65536'}, {for: 'docker', text: '--ulimit nofile=65536'}],
		}),
		{name: 'locked memory', status: 'info', detail: `${show(limit('Max locked memory'))} bytes; only before Linux 5.11 maps count`},
		{name: 'pipe pages', status: 'info', detail: `fs.pipe-user-pages-soft = ${sysctl('fs.pipe-user-pages-soft') ?? 'unknown'}; beyond it a user's pipes are small, and splice slower`},
		atLeast('backlog', Number(sysctl('net.core.somaxconn') ?? Number.NaN), 511, {
			detail: 'net.core.somaxconn, which cuts the backlog of 511 that Node asks for', fixes: [{for: 'sysctl', text: 'net.core.somaxconn=4096'}],
		}),
		{name: 'receive buffers', status: 'info', detail: `net.core.rmem_max = ${sysctl('net.core.rmem_max') ?? 'unknown'}, net.ipv4.tcp_rmem = ${sysctl('net.ipv4.tcp_rmem')?.replaceAll('\t', ' ') ?? 'unknown'}`},
	];
}

function atLeast(name: string, value: number | undefined, minimum: number, {detail, fixes}: {readonly detail: string; readonly fixes: readonly Fix[]}): Finding {
	const isEnough = value === undefined || Number.isNaN(value) || value >= minimum;
	return {name, status: isEnough ? 'ok' : 'no', detail: `${show(value)}: ${detail}`, ...(!isEnough && {fixes})};
}

function show(value: number | undefined): string {
	return value === undefined || Number.isNaN(value) ? 'unknown' : (value === Number.POSITIVE_INFINITY ? 'unlimited' : String(value));
}

const needed = ['CAP_BPF', 'CAP_NET_ADMIN', 'CAP_PERFMON'];
