import test from 'ava';
import {parseAuthority} from './authority.ts';
import {parseAllow, parseDeny, Rules, type Rule, type Verdict} from './rules.ts';

const rules = (...entries: ReadonlyArray<string | Rule>) => new Rules(entries.flatMap(entry => parseAllow(entry)!));

/* eslint-disable max-params -- Each row is a sentence. */
const judges = test.macro({
	exec(t, list: ReadonlyArray<string | Rule>, authority: string, address: string, expected: Verdict) {
		t.is(rules(...list).verdict(parseAuthority(authority)!, address), expected);
	},
	title: (_title, list, authority: string, address: string, expected: Verdict) => `${JSON.stringify(list)}: ${authority} at ${address} is ${expected}`,
});
/* eslint-enable max-params */

const publicAddress = '93.184.216.34';
test(judges, [], 'example.com:443', publicAddress, 'denied');
test(judges, ['example.com:443'], 'example.com:443', publicAddress, 'allowed');
test(judges, ['example.com:443'], 'example.com:80', publicAddress, 'denied');
test(judges, ['*:443'], 'example.com:443', publicAddress, 'allowed');

// A wildcard means the public internet only; what is named is meant.
test(judges, ['*:443'], 'example.com:443', '10.0.0.1', 'prohibited');
test(judges, ['*.example.com:443'], 'www.example.com:443', '::1', 'prohibited');
test(judges, ['*:*'], '169.254.169.254:80', '169.254.169.254', 'prohibited');
test(judges, ['*:*'], '[::ffff:a00:1]:80', '::ffff:a00:1', 'prohibited');
test(judges, ['localhost:*'], 'localhost:1', '127.0.0.1', 'allowed');
test(judges, ['127.0.0.1:8443'], '127.0.0.1:8443', '127.0.0.1', 'allowed');
test(judges, ['10.0.0.0/8'], 'intranet.test:443', '10.0.0.1', 'allowed');
test(judges, ['10.0.0.0/8'], 'intranet.test:443', publicAddress, 'denied');
test(judges, ['10.0.0.0/8'], 'intranet.test:80', '10.0.0.1', 'denied');
test(judges, ['10.0.0.0/8:80'], 'intranet.test:80', '10.0.0.1', 'allowed');
test(judges, ['10.0.0.0/8:*'], '10.1.1.1:8080', '10.1.1.1', 'allowed');
test(judges, ['[fd00::/8]:8443'], '[fd00::1]:8443', 'fd00::1', 'allowed');
test(judges, ['[fd00::]/8:8443'], '[fd00::1]:8443', 'fd00::1', 'allowed');
test(judges, ['fd00::/8'], '[fd00::1]:443', 'fd00::1', 'allowed');
test(judges, ['*:443', '10.0.0.0/8'], 'intranet.test:443', '10.0.0.1', 'allowed');
test(judges, ['0.0.0.0/0'], '10.0.0.1:443', '10.0.0.1', 'prohibited');
test(judges, ['127.0.0.1:443'], 'rebound.test:443', '127.0.0.1', 'denied');

// The first that matches decides.
test(judges, [{deny: 'bad.example.com'}, '*.example.com:443'], 'bad.example.com:443', publicAddress, 'denied');
test(judges, [{deny: 'bad.example.com'}, '*.example.com:443'], 'good.example.com:443', publicAddress, 'allowed');
test(judges, ['bad.example.com:443', {deny: '*.example.com'}, '*:*'], 'bad.example.com:443', publicAddress, 'allowed');
test(judges, ['bad.example.com:443', {deny: '*.example.com'}, '*:*'], 'bad.example.com:80', publicAddress, 'denied');
test(judges, [{deny: '93.184.0.0/16'}, '*:*'], 'example.com:443', publicAddress, 'denied');
test(judges, [{deny: '93.184.0.0/16'}, '*:*'], '[::ffff:5db8:d822]:443', '::ffff:5db8:d822', 'denied');
test(judges, [{deny: publicAddress}, '*:*'], 'example.com:443', publicAddress, 'denied');
test(judges, [{deny: '*', ports: 25}, '*:*'], 'example.com:25', publicAddress, 'denied');
test(judges, [{deny: '*', ports: 25}, '*:*'], 'example.com:26', publicAddress, 'allowed');

// Ports.
test(judges, [{allow: 'example.com'}], 'example.com:443', publicAddress, 'allowed');
test(judges, [{allow: 'example.com'}], 'example.com:80', publicAddress, 'denied');
test(judges, [{allow: ['a.example', 'b.example'], ports: [80, '8000-8999']}], 'b.example:8500', publicAddress, 'allowed');
test(judges, [{allow: ['a.example', 'b.example'], ports: [80, '8000-8999']}], 'b.example:9000', publicAddress, 'denied');
test(judges, ['example.com:80,443'], 'example.com:80', publicAddress, 'allowed');
test(judges, ['example.com:8000-8001'], 'example.com:8002', publicAddress, 'denied');

test('a name that no rule can allow is not looked up', t => {
	t.false(rules('example.com:443').mayAllow({host: 'other.example', port: 443}));
	t.false(rules({deny: '*.example'}, '*:443').mayAllow({host: 'other.example', port: 443}));
	t.false(rules('10.0.0.0/8').mayAllow({host: 'other.example', port: 80}));
	t.true(rules('10.0.0.0/8').mayAllow({host: 'other.example', port: 443}));
	t.true(rules({deny: '10.0.0.0/8'}, '*:443').mayAllow({host: 'other.example', port: 443}));
	t.false(rules('10.0.0.0/8').mayAllow({host: '11.0.0.1', port: 443}));
});

for (const entry of ['', 'example.com', '*', '::1:443', '[127.0.0.1]:80', '10.0.0.0/33', '10.0.0.0/8:0', 'example.com:443-80', 'example.com:1,', {allow: 'a.example:80', ports: 80}, {allow: 'a.example', deny: 'b.example'}, {}, {allow: 1}, {allow: 'a.example', ports: []}, {allow: 'a.example', ports: {}}, null, 443]) {
	test(`${JSON.stringify(entry)} is no rule`, t => {
		t.is(parseAllow(entry), undefined);
	});
}

test('what is denied is denied on all ports, unless it says otherwise', t => {
	const deny = new Rules(['example.com', '10.0.0.0/8', 'a.example:25', '::1'].flatMap(entry => parseDeny(entry)!));
	t.true(deny.denies({host: 'example.com', port: 1}));
	t.true(deny.denies({host: 'any.example', port: 1}, '10.1.1.1'));
	t.false(deny.denies({host: 'any.example', port: 1}));
	t.true(deny.denies({host: 'a.example', port: 25}));
	t.false(deny.denies({host: 'a.example', port: 26}));
	t.true(deny.denies({host: 'any.example', port: 26}, '::1'));
});
