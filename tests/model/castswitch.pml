/*
 * Casts by the cast ring and by copies: a sender S and a receiver R that come to know
 * the link, the ring, and the ring that replaces it, in any order, until S leaves or
 * dies. The rules are cast.h's: "Who gets a cast by the ring and who by a copy".
 *
 * Claims: no cast comes twice; and each cast that S finished while it had the link
 * comes once, but for one by the ring that R gave up because it was not published.
 *
 * Besides cast.h: R says READS only when its worker has both the link and the ring. What
 * a ring refuses is copied to all. A closed ring is read to its end before it is removed.
 * When S is gone, R's worker reads the rings to their W before the link leaves the view;
 * the pair ring is salvaged after that.
 *
 * With RELINK the session may break once while S lives. Nothing is salvaged then, casts
 * may be lost, and none may come twice.
 *
 * Negative controls, each must fail: LATE_ANNOUNCE (after the frame is published),
 * EARLY_READS (READS is said before the worker has both), NO_SINCE (R takes all that it
 * finds in the ring), COPY_ON (copies go on after the announcement), HIDE_CLOSED (who
 * reads gets no copy of what found the ring closed), UNREAD (a closed ring is removed
 * before its end), NO_DRAIN (the link leaves the view as soon as S is gone), and with
 * RELINK EARLY_OFFER (S has the new link's ring before the old link has left the view).
 *
 * No position is lapped here, nor claimed late: that is cast.pml's.
 */
#ifndef FRAMES
#define FRAMES 3
#endif
#ifndef RELINK
#define RELINK 0
#endif

#define A     0
#define B     1
#define NONE  2
#define NEVER 255

#define AT(ring, position) ((ring) * FRAMES + (position))

/* The rings. */
byte head[2], frame[2 * FRAMES];
bool closed[2], published[2 * FRAMES];

/* S: what its control tells its worker. A link is its number, 0: none. */
byte s_link, s_ring = NONE;
bool s_reads[2], s_announced[2], s_turn, s_ended;

/* R: the view, what the worker has of it, and the rings as it reads them. */
byte view_link, link;
bool view_has[2], has[2], gone[2];
byte cursor[2];
byte relinks;

/* The pair ring of the link that R offered last, with what S announces in it. */
byte offered, since[2];
chan pair = [FRAMES] of {byte};
chan reads = [4] of {byte, byte};

/* What an onlooker knows. */
byte had[FRAMES + 1];
bool due[FRAMES + 1], given_up[FRAMES + 1];

/* Into a former link's ring nobody looks. */
#define ANNOUNCE                                                             \
	atomic {                                                             \
		if                                                           \
		:: ring != NONE && to && s_reads[ring] && !s_announced[ring] \
			&& to == s_link ->                                   \
			if                                                   \
			:: to == offered -> since[ring] = next[ring]         \
			:: else                                              \
			fi;                                                  \
			s_announced[ring] = true                             \
		:: else                                                      \
		fi                                                           \
	}

proctype sender()
{
	byte number = 1, ring, position, to, next[2];
	bool by_ring;

	do
	:: number > FRAMES -> break
	:: else ->
		atomic { s_turn = true; ring = s_ring; to = s_link }
#ifndef LATE_ANNOUNCE
		ANNOUNCE;
#endif
		atomic {
			if
			:: ring != NONE && !closed[ring] ->
				position = head[ring];
				frame[AT(ring, position)] = number;
				head[ring]++;
				by_ring = s_announced[ring];
#ifdef LATE_ANNOUNCE
				by_ring = s_reads[ring];
#else
				next[ring] = position + 1
#endif
			:: else ->
#ifdef HIDE_CLOSED
				by_ring = ring != NONE && s_announced[ring];
#endif
				ring = NONE
			fi
		}
		if
		:: true
		:: true -> break /* dies in the slot */
		fi;
		if
		:: ring != NONE -> published[AT(ring, position)] = true
		:: else
		fi;
#ifdef LATE_ANNOUNCE
		ANNOUNCE;
		if
		:: ring != NONE -> next[ring] = position + 1
		:: else
		fi;
#endif
		if
		:: true
		:: true -> break /* dies before it copies */
		fi;
		atomic {
			if
#ifdef COPY_ON
			:: to == offered -> pair!number
#else
			:: to == offered && !by_ring -> pair!number
#endif
			:: else
			fi;
			due[number] = to > 0 && !RELINK;
			given_up[number] = given_up[number] && by_ring;
			s_turn = false; by_ring = false;
			ring = 0; position = 0; to = 0;
			number++
		}
	od;
	atomic { s_turn = false; by_ring = false; ring = 0; position = 0; to = 0; number = 0;
		 next[A] = 0; next[B] = 0; s_ended = true }
}

