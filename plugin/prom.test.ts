import net from 'node:net';
import {once} from 'node:events';
import test from 'ava';
import {Registry} from 'prom-client';
import {collectMetrics} from './prom.ts';
import {sockmap} from './sockmap.ts';

test('a scrape shows the counters of the tunnels, and the next one does not add them up', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	const register = new Registry();
	collectMetrics(tunnels, register);
	const server = net.createServer(socket => {
		socket.resume(); // So that it answers a FIN, and nothing has to be reset.
	}).listen(0, '127.0.0.1');
	await once(server, 'listening');
	const {port} = server.address() as net.AddressInfo;
	const sockets = [net.connect(port, '127.0.0.1'), net.connect(port, '127.0.0.1')] as const;
	await Promise.all(sockets.map(async socket => once(socket, 'connect')));
	tunnels.splice(...sockets);

	const value = async (line: string) => {
		const text = await register.metrics();
		return text.split('\n').find(other => other.startsWith(`http_proxy_sockmap_${line} `))?.split(' ')[1];
	};

	t.is(await value('tunnels{engine="stream"}'), '1');
	t.is(await value('tunnels{engine="sockmap"}'), '0');
	t.is(await value('tunnels_by_kind{kind="pair"}'), '1');
	t.is(await value('tunnels_opened_total'), '1');
	t.is(await value('tunnels_opened_total'), '1');
	t.is(await value('tunnel_duration_seconds_count{engine="stream",kind="pair"}'), undefined);

	await tunnels.close({timeout: 10_000});
	t.is(await value('tunnels{engine="stream"}'), '0');
	t.is(await value('tunnel_duration_seconds_count{engine="stream",kind="pair"}'), '1');
	server.close();
});
