/**
One subcommand. Its settings are what it takes as `--name`, and what its help lists.
*/
export type Command = {
	readonly name: string;

	/**
	A line in the list of commands.
	*/
	readonly summary: string;

	/**
	What to know, and examples.
	*/
	readonly help: string;
	readonly settings: Settings;

	/**
	Resolves with the exit code.
	*/
	readonly run: (given: readonly string[]) => Promise<number>;
};

export type Settings = Readonly<Record<string, Setting>>;

export type Setting = {
	readonly type: 'string' | 'boolean' | 'integer';

	/**
	What stands for the value in the help.
	*/
	readonly value?: string;

	/**
	May be given several times. For strings only.
	*/
	readonly multiple?: true;
	readonly minimum?: number;
	readonly maximum?: number;
	readonly about: string;
};

export type Values<Given extends Settings> = {readonly [Name in keyof Given]?: Value<Given[Name]>};

type Value<Given extends Setting> = Given extends {readonly multiple: true} ? readonly string[]
	: Given extends {readonly type: 'boolean'} ? boolean
		: Given extends {readonly type: 'integer'} ? number : string;

/**
The command was called in a way that it does not understand: exit code 2.
*/
export class UsageError extends Error {
	override readonly name = 'UsageError';
}

/**
It was understood, and did not work out: exit code 1.
*/
export class Failure extends Error {
	override readonly name = 'Failure';
}

export const exitCodes = {ok: 0, failed: 1, usage: 2} as const;
