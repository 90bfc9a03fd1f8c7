import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import process from 'node:process';
import test from 'ava';
import {capabilitiesIn, isLocked, limit} from './process-status.ts';

test('capabilities are named by their numbers', t => {
	t.deepEqual(capabilitiesIn(0n), []);
	t.deepEqual(capabilitiesIn(1n), ['CAP_CHOWN']);
	t.deepEqual(capabilitiesIn((2n ** 12n) + (2n ** 38n) + (2n ** 39n)), ['CAP_NET_ADMIN', 'CAP_PERFMON', 'CAP_BPF']);
});

if (process.platform === 'linux') {
	test('the limit of open files is a number', t => {
		t.true(limit('Max open files')! > 0);
		t.is(limit('Max nothing'), undefined);
	});

	test('a file that nobody has locked is not locked', t => {
		const directory = mkdtempSync(join(tmpdir(), 'http-proxy-sockmap-'));
		t.teardown(() => {
			rmSync(directory, {recursive: true});
		});
		const file = join(directory, 'lock');
		writeFileSync(file, '');
		t.false(isLocked(file));
	});
}
