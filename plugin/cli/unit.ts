import process from 'node:process';
import {realpathSync} from 'node:fs';
import {fileURLToPath} from 'node:url';

/**
A systemd unit that runs `setup` at boot with the same arguments.
*/
export function unit(user: string, given: readonly string[]): string {
	const command = [process.execPath, realpathSync(fileURLToPath(new URL(mainFile, import.meta.url))), 'setup', ...given].map(argument => quote(argument)).join(' ');
	return `# Pins the maps of http-proxy-sockmap for ${user}. Order your proxy behind it:
#   [Unit]
#   Requires=http-proxy-sockmap.service
#   After=http-proxy-sockmap.service
[Unit]
Description=Pinned maps of http-proxy-sockmap for ${user.replaceAll('%', '%%')}
After=local-fs.target nss-user-lookup.target
Before=multi-user.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${command}
ExecStop=${command} --remove

[Install]
WantedBy=multi-user.target
`;
}

/**
@see https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html#Command%20lines
*/
function quote(argument: string): string {
	const escaped = argument.replaceAll('%', '%%').replaceAll('$', '$$$$').replaceAll('\\', String.raw`\\`).replaceAll('"', String.raw`\"`);
	return /^[\w@%+=:,./-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

// What runs now: TypeScript in a checkout, JavaScript in a package.
const mainFile = import.meta.url.endsWith('.ts') ? 'main.ts' : 'main.js';
