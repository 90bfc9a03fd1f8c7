import process from 'node:process';
import {capabilities, findMaps} from '../engine.ts';
import {parseArguments} from './arguments.ts';
import {type Command, exitCodes} from './command.ts';
import {examine, type Finding} from './findings.ts';

const settings = {
	'pin-path': {type: 'string', value: 'DIR', about: 'The pinned maps to try, as the option `pinPath` of a proxy'},
	json: {type: 'boolean', about: 'Print one JSON object instead of lines'},
} as const;

export const doctor: Command = {
	name: 'doctor',
	summary: 'Tries everything, and says what works, what does not, and what would fix it',
	help: `
Run it as the user, and in the container or unit, that the proxy is going to run
in: what is permitted depends on that. Each engine carries bytes of its own over
loopback, nothing is judged by version numbers.

Each line begins with "ok", with "no", followed by what would fix it, or with "--"
for what is neither good nor bad. The last line is the engine that a proxy would get.

Exit codes: 0 the sockmap engine is available, 1 it is not, 2 usage.

Examples:
  $ npx http-proxy-sockmap doctor
  $ sudo -u www-data npx http-proxy-sockmap doctor
  $ npx http-proxy-sockmap doctor --json | jq .engine
  $ systemd-run --pipe -p DynamicUser=yes \\
      -p AmbientCapabilities="CAP_BPF CAP_NET_ADMIN CAP_PERFMON" \\
      npx http-proxy-sockmap doctor
`,
	settings,
	async run(given) {
		const {json = false, 'pin-path': pinPath} = parseArguments(settings, given);
		const findings = examine(pinPath);
		const available = capabilities(pinPath === undefined ? {} : {pinPath});
		const engine = available.sockmap.available ? 'sockmap' : (available.splice.available ? 'splice' : 'stream');
		const {pins} = findMaps(pinPath);
		if (json) {
			process.stdout.write(`${JSON.stringify({engine, ...(engine === 'sockmap' && pins !== undefined && {pins}), capabilities: available, findings}, undefined, '\t')}\n`);
		} else {
			const where = pins === undefined ? '' : `, with the maps pinned in ${pins}`;
			process.stdout.write(`${findings.map(finding => describe(finding)).join('')}\nA proxy would get the engine ${engine}${engine === 'sockmap' ? where : ''}.\n`);
		}

		return engine === 'sockmap' ? exitCodes.ok : exitCodes.failed;
	},
};

function describe({name, status, detail, code, errno, syscall, fixes = []}: Finding): string {
	const error = [code, errno, syscall].filter(part => part !== undefined && part !== '').join(' ');
	const first = `${marks[status]}  ${name.padEnd(width)}  ${error && !detail.includes(code!) ? `${error}: ` : ''}${detail}\n`;
	return first + fixes.map(fix => `${' '.repeat(width + 6)}${fix.for}: ${fix.text}\n`).join('');
}

const marks = {ok: 'ok', no: 'no', info: '--'} as const;
const width = 24;
