import {Buffer} from 'node:buffer';
import {type IncomingMessage} from 'node:http';
import {type Socket} from 'node:net';
import {setTimeout as wait} from 'node:timers/promises';
import {Rejection} from './answer.ts';
import {type Attempts} from './attempts.ts';
import {type Passwords} from './passwords.ts';

/**
Who sends the request: a name, which becomes `tunnel.user`, or `true` for somebody without a name. Anything else is answered with 407. Where it throws, with 500.
*/
export type Authenticate = (request: IncomingMessage) => string | boolean | undefined | Promise<string | boolean | undefined>;

export type Identification = {
	readonly authenticate: Authenticate | undefined;
	readonly passwords: Passwords | undefined;

	/**
	The values of Proxy-Authenticate.
	*/
	readonly challenge: readonly string[];
	readonly maxFailures: number;
};

/**
Whether clients have to say who they are.
*/
export function isAsked({authenticate, passwords}: Identification): boolean {
	return authenticate !== undefined || passwords !== undefined;
}

/**
Finds out who the client is, or rejects it with a challenge. The credentials are gone from the request afterwards: nobody can log or forward them by mistake.
*/
export async function identify(request: IncomingMessage, client: Socket, attempts: Attempts, {authenticate, passwords, challenge, maxFailures}: Identification): Promise<string | undefined> {
	const address = client.remoteAddress ?? '';
	const credentials = request.headers['proxy-authorization'];
	const refuseLocked = () => {
		const locked = attempts.lockedFor(address, maxFailures);
		if (locked > 0) {
			throw new Rejection(429, 'Too many wrong credentials.', {error: 'http_request_denied', headers: {'Retry-After': Math.ceil(locked / 1000)}});
		}
	};

	let who;
	try {
		refuseLocked();
		who = passwords ? await verifyBasic(credentials, passwords) : undefined;
		if (!isSomebody(who)) {
			who = await authenticate?.(request);
		}
	} catch (error) {
		if (error instanceof Rejection) {
			throw error;
		}

		// What was thrown may well quote the credentials.
		throw new Rejection(500, 'Could not find out who you are.', {error: 'proxy_internal_error'});
	} finally {
		forget(request);
	}

	// Of guesses that were looked at all at once, no more count than of those one after the other.
	refuseLocked();
	if (isSomebody(who)) {
		attempts.succeeded(address);
		return typeof who === 'string' ? who : undefined;
	}

	// Clients ask without credentials first, to be told which ones are wanted. That is no guess.
	if (credentials !== undefined) {
		await wait(attempts.failed(address), undefined, {ref: false});
	}

	throw new Rejection(407, 'This proxy wants to know who you are.', {error: 'http_request_denied', headers: {'Proxy-Authenticate': [...challenge]}});
}

/**
The challenge of Basic, with a realm in quotes.
*/
export function basicChallenge(realm: string): string {
	return `Basic realm="${realm.replaceAll(/["\\]/g, String.raw`\$&`)}", charset="UTF-8"`;
}

/**
@see https://www.rfc-editor.org/rfc/rfc7617#section-2
*/
export function parseBasic(credentials: string | undefined): {readonly name: string; readonly password: string} | undefined {
	const [, token] = /^basic +([a-z\d+/]+={0,2}) *$/i.exec(credentials ?? '') ?? [];
	const text = token === undefined ? '' : Buffer.from(token, 'base64').toString();
	const colon = text.indexOf(':');
	return colon === -1 ? undefined : {name: text.slice(0, colon), password: text.slice(colon + 1)};
}

async function verifyBasic(credentials: string | undefined, passwords: Passwords): Promise<string | undefined> {
	const basic = parseBasic(credentials);
	return basic && await passwords.verify(basic.name, basic.password) ? basic.name : undefined;
}

function isSomebody(who: unknown): who is string | true {
	return who === true || (typeof who === 'string' && who !== '');
}

function forget(request: IncomingMessage): void {
	delete request.headers['proxy-authorization'];
	for (let index = request.rawHeaders.length - 2; index >= 0; index -= 2) {
		if (request.rawHeaders[index]!.toLowerCase() === 'proxy-authorization') {
			request.rawHeaders.splice(index, 2);
		}
	}
}
