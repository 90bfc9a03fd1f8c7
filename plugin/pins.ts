import {existsSync} from 'node:fs';
import {userInfo} from 'node:os';
import {join} from 'node:path';
import process from 'node:process';

/**
Where the maps are pinned that this process has been told to use: by the option `pinPath`, or by the environment.
*/
export function namedPins(pinPath?: string): string | undefined {
	return pinPath ?? (process.env.HTTP_PROXY_SOCKMAP_PINS || undefined); // eslint-disable-line @typescript-eslint/prefer-nullish-coalescing -- An empty one is none.
}

/**
Where `http-proxy-sockmap setup` pins maps for a user if it is not told otherwise.
*/
export function defaultPins(uid: number): string {
	return join('/run/http-proxy-sockmap', String(uid));
}

/**
That of our own user, if it is there.
*/
export function foundPins(): string | undefined {
	const uid = process.geteuid?.();
	const path = uid === undefined ? undefined : defaultPins(uid);
	return path !== undefined && existsSync(path) ? path : undefined;
}

/**
The command that would pin maps for this process.
*/
export function setUpCommand(path?: string): string {
	const uid = process.geteuid?.();
	const isDefault = path === undefined || (uid !== undefined && path === defaultPins(uid));
	return `sudo npx http-proxy-sockmap setup --user ${userName()}${isDefault ? '' : ` --path ${path}`}`;
}

// In a container, a user often has a number only.
function userName(): string {
	try {
		return userInfo().username;
	} catch {
		return String(process.geteuid?.() ?? 'NAME');
	}
}
