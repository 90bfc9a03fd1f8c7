import {once} from 'node:events';
import http from 'node:http';
import net, {type AddressInfo, type LookupFunction} from 'node:net';
import type {LookupAddress} from 'node:dns';
import test, {type ExecutionContext} from 'ava';
import {sockmap, type Options} from '../plugin/index.ts';
import {ask, errorOf} from './asking.ts';
import {connectRequest} from './ends.ts';
import {nothingIsLeft} from './leaks.ts';
import {startProxy} from './proxy.ts';
import {echo, startUpstream} from './upstream.ts';
import {dial, readHead, readText} from './wire.ts';

// Where a tunnel may go is settled before an engine has it: these tests are not repeated for each.

nothingIsLeft();

const addresses = (...list: readonly string[]): LookupAddress[] => list.map(address => ({address, family: net.isIP(address)}));

/** A resolver that says what it is told to, in turn, and how often it was asked. */
function resolver(...answers: ReadonlyArray<readonly string[]>) {
	const asked: string[] = [];
	const lookup: NonNullable<Options['lookup']> = (hostname, options, callback) => {
		asked.push(hostname);
		callback(null, addresses(...answers[Math.min(asked.length, answers.length) - 1]!));
	};

	return {asked, lookup};
}

test.serial('a wildcard does not lead to an address that is not public, under any name or spelling', async t => {
	const upstream = await startUpstream(t);
	for (const host of ['127.0.0.1', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::127.0.0.1]', '[64:ff9b::127.0.0.1]', '[2002:7f00:1::]', '[::1]', '[::]', '0.0.0.0', '10.0.0.1', '192.168.1.1', '172.16.0.1', '100.64.0.1', '169.254.169.254', '[fd00:ec2::254]', '[fe80::1]', '224.0.0.1', '255.255.255.255', '198.18.0.1', '192.0.2.1', 'localhost']) {
		for (const allow of [['*:*'], ['0.0.0.0/0:*', '[::/0]:*']]) {
			const running = await startProxy(t, {engine: 'stream', allow}); // eslint-disable-line no-await-in-loop
			const answer = await ask(t, running, connectRequest(upstream.port, host)); // eslint-disable-line no-await-in-loop
			t.regex(answer, /^HTTP\/1\.1 403 /u, host);
			t.is(errorOf(answer), 'destination_ip_prohibited', host);
			await running.stop(); // eslint-disable-line no-await-in-loop
		}
	}

	t.is(upstream.open(), 0);
});

for (const name of ['10.0.0.1', '::ffff:10.0.0.1', '64:ff9b::a00:1', '2002:a00:1::', '2001:0:a00:1::1', 'fd00::1', 'fe80::1', '127.0.0.1', '::1', '0.0.0.0', '169.254.169.254', '100.64.0.1', '192.0.0.192']) {
	test.serial(`a name that resolves to ${name} is not dialled for a wildcard`, async t => {
		const {lookup, asked} = resolver([name]);
		const running = await startProxy(t, {engine: 'stream', allow: ['*.test:443'], lookup});
		const answer = await ask(t, running, connectRequest(443, 'a.test'));
		t.regex(answer, /^HTTP\/1\.1 403 /u);
		t.is(errorOf(answer), 'destination_ip_prohibited');
		t.false(answer.includes(name), 'what it resolves to is not told');
		t.deepEqual(asked, ['a.test']);
	});
}

test.serial('the address that was checked is the one that is dialled, whatever the name means a moment later', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const trap = await startUpstream(t, {host: '127.0.0.2'});
	const {lookup, asked} = resolver(['127.0.0.1'], ['127.0.0.2']);
	const running = await startProxy(t, {engine: 'stream', allow: ['127.0.0.1/32:*'], lookup});
	t.regex(await ask(t, running, connectRequest(upstream.port, 'rebound.test')), /^HTTP\/1\.1 200 /u);
	t.is(asked.length, 1);
	t.is(trap.open(), 0);

	// And the next request is checked anew.
	t.regex(await ask(t, running, connectRequest(upstream.port, 'rebound.test')), /^HTTP\/1\.1 403 /u);
});

test.serial('of several addresses, only those that are allowed are dialled', async t => {
	const trap = await startUpstream(t);
	const upstream = await startUpstream(t, {host: '127.0.0.2', port: trap.port, onConnection: echo});
	const {lookup} = resolver(['127.0.0.1', '127.0.0.2']);
	const running = await startProxy(t, {engine: 'stream', allow: ['127.0.0.2/32:*'], lookup});
	t.regex(await ask(t, running, connectRequest(upstream.port, 'both.test')), /^HTTP\/1\.1 200 /u);
	t.is(trap.open(), 0);
});

