import {BlockList, isIPv4, isIPv6, SocketAddress} from 'node:net';

/**
What an address is for, if not for hosts on the public internet.

@see https://www.iana.org/assignments/iana-ipv4-special-registry and https://www.iana.org/assignments/iana-ipv6-special-registry
*/
export type SpecialRange =
	| 'benchmarking' | 'broadcast' | 'CGNAT' | 'documentation' | 'link-local' | 'loopback' | 'metadata' | 'multicast' | 'private' | 'reserved' | 'unspecified';

/**
What the address is for, or the IPv4 address inside it. `undefined` if it is a public one; what is no address at all is `reserved`.
*/
export function specialRange(address: string): SpecialRange | undefined {
	if (isIPv4(address)) {
		return rangeOf(address, 'ipv4');
	}

	const groups = isIPv6(address) ? groupsOf(address) : undefined;
	if (groups === undefined) {
		return 'reserved';
	}

	const embedded = embeddedIn(groups);
	if (embedded.length > 0) {
		// An address of NAT64, 6to4 or Teredo is as public as what it leads to.
		return firstDefined(embedded, specialRange) ?? rangeOf(address, 'ipv6');
	}

	// What has not been handed out yet (2000::/3 is) may become anything.
	return rangeOf(address, 'ipv6') ?? (groups[0]! >> 13 === 1 ? undefined : 'reserved'); // eslint-disable-line no-bitwise
}

/**
The address, and the IPv4 addresses inside it: IPv4-mapped and -compatible addresses, NAT64, 6to4, Teredo and ISATAP lead to them.
*/
export function withEmbedded(address: string): readonly string[] {
	return isIPv6(address) ? [address, ...embeddedIn(groupsOf(address))] : [address];
}

/**
A block of addresses, such as `10.0.0.0/8`.
*/
export type Block = {
	readonly isEverything: boolean;

	/**
	Whether the address itself is in it, as itself or IPv4-mapped.
	*/
	has(address: string): boolean;

	/**
	Whether the address or one inside it is: enough to refuse.
	*/
	touches(address: string): boolean;

	/**
	Whether the address is, and leads nowhere else but to the public internet: enough to allow.
	*/
	covers(address: string): boolean;
};

export function parseBlock(notation: string): Block | undefined {
	const [, base, digits] = /^([^/]+)\/(\d{1,3})$/.exec(notation) ?? [];
	const family = familyOf(base ?? '');
	const prefix = Number(digits);
	if (base === undefined || family === undefined || base.includes('%') || prefix > (family === 'ipv4' ? 32 : 128)) {
		return undefined;
	}

	const list = new BlockList();
	list.addSubnet(base, prefix, family);
	const has = (address: string) => [...new Set([address, canonical(address)])].some(one => list.check(one, familyOf(one)));
	return {
		isEverything: prefix === 0,
		has,
		touches: address => withEmbedded(address).some(one => has(one)),
		covers(address) {
			const [, ...embedded] = withEmbedded(address);
			return has(address)
				? embedded.every(one => has(one) || specialRange(one) === undefined)
				: embedded.length > 0 && embedded.every(one => has(one));
		},
	};
}

export function familyOf(address: string): 'ipv4' | 'ipv6' | undefined {
	if (isIPv4(address)) {
		return 'ipv4';
	}

	return isIPv6(address) ? 'ipv6' : undefined;
}

/**
The form in which two spellings of one address are equal. An IPv4-mapped address is the IPv4 address: that is where the kernel connects to.
*/
export function canonical(address: string): string {
	if (!address.includes(':') || !isIPv6(address)) {
		return address;
	}

	const groups = groupsOf(address);
	return startsWith(groups, [0, 0, 0, 0, 0, 0xFF_FF]) ? ipv4(groups[6]!, groups[7]!) : groups.map(group => group.toString(16)).join(':');
}

function rangeOf(address: string, family: 'ipv4' | 'ipv6'): SpecialRange | undefined {
	if (!known.has(address)) {
		if (known.size === mostKnown) {
			known.clear();
		}

		const parsed = new SocketAddress({address, family}); // Once for all lists, which would do it each.
		known.set(address, firstDefined(ranges, ([range, list]) => list.check(parsed) ? range : undefined));
	}

	return known.get(address);
}

