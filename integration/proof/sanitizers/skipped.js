/** What is not run with the sanitizers, and why. */
export const skipped = [
	{file: 'package.test.ts', kinds: ['address', 'thread'], why: 'it builds and installs the package with its own addon, the one without sanitizers'},
];
