/*
 * Casts that are in a cast ring and in copies at once: a sender S and a receiver R that
 * come to know the link, the ring, and the ring that replaces it, in any order, until S
 * leaves or dies.
 *
 * Claims: R counts no cast twice, as delivered or as a hole; and once each cast that S
 * finished while it had the link.
 *
 * The rules. S looks whether the link reads the ring, then claims, fills and publishes,
 * then copies, if it did not read then, with a tag {ring, position}; without a position
 * it copies untagged, whoever reads. R's worker begins to read a ring at W, at the moment
 * it takes up the first view that has it, and notes, when a view first has both the link
 * and the ring, its cursor: `from`. R says READS after that. A copy with a tag at or
 * after `from` is dropped, also if that ring has been removed meanwhile. A closed ring is
 * read to its end before it is removed: what was not published by then is counted as
 * holes. When S is gone, R's worker reads the rings to their W before the link leaves the
 * view; the pair ring is salvaged after that.
 *
 * With RELINK the session may break once while S lives. Nothing is salvaged then, casts
 * may be lost, and none may be counted twice.
 *
 * Negative controls, each must fail: LATE_LOOK (S looks at the bit after it published),
 * EARLY_CURSOR (control begins at W before the worker has the view), EARLY_READS (READS
 * is said before the worker has both), ALL_COPIES (none is dropped), NO_FROM (each copy
 * is dropped whose ring is read), FRESH_FROM (`from` is W, not the cursor), FORGET (a
 * removed ring is forgotten), UNREAD (a closed ring is removed before its end),
 * HIDE_CLOSED (who reads gets no copy of what found the ring closed), NO_DRAIN (the link
 * leaves the view as soon as S is gone), and with RELINK EARLY_OFFER (S has the new
 * link's ring before the old link has left the view).
 *
 * No position is lapped here, nor claimed late: that is cast.pml's.
 */
#ifndef FRAMES
#define FRAMES 3
#endif
#ifndef RELINK
#define RELINK 0
#endif

#define A    0
#define B    1
#define NONE 2
#define NEVER 255

#define AT(ring, position) ((ring) * FRAMES + (position))

/* The rings. */
byte head[2], frame[2 * FRAMES];
bool closed[2];

/* S: what its control tells its worker. A link is its number, 0: none. */
byte s_link, s_ring = NONE;
bool s_reads[2], s_turn, s_ended;

/* R: the view, what the worker has of it, and what it knows besides. */
byte view_link, link;
bool view_has[2], has[2], gone[2];
byte cursor[2], from[2];
byte relinks;

byte offered; /* by R to S, with a new pair ring */
chan pair = [FRAMES] of {byte, byte, byte};
chan reads = [4] of {byte, byte};

/* What an onlooker knows. */
byte had[FRAMES + 1];
bool due[FRAMES + 1];

proctype sender()
{
	byte number = 1, ring, position, to;
	bool looked;

	do
	:: number > FRAMES -> break
	:: else ->
		atomic {
			s_turn = true;
			ring = s_ring;
			to = s_link;
			if
			:: ring != NONE -> looked = s_reads[ring]
			:: else
			fi
		}
		atomic {
			if
			:: ring != NONE && !closed[ring] ->
				position = head[ring];
				frame[AT(ring, position)] = number;
				head[ring]++
			:: else ->
				ring = NONE;
#ifndef HIDE_CLOSED
				looked = false
#endif
			fi
		}
		/* Whether it publishes is seen by nobody here: see the worker. */
		if
		:: true
		:: true -> break
		fi;
#ifdef LATE_LOOK
		if
		:: ring != NONE -> looked = s_reads[ring]
		:: else
		fi;
#endif
		atomic {
			if
			:: to == offered && !looked -> pair!number, ring, position
			:: else /* into a former link's ring nobody looks */
			fi;
			due[number] = to > 0 && !RELINK;
			s_turn = false; looked = false;
			ring = 0; position = 0; to = 0;
			number++
		}
	od;
	atomic { s_turn = false; looked = false; ring = 0; position = 0; to = 0; number = 0;
		 s_ended = true }
}

