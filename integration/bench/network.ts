import {execFileSync, spawn, type ChildProcess, type SpawnOptions} from 'node:child_process';
import process from 'node:process';

/** A network namespace of its own, with a loopback interface and nothing else. */
export type Network = {
	spawn(command: string, args: readonly string[], options?: SpawnOptions): ChildProcess;
	remove(): void;
};

/**
Loopback has no bandwidth to find out, and BBR's pacing halves every figure on it, for the direct connection too. Reno is in every kernel.
*/
export const congestionControl = 'reno';

export function createNetwork(): Network {
	count++;
	const name = `bench-${process.pid}-${count}`;
	const enter = ['--net=/run/netns/' + name, '--'];
	execFileSync('ip', ['netns', 'add', name]);
	execFileSync('nsenter', [...enter, 'ip', 'link', 'set', 'lo', 'up']);
	execFileSync('nsenter', [...enter, 'sysctl', '--quiet', '--write', ...settings]);
	const remove = () => {
		execFileSync('ip', ['netns', 'delete', name]);
	};

	process.once('exit', remove);
	return {
		// Whatever ends the benchmark ends what it started.
		spawn: (command, args, options = {}) => spawn('setpriv', ['--pdeathsig', 'KILL', 'nsenter', ...enter, command, ...args], options),
		remove() {
			process.off('exit', remove);
			remove();
		},
	};
}

let count = 0;

const settings = [
	`net.ipv4.tcp_congestion_control=${congestionControl}`,

	// Tunnels that are set up and closed by the ten thousand must not run out of ports: more of them, and none that waits for stragglers.
	'net.ipv4.ip_local_port_range=1024 65535',
	'net.ipv4.tcp_max_tw_buckets=1000',
	'net.core.somaxconn=4096',
];
