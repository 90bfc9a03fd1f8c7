import {Buffer} from 'node:buffer';
import {once} from 'node:events';
import net, {type AddressInfo, type Socket} from 'node:net';
import {text} from 'node:stream/consumers';
import test, {type ExecutionContext} from 'ava';
import {obstacle, quiesce, type Quiet} from './quiesce.ts';

type Pair = {readonly client: Socket; readonly upstream: Socket};

// What the pair would be like in a proxy: connected sockets, piped into each other.
async function piped(t: ExecutionContext): Promise<Pair & {readonly far: Pair}> {
	const [client, farClient] = await connected(t);
	const [upstream, farUpstream] = await connected(t);
	client.pipe(upstream).pipe(client);
	return {client, upstream, far: {client: farClient, upstream: farUpstream}};
}

async function connected(t: ExecutionContext): Promise<[Socket, Socket]> {
	const server = net.createServer({allowHalfOpen: true}).listen(0, '127.0.0.1');
	await once(server, 'listening');
	const far = net.connect({port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true});
	const [[near]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(far, 'connect')]);
	server.close();
	t.teardown(() => {
		near.destroy();
		far.destroy();
	});
	return [near, far];
}

test('a pair that is piped, and nothing else, can be taken', async t => {
	const {client, upstream} = await piped(t);
	t.is(obstacle(client, upstream), undefined);
});

const ignore = () => {}; // eslint-disable-line @typescript-eslint/no-empty-function

for (const [reason, spoil] of [
	['The client is already gone.', ({client}) => client.destroy()],
	['The upstream is already gone.', ({upstream}) => upstream.destroy()],
	['The upstream is half-closed already.', ({upstream}) => upstream.end()],
	['The client decodes what it reads: somebody called its setEncoding().', ({client}) => client.setEncoding('utf8')],
	['The client is paused.', ({client}) => client.pause()],
	['The upstream is corked.', ({upstream}) => {
		upstream.cork();
	}],
	['Somebody else reads the client: it has more listeners to `data` or `readable` than the pipe\'s own.', ({client}) => client.on('data', ignore)],
	['Somebody else reads the upstream: it has more listeners to `data` or `readable` than the pipe\'s own.', ({upstream}) => upstream.on('readable', ignore)],
	['Somebody else reads the client: it has more listeners to `data` or `readable` than the pipe\'s own.', ({client, upstream}) => client.unpipe(upstream)],
] as ReadonlyArray<readonly [string, (pair: Pair) => unknown]>) {
	test(`${reason} So it stays: ${spoil.toString().replaceAll(/\s+/g, ' ')}`, async t => {
		const pair = await piped(t);
		spoil(pair);
		t.is(obstacle(pair.client, pair.upstream), reason);
	});
}

test('a socket that is not connected yet stays', async t => {
	const {client, upstream} = await piped(t);
	client.unpipe(upstream);
	const another = net.connect({port: 1, host: '127.0.0.1'});
	client.pipe(another).pipe(client);
	t.is(obstacle(client, another), 'The upstream is not connected yet.');
	another.destroy();
});

test('a socket without a descriptor stays', async t => {
	const {client, upstream} = await piped(t);
	client.unpipe(upstream);
	const another = new net.Socket();
	client.pipe(another).pipe(client);
	t.is(obstacle(client, another), 'The upstream is neither a TCP nor a Unix socket.');
	another.destroy();
});

test('what Node has read is handed over, and comes first again when it is given back', async t => {
	const {client, upstream, far} = await piped(t);
	client.pause().unshift(Buffer.from('a head, '));
	upstream.pause().unshift(Buffer.from('another head, '));
	const quiet = quiesce(client, upstream) as Quiet;
	t.deepEqual([String(quiet.client.head), String(quiet.upstream.head)], ['a head, ', 'another head, ']);
	quiet.restore();
	t.is(obstacle(client, upstream), undefined);
	far.client.end('and what comes after it');
	far.upstream.end('and what comes after that');
	t.deepEqual(await Promise.all([text(far.upstream), text(far.client)]), ['a head, and what comes after it', 'another head, and what comes after that']);
});

test('a listener that hides behind that of the pipe is found, and goes on as before', async t => {
	const {client, upstream, far} = await piped(t);
	client.removeAllListeners('data');
	let heard = '';
	client.on('data', (chunk: Uint8Array) => {
		heard += String(chunk);
	});
	t.is(obstacle(client, upstream), undefined);
	t.is(quiesce(client, upstream), 'Somebody else reads the client or upstream: it has more listeners to `data` or `readable` than the pipe\'s own.');
	far.client.end('What comes then');
	t.is(await text(far.upstream), 'What comes then');
	t.is(heard, 'What comes then');
});
