import fs from 'node:fs';

/** What of a process would outlive its tunnels if somebody forgot it, by kind: `socket`, `bpf-map`, `pipe`… */
export type Holdings = ReadonlyMap<string, readonly string[]>;

/** What that process holds now. */
export function holdings(by: number | 'self' = 'self'): Holdings {
	const found = new Map<string, string[]>();
	const add = (kind: string, name: string) => {
		found.set(kind, [...found.get(kind) ?? [], name]);
	};

	for (const fd of fs.readdirSync(`/proc/${by}/fd`)) {
		const link = readOrNothing(() => fs.readlinkSync(`/proc/${by}/fd/${fd}`));
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

// Descriptors and processes go while we look.
function readOrNothing(read: () => string): string {
	try {
		return read();
	} catch {
		return '';
	}
}
