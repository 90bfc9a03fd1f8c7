// `npm start` shows that tunnels go on while the JavaScript of their proxy stands still, and what they cost.
// `npm start -- --once` ends after the report. `npm start -- --engine splice` asks for that engine instead of the best one.
import {once} from 'node:events';
import process from 'node:process';
import {parseArgs} from 'node:util';
import {check, promised} from './checks.js';
import {start} from './child.js';
import {measure} from './measure.js';
import {
	engines, footnotes, invitation, machine, table, tunnelLine,
} from './report.js';

const {values: options} = parseArgs({options: {once: {type: 'boolean', default: false}, engine: {type: 'string', default: 'auto'}}});

// In the order in which they are started; they end in reverse, so that nobody loses its peer.
const children = [];

try {
	await Promise.race([run(), interruption()]);
} catch (error) {
	fail(error.message);
} finally {
	for (const child of children.reverse()) {
		if (!await child.end()) { // eslint-disable-line no-await-in-loop
			fail(`${child.file} did not end by itself`);
		}
	}
}

async function interruption() {
	const [signal, number] = await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
	console.log(`\n${signal}: ending`);
	process.exitCode ??= 128 + number; // Unless the report is out: then all is said, and ending is what was asked for.
}

async function run() {
	console.log(machine());
	const upstream = launch('upstream.js');
	const {web, secure} = await upstream.call('listen');
	const target = `http://127.0.0.1:${web}`;

	const proxy = launch('proxy.js');
	const capabilities = await proxy.call('capabilities');
	console.log(engines(capabilities));
	const port = await proxy.call('listen', {target, allow: `127.0.0.1:${secure}`, engine: options.engine});

	const ours = await through(proxy, {port, secure, events: proxy.notices});
	const other = launch('plain.js');
	const plain = await through(other, {port: await other.call('listen', {target}), secure});
	await retire(other);

	console.log(`\n${table(ours, plain)}\n\n${footnotes}\n`);
	const checks = check({ours, plain, expected: promised(capabilities, options.engine)});
	console.log(checks.map(({line}) => line).join('\n'));
	process.exitCode = checks.every(({holds}) => holds) ? 0 : 1;

	if (process.exitCode === 0 && !options.once) {
		console.log(invitation({port, secure}));
		proxy.notices.on('notice', notice => console.log(tunnelLine(notice)));
		await Promise.race([upstream.ended, proxy.ended]);
		throw new Error('A process of the demo has ended');
	}
}

// The clients are a process of their own, a new one for each proxy.
async function through(proxy, options) {
	const client = launch('client.js');
	const measured = await measure({proxy, client, ...options});
	await retire(client);
	return measured;
}

function launch(file) {
	const child = start(file);
	children.push(child);
	return child;
}

async function retire(child) {
	children.splice(children.indexOf(child), 1);
	if (!await child.end()) {
		fail(`${child.file} did not end by itself`);
	}
}

function fail(message) {
	console.error(`  FAIL  ${message}`);
	process.exitCode = 1;
}
