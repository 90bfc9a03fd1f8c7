import test from 'ava';
import {SockmapError} from './errors.ts';

test('an error of ours carries what the kernel said', t => {
	const cause = new Error('cause');
	const error = new SockmapError('message', {
		code: 'EPERM', errno: 1, syscall: 'bpf', step: 'load the program', cause,
	});
	t.true(error instanceof Error);
	t.is(String(error), 'SockmapError: message');
	t.like(error, {
		code: 'EPERM', errno: 1, syscall: 'bpf', step: 'load the program', cause,
	});
});

test('an error of ours has no details it was not given', t => {
	const error = new SockmapError('message');
	t.is(error.code, undefined);
	t.is(error.cause, undefined);
});
