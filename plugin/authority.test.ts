import test from 'ava';
import {formatTarget, isNamed, parseAuthority, parsePattern, showUrl} from './authority.ts';

const parses = test.macro({
	exec(t, authority: string, host: string, port: number) {
		t.deepEqual(parseAuthority(authority), {host, port});
	},
	title: (_title, authority: string) => `${authority} is a target`,
});

test(parses, 'example.com:443', 'example.com', 443);
test(parses, 'Example.COM:443', 'example.com', 443);
test(parses, 'example.com.:443', 'example.com', 443);
test(parses, 'localhost:65535', 'localhost', 65_535);
test(parses, 'a_b.example:1', 'a_b.example', 1);
test(parses, 'a-b.x--y.example:1', 'a-b.x--y.example', 1);
test(parses, `${'a'.repeat(63)}.com:443`, `${'a'.repeat(63)}.com`, 443);
test(parses, '127.0.0.1:80', '127.0.0.1', 80);
test(parses, '127.0.0.1.:80', '127.0.0.1', 80);
test(parses, '[::1]:443', '::1', 443);
test(parses, '[2001:DB8:0:0:0:0:0:1]:443', '2001:db8::1', 443);
test(parses, 'example.com:00443', 'example.com', 443);

const rejects = test.macro({
	exec(t, authority: string) {
		t.is(parseAuthority(authority), undefined);
	},
	title: (_title, authority) => `${JSON.stringify(authority)} is malformed`,
});

for (const authority of [
	'',
	':',
	':443',
	'example.com',
	'example.com:',
	'example.com:0',
	'example.com:65536',
	'example.com:000443',
	'example.com:+443',
	'example.com:4e2',
	'example.com: 443',
	'example.com:https',
	'example.com:443/',
	'/example.com:443',
	'http://example.com:443',
	'user@example.com:443',
	'user:password@example.com:443',
	'example..com:443',
	'example.com..:443',
	'.example.com:443',
	'-example.com:443',
	'example-.com:443',
	'exa mple.com:443',
	'example.com\r\n:443',
	'example.com:443\r\n',
	'exämple.com:443',
	'*:443',
	'::1:443',
	'[::1]',
	'[::1]443',
	'[::1:443',
	'[127.0.0.1]:443',
	'[fe80::1%eth0]:443',
	'[example.com]:443',
	'127.1:80',
	'2130706433:80',
	'0x7f.1:80',
	'127.0.0.256:80',
	'256.256.256.256:80',
	`${'a'.repeat(64)}.com:443`,
	`${'a.'.repeat(127)}com:443`,
]) {
	test(rejects, authority);
}

const matches = test.macro({
	exec(t, pattern: string, authority: string, expected: boolean) {
		t.is(isNamed(parseAuthority(authority)!, [parsePattern(pattern)!]), expected);
	},
	title: (_title, pattern: string, authority: string, expected: boolean) => `the pattern ${pattern} ${expected ? 'names' : 'does not name'} ${authority}`,
});

test(matches, 'example.com:443', 'example.com:443', true);
test(matches, 'EXAMPLE.com.:443', 'eXample.com:443', true);
test(matches, 'example.com:443', 'example.com.:443', true);
test(matches, 'example.com:443', 'example.com:80', false);
test(matches, 'example.com:443', 'www.example.com:443', false);
test(matches, 'example.com:443', 'notexample.com:443', false);
test(matches, 'example.com:*', 'example.com:8080', true);
test(matches, '*.example.com:443', 'www.example.com:443', true);
test(matches, '*.example.com:443', 'a.b.example.com:443', true);
test(matches, '*.example.com:443', 'example.com:443', false);
test(matches, '*.example.com:443', 'notexample.com:443', false);
test(matches, '*:443', '[::1]:443', true);
test(matches, '*:443', 'example.com:444', false);
test(matches, '*:*', 'example.com:1', true);
test(matches, '[0:0:0:0:0:0:0:1]:443', '[::1]:443', true);
test(matches, '[::1]:443', '127.0.0.1:443', false);

test('a target matches if one of several patterns names it', t => {
	const patterns = ['a.example:1', 'b.example:2'].map(pattern => parsePattern(pattern)!);
	t.true(isNamed({host: 'b.example', port: 2}, patterns));
	t.false(isNamed({host: 'b.example', port: 1}, patterns));
	t.false(isNamed({host: 'b.example', port: 1}, []));
});

for (const pattern of ['*', 'example.com', 'ex*mple.com:443', 'www.*.com:443', '*.*.com:443', '*.127.0.0.1:80', '*.[::1]:80', '**:80', '::1:443', 'example.com:0', 'example.com:http']) {
	test(`${pattern} is not a pattern`, t => {
		t.is(parsePattern(pattern), undefined);
	});
}

test('a target is shown as it was asked for', t => {
	t.is(formatTarget({host: '::1', port: 443}), '[::1]:443');
	t.is(formatTarget({host: 'example.com', port: 443}), 'example.com:443');
});

test('what is told of a target has no credentials', t => {
	t.is(showUrl('user:secret@example.com:443'), '\'…@example.com:443\'');
	t.is(showUrl('http://user:se@cret@example.com/'), '\'http://…@example.com/\'');
	t.is(showUrl('example.com'), '\'example.com\'');
	t.true(showUrl('a'.repeat(10_000)).length < 310);
});
