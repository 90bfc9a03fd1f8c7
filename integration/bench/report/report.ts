import {writeFileSync} from 'node:fs';
import process from 'node:process';
import {contestants} from '../contestants.ts';
import {congestionControl} from '../network.ts';
import {docsFolder, rawFile, readRaw, type Raw, type Run} from '../raw.ts';
import {leftOut, trials, type Group} from '../trials.ts';
import {attempts, bearable} from '../undisturbed.ts';
import {table} from './format.ts';
import {measured} from './measured.ts';
import {draw, plots} from './plots.ts';
import {trialTable} from './tables.ts';
import {losses, targetTable} from './targets.ts';

/** Makes docs/benchmarks.md and its plots from the raw lines, and from nothing else. */
export async function writeReport(file: string = rawFile): Promise<void> {
	const raw = readRaw(file);
	const drawn: string[] = [];
	for (const plot of plots) {
		const svg = await draw(plot, raw.lines); // eslint-disable-line no-await-in-loop
		if (svg !== undefined) {
			writeFileSync(`${docsFolder}benchmarks-${plot.name}.svg`, svg);
			drawn.push(`![${plot.title}](benchmarks-${plot.name}.svg)`);
		}
	}

	writeFileSync(`${docsFolder}benchmarks.md`, report(raw, drawn));
}

export function report({runs, lines}: Raw, drawn: readonly string[]): string {
	const last = runs.findLast(({run}) => lines.some(line => line.run === run));
	if (last === undefined) {
		return '# Benchmarks\n\nNothing has been measured yet.\n';
	}

	const lost = losses(lines);
	const failed = lines.filter(line => line.failed !== undefined);
	const corrupt = lines.filter(({corrupt}) => corrupt > 0);
	return [
		'# Benchmarks',
		'Made by `npm run bench`, from the raw lines in [benchmarks.jsonl](benchmarks.jsonl). `npm run bench -- sockmap 64` measures only what has all these words in its name, and `npm run bench -- --list` says what there is. It takes root on Linux and a C++ compiler; contestants that are not installed are skipped, and say so.',
		'## Where and with what',
		where(last),
		'## How it is measured',
		method,
		'## What was to be reached',
		'Every line is about medians. Ratios are taken within a repeat, between points that were measured within seconds of each other, and then their median. *95 %* is where that lies with such certainty, by the sign test, which takes six repeats; an aim that is in there has neither been missed for sure nor reached for sure.',
		targetTable(lines),
		'## Where we lose',
		lost.length === 0 ? 'Nowhere by more than 5 %.' : ['By more than 5 %, against what a user could pick instead:', '', ...lost.map(text => `- ${text}`)].join('\n'),
		'## Plots',
		drawn.join('\n\n'),
		'## Contestants',
		table(['name', 'what it is'], contestants.map(({name, about}) => [name, about])).replace('---:', '---'),
		...groups.flatMap(([group, title, about]) => {
			const ofGroup = trials.filter(trial => trial.group === group && lines.some(line => line.trial === trial.name && line.failed === undefined));
			return ofGroup.length === 0 ? [] : [
				`## ${title}`,
				about,
				...ofGroup.flatMap(trial => [`### ${trial.name}`, `${trial.about}. ${measured(trial, {runs, lines})}`, trialTable(trial, lines)]),
			];
		}),
		'## What is left out',
		leftOut.map(([what, why]) => `- ${what}: ${why}.`).join('\n'),
		...(failed.length === 0 ? [] : ['## What failed', failed.map(({trial, contestant, repeat, failed}) => `- ${trial}, ${contestant}, repeat ${repeat}: ${failed!}`).join('\n')]),
		...(corrupt.length === 0 ? [] : ['## Bytes that were not what had been sent', corrupt.map(({trial, contestant, repeat, corrupt}) => `- ${trial}, ${contestant}, repeat ${repeat}: ${corrupt}`).join('\n')]),
	].join('\n\n') + '\n';
}