proctype sender_control()
{
	byte life, ring;

	do
	:: atomic { !s_ended && !s_turn && s_link != offered ->
		s_link = offered;
		s_reads[A] = false; s_reads[B] = false;
		s_announced[A] = false; s_announced[B] = false }
	:: atomic { !s_ended && s_ring == NONE -> s_ring = A }
	:: atomic { !s_ended && s_ring != B -> s_ring = B; closed[A] = true }
	:: atomic { reads?life, ring ->
		if
		:: life == s_link -> s_reads[ring] = true
		:: else
		fi;
		life = 0; ring = 0 }
	:: s_ended -> break
	od
}

/* A copy. */
inline take()
{
	pair?number;
	had[number]++;
	assert(had[number] <= 1);
	number = 0
}

#define UNREAD_IN(r) (has[r] && !gone[r] && cursor[r] < head[r])

/* Takes what is at the cursor, passes over it, or gives it up. */
inline read(r)
{
	number = frame[AT(r, cursor[r])];
	if
	:: !published[AT(r, cursor[r])] -> given_up[number] = true
#ifdef NO_SINCE
	:: published[AT(r, cursor[r])] && link -> had[number]++
#else
	:: published[AT(r, cursor[r])] && link && cursor[r] >= since[r] -> had[number]++
#endif
	:: else
	fi;
	assert(had[number] <= 1);
	cursor[r]++;
	number = 0
}

#ifdef UNREAD
#define DRAINED(r) (closed[r])
#else
#define DRAINED(r) (closed[r] && cursor[r] == head[r])
#endif

#define STALE (link != view_link || has[A] != view_has[A] || has[B] != view_has[B])

active proctype worker()
{
	byte number;

end:	do
	:: atomic { STALE -> link = view_link; has[A] = view_has[A]; has[B] = view_has[B] }
	:: atomic { UNREAD_IN(A) -> read(A) }
	:: atomic { UNREAD_IN(B) -> read(B) }
	:: atomic { has[A] && !gone[A] && DRAINED(A) -> gone[A] = true }
	:: atomic { link && len(pair) > 0 -> take() }
	od
}

#ifdef EARLY_READS
#define MAY_SAY(r) (view_link && !said[r])
#else
#define MAY_SAY(r) (view_link && link == view_link && has[r] && !said[r])
#endif

active proctype control()
{
	byte number;
	bool said[2];

	atomic {
		since[A] = NEVER; since[B] = NEVER;
		offered = 1; run sender(); run sender_control()
	}
	do
	:: atomic { !view_link -> view_link = offered }
	:: atomic { !view_has[A] -> view_has[A] = true; cursor[A] = head[A] }
	:: atomic { !view_has[B] -> view_has[B] = true; cursor[B] = head[B] }
	:: atomic { view_has[B] && !closed[A] -> closed[A] = true }
	:: atomic { MAY_SAY(A) -> reads!view_link, A; said[A] = true }
	:: atomic { MAY_SAY(B) -> reads!view_link, B; said[B] = true }
	:: atomic { RELINK && view_link && relinks == 0 -> relinks++; view_link = 0 };
#ifdef EARLY_OFFER
		/* The old link's announcements are in the view with it. */
		atomic {
			do
			:: pair?number
			:: empty(pair) -> break
			od;
			number = 0; offered++
		}
		link == 0;
		atomic { since[A] = NEVER; since[B] = NEVER; said[A] = false; said[B] = false }
#else
		link == 0;
		atomic {
			do
			:: pair?number
			:: empty(pair) -> break
			od;
			since[A] = NEVER; since[B] = NEVER;
			said[A] = false; said[B] = false;
			number = 0; offered++
		}
#endif
	:: atomic { s_ended && view_link -> break }
	od;
	/* S is gone. */
	!STALE;
#ifndef NO_DRAIN
	!UNREAD_IN(A) && !UNREAD_IN(B);
#endif
	view_link = 0;
	link == 0;
	/* The salvage. */
	atomic {
		do
		:: len(pair) > 0 -> take()
		:: else -> break
		od;
		number = 1;
		do
		:: number > FRAMES -> break
		:: else ->
			assert(had[number] == 1 || given_up[number] || !due[number]);
			number++
		od
	}
}
