import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {parseAddress} from './address.ts';
import {UsageError} from './command.ts';
import {readConfig, readUsers} from './config.ts';

const settings = {
	listen: {type: 'string', about: ''},
	allow: {type: 'string', multiple: true, about: ''},
	'idle-timeout': {type: 'integer', about: ''},
	connect: {type: 'boolean', about: ''},
} as const;

function file(t: ExecutionContext, content: string): string {
	const directory = mkdtempSync(join(tmpdir(), 'http-proxy-sockmap-'));
	t.teardown(() => {
		rmSync(directory, {recursive: true});
	});
	const path = join(directory, 'file');
	writeFileSync(path, content);
	return path;
}

test('a configuration file has the names of the command line', t => {
	const config = {listen: '8080', allow: ['a:1'], 'idle-timeout': 5, connect: true};
	t.deepEqual(readConfig(file(t, JSON.stringify(config)), settings), config);
});

const complains = test.macro({
	exec(t, content: string, message: RegExp) {
		const path = file(t, content);
		const error = t.throws(() => readConfig(path, settings), {instanceOf: UsageError, message});
		t.true(error.message.includes(path));
	},
	title: (_title, content: string) => `a configuration file with ${content} is not accepted, and the key is named`,
});

test(complains, '{"idleTimeout": 5}', /the key "idleTimeout", which does not exist\. There are "listen", "allow", "idle-timeout", "connect"/);
test(complains, '{"toString": 5}', /the key "toString"/);
test(complains, '{"idle-timeout": "5"}', /Expected the key "idle-timeout" of .* to be an integer from 0 to \d+, but got '5'/);
test(complains, '{"allow": "a:1"}', /the key "allow" of .* to be a list of strings, but got 'a:1'/);
test(complains, '{"allow": ["a:1", 2]}', /the key "allow"/);
test(complains, '{"connect": "yes"}', /the key "connect" of .* to be true or false/);
test(complains, '["listen"]', /one JSON object/);
test(complains, '{"listen": }', /is not JSON/);

test('users are read from lines, and a wrong line is named but not shown', t => {
	t.deepEqual([...readUsers(file(t, '# us\n\nalice:a:b\r\nbob:$scrypt$x\n'))], [['alice', 'a:b'], ['bob', '$scrypt$x']]);
	for (const content of ['alice:a\nsecret\n', 'alice:a\nalice:secret', 'alice:a\nbob:']) {
		const error = t.throws(() => readUsers(file(t, content)), {instanceOf: UsageError, message: /line 2 of/});
		t.false(error.message.includes('secret'));
	}
});

test('an address without a host is that of this machine', t => {
	t.deepEqual(parseAddress('--listen', '8080'), {host: '127.0.0.1', port: 8080});
	t.deepEqual(parseAddress('--listen', '0.0.0.0:0'), {host: '0.0.0.0', port: 0});
	t.deepEqual(parseAddress('--listen', '[::1]:80'), {host: '::1', port: 80});
	for (const text of ['', 'host', ':80', '::1:80', '65536', 'a:b:1']) {
		t.throws(() => parseAddress('--listen', text), {instanceOf: UsageError, message: /^Expected --listen/});
	}
});
