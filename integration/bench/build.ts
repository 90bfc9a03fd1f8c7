import {execFileSync} from 'node:child_process';
import {mkdirSync, readdirSync, statSync} from 'node:fs';
import process from 'node:process';
import {fileURLToPath} from 'node:url';

/** The load generator, compiled anew where its source is younger than what was compiled last. */
export function buildLoad(): string {
	const output = `${buildFolder}load`;
	const sources = readdirSync(loadFolder).filter(name => /\.(?:cc|h)$/v.test(name)).map(name => `${loadFolder}${name}`);
	if (isOutdated(output, sources)) {
		compile(process.env['CXX'] ?? 'c++', ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Werror', '-o', output, ...sources.filter(name => name.endsWith('.cc'))]);
	}

	return output;
}

export function isOutdated(output: string, sources: readonly string[]): boolean {
	const built = statSync(output, {throwIfNoEntry: false})?.mtimeMs ?? 0;
	return sources.some(source => statSync(source).mtimeMs > built);
}

export function compile(compiler: string, options: readonly string[]): void {
	mkdirSync(buildFolder, {recursive: true});
	execFileSync(compiler, options, {stdio: 'inherit'});
}

export const buildFolder = fileURLToPath(new URL('build/', import.meta.url));

const loadFolder = fileURLToPath(new URL('load/', import.meta.url));
