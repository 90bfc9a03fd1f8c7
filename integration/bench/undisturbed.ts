import {availableParallelism} from 'node:os';
import {type Result} from './point.ts';

/** Measures again while the host of a virtual machine takes its processors away, which is nobody's merit or fault here. Of a few attempts the one that was disturbed least counts. */
export async function undisturbed(measure: () => Promise<Result>, onAgain: (share: number) => void): Promise<Result> {
	let best = await measure();
	for (let attempt = 1; attempt < attempts && stolenShare(best) > bearable; attempt++) {
		onAgain(stolenShare(best));
		const next = await measure(); // eslint-disable-line no-await-in-loop
		best = stolenShare(next) < stolenShare(best) ? next : best;
	}

	return best;
}

/** What the host took, of all that the processors could have done. */
function stolenShare({cpu, seconds}: Result): number {
	return cpu.stolen / (seconds * availableParallelism());
}

export const attempts = 4;
export const bearable = 0.02; // One tick of the clock in half a second is more than a hundredth.
