import {existsSync} from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import test from 'ava';
import {addonFile, platform} from './addon.ts';

const isGlibc = (process.report.getReport() as unknown as {readonly header: {readonly glibcVersionRuntime?: string}}).header.glibcVersionRuntime !== undefined;

test('the C library is the one that Node itself reports', t => {
	const {platform: system, arch} = process;
	t.is(platform(), system === 'linux' && !isGlibc ? `linuxmusl-${arch}` : `${system}-${arch}`);
});

test('a named addon is taken from where the process is', t => {
	t.is(addonFile('some/addon.node'), path.resolve('some/addon.node'));
});

test('an empty name is none', t => {
	t.is(addonFile(''), addonFile(undefined));
});

test('what was built here needs no binary of the package', t => {
	const built = path.resolve('addon/build/Release/sockmap.node');
	t.is(addonFile(undefined, 'plan9-vax'), existsSync(built) ? built : undefined);
});
