import {type Command, type Settings} from './command.ts';

export function helpOf({name, summary, help, settings}: Command): string {
	return `${summary}\n\nUsage: http-proxy-sockmap ${name} [options]\n\n${help.trim()}\n\nOptions:\n${listSettings({...settings, ...helpSetting})}\n`;
}

export function overview(commands: readonly Command[]): string {
	return `Carries the WebSocket and CONNECT tunnels of a Node proxy inside the Linux kernel.

Usage: http-proxy-sockmap <command> [options]

Commands:
${columns(commands.map(({name, summary}) => [name, summary]))}

Options:
  --help     This text, or that of a command
  --version  The version of the package

Where to start:
  $ npx http-proxy-sockmap doctor
  $ npx http-proxy-sockmap proxy --help

Exit codes: 0 it worked, 1 it failed, 2 the command line or the configuration file is wrong.
`;
}

function listSettings(settings: Settings): string {
	return columns(Object.entries(settings).map(([name, {value, multiple, about}]) => [
		`--${name}${value === undefined ? '' : ` ${value}`}${multiple ? ' …' : ''}`, about,
	]));
}

function columns(rows: ReadonlyArray<readonly [string, string]>): string {
	const width = Math.max(...rows.map(([left]) => left.length));
	return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join('\n');
}

const helpSetting: Settings = {help: {type: 'boolean', about: 'This text'}};
