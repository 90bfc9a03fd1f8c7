import {execFile} from 'node:child_process';
import {existsSync} from 'node:fs';
import {mkdir, mkdtemp, readdir, rename, rm} from 'node:fs/promises';
import path from 'node:path';
import {promisify} from 'node:util';

const run = promisify(execFile);

/** A kernel of Debian's, unpacked: nothing of it is installed. */
export type Kernel = {
	readonly name: string;
	readonly image: string;
	readonly modules: string;
};

/** The cloud kernels that the archive offers, the oldest first. They have what virtual machines need, and boot fast. */
export async function offered(): Promise<readonly string[]> {
	const {stdout} = await run('apt-cache', ['search', '--names-only', String.raw`^linux-image-[0-9.]+[-+].*cloud-amd64$`]);
	const names = stdout.split('\n').map(line => line.split(' ')[0]!).filter(name => /\d-cloud|deb\d+-cloud/u.test(name) && !/^linux-image-\d+\.\d+-cloud/u.test(name));
	return names.sort((one, other) => one.localeCompare(other, 'en', {numeric: true}));
}

/** The first and the last of each series: what lies between was fixed by one and is in the other. */
export function outermost(names: readonly string[]): readonly string[] {
	return [...grouped(names).values()].flatMap(list => [...new Set([list[0]!, list.at(-1)!])]);
}

export function seriesOf(name: string): string {
	return /^linux-image-(?<series>\d+\.\d+)/u.exec(name)!.groups!.series!;
}

function grouped(names: readonly string[]): Map<string, string[]> {
	const groups = new Map<string, string[]>();
	for (const name of names) {
		groups.set(seriesOf(name), [...groups.get(seriesOf(name)) ?? [], name]);
	}

	return groups;
}

export async function kernel(name: string, cache: string): Promise<Kernel> {
	const folder = await unpacked(name, cache);
	const files = await readdir(path.join(folder, 'boot'));
	const image = files.find(file => file.startsWith('vmlinuz-'));
	const modules = [path.join(folder, 'lib/modules'), path.join(folder, 'usr/lib/modules')].find(directory => existsSync(directory));
	return {name, image: path.join(folder, 'boot', image!), modules: modules!};
}

/** The folder with what the package would install. Kept, because kernels are large. */
export async function unpacked(name: string, cache: string): Promise<string> {
	const folder = path.join(cache, name);
	if (existsSync(folder)) {
		return folder;
	}

	await mkdir(cache, {recursive: true});
	const workshop = await mkdtemp(path.join(cache, 'fetching-'));
	try {
		await run('apt-get', ['download', name], {cwd: workshop});
		const [file] = await readdir(workshop);
		await run('dpkg-deb', ['--extract', file!, 'unpacked'], {cwd: workshop});
		await rename(path.join(workshop, 'unpacked'), folder);
	} finally {
		await rm(workshop, {recursive: true});
	}

	return folder;
}
