// Builds prebuilds/*.node, which the package carries so that nobody has to compile anything: for each pair of processor
// and C library whose compiler is there (all: `npm run build:prebuilds -- --all`). On Debian:
//
//     dpkg --add-architecture arm64 && apt-get update
//     apt-get install binutils g++ g++-aarch64-linux-gnu musl-dev:amd64 musl-dev:arm64
//
// libstdc++ and libgcc are those that Node itself needs and has loaded. Linked in, they would make the binary thirteen
// times as large, and be bound to the glibc that they were built with; and nobody packages a libstdc++ for musl to link.
import {execFile} from 'node:child_process';
import {existsSync} from 'node:fs';
import fs from 'node:fs/promises';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';

const targets = [
	{name: 'linux-x64', machine: 'x86_64', libc: 'glibc'},
	{name: 'linux-arm64', machine: 'aarch64', libc: 'glibc'},
	{name: 'linuxmusl-x64', machine: 'x86_64', libc: 'musl'},
	{name: 'linuxmusl-arm64', machine: 'aarch64', libc: 'musl'},
];

// The oldest system that the official binaries of Node 20 run on has GCC 8 and glibc 2.28.
const newest = {GLIBC: '2.28', GLIBCXX: '3.4.25', CXXABI: '1.3.11', GCC: '8.0.0'};

// Defined by Node, or by nobody.
const expected = /^(?:napi_|node_api_|uv_|_ITM_|__gmon_start__$|__cxa_finalize$)/v;

// The order of these and the paths must not depend on the machine: building twice gives the same bytes.
const {targets: [{target_name: addonName, sources, defines}]} = JSON.parse(await fs.readFile(new URL('binding.gyp', import.meta.url), 'utf8'));
const flags = [
	'-std=gnu++17',
	'-Os',
	'-flto',
	'-flto-partition=one',
	'-fPIC',
	'-pthread',
	'-fvisibility=hidden',
	'-fvisibility-inlines-hidden',
	'-ffunction-sections',
	'-fdata-sections',
	'-fno-ident',
	'-frandom-seed=0',
	...defines.map(define => `-D${define}`),
	`-DNODE_GYP_MODULE_NAME=${addonName}`,
	'-DBUILDING_NODE_EXTENSION',
];
const linkFlags = [
	'-shared',
	'-s',
	'-Wl,--gc-sections',
	'-Wl,--as-needed',
	'-Wl,--build-id=none',
	'-Wl,--hash-style=gnu',
	'-Wl,-z,relro,-z,now,-z,noexecstack,-z,noseparate-code',
	'-Wl,--version-script=addon/exports.map',
];

const root = fileURLToPath(new URL('..', import.meta.url));
const run = async (command, arguments_) => {
	const {stdout} = await promisify(execFile)(command, arguments_, {cwd: root, env: {...process.env, LC_ALL: 'C'}, maxBuffer: 1e8});
	return stdout;
};

const wanted = process.argv.slice(2);
const lines = await Promise.all(targets.filter(({name}) => wanted.length === 0 || wanted.includes('--all') || wanted.includes(name)).map(async target => {
	const missing = missingFor(target);
	if (missing && wanted.length > 0) {
		throw new Error(`There is no ${missing}, which ${target.name} needs`);
	}

	return missing ? `prebuilds/${target.name}.node: not built, there is no ${missing}` : build(target);
}));
console.log(lines.join('\n'));

function missingFor({machine, libc}) {
	const compiler = compilerOf(machine);
	const inPath = process.env.PATH.split(':').some(folder => existsSync(path.join(folder, compiler)));
	return [!inPath && compiler, libc === 'musl' && !existsSync(muslHeaders(machine)) && muslHeaders(machine)].find(Boolean);
}

async function build({name, machine, libc}) {
	const file = path.join('prebuilds', `${name}.node`);
	const compiler = compilerOf(machine);
	const folder = await fs.mkdtemp(path.join(tmpdir(), 'prebuild-'));
	try {
		const {include, libraries} = libc === 'musl' ? await againstMusl(compiler, machine, folder) : {include: [], libraries: []};
		const headers = [path.resolve(createRequire(import.meta.url)('node-addon-api').include_dir), await nodeHeaders()].flatMap(header => ['-isystem', header]);
		await fs.mkdir(path.join(root, 'prebuilds'), {recursive: true});
		await run(compiler, [
			...flags,
			// Where the processor is asked whether it has better atomics, it is by a function of glibc's.
			...(machine === 'aarch64' ? ['-mno-outline-atomics'] : []),
			`-ffile-prefix-map=${folder}=.`,
			`-ffile-prefix-map=${root}=.`,
			...include,
			...headers,
			'-include',
			'addon/prebuild.h',
			...linkFlags,
			...sources.map(source => `addon/${source}`),
			...libraries,
			'-o',
			file,
		]);
		return await checked(file, machine, libc);
	} finally {
		await fs.rm(folder, {recursive: true});
	}
}

