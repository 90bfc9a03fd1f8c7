import {execFile} from 'node:child_process';
import fs from 'node:fs/promises';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import type {ExecutionContext} from 'ava';
import {onEngines, type Carrier} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {soak, table} from '../soak/soak.ts';

nothingIsLeft();

// A tunnel whose bytes the relay cannot keep is reset, which both ends see. Whatever they got before is right, and the others go on.
onEngines(['splice', 'sockmap'], 'when each twentieth allocation of the relay fails, tunnels are reset or not disturbed, and the proxy lives on', survives, 1, 20);

async function survives(t: ExecutionContext, engine: Carrier, from: number, every: number): Promise<void> {
	const library = await preloaded();
	const result = await soak({
		seed: 1, engines: [engine], tunnels: 400, seconds: 10, resetsAllowed: true, env: {LD_PRELOAD: library, FAIL_FROM: String(from), FAIL_EVERY: String(every)},
	});
	const {resets, tunnels} = result.byEngine[engine]!;
	t.log(`${table(result)}\n${resets} of ${tunnels} were reset`);
	t.deepEqual(result.failures, []);
	t.true(tunnels > 100, 'too few to mean anything');
	t.true(resets < tunnels / 2, 'more than half were reset');
}

async function preloaded(): Promise<string> {
	const folder = new URL('../soak/build/', import.meta.url);
	await fs.mkdir(folder, {recursive: true});
	const library = fileURLToPath(new URL('failing-malloc.so', folder));
	await promisify(execFile)('cc', ['-O2', '-Wall', '-Wextra', '-shared', '-fPIC', fileURLToPath(new URL('failing-malloc.c', import.meta.url)), '-o', library]);
	return library;
}
