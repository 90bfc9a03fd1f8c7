import process from 'node:process';

// Questions and answers between a test and its programs, over the channel that Node gives to a child.

export type Calls = Readonly<Record<string, (argument: any) => unknown>>;

export type Question = {readonly id: number; readonly name: string; readonly argument: unknown};

export type Answer = {readonly id: number; readonly value?: unknown; readonly error?: string};

/** Answers until the other side is gone, and does not outlive it. */
export function answer(calls: Calls): void {
	process.on('message', async ({id, name, argument}: Question) => {
		process.send!(await answerOne(calls, id, name, argument));
	});
	process.once('disconnect', () => {
		process.exit();
	});
	process.send!({id: 0} satisfies Answer);
}

async function answerOne(calls: Calls, id: number, name: string, argument: unknown): Promise<Answer> {
	try {
		return {id, value: await calls[name]!(argument)};
	} catch (error) {
		return {id, error: (error as Error).stack ?? String(error)};
	}
}
