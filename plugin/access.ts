import {type IncomingMessage, type OutgoingHttpHeaders} from 'node:http';
import {isIP} from 'node:net';
import {inspect} from 'node:util';
import {parseBlock, familyOf, type Block} from './addresses.ts';
import {basicChallenge, type Authenticate, type Identification} from './authenticate.ts';
import {type Target} from './authority.ts';
import {type Allow, type Options} from './options.ts';
import {Passwords, type Users} from './passwords.ts';
import {policyOf, type Policy} from './policy.ts';
import {type Lookup} from './resolve.ts';
import {parseAllow, parseDeny, Rules} from './rules.ts';
import {parseProxies, type NextProxy, type UpstreamProxy} from './upstream-proxy.ts';

/**
Who may use `tunnels.connect()` and `tunnels.forward()`, and how they get to where they want.
*/
export type AccessOptions = {
	/**
	Where nobody goes, whatever is allowed: names, `*.example.com`, addresses and blocks of addresses, with or without ports. An address is compared with what a name turns out to be, too.

	@default []

	@example
	```
	sockmap(proxy, {allow: ['*:443'], deny: ['*.internal.example', '198.51.100.0/24', '*:25']});
	```
	*/
	readonly deny?: readonly string[];

	/**
	Looks up names in the place of `dns.lookup()`, and is called like it, with `{all: true}`. What it finds is checked, and dialled, as it is.

	@default dns.lookup
	*/
	readonly lookup?: Lookup;

	/**
	The address of this machine that connections to targets come from.

	@default Up to the system
	*/
	readonly localAddress?: string;

	/**
	The addresses of clients that may use this proxy, such as `'10.0.0.0/8'`. Others are answered with 403.

	@default All
	*/
	readonly clients?: readonly string[];

	/**
	Names and passwords, for the scheme Basic. Passwords are compared in constant time, and can be given as what `hashPassword()` makes of them.

	@default Nobody is asked

	@see https://www.rfc-editor.org/rfc/rfc7617
	*/
	readonly users?: Users;

	/**
	Finds out who has sent a request, by any means: returns a name, which becomes `tunnel.user`, or `true`. May be async. Everything else is answered with 407. Together with `users`, it is asked about those that are none of them.

	Afterwards the request has no `Proxy-Authorization` any more.

	@default Nobody is asked

	@see https://www.rfc-editor.org/rfc/rfc9110#section-11.7
	*/
	readonly authenticate?: Authenticate;

	/**
	What browsers show next to the question for the password: printable ASCII.

	@default 'proxy'

	@see https://www.rfc-editor.org/rfc/rfc9110#section-11.5
	*/
	readonly realm?: string;

	/**
	`Proxy-Authenticate` of the answer 407, for schemes of your own.

	@default `Basic realm="…", charset="UTF-8"`
	*/
	readonly challenge?: string | readonly string[];

	/**
	After so many wrong credentials within a minute of each other, a client address is answered with 429 for a minute. The answer to each of them waits, from a tenth of a second up to five.

	@default 20

	@see https://www.rfc-editor.org/rfc/rfc6585#section-4
	*/
	readonly maxFailures?: number;

	/**
	Called with each request whose sender is known. Returns nothing, `{target}` to go elsewhere, or `{status, headers, body}` to answer that. May be async. The rules apply to the new target.

	@default Everybody goes where they want
	*/
	readonly onRequest?: OnRequest;

	/**
	The proxy through which targets are reached: `http:`, `https:`, `socks5:`, `socks5h:`, `socks4:` or `socks4a:` with credentials if need be. A list is a chain, nearest first. A function is asked for each request, and may be async.

	The addresses of names are up to the last proxy then, except for `socks5:` and `socks4:`.

	@default None: targets are dialled from here

	@see https://www.rfc-editor.org/rfc/rfc1928 SOCKS 5
	*/
	readonly upstreamProxy?: UpstreamProxy;
};

/**
What to do with a request, if not what it asks for. See the option `onRequest`. Where it throws, or returns something else, the client is answered with 500.
*/
export type OnRequest = (target: Target, request: IncomingMessage, user: string | undefined) => Reaction | undefined | void | Promise<Reaction | undefined | void>;

/**
To go elsewhere, or to be answered.
*/
export type Reaction = {
	/**
	A target, or one that is written as `host:port`.
	*/
	readonly target: Target | string;
} | {
	/**
	From 300 to 599. A client takes an answer of 2xx to CONNECT for a tunnel.
	*/
	readonly status: number;

	/**
	Of the answer, besides those that frame it.

	@default {}
	*/
	readonly headers?: OutgoingHttpHeaders;

	/**
	Of the answer.

	@default A sentence that names the target
	*/
	readonly body?: string | Uint8Array;
};

