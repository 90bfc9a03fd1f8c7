/* One question per skb: may the kernel carry these bytes to the other end of the tunnel, or does the relay have to?
 *
 * TCP has acknowledged the bytes before we are asked, so they must never be dropped: whatever is in doubt is passed,
 * and the relay reads it. Once bytes were passed, everything behind them is passed too, until the relay has caught up.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include "flow.h"

/* The loader resolves these symbols by name: a map to its descriptor, an offset to the running kernel's, from BTF. */
struct map;
extern struct map targets, ids, flows, wakeups;
extern const char tcp_sock__write_seq[], tcp_sock__snd_nxt[], tcp_sock__copied_seq[];
extern const char sock__sk_wmem_queued[], sock__sk_sndbuf[];

struct tcp_sock;
static void *(*map_lookup_elem)(struct map *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*get_socket_cookie)(struct __sk_buff *skb) = (void *)BPF_FUNC_get_socket_cookie;
static struct tcp_sock *(*skc_to_tcp_sock)(void *sk) = (void *)BPF_FUNC_skc_to_tcp_sock;
static long (*sk_release)(void *sk) = (void *)BPF_FUNC_sk_release;
static long (*skb_adjust_room)(struct __sk_buff *skb, __s32 len_diff, __u32 mode,
			       __u64 flags) = (void *)BPF_FUNC_skb_adjust_room;
static long (*sk_redirect_map)(struct __sk_buff *skb, struct map *map, __u32 key,
			       __u64 flags) = (void *)BPF_FUNC_sk_redirect_map;
static long (*ringbuf_output)(struct map *ringbuf, void *data, __u64 size,
			      __u64 flags) = (void *)BPF_FUNC_ringbuf_output;

/* Bytes that the helper cuts off at a time, and how often: 1 MiB in all. A segment has up to 64 KiB, but TCP joins those
 * that come while somebody has the socket's lock, and where acknowledgements are lost all of them may be repeated. */
#define MAX_CUT 0xfff
#define MAX_CUTS 257

#define FIELD(type, tp, offset) (*(volatile type *)((const char *)(tp) + (__u64)(offset)))

/* A socket has one backlog, for what is redirected to it and for what it has passed itself. Where both are in it, the one
 * waits with the other: two programs that write before they read would never go on. And what is passed behind something
 * redirected is charged only when a kernel worker comes to it. Until then the window is open, and the receive buffer ends
 * up holding many times what it may. So nothing is redirected to a socket that has passed bytes which are still somewhere.
 * It is a matter of speed and memory, so it does not matter that a moment later it may be different. `passed` would not do:
 * bytes that are being redirected at this moment are in it, and where both directions talk at once, each would now and then
 * send the other to the relay, which may be stopped. */
static __attribute__((always_inline)) int is_caught_up(__u32 lane)
{
	struct flow *flow = map_lookup_elem(&flows, &lane);

	return flow && *(volatile __u64 *)&flow->left == *(volatile __u64 *)&flow->consumed;
}

/* Redirecting opens the source's window first and queues without any limit, charging nobody. So ask what a sender
 * would ask: what the destination holds, plus what it was given and has not written yet, against its send buffer. */
static __attribute__((always_inline)) int has_room(struct flow *flow, __u32 lane, __u64 passed_before, __u32 len)
{
	__u32 write_seq, snd_nxt;
	__s64 queued, limit, pending, unsent;
	struct tcp_sock *tp;
	void *target;

	if (!is_caught_up(flow->reverse))
		return 0;

	target = map_lookup_elem(&targets, &lane);
	if (!target)
		return 0;

	tp = skc_to_tcp_sock(target);
	if (!tp) {
		sk_release(target);
		return 0;
	}

	write_seq = FIELD(__u32, tp, tcp_sock__write_seq);
	snd_nxt = FIELD(__u32, tp, tcp_sock__snd_nxt);
	queued = FIELD(__s32, tp, sock__sk_wmem_queued);
	limit = FIELD(__s32, tp, sock__sk_sndbuf);
	sk_release(target);

	/* Everything passed has been consumed when we get here, and nothing has been redirected before the first
	 * time, so write_seq says where counting starts. */
	if (!flow->primed) {
		flow->base = write_seq - (__u32)(passed_before + flow->injected);
		flow->primed = 1;
	}

	/* The backlog is far below 2 GiB, so 32 bits of it are enough. */
	pending = (__s32)((__u32)(flow->redirected + passed_before + flow->injected) - (write_seq - flow->base));
	if (pending < 0)
		pending = 0;

	/* The two conditions under which its sendmsg would not have to wait. */
	unsent = (__s32)(write_seq - snd_nxt);
	return queued + pending + len <= limit && unsent + pending + len <= flow->unsent_limit;
}

