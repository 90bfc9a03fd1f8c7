/**
Runs what writes to a socket without being traffic.
*/
export function withoutTraffic(write: () => void): void {
	asking = true;
	try {
		write();
	} finally {
		asking = false;
	}
}

/**
Whether what is written now is somebody's, and not one of our questions.
*/
export function isTraffic(): boolean {
	return !asking;
}

let asking = false;
