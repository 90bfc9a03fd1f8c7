import {type IncomingMessage} from 'node:http';
import {type Socket} from 'node:net';
import {type CheckedAccess} from './access.ts';
import {Rejection} from './answer.ts';
import {identify} from './authenticate.ts';
import {type Target} from './authority.ts';
import {dial, unlessAborted} from './dial.ts';
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
	Aborted with a `Rejection`.
	*/
	readonly signal: AbortSignal;

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
export async function admit({request, client, allow, access, gate, connectTimeout, signal, parse}: Applicant): Promise<Admitted> {
	const {clients, identification} = access;
	const {remoteAddress} = client;
	if (clients && !(remoteAddress !== undefined && clients.some(block => block.has(remoteAddress)))) {
		throw new Rejection(403, 'This proxy is not for you.', {error: 'http_request_denied'});
	}

	const asked = parse();
	const user = await unlessAborted(async () => identify(request, client, gate.attempts, identification), signal);
	const target = await unlessAborted(async () => redirect({request, client, target: asked, user, access, allow}), signal);
	const journey = {request, client, target, user, access, allow};
	await unlessAborted(async () => authorize(journey), signal);
	const leave = gate.enterDial();
	try {
		const upstream = await dial(target, {client, connectTimeout, signal, reach: async aborted => reach(journey, aborted)});
		return {target, user, upstream};
	} finally {
		leave();
	}
}
