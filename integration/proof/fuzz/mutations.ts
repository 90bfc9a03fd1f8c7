import {Buffer} from 'node:buffer';
import {logarithmic} from '../../random.ts';

// Inputs for the proxy, as text of one byte a character. `{allowed}`, `{canary}` and `{proxy}` stand for ports.

type Random = () => number;

/** Another input: made from the grammar, or from inputs of the corpus. */
export function mutated(random: Random, corpus: readonly string[]): string {
	const base = random() < 0.4 ? generated(random) : pick(random, corpus);
	// As many again have their grammar left to them.
	if (random() < 0.4) {
		return base;
	}

	let input = base;
	for (let left = logarithmic(random, 1, 8); left > 0; left--) {
		input = pick(random, mutations)(input, random, corpus);
	}

	return input.slice(0, 64 * 1024);
}

/** The bytes of an input. */
export function bytesOf(input: string, ports: Readonly<Record<'allowed' | 'canary' | 'proxy', number>>): Uint8Array {
	return Buffer.from(input.replaceAll(/\{(?<name>allowed|canary|proxy)\}/gu, (_, name: keyof typeof ports) => String(ports[name])), 'latin1');
}

function generated(random: Random): string {
	const requests = Array.from({length: random() < 0.8 ? 1 : logarithmic(random, 2, 6)}, () => generatedRequest(random));
	return requests.join('') + (random() < 0.3 ? 'early bytes' : '');
}

