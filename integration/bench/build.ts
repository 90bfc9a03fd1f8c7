import {execFileSync} from 'node:child_process';
import {mkdirSync, readdirSync, statSync} from 'node:fs';
import process from 'node:process';
import {fileURLToPath} from 'node:url';

/** The load generator, compiled anew where its source is younger than what was compiled last. */
export function buildLoad(): string {
	return build('load', sources('load/'));
}

export function buildTextbook(): string {
	return build('textbook', [...sources('textbook/'), ...sources('load/').filter(name => /(?:loop\.cc|socket\.cc|\.h)$/u.test(name))]);
}

function build(name: string, sources: readonly string[]): string {
	const output = `${buildFolder}${name}`;
	const builtAt = statSync(output, {throwIfNoEntry: false})?.mtimeMs ?? 0;
	if (sources.some(source => statSync(source).mtimeMs > builtAt)) {
		mkdirSync(buildFolder, {recursive: true});
		const compiled = sources.filter(name => name.endsWith('.cc'));
		execFileSync(process.env.CXX ?? 'c++', ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Werror', '-o', output, ...compiled], {stdio: 'inherit'});
	}

	return output;
}

function sources(folder: string): readonly string[] {
	const url = new URL(folder, import.meta.url);
	return readdirSync(url).filter(name => /\.(?:cc|h)$/u.test(name)).map(name => fileURLToPath(new URL(name, url)));
}

export const buildFolder = fileURLToPath(new URL('build/', import.meta.url));