proctype sender_control()
{
	byte life, ring;

	do
	:: atomic { !s_ended && !s_turn && s_link != offered ->
		s_link = offered; s_reads[A] = false; s_reads[B] = false }
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

/* A frame of a pair ring. */
inline take()
{
	pair?number, ring, position;
	if
#ifdef ALL_COPIES
	:: false
#elif defined(NO_FROM)
	:: ring != NONE && has[ring]
#elif defined(FORGET)
	:: ring != NONE && !gone[ring] && position >= from[ring]
#else
	:: ring != NONE && position >= from[ring]
#endif
	:: else -> had[number]++
	fi;
	assert(had[number] <= 1);
	number = 0; ring = 0; position = 0
}

#define UNREAD_IN(r) (has[r] && !gone[r] && cursor[r] < head[r])

/* A frame; or a hole, as which one that isn't published may be counted at any time. */
inline read(r)
{
	number = frame[AT(r, cursor[r])];
	if
	:: link -> had[number]++
	:: else /* it was not sent to us */
	fi;
	assert(had[number] <= 1);
	cursor[r]++;
	number = 0
}

inline begin(r)
{
#ifndef EARLY_CURSOR
	if
	:: !has[r] -> cursor[r] = head[r]
	:: else
	fi;
#endif
	has[r] = view_has[r]
}

inline note(r)
{
	if
	:: link && has[r] && from[r] == NEVER ->
#ifdef FRESH_FROM
		from[r] = head[r]
#else
		from[r] = cursor[r]
#endif
	:: else
	fi
}

#ifdef UNREAD
#define DRAINED(r) (closed[r])
#else
#define DRAINED(r) (closed[r] && cursor[r] == head[r])
#endif

#define STALE (link != view_link || has[A] != view_has[A] || has[B] != view_has[B])

active proctype worker()
{
	byte number, ring, position;

end:	do
	:: atomic { STALE ->
		if
		:: view_link && link != view_link ->
			from[A] = NEVER; from[B] = NEVER
		:: else
		fi;
		link = view_link;
		begin(A);
		begin(B);
		note(A);
		note(B) }
	:: atomic { UNREAD_IN(A) -> read(A) }
	:: atomic { UNREAD_IN(B) -> read(B) }
	:: atomic { has[A] && !gone[A] && DRAINED(A) -> gone[A] = true }
	:: atomic { link && len(pair) > 0 -> take() }
	od
}

#ifdef EARLY_READS
#define MAY_SAY(r) (view_link && view_has[r] && !said[r])
#else
#define MAY_SAY(r) (view_link && link == view_link && has[r] && !said[r])
#endif

inline early(r)
{
#ifdef EARLY_CURSOR
	cursor[r] = head[r]
#else
	skip
#endif
}

active proctype control()
{
	byte number, ring, position;
	bool said[2];

	from[A] = NEVER; from[B] = NEVER;
	atomic { offered = 1; run sender(); run sender_control() }
	do
	:: atomic { !view_link -> view_link = offered }
	:: atomic { !view_has[A] -> view_has[A] = true; early(A) }
	:: atomic { !view_has[B] -> view_has[B] = true; early(B) }
	:: atomic { view_has[B] && !closed[A] -> closed[A] = true }
	:: atomic { MAY_SAY(A) -> reads!view_link, A; said[A] = true }
	:: atomic { MAY_SAY(B) -> reads!view_link, B; said[B] = true }
	:: atomic { RELINK && view_link && relinks == 0 -> relinks++; view_link = 0 };
#ifndef EARLY_OFFER
		link == 0;
#endif
		atomic {
			do
			:: pair?number, ring, position
			:: empty(pair) -> break
			od;
			number = 0; ring = 0; position = 0;
			said[A] = false; said[B] = false;
			offered++
		}
#ifdef EARLY_OFFER
		; link == 0
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
	/* The salvage; each link keeps its `from`. */
	atomic {
		do
		:: len(pair) > 0 -> take()
		:: else -> break
		od;
		number = 1;
		do
		:: number > FRAMES -> break
		:: else -> assert(had[number] == 1 || !due[number]); number++
		od
	}
}
