import {spawn} from 'node:child_process';
import {on, once} from 'node:events';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {connectRequest} from '../../ends.ts';
import {onEachEngine} from '../../engines.ts';
import {nothingIsLeft} from '../../leaks.ts';
import {startProxy} from '../../proxy.ts';
import {until, within} from '../../until.ts';

nothingIsLeft();

const pieces = 400;
const more = 64;
const length = (pieces + more) * 65_536;

// The ends have real-time priority, and so the kernel's workers do not come to what was redirected before all is written.
onEachEngine('two ends that write and do not read, and leave no processor to the kernel, are blocked, and go on when one after the other reads', async (t, engine) => {
	const program = fileURLToPath(new URL('starving-program.cjs', import.meta.url));
	const child = spawn('taskset', ['--cpu-list', '0', 'chrt', '--fifo', '10', process.execPath, program], {stdio: ['ignore', 'inherit', 'inherit', 'ipc']});
	const exited = once(child, 'exit');
	t.teardown(async () => {
		child.kill('SIGKILL');
		await exited;
	});
	const messages = on(child, 'message');
	const next = async (type: string) => {
		const {value: [message]} = await within(`the ends say: ${type}`, messages.next(), 20_000) as {readonly value: readonly [{readonly type: string; readonly port: number; readonly length: number; readonly taken: readonly number[]}]};
		t.is(message.type, type);
		return message;
	};

	const {port} = await next('listening');
	const running = await startProxy(t, {engine, allow: [`127.0.0.1:${port}`]});
	child.send({proxy: running.port, head: connectRequest(port)});
	await next('accepted');
	const {port: clientPort} = await next('open');
	const tunnel = await running.tunnelOf(clientPort);
	for (let round = 0; round < 4; round++) {
		child.send({chat: true});
		await next('answered'); // eslint-disable-line no-await-in-loop
	}

	const lanes = () => [tunnel.stats().clientToUpstream, tunnel.stats().upstreamToClient];
	await until('both lanes are where they are to be', () => engine !== 'sockmap' || lanes().every(({state}) => state === 'kernel'));
	child.send({flood: pieces});
	const {taken} = await next('flooded');
	t.log(`${engine}: taken at once ${taken.join(' and ')} of ${pieces * 65_536}`);
	// Now the workers have come to it, and what arrives has no room.
	await until('the relay has some of it', () => engine !== 'sockmap' || lanes().every(({state}) => state === 'spilling'));
	child.send({flood: more, end: true});
	await next('flooded');
	try {
		for (const end of ['upstream', 'client']) {
			child.send({read: end});
			const read = await next('read'); // eslint-disable-line no-await-in-loop
			t.is(read.length, length);
		}
	} catch (error) {
		t.log(tunnel.stats());
		throw error;
	}

	t.like(await running.closeOf(tunnel), {engine, reason: 'end'});
});
