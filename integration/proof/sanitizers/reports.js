/** Takes apart what the sanitizers have printed or logged: one report for each error, race or leak. */
export function reportsIn(text) {
	return text.split(starts).filter(part => isReport.test(part)).map(part => ({text: part.trim(), isLeak: isLeak.test(part)}));
}

/**
Whether it is a leak of Node: none of its frames is ours, or Node's come first, which we called. Anything but a leak may be our doing wherever it is seen.
*/
export function ofNode({text, isLeak}) {
	const frames = text.split('\n').filter(line => /^\s*#\d/v.test(line));
	const first = frames.find(frame => ours.test(frame) || node.test(frame));
	return isLeak && (first === undefined || !ours.test(first));
}

const kinds = /(?:ERROR: AddressSanitizer|WARNING: ThreadSanitizer|FATAL: ThreadSanitizer|(?:Direct|Indirect) leak of|\S+: runtime error: |Sanitizer: CHECK failed|Sanitizer:DEADLYSIGNAL)/v;

// The first line of each report, whatever is before its kind.
const starts = new RegExp(`^(?=.*${kinds.source})`, 'mv');
const isReport = new RegExp(`^.*${kinds.source}`, 'v');
const isLeak = /^(?:Direct|Indirect) leak of/v;
const ours = /\.node\+0x|\b(?:addon|sanitizers)\/\w+\.(?:cc|h)\b/v;
const node = /\/node\+0x/v;
