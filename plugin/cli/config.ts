import {readFileSync} from 'node:fs';
import {checkValue} from './arguments.ts';
import {type Settings, UsageError, type Values} from './command.ts';

/**
What a JSON file says about the settings, by the names that they have on the command line.
*/
export function readConfig<Given extends Settings>(file: string, settings: Given): Values<Given> {
	const config = parse(file);
	if (typeof config !== 'object' || config === null || Array.isArray(config)) {
		throw new UsageError(`Expected ${file} to contain one JSON object.`);
	}

	for (const [key, value] of Object.entries(config)) {
		const setting = Object.hasOwn(settings, key) ? settings[key] : undefined;
		if (setting === undefined) {
			throw new UsageError(`${file} has the key "${key}", which does not exist. There are ${Object.keys(settings).map(name => `"${name}"`).join(', ')}.`);
		}

		checkValue(`the key "${key}" of ${file}`, setting, value);
	}

	return config;
}

function parse(file: string): unknown {
	const text = readText(file);
	try {
		return JSON.parse(text);
	} catch (error) {
		throw new UsageError(`${file} is not JSON: ${(error as Error).message}.`);
	}
}

/**
A file that somebody named.
*/
export function readText(file: string): string {
	try {
		return readFileSync(file, 'utf8');
	} catch (error) {
		throw new UsageError(`Could not read ${file}: ${(error as NodeJS.ErrnoException).code!}.`);
	}
}

/**
Names and passwords, `name:password` a line. Empty lines and those that begin with `#` are left out.
*/
export function readUsers(file: string): Map<string, string> {
	const users = new Map<string, string>();
	for (const [index, line] of readText(file).split('\n').entries()) {
		if (line.trim() === '' || line.startsWith('#')) {
			continue;
		}

		const {name, secret} = /^(?<name>[^:]+):(?<secret>.+?)\r?$/.exec(line)?.groups ?? {};
		// The line may be a password. It is not shown.
		if (name === undefined || secret === undefined || users.has(name)) {
			throw new UsageError(`Expected line ${index + 1} of ${file} to be NAME:PASSWORD with a name that is not there yet.`);
		}

		users.set(name, secret);
	}

	return users;
}