function generatedRequest(random: Random): string {
	const kind = pick(random, ['connect', 'connect', 'upgrade', 'forward'] as const);
	const authority = pick(random, authorities);
	const lines = {
		connect: [`CONNECT ${authority} HTTP/1.1`, `Host: ${pick(random, authorities)}`],
		upgrade: [`GET ${pick(random, paths)} HTTP/1.1`, `Host: ${authority}`, 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='],
		forward: [`${pick(random, methods)} ${pick(random, schemes)}${authority}${pick(random, paths)} HTTP/1.1`, `Host: ${pick(random, authorities)}`],
	}[kind];
	for (let more = Math.trunc(random() * 4); more > 0; more--) {
		lines.push(pick(random, headers));
	}

	return `${lines.join('\r\n')}\r\n\r\n`;
}

type Mutation = (input: string, random: Random, corpus: readonly string[]) => string;

const mutations: readonly Mutation[] = [
	// One byte, changed, inserted or left out.
	(input, random) => at(input, random, 1, () => String.fromCodePoint(Math.trunc(random() * 256))),
	(input, random) => at(input, random, 0, () => String.fromCodePoint(Math.trunc(random() * 256))),
	(input, random) => at(input, random, 1, () => ''),
	// Something that means something.
	(input, random) => at(input, random, 0, () => pick(random, tokens)),
	(input, random) => at(input, random, Math.trunc(random() * 8), () => pick(random, tokens)),
	// A line more, one less, one twice.
	(input, random) => onLines(input, random, (lines, index) => lines.toSpliced(index + 1, 0, pick(random, headers))),
	(input, random) => onLines(input, random, (lines, index) => lines.toSpliced(index, 1)),
	(input, random) => onLines(input, random, (lines, index) => lines.toSpliced(index, 0, lines[index]!)),
	(input, random) => onLines(input, random, (lines, index) => lines.toSpliced(index, 1, swappedCase(lines[index]!))),
	// Another authority.
	(input, random) => input.replace(/(?:127\.0\.0\.1|\w+\.test|localhost|\[::1\]):\{\w+\}/u, () => pick(random, authorities)),
	// Much of the same.
	(input, random) => at(input, random, 1, taken => (taken || 'a').repeat(logarithmic(random, 2, 20_000))),
	// Cut off, repeated, followed by or crossed with another one.
	(input, random) => input.slice(0, Math.trunc(random() * input.length)),
	input => input + input,
	(input, random, corpus) => input + pick(random, corpus),
	(input, random, corpus) => input.slice(0, Math.trunc(random() * input.length)) + pick(random, corpus).slice(-Math.trunc(random() * 200)),
	// Other line ends.
	(input, random) => input.replaceAll('\r\n', pick(random, ['\n', '\r', '\r\r\n', '\n\r'])),
];

function at(input: string, random: Random, length: number, make: (taken: string) => string): string {
	const position = Math.trunc(random() * (input.length + 1));
	return input.slice(0, position) + make(input.slice(position, position + length)) + input.slice(position + length);
}

function onLines(input: string, random: Random, change: (lines: string[], index: number) => string[]): string {
	const lines = input.split('\r\n');
	return change(lines, Math.trunc(random() * lines.length)).join('\r\n');
}

function swappedCase(text: string): string {
	return text === text.toLowerCase() ? text.toUpperCase() : text.toLowerCase();
}

function pick<Value>(random: Random, values: readonly Value[]): Value {
	return values[Math.trunc(random() * values.length)]!;
}

// What may be reached, and the many ways to write what may not.
const authorities = [
	'127.0.0.1:{allowed}',
	'127.0.0.1:{allowed}',
	'127.0.0.1:{allowed}',
	'good.test:{allowed}',
	'GOOD.test.:{allowed}',
	'127.0.0.1:0{allowed}',
	'127.0.0.1:{canary}',
	'localhost:{canary}',
	'[::1]:{canary}',
	'[::ffff:127.0.0.1]:{canary}',
	'[::ffff:7f00:1]:{canary}',
	'[::127.0.0.1]:{canary}',
	'127.1:{canary}',
	'2130706433:{canary}',
	'0x7f000001:{canary}',
	'0177.0.0.1:{canary}',
	'127.0.0.01:{canary}',
	'0.0.0.0:{canary}',
	'0:{canary}',
	'[::]:{canary}',
	'[::1%lo]:{canary}',
	'127.0.0.2:{canary}',
	'good.test:{canary}',
	'a.public.test:{canary}',
	'x.y.public.test:{canary}',
	'a.public.test.:{canary}',
	'A.PUBLIC.TEST:{canary}',
	'public.test:{canary}',
	'127.0.0.1.public.test:{canary}',
	'127.0.0.1:{allowed}@127.0.0.1:{canary}',
	'good.test:{allowed}@a.public.test:{canary}',
	'127.0.0.1:{canary}#127.0.0.1:{allowed}',
	'127.0.0.1:{canary}?@127.0.0.1:{allowed}',
	String.raw`127.0.0.1:{canary}\@127.0.0.1:{allowed}`,
	'127.0.0.1:{allowed}:{canary}',
	'127.0.0.1:{allowed},127.0.0.1:{canary}',
	'127.0.0.1%00.good.test:{canary}',
	'127.0.0.1\0:{canary}',
	'\u00EF\u00BC\u0091\u00EF\u00BC\u0092\u00EF\u00BC\u0097.0.0.1:{canary}',
	'127\u00E3\u0080\u00820\u00E3\u0080\u00820\u00E3\u0080\u00821:{canary}',
	'127.0.0.1:{proxy}',
	'a.public.test:{proxy}',
	'nowhere.test:1',
	'127.0.0.1',
	'127.0.0.1:',
	':{canary}',
	'[::1:{canary}',
	'*:{canary}',
	'127.0.0.1:99999999',
	'127.0.0.1:-1',
	'127.0.0.1:+{canary}',
	'',
];
const paths = ['/', '/a?b#c', '', '//127.0.0.1:{canary}/', 'http://127.0.0.1:{canary}/', '/../..//', '*', '/%0d%0aHost:%20127.0.0.1:{canary}', '@127.0.0.1:{canary}/'];
const methods = ['GET', 'POST', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE', 'PRI', 'get', 'CONNECT'];
const schemes = ['http://', 'http://', 'http://', 'HTTP://', 'https://', 'ws://', 'http:/', '//', '', 'http://a:b@'];
const headers = [
	'Content-Length: 5', 'Content-Length: 0', 'Content-Length: 99999999999999999999', 'Content-Length: -1', 'Content-Length: 5, 6', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked, identity', 'Transfer-Encoding:\tchunked', 'Connection: Upgrade', 'Connection: close', 'Connection: keep-alive, Upgrade', 'Connection: Host', 'Upgrade: websocket', 'Upgrade: h2c', 'Expect: 100-continue', 'Expect: nonsense', 'Host: 127.0.0.1:{canary}', 'Host:', 'Proxy-Authorization: Basic YTpi', 'Proxy-Authorization: Basic \u00FF', 'Proxy-Connection: keep-alive', 'X-Forwarded-For: 127.0.0.1', 'Via: 1.1 a', 'Max-Forwards: 0', 'Trailer: Host', ' folded', '\tfolded', 'no colon', ': no name', 'A: b\0c', 'Space : before', 'TE: trailers', 'HTTP2-Settings: AAMAAABkAAQAAP__',
];
const tokens = ['\r\n', '\r\n\r\n', '\n', '\r', '\0', ' ', '\t', ':', '@', '[', ']', '%', '#', '?', '/', '\\', ',', '{canary}', '{allowed}', '127.0.0.1:{canary}', 'http://127.0.0.1:{canary}/', 'HTTP/1.0', 'HTTP/1.1', 'HTTP/0.9', 'HTTP/2.0', 'CONNECT ', 'GET ', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n', 'ffffffffffffffff\r\n', '\u0016\u0003\u0001\0\u00A5', '\u0005\u0001\0', '\u0004\u0001\0\u0050'];
