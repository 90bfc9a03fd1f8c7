// The soak by hand: `npm run soak -- --minutes 30 --seed 7 --engine sockmap --engine splice`.
import process from 'node:process';
import {parseArgs} from 'node:util';
import type {Engine} from '../../../plugin/index.ts';
import {soak, table} from './soak.ts';

const {values} = parseArgs({
	options: {
		minutes: {type: 'string', default: '2.5'},
		tunnels: {type: 'string', default: '1000000000'},
		seed: {type: 'string', default: String(Date.now() % 1_000_000)},
		engine: {type: 'string', multiple: true, default: ['sockmap', 'sockmap', 'splice', 'stream']},
		traffic: {type: 'string', default: 'mixed'},
		'at-once': {type: 'string', default: '200'},
		hang: {type: 'string', default: '20'},
		addon: {type: 'string'},
	},
});
const seed = Number(values.seed);
console.log(`seed ${seed}`);
const result = await soak({
	seed, engines: values.engine as Engine[], tunnels: Number(values.tunnels), seconds: Number(values.minutes) * 60,
	atOnce: Number(values['at-once']), hang: Number(values.hang), traffic: values.traffic, log: console.error,
	env: values.addon === undefined ? {} : {HTTP_PROXY_SOCKMAP_ADDON: values.addon},
});
console.log(table(result));
process.exitCode = result.failures.length === 0 ? 0 : 1;
