/* What the kernel does with one lane's two sockets, as far as it matters to who may send, and when, and what the verdict
 * program answers. Included by lane.pml.
 *
 * The stream is SKBS segments of two bytes, and then perhaps a FIN. Bytes are numbered from 1, so that a byte that is
 * lost, repeated or out of place is seen when it is written.
 */
#ifndef SKBS
#define SKBS 3
#endif
#define BYTES (2 * SKBS)

/* The source. Its socket lock is what verdicts, recv, setsockopt and inserting into a sockmap have in common. */
bool locked;
chan queued = [SKBS] of {byte};	 /* the receive queue: acknowledged, nobody has decided yet */
bool half;			 /* one byte of its head has been read */
chan backlog = [SKBS] of {byte}; /* passed, and waits for the kernel's worker, because the receive buffer is full */
chan message = [SKBS] of {byte}; /* passed, and recv will get it */
bool message_half;
bool fin;     /* has arrived: recv says end of file when there is nothing else to say */
byte buffer;  /* how many passed segments the receive buffer takes */
bool program; /* the verdict program that the socket got from the map of sources, */
bool judging; /* and the callback that asks it */

/* The destination. */
chan redirected_to = [SKBS] of {byte}; /* in front of it, for its worker */
byte written;			       /* bytes that its send buffer has accepted, injected ones too */
byte next = 1;			       /* the byte that has to come next */
bool half_written;		       /* its worker is in the middle of a segment */
bool shut;

/* struct flow */
byte passed, redirected;
byte consumed;
bool held;   /* FLOW_HELD, a bit of `consumed`: they change together */
bool wakeup; /* an entry of the ring */
bool leaving;

/* Something has changed since the relay looked last. A poll that finds what the last one found does nothing, so the
 * model leaves it out, and a run that goes on for ever would be a cycle of its states. */
bool news;

/* The only thing that may be written next is the next byte of the stream. */
inline write_byte(number)
{
	assert(!shut && number == next);
	next++;
	written++;
	news = true
}

inline pass(skb)
{
	atomic {
		if
		:: (len(backlog) == 0 && len(message) < buffer) -> message!skb
		:: else -> backlog!skb
		fi;
		news = true
	}
}

/* bpf/verdict.bpf.c. Whoever asks holds the source's lock. Room, and whether redirecting works, are anybody's guess. */
inline verdict(skb, before, seen, seen_held)
{
#ifdef PROGRAM_WITHOUT_BARRIER
	/* The read is done before the addition can be seen. */
	atomic { seen = consumed; seen_held = held };
	atomic { before = passed; passed = passed + 2; news = true };
#else
	atomic { before = passed; passed = passed + 2; news = true };
	atomic { seen = consumed; seen_held = held };
#endif
	if
	:: before != seen || seen_held -> pass(skb)
	:: else ->
		if
		:: true -> /* There is room. */
			atomic { redirected = redirected + 2; news = true };
			atomic { passed = passed - 2; news = true };
			atomic { redirected_to!skb; news = true }
		:: !leaving -> /* There is none: a lane that leaves does not ask. */
			wakeup = true;
			pass(skb)
#ifdef REDIRECT_FAILS
		:: leaving ->
			wakeup = true;
			pass(skb)
#endif
		fi
	fi
}

/* The data_ready callback of a socket in the map of sources: everything that is queued is judged. */
inline judge(skb, before, seen, seen_held)
{
	if
	:: judging ->
		do
		:: len(queued) > 0 ->
			atomic { queued?skb; half = false; news = true };
			if
#ifdef VERDICTS_FINISH
			:: true -> verdict(skb, before, seen, seen_held)
#else
			:: program -> verdict(skb, before, seen, seen_held)
#endif
#ifndef VERDICTS_FINISH
			:: !program -> assert(false) /* The kernel drops a segment that nobody is there to judge. */
#endif
			fi
		:: len(queued) == 0 -> break
		od
	:: else -> skip
	fi
}

inline lock() { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

/* Segments arrive, and at last a FIN, on its own or with the last of them. Or the sender waits for an answer first, for
 * ever: then what it has sent has to arrive without anything that comes behind it.
 */
byte arrived;

active proctype network()
{
	byte skb, before, seen;
	bool seen_held;

	do
	:: true -> goto silent
	:: arrived < SKBS ->
		lock();
		atomic {
			arrived++;
			queued!arrived;
			news = true;
			if
			:: arrived == SKBS -> fin = true
			:: true
			fi
		};
		judge(skb, before, seen, seen_held);
		unlock()
	:: arrived == SKBS -> break
	od;
	lock();
	atomic { fin = true; news = true };
	unlock();
silent:	skip
}

/* When nobody has anything left to do. */
active proctype observer()
{
	timeout;
	assert(next == 2 * arrived + 1 && shut == fin)
}

/* Carries redirected segments into the destination's send buffer. It may stop in the middle of one. */
active proctype worker_of_destination()
{
	byte skb;
end:	do
	:: atomic { redirected_to?skb -> half_written = true; write_byte(2 * skb - 1) };
		atomic { half_written = false; write_byte(2 * skb) }
	od
}

/* Brings passed segments to where recv finds them, as soon as the receive buffer has room. */
active proctype worker_of_source()
{
	byte skb;
end:	do
	:: atomic { len(backlog) > 0 && len(message) < buffer -> backlog?skb; message!skb; news = true }
	od
}
