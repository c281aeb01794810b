/*
 * A cast ring that is replaced by one of a new epoch, or goes on in place after a
 * death, and members that die and come back. What one ring does by itself (lapping,
 * half a copy) is cast.pml's.
 *
 * Claims: who stores into a slot owns it, also after deaths, late reclaims and returns;
 * W of a closed ring does not move; a frame whose writer was told that it is published
 * is below W; a reader that reads the old ring to its end and then the new one has each
 * position counted once and each writer's frames in order; when all is over no slot is
 * held by anybody.
 *
 * The rules. The old ring is closed by a bit in its W once the new one exists; nobody
 * claims a position in it after that, and a claim that closing overtook, that of a
 * writer that was stopped before it too, is withdrawn. What was claimed in time may
 * still be published; a reader may give up on it. A member that learns of a death
 * empties what the dead was writing, in both rings, under the dead one's lock, that a
 * living member holds for its life: if it is held, the dead one is back, and has
 * emptied these slots itself before its first claim.
 *
 * A slot's word holds lap * 16 + state * 4 + writer. A frame is writer * 16 + its
 * number, of one count for all.
 *
 * Negative controls, each must fail: LATE_RECLAIM (without the lock), NO_RECLAIM (who
 * is back does not empty its slots), REOPEN (W moves although the ring is closed),
 * BLIND_CLOSE (a claim that closing overtook is not withdrawn), LEAVE_EARLY (a reader
 * goes to the new ring before the end of the old one).
 */
#ifndef DEPTH
#define DEPTH 2
#endif
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef FRAMES
#define FRAMES 2 /* of all writers */
#endif
#ifndef PASSES
#define PASSES 3 /* over slots that are held, then the ring is full */
#endif
#ifndef KILLS
#define KILLS 1
#endif

#define A 0
#define B 1

#define EMPTY	  0
#define WRITING	  1
#define PUBLISHED 2

#define SLOT(ring, position)	 ((ring) * DEPTH + (position) % DEPTH)
#define LAP(position)		 ((position) / DEPTH + 1)
#define WORD(lap, state, writer) ((lap) * 16 + (state) * 4 + (writer))
#define LAP_OF(word)		 ((word) / 16)
#define STATE_OF(word)		 (((word) / 4) % 4)

byte head[2], word[2 * DEPTH], frame[2 * DEPTH];
bool closed[2], made; /* B */

/* The locks: a member's own, and how many hold it to reclaim. */
bool alive[WRITERS + 1];
byte shared[WRITERS + 1];

byte kills, running, numbers, passes;
byte closed_at;

#define MAY_DIE                                                                  \
	if                                                                       \
	:: skip                                                                  \
	:: atomic { kills < KILLS -> kills++; goto killed }                      \
	fi

/* What `id` was writing becomes empty. */
inline reclaim(id)
{
	slot = 0;
	do
	:: slot < 2 * DEPTH ->
		found = word[slot];
		atomic {
			if
			:: STATE_OF(found) == WRITING && found % 4 == id &&
			   word[slot] == found ->
				word[slot] = WORD(LAP_OF(found), EMPTY, id)
			:: else
			fi;
			found = 0;
			slot++
		}
	:: else -> break
	od;
	slot = 0
}

/* Learns of the death whenever it likes. */
proctype owner(byte id)
{
	byte slot, found;

#ifndef LATE_RECLAIM
	atomic {
		if
		:: alive[id] -> goto finished
		:: else -> shared[id]++
		fi
	}
	reclaim(id);
	shared[id]--;
#else
	reclaim(id);
#endif
finished:
	atomic { slot = 0; found = 0; running-- }
}

#define MINE (word[SLOT(ring, position)] == WORD(LAP(position), WRITING, id))

