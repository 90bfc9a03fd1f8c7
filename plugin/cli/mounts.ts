import {readFileSync} from 'node:fs';

export type Mount = {
	readonly path: string;
	readonly type: string;
};

/**
What is mounted, as this process sees it, in the order of mounting.

@see https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
*/
export function mounts(): Mount[] {
	return readFileSync('/proc/self/mountinfo', 'utf8').split('\n').filter(Boolean).map(line => {
		const [before, after] = line.split(' - ') as [string, string];
		return {path: unescape(before.split(' ')[4]!), type: after.split(' ')[0]!};
	});
}

// Blanks, tabs, newlines and backslashes are written in octal.
function unescape(path: string): string {
	return path.replaceAll(/\\(?<octal>[0-7]{3})/g, (_match, octal: string) => String.fromCodePoint(Number.parseInt(octal, 8)));
}
