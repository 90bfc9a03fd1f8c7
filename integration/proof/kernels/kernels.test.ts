import test from 'ava';
import {nothingIsLeft} from '../../leaks.ts';
import {kernel, offered} from './archive.ts';
import {boot} from './boot.ts';
import {cache, missing} from './here.ts';
import {makeInitramfs} from './initramfs.ts';

// One kernel that is not the one of this machine. `npm run kernels` boots more of them, for longer.

nothingIsLeft();

test('the newest cloud kernel of Debian carries tunnels on each engine, over good networks and bad ones', async t => {
	t.timeout(15 * 60_000);
	const impossible = missing() ?? await nothingOffered();
	if (impossible !== undefined) {
		t.log(`skipped: ${impossible}`);
		t.pass();
		return;
	}

	const names = await offered();
	const one = await kernel(names.at(-1)!, cache);
	const {self, results, complete, complaints, console, seconds} = await boot(one, await makeInitramfs(one, cache), some, 10 * 60_000);
	t.log(`${self?.build}: ${results.length} tests in ${seconds} s`);
	t.true(complete, `It did not come to its end: ${console.join('\n')}`);
	t.deepEqual([self?.sockmap, self?.splice], [{available: true}, {available: true}]);
	t.deepEqual(results.filter(({passed}) => !passed), []);
	t.true(results.length > 30);
	t.deepEqual(complaints, []);
});

async function nothingOffered(): Promise<string | undefined> {
	const names = await offered();
	return names.length === 0 ? 'the archive offers no cloud kernel (`apt-get update`?)' : undefined;
}

// The endings of one kind of tunnel, and the streams.
const some = /: (?:connect: |40 tunnels|a reader that stalls|netem: )/u;
