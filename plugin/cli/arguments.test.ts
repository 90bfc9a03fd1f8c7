import test from 'ava';
import {parseArguments} from './arguments.ts';
import {UsageError} from './command.ts';

const settings = {
	engine: {type: 'string', about: ''},
	allow: {type: 'string', multiple: true, about: ''},
	slots: {type: 'integer', minimum: 1, maximum: 10, about: ''},
	json: {type: 'boolean', about: ''},
} as const;

test('each setting has the type that it says', t => {
	t.deepEqual(parseArguments(settings, ['--engine', 'splice', '--allow', 'a:1', '--allow=b:2', '--slots', '3', '--json']), {
		engine: 'splice', allow: ['a:1', 'b:2'], slots: 3, json: true,
	});
	t.deepEqual(parseArguments(settings, []), {});
});

const complains = test.macro({
	exec(t, given: readonly string[], message: string) {
		t.throws(() => parseArguments(settings, given), {instanceOf: UsageError, message});
	},
	title: (_title, given: readonly string[]) => `\`${given.join(' ')}\` is not accepted`,
});

test(complains, ['--slots', '0'], 'Expected --slots to be an integer from 1 to 10, but got 0.');
test(complains, ['--slots', '1e1'], 'Expected --slots to be an integer from 1 to 10, but got \'1e1\'.');
test(complains, ['--engine='], 'Expected --engine to be a string that is not empty, but got \'\'.');
test(complains, ['--slot', '1'], 'Unknown option \'--slot\'');
test(complains, ['somewhere'], 'Unexpected argument \'somewhere\'.');
