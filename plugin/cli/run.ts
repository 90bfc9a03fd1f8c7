import {readFileSync} from 'node:fs';
import process from 'node:process';
import {type Command, exitCodes, Failure, UsageError} from './command.ts';
import {doctor} from './doctor.ts';
import {helpOf, overview} from './help.ts';
import {proxy} from './proxy.ts';
import {setup} from './setup.ts';

/**
The command line, from its arguments to its exit code.
*/
export async function run([name, ...given]: readonly string[]): Promise<number> {
	if (name === '--version') {
		process.stdout.write(`${version()}\n`);
		return exitCodes.ok;
	}

	if (name === '--help' || name === 'help') {
		const command = commands.find(({name}) => name === given[0]);
		process.stdout.write(command ? helpOf(command) : overview(commands));
		return exitCodes.ok;
	}

	if (name === undefined) {
		process.stderr.write(overview(commands));
		return exitCodes.usage;
	}

	const command = commands.find(command => command.name === name);
	if (command === undefined) {
		return complain(new UsageError(`There is no command ${name}. There are ${commands.map(({name}) => name).join(', ')}.`), '--help');
	}

	if (given.includes('--help')) {
		process.stdout.write(helpOf(command));
		return exitCodes.ok;
	}

	try {
		return await command.run(given);
	} catch (error) {
		return complain(error, `${name} --help`);
	}
}

function complain(error: unknown, hint: string): number {
	if (error instanceof UsageError) {
		process.stderr.write(`http-proxy-sockmap: ${error.message}\nSee \`http-proxy-sockmap ${hint}\`.\n`);
		return exitCodes.usage;
	}

	if (error instanceof Failure) {
		process.stderr.write(`http-proxy-sockmap: ${error.message}\n`);
		return exitCodes.failed;
	}

	throw error;
}

function version(): string {
	// Both `dist/cli` and `plugin/cli` are two steps below the root of the package.
	const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
	return (JSON.parse(manifest) as {readonly version: string}).version;
}

const commands: readonly Command[] = [doctor, setup, proxy];
