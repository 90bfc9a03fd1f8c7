/* eslint-disable import-x/no-unassigned-import, import-x/order, ava/no-import-test-files -- Tests register themselves, in this order. */
import {Buffer} from 'node:buffer';
import fs from 'node:fs';
import os from 'node:os';
import process from 'node:process';
import {capabilities} from '../../../plugin/index.ts';
import {runTests} from './runner.ts';
import './streams.ts';
import '../../endings.test.ts';
import './netem.ts';

// What runs inside, as the only program of the machine. It talks over the serial console, in lines that begin with a mark.

const say = (value: unknown) => {
	fs.writeSync(1, `\n${mark}${JSON.stringify(value)}\n`);
};

const mark = '@@';

// Told on the kernel's command line: which tests, of all that are here.
const wanted = new RegExp(Buffer.from(/tests=(?<encoded>\S+)/u.exec(fs.readFileSync('/proc/cmdline', 'utf8'))!.groups!.encoded!, 'hex').toString(), 'u');

const started = Date.now();
const {sockmap, splice} = capabilities();
say({
	kernel: os.release(), build: os.version(), node: process.version, sockmap, splice, milliseconds: Date.now() - started,
});

// These start programs from TypeScript, for which there is no compiler here.
const impossible = 'SIGKILL';

await runTests(title => wanted.test(title) && !title.includes(impossible), say);
say({done: true});
