import {existsSync, readFileSync} from 'node:fs';
import {resolve} from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';

/**
The file of the addon for this process: the one that is named, else what was built here, else what the package carries for this platform. `undefined` when there is none.
*/
export function addonFile(named: string | undefined, carried: string = platform()): string | undefined {
	if (named) {
		return resolve(named);
	}

	// Both `dist` and `plugin` are one step below the root of the package.
	const files = ['addon/build/Release/sockmap.node', `prebuilds/${carried}.node`];
	return files.map(file => fileURLToPath(new URL(`../${file}`, import.meta.url))).find(file => existsSync(file));
}

/**
As the binaries are named: `linux-x64`, `linuxmusl-arm64`.
*/
export function platform(): string {
	const libc = process.platform === 'linux' && isMusl() ? 'musl' : '';
	return `${process.platform}${libc}-${process.arch}`;
}

// What is mapped is what runs, however it was installed and started. Reading it takes less than a millisecond, and
// `process.report` takes a hundred times as long. Each glibc goes by one of these two names, and musl by many.
function isMusl(): boolean {
	try {
		return !/\/libc(?:\.so\.6|-2\.\d+\.so)\b/.test(readFileSync('/proc/self/maps', 'utf8'));
	} catch {
		return false;
	}
}
