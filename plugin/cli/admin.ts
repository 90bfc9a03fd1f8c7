import {createServer, type Server, type ServerResponse} from 'node:http';
import {type Tunnel} from '../tunnel.ts';
import {type Tunnels} from '../tunnels.ts';

/**
What operators look at: `/healthz`, `/tunnels` and `/metrics`.
*/
export async function createAdmin(tunnels: Tunnels, isClosing: () => boolean): Promise<Server> {
	const open = new Set<Tunnel>();
	tunnels.on('tunnel', tunnel => open.add(tunnel));
	tunnels.on('close', tunnel => open.delete(tunnel));
	const metrics = await metricsOf(tunnels);

	return createServer(async ({method, url}, response) => {
		if (method !== 'GET' && method !== 'HEAD') {
			answer(response, 405, 'Only GET is possible here.\n', {allow: 'GET, HEAD'});
			return;
		}

		// Not by `new URL()`, which throws at what anybody can send.
		switch (/^[^?]*/.exec(url!)![0]) {
			case '/healthz': {
				// Whoever balances load should look elsewhere from the moment that we close.
				answer(response, isClosing() ? 503 : 200, isClosing() ? 'closing\n' : 'ok\n');
				break;
			}

			case '/tunnels': {
				answer(response, 200, `${JSON.stringify({stats: tunnels.stats(), tunnels: [...open].map(tunnel => describe(tunnel))})}\n`, {'content-type': 'application/json'});
				break;
			}

			case '/metrics': {
				if (metrics) {
					await answerMetrics(response, metrics);
				} else {
					answer(response, 501, 'Metrics need prom-client: npm install prom-client\n');
				}

				break;
			}

			default: {
				answer(response, 404, 'There are /healthz, /tunnels and /metrics.\n');
			}
		}
	});
}

type Metrics = {
	readonly contentType: string;
	text(): Promise<string>;
};

async function answerMetrics(response: ServerResponse, {contentType, text}: Metrics): Promise<void> {
	try {
		answer(response, 200, await text(), {'content-type': contentType});
	} catch (error) {
		answer(response, 500, `${(error as Error).message}
`);
	}
}

async function metricsOf(tunnels: Tunnels): Promise<Metrics | undefined> {
	try {
		const [{Registry, collectDefaultMetrics}, {collectMetrics}] = await Promise.all([import('prom-client'), import('../prom.ts')]);
		const register = new Registry();
		collectDefaultMetrics({register});
		collectMetrics(tunnels, register);
		return {contentType: register.contentType, text: async () => register.metrics()};
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') {
			return undefined;
		}

		throw error;
	}
}

function describe(tunnel: Tunnel) {
	const {id, kind, engine, skipped, client, upstream, target, user, openedAt} = tunnel;
	return {
		id, kind, engine, target, user, openedAt, client: addressOf(client), upstream: addressOf(upstream), skipped, stats: tunnel.stats(),
	};
}

/**
Of the other side of a socket.
*/
export function addressOf({remoteAddress, remotePort}: {readonly remoteAddress?: string | undefined; readonly remotePort?: number | undefined}): string | undefined {
	return remoteAddress === undefined ? undefined : `${remoteAddress.includes(':') ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
}

function answer(response: ServerResponse, status: number, body: string, headers: Readonly<Record<string, string>> = {}): void {
	response.writeHead(status, {'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store', ...headers});
	response.end(body);
}
