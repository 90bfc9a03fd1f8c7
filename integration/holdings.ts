import fs from 'node:fs';

/** What of a process would outlive its tunnels if somebody forgot it, by kind: `socket`, `bpf-map`, `pipe`… */
export type Holdings = ReadonlyMap<string, readonly string[]>;

/** What that process holds now. */
export function holdings(by: number | 'self' = 'self'): Holdings {
	const found = new Map<string, string[]>();
	const add = (kind: string, name: string) => {
		found.set(kind, [...found.get(kind) ?? [], name]);
	};

	for (const [fd, link] of descriptors(by)) {
		const kind = /^anon_inode:\[?(?<kind>[\w-]+)\]?$/u.exec(link)?.groups?.kind ?? /^(?<kind>socket|pipe):/u.exec(link)?.groups?.kind;
		if (kind !== undefined) {
			add(kind, `${fd}→${link}`);
		}
	}

	for (const task of fs.readdirSync(`/proc/${by}/task`)) {
		for (const pid of readOrNothing(() => fs.readFileSync(`/proc/${by}/task/${task}/children`, 'utf8')).split(' ').filter(Boolean)) {
			const command = readOrNothing(() => fs.readFileSync(`/proc/${pid}/comm`, 'utf8')).trim();
			// The compiler that loads our TypeScript is a child too.
			if (command !== 'esbuild' && command !== '') {
				add('child process', `${pid} ${command}`);
			}
		}
	}

	return found;
}

/** Number and what it is of each descriptor that the process has open: a path, `socket:[…]`, `anon_inode:…` */
export function descriptors(by: number | 'self' = 'self'): ReadonlyArray<readonly [fd: string, link: string]> {
	return fs.readdirSync(`/proc/${by}/fd`)
		.map(fd => [fd, readOrNothing(() => fs.readlinkSync(`/proc/${by}/fd/${fd}`))] as const)
		.filter(([, link]) => link !== ''); // That of the directory itself, for one.
}

// Descriptors and processes go while we look.
function readOrNothing(read: () => string): string {
	try {
		return read();
	} catch {
		return '';
	}
}