function where(last: Run): string {
	const {kernel, cpu, processors, memory, versions, commit} = last.machine;
	return [
		table(['', ''], [
			['kernel', `Linux ${kernel}`],
			['CPU', `${processors} × ${cpu}, in a virtual machine`],
			['memory', `${Math.round(memory / (2 ** 30))} GiB`],
			...Object.entries(versions),
			['this package', commit],
			['date', last.run.slice(0, 10)],
			['repeats', `${last.repeats}, of ${last.seconds} s each`],
			['congestion control', congestionControl],
		]).replaceAll('---:', '---'),
		'This is of the last run. What was measured before it may be of another machine; each trial says when and on what.',
		`Congestion control is ${congestionControl}, in a network namespace that is made for each point. With BBR, which many machines default to, pacing halves every figure on loopback, that of the direct connection too, and what one would measure is a timer.`,
	].join('\n\n');
}

const method = [
	'- Client, proxy and upstream run on the same machine and share its processors. So absolute figures are of this machine, and what counts is how contestants compare.',
	'- Client and upstream are the same two programs for all, written in C++ with one thread and one epoll each. What the direct connection reaches shows how far they are from being the bottleneck. They check what they receive: the length of everything, and the bytes at both ends of each piece.',
	'- Each point has fresh processes, warm-up, and a fixed time, which is eight times as long (fan-out: four times) where the tail of a distribution is what matters, and where tunnels are set up. The repeats of all contestants of a trial are interleaved, forwards and then backwards.',
	'- Clients ask for tunnels by a WebSocket upgrade, which transparent proxies pass on and the upstream answers, or by CONNECT. No proxy here looks at WebSocket frames, so messages are bare bytes.',
	'- HAProxy has one thread and nginx one worker, as Node has one thread for JavaScript.',
	'- Latencies are in a histogram with buckets below 1 %. Where messages are sent at a fixed rate, latency counts from the time when a message was due, so a delay counts for all messages that it held up.',
	'- *Proxy* is the CPU time of all threads of the proxy process. *Machine* is that of everything that ran, load included: what sockmap does is billed to kernel threads, and only there it shows.',
	'- On a virtual machine, waking a processor that has gone to sleep can take longer than all the rest of a round trip. With a single message on its way, a proxy can therefore look faster than none, because it keeps processors awake.',
	'- System calls are counted by perf in a run of its own.',
	`- Where the host of a virtual machine takes more than ${bearable * 100} % of the processors meanwhile, a point is measured again, ${attempts} times at most, and what was disturbed least counts. That is so since 29 November 2026, and not where memory is measured.`,
].join('\n');

const groups: ReadonlyArray<readonly [Group, string, string]> = [
	['echo', 'Echo', 'Closed loop: one message in flight in each tunnel. *Proxy*, *machine*, *switches* and *syscalls* are for each message.'],
	['bulk', 'Bulk', 'Bytes are counted where they arrive, both ways added up.'],
	['fan-out', 'Fan-out', 'Open loop. The columns behind the latencies are for each message.'],
	['set-up', 'Set-up', 'Latencies and costs are for a whole life. In *set-up*, tunnels are over before one of them would be promoted, so that all engines do the same. What a promotion costs is the difference between them and `stream` in *set-up held*, in microseconds: the silence there limits the rate of all.'],
	['idle', 'Idle tunnels', 'For each tunnel. Slab is kernel memory of the whole machine: the sockets of the client and the upstream are in it, as they are in the figure of `direct`.'],
	['blocked', 'A blocked event loop', 'Open loop, once undisturbed, and once with an event loop that is blocked for 20 of every 50 ms. It sleeps, so that no processor is taken from the others.'],
	['saturated', 'A saturated host', 'Once with everybody alike, and once with a load that goes before all else, so that only the proxy has to compete.'],
	['stalled', 'Stalled readers', 'For each tunnel, when nothing has moved for half a second. *Taken* is what the sender got rid of, which lies in the buffers of kernel and proxy. *Socket buffers* are what the kernel accounts to TCP, *memory* is what became unavailable on the machine.'],
];

if (process.argv[1] === import.meta.filename) {
	await writeReport(process.argv[2]);
}
