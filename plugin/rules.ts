import {isIP} from 'node:net';
import {canonical, parseBlock, specialRange, withEmbedded, type Block} from './addresses.ts';
import {isNamed, parsePattern, type Target} from './authority.ts';

/**
One line of a list of rules. The first rule that matches a target decides.
*/
export type Rule = {
	/**
	Hosts: names, `*.example.com`, `*`, addresses, or blocks of addresses such as `10.0.0.0/8`.
	*/
	readonly allow: string | readonly string[];

	/**
	Ports, such as `443`, `'8000-8999'` or `'*'` for all.

	@default 443
	*/
	readonly ports?: Ports;
} | {
	/**
	Hosts that are denied, written in the same way.
	*/
	readonly deny: string | readonly string[];

	/**
	Ports, in the same way.

	@default '*'
	*/
	readonly ports?: Ports;
};

/**
One port from 1 to 65,535, a range such as `'8000-8999'`, several with commas, `'*'`, or a list of these.
*/
export type Ports = number | string | ReadonlyArray<number | string>;

export type Verdict = 'allowed' | 'denied' | 'prohibited';

type CheckedRule = {
	readonly isAllowed: boolean;

	/**
	Whether it names its target so exactly that it can mean an address that is not public.
	*/
	readonly isExplicit: boolean;

	/**
	Whether the rule matches this target, as far as this can be said without an address where there is none yet.
	*/
	matches(target: Target, address: string | undefined): boolean;
};

/**
An ordered list of rules about names and addresses. What none of them matches is denied.
*/
export class Rules {
	readonly #rules: readonly CheckedRule[];

	constructor(rules: readonly CheckedRule[]) {
		this.#rules = rules;
	}

	/**
	Whether the target may turn out to be allowed. If not, nobody has to look it up.
	*/
	mayAllow(target: Target): boolean {
		const address = isIP(target.host) === 0 ? undefined : target.host;
		return address === undefined
			? this.#rules.find(rule => rule.matches(target, undefined))?.isAllowed ?? false
			: this.verdict(target, address) !== 'denied';
	}

	/**
	Whether the target may be dialled at this address. `prohibited` if it is allowed by its name, but the address is not a public one, and no rule names it.
	*/
	verdict(target: Target, address: string): Verdict {
		const isPublic = specialRange(address) === undefined;
		let otherwise: Verdict = 'denied';
		for (const rule of this.#rules) {
			if (!rule.matches(target, address)) {
				continue;
			}

			if (!rule.isAllowed) {
				return 'denied';
			}

			if (isPublic || rule.isExplicit) {
				return 'allowed';
			}

			// A wildcard means the public internet. A later rule may still name the address.
			otherwise = 'prohibited';
		}

		return otherwise;
	}

	/**
	Whether a rule denies the address, or the target by its name where there is no address.
	*/
	denies(target: Target, address?: string): boolean {
		return this.#rules.some(rule => !rule.isAllowed && rule.matches(target, address));
	}
}

/**
The rules of the option `allow`. `undefined` if the entry is none.
*/
export function parseAllow(entry: unknown): readonly CheckedRule[] | undefined {
	if (typeof entry === 'string') {
		// Names need a port here, so that nobody forgets that there are others.
		return parseHost(entry, {isAllowed: true, portsByDefault: entry.includes('/') ? '443' : undefined});
	}

	if (typeof entry !== 'object' || entry === null) {
		return undefined;
	}

	const {allow, deny, ports} = entry as {readonly allow?: unknown; readonly deny?: unknown; readonly ports?: unknown};
	const isAllowed = deny === undefined;
	const hosts = isAllowed ? allow : deny;
	const portsByDefault = ports === undefined ? (isAllowed ? '443' : '*') : notationOf(ports);
	return (allow === undefined) === (deny === undefined) || portsByDefault === undefined ? undefined
		: flatten((Array.isArray(hosts) ? hosts : [hosts]).map(host => parseHost(host, {isAllowed, portsByDefault, isFixed: ports !== undefined})));
}

