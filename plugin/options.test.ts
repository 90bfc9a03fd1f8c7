import {type IncomingMessage} from 'node:http';
import test from 'ava';
import {checkConnectOptions, checkOptions, type Options} from './options.ts';

const request = undefined as unknown as IncomingMessage;

test('by default the engine is chosen, and no target is allowed', t => {
	const {allow, ...others} = checkOptions();
	t.deepEqual(others, {engine: 'auto', connectTimeout: 10_000, capacity: 16_384});
	t.false(allow({host: 'localhost', port: 443}, request));
});

test('options that belong to somebody else are left alone', t => {
	t.notThrows(() => checkOptions({target: 'http://localhost', ws: true} as Options));
});

test('the options of one connect() take precedence', async t => {
	const defaults = checkOptions({allow: ['a.example:*'], connectTimeout: 1});
	t.is(checkConnectOptions({}, defaults).connectTimeout, 1);
	t.is(checkConnectOptions({connectTimeout: 2}, defaults).connectTimeout, 2);
	t.true(await checkConnectOptions({}, defaults).allow({host: 'a.example', port: 1}, request));
	t.false(await checkConnectOptions({allow: []}, defaults).allow({host: 'a.example', port: 1}, request));
});

test('a function decides about targets itself', async t => {
	const {allow} = checkOptions({allow: async ({host}) => host === 'a.example'});
	t.true(await allow({host: 'a.example', port: 1}, request));
	t.false(await allow({host: 'b.example', port: 1}, request));
});

const complains = test.macro({
	exec(t, options: unknown, message: string) {
		t.throws(() => checkOptions(options as Options), {instanceOf: TypeError, message});
	},
	title: (_title, options) => `${JSON.stringify(options)} is not accepted`,
});

test(complains, 'stream', 'Expected `options` to be an object, but got \'stream\'.');
test(complains, null, 'Expected `options` to be an object, but got null.');
test(complains, {engine: 'fast'}, 'Expected option `engine` to be one of \'auto\', \'sockmap\', \'splice\', \'stream\', but got \'fast\'.');
test(complains, {capacity: 0}, 'Expected option `capacity` to be an integer from 1 to 4194304, but got 0.');
test(complains, {capacity: '1'}, 'Expected option `capacity` to be an integer from 1 to 4194304, but got \'1\'.');
test(complains, {connectTimeout: -1}, 'Expected option `connectTimeout` to be an integer from 0 to 2147483647, but got -1.');
test(complains, {connectTimeout: 0.5}, 'Expected option `connectTimeout` to be an integer from 0 to 2147483647, but got 0.5.');
test(complains, {allow: 'example.com:443'}, 'Expected option `allow` to be a list of \'host:port\' patterns or a function, but got \'example.com:443\'.');
test(complains, {allow: ['example.com']}, 'Expected each pattern of option `allow` to look like \'example.com:443\', \'*.example.com:443\', \'[::1]:443\' or \'*:443\', with \'*\' for any port, but got \'example.com\'.');
test(complains, {allow: [443]}, 'Expected each pattern of option `allow` to look like \'example.com:443\', \'*.example.com:443\', \'[::1]:443\' or \'*:443\', with \'*\' for any port, but got 443.');
