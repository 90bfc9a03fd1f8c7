/* What the verdict program and the relay know in common. Included by BPF C and by C++. */
#ifndef HTTP_PROXY_SOCKMAP_FLOW_H
#define HTTP_PROXY_SOCKMAP_FLOW_H

#include <linux/types.h>

/* The maps, and what the program calls them:
 *
 *   sources   SOCKMAP   lane -> the socket that a lane reads from; the program is attached to this one
 *   targets   SOCKMAP   lane -> the socket that it writes to; no program, so that a socket can be a target
 *                       before any byte is redirected to it
 *   ids       HASH      socket cookie of a source -> lane
 *   flows     ARRAY     lane -> struct flow, mapped into the relay's memory
 *   wakeups   ARRAY_OF_MAPS   slot -> RINGBUF of lanes (u32) at which the relay that has the slot has to look
 *
 * Processes of one user may share a set of maps. Each has a slot: a ring, and a range of lanes.
 */

/* The bookkeeping of one lane. Program and relay each write a cache line of their own, and only read the other's:
 * with one line for both, a store of the one undoes a concurrent store of the other. */
struct flow {
	/* Written by the program. */
	__u64 redirected; /* bytes handed to the destination inside the kernel */
	__u64 passed;	  /* bytes left to the relay because they could not be redirected, or about to be */
	__u64 left;	  /* those of them of which this is certain */
	__u32 base;	  /* the destination's write_seq when redirected, passed and injected were all 0 */
	__u32 primed;	  /* whether base is set */
	__u32 next;	  /* the sequence number that the source's next new byte has */
	__u32 started;	  /* whether next is set */
	__u32 repeated;	  /* bytes at the head of the skb that TCP has already had */
	__u32 broken;	  /* bytes were lost for want of memory: there is no way to go on */
	__u32 told;	  /* that the lane moves: the relay widens its buffers then */
	__u8 program_line[12];

	/* Written by the relay. */
	__u64 consumed;	    /* passed bytes that the destination has accepted; see FLOW_HELD */
	__u64 injected;	    /* bytes that JavaScript wrote between the others */
	__u32 unsent_limit; /* how much the destination may hold unsent: its TCP_NOTSENT_LOWAT */
	__u32 slot;	    /* of the relay that has the lane */
	__u32 reverse;	    /* the lane that goes the other way */
	__u8 relay_line[36];
};

/* Bytes that have gone all the way in a lane that moves. More than what the buffers on the way take of one that does not. */
#define FLOW_MOVES (1 << 20)

/* Set in `consumed`, this bit makes it differ from every `passed`: the program then leaves everything to the relay. */
#define FLOW_HELD (1ULL << 63)

#endif
