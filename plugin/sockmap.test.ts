import net, {type Socket} from 'node:net';
import test from 'ava';
import {EventEmitter} from 'eventemitter3';
import {SockmapError} from './errors.ts';
import {sockmap} from './sockmap.ts';

test('a proxy is attached to once, however often it is asked for', async t => {
	const proxy = new EventEmitter();
	const tunnels = sockmap(proxy, {engine: 'stream'});
	t.is(sockmap(proxy), tunnels);
	t.is(proxy.listenerCount('open'), 1);
	t.is(proxy.listenerCount('proxyReqWs'), 1);
	await tunnels.close();
});

test('close() detaches, and the proxy can be attached to again', async t => {
	const proxy = new EventEmitter();
	const tunnels = sockmap(proxy, {engine: 'stream'});
	await tunnels.close();
	t.deepEqual(proxy.eventNames(), []);
	const again = sockmap(proxy, {engine: 'stream'});
	t.not(again, tunnels);
	await again.close();
});

test('nobody becomes the only listener to the errors of the proxy', async t => {
	const proxy = new EventEmitter();
	const tunnels = sockmap(proxy, {engine: 'stream'});
	t.is(proxy.listenerCount('error'), 0);
	await tunnels.close();
});

test('what is not a proxy is not accepted', t => {
	t.throws(() => sockmap({} as EventEmitter), {instanceOf: TypeError, message: 'Expected `proxy` to be a proxy server of http-proxy or a relative of it, but got {}.'});
});

test('an upstream that nobody asked for opens no tunnel', async t => {
	const proxy = new EventEmitter();
	const tunnels = sockmap(proxy, {engine: 'stream'});
	proxy.emit('open', new net.Socket());
	t.is(tunnels.stats().opened, 0);
	await tunnels.close();
});

test('only sockets make a tunnel, and none after close()', async t => {
	const tunnels = sockmap(undefined, {engine: 'stream'});
	t.throws(() => tunnels.splice({} as Socket, new net.Socket()), {instanceOf: TypeError, message: 'Expected `client` to be a net.Socket, but got {}.'});
	await tunnels.close();
	t.throws(() => tunnels.splice(new net.Socket(), new net.Socket()), {instanceOf: SockmapError, code: 'ERR_SOCKMAP_CLOSED'});
});
