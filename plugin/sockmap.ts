import {inspect} from 'node:util';
import {attach, type ProxyLike} from './attach.ts';
import {type Options} from './options.ts';
import {Tunnels} from './tunnels.ts';

/**
Carries the tunnels of a proxy outside of JavaScript where the kernel lets us.

Give it a proxy to carry the WebSockets that come through it from here on, or leave the proxy out to use `connect()` and `splice()` only. Called again with the same proxy, it returns what it returned before, unless that was closed or detached.

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
