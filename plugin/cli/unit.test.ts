import process from 'node:process';
import test from 'ava';
import {unit} from './unit.ts';

test('a unit starts and stops the command that printed it, by its real path', t => {
	const printed = unit('www-data', ['--user', 'www-data', '--path', '/srv/a b/100%']);
	const [, start] = /^ExecStart=(.*)$/m.exec(printed)!;
	t.true(start!.startsWith(process.execPath));
	t.true(start!.endsWith('main.ts setup --user www-data --path "/srv/a b/100%%"'));
	t.true(printed.includes(`\nExecStop=${start!} --remove\n`));
	t.regex(printed, /^Type=oneshot\nRemainAfterExit=yes$/m);
});
