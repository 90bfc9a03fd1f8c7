/**
Calls back in a moment.

For times that are to be kept: most of what they are for is over by then, and a timer for each, set and cleared, would cost more than this one for all.
*/
export function soon(callback: () => void): void {
	if (waiting.push(callback) === 1) {
		// What keeps the process alive meanwhile, or not, are the sockets that it is about.
		setTimeout(() => {
			for (const callback of waiting.splice(0)) {
				callback();
			}
		}, moment).unref();
	}
}

const waiting: Array<() => void> = [];
const moment = 10;
