/* One lane of a tunnel: addon/lane.cc, splice.cc and spill.cc against the program and the kernel of sockets.pml.
 *
 * Shown for every interleaving: bytes are written once and in order (the assertion in write_byte), what JavaScript
 * injects does not end up inside a segment that is half written, the destination is shut down after the last byte and
 * not before (at `finish`), nobody sleeps while there is something to do (the observer's assertion, and no invalid end
 * state), and it always comes to an end (no cycle).
 *
 * Each step of a process is one access to what it shares with others, or one system call. What is in an #ifdef is, but
 * for LOOKS_AT_ONCE, a mistake that could have been made, and is found. lane.test.ts says which, and runs them all.
 *
 * Left out: the other lane, of which only the worker is shared, and a worker takes as long as it likes here; bytes that
 * send does not accept at once, which only takes longer; and Tunnel::Close, which holds a lane like an injection does.
 */
#include "sockets.pml"

mtype = {none, asked, begun, over};
mtype injection = none; /* bytes that JavaScript writes between the others */

active proctype javascript()
{
	if
	:: atomic { true -> injection = asked; news = true }
	:: true
	fi
}

/* A store that the processor has not made visible yet. */
bool stored;
byte stored_consumed;
bool stored_held;

active proctype store_buffer()
{
end:	do
	:: atomic { stored -> consumed = stored_consumed; held = stored_held; stored = false; news = true }
	od
}

inline publish(bytes, hold)
{
	atomic {
#ifdef RELAY_WITHOUT_BARRIER
		!stored -> stored_consumed = bytes; stored_held = hold; stored = true
#else
		consumed = bytes; held = hold
#endif
	}
}

/* Taking a lock is a full barrier as well. */
inline lock_by_relay() { atomic { !locked && !stored -> locked = true } }

/* setsockopt(SO_RCVLOWAT) */
inline kick()
{
	lock_by_relay();
	judge(skb, before, seen, seen_held);
	unlock()
}

#define DRAINED (written - written_before >= redirected + consumed_ + injected)
#define CAUGHT_UP (passed == consumed_)

/* Sleeps until there is news. */
#ifdef POLLS
inline tick() { skip }
#else
inline tick() { atomic { news -> news = false } }
#endif

inline until_drained()
{
	do
	:: DRAINED -> break
	:: else -> tick()
	od
}

/* Between other bytes, but not inside what a worker has half written. */
inline inject()
{
	atomic { assert(!half_written); written++; injection = over; news = true }
}

inline send_outbox()
{
	do
	:: atomic { len(outbox) > 0 -> outbox?octet; write_byte(octet) }
	:: len(outbox) == 0 -> break
	od
}

active proctype relay()
{
	chan outbox = [BYTES] of {byte};
	byte skb, before, seen, octet;
	bool seen_held;
	byte consumed_, injected, written_before, batch;
	bool hung_up, kicked, refused, eof;
	byte left; /* how often it has left the sockmap */

	atomic {
		if
		:: buffer = 1
		:: buffer = SKBS
		fi
	};

pipe:
	lock();
	if
	:: len(queued) > 0 ->
		/* Once it is out of the map, data that was passed and not read makes recv say EAGAIN for ever. */
		assert(len(message) == 0 && len(backlog) == 0);
		atomic {
			queued?<skb>;
			if
			:: !half -> outbox!(2 * skb - 1); half = true
			:: half -> outbox!(2 * skb); half = false; queued?_
			:: !half -> outbox!(2 * skb - 1); outbox!(2 * skb); queued?_
			fi
		};
		unlock();
		send_outbox();
#ifdef INSERTED_BEFORE_QUIET
		if
		:: !refused -> goto promote
		:: true
		fi;
#endif
		goto pipe
	:: len(queued) == 0 && fin -> unlock(); goto finish
	:: len(queued) == 0 && !fin -> unlock()
	fi;

end_in_pipe:
	if
	:: injection == asked ->
		inject();
		goto pipe
	:: !refused -> goto promote
	:: (len(queued) > 0 || fin) -> goto pipe
	fi;

promote:
	written_before = written;
	lock();
	if
	:: fin -> refused = true; unlock(); goto pipe
	:: else -> program = true; judging = true; unlock()
	fi;
#ifndef WITHOUT_KICK
	kick();
#endif

in_kernel:
end_in_kernel:
	if
	:: wakeup -> wakeup = false
	:: fin && !hung_up -> hung_up = true
	:: injection == asked -> goto hold
#ifdef LEAVES
	:: left < 2 -> left++; goto leave
#endif
	fi;
	if
	:: CAUGHT_UP && !hung_up -> goto in_kernel
	:: else
	fi;

spilling:
	if
	:: injection == begun && batch == 0 ->
		if
		:: DRAINED ->
			injected++;
			inject();
			publish(consumed_, false)
		:: else -> tick(); goto spilling
		fi
	:: else
	fi;

#ifdef WAITS_BEFORE_RECEIVING
	until_drained();
#endif

	/* recv, which has everything judged that is queued */
	lock_by_relay();
	judge(skb, before, seen, seen_held);
	atomic {
		do
		:: len(message) > 0 ->
			message?<skb>;
			if
			:: message_half -> outbox!(2 * skb); message_half = false; message?_; batch++
			:: !message_half -> outbox!(2 * skb - 1); outbox!(2 * skb); message?_; batch = batch + 2
			:: !message_half -> outbox!(2 * skb - 1); message_half = true; batch++; break
			fi
		:: len(message) == 0 -> break
		:: batch > 0 -> break
		od;
		eof = (batch == 0 && fin)
	};
	unlock();

	if
	:: batch > 0 ->
#ifdef PUBLISHES_BEFORE_SENDING
		consumed_ = consumed_ + batch;
		publish(consumed_, injection == asked || injection == begun);
		consumed_ = consumed_ - batch;
#endif
#if !defined SENDS_BEFORE_DRAINED && !defined WAITS_BEFORE_RECEIVING
		until_drained();
#endif
		send_outbox();
		consumed_ = consumed_ + batch;
		batch = 0;
		if
		:: injection == asked -> injection = begun
		:: else
		fi;
#ifndef PUBLISHES_BEFORE_SENDING
		publish(consumed_, injection == begun);
#endif
#ifdef LOOKS_AT_ONCE
		/* Without recv, whose lock would do what the barriers do. */
		if
		:: CAUGHT_UP && !hung_up && injection != begun -> goto in_kernel
		:: else
		fi;
#endif
		goto spilling
	:: else
	fi;

	if
	:: eof && !kicked -> kicked = true; kick(); goto spilling
	:: else
	fi;

#ifdef BELIEVES_END_OF_FILE
	if
	:: eof -> goto draining
	:: else
	fi;
#endif
#ifndef SLEEPS_WHEN_NOTHING_TO_RECEIVE
	if
	:: CAUGHT_UP
	:: else ->
		if
		:: injection == asked -> goto hold
		:: tick()
		fi;
		goto spilling
	fi;
#endif
	if
	:: eof -> goto draining
	:: else -> goto in_kernel
	fi;

hold:
	/* From here on the program passes everything. */
	injection = begun;
#ifndef WITHOUT_HELD
	publish(consumed_, true);
#endif
	kick();
	goto spilling;

#ifdef LEAVES
#include "leave.pml"
#endif

draining:
#ifndef SHUTS_DOWN_BEFORE_DRAINED
	until_drained();
#endif

finish:
	atomic {
		shut = true;
		assert(next == BYTES + 1);
		news = true
	}
}
