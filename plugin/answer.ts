import {Buffer} from 'node:buffer';
import {STATUS_CODES, type OutgoingHttpHeaders} from 'node:http';
import {type Socket} from 'node:net';

/**
Why there is no tunnel, for machines.

@see https://www.rfc-editor.org/rfc/rfc9209#name-proxy-error-types
*/
export type ProxyError =
	| 'connection_limit_reached' | 'connection_refused' | 'connection_terminated' | 'connection_timeout' | 'destination_ip_prohibited'
	| 'destination_ip_unroutable' | 'destination_unavailable' | 'dns_error' | 'dns_timeout' | 'http_protocol_error' | 'http_request_denied' | 'http_request_error'
	| 'proxy_configuration_error' | 'proxy_internal_error' | 'proxy_internal_response' | 'proxy_loop_detected' | 'tls_certificate_error' | 'tls_protocol_error';

export type RejectionDetails = {
	readonly error?: ProxyError | undefined;

	/**
	More parameters of Proxy-Status, such as `{rcode: 'NXDOMAIN'}`.
	*/
	readonly parameters?: Readonly<Record<string, string | number>>;

	/**
	The Proxy-Status of proxies behind this one.
	*/
	readonly earlier?: string | undefined;
	readonly headers?: OutgoingHttpHeaders | undefined;
	readonly body?: string | Uint8Array | undefined;
};

/**
Why there is no tunnel, with the status that says so in HTTP. The message is the body of the answer, unless there is another.
*/
export class Rejection extends Error {
	readonly status: number;
	readonly details: RejectionDetails;

	constructor(status: number, message: string, details: RejectionDetails = {}) {
		super(message);
		this.status = status;
		this.details = details;
	}

	/**
	The headers of the answer, without those that frame it.
	*/
	get headers(): OutgoingHttpHeaders {
		const {error, parameters = {}, earlier, headers} = this.details;
		return {
			'Content-Type': 'text/plain; charset=utf-8',
			...(error && {'Proxy-Status': [...(earlier ? [earlier] : []), proxyStatus({error, ...parameters})].join(', ')}),
			...headers,
		};
	}

	get body(): Uint8Array {
		const {body = `${this.message}\n`} = this.details;
		return typeof body === 'string' ? Buffer.from(body) : body;
	}
}

/**
Answers on the bare socket of a CONNECT request, and closes it.
*/
export function answer(client: Socket, rejection: Rejection): void {
	const {status, body} = rejection;
	const headers = Object.entries(rejection.headers)
		.filter(([name]) => !framing.has(name.toLowerCase()))
		.flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map(one => `${name}: ${one}`));
	const head = [
		`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}`,
		...headers,
		`Content-Length: ${body.length}`,
		'Connection: close',
		'\r\n',
	].join('\r\n');
	client.end(Buffer.concat([Buffer.from(head, 'latin1'), body]));

	// Closing with bytes unread would make the kernel send a reset, which can overtake the answer. So read, until the client closes or goes quiet.
	client.resume();
	const timer = setTimeout(() => {
		client.destroy();
	}, lingerTime);
	client.once('close', () => {
		clearTimeout(timer);
	});
}

function proxyStatus(parameters: Readonly<Record<string, string | number>>): string {
	return [proxyName, ...Object.entries(parameters).map(([name, value]) => `${name}=${typeof value === 'number' || name === 'error' ? value : quoted(value)}`)].join('; ');
}

// A string of structured fields has printable ASCII only.
function quoted(text: string): string {
	return `"${text.replaceAll(/[^\u0020-\u007E]/gu, '?').replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}

export const proxyName = 'http-proxy-sockmap';
const framing = new Set(['connection', 'content-length', 'transfer-encoding']);
// As long as the relay gives those that it cuts off. Whoever goes on sending does not get more.
const lingerTime = 2000;
