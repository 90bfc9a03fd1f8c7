import {type IncomingMessage} from 'node:http';
import {type Socket} from 'node:net';
import {type CheckedAccess} from './access.ts';
import {type Block} from './addresses.ts';
import {Rejection} from './answer.ts';
import {Attempt} from './attempt.ts';
import {identify, isAsked} from './authenticate.ts';
import {formatTarget, type Target} from './authority.ts';
import {type Gate} from './gate.ts';
import {type AllowFunction} from './options.ts';
import {authorize, reach, redirect} from './reach.ts';

export type Applicant = {
	readonly request: IncomingMessage;
	readonly client: Socket;
	readonly allow: AllowFunction;
	readonly access: CheckedAccess;
	readonly gate: Gate;
	readonly connectTimeout: number;

	/**
	For all of it; zero is any time.
	*/
	readonly handshakeTimeout?: number;

	/**
	Finds the target in the request, or throws a `Rejection`.
	*/
	readonly parse: () => Target;
};

export type Admitted = {
	readonly target: Target;
	readonly user: string | undefined;
	readonly upstream: Socket;
};

/**
The way to a connection, cheapest question first: where the client is, what it wants, who it is, whether it may. Rejects with a `Rejection` where it ends.
*/
export async function admit({request, client, allow, access, gate, connectTimeout, handshakeTimeout = 0, parse}: Applicant): Promise<Admitted> {
	const {clients, identification} = access;
	if (clients && !isAmong(client, clients)) {
		throw new Rejection(403, 'This proxy is not for you.', {error: 'http_request_denied'});
	}

	const asked = parse();
	const attempt = new Attempt(client, gate);
	let leave: (() => void) | undefined;
	try {
		attempt.limit(handshakeTimeout, () => new Rejection(504, `There was no connection within ${handshakeTimeout} ms.`, {error: 'connection_timeout'}));
		// What it waits for may take as long as it likes, and is then not gone on with.
		return await attempt.unlessGivenUp(async () => {
			const user = isAsked(identification) ? await identify(request, client, gate.attempts, identification) : undefined;
			attempt.throwIfGivenUp();
			const target = access.onRequest ? await redirect(access.onRequest, {request, target: asked, user}) : asked;
			attempt.throwIfGivenUp();
			const journey = {request, client, target, user, access, allow};
			await authorize(journey);
			attempt.throwIfGivenUp();
			leave = gate.enterDial();
			attempt.limit(connectTimeout, () => new Rejection(504, `Could not connect to ${formatTarget(target)} within ${connectTimeout} ms.`, {error: 'connection_timeout'}));
			const upstream = await reach(journey, attempt);
			if (attempt.reason) {
				upstream.destroy();
			}

			return {target, user, upstream};
		});
	} finally {
		leave?.();
		attempt.end();
	}
}

function isAmong({remoteAddress}: Socket, clients: readonly Block[]): boolean {
	return remoteAddress !== undefined && clients.some(block => block.has(remoteAddress));
}
