// What the demo prints. It prints only what was measured a moment ago.
import os from 'node:os';
import process from 'node:process';
import {blockedTime, freeTime} from './measure.js';

const titles = {upgrade: 'WebSocket through proxy.ws(), 1 KiB messages', connect: 'TLS in a CONNECT tunnel, 16 KiB messages'};
const number = value => Math.round(value).toLocaleString('en-US');

export function machine() {
	return `http-proxy-sockmap on ${os.type()} ${os.release()} ${os.arch()}, Node ${process.versions.node}, ${os.availableParallelism()} CPUs`;
}

/** What `capabilities()` said, with the reason of each refusal. */
export function engines(capabilities) {
	return Object.entries(capabilities).map(([engine, {available, reason}]) =>
		`  ${engine.padEnd(8)} ${available ? 'available' : `not available. ${reason}`}`).join('\n');
}

/** Both measurements side by side. */
export function table(ours, plain) {
	const rows = ours.tunnels.flatMap((tunnel, index) => {
		const other = plain.tunnels[index];
		const {clientToUpstream: up, upstreamToClient: down} = tunnel.stats;
		const redirected = (up.redirected + down.redirected) / (up.bytes + down.bytes);
		return [
			[titles[tunnel.kind]],
			['engine', tunnel.engine, 'pipe()'],
			[`echoed in ${seconds(freeTime)}, JavaScript free`, number(tunnel.free), number(other.free)],
			[`echoed in ${seconds(blockedTime)}, JavaScript blocked`, number(tunnel.blocked), number(other.blocked)],
			['bytes, client to upstream', number(up.bytes), number(other.wire.clientToUpstream)],
			['bytes, upstream to client', number(down.bytes), number(other.wire.upstreamToClient)],
			...(tunnel.engine === 'sockmap' ? [['of these redirected inside the kernel', `${(Math.floor(redirected * 1000) / 10).toFixed(1)} %`, '']] : []),
			[],
		];
	});
	rows.push(
		['The proxy process, both tunnels'],
		['CPU time', `${number(ours.cpuTime)} ms`, `${number(plain.cpuTime)} ms`],
		['CPU time for 1,000 echoes', `${ours.cpuTimeOfThousand.toFixed(2)} ms`, `${plain.cpuTimeOfThousand.toFixed(2)} ms`],
	);

	const line = ([title = '', ...cells]) => (cells.length > 0 ? `  ${title.padEnd(40)}${cells.map(cell => cell.padStart(16)).join('')}` : title);
	return [['', 'with the plugin', 'without'], ...rows].map(row => line(row)).join('\n');
}

export const footnotes = [
	'Without: plain http-proxy; since it has no CONNECT, net.connect() and pipe() as people write it by hand.',
	'What came back through a pipe() while JavaScript was blocked had passed the proxy just before.',
	'CPU time: user and system, all threads of the proxy process. What the kernel does in threads of its own for sockmap is in no process.',
].join('\n');

/** What a tunnel of somebody who tries the proxy by hand has done. */
export function tunnelLine({event, id, kind, engine, skipped, stats}) {
	const tunnel = `  tunnel ${id} (${kind})`;
	if (event === 'close') {
		const {clientToUpstream: up, upstreamToClient: down, duration, reason, by} = stats;
		return `${tunnel} closed on ${engine} after ${number(duration)} ms: ${reason}${by ? ` by ${by}` : ''}, ${number(up.bytes)} bytes up, ${number(down.bytes)} down`;
	}

	const reasons = skipped.map(refusal => `${refusal.engine}: ${refusal.reason}`).join('; ');
	return `${tunnel} ${event === 'promoted' ? 'is on' : 'stays on'} ${engine}${reasons && ` (${reasons})`}`;
}

export function invitation({port, secure}) {
	return `
Still running. Try it by hand, from another terminal in this folder; Ctrl-C ends it.

  a browser    http://127.0.0.1:${port}/  (a page with a WebSocket test, and a button that blocks the proxy)
  CONNECT      curl --noproxy '' --proxy http://127.0.0.1:${port} --cacert examples/demo/demo-only.pem https://127.0.0.1:${secure}/
  TLS echo     openssl s_client -quiet -CAfile examples/demo/demo-only.pem -proxy 127.0.0.1:${port} -connect 127.0.0.1:${secure}
  WebSocket    node --input-type=module -e "import {WebSocket} from 'ws'; const ws = new WebSocket('ws://127.0.0.1:${port}/'); ws.on('message', data => console.log('<', String(data))); ws.on('open', () => { process.stdin.on('data', line => ws.send(String(line).trim())); process.stdin.on('end', () => ws.close()); });"
  block        curl --noproxy '' http://127.0.0.1:${port}/block  (stops the proxy's JavaScript for two seconds)
`;
}

function seconds(milliseconds) {
	return `${milliseconds / 1000} s`;
}
