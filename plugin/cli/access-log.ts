import {createWriteStream} from 'node:fs';
import process from 'node:process';
import {type Writable} from 'node:stream';

export type AccessLog = {
	/**
	One line of JSON, with the time.
	*/
	write(entry: Readonly<Record<string, unknown>>): void;

	/**
	Opens the file anew, for those who have moved it away.
	*/
	reopen(): void;
	close(): Promise<void>;
};

/**
`-` is the standard output.
*/
export function openAccessLog(file: string): AccessLog {
	let output = open(file);
	return {
		write(entry) {
			output.write(`${JSON.stringify({time: new Date().toISOString(), ...entry})}\n`);
		},
		reopen() {
			if (file !== '-') {
				output.end();
				output = open(file);
			}
		},
		async close() {
			await new Promise<void>(resolve => {
				if (file === '-' || output.errored) {
					resolve();
				} else {
					output.end(resolve);
				}
			});
		},
	};
}

function open(file: string): Writable {
	if (file === '-') {
		return process.stdout;
	}

	// A disk that is full must not end tunnels.
	return createWriteStream(file, {flags: 'a', mode: 0o640}).on('error', error => {
		process.stderr.write(`http-proxy-sockmap: Could not write the access log: ${error.message}\n`);
	});
}
