import {fork} from 'node:child_process';
import {once} from 'node:events';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {onEachEngine} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {within} from '../../until.ts';
import type {CyclesOptions, Sample} from './cycles-program.ts';

nothingIsLeft();

const cycles = Number(process.env.PROOF_CYCLES ?? 1000);

/** How much more memory may be in use at the end than after a third, when everything is warm: less than 40 kB a cycle would be, and more than the allocators make of themselves. */
const memory = 16 * 1024 * 1024;

onEachEngine(`${cycles} \`Tunnels\`, each made, used and closed, leave no descriptor, map, thread, listener and no memory`, async (t, engine) => {
	t.timeout(30_000 + (cycles * 200));
	const options: CyclesOptions = {
		engine, capacity: 16, cycles, every: Math.ceil(cycles / 6),
	};
	const child = fork(fileURLToPath(new URL('cycles-program.ts', import.meta.url)), [JSON.stringify({...options, cycles: options.every * 6})], {
		execArgv: ['--expose-gc', '--import=tsx'], stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
	});
	const gone = once(child, 'close') as Promise<[number]>;
	t.teardown(async () => {
		child.kill('SIGKILL');
		await gone;
	});
	const samples: Sample[] = [];
	child.on('message', (sample: Sample) => {
		samples.push(sample);
	});
	const [code] = await within('all cycles are over', gone, 20_000 + (cycles * 200));
	t.is(code, 0);
	t.is(samples.length, 6);
	const [first, warm, last] = [samples[0]!, samples[1]!, samples[5]!];
	for (const {cycle, held, relays, listeners} of samples) {
		t.deepEqual(held, first.held, `descriptors after ${cycle}`);
		t.is(held['bpf-map'], undefined);
		t.is(relays, 0);
		t.is(listeners, first.listeners);
	}

	t.true(last.threads <= warm.threads);
	t.log(`${engine}: RSS ${samples.map(({rss}) => (rss / 1e6).toFixed(1)).join(', ')} MB, heap ${samples.map(({heap}) => (heap / 1e6).toFixed(1)).join(', ')} MB`);
	t.true(last.rss < warm.rss + memory, `${last.rss - warm.rss} bytes more`);
	t.true(last.heap < warm.heap + (memory / 8), `${last.heap - warm.heap} bytes more on the heap`);
});
