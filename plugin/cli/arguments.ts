import {inspect, parseArgs} from 'node:util';
import {type Setting, type Settings, UsageError, type Values} from './command.ts';

/**
What was given on the command line, checked by the settings of the command.
*/
export function parseArguments<Given extends Settings>(settings: Given, given: readonly string[]): Values<Given> {
	const options = Object.fromEntries(Object.entries(settings).map(([name, {type, multiple = false}]) => [
		name, {type: type === 'boolean' ? 'boolean' as const : 'string' as const, multiple},
	]));
	const {values} = parse(() => parseArgs({args: [...given], options, allowPositionals: false}));
	return Object.fromEntries(Object.entries(values).map(([name, value]) => [
		name, settings[name]!.type === 'integer' ? toInteger(value as string) : value,
	]).map(([name, value]) => [name, checkValue(`--${name as string}`, settings[name as string]!, value)])) as Values<Given>;
}

/**
The value if it is what the setting takes. `name` is how whoever gave it would recognize it.
*/
export function checkValue(name: string, {type, multiple, minimum = 0, maximum = Number.MAX_SAFE_INTEGER}: Setting, value: unknown): unknown {
	const fits = multiple ? Array.isArray(value) && value.every(item => isText(item)) : {
		string: isText(value),
		boolean: typeof value === 'boolean',
		integer: Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maximum,
	}[type];
	if (!fits) {
		const expected = multiple ? 'a list of strings' : {string: 'a string that is not empty', boolean: 'true or false', integer: `an integer from ${minimum} to ${maximum}`}[type];
		throw new UsageError(`Expected ${name} to be ${expected}, but got ${inspect(value, {breakLength: Number.POSITIVE_INFINITY})}.`);
	}

	return value;
}

function isText(value: unknown): boolean {
	return typeof value === 'string' && value !== '';
}

function toInteger(digits: string): unknown {
	return /^\d+$/.test(digits) ? Number(digits) : digits;
}

function parse<Result>(parse: () => Result): Result {
	try {
		return parse();
	} catch (error) {
		// The first sentence says it. The second is about positional arguments, which no command has.
		throw new UsageError((error as Error).message.replace(/\. .*$/s, '.'));
	}
}