function embeddedIn(groups: readonly number[]): string[] {
	const last = () => [ipv4(groups[6]!, groups[7]!)];
	if (startsWith(groups, [0, 0, 0, 0, 0, 0])) {
		return groups[6] === 0 && groups[7]! <= 1 ? [] : last(); // Neither `::` nor `::1`.
	}

	if (startsWith(groups, [0, 0, 0, 0, 0, 0xFF_FF]) || startsWith(groups, [0, 0, 0, 0, 0xFF_FF, 0]) || startsWith(groups, [0x64, 0xFF_9B, 0, 0, 0, 0])) {
		return last();
	}

	if (groups[0] === 0x20_02) {
		return [ipv4(groups[1]!, groups[2]!)];
	}

	if (startsWith(groups, [0x20_01, 0])) { // The server, and the client with all bits inverted.
		return [ipv4(groups[2]!, groups[3]!), ipv4(0xFF_FF - groups[6]!, 0xFF_FF - groups[7]!)];
	}

	return groups[5] === 0x5E_FE && (groups[4] === 0 || groups[4] === 0x2_00) ? last() : [];
}

function groupsOf(address: string): number[] {
	const [withoutZone] = address.split('%') as [string];
	const [before, after] = new URL(`http://[${withoutZone}]`).hostname.slice(1, -1).split('::').map(half => half === '' ? [] : half.split(':'));
	const missing = after === undefined ? 0 : 8 - before!.length - after.length;
	return [...before!, ...Array.from({length: missing}, () => '0'), ...(after ?? [])].map(group => Number.parseInt(group, 16));
}

function ipv4(high: number, low: number): string {
	return [high, low].map(group => `${Math.floor(group / 256)}.${group % 256}`).join('.');
}

function startsWith(groups: readonly number[], prefix: readonly number[]): boolean {
	return prefix.every((group, index) => groups[index] === group);
}

function firstDefined<Item, Result>(items: Iterable<Item>, find: (item: Item) => Result | undefined): Result | undefined {
	for (const item of items) {
		const found = find(item);
		if (found !== undefined) {
			return found;
		}
	}

	return undefined;
}

function listOf(subnets: string): BlockList {
	const list = new BlockList();
	for (const subnet of subnets.split(' ')) {
		const [base, prefix] = subnet.split('/') as [string, string];
		list.addSubnet(base, Number(prefix), familyOf(base));
	}

	return list;
}

// The narrower ones first. Where a cloud keeps the credentials of its machines: most of them link-local, Alibaba's and Oracle's not, Azure's in public space.
const ranges: ReadonlyArray<readonly [SpecialRange, BlockList]> = [
	['metadata', listOf('169.254.169.254/32 169.254.170.2/32 169.254.170.23/32 100.100.100.200/32 192.0.0.192/32 168.63.129.16/32 fd00:ec2::254/128 fd00:ec2::23/128 fd20:ce::254/128')],
	['loopback', listOf('127.0.0.0/8 ::1/128')],
	['unspecified', listOf('0.0.0.0/8 ::/128')],
	['private', listOf('10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10 64:ff9b:1::/48')],
	['link-local', listOf('169.254.0.0/16 fe80::/10')],
	['CGNAT', listOf('100.64.0.0/10')],
	['broadcast', listOf('255.255.255.255/32')],
	['multicast', listOf('224.0.0.0/4 ff00::/8')],
	['documentation', listOf('192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20')],
	['benchmarking', listOf('198.18.0.0/15 2001:2::/48')],
	['reserved', listOf('192.0.0.0/24 192.88.99.0/24 240.0.0.0/4 100::/64 2001:10::/28 2001:20::/28 5f00::/16')],
];

// A proxy dials the same addresses again and again, and looking through the lists takes longer than the rest of a verdict.
const known = new Map<string, SpecialRange | undefined>();
const mostKnown = 1000;