/* A sender may repeat the end of what TCP has already, in front of new bytes: its segments have become shorter since, by
 * an option more in the header. TCP queues such a segment as it is, and recv() skips what it has read before. Nobody
 * skips it for an skb that is judged: the bytes would arrive twice. So cut them off, which helps those that are passed
 * as well. Returns 0, or why that was impossible. */
static __attribute__((always_inline)) long cut_repeated(struct __sk_buff *skb, struct flow *flow)
{
	__u32 sequence = skb->cb[0]; /* TCP_SKB_CB(skb)->seq */
	__u32 len = skb->len;
	__s32 repeated;
	__u32 round;
	long error;

	/* The relay has read everything that was before the first one. */
	if (!flow->started) {
		struct tcp_sock *tp = skb->sk ? skc_to_tcp_sock(skb->sk) : 0;

		flow->next = tp ? FIELD(__u32, tp, tcp_sock__copied_seq) : sequence;
		flow->started = 1;
	}

	/* It may be all of it, where nothing but a FIN is new. */
	repeated = (__s32)(flow->next - sequence);
	if (repeated < 0)
		repeated = 0;
	if (repeated > (__s32)len)
		repeated = len;
	else
		flow->next = sequence + len;
	flow->repeated = repeated;

	/* Counted down in the map, where the verifier does not follow each value that it could have. */
#pragma clang loop unroll(disable)
	for (round = 0; round < MAX_CUTS; round++) {
		__u32 cut = *(volatile __u32 *)&flow->repeated;

		if (cut == 0)
			return 0;
		if (cut > MAX_CUT)
			cut = MAX_CUT;
		error = skb_adjust_room(skb, -(__s32)cut, 0, 0);
		if (error)
			return error;
		*(volatile __u32 *)&flow->repeated -= cut;
	}

	return flow->repeated;
}

/* The ring holds three wake-ups for each lane: see RingSize() in addon/maps.cc. It is never full. */
static __attribute__((always_inline)) void wake_relay(struct flow *flow, __u32 lane)
{
	__u32 slot = flow->slot;
	struct map *ring = map_lookup_elem(&wakeups, &slot);

	if (ring)
		ringbuf_output(ring, &lane, sizeof(lane), 0);
}

__attribute__((section("sk_skb/stream_verdict"), used)) int verdict(struct __sk_buff *skb)
{
	__u64 cookie, passed_before;
	struct flow *flow;
	__u32 *id, lane, len;

	/* A bare FIN, no payload to lose. Redirected it would poison the destination with EPIPE; passed it can do the
	 * same from behind a backlog. The socket's RCV_SHUTDOWN is set all the same. */
	if (skb->len == 0)
		return SK_DROP;

	/* A miss means that the pair is being taken apart. Pass, so that userland can still read what TCP has
	 * acknowledged; SK_DROP would lose it. */
	cookie = get_socket_cookie(skb);
	id = map_lookup_elem(&ids, &cookie);
	if (!id)
		return SK_PASS;

	lane = *id;
	flow = map_lookup_elem(&flows, &lane);
	if (!flow)
		return SK_PASS;

	/* Bytes that come twice, or not at all, are worse than a reset. */
	if (cut_repeated(skb, flow)) {
		flow->broken = 1;
		wake_relay(flow, lane);
		return SK_DROP;
	}

	len = skb->len;
	if (len == 0)
		return SK_DROP;

	/* Announce these bytes as passed before asking whether the relay has caught up (fetch-and-add is a full
	 * barrier): either we see its `consumed`, or it sees our `passed` and keeps looking. Earlier bytes that are
	 * still in its hands must not be overtaken. */
	passed_before = __sync_fetch_and_add(&flow->passed, len);
	if (passed_before != *(volatile __u64 *)&flow->consumed) {
		flow->left += len;
		return SK_PASS;
	}

	if (has_room(flow, lane, passed_before, len) && sk_redirect_map(skb, &targets, lane, 0) == SK_PASS) {
		flow->redirected += len;
		__sync_fetch_and_sub(&flow->passed, len);
		if (!flow->told && flow->redirected >= FLOW_MOVES) {
			flow->told = 1;
			wake_relay(flow, lane);
		}
		return SK_PASS;
	}

	/* TCP's own back-pressure works now, because passed bytes are charged to the source. */
	flow->left += len;
	wake_relay(flow, lane);
	return SK_PASS;
}

const char license_text[] __attribute__((section("license"), used)) = "Dual MIT/GPL";
