import {execFile} from 'node:child_process';
import {existsSync} from 'node:fs';
import fs from 'node:fs/promises';
import {createRequire} from 'node:module';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';

/** The names in `addon/mutations.h`. */
export type Mutation = 'kNoDrain' | 'kNoOrder' | 'kEarlyConsumed' | 'kSlowPromotion' | 'kNoKick' | 'kSmallRing' | 'kNoCut';

/** Builds the addon with a rule switched off, from the objects of the last normal build and the three files that know about mutations. Returns its path. */
export async function buildMutant(mutation: Mutation): Promise<string> {
	const objects = path.join(root, 'addon/build/Release/obj.target/sockmap');
	const built = await fs.readdir(objects);
	const others = built.filter(file => file.endsWith('.o') && !mutated.includes(file.replace(/\.o$/u, '.cc')));
	const {targets: [target]} = JSON.parse(await fs.readFile(path.join(root, 'addon/binding.gyp'), 'utf8')) as {targets: [{sources: string[]; defines: string[]}]};
	if (others.length !== target.sources.length - mutated.length) {
		throw new Error('The addon is not built. Run `npm run build:addon`.');
	}

	const file = path.join(root, 'integration/proof/soak/build', `${mutation}.node`);
	await fs.mkdir(path.dirname(file), {recursive: true});
	const headers = [(createRequire(import.meta.url)('node-addon-api') as {include_dir: string}).include_dir, await nodeHeaders()];
	await promisify(execFile)('c++', [
		'-std=gnu++17',
		'-O2',
		'-fPIC',
		'-pthread',
		'-shared',
		'-fvisibility=hidden',
		`-DSOCKMAP_MUTATION=${mutation}`,
		...target.defines.map(define => `-D${define}`),
		...headers.flatMap(header => ['-isystem', path.resolve(root, header)]),
		...mutated.map(source => `addon/${source}`),
		...others.map(object => path.join(objects, object)),
		'-o',
		file,
	], {cwd: root});
	return file;
}

async function nodeHeaders(): Promise<string> {
	const configuration = await fs.readFile(path.join(root, 'addon/build/config.gypi'), 'utf8');
	const folders = [/"nodedir": "(?<folder>.*)"/u.exec(configuration)?.groups?.folder, path.dirname(path.dirname(process.execPath))];
	for (const folder of folders) {
		if (folder !== undefined) {
			const headers = path.join(folder, 'include/node');
			if (existsSync(path.join(headers, 'uv.h'))) {
				return headers;
			}
		}
	}

	throw new Error('The headers of Node are not there. Run `npm run build:addon`.');
}

const root = fileURLToPath(new URL('../../..', import.meta.url));

const mutated = ['spill.cc', 'probe.cc', 'maps.cc'];
