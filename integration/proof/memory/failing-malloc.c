/* Preloaded into a proxy: each FAIL_EVERY-th allocation of FAIL_FROM bytes or more fails, in the thread of the relay and
 * nowhere else. At the end it says how many did. */
#define _GNU_SOURCE
#include <errno.h>
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

void *malloc(size_t size)
{
	if (every > 0 && size >= from && relay() && ++asked % every == 0) {
		++failed;
		errno = ENOMEM;
		return NULL;
	}
	return __libc_malloc(size);
}
