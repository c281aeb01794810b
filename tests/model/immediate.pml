/*
 * What is told of a ring on RDMA: src/data/fabric_rdma.c. A transmits, B receives; each
 * has a completion queue, receives, and a send queue. No immediate finds its side
 * without a receive, no place of the staging ring is filled again while a WRITE of it is
 * under way, and nobody sleeps for ever while something is left to do.
 *
 * Positions count records; a WRITE and its HEAD are one. The device carries out, and
 * acknowledges, what was posted, at any later time. A turn is one step: between its
 * calls a side hears nothing, so it is all the same when the device does what. The way
 * to sleep is three: take and post, arm, take. Control, which beats, takes what came
 * and posts what is due, at any time.
 *
 * Whether a link has nothing more to publish (`last`), whether a worker goes to sleep
 * with frames still to come by TAP, and how much it reads in a turn, is left to chance.
 * A waits in SOLICITED for nothing here: what would come is the other direction's.
 *
 * Lost wake-up: nothing can happen any more, and not all has been read.
 * Negative controls, each must fail: EARLY (sleep without a second look), HASTY (arm for
 * solicited immediates only), BLIND (look at what this call took, not at what is known),
 * LAZY (credits by the quarter ring only), FLOOD (any number of HEADs), LATE_POST
 * (receives are posted again after the answer), FEW (one receive less for HEADs), REUSE
 * (credited is enough to fill a place again). That BEATs don't use up the receives
 * either is shown in beat.pml.
 */
#ifndef RECORDS
#define RECORDS 4
#endif
#ifndef RING
#define RING 3
#endif
#ifndef QUARTER
#define QUARTER 2
#endif
#ifndef HEADS
#define HEADS 2
#endif
#ifndef SENDS
#define SENDS 2
#endif
#ifndef LOOKS
#define LOOKS 0 /* of control, on each side */
#endif
#define TAILS (HEADS + (RING + QUARTER - 1) / QUARTER)

mtype = { HEAD, TAIL, SENT };
mtype = { NOT, SOLICITED, ALL };

chan a_wire = [SENDS] of { byte };
chan b_wire = [SENDS] of { byte };
chan a_acks = [SENDS] of { byte };
chan b_acks = [SENDS] of { byte };
chan a_queue = [TAILS + SENDS + 1] of { mtype, byte };
chan b_queue = [HEADS + SENDS + 1] of { mtype, byte };
mtype a_armed = NOT, b_armed = NOT;
bool a_bell, b_bell; /* the wait fd is readable */
byte a_sends = SENDS, b_sends = SENDS;
byte a_receives = TAILS;
#ifdef FEW
byte b_receives = HEADS - 1;
#else
byte b_receives = HEADS;
#endif

/* A: published, told of, credited, done; HEADs without an answer. */
byte head, covered, credited, done;
#ifdef FLOOD
#define MAX_OPEN 12
#else
#define MAX_OPEN HEADS
#endif
byte open[MAX_OPEN];
byte num_open;

/* B: told of, read, to be told, told; receives to be posted (LATE_POST). */
byte known, tail, due, told, owed;

#ifdef REUSE
#define USED (head - credited)
#else
#define USED (head - (credited < done -> credited : done))
#endif
#define HAS_ROOM (USED < RING)

active proctype device()
{
	byte position;

end:	do
	:: atomic {
		a_wire?position ->
		assert(b_receives > 0);
		b_receives--;
		b_queue!HEAD,position;
		a_acks!position;
		if
		:: b_armed != NOT -> b_armed = NOT; b_bell = true
		:: else
		fi;
		position = 0
	}
	:: atomic {
		b_wire?position ->
		assert(a_receives > 0);
		a_receives--;
		a_queue!TAIL,position;
		b_acks!position;
		if
		:: a_armed == ALL -> a_armed = NOT; a_bell = true
		:: else
		fi;
		position = 0
	}
	:: atomic {
		a_acks?position ->
		a_queue!SENT,position;
		if
		:: a_armed == ALL -> a_armed = NOT; a_bell = true
		:: else
		fi;
		position = 0
	}
	:: atomic {
		b_acks?position ->
		b_queue!SENT,position;
		if
		:: b_armed == ALL -> b_armed = NOT; b_bell = true
		:: else
		fi;
		position = 0
	}
	od
}

/* ---- A ---- */