// Debian's compilers are made for glibc. They can do without its headers and its startup files, and the headers of its
// libstdc++ get along with those of musl, except for streams. The link with glibc's libstdc++ leaves its name behind,
// by which musl's loader finds its own.
async function againstMusl(compiler, machine, folder) {
	const searched = await searchedBy(compiler);
	const own = searched.filter(header => /\/c\+\+\/|\/gcc(?:-cross)?\//v.test(header));
	for (const kernel of ['linux', 'asm', 'asm-generic']) {
		const from = searched.find(header => existsSync(path.join(header, kernel)));
		await fs.symlink(path.join(from, kernel), path.join(folder, kernel)); // eslint-disable-line no-await-in-loop -- Three of them.
	}

	const at = async file => {
		const found = await run(compiler, [`-print-file-name=${file}`]);
		return found.trim();
	};

	return {
		include: [
			'-nostdinc',
			...[...own.filter(header => header.includes('c++')), muslHeaders(machine), ...own.filter(header => !header.includes('c++')), folder].flatMap(header => ['-isystem', header]),
			// What they ask glibc's headers for; and that there are threads, rather than only if there is a symbol of glibc's.
			'-D__GLIBC_PREREQ(major,minor)=0',
			'-D_GLIBCXX_GTHREAD_USE_WEAK=0',
		],
		libraries: ['-nostdlib', await at('crtbeginS.o'), await at('libstdc++.so'), await at('libgcc_s.so.1'), `-L/usr/lib/${machine}-linux-musl`, '-l:libc.so', await at('crtendS.o')],
	};
}

async function searchedBy(compiler) {
	const {stderr} = await promisify(execFile)(compiler, ['-E', '-v', '-x', 'c++', '/dev/null'], {env: {...process.env, LC_ALL: 'C'}});
	const [, list] = /#include <\.\.\.> search starts here:\n(.*?)End of search list/sv.exec(stderr);
	return list.trim().split('\n').map(header => path.resolve(header.trim()));
}

async function nodeHeaders() {
	const folders = [process.env.npm_package_config_node_gyp_nodedir, process.env.npm_config_nodedir, path.dirname(path.dirname(process.execPath))];
	const configuration = new URL('build/config.gypi', import.meta.url);
	if (existsSync(configuration)) {
		folders.push(/"nodedir": "(.*)"/v.exec(await fs.readFile(configuration, 'utf8'))?.[1]);
	}

	const found = folders.map(folder => folder && path.join(folder, 'include', 'node')).find(folder => folder && existsSync(path.join(folder, 'uv.h')));
	if (!found) {
		throw new Error('The headers of Node are not there. `npm run build:addon` gets them.');
	}

	return found;
}

// A line about the binary, if it needs nothing that is not there wherever Node is.
async function checked(file, machine, libc) {
	const symbols = await run('readelf', ['--dyn-syms', '--wide', file]);
	const needed = [...symbols.matchAll(/ UND (?<symbol>[^\s@]+)(?:@(?<library>[A-Z]+)_(?<version>[\d.]+))?/gv)].map(({groups}) => groups);
	const ofMusl = libc === 'musl' ? await run('readelf', ['--dyn-syms', '--wide', `/usr/lib/${machine}-linux-musl/libc.so`]) : '';
	const highest = {};
	for (const {symbol, library, version} of needed) {
		if (library && compare(version, highest[library] ?? '0') > 0) {
			highest[library] = version;
		}

		const isThere = library ? newest[library] && compare(version, newest[library]) <= 0 : expected.test(symbol) || ofMusl.includes(` ${symbol}\n`);
		if (!isThere) {
			throw new Error(`${file} needs ${symbol}${library ? ` of ${library}_${version}` : ''}, which is not wherever Node is. See addon/prebuild.h.`);
		}
	}

	const {size} = await fs.stat(path.join(root, file));
	return `${file}: ${size} bytes, needs ${Object.entries(highest).map(([library, version]) => `${library}_${version}`).join(', ')}`;
}

function compare(left, right) {
	return left.localeCompare(right, 'en', {numeric: true});
}

function compilerOf(machine) {
	return `${machine}-linux-gnu-g++`;
}

function muslHeaders(machine) {
	return `/usr/include/${machine}-linux-musl`;
}
