import {isIPv4, isIPv6} from 'node:net';
import {inspect} from 'node:util';

/**
Where a CONNECT request wants to go.
*/
export type Target = {
	/**
	A name in lower case without the final dot, an IPv4 address, or an IPv6 address in its shortest form and without brackets.
	*/
	readonly host: string;

	/**
	From 1 to 65,535.
	*/
	readonly port: number;
};

/**
Parses the authority-form of a request target: `host:port`, or `[address]:port` for IPv6. `undefined` for anything else.

@see https://www.rfc-editor.org/rfc/rfc9112#name-authority-form
*/
export function parseAuthority(authority: string): Target | undefined {
	const {rawHost, rawPort} = split(authority);
	const host = rawHost === undefined ? undefined : parseHost(rawHost);
	const port = rawPort === undefined ? undefined : parsePort(rawPort);
	return host === undefined || port === undefined ? undefined : {host, port};
}

/**
Whether one of the patterns names the target. See `allow` in the options.
*/
export function isNamed(target: Target, patterns: readonly Pattern[]): boolean {
	return patterns.some(({host, port}) => (port === '*' || port === target.port) && hostMatches(host, target.host));
}

/**
A parsed `host:port` pattern. A host that starts with a dot stands for all names below it.
*/
export type Pattern = {
	readonly host: string;
	readonly port: number | '*';
};

export function parsePattern(pattern: string): Pattern | undefined {
	const {rawHost, rawPort} = split(pattern);
	const port = rawPort === '*' ? '*' : parsePort(rawPort ?? '');
	const host = rawHost === undefined ? undefined : parseHostPattern(rawHost);
	return host === undefined || port === undefined ? undefined : {host, port};
}

export function formatTarget({host, port}: Target): string {
	return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
A request target as it can be told and logged: not too long, and without the credentials that some have in it.
*/
export function showUrl(url = ''): string {
	return inspect(url.slice(0, 300).replace(/^([a-z]+:\/\/)?.*@/i, '$1…@'));
}

function parseHostPattern(host: string): string | undefined {
	if (host === '*') {
		return host;
	}

	if (host.startsWith('*.')) {
		const domain = parseHost(host.slice(2));
		return domain === undefined || isIPv4(domain) || isIPv6(domain) ? undefined : `.${domain}`;
	}

	return parseHost(host);
}

function hostMatches(pattern: string, host: string): boolean {
	if (pattern === '*') {
		return true;
	}

	return pattern.startsWith('.') ? host.endsWith(pattern) : host === pattern;
}

// The port is what follows the last colon, so that `[::1]:443` needs no case of its own.
function split(authority: string): {rawHost?: string; rawPort?: string} {
	const colon = authority.lastIndexOf(':');
	return colon === -1 ? {} : {rawHost: authority.slice(0, colon), rawPort: authority.slice(colon + 1)};
}

function parsePort(digits: string): number | undefined {
	if (!/^\d{1,5}$/.test(digits)) {
		return undefined;
	}

	const port = Number(digits);
	return port >= 1 && port <= 65_535 ? port : undefined;
}

function parseHost(host: string): string | undefined {
	if (host.startsWith('[') && host.endsWith(']')) {
		return normalizeIpv6(host.slice(1, -1));
	}

	const name = (host.endsWith('.') ? host.slice(0, -1) : host).toLowerCase();
	if (isIPv4(name)) {
		return name;
	}

	// The resolver takes `127.1`, `0x7f.1` and `2130706433` for addresses. A policy would take them for names.
	return name.length <= 253 && namePattern.test(name) && !numericEndPattern.test(name) ? name : undefined;
}

// A zone (`fe80::1%eth0`) names an interface of this machine, which is no business of a client.
function normalizeIpv6(address: string): string | undefined {
	return isIPv6(address) && !address.includes('%') ? new URL(`http://[${address}]`).hostname.slice(1, -1) : undefined;
}

// Underscores are not in the grammar of host names, and in use.
const label = String.raw`[a-z\d_](?:[a-z\d_-]{0,61}[a-z\d_])?`;
const namePattern = new RegExp(String.raw`^${label}(?:\.${label})*$`);
const numericEndPattern = /(?:^|\.)(?:\d+|0x[\da-f]*)$/;
