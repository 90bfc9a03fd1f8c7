import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import process from 'node:process';
import {buildFolder, buildTextbook} from './build.ts';

/** What is measured: something that listens at one port and makes tunnels to another. */
export type Contestant = {
	readonly name: string;
	readonly about: string;

	/** How a client asks it for a tunnel. Those that are transparent pass an upgrade on, and the upstream answers it. */
	readonly access: 'upgrade' | 'connect';

	/** Why it cannot take part here. */
	readonly unavailable?: () => string | undefined;

	/** The program and its arguments; without one, the client is connected to the upstream itself. */
	readonly command?: (ports: Ports, conditions: Conditions) => readonly [string, ...string[]];

	/** Whether it runs JavaScript that can be blocked. */
	readonly isNode: boolean;
};

export type Ports = {readonly proxy: number; readonly upstream: number};

export type Conditions = {
	/** The event loop is blocked for so many of every so many milliseconds. */
	readonly block?: {readonly milliseconds: number; readonly every: number};

	/** A program that computes runs on each CPU. */
	readonly burn?: boolean;

	/** The client and the upstream go before all else. */
	readonly realTimeLoad?: boolean;

	/** The client and the upstream have a processor each, and this one shares its own with the proxy. Otherwise the scheduler places them. */
	readonly beside?: 'client' | 'upstream';
};

const direct: Contestant = {
	name: 'direct', about: 'The client is connected to the upstream, with no proxy between them', access: 'upgrade', isNode: false,
};

const plugin = (['sockmap', 'splice', 'stream', 'auto'] as const).flatMap(engine => [
	node(engine, 'plugin', `http-proxy with this package, engine ${engine}, through \`proxy.ws()\``, 'upgrade', {engine}),
	node(`${engine}-connect`, 'plugin', `This package, engine ${engine}, through CONNECT`, 'connect', {engine}),
]);

const detached: Contestant = {
	...node('auto-detach', 'plugin', 'http-proxy with this package, engine auto and `{detach: true}`', 'upgrade', {engine: 'auto', detach: true}),
	unavailable: () => readFileSync(builtOptions, 'utf8').includes('readonly detach?') ? undefined : 'this build has no option `detach`',
};

const others = [
	node('http-proxy', 'http-proxy', 'http-proxy alone', 'upgrade'),
	node('pipe', 'pipe', 'A TCP proxy in Node: two sockets, two times `pipe()`', 'upgrade'),
	node('hand-connect', 'connect', 'A CONNECT proxy in Node, written by hand in a few lines', 'connect'),
];

const haproxies = [
	haproxy('haproxy', 'HAProxy in tcp mode, one thread'),
	haproxy('haproxy-auto', 'The same with `option splice-auto`', ['option splice-auto']),
	haproxy('haproxy-splice', 'The same with forced splicing', ['option splice-request', 'option splice-response']),
	haproxy('haproxy-splice-512k', 'The same with forced splicing and pipes of 512 KiB', ['option splice-request', 'option splice-response'], ['tune.pipesize 524288']),
];

const nginx: Contestant = {
	name: 'nginx',
	about: 'nginx stream, one worker',
	access: 'upgrade',
	isNode: false,
	unavailable: () => missing('nginx', '/usr/sbin/nginx') ?? missing('libnginx-mod-stream', nginxStream),
	command({proxy, upstream}) {
		const file = `${buildFolder}nginx.conf`;
		writeFileSync(file, `
			load_module ${nginxStream};
			daemon off;
			master_process off;
			worker_processes 1;
			worker_rlimit_nofile 20000;
			pid ${buildFolder}nginx.pid;
			error_log stderr crit;
			events { worker_connections 20000; }
			stream {
				server {
					listen 127.0.0.1:${proxy} backlog=4096;
					proxy_pass 127.0.0.1:${upstream};
					proxy_timeout 1h;
				}
			}
		`);
		return ['/usr/sbin/nginx', '-c', file];
	},
};

const textbook: Contestant = {
	name: 'textbook',
	about: 'The SOCKMAP splice of talks and articles: redirects everything, without a room check or an end that is waited for',
	access: 'upgrade',
	isNode: false,
	command: ({proxy, upstream}) => [buildTextbook(), String(proxy), String(upstream)],
};

export const contestants: readonly Contestant[] = [direct, ...others, ...plugin, detached, textbook, ...haproxies, nginx];

// eslint-disable-next-line max-params
function node(name: string, kind: string, about: string, access: Contestant['access'], options: Readonly<Record<string, unknown>> = {}): Contestant {
	return {
		name,
		about,
		access,
		isNode: true,
		command: ({proxy, upstream}, {block}) =>
			[process.execPath, nodeProxies, kind, String(proxy), String(upstream), JSON.stringify({...options, block})],
	};
}

function haproxy(name: string, about: string, proxyLines: readonly string[] = [], globalLines: readonly string[] = []): Contestant {
	return {
		name,
		about,
		access: 'upgrade',
		isNode: false,
		unavailable: () => missing('haproxy', '/usr/sbin/haproxy'),
		command({proxy, upstream}) {
			const file = `${buildFolder}${name}.cfg`;
			writeFileSync(file, [
				'global',
				'nbthread 1',
				...(proxyLines.length === 0 ? ['maxconn 9700'] : ['maxconn 7500', 'maxpipes 2000']),
				...globalLines,
				'defaults',
				'mode tcp',
				`maxconn ${proxyLines.length === 0 ? 9700 : 7500}`,
				'timeout connect 10s',
				'timeout client 1h',
				'timeout server 1h',
				...proxyLines,
				'listen tunnels',
				`bind 127.0.0.1:${proxy} backlog 4096`,
				`server upstream 127.0.0.1:${upstream}`,
				'',
			].join('\n'));
			return ['/usr/sbin/haproxy', '-db', '-q', '-f', file];
		},
	};
}

function missing(name: string, file: string): string | undefined {
	return existsSync(file) ? undefined : `${name} is not installed`;
}

const nodeProxies = fileURLToPath(new URL('proxies/node.js', import.meta.url));

const nginxStream = '/usr/lib/nginx/modules/ngx_stream_module.so';

const builtOptions = new URL('../../dist/options.d.ts', import.meta.url);
