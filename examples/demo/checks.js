// What has to be true of a run of the demo.

/** Which engine `auto` has to choose, by what `capabilities()` promised. */
export function promised(capabilities, engine) {
	return engine === 'auto' ? ['sockmap', 'splice', 'stream'].find(name => capabilities[name].available) : engine;
}

export function check({ours, plain, expected}) {
	const tunnels = [...ours.tunnels, ...plain.tunnels];
	const messages = tunnels.reduce((sum, {echoed}) => sum + echoed, 0);
	const checks = [
		[
			ours.tunnels.every(({engine, stats}) => engine === expected && stats.engine === expected),
			`both tunnels are on ${expected}, as capabilities() promised`,
			() => ours.tunnels.map(({kind, engine, stats, skipped}) => `${kind} on ${engine}, at its end on ${stats.engine} ${skipped.length > 0 ? JSON.stringify(skipped) : ''}`),
		],
		[
			tunnels.every(({sent, echoed, mismatches}) => sent > 0 && sent === echoed && mismatches === 0),
			`all ${messages.toLocaleString('en-US')} messages came back, in order and unchanged`,
			() => tunnels.map(({kind, sent, echoed, mismatches}) => `${kind}: ${sent} sent, ${echoed} came back, ${mismatches} of them wrong`),
		],
		[
			ours.tunnels.every(({stats, wire}) => stats.clientToUpstream.bytes === wire.clientToUpstream && stats.upstreamToClient.bytes === wire.upstreamToClient),
			'the counters of both tunnels agree with the client\'s, byte for byte',
			() => ours.tunnels.map(({kind, stats, wire}) => `${kind}: ${JSON.stringify([stats.clientToUpstream, stats.upstreamToClient])} against ${JSON.stringify(wire)}`),
		],
		[
			ours.tunnels.every(({wire}) => wire.clean),
			'both tunnels ended with a proper close of the protocol inside',
			() => ours.tunnels.map(({kind, wire}) => `${kind}: ${wire.clean ? 'clean' : 'cut off'}`),
		],
	];
	if (expected !== 'stream') {
		checks.push([
			ours.tunnels.every(({blocked}) => blocked > 0),
			'both went on while the JavaScript of the proxy was blocked',
			() => ours.tunnels.map(({kind, blocked}) => `${kind}: ${blocked} messages`),
		]);
	}

	return checks.map(([holds, sentence, details]) => ({holds, line: holds ? `  ok    ${sentence}` : `  FAIL  ${sentence}: ${details().join('; ')}`}));
}
