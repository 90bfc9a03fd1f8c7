import {Counter, Gauge, Histogram, type Registry} from 'prom-client';
import {type TunnelsStats} from './stats.ts';
import {type Tunnels} from './tunnels.ts';

/**
Shows the counters of `tunnels` to Prometheus. Needs `prom-client`, which is why it is not in the main module. The names of the metrics begin with `prefix`, which is `http_proxy_sockmap_` by default.

@throws {Error} `register` has a metric of that name already, as prom-client says. Give each `Tunnels` a prefix or a registry of its own.
@see https://prometheus.io/docs/practices/naming/

@example
```
import {register} from 'prom-client';
import {collectMetrics} from 'http-proxy-sockmap/prom';

collectMetrics(tunnels, register);
```
*/
export function collectMetrics(tunnels: Tunnels, register: Registry, {prefix = 'http_proxy_sockmap_'}: {readonly prefix?: string} = {}): void {
	const stats = oncePerScrape(() => tunnels.stats());
	const registers = [register];

	const gauge = (name: string, help: string, labelNames: readonly string[], samples: (stats: TunnelsStats) => readonly Sample[]) => {
		const metric: Gauge = new Gauge({
			name: prefix + name, help, labelNames, registers,
			collect() {
				metric.reset();
				for (const [labels, value] of samples(stats())) {
					metric.set(labels, value);
				}
			},
		});
	};

	// What is counted is counted elsewhere, and never goes down there.
	const counter = (name: string, help: string, labelNames: readonly string[], samples: (stats: TunnelsStats) => readonly Sample[]) => {
		const metric: Counter = new Counter({
			name: prefix + name, help, labelNames, registers,
			collect() {
				metric.reset();
				for (const [labels, value] of samples(stats())) {
					metric.inc(labels, value);
				}
			},
		});
	};

	gauge('tunnels', 'Open tunnels by what carries them.', ['engine'], ({byEngine}) => by('engine', byEngine));
	gauge('tunnels_by_kind', 'Open tunnels by where they came from.', ['kind'], ({byKind}) => by('kind', byKind));
	gauge('dialling', 'Requests that are being dialled for.', [], ({dialling}) => [[{}, dialling]]);
	counter('tunnels_opened_total', 'Tunnels since the beginning.', [], ({opened}) => [[{}, opened]]);
	counter('tunnels_closed_total', 'Closed tunnels by reason.', ['reason'], ({closedBy}) => by('reason', closedBy));
	counter('bytes_total', 'Bytes of all tunnels by direction.', ['direction'], ({bytes}) => by('direction', bytes));
	counter('refusals_total', 'How often an engine refused a tunnel, by what it was doing.', ['engine', 'step'], ({refusals}) => Object.entries(refusals).map(([name, value]) => {
		const [engine, step] = name.split(': ', 2) as [string, string];
		return [{engine, step}, value];
	}));
	counter('rejected_total', 'Requests without a tunnel, by the status of their answer.', ['status'], ({rejected}) => by('status', rejected));
	counter('rejected_for_total', 'The same by their Proxy-Status error.', ['error'], ({rejectedFor}) => by('error', rejectedFor));
	counter('wrong_credentials_total', 'Requests whose credentials were wrong.', [], ({wrongCredentials}) => [[{}, wrongCredentials]]);

	const durations = new Histogram({
		name: `${prefix}tunnel_duration_seconds`, help: 'How long closed tunnels were open.', labelNames: ['engine', 'kind'], registers,
		buckets: [0.1, 1, 10, 60, 600, 3600, 21_600, 86_400],
	});
	tunnels.on('close', ({kind}, {engine, duration}) => {
		durations.observe({engine, kind}, duration / 1000);
	});
}

type Sample = readonly [labels: Record<string, string>, value: number];

function by(label: string, counts: Readonly<Record<string, number>>): Sample[] {
	return Object.entries(counts).map(([name, value]) => [{[label]: name}, value]);
}

// All metrics are asked in one go, and adding up costs a look at each open tunnel.
function oncePerScrape<Value>(ask: () => Value): () => Value {
	let answer: {readonly value: Value} | undefined;
	return () => {
		if (answer === undefined) {
			answer = {value: ask()};
			queueMicrotask(() => {
				answer = undefined;
			});
		}

		return answer.value;
	};
}
