import {type ClientRequest} from 'node:http';
import {type Socket} from 'node:net';
import process from 'node:process';
import {answer, Rejection} from './answer.ts';
import {type ProxyLike} from './attach.ts';

export type Handshake = {
	readonly proxy: ProxyLike;
	readonly proxyRequest: ClientRequest;
	readonly client: Socket;
};

/**
Gives up on an upgrade that the upstream does not answer in time: 504 for the client, and an error of the proxy for those who listen to it.
*/
export function limitHandshake(timeout: number, {proxy, proxyRequest, client}: Handshake): void {
	// The sockets keep the process alive meanwhile, or not.
	const timer = setTimeout(() => {
		const sentence = `The upstream did not answer within ${timeout} ms.`;
		answer(client, new Rejection(504, sentence));
		// A proxy whose errors nobody listens to throws them, which would end the process. While there is one more listener it does not.
		proxyRequest.prependOnceListener('error', () => {
			proxy.on('error', ignore);
			process.nextTick(() => {
				proxy.off('error', ignore);
			});
		});
		proxyRequest.destroy(Object.assign(new Error(sentence), {code: 'ETIMEDOUT'}));
	}, timeout).unref();

	const stop = () => {
		clearTimeout(timer);
	};

	// Whatever comes first. A request that was answered or has failed closes.
	proxyRequest.once('upgrade', stop).once('response', stop).once('close', stop);
}

function ignore(): void {} // eslint-disable-line @typescript-eslint/no-empty-function