inline a_take()
{
	do
	:: a_queue?TAIL,position ->
		took = true;
		a_receives++;
		assert(position > credited && position <= covered);
		credited = position;
		do
		:: num_open > 0 && open[0] <= position ->
			num_open--;
			i = 0;
			do
			:: i < num_open -> open[i] = open[i + 1]; i++
			:: else -> break
			od;
			open[num_open] = 0
		:: else -> break
		od
	:: a_queue?SENT,position ->
		took = true;
		a_sends++;
		done = position
	:: empty(a_queue) -> break
	od;
	position = 0;
	i = 0
}

inline a_push(last)
{
	if
	:: head > covered && a_sends > 0 && num_open < MAX_OPEN &&
	   (num_open == 0 || last || head - covered >= QUARTER) ->
		a_sends--;
		a_wire!head;
		open[num_open] = head;
		num_open++;
		covered = head
	:: else
	fi
}

active proctype transmitter()
{
	byte position, i;
	bool took, blocked, last;

turn:
	atomic {
		a_take();
		took = false;
		if
		:: last = true
		:: last = false
		fi;
		a_push(last);
		last = false;
		do
		:: head < RECORDS && HAS_ROOM ->
			head++;
			assert(head - done <= RING)
		:: break
		od;
		blocked = head < RECORDS && !HAS_ROOM;
		a_push(false);
		if
		:: goto turn
		:: skip
		fi
	}
	/* prepare_sleep() */
	atomic {
		a_take();
		a_push(true);
		took = false
	}
	atomic {
#ifndef HASTY
		if
		:: blocked || head > covered -> a_armed = ALL
		:: else -> a_armed = (a_armed == ALL -> ALL : SOLICITED)
		fi
#else
		a_armed = SOLICITED
#endif
	}
#ifndef EARLY
	atomic { a_take() }
#endif
	if
	:: atomic { took || (blocked && HAS_ROOM) -> took = false }
	:: else ->
end:		if
		:: a_bell -> a_bell = false
		:: head < RECORDS && !blocked
		fi
	fi;
	goto turn
}

active proctype a_control()
{
	byte position, i, n;
	bool took;

end:	do
	:: n < LOOKS -> atomic {
		a_take();
		took = false;
		a_push(true);
		n++
	}
	:: break
	od
}

/* ---- B ---- */

inline b_take()
{
	do
	:: b_queue?HEAD,position ->
		took = true;
#ifdef LATE_POST
		owed++;
#else
		b_receives++;
#endif
		assert(position > known && position - told <= RING);
		known = position
	:: b_queue?SENT,position ->
		took = true;
		b_sends++
	:: empty(b_queue) -> break
	od;
	position = 0
}

inline b_push()
{
	if
	:: due > told && b_sends > 0 ->
		b_sends--;
		b_wire!due;
		told = due
	:: else
	fi
}

/* rdma_credit() */
inline b_credit()
{
	if
#ifdef LAZY
	:: tail - due >= QUARTER ->
#else
	:: tail > due && (tail - due >= QUARTER || tail == known) ->
#endif
		due = tail;
		b_push()
	:: else
	fi
}

active proctype receiver()
{
	byte position, seen;
	bool took;

turn:
	atomic {
		b_take();
		took = false;
		b_push();
		seen = known;
		do
		:: tail < seen ->
			tail++;
			if
			:: tail - due >= QUARTER -> b_credit()
			:: else
			fi
		:: break
		od;
		b_credit();
		if
		:: tail < seen -> goto turn
		:: else
		fi;
		seen = 0
	}
#ifdef LATE_POST
	atomic { b_receives = b_receives + owed; owed = 0 }
#endif
	/* prepare_sleep() */
	atomic {
		b_take();
		b_push();
		took = false
	}
	atomic {
#ifndef HASTY
		b_armed = (due > told || b_armed == ALL -> ALL : SOLICITED)
#else
		b_armed = SOLICITED
#endif
	}
#ifndef EARLY
	atomic { b_take() }
#endif
	if
#ifdef BLIND
	:: atomic { took -> took = false }
#else
	:: atomic { took || known != tail -> took = false }
#endif
	:: else ->
end:		b_bell -> b_bell = false
	fi;
	goto turn
}

active proctype b_control()
{
	byte position, n;
	bool took;

end:	do
	:: n < LOOKS -> atomic {
		b_take();
		took = false;
		b_push();
		n++
	}
	:: break
	od
}

active proctype watchdog()
{
	timeout -> assert(tail == RECORDS)
}
