/* Why a lane never leaves the sockmap while it is alive. Included by lane.pml, as a part of the relay.
 *
 * It would be tempting: when a chat turns into a bulk transfer, the pipe is faster. Let `leaving` tell the program to
 * redirect without asking for room, so that nothing is passed; make sure that nothing was; take the source out of the
 * map; wait for what was redirected; read on in the pipe.
 *
 * But bpf(2) deletes under the lock of the map and the callback lock, not under the socket's. First the socket loses its
 * program and then its callback, and the verdicts that are being asked for meanwhile find no program: the kernel drops
 * these segments, which TCP has acknowledged. On a busy connection that is one deletion in fifty (measured on Linux 6.18).
 *
 * If the kernel deleted under the socket's lock, the protocol would do (DELETED_UNDER_LOCK). If it let verdicts that are
 * being made finish (VERDICTS_FINISH), it would take another kick, which waits for them (KICK_AFTER_DELETE).
 */
leave:
	leaving = true;
	kick();
	if
	:: CAUGHT_UP
	:: else -> leaving = false; goto spilling
	fi;

#ifdef DELETED_UNDER_LOCK
	lock_by_relay();
	program = false;
	judging = false;
	unlock();
#else
	program = false;
	judging = false;
#endif
#ifdef KICK_AFTER_DELETE
	kick();
#endif

	until_drained();
	/* If it is promoted again, it counts from 0. */
	atomic { leaving = false; consumed_ = 0; injected = 0; kicked = false };
	passed = 0;
	redirected = 0;
	consumed = 0;
	goto pipe;