test.serial('a name that no rule can allow is not even looked up', async t => {
	const {lookup, asked} = resolver(['127.0.0.1']);
	const running = await startProxy(t, {engine: 'stream', allow: ['*.test:443'], deny: ['secret.test', '*:25'], lookup});
	for (const [host, port] of [['a.example', 443], ['a.test', 80], ['secret.test', 443], ['a.test', 25]] as const) {
		const answer = await ask(t, running, connectRequest(port, host)); // eslint-disable-line no-await-in-loop
		t.is(errorOf(answer), 'http_request_denied');
	}

	t.deepEqual(asked, []);
});

test.serial('what is denied as an address is denied to a name that resolves to it, even if a function allows it', async t => {
	const upstream = await startUpstream(t);
	for (const deny of [['127.0.0.1'], ['127.0.0.0/8'], [`127.0.0.1:${upstream.port}`]]) {
		for (const allow of [['127.0.0.0/8:*'], () => true]) {
			const {lookup} = resolver(['::ffff:127.0.0.1']);
			const running = await startProxy(t, {engine: 'stream', allow, deny, lookup}); // eslint-disable-line no-await-in-loop
			t.is(errorOf(await ask(t, running, connectRequest(upstream.port, 'a.test'))), 'http_request_denied'); // eslint-disable-line no-await-in-loop
			await running.stop(); // eslint-disable-line no-await-in-loop
		}
	}

	t.is(upstream.open(), 0);
});

test.serial('a function that says yes to everything has not allowed what a name turns out to be, nor link-local addresses', async t => {
	const upstream = await startUpstream(t);
	const running = await startProxy(t, {engine: 'stream', allow: () => true, lookup: resolver(['127.0.0.1']).lookup});
	for (const host of ['a.test', '169.254.169.254', '[::ffff:127.0.0.1]', '0.0.0.0', '[64:ff9b::a00:1]']) {
		t.is(errorOf(await ask(t, running, connectRequest(upstream.port, host))), 'destination_ip_prohibited', host); // eslint-disable-line no-await-in-loop
	}

	t.is(upstream.open(), 0);
});

test.serial('the first rule that matches decides', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const {lookup} = resolver(['127.0.0.1']);
	const running = await startProxy(t, {
		engine: 'stream', lookup, allow: [{allow: 'good.bad.test', ports: '*'}, {deny: '*.bad.test'}, {allow: '127.0.0.0/8', ports: [upstream.port]}],
	});
	t.regex(await ask(t, running, connectRequest(upstream.port, 'good.bad.test')), /^HTTP\/1\.1 200 /u);
	t.regex(await ask(t, running, connectRequest(upstream.port, 'other.bad.test')), /^HTTP\/1\.1 403 /u);
	t.regex(await ask(t, running, connectRequest(upstream.port, 'any.test')), /^HTTP\/1\.1 200 /u);
});

test.serial('a name with addresses of both families is reached through the one that answers', async t => {
	for (const [host, list] of [['127.0.0.1', ['::1', '127.0.0.1']], ['::1', ['127.0.0.1', '::1']]] as const) {
		const upstream = await startUpstream(t, {host, onConnection: echo}); // eslint-disable-line no-await-in-loop
		const running = await startProxy(t, {engine: 'auto', allow: ['dual.test:*'], lookup: resolver(list).lookup}); // eslint-disable-line no-await-in-loop
		const client = await dial(t, running.port); // eslint-disable-line no-await-in-loop
		client.write(connectRequest(upstream.port, 'dual.test'));
		t.regex(await readHead(client), /^HTTP\/1\.1 200 /u); // eslint-disable-line no-await-in-loop
		const tunnel = await running.tunnelOf(client); // eslint-disable-line no-await-in-loop
		t.is(tunnel.upstream.remoteAddress, host);
		client.write('ping');
		t.is(await readText(client, 4), 'ping'); // eslint-disable-line no-await-in-loop
		client.destroy();
	}
});

test.serial('connections come from `localAddress`, and go to its family only', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const running = await startProxy(t, {
		engine: 'stream', allow: ['dual.test:*', '[::1]:*'], localAddress: '127.0.0.3', lookup: resolver(['::1', '127.0.0.1']).lookup,
	});
	const client = await dial(t, running.port);
	client.write(connectRequest(upstream.port, 'dual.test'));
	t.regex(await readHead(client), /^HTTP\/1\.1 200 /u);
	const tunnel = await running.tunnelOf(client);
	t.is(tunnel.upstream.localAddress, '127.0.0.3');
	t.is(errorOf(await ask(t, running, connectRequest(upstream.port, '[::1]'))), 'destination_ip_unroutable');
});

