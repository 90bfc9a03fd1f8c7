import {execFileSync} from 'node:child_process';
import process from 'node:process';
import {fileURLToPath} from 'node:url';

// What this machine has to have, and where it keeps what was fetched.

export const cache = fileURLToPath(new URL('../../../node_modules/.cache/kernels', import.meta.url));

/** Milliseconds after which a kernel has hung. */
export const limit = 15 * 60_000;

/** Why no kernel can be booted here. */
export function missing(): string | undefined {
	if (process.platform !== 'linux' || process.arch !== 'x64') {
		return 'this is not Linux on x64';
	}

	const absent = ['qemu-system-x86_64', 'apt-get', 'apt-cache', 'dpkg-deb', 'xz', 'tc', 'ldd'].filter(command => !has(command));
	return absent.length > 0 ? `not installed: ${absent.join(', ')}` : undefined;
}

export function has(command: string): boolean {
	try {
		execFileSync('sh', ['-c', `PATH="$PATH:/usr/sbin:/sbin" command -v ${command}`], {stdio: 'ignore'});
		return true;
	} catch {
		return false;
	}
}
