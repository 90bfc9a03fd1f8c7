import {type IncomingMessage} from 'node:http';
import test from 'ava';
import {checkConnectOptions, checkOptions, checkTunnelOptions} from './checks.ts';
import {type Options} from './options.ts';

const request = undefined as unknown as IncomingMessage;

test('by default the engine is chosen, and no target is allowed', t => {
	const {allow, ...others} = checkOptions();
	t.deepEqual(others, {
		engine: 'auto',
		connectTimeout: 10_000,
		handshakeTimeout: 0,
		idleTimeout: 0,
		maxLifetime: 0,
		halfClosedTimeout: 60_000,
		keepAlive: {idle: 60_000, interval: 10_000, count: 6},
		userTimeout: undefined,
		maxRate: 0,
		detach: false,
		maxTunnels: 0,
		maxTunnelsPerClient: 0,
		activityInterval: 0,
		capacity: 16_384,
		pinPath: undefined,
	});
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

test('the options of one tunnel take precedence, one by one', t => {
	const defaults = checkOptions({idleTimeout: 1, maxLifetime: 2, keepAlive: {idle: 5000}});
	t.like(checkTunnelOptions({idleTimeout: 0}, defaults), {idleTimeout: 0, maxLifetime: 2, halfClosedTimeout: 60_000});
	t.deepEqual(checkTunnelOptions({keepAlive: {count: 2}}, defaults).keepAlive, {idle: 5000, interval: 10_000, count: 2});
	t.is(checkTunnelOptions({keepAlive: false}, defaults).keepAlive, undefined);
});

test('the times of keepAlive are rounded up to what the kernel can count', t => {
	t.deepEqual(checkOptions({keepAlive: {idle: 1, interval: 1001}}).keepAlive, {idle: 1000, interval: 2000, count: 6});
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
test(complains, {pinPath: ''}, 'Expected option `pinPath` to be the path of a directory, but got \'\'.');
test(complains, {pinPath: true}, 'Expected option `pinPath` to be the path of a directory, but got true.');
test(complains, {connectTimeout: -1}, 'Expected option `connectTimeout` to be an integer from 0 to 2147483647, but got -1.');
test(complains, {connectTimeout: 0.5}, 'Expected option `connectTimeout` to be an integer from 0 to 2147483647, but got 0.5.');
test(complains, {allow: 'example.com:443'}, 'Expected option `allow` to be a list of \'host:port\' patterns or a function, but got \'example.com:443\'.');
test(complains, {allow: ['example.com']}, 'Expected each pattern of option `allow` to look like \'example.com:443\', \'*.example.com:443\', \'[::1]:443\' or \'*:443\', with \'*\' for any port, but got \'example.com\'.');
test(complains, {allow: [443]}, 'Expected each pattern of option `allow` to look like \'example.com:443\', \'*.example.com:443\', \'[::1]:443\' or \'*:443\', with \'*\' for any port, but got 443.');
test(complains, {handshakeTimeout: '1'}, 'Expected option `handshakeTimeout` to be an integer from 0 to 2147483647, but got \'1\'.');
test(complains, {idleTimeout: -1}, 'Expected option `idleTimeout` to be an integer from 0 to 2147483647, but got -1.');
test(complains, {maxLifetime: Number.NaN}, 'Expected option `maxLifetime` to be an integer from 0 to 2147483647, but got NaN.');
test(complains, {halfClosedTimeout: null}, 'Expected option `halfClosedTimeout` to be an integer from 0 to 2147483647, but got null.');
test(complains, {userTimeout: 2 ** 31}, 'Expected option `userTimeout` to be an integer from 0 to 2147483647, but got 2147483648.');
test(complains, {keepAlive: true}, 'Expected option `keepAlive` to be false or an object with `idle`, `interval` and `count`, but got true.');
test(complains, {keepAlive: {idle: 0}}, 'Expected option `keepAlive.idle` to be an integer from 1 to 32767000, but got 0.');
test(complains, {keepAlive: {count: 128}}, 'Expected option `keepAlive.count` to be an integer from 1 to 127, but got 128.');
test(complains, {detach: 1}, 'Expected option `detach` to be a boolean, but got 1.');
test(complains, {maxRate: 0.5}, 'Expected option `maxRate` to be an integer from 0 to 9007199254740991, but got 0.5.');
test(complains, {maxTunnels: -1}, 'Expected option `maxTunnels` to be an integer from 0 to 9007199254740991, but got -1.');
test(complains, {maxTunnelsPerClient: '2'}, 'Expected option `maxTunnelsPerClient` to be an integer from 0 to 9007199254740991, but got \'2\'.');
test(complains, {activityInterval: 1.5}, 'Expected option `activityInterval` to be an integer from 0 to 2147483647, but got 1.5.');
