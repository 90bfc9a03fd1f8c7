import {setUpCommand} from '../pins.ts';
import {type ProcessStatus} from './process-status.ts';

/**
What to write where.
*/
export type Fix = {
	readonly for: 'command' | 'systemd' | 'docker' | 'kubernetes' | 'container' | 'sysctl' | 'kernel';
	readonly text: string;
};

/**
What would make bpf(2) permitted, for a process like this one.
*/
export function fixesFor({step, code}: {readonly step: string; readonly code?: string}, {capabilities, seccomp}: ProcessStatus): Fix[] {
	// The other refusals say in their sentence what to do about them.
	if (code !== 'EPERM' || step === 'load the addon') {
		return [];
	}

	const seccompFixes: Fix[] = seccomp === 'filter' ? [
		{for: 'docker', text: '--security-opt seccomp=PROFILE.json, where PROFILE.json allows bpf'},
		{for: 'kubernetes', text: 'securityContext: {seccompProfile: {type: Localhost, localhostProfile: PROFILE.json}}'},
		{for: 'systemd', text: 'SystemCallFilter=bpf'},
	] : [];
	const isCapable = capabilities.includes('CAP_SYS_ADMIN') || capabilities.includes('CAP_BPF');
	if (step === 'open the pinned maps' || (seccomp === 'filter' && isCapable)) {
		return seccompFixes;
	}

	return [
		{for: 'command', text: setUpCommand()},
		{for: 'systemd', text: 'AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON'},
		{for: 'docker', text: '--cap-add BPF --cap-add NET_ADMIN --cap-add PERFMON (as root in the container, or with setcap on its node)'},
		{for: 'kubernetes', text: 'securityContext: {capabilities: {add: [BPF, NET_ADMIN, PERFMON]}}'},
		...seccompFixes,
	];
}
