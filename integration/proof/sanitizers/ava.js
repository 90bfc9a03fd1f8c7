// Runs the tests with another addon than the one that `npm run build` makes.
import {spawn} from 'node:child_process';
import path from 'node:path';
import {root} from './build.js';

/** Resolves with the exit code of ava, run by that executable of Node with these patterns and options. */
export async function runAva(node, given, environment) {
	const child = spawn(node, [path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs'), ...given], {
		cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env: environment,
	});
	return new Promise((resolve, reject) => {
		child.once('error', reject);
		child.once('close', code => {
			resolve(code ?? 1);
		});
	});
}
