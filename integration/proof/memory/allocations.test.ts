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
onEngines(['splice', 'sockmap'], 'when each twentieth allocation of the relay fails, tunnels are reset or not disturbed, and the proxy lives on', survives, {every: 20});
onEngines(['sockmap'], 'when each twentieth allocation of the relay fails, and many are for bytes that slow readers do not take, some tunnels are reset, and the others are not disturbed', survives, {every: 20, traffic: 'slow-readers'});

async function survives(t: ExecutionContext, engine: Carrier, {every, traffic}: {readonly every: number; readonly traffic?: string}): Promise<void> {
	const library = await preloaded();
	const result = await soak({
		seed: 1, engines: [engine], tunnels: 400, seconds: 10, resetsAllowed: true, ...(traffic && {traffic}), env: {LD_PRELOAD: library, FAIL_EVERY: String(every)},
	});
	const {resets, tunnels} = result.byEngine[engine]!;
	t.log(`${table(result)}\n${resets} of ${tunnels} were reset`);
	t.deepEqual(result.failures, []);
	t.true(tunnels > 100, 'too few to mean anything');
	t.true(traffic === undefined || resets > 0, 'none was reset');
	t.true(resets < tunnels / 2, 'more than half were reset');
}

async function preloaded(): Promise<string> {
	const folder = new URL('../soak/build/', import.meta.url);
	await fs.mkdir(folder, {recursive: true});
	const library = fileURLToPath(new URL('failing-malloc.so', folder));
	await promisify(execFile)('cc', ['-O2', '-Wall', '-Wextra', '-shared', '-fPIC', fileURLToPath(new URL('failing-malloc.c', import.meta.url)), '-o', library]);
	return library;
}
