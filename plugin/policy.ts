import {isIP} from 'node:net';
import {specialRange, withEmbedded} from './addresses.ts';
import {type Target} from './authority.ts';
import {type Rules, type Verdict} from './rules.ts';

/**
Where clients may go, once it is known what a name turned out to be. What may be asked for at all is up to `allow`.
*/
export type Policy = {
	denies(target: Target): boolean;
	verdict(target: Target, address: string): Verdict;
};

/**
What is denied is denied, whatever is allowed. `allowed` is `undefined` where a function allows.
*/
export function policyOf(allowed: Rules | undefined, denied: Rules): Policy {
	return {
		denies: target => denied.denies(target),
		verdict(target, address) {
			return denied.denies(target, address) ? 'denied' : (allowed ? allowed.verdict(target, address) : approved(target, address));
		},
	};
}

// A function has seen an address that the client asked for, but neither what a name turns out to be, nor the IPv4 address inside of an IPv6 address. And nobody means link-local addresses by saying yes to everything.
function approved({host}: Target, address: string): Verdict {
	const range = specialRange(address);
	return range === undefined || (isIP(host) !== 0 && host === address && plainRanges.has(range) && withEmbedded(host).length === 1) ? 'allowed' : 'prohibited';
}

const plainRanges: ReadonlySet<string> = new Set(['loopback', 'private', 'CGNAT']);
