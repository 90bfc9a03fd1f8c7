/* A link that loses packets: a filter on what comes in, which nobody up the stack hears of. Compiled with either
 * of two macros: LOST_IN_1000, at random, or EVERY, which loses the last of each so many. */
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define TC_ACT_OK 0
#define TC_ACT_SHOT 2

static unsigned int (*const bpf_get_prandom_u32)(void) = (void *)BPF_FUNC_get_prandom_u32;

#ifdef EVERY
unsigned int arrived;

SEC("tc") int drop(struct __sk_buff *skb)
{
	return __sync_fetch_and_add(&arrived, 1) % EVERY == EVERY - 1 ? TC_ACT_SHOT : TC_ACT_OK;
}
#else
SEC("tc") int drop(struct __sk_buff *skb)
{
	return bpf_get_prandom_u32() % 1000 < LOST_IN_1000 ? TC_ACT_SHOT : TC_ACT_OK;
}
#endif

char may_call_gpl_helpers[] SEC("license") = "Dual MIT/GPL";
