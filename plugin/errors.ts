/**
What went wrong on the way into the kernel, or was asked of a socket whose tunnel is already there.

`code`, `errno` and `syscall` are the kernel's, as in Node's own errors, except that `errno` is positive. They are missing when no system call failed.
*/
export class SockmapError extends Error {
	override readonly name = 'SockmapError';

	/**
	The name of the error, such as `EPERM`, or one of ours: `ERR_SOCKMAP_UNAVAILABLE`, `ERR_SOCKMAP_NO_ADDON`, `ERR_SOCKMAP_DISABLED` (the addon is turned off by the environment), `ERR_SOCKMAP_CLOSED`, `ERR_SOCKMAP_DETACHED`.
	*/
	readonly code: string | undefined;

	/**
	The number of the error, such as 1 for `EPERM`.

	@see https://man7.org/linux/man-pages/man3/errno.3.html
	*/
	readonly errno: number | undefined;

	/**
	The system call that failed, such as `bpf`.
	*/
	readonly syscall: string | undefined;

	/**
	What we were doing, in a few words, such as `load the program`.
	*/
	readonly step: string | undefined;

	/** @internal */
	constructor(message: string, details: SockmapErrorDetails = {}) {
		super(message, {cause: details.cause});
		this.code = details.code;
		this.errno = details.errno;
		this.syscall = details.syscall;
		this.step = details.step;
	}
}

export type SockmapErrorDetails = {
	readonly code?: string | undefined;
	readonly errno?: number | undefined;
	readonly syscall?: string | undefined;
	readonly step?: string | undefined;
	readonly cause?: unknown;
};
