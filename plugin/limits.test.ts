import {type Socket} from 'node:net';
import test from 'ava';
import {Limits} from './limits.ts';

function from(remoteAddress: string | undefined): Socket {
	const socket: Pick<Socket, 'remoteAddress'> = {remoteAddress: remoteAddress!};
	return socket as Socket;
}

test('without limits there is always room', t => {
	const limits = new Limits({maxTunnels: 0, maxTunnelsPerClient: 0});
	limits.enter(from('::1'));
	t.is(limits.excess(from('::1')), undefined);
});

test('the last place is given once, and again after it was left', t => {
	const limits = new Limits({maxTunnels: 1, maxTunnelsPerClient: 0});
	const leave = limits.enter(from('10.0.0.1'));
	t.like(limits.excess(from('10.0.0.2')), {limit: 'maxTunnels', reason: 'As many tunnels are open as `maxTunnels` allows: 1.'});
	leave();
	t.is(limits.excess(from('10.0.0.2')), undefined);
});

test('one client does not take the places of another', t => {
	const limits = new Limits({maxTunnels: 0, maxTunnelsPerClient: 1});
	const leave = limits.enter(from('10.0.0.1'));
	t.is(limits.excess(from('10.0.0.1'))?.limit, 'maxTunnelsPerClient');
	t.is(limits.excess(from('10.0.0.2')), undefined);
	leave();
	t.is(limits.excess(from('10.0.0.1')), undefined);
});

test('a client that has left its address behind leaves its place too', t => {
	const limits = new Limits({maxTunnels: 0, maxTunnelsPerClient: 1});
	const client = {remoteAddress: '10.0.0.1'};
	const leave = limits.enter(client as Socket);
	Object.assign(client, {remoteAddress: undefined});
	leave();
	t.is(limits.excess(from('10.0.0.1')), undefined);
});
