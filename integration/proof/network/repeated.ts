import assert from 'node:assert/strict';
import {within} from '../../until.ts';
import {buildMutant} from '../soak/mutants.ts';
import {chat, ended, openAll} from './exchange.ts';
import type {Fault} from './faults.ts';
import {forwarders} from './forwarder.ts';
import {startLab} from './lab.ts';
import type {Side} from './world.ts';

// Each segment begins with the end of the one before. Bulk is seen to by the other faults; here it is what happens rarely there.

export const repeats: Readonly<Record<string, Fault>> = {
	'a FIN that repeats bytes which have been redirected is a FIN, and nothing comes twice': {
		needs: 'forwarder',
		async run(scope, {family, engines, forwarder}) {
			const {join, stop} = forwarders(scope, forwarder!, troubles);
			const lab = await startLab(scope, family, {engines, join});
			const {client, upstream} = lab;
			const tunnels = await openAll(lab, engines);
			await Promise.all(tunnels.map(async tunnel => {
				const {number} = tunnel;
				const said = await chat(lab, tunnel);
				await client.call('send', {number, length: 0, end: true});
				assert.equal(await within('the upstream is told', upstream.call('receive', {number, length: 'all'})), 0);
				await upstream.call('send', {number, length: tail});
				assert.equal(await within('the client gets the rest', client.call('receive', {number, length: tail})), tail);
				await upstream.call('send', {number, length: 0, end: true});
				assert.equal(await within('the client is told', client.call('receive', {number, length: 'all'})), 0);
				await ended(lab, tunnel, {clientToUpstream: said, upstreamToClient: said + tail});
			}));
			await lab.stop();
			const happened = await stop();
			scope.log(JSON.stringify(happened));
			// One into the proxy and one out of it for each direction.
			assert.ok(happened.fins >= 4 * tunnels.length, `Too few FINs repeated something: ${JSON.stringify(happened)}`);
		},
	},
	'where the program cannot cut off what a client repeats, both ends are reset, and nothing comes twice': isBroken('client'),
	'where the program cannot cut off what an upstream repeats, both ends are reset, and nothing comes twice': isBroken('upstream'),
};

function isBroken(side: Side): Fault {
	return {
		needs: 'forwarder',
		async run(scope, {family, engines, forwarder}) {
			if (!engines.includes('sockmap')) {
				return;
			}

			uncut ??= buildMutant('kNoCut');
			const addon = await uncut;
			// What opens a tunnel is shorter than what is sent here.
			const {join, stop} = forwarders(scope, forwarder!, {...troubles, least: length});
			const lab = await startLab(scope, family, {
				engines: ['sockmap'], join, env: {HTTP_PROXY_SOCKMAP_ADDON: addon, SOCKMAP_UNPROBED: '1'},
			});
			const [sender, receiver] = side === 'client' ? [lab.client, lab.upstream] : [lab.upstream, lab.client];
			const tunnels = await openAll(lab, ['sockmap']);
			await Promise.all(tunnels.map(async ({number, which}) => {
				// Something that can be repeated.
				await sender.call('send', {number, length: 10});
				await receiver.call('receive', {number, length: 10});
				await sender.call('send', {number, length});
				await assert.rejects(within('the receiver is reset', receiver.call('receive', {number, length: 'all'})), /ECONNRESET/u);
				const {received} = await receiver.call('progress', {number});
				assert.equal(received, 10);
				assert.match(await within('the sender is reset', sender.call('ending', {number})), /^(?:ECONNRESET|EPIPE)$/u);
				const {reason, by, code} = await within('the tunnel is over', lab.proxy.call('closed', which));
				assert.deepEqual([reason, by, code], ['reset', side, 'ENOMEM']);
			}));
			await lab.stop();
			const {overlapped} = await stop();
			assert.ok(overlapped >= tunnels.length, `Only ${overlapped} segments overlapped`);
		},
	};
}

// For all of them, which run beside each other.
let uncut: Promise<string> | undefined;

const troubles = {delay: 1, overlap: 1000};

/** Of a message. */
const length = 1000;

/** What comes after the client's FIN. */
const tail = 5000;
