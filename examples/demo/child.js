// A child process as an object of async functions: `start()` in the parent, `answer()` in the child.
import {fork} from 'node:child_process';
import {once} from 'node:events';
import process from 'node:process';

/**
Start `file` of this folder in a process of its own.

`call(name, ...arguments)` runs the function of that name there and gives back what it returned, or rejects: when it threw, when the process has ended, or after `patience` milliseconds. What the child sends by `notify()` is the `notice` event of `notices`.
*/
export function start(file, {patience = 20_000} = {}) {
	const child = fork(new URL(file, import.meta.url));
	const waiting = new Map();
	const ended = once(child, 'exit');
	let calls = 0;

	child.on('message', ({id, result, error, notice}) => {
		if (notice) {
			child.emit('notice', notice);
		} else if (error) {
			waiting.get(id)?.reject(new Error(`${file}: ${error}`));
		} else {
			waiting.get(id)?.resolve(result);
		}
	});
	child.on('exit', (code, signal) => {
		for (const {reject} of waiting.values()) {
			reject(new Error(`${file} ended (${signal ?? `exit code ${code}`})`));
		}
	});

	return {
		file,
		notices: child,
		ended,
		async call(name, ...parameters) {
			const id = ++calls;
			const timer = setTimeout(() => {
				waiting.get(id).reject(new Error(`${file}: no answer to ${name}() within ${patience} ms`));
			}, patience);
			try {
				return await new Promise((resolve, reject) => {
					waiting.set(id, {resolve, reject});
					child.send({id, name, parameters});
				});
			} finally {
				clearTimeout(timer);
				waiting.delete(id);
			}
		},
		// Ends the child by hanging up, which it takes as a request. One that has not gone after `patience` is killed, and `false` says so.
		async end() {
			if (child.connected) {
				child.disconnect();
			}

			const timer = setTimeout(() => child.kill('SIGKILL'), patience);
			const [code] = await ended;
			clearTimeout(timer);
			return code === 0;
		},
	};
}

/**
Answer the parent's calls with `functions`. When the parent hangs up or dies, `end()` runs, and then nothing may keep this process alive: it is given `grace` milliseconds to end by itself.
*/
export function answer(functions, {end = async () => {}, grace = 5000} = {}) {
	process.on('message', async ({id, name, parameters}) => {
		try {
			reply({id, result: await functions[name](...parameters)});
		} catch (error) {
			reply({id, error: error.stack});
		}
	});
	process.once('disconnect', async () => {
		// Unref'ed: a process which has nothing left to do ends at once and with code 0.
		setTimeout(() => {
			console.error(`Process ${process.pid} did not end by itself`);
			process.exit(1);
		}, grace).unref();
		await end();
	});

	// Ctrl-C goes to the whole process group. The parent alone decides what it means, and hangs up.
	process.on('SIGINT', () => {});
	process.on('SIGTERM', () => {});
}

/** Tell the parent something it did not ask for. */
export function notify(notice) {
	reply({notice});
}

function reply(message) {
	// A parent that has just gone is no reason to fail; 'disconnect' follows.
	if (process.connected) {
		process.send(message, () => {});
	}
}
