/**
Whether all the words are among those of the name: `sockmap 64` matches `echo 64 × 128 B sockmap`, but neither `echo 64 × 128 B sockmap-connect` nor `echo 640 …`. Commas stand for `or`, and a star for anything: `haproxy* echo,bulk`.
*/
export function matches(name: string, words: readonly string[]): boolean {
	const parts = name.split(' ');
	return words.every(word => word.split(',').some(alternative => {
		const pattern = new RegExp(`^${alternative.replaceAll(/[^\w*]/gu, String.raw`\$&`).replaceAll('*', '.*')}$`, '');
		return parts.some(part => pattern.test(part));
	}));
}
