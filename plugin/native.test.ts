import test from 'ava';
import {load} from './native.ts';

test('HTTP_PROXY_SOCKMAP_ADDON=none means that there is no addon', t => {
	const {native, missing} = load('none');
	t.is(native, undefined);
	t.like(missing, {step: 'load the addon', code: 'ERR_SOCKMAP_DISABLED', errno: 0});
});

test('an addon that cannot be found is a refusal, not an exception', t => {
	const {native, missing} = load('/nowhere/sockmap.node');
	t.is(native, undefined);
	t.like(missing, {step: 'load the addon', code: 'MODULE_NOT_FOUND', errno: 0});
});

test('a file that is not an addon is a refusal of one line', t => {
	const {missing} = load(import.meta.filename.replace('native.test.ts', 'stats.ts').replace(/\.ts$/, '.nope'));
	t.is(missing?.step, 'load the addon');
	t.false(missing?.message.includes('\n'));
});
