import process from 'node:process';
import {SockmapError} from '../errors.ts';
import {type Engine, type Options} from '../options.ts';
import {sockmap} from '../sockmap.ts';
import {openAccessLog} from './access-log.ts';
import {listen, parseAddress} from './address.ts';
import {createAdmin} from './admin.ts';
import {parseArguments} from './arguments.ts';
import {type Command, exitCodes, Failure, UsageError, type Values} from './command.ts';
import {readConfig, readUsers} from './config.ts';
import {createReverseProxy, serve} from './serve.ts';

const timeout = {type: 'integer', value: 'MS', maximum: 2_147_483_647} as const;

const settings = {
	listen: {type: 'string', value: '[HOST:]PORT', about: 'Where clients come in (default: 127.0.0.1:8080)'},
	target: {type: 'string', value: 'URL', about: 'Where HTTP requests and WebSockets go, through http-proxy'},
	connect: {type: 'boolean', about: 'Be a forward proxy: CONNECT, and http:// URLs'},
	allow: {type: 'string', value: 'RULE', multiple: true, about: 'Where that may go, such as example.com:443; nowhere else'},
	deny: {type: 'string', value: 'RULE', multiple: true, about: 'Where it may not, whatever is allowed'},
	clients: {type: 'string', value: 'BLOCK', multiple: true, about: 'Who may use it, such as 10.0.0.0/8 (default: all)'},
	'user-file': {type: 'string', value: 'FILE', about: 'Who has to log in for it: NAME:PASSWORD a line, better with hashes'},
	'upstream-proxy': {type: 'string', value: 'URL', about: 'The proxy to reach targets through: http, https, socks5(h), socks4(a)'},
	engine: {type: 'string', value: 'NAME', about: 'auto, sockmap, splice or stream (default: auto)'},
	'pin-path': {type: 'string', value: 'DIR', about: 'The maps that setup has pinned, if not in the default directory'},
	'idle-timeout': {...timeout, about: 'Close tunnels without a byte for so long (default: 0, never)'},
	'max-lifetime': {...timeout, about: 'Close tunnels after so long (default: 0, never)'},
	'connect-timeout': {...timeout, about: 'Give up dialling after so long (default: 10000)'},
	'max-tunnels': {type: 'integer', value: 'N', about: 'How many tunnels at once (default: 0, any number)'},
	'max-tunnels-per-client': {type: 'integer', value: 'N', about: 'The same for one address (default: 0, any number)'},
	'access-log': {type: 'string', value: 'FILE', about: 'A line of JSON for each request and tunnel; - is the standard output'},
	admin: {type: 'string', value: '[HOST:]PORT', about: 'Where to serve /healthz, /tunnels and /metrics (default: nowhere)'},
	'stop-timeout': {...timeout, about: 'How long open tunnels may take at a stop (default: 10000)'},
} as const;

const withConfig = {...settings, config: {type: 'string', value: 'FILE', about: 'JSON with the same names; the command line takes precedence'}} as const;

export const proxy: Command = {
	name: 'proxy',
	summary: 'Runs a proxy: for a target behind it, for CONNECT, or for both',
	help: `
With --target it passes HTTP requests and WebSockets on to one server and adds
X-Forwarded headers, which takes the package http-proxy. With --connect it is a forward proxy, and --allow says
where to: nobody gets anywhere else. Tunnels are carried by the kernel if it lets
us; run the command doctor to find out.

SIGTERM and SIGINT stop it gracefully: no new connections, what has been received is
delivered, and what is still open after --stop-timeout is reset. A second one ends
it at once. SIGHUP opens the access log anew. Times are milliseconds.

Passwords in the file for --user-file can be hashes:
  $ node -e "import('http-proxy-sockmap').then(async ({hashPassword}) =>
      console.log('alice:' + await hashPassword(process.argv[1])))" secret

--admin has no password. Give it an address that only you can reach. For its
/metrics install the package prom-client.

Examples:
  $ npx http-proxy-sockmap proxy --target http://127.0.0.1:9000
  $ npx http-proxy-sockmap proxy --listen 0.0.0.0:3128 --connect \\
      --allow '*.example.com:443' --user-file users --access-log -
  $ npx http-proxy-sockmap proxy --config proxy.json --admin 9901

  proxy.json: {"listen": "0.0.0.0:3128", "connect": true, "allow": ["*:443"]}
`,
	settings: withConfig,
	async run(given) {
		const {config, ...fromCommandLine} = parseArguments(withConfig, given);
		const values: Values<typeof settings> = {...config !== undefined && readConfig(config, settings), ...fromCommandLine};
		const {target, connect = false, 'access-log': accessLog, 'stop-timeout': stopTimeout = 10_000} = values;
		if (target === undefined && !connect) {
			throw new UsageError('Say what the proxy is for, by --target URL or --connect.');
		}

		if (connect && values.allow === undefined) {
			throw new UsageError('Say where --connect may go, by --allow RULE.');
		}

		const address = parseAddress('--listen', values.listen ?? '127.0.0.1:8080');
		const adminAddress = values.admin === undefined ? undefined : parseAddress('--admin', values.admin);
		const reverseProxy = target === undefined ? undefined : await createReverseProxy(checkTarget(target));
		const tunnels = attempt(() => sockmap(reverseProxy, optionsFrom(values)));
		const log = accessLog === undefined ? undefined : openAccessLog(accessLog);
		const service = serve({tunnels, reverseProxy, connect, log});
		const admin = adminAddress && await createAdmin(tunnels, () => service.isClosing());

		try {
			const where = await listen(service.server, address);
			process.stderr.write(`Listening on ${where}\n`);
			if (admin) {
				process.stderr.write(`Admin on ${await listen(admin, adminAddress)}\n`);
			}
		} catch (error) {
			await service.stop(0);
			throw error;
		}

		process.on('SIGHUP', () => {
			log?.reopen();
		});
		await stopSignal();
		await service.stop(stopTimeout);
		admin?.close();
		admin?.closeAllConnections();
		await log?.close();
		return exitCodes.ok;
	},
};

function optionsFrom(values: Values<typeof settings>): Options {
	const options = {
		engine: values.engine as Engine | undefined,
		allow: values.allow,
		deny: values.deny,
		clients: values.clients,
		users: values['user-file'] === undefined ? undefined : readUsers(values['user-file']),
		upstreamProxy: values['upstream-proxy'],
		pinPath: values['pin-path'],
		idleTimeout: values['idle-timeout'],
		maxLifetime: values['max-lifetime'],
		connectTimeout: values['connect-timeout'],
		maxTunnels: values['max-tunnels'],
		maxTunnelsPerClient: values['max-tunnels-per-client'],
	};
	return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function checkTarget(target: string): string {
	const url = URL.canParse(target) ? new URL(target) : undefined;
	if (url === undefined || !['http:', 'https:', 'ws:', 'wss:'].includes(url.protocol)) {
		throw new UsageError(`Expected --target to be an http or https URL, but got '${target}'.`);
	}

	return target;
}

function attempt<Result>(make: () => Result): Result {
	try {
		return make();
	} catch (error) {
		// The options of the library have the same names, but for the hyphens.
		if (error instanceof TypeError) {
			throw new UsageError(error.message);
		}

		throw error instanceof SockmapError ? new Failure(error.message) : error;
	}
}

// Only the first one: the next does what it does to any process.
async function stopSignal(): Promise<void> {
	await new Promise<void>(resolve => {
		const stop = () => {
			process.off('SIGTERM', stop);
			process.off('SIGINT', stop);
			resolve();
		};

		process.on('SIGTERM', stop);
		process.on('SIGINT', stop);
	});
}
