import test from 'ava';
import {Access, type AccessOptions} from './access.ts';
import {type Options} from './options.ts';

const complains = test.macro({
	exec(t, options: unknown, message: string) {
		t.throws(() => new Access(options as AccessOptions), {instanceOf: TypeError, message});
	},
	title: (_title, options) => `${JSON.stringify(options)} is not accepted`,
});

test(complains, {lookup: 'dns'}, 'Expected option `lookup` to be a function, but got \'dns\'.');
test(complains, {authenticate: true}, 'Expected option `authenticate` to be a function, but got true.');
test(complains, {onRequest: {}}, 'Expected option `onRequest` to be a function, but got {}.');
test(complains, {localAddress: 'eth0'}, 'Expected option `localAddress` to be an IP address, but got \'eth0\'.');
test(complains, {deny: '*:25'}, 'Expected option `deny` to be a list, but got \'*:25\'.');
test(complains, {deny: ['10.0.0.0/33']}, 'Expected each entry of option `deny` to look like \'*.example.com\', \'10.0.0.0/8\' or \'example.com:25\', but got \'10.0.0.0/33\'.');
test(complains, {clients: '10.0.0.0/8'}, 'Expected option `clients` to be a list, but got \'10.0.0.0/8\'.');
test(complains, {clients: ['localhost']}, 'Expected each entry of option `clients` to look like \'10.0.0.0/8\' or \'::1\', but got \'localhost\'.');
test(complains, {clients: [10]}, 'Expected each entry of option `clients` to look like \'10.0.0.0/8\' or \'::1\', but got 10.');
test(complains, {realm: 'line\nline'}, 'Expected option `realm` to be a string of printable ASCII, but got \'line\\nline\'.');
test(complains, {challenge: ''}, 'Expected option `challenge` to be a value of Proxy-Authenticate, or a list of them, but got \'\'.');
test(complains, {challenge: ['Basic', 7]}, 'Expected option `challenge` to be a value of Proxy-Authenticate, or a list of them, but got [ \'Basic\', 7 ].');
test(complains, {maxFailures: -1}, 'Expected option `maxFailures` to be an integer from 0, but got -1.');

const secret = 'open sesame';

for (const [what, users] of [
	['a list', [['alice', secret]]],
	['a name with a colon', {'ali:ce': secret}],
	['a name that is empty', {'': secret}],
	['a password that is empty', {alice: ''}],
	['a password that is none', new Map<string, unknown>([['alice', secret], ['bob', 7]])],
] as const) {
	test(`users with ${what} are not accepted, and not quoted`, t => {
		const error = t.throws(() => new Access({users} as unknown as AccessOptions), {instanceOf: TypeError, message: /^Expected option `users`/});
		t.false(error.message.includes(secret) || error.message.includes('alice'));
	});
}

for (const upstreamProxy of ['ftp://alice:open%20sesame@proxy.example', 7, ['socks5://127.0.0.1', 'gopher://alice@127.0.0.1']]) {
	test(`${JSON.stringify(upstreamProxy)} is no proxy to go through, and is not quoted`, t => {
		const error = t.throws(() => new Access({upstreamProxy} as unknown as AccessOptions), {instanceOf: TypeError, message: /^Expected option `upstreamProxy`/});
		t.notRegex(error.message, /sesame|alice/);
	});
}

test('the access of one request is that of all, but for what it was given', t => {
	const options: AccessOptions & Pick<Options, 'allow'> = {clients: ['10.0.0.0/8'], localAddress: '127.0.0.1'};
	const access = new Access(options);
	t.is(access.with({}), access.with({}), 'nothing is checked again');
	const other = access.with({localAddress: '::1'});
	t.is(other.localAddress, '::1');
	t.is(other.clients?.length, 1);
	t.throws(() => access.with({maxFailures: 0.5}), {message: /`maxFailures`/});
});
