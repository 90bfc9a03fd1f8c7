import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';

/** Compiles the load generator, unless it is newer than its sources. Returns its path. */
export async function buildLoad(): Promise<string> {
	const program = fileURLToPath(new URL('build/load', import.meta.url));
	const sources = ['load.cc', 'tunnel.cc', 'plan.cc'];
	const files = await Promise.all([...sources, 'tunnel.h', 'plan.h', 'pattern.h'].map(async file => fs.stat(new URL(file, import.meta.url))));
	const built = await fs.stat(program).catch(() => undefined); // eslint-disable-line promise/prefer-await-to-then
	if (built === undefined || files.some(({mtimeMs}) => mtimeMs > built.mtimeMs)) {
		await fs.mkdir(new URL('build', import.meta.url), {recursive: true});
		// Beside, then renamed: two tests may do so at once.
		const beside = `${program}.${process.pid}`;
		await promisify(execFile)('c++', ['-std=c++17', '-O2', '-Wall', '-Wextra', ...sources, '-o', beside], {cwd: fileURLToPath(new URL('.', import.meta.url))});
		await fs.rename(beside, program);
	}

	return program;
}
