import {linesOf} from '../figures.ts';
import {type Raw} from '../raw.ts';
import {type Trial} from '../trials.ts';

/** When a trial was measured, how often, and on which processor: the raw lines may be of several machines. */
export function measured({name, contestants}: Trial, {runs, lines}: Raw): string {
	const byOccasion = new Map<string, string[]>();
	for (const contestant of contestants) {
		const repeats = linesOf(lines, name, [contestant])?.get(contestant) ?? [];
		const run = repeats[0]?.run;
		const machine = runs.find(other => other.run === run)?.machine;
		if (run !== undefined && machine !== undefined) {
			const times = repeats.length === 1 ? 'once' : `${repeats.length} times`;
			const occasion = `${times} on ${run.slice(0, 10)}, ${machine.processors} × ${machine.cpu}`;
			byOccasion.set(occasion, [...byOccasion.get(occasion) ?? [], contestant]);
		}
	}

	const occasions = [...byOccasion];
	return occasions.length === 1
		? `Measured ${occasions[0]![0]}.`
		: `Measured ${occasions.map(([occasion, contestants]) => `${occasion} (${contestants.join(', ')})`).join('; ')}.`;
}
