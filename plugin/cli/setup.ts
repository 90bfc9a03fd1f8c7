import {execFileSync} from 'node:child_process';
import {resolve} from 'node:path';
import process from 'node:process';
import {defaultPins} from '../pins.ts';
import {parseArguments} from './arguments.ts';
import {type Command, exitCodes, Failure, UsageError} from './command.ts';
import {pinMaps, removePins} from './pinning.ts';
import {unit} from './unit.ts';

const settings = {
	user: {type: 'string', value: 'NAME', about: 'Whose processes may use the maps: a name or a number'},
	path: {type: 'string', value: 'DIR', about: 'Where to pin them (default: /run/http-proxy-sockmap/<uid>)'},
	slots: {type: 'integer', value: 'N', minimum: 1, maximum: 4096, about: 'How many processes can use them at once (default: 16)'},
	tunnels: {type: 'integer', value: 'N', minimum: 1, maximum: 1_048_576, about: 'How many tunnels each process can have in them (default: 4096)'},
	remove: {type: 'boolean', about: 'Unmount and remove what setup has made'},
	systemd: {type: 'boolean', about: 'Print a systemd unit that does this at boot, and do nothing'},
} as const;

export const setup: Command = {
	name: 'setup',
	summary: 'Pins maps for a user whose processes then need no capability (root, once after each boot)',
	help: `
Mounts a BPF file system of its own, loads the program, and pins maps that
belong to the user. From Linux 5.19 on, the processes of that user can then use
the sockmap engine without any capability. They find the maps by themselves in
the default directory, elsewhere by the option \`pinPath\` or the environment
variable HTTP_PROXY_SOCKMAP_PINS.

What is there already and fits is left alone; what does not fit is replaced.
Processes that use maps which are replaced or removed keep theirs.

Whoever can open the maps can redirect every connection in them: give each
user a set of its own. It takes about 400 bytes of kernel memory per tunnel,
in all slots together, whether used or not.

Examples:
  $ sudo npx http-proxy-sockmap setup --user www-data
  $ sudo npx http-proxy-sockmap setup --user www-data --slots 4 --tunnels 20000
  $ sudo npx http-proxy-sockmap setup --user www-data --remove
  $ npx http-proxy-sockmap setup --user www-data --systemd |
      sudo tee /etc/systemd/system/http-proxy-sockmap.service
  $ sudo systemctl enable --now http-proxy-sockmap
`,
	settings,
	async run(given) {
		const {user, path, slots = 16, tunnels = 4096, remove = false, systemd = false} = parseArguments(settings, given);
		if (user === undefined && (path === undefined || !remove)) {
			throw new UsageError(remove ? 'Say what to remove, by --user NAME or --path DIR.' : 'Say whose processes may use the maps, by --user NAME.');
		}

		if (slots * tunnels > maximumTunnels) {
			throw new UsageError(`Expected --slots times --tunnels to be at most ${maximumTunnels}, but got ${slots * tunnels}.`);
		}

		if (systemd) {
			process.stdout.write(unit(user!, given.filter(argument => argument !== '--systemd')));
			return exitCodes.ok;
		}

		if (process.platform !== 'linux') {
			throw new Failure('There is nothing to set up here: the sockmap engine works on Linux only.');
		}

		if (process.geteuid!() !== 0) {
			throw new Failure(`Only root can do this. Run \`sudo npx http-proxy-sockmap setup ${given.join(' ')}\`.`);
		}

		const owner = user === undefined ? undefined : resolveUser(user);
		const directory = path === undefined ? defaultPins(owner!.uid) : resolve(path);
		if (remove) {
			process.stdout.write(removePins(directory) ? `Removed ${directory}.\n` : `There is nothing in ${directory}.\n`);
			return exitCodes.ok;
		}

		// That of root may be a strict one, and the user has to get to the maps.
		process.umask(0o022);
		const pinned = pinMaps(directory, {slots, tunnels, user: owner!.uid, group: owner!.gid});
		process.stdout.write(`${pinned === 'kept' ? 'The maps are there already' : 'Pinned maps'} in ${directory}, for up to ${slots} processes of ${user!} with ${tunnels} tunnels each.\n`);
		if (directory !== defaultPins(owner!.uid)) {
			process.stdout.write(`Start them with HTTP_PROXY_SOCKMAP_PINS=${directory} in the environment.\n`);
		}

		return exitCodes.ok;
	},
};

function resolveUser(user: string): {readonly uid: number; readonly gid: number} {
	try {
		return {uid: askId('-u', user), gid: askId('-g', user)};
	} catch (error) {
		// In containers users often have no name, and nothing but a number.
		if (/^\d{1,9}$/.test(user)) {
			return {uid: Number(user), gid: Number(user)};
		}

		throw new Failure(`There is no user ${user}: ${(error as Error).message.split('\n').at(1) ?? (error as Error).message}`);
	}
}

// Users can come from elsewhere than /etc/passwd, and `id` knows from where.
function askId(which: '-u' | '-g', user: string): number {
	return Number(execFileSync('id', [which, '--', user], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']}));
}

const maximumTunnels = 4_194_304;