export type CheckedAccess = {
	readonly policy: Policy;
	readonly identification: Identification;
	readonly clients: readonly Block[] | undefined;
	readonly lookup: Lookup | undefined;
	readonly localAddress: string | undefined;
	readonly onRequest: OnRequest | undefined;
	readonly upstreamProxy: ((request: IncomingMessage, target: Target) => Promise<readonly NextProxy[]>) | undefined;
};

type Given = AccessOptions & Pick<Options, 'allow'>;

const accessNames = ['allow', 'deny', 'lookup', 'localAddress', 'clients', 'users', 'authenticate', 'realm', 'challenge', 'maxFailures', 'onRequest', 'upstreamProxy'] as const satisfies ReadonlyArray<keyof Given>;

/**
The access that one request has: the same as all, unless it was given options of its own.
*/
export class Access {
	readonly #given: Given;
	readonly #checked: CheckedAccess;

	constructor(options: Given) {
		this.#given = pick(options);
		this.#checked = check(this.#given);
	}

	with(options: Given | undefined): CheckedAccess {
		return options === undefined || accessNames.every(name => options[name] === undefined) ? this.#checked : check({...this.#given, ...pick(options)});
	}
}

function pick(options: Given): Given {
	return Object.fromEntries(accessNames.filter(name => options[name] !== undefined).map(name => [name, options[name]]));
}

function check(options: Given): CheckedAccess {
	const {allow = [], deny = [], lookup, localAddress, clients, onRequest, upstreamProxy} = options;
	for (const name of ['lookup', 'authenticate', 'onRequest'] as const) {
		if (options[name] !== undefined && typeof options[name] !== 'function') {
			throw expected(name, 'to be a function', options[name]);
		}
	}

	if (localAddress !== undefined && familyOf(localAddress) === undefined) {
		throw expected('localAddress', 'to be an IP address', localAddress);
	}

	return {
		policy: policyOf(toRules(allow), new Rules(list('deny', deny).flatMap(entry => parseDeny(entry) ?? no('deny', 'like \'*.example.com\', \'10.0.0.0/8\' or \'example.com:25\'', entry)))),
		identification: toIdentification(options),
		clients: clients === undefined ? undefined : list('clients', clients).map(entry => toBlock(entry) ?? no('clients', 'like \'10.0.0.0/8\' or \'::1\'', entry)),
		lookup,
		localAddress,
		onRequest,
		upstreamProxy: upstreamProxy === undefined ? undefined : parseProxies(upstreamProxy),
	};
}

// Whether they are rules has been checked with the other options.
function toRules(allow: Allow): Rules | undefined {
	return typeof allow === 'function' ? undefined : new Rules(allow.flatMap(entry => parseAllow(entry)!));
}

function toIdentification({authenticate, users, realm = 'proxy', challenge, maxFailures = 20}: Given): Identification {
	if (users !== undefined) {
		const entries = typeof users === 'object' && users !== null ? [...(users instanceof Map ? users as ReadonlyMap<string, string> : Object.entries(users))] : [];
		// A name with a colon could never log in. Neither names nor passwords belong into an error.
		if (typeof users !== 'object' || users === null || entries.some(([name, secret]) => typeof secret !== 'string' || secret === '' || name === '' || name.includes(':'))) {
			throw new TypeError('Expected option `users` to be an object of names without colons, and passwords or hashes that are not empty.');
		}
	}

	if (typeof realm !== 'string' || !/^[\u0020-\u007E]*$/.test(realm)) {
		throw expected('realm', 'to be a string of printable ASCII', realm);
	}

	const challenges = challenge === undefined ? [basicChallenge(realm)] : (typeof challenge === 'string' ? [challenge] : challenge);
	if (!Array.isArray(challenges) || !challenges.every(one => typeof one === 'string' && /^[\u0020-\u007E]+$/.test(one))) {
		throw expected('challenge', 'to be a value of Proxy-Authenticate, or a list of them', challenge);
	}

	if (!Number.isInteger(maxFailures) || maxFailures < 0) {
		throw expected('maxFailures', 'to be an integer from 0', maxFailures);
	}

	return {
		authenticate, passwords: users && new Passwords(users), challenge: challenges, maxFailures,
	};
}

function toBlock(entry: unknown): Block | undefined {
	if (typeof entry !== 'string') {
		return undefined;
	}

	const family = isIP(entry);
	return parseBlock(family === 0 ? entry : `${entry}/${family === 4 ? 32 : 128}`);
}

function list<Item>(name: string, value: readonly Item[]): readonly Item[] {
	if (!Array.isArray(value)) {
		throw expected(name, 'to be a list', value);
	}

	return value as readonly Item[];
}

function no(name: string, expectation: string, value: unknown): never {
	throw new TypeError(`Expected each entry of option \`${name}\` to look ${expectation}, but got ${inspect(value, {depth: 0})}.`);
}

function expected(name: string, expectation: string, value: unknown): TypeError {
	return new TypeError(`Expected option \`${name}\` ${expectation}, but got ${inspect(value, {depth: 0})}.`);
}
