import {spawnSync} from 'node:child_process';
import type {Unprivileged} from './unprivileged.ts';

/** The capabilities that sockmap needs for maps of its own. */
export const needed = ['bpf', 'net_admin', 'perfmon'] as const;

/** Forked by way of a launcher, which has to become Node in the end. */
export type Launched = Unprivileged & {readonly launcher: readonly string[]};

/** The same program as nobody, but with these capabilities as ambient ones, and no others. */
export function withAmbient(nobody: Unprivileged, capabilities: readonly string[], uid = 65_534): Launched {
	const added = capabilities.map(name => `,+${name}`).join('');
	return launchedBy(nobody, [
		'setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', `--inh-caps=-all${added}`, `--ambient-caps=-all${added}`,
	]);
}

/** The same program as we are, but with a seccomp filter that answers bpf(2) with EPERM, as container runtimes do. */
export function withoutBpf(nobody: Unprivileged): Launched {
	return launchedBy(nobody, ['python3', '-c', filterBpf]);
}

function launchedBy({options: {cwd, execPath}, ...rest}: Unprivileged, [file, ...given]: readonly string[]): Launched {
	const options = {cwd, execPath: file!, execArgv: [...given, execPath, '--import=tsx']};
	return {...rest, options, launcher: [file!, ...given, execPath]};
}

/** Whether a command is there to be run. */
export function isInstalled(command: string, ...given: readonly string[]): boolean {
	return spawnSync(command, given, {stdio: 'ignore'}).error === undefined;
}

// The numbers of bpf(2) and of the architecture, as the filter sees them. Everything else is allowed.
const filterBpf = `
import ctypes, os, struct, sys
arch, bpf = {'x86_64': (0xc000003e, 321), 'aarch64': (0xc00000b7, 280)}[os.uname().machine]
def instruction(code, jt, jf, k): return struct.pack('HBBI', code, jt, jf, k)
code = (
	instruction(0x20, 0, 0, 4) + instruction(0x15, 0, 3, arch) +
	instruction(0x20, 0, 0, 0) + instruction(0x15, 0, 1, bpf) +
	instruction(0x06, 0, 0, 0x00050001) + instruction(0x06, 0, 0, 0x7fff0000))
buffer = ctypes.create_string_buffer(code)
program = struct.pack('HL', len(code) // 8, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program): sys.exit('no seccomp: ' + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
`;
