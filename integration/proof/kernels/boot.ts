import {Buffer} from 'node:buffer';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {createInterface} from 'node:readline';
import type {Capability} from '../../../plugin/index.ts';
import type {Kernel} from './archive.ts';
import type {Result} from './runner.ts';

/** What the guest told before it was gone. */
export type Report = {
	readonly name: string;
	readonly self?: SelfTest;
	readonly results: readonly Result[];

	/** Whether it came to its end by itself. */
	readonly complete: boolean;
	readonly seconds: number;

	/** The last lines of the console, for when something went wrong. */
	readonly console: readonly string[];

	/** What the kernel complained about. */
	readonly complaints: readonly string[];
};

export type SelfTest = {
	readonly kernel: string;
	readonly build: string;
	readonly node: string;
	readonly sockmap: Capability;
	readonly splice: Capability;
	readonly milliseconds: number;
};

/** Runs the tests whose titles match in an emulated machine of two processors, for so many milliseconds at the most. */
export async function boot({name, image}: Kernel, initramfs: string, tests: RegExp, limit: number): Promise<Report> {
	const started = Date.now();
	const machine = spawn('qemu-system-x86_64', [
		'-accel',
		'tcg,thread=multi',
		'-cpu',
		'max',
		'-smp',
		'2',
		'-m',
		'2048',
		'-nodefaults',
		'-display',
		'none',
		'-serial',
		'stdio',
		'-no-reboot',
		'-kernel',
		image,
		'-initrd',
		initramfs,
		// A regular expression is not made for a command line.
		'-append',
		`console=ttyS0 quiet panic=-1 tests=${Buffer.from(tests.source).toString('hex')}`,
	], {stdio: ['ignore', 'pipe', 'inherit']});
	const gone = once(machine, 'close');
	const watchdog = setTimeout(() => {
		machine.kill('SIGKILL');
	}, limit);

	let self: SelfTest | undefined;
	let complete = false;
	const results: Result[] = [];
	const lines: string[] = [];
	for await (const line of createInterface({input: machine.stdout})) {
		lines.push(line.trimEnd());
		const said = line.startsWith('@@') ? JSON.parse(line.slice(2)) as Partial<Result & SelfTest & {done: boolean}> : {};
		if (said.kernel !== undefined) {
			self = said as SelfTest;
		} else if (said.title !== undefined) {
			results.push(said as Result);
		}

		complete ||= said.done === true;
	}

	await gone;
	clearTimeout(watchdog);
	return {
		name,
		...(self && {self}),
		results,
		complete,
		seconds: Math.round((Date.now() - started) / 1000),
		console: lines.slice(-40),
		complaints: lines.filter(line => /\b(?:BUG|WARNING|Oops|Call Trace|bug:|soft lockup|refcount_t)\b/u.test(line)),
	};
}
