import dns, {type LookupAddress, type LookupAllOptions} from 'node:dns';
import {isIP} from 'node:net';
import {Rejection} from './answer.ts';
import {canonical, familyOf} from './addresses.ts';
import {formatTarget, type Target} from './authority.ts';

/**
Looks up all addresses of a name, as `dns.lookup()` with the option `all` does. After an error the client is answered with 502, or 503 where descriptors are exhausted.
*/
export type Lookup = (hostname: string, options: LookupAllOptions, callback: (error: Error | null, addresses: readonly LookupAddress[]) => void) => void; // eslint-disable-line @typescript-eslint/no-restricted-types

/**
Every address of the target, in the order in which they are to be tried.
*/
export async function resolve(target: Target, lookup: Lookup = dns.lookup): Promise<readonly string[]> {
	const {host} = target;
	if (isIP(host) !== 0) {
		return [canonicalOf(host)];
	}

	return new Promise((resolve, reject) => {
		const fail = ({code = '', message}: NodeJS.ErrnoException) => {
			const sentence = `Could not connect to ${formatTarget(target)}: ${reasons[code] ?? message}${code === '' ? '' : ` (${code})`}.`;
			reject(new Rejection(exhausted.has(code) ? 503 : 502, sentence, {
				error: exhausted.has(code) ? 'connection_limit_reached' : 'dns_error',
				...(rcodes[code] && {parameters: {rcode: rcodes[code]}}),
			}));
		};

		try {
			// eslint-disable-next-line n/prefer-promises/dns -- Whoever looks up in its place has this form.
			lookup(host, {all: true}, (error, addresses) => {
				// Whoever looks up in our place may have forgotten `all`, or have found nothing.
				const found = (Array.isArray(addresses) ? addresses as readonly LookupAddress[] : [{address: addresses as unknown as string}])
					.map(({address}) => address)
					.filter(address => familyOf(address ?? '') !== undefined);
				if (error) {
					fail(error);
				} else if (found.length === 0) {
					fail(Object.assign(new Error('it has no address'), {code: 'ENODATA'}));
				} else {
					resolve([...new Set(found.map(address => canonicalOf(address)))]);
				}
			});
		} catch (error) {
			fail(error as Error);
		}
	});
}

// The kernel takes an IPv4-mapped address for the IPv4 address inside it. So do the rules then.
function canonicalOf(address: string): string {
	const other = canonical(address);
	return isIP(other) === 4 ? other : address;
}

const exhausted = new Set(['EMFILE', 'ENFILE']);

const reasons: Readonly<Record<string, string>> = {
	ENOTFOUND: 'there is no such host',
	ENODATA: 'it has no address',
	EAI_AGAIN: 'its name could not be looked up for now',
};

// Those that RFC 8499 knows. The resolver of the system does not tell more.
const rcodes: Readonly<Record<string, string>> = {
	ENOTFOUND: 'NXDOMAIN',
	ENODATA: 'NOERROR',
	EAI_AGAIN: 'SERVFAIL',
	ESERVFAIL: 'SERVFAIL',
	EREFUSED: 'REFUSED',
};
