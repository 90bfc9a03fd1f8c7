import {Buffer} from 'node:buffer';
import {performance} from 'node:perf_hooks';
import {connectRequest} from './ends.ts';
import {onEngines} from './engines.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxyProcess} from './proxy-process.ts';
import {within} from './until.ts';
import {startUpstream} from './upstream.ts';
import {dial, read, readHead} from './wire.ts';

nothingIsLeft();

// Between the relay's last look at a socket and the moment when the kernel has it, there are some microseconds. What arrives in them, and is
// followed by nothing, waits for ever if nobody looks again. The proxy is a process of its own, so that both really run at the same time.
// One tunnel in some hundreds hits the moment.
onEngines(['splice', 'sockmap'], 'in 2,000 tunnels, no last byte is left behind on its way into the kernel', async (t, engine) => {
	const upstream = await startUpstream(t);
	const proxy = startProxyProcess(t, {engine});
	const {port} = await proxy.message('ready');
	for (let number = 0; number < 2000; number++) {
		/* eslint-disable no-await-in-loop */
		const client = await dial(t, port);
		client.write(connectRequest(upstream.port));
		await readHead(client);
		const far = await upstream.next();

		const bytes = 1 + (number % 4);
		spin(Math.random() * 200);
		for (let byte = 0; byte < bytes; byte++) {
			client.write(Buffer.of(byte));
			spin(Math.random() * 30);
		}

		await within(`the ${bytes} bytes of tunnel ${number} have arrived`, read(far, bytes), 5000);
		client.destroy();
		far.destroy();
		/* eslint-enable no-await-in-loop */
	}

	const {stats} = await proxy.stats();
	t.is(stats.opened, 2000);
	// The kernel takes no socket whose FIN has come, which on a busy machine can be there before Node hears of it.
	const {'sockmap: admit the tunnel to the maps': tooLate = 0, ...others} = stats.refusals;
	t.deepEqual(others, {});
	t.true(tooLate <= 20, `${tooLate} of 2000 were over before their promotion`);
});

/** Lets so many microseconds pass, as no timer can. */
function spin(microseconds: number): void {
	const end = performance.now() + (microseconds / 1000);
	while (performance.now() < end) {
		// On purpose.
	}
}
