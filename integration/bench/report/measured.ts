import {linesOf} from '../figures.ts';
import {type Raw} from '../raw.ts';
import {type Trial} from '../trials.ts';

/** When a trial was measured, and on which processor: the raw lines may be of several machines. */
export function measured({name, contestants}: Trial, {runs, lines}: Raw): string {
	const byOccasion = new Map<string, string[]>();
	for (const contestant of contestants) {
		const run = linesOf(lines, name, [contestant])?.get(contestant)![0]!.run;
		const machine = runs.find(other => other.run === run)?.machine;
		if (run !== undefined && machine !== undefined) {
			const occasion = `on ${run.slice(0, 10)}, ${machine.processors} × ${machine.cpu}`;
			byOccasion.set(occasion, [...byOccasion.get(occasion) ?? [], contestant]);
		}
	}

	const occasions = [...byOccasion];
	return occasions.length === 1
		? `Measured ${occasions[0]![0]}.`
		: `Measured ${occasions.map(([occasion, contestants]) => `${occasion} (${contestants.join(', ')})`).join('; ')}.`;
}
