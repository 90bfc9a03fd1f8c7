/* Preloaded into a proxy: each FAIL_EVERY-th allocation of FAIL_FROM bytes or more fails, of those that the relay makes
 * in its thread. Not those that Node makes there when it is given a message for JavaScript: it ends the process then, as
 * it does wherever else it gets no memory. At the end it says how many have failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

extern void *__libc_malloc(size_t size);

static size_t from = 1;
static unsigned long every, asked, failed;
static __thread int in_relay;

__attribute__((constructor)) static void configure(void)
{
	const char *text = getenv("FAIL_FROM");
	void *frame;

	backtrace(&frame, 1); /* The first time, it allocates. */

	if (text)
		from = strtoul(text, NULL, 10);
	text = getenv("FAIL_EVERY");
	if (text)
		every = strtoul(text, NULL, 10);
}

__attribute__((destructor)) static void report(void)
{
	if (failed > 0)
		fprintf(stderr, "%lu of %lu allocations have failed\n", failed, asked);
}

/* A thread gets its name after it has been started. */
static int relay(void)
{
	char name[16] = "";

	if (!in_relay) {
		prctl(PR_GET_NAME, name);
		in_relay = strcmp(name, "sockmap-relay") == 0;
	}
	return in_relay;
}

/* Behind this library and that of C++, whose `new` it may be. */
static int by_addon(void)
{
	void *frames[8];
	int count = backtrace(frames, 8), index;
	Dl_info caller, self;

	dladdr((void *)by_addon, &self);
	for (index = 0; index < count && dladdr(frames[index], &caller); index++) {
		if (caller.dli_fbase != self.dli_fbase && strstr(caller.dli_fname, "/libstdc++.") == NULL)
			return strcmp(strrchr(caller.dli_fname, '.') ?: "", ".node") == 0;
	}
	return 0;
}

void *malloc(size_t size)
{
	if (every > 0 && size >= from && relay() && by_addon() && ++asked % every == 0) {
		++failed;
		errno = ENOMEM;
		return NULL;
	}
	return __libc_malloc(size);
}
