import {appendFileSync, existsSync, readFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {nothing, type Line} from './line.ts';
import {type Machine} from './machine.ts';

/** The raw results, one JSON object a line, which are only ever added to. The report is made of nothing else. */
export type Raw = {
	readonly runs: readonly Run[];
	readonly lines: readonly Line[];
};

/** How a run begins in the file. */
export type Run = {readonly run: string; readonly machine: Machine; readonly seconds: number; readonly repeats: number};

export function readRaw(file: string = rawFile): Raw {
	const runs: Run[] = [];
	const lines: Line[] = [];
	for (const text of existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(text => text !== '') : []) {
		const entry = JSON.parse(text) as Run | Omit<Line, 'run' | keyof typeof nothing>;
		if ('trial' in entry) {
			lines.push({...nothing, ...entry, run: runs.at(-1)!.run});
		} else {
			runs.push(entry);
		}
	}

	return {runs, lines};
}

export function addRun(run: Run, file: string = rawFile): void {
	appendFileSync(file, JSON.stringify(run) + '\n');
}

/** It belongs to the run that was added last, and says nothing of what is zero. */
export function addLine({run, ...line}: Line, file: string = rawFile): void {
	const told = Object.fromEntries(Object.entries(line).filter(([, value]) => value !== 0));
	appendFileSync(file, JSON.stringify(told) + '\n');
}

export const docsFolder = fileURLToPath(new URL('../../docs/', import.meta.url));

export const rawFile = `${docsFolder}benchmarks.jsonl`;