/**
The same for the option `deny`.
*/
export function parseDeny(entry: unknown): readonly CheckedRule[] | undefined {
	return parseHost(entry, {isAllowed: false, portsByDefault: '*'});
}

type HostOptions = {
	readonly isAllowed: boolean;
	readonly portsByDefault: string | undefined;

	/**
	Whether the ports have been given apart, so that the host must have none.
	*/
	readonly isFixed?: boolean;
};

function parseHost(entry: unknown, {isAllowed, portsByDefault, isFixed = false}: HostOptions): readonly CheckedRule[] | undefined {
	if (typeof entry !== 'string') {
		return undefined;
	}

	const {host, ports: given} = split(entry);
	const ports = parsePorts(given ?? portsByDefault ?? '');
	if (ports === undefined || (isFixed && given !== undefined)) {
		return undefined;
	}

	const hasPort = ({port}: Target) => ports.some(([first, last]) => port >= first && port <= last);
	const block = parseBlock(host);
	if (block) {
		return [ofBlock(block, isAllowed, hasPort)];
	}

	const pattern = parsePattern(`${isIP(host) === 6 ? `[${host}]` : host}:*`);
	if (!pattern) {
		return undefined;
	}

	// What is denied as an address is denied under its other names too.
	const denied = !isAllowed && isIP(pattern.host) !== 0 ? canonical(pattern.host) : undefined;
	return [{
		isAllowed,
		isExplicit: pattern.host !== '*' && !pattern.host.startsWith('.'),
		matches: (target, address) => hasPort(target)
			&& (isNamed(target, [pattern]) || (denied !== undefined && address !== undefined && withEmbedded(address).some(one => canonical(one) === denied))),
	}];
}

function ofBlock(block: Block, isAllowed: boolean, hasPort: (target: Target) => boolean): CheckedRule {
	return {
		isAllowed,
		isExplicit: !block.isEverything,
		// Before the name was looked up: it may turn out to be allowed, and has not turned out to be denied.
		matches: (target, address) => hasPort(target) && (address === undefined ? isAllowed : (isAllowed ? block.covers(address) : block.touches(address))),
	};
}

// `host:ports`, `[address]:ports`, `block:ports` and `[block]:ports`, or without ports.
function split(entry: string): {readonly host: string; readonly ports?: string} {
	const match = /^\[(?<address>[^\]]*)](?<prefix>\/\d+)?(?::(?<ports>.*))?$/.exec(entry)
		?? /^(?<address>.*\/\d+)(?::(?<ports>.*))?$/.exec(entry)
		?? (isIP(entry) === 6 || !entry.includes(':') ? undefined : /^(?<address>.*):(?<ports>.*)$/.exec(entry));
	if (!match) {
		return {host: entry};
	}

	const {address, prefix = '', ports} = match.groups!;
	return {host: `${isIP(address!) === 4 && entry.startsWith('[') ? '' : address!}${prefix}`, ...(ports !== undefined && {ports})};
}

function notationOf(ports: unknown): string | undefined {
	const list = Array.isArray(ports) ? ports : [ports];
	return list.length > 0 && list.every(item => typeof item === 'number' || typeof item === 'string') ? list.join(',') : undefined;
}

function parsePorts(notation: string): ReadonlyArray<readonly [number, number]> | undefined {
	if (notation === '*') {
		return [[1, 65_535]];
	}

	const ranges = notation.split(',').map(item => {
		const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(item) ?? [];
		return [Number(first), Number(last)] as const;
	});
	return ranges.every(([first, last]) => first >= 1 && first <= last && last <= 65_535) ? ranges : undefined;
}

function flatten<Item>(lists: ReadonlyArray<readonly Item[] | undefined>): readonly Item[] | undefined {
	return lists.includes(undefined) ? undefined : lists.flatMap(list => list!);
}