test.serial('a proxy does not tunnel to itself, under any of its addresses', async t => {
	const running = await startProxy(t, {engine: 'stream', allow: ['*:*', '127.0.0.0/8:*', 'self.test:*', '0.0.0.0:*', '[::ffff:127.0.0.1]:*'], lookup: resolver(['127.0.0.1']).lookup});
	for (const host of ['127.0.0.1', 'self.test', '0.0.0.0', '[::ffff:127.0.0.1]']) {
		const answer = await ask(t, running, connectRequest(running.port, host)); // eslint-disable-line no-await-in-loop
		t.regex(answer, /^HTTP\/1\.1 502 /u);
		t.is(errorOf(answer), 'proxy_loop_detected', host);
	}

	t.is(running.tunnels.stats().rejectedFor.proxy_loop_detected, 4);
});

test.serial('a proxy that listens on all addresses does not tunnel to any of them', async t => {
	const running = await startProxy(t, {engine: 'stream', host: '::', allow: ['127.0.0.0/8:*', '[::1]:*']});
	for (const host of ['127.0.0.1', '127.9.9.9', '[::1]']) {
		t.is(errorOf(await ask(t, running, connectRequest(running.port, host))), 'proxy_loop_detected', host); // eslint-disable-line no-await-in-loop
	}
});

test.serial('a proxy that listens elsewhere later does not tunnel to itself there either', async t => {
	const server = http.createServer();
	const tunnels = sockmap(undefined, {engine: 'stream', allow: ['127.0.0.1:*']});
	t.teardown(async () => {
		server.close();
		await tunnels.close();
	});
	server.on('connect', async (request, socket, head) => tunnels.connect(request, socket, head));
	for (let time = 0; time < 2; time++) {
		/* eslint-disable no-await-in-loop */
		server.listen(0, '127.0.0.1');
		await once(server, 'listening');
		const {port} = server.address() as AddressInfo;
		t.is(errorOf(await ask(t, {port}, connectRequest(port))), 'proxy_loop_detected');
		server.close();
		await once(server, 'close');
		/* eslint-enable no-await-in-loop */
	}
});

const lookupFailures: ReadonlyArray<readonly [string, RegExp]> = [['ENOTFOUND', /rcode="NXDOMAIN"/u], ['EAI_AGAIN', /rcode="SERVFAIL"/u], ['EOTHER', /error=dns_error$/mu]];

for (const [code, parameters] of lookupFailures) {
	test.serial(`a lookup that fails with ${code} is a dns_error`, async t => {
		const running = await startProxy(t, {
			engine: 'stream', allow: ['a.test:443'],
			lookup(_hostname, _options, callback) {
				callback(Object.assign(new Error('no'), {code}), []);
			},
		});
		const answer = await ask(t, running, connectRequest(443, 'a.test'));
		t.regex(answer, /^HTTP\/1\.1 502 /u);
		t.is(errorOf(answer), 'dns_error');
		t.regex(/^proxy-status:.*$/imu.exec(answer)![0], parameters);
	});
}

for (const [title, lookup] of Object.entries<Options['lookup']>({
	'has no address'(_hostname, _options, callback) {
		callback(null, []);
	},
	'is not an address'(_hostname, _options, callback) {
		callback(null, [{address: 'example.com', family: 4}]);
	},
	throws() {
		throw new Error('no');
	},
})) {
	test.serial(`a lookup that ${title} is a dns_error`, async t => {
		const running = await startProxy(t, {engine: 'stream', allow: ['a.test:443'], lookup: lookup!});
		t.is(errorOf(await ask(t, running, connectRequest(443, 'a.test'))), 'dns_error');
	});
}

test.serial('a lookup that never ends is over with `connectTimeout`', async t => {
	const running = await startProxy(t, {
		engine: 'stream', allow: ['a.test:443'], connectTimeout: 50,
		lookup() {
			// Never calls back.
		},
	});
	const answer = await ask(t, running, connectRequest(443, 'a.test'));
	t.regex(answer, /^HTTP\/1\.1 504 /u);
	t.is(errorOf(answer), 'connection_timeout');
	t.is(running.tunnels.stats().dialling, 0);
});

test.serial('a lookup of the old form, with one address, is understood', async t => {
	const upstream = await startUpstream(t, {onConnection: echo});
	const lookup: LookupFunction = (_hostname, _options, callback) => {
		callback(null, '127.0.0.1', 4);
	};

	const running = await startProxy(t, {engine: 'stream', allow: ['a.test:*'], lookup: lookup as unknown as NonNullable<Options['lookup']>});
	t.regex(await ask(t, running, connectRequest(upstream.port, 'a.test')), /^HTTP\/1\.1 200 /u);
});
