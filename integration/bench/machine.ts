import {execFileSync, spawnSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import os from 'node:os';
import process from 'node:process';

/** Where and with what it was measured. */
export type Machine = {
	readonly kernel: string;
	readonly cpu: string;
	readonly processors: number;
	readonly memory: number;
	readonly versions: Readonly<Record<string, string>>;
	readonly commit: string;
};

export function thisMachine(): Machine {
	const require = createRequire(import.meta.url);
	const packageVersion = (name: string) => (JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')) as {version: string}).version;
	return {
		kernel: os.release(),
		cpu: os.cpus()[0]!.model,
		processors: os.availableParallelism(),
		memory: os.totalmem(),
		versions: {
			node: process.version,
			'http-proxy': packageVersion('http-proxy'),
			haproxy: firstMatch('/usr/sbin/haproxy', ['-v'], /version (\S+)/u),
			nginx: firstMatch('/usr/sbin/nginx', ['-v'], /nginx\/(\S+)/u),
			compiler: firstMatch(process.env.CXX ?? 'c++', ['--version'], /(.+)/u),
		},
		commit: execFileSync('git', ['describe', '--always', '--dirty'], {encoding: 'utf8', cwd: import.meta.dirname}).trim(),
	};
}

function firstMatch(command: string, args: readonly string[], pattern: RegExp): string {
	const {stdout, stderr} = spawnSync(command, args, {encoding: 'utf8'});
	return pattern.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[1] ?? 'not installed';
}
