import {inspect} from 'node:util';
import {attach, type ProxyLike} from './attach.ts';
import {type Options} from './options.ts';
import {Tunnels} from './tunnels.ts';

/**
Carries the tunnels of a proxy outside of JavaScript where the kernel lets us.

Give it a proxy to carry the WebSockets that come through it from here on, or leave the proxy out to use `connect()` and `splice()` only. Called again with the same proxy, it returns what it returned before, unless that was closed or detached.

@throws {TypeError} `proxy` is none, or an option has a value that it cannot have. The message names the option and the value.
@throws {SockmapError} The `engine` that was asked for is not available, or `maxRate` was given and there is no addon. It has the kernel's `code`, `errno` and `syscall` if a system call was refused, and the code `ERR_SOCKMAP_UNAVAILABLE` otherwise.
@see https://www.rfc-editor.org/rfc/rfc6455 WebSocket, and https://www.rfc-editor.org/rfc/rfc9110#section-7.8 the upgrade that makes a tunnel

@example
```
import httpProxy from 'http-proxy';
import {sockmap} from 'http-proxy-sockmap';

const proxy = httpProxy.createProxyServer({target: 'http://127.0.0.1:9000'});
const tunnels = sockmap(proxy);
```
*/
export function sockmap(proxy?: ProxyLike, options?: Options): Tunnels {
	if (proxy === undefined) {
		return new Tunnels(options);
	}

	if (typeof proxy?.on !== 'function' || typeof proxy.off !== 'function') {
		throw new TypeError(`Expected \`proxy\` to be a proxy server of http-proxy or a relative of it, but got ${inspect(proxy, {depth: 0})}.`);
	}

	const before = attached.get(proxy);
	if (before) {
		return before;
	}

	const tunnels = new Tunnels(options, how => {
		const detach = attach(proxy, how);
		return () => {
			detach();
			attached.delete(proxy);
		};
	});
	attached.set(proxy, tunnels);
	return tunnels;
}

const attached = new WeakMap<ProxyLike, Tunnels>();
