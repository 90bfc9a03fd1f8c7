import {Buffer} from 'node:buffer';
import {seeded} from './random.ts';

/**
Bytes whose value follows from their position, so that one lost, doubled or out of place shows where it happened.
Two patterns of different origins never look alike.
*/
export function pattern(origin: number, position: number, length: number): Uint8Array {
	const start = (origin + position) % period;
	if (start + length <= table.length) {
		return table.subarray(start, start + length);
	}

	const pieces: Uint8Array[] = [];
	for (let done = 0; done < length;) {
		const from = (start + done) % period;
		const piece = table.subarray(from, Math.min(period, from + length - done));
		pieces.push(piece);
		done += piece.length;
	}

	return Buffer.concat(pieces);
}

export function same(bytes: Uint8Array, expected: Uint8Array): boolean {
	return Buffer.compare(bytes, expected) === 0;
}

/** Compares what arrived with the pattern, chunk after chunk, and throws at the first byte that differs. */
export class PatternReader {
	received = 0;
	readonly #origin: number;

	constructor(origin: number) {
		this.#origin = origin;
	}

	take(chunk: Uint8Array): void {
		const expected = pattern(this.#origin, this.received, chunk.length);
		if (!same(chunk, expected)) {
			const index = chunk.findIndex((byte, place) => byte !== expected[place]);
			throw new Error(`Byte ${this.received + index} differs (${index} of a chunk of ${chunk.length}): ${this.#whereFrom(chunk.subarray(index, index + 64))}`);
		}

		this.received += chunk.length;
	}

	// 16 bytes in a row are found in the table once, if at all: that tells a loss from a repetition.
	#whereFrom(found: Uint8Array): string {
		const index = found.length < 16 ? -1 : table.indexOf(found);
		return index === -1 ? `${Buffer.from(found).toString('hex')} is not of this stream` : `it is the byte ${(index - this.#origin + period) % period} (modulo ${period}) of this stream`;
	}
}

// A prime, so that no power of two, no page and no segment size hides a shift.
const period = 1_000_003;

// A little longer than the period, so that most requests are one slice of it.
const table = (() => {
	const random = seeded(1);
	const bytes = Buffer.allocUnsafe(period + 262_144);
	for (let index = 0; index < period; index++) {
		bytes[index] = Math.floor(random() * 256);
	}

	bytes.copy(bytes, period, 0, bytes.length - period);
	return bytes;
})();