proctype writer(byte id; bool returns)
{
	byte ring, position, found, slot, number;

	atomic { shared[id] == 0 -> alive[id] = true }
#ifndef NO_RECLAIM
	if
	:: returns -> reclaim(id)
	:: else
	fi;
#endif
next:
	/* It may have heard of the new ring, or not yet. */
	atomic {
		if
		:: numbers == FRAMES -> goto finished
		:: else -> numbers++; number = numbers
		fi;
		if
		:: ring == A
		:: made -> ring = B
		fi
	}
again:
	atomic {
		if
		:: closed[ring] -> ring = B /* exists, and stays open */
		:: else
		fi;
		position = head[ring];
		found = 0
	}
	found = word[SLOT(ring, position)];
	if
	:: LAP_OF(found) > LAP(position) -> goto again
	:: LAP_OF(found) == LAP(position) -> goto pass
	:: LAP_OF(found) < LAP(position) && STATE_OF(found) == WRITING -> goto pass
	:: else
	fi;
	atomic {
		if
		:: word[SLOT(ring, position)] == found ->
			word[SLOT(ring, position)] = WORD(LAP(position), WRITING, id);
			found = 0
		:: else -> goto again
		fi
	}
	MAY_DIE;
	atomic {
		if
#ifdef REOPEN
		:: head[ring] == position -> head[ring]++; goto claimed
#else
		:: !closed[ring] && head[ring] == position -> head[ring]++; goto claimed
#endif
		:: else
		fi
	}
#ifndef BLIND_CLOSE
	if
	:: head[ring] > position
	:: else ->
		atomic {
			assert(MINE);
			word[SLOT(ring, position)] = WORD(LAP(position), EMPTY, id)
		}
		goto again
	fi;
#endif
claimed:
	MAY_DIE;
	atomic {
		assert(MINE);
		frame[SLOT(ring, position)] = id * 16 + number
	}
	MAY_DIE;
	atomic {
		assert(MINE && head[ring] > position);
		word[SLOT(ring, position)] = WORD(LAP(position), PUBLISHED, id)
	}
	goto next;
pass:
	atomic {
		if
		:: passes == PASSES -> goto next
		:: !closed[ring] && head[ring] == position && passes < PASSES ->
			head[ring]++;
			passes++
		:: else
		fi
	}
	goto again;
killed:
	atomic {
		alive[id] = false;
		running++;
		run owner(id)
		/* Back at any time, or not. */
		if
		:: running++; run writer(id, true)
		:: true
		fi;
		goto gone
	}
finished:
	alive[id] = false;
gone:
	atomic { ring = 0; found = 0; position = 0; slot = 0; number = 0; running-- }
}

proctype maker()
{
	made = true;
	atomic { closed[A] = true; closed_at = head[A] }
}

proctype reader()
{
	byte ring, cursor, found, counted, missed, last[WRITERS + 1];

	do
	:: atomic { cursor < head[ring] && head[ring] - cursor <= DEPTH ->
		found = word[SLOT(ring, cursor)];
		if
		:: LAP_OF(found) == LAP(cursor) && STATE_OF(found) == PUBLISHED ->
			assert(frame[SLOT(ring, cursor)] / 16 == found % 4);
			assert(frame[SLOT(ring, cursor)] > last[found % 4]);
			last[found % 4] = frame[SLOT(ring, cursor)];
			counted++
		:: else -> missed++ /* lapped, a hole, or given up */
		fi;
		cursor++; found = 0 }
	:: atomic { head[ring] - cursor > DEPTH ->
		missed = missed + head[ring] - DEPTH - cursor;
		cursor = head[ring] - DEPTH }
#ifdef LEAVE_EARLY
	:: atomic { ring == A && made -> ring = B; cursor = 0 }
#else
	:: atomic { ring == A && closed[A] && cursor == head[A] -> ring = B; cursor = 0 }
#endif
	:: atomic { running == 0 && ring == B && cursor == head[B] -> break }
	:: atomic { running == 0 && !made && cursor == head[A] -> break }
	od;
	assert(head[A] == closed_at || !closed[A]);
	assert(counted + missed == head[A] + head[B]);
	found = 0;
	do
	:: found < 2 * DEPTH -> assert(STATE_OF(word[found]) != WRITING); found++
	:: else -> break
	od
}

init {
	byte i;

	atomic {
		do
		:: i < WRITERS -> i++; running++; run writer(i, false)
		:: else -> break
		od;
		if
		:: run maker()
		:: true /* it goes on in place */
		fi;
		run reader()
	}
}
