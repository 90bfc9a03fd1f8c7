import {validateHeaderName, validateHeaderValue, type IncomingMessage, type OutgoingHttpHeaders} from 'node:http';
import {isIP, type Socket} from 'node:net';
import {debuglog, inspect} from 'node:util';
import {type CheckedAccess, type OnRequest, type Reaction} from './access.ts';
import {Rejection} from './answer.ts';
import {type Attempt} from './attempt.ts';
import {formatTarget, parseAuthority, type Target} from './authority.ts';
import {connectTo} from './dial.ts';
import {leadsBack} from './loop.ts';
import {type AllowFunction} from './options.ts';
import {resolve} from './resolve.ts';
import {throughProxies, wantsAddress, type NextProxy} from './upstream-proxy.ts';

export type Journey = {
	readonly request: IncomingMessage;
	readonly client: Socket;
	readonly target: Target;
	readonly user: string | undefined;
	readonly access: CheckedAccess;
	readonly allow: AllowFunction;
};

/**
Where the client really goes: `onRequest` may send it elsewhere, or away.
*/
export async function redirect(onRequest: OnRequest, {request, target, user}: Pick<Journey, 'request' | 'target' | 'user'>): Promise<Target> {
	let reaction: Reaction | undefined | void;
	try {
		reaction = await onRequest(target, request, user);
		return reaction === undefined || reaction === null ? target : obey(reaction, target);
	} catch (error) {
		if (error instanceof Rejection) {
			throw error;
		}

		// Thrown by it, or by reading what it has returned, which can be anything.
		debug('onRequest() failed: %o', error);
		throw new Rejection(500, 'Could not find out what to do with this request.', {error: 'proxy_internal_error'});
	}
}

function obey(reaction: Reaction, target: Target): Target {
	if ('status' in reaction) {
		const {status, headers, body} = reaction;
		// An answer of 2xx would be a tunnel, and one of 1xx is none.
		if (!Number.isInteger(status) || status < 300 || status > 599) {
			debug('onRequest() has returned the status %o', status);
			throw new Rejection(500, 'Could not find out what to do with this request.', {error: 'proxy_internal_error'});
		}

		checkHeaders(headers);
		throw new Rejection(status, `This proxy does not connect to ${formatTarget(target)}.`, {error: 'proxy_internal_response', headers, body});
	}

	const {target: elsewhere} = reaction;
	const checked = parseAuthority(typeof elsewhere === 'string' ? elsewhere : formatTarget(elsewhere));
	if (checked === undefined) {
		debug('onRequest() has returned the target %s', inspect(elsewhere));
		throw new Rejection(500, 'Could not find out what to do with this request.', {error: 'proxy_internal_error'});
	}

	return checked;
}

/**
Asks the policy about what the client has asked for, before anything is looked up.
*/
export async function authorize({request, target, user, allow, access: {policy}}: Journey): Promise<void> {
	let isAllowed;
	try {
		isAllowed = !policy.denies(target) && await allow(target, request, user);
	} catch (error) {
		debug('allow() failed: %o', error);
		throw new Rejection(500, 'Could not find out whether this target is allowed.', {error: 'proxy_internal_error'});
	}

	if (!isAllowed) {
		throw denied(target);
	}
}

/**
Connects to the target: to an address that the policy has approved, or through the next proxy.
*/
export async function reach(journey: Journey, attempt: Attempt): Promise<Socket> {
	const {request, client, target, access} = journey;
	const chain = access.upstreamProxy ? await access.upstreamProxy(request, target) : [];
	const [first] = chain;
	const {localAddress} = access;
	if (first === undefined) {
		return connectTo(target, {addresses: await approve(journey), localAddress}, attempt);
	}

	const destination = await destinationFor(chain.at(-1)!, journey);
	const addresses = await resolve(first.target, access.lookup);
	if (addresses.some(address => leadsBack(client, address, first.target.port))) {
		throw loop();
	}

	return throughProxies(await connectTo(first.target, {addresses, localAddress}, attempt), chain, destination, attempt);
}

/**
The addresses of the target that may be dialled. These are then dialled, and not the name again: it could mean something else by then.
*/
async function approve({client, target, access: {policy, lookup}}: Journey): Promise<readonly string[]> {
	const addresses = await resolve(target, lookup);
	const verdicts = addresses.map(address => policy.verdict(target, address));
	const approved = addresses.filter((_address, index) => verdicts[index] === 'allowed');
	if (approved.length === 0) {
		debug('%s: none of its addresses is allowed: %o', formatTarget(target), addresses);
		if (verdicts.includes('prohibited')) {
			// What a name of the inside resolves to is not the client's business.
			throw new Rejection(403, `This proxy does not allow tunnels to ${formatTarget(target)}: its address is not a public one.`, {error: 'destination_ip_prohibited'});
		}

		throw denied(target);
	}

	if (approved.some(address => leadsBack(client, address, target.port))) {
		throw loop();
	}

	return approved;
}

async function destinationFor(last: NextProxy, journey: Journey): Promise<Target> {
	const {target} = journey;
	const version = wantsAddress(last);
	if (version === undefined) {
		// What it does with a name is up to it. But an address is what it is.
		if (isIP(target.host) !== 0) {
			await approve(journey);
		}

		return target;
	}

	const addresses = await approve(journey);
	const host = addresses.find(address => version === 5 || isIP(address) === 4);
	if (host === undefined) {
		throw new Rejection(502, `Could not connect to ${formatTarget(target)}: it has no IPv4 address, and ${last.name} takes no other.`, {error: 'destination_ip_unroutable'});
	}

	return {host, port: target.port};
}

function checkHeaders(headers: OutgoingHttpHeaders = {}): void {
	try {
		for (const [name, value] of Object.entries(headers)) {
			validateHeaderName(name);
			for (const one of Array.isArray(value) ? value : [value]) {
				validateHeaderValue(name, String(one));
			}
		}
	} catch (error) {
		debug('onRequest() has returned a header that is none: %o', error);
		throw new Rejection(500, 'Could not find out what to do with this request.', {error: 'proxy_internal_error'});
	}
}

function denied(target: Target): Rejection {
	return new Rejection(403, `This proxy does not allow tunnels to ${formatTarget(target)}.`, {error: 'http_request_denied'});
}

function loop(): Rejection {
	return new Rejection(502, 'This would be a tunnel of this proxy to itself.', {error: 'proxy_loop_detected'});
}

const debug = debuglog('sockmap');
