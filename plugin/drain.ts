import {type Socket} from 'node:net';

/**
Delivers what the source has sent so far, then a FIN. Whatever comes later is read and discarded.
*/
export function drain(source: Socket, destination: Socket, onDrained: () => void): void {
	const limit = source.bytesRead + mostInKernel;
	source.resume();

	const step = (before: number) => {
		if (source.destroyed || destination.destroyed || source.readableEnded) {
			return;
		}

		const isOver = destination.writableEnded || source.bytesRead > limit;
		if (destination.writableLength > 0 && !isOver) {
			// The pipe does not read while the destination is slow. A turn of the event loop that brings nothing would say nothing.
			destination.write(nothing, () => setImmediate(step, unknown));
		} else if (before === source.bytesRead || isOver) {
			// A whole turn has brought nothing, so the kernel holds nothing either.
			onDrained();
			source.unpipe(destination);
			destination.end();
			source.resume();
		} else {
			setImmediate(step, source.bytesRead);
		}
	};

	step(unknown);
}

const nothing = new Uint8Array();
const unknown = -1;

// More than a receive buffer of the kernel holds. An end that never stops sending must not keep a closing tunnel open for ever.
const mostInKernel = 33_554_432;
