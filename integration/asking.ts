import type {ExecutionContext} from 'ava';
import type {RunningProxy} from './proxy.ts';
import {within} from './until.ts';
import {dial, readHead, readTextToEnd} from './wire.ts';

/** The whole answer to a request, as text. A tunnel that opens is closed. */
export async function ask(t: ExecutionContext, {port}: Pick<RunningProxy, 'port'>, request: string, localAddress?: string): Promise<string> {
	const client = await dial(t, port, localAddress === undefined ? {} : {localAddress});
	client.write(request, 'latin1');
	const head = await within('the proxy answers', readHead(client));
	if (head.startsWith('HTTP/1.1 2')) {
		client.end();
		return head;
	}

	const body = await within('the proxy closes after a refusal', readTextToEnd(client));
	client.end();
	return head + body;
}

/** The error type in Proxy-Status. */
export function errorOf(answer: string): string | undefined {
	return /^proxy-status: .*http-proxy-sockmap; error=(?<error>\w+)/imu.exec(answer)?.groups!.error;
}
