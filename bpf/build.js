// Compiles verdict.bpf.c and writes its instructions to addon/verdict_code.h, which is committed: who installs or
// builds the package needs no clang. Needs clang and llvm (Debian: `apt-get install clang llvm`).
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import process from 'node:process';
import {fileURLToPath} from 'node:url';

const section = 'sk_skb/stream_verdict';
const source = fileURLToPath(new URL('verdict.bpf.c', import.meta.url));
const header = fileURLToPath(new URL('../addon/verdict_code.h', import.meta.url));

const run = (command, ...arguments_) => execFileSync(command, arguments_, {encoding: 'utf8'});

// Debian keeps <asm/types.h> in a folder of the host's architecture, which clang does not search for another target.
const hostIncludes = run('cc', '-print-multiarch').trim();

const folder = mkdtempSync(path.join(tmpdir(), 'verdict-'));
try {
	const object = path.join(folder, 'verdict.o');
	const code = path.join(folder, 'verdict.code');
	const license = path.join(folder, 'verdict.license');

	run('clang', '-target', 'bpf', '-mcpu=v3', '-O2', '-Wall', '-Wextra', '-Werror', ...(hostIncludes ? [`-I/usr/include/${hostIncludes}`] : []), '-c', source, '-o', object);
	run('llvm-objcopy', `--dump-section=${section}=${code}`, `--dump-section=license=${license}`, object);
	writeFileSync(header, toHeader(readFileSync(code), relocations(object), readFileSync(license, 'utf8').replace('\0', '')));
	console.log(`${path.relative(process.cwd(), header)}: ${readFileSync(code).length / 8} instructions`);
} finally {
	rmSync(folder, {recursive: true});
}

// Each relocation is a 64-bit load of a symbol: a map, or the offset of a field.
function relocations(object) {
	const lines = run('llvm-readelf', '--relocations', '--wide', object).split('\n');
	const found = [];
	for (const line of lines) {
		const match = /^([\da-f]+)\s+\S+\s+R_BPF_64_64\s+\S+\s+(\S+)/v.exec(line);
		if (match) {
			found.push({instruction: Number.parseInt(match[1], 16) / 8, symbol: match[2]});
		}
	}

	return found;
}

function toHeader(code, links, license) {
	const instructions = [];
	for (let offset = 0; offset < code.length; offset += 8) {
		instructions.push(`0x${code.readBigUInt64LE(offset).toString(16).padStart(16, '0')}`);
	}

	const rows = [];
	for (let index = 0; index < instructions.length; index += 4) {
		rows.push(`    ${instructions.slice(index, index + 4).join(', ')},`);
	}

	return [
		'// Generated from bpf/verdict.bpf.c by `npm run build:bpf`. Do not edit.',
		'// clang-format off',
		'#ifndef HTTP_PROXY_SOCKMAP_VERDICT_CODE_H',
		'#define HTTP_PROXY_SOCKMAP_VERDICT_CODE_H',
		'',
		'#include <cstdint>',
		'',
		`inline constexpr char kVerdictLicense[] = "${license}";`,
		'',
		'// One eBPF instruction each, as the little-endian word that it is in memory.',
		'inline constexpr uint64_t kVerdictCode[] = {',
		...rows,
		'};',
		'',
		'struct VerdictSymbol {',
		'  uint32_t instruction;  // a 64-bit load, whose value is to be filled in',
		'  const char* name;',
		'};',
		'',
		'inline constexpr VerdictSymbol kVerdictSymbols[] = {',
		...links.map(({instruction, symbol}) => `    {${instruction}, "${symbol}"},`),
		'};',
		'',
		'#endif',
		'',
	].join('\n');
}
