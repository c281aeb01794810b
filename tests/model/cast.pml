/*
 * The cast ring: writers that pause or die at any step, a reader that is lapped,
 * reclaim after a death, and somebody who closes the ring.
 *
 * Claims: what a reader accepts was written by one writer, whole; its cursor and its
 * counts agree; W never moves after the ring was closed; a reader of a closed ring
 * drains to W, once every writer has finished or was reclaimed; a frame that a writer
 * was told is published is below W.
 *
 * A payload is two words, so that half a write and half a copy exist. A pause is any
 * interleaving in which the others go on. Spin explores sequentially consistent
 * interleavings: all operations on W and the slot's words are that, and the words of
 * the payload are fenced by them as cast.h says (C, D, E).
 *
 * What a slot's word holds: lap * 16 + state * 4 + writer.
 *
 * Negative controls, each must fail: ADD (W is added to, and the slot written, without
 * a compare-and-swap of the word), TAKE_OVER (a slot that is being written is taken
 * by the next lap), NO_REREAD (the word is not looked at again after the copy),
 * EARLY_RECLAIM (a slot of a writer that is not dead is reclaimed), BLIND_CLOSE (a
 * claim that closing overtook is not withdrawn).
 */
#ifndef DEPTH
#define DEPTH 2
#endif
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef FRAMES
#define FRAMES 2 /* of each writer */
#endif
#ifndef KILLS
#define KILLS 1
#endif

#define EMPTY	  0
#define WRITING	  1
#define PUBLISHED 2

#define SLOT(position)		  ((position) % DEPTH)
#define LAP(position)		  ((position) / DEPTH + 1)
#define WORD(lap, state, writer)  ((lap) * 16 + (state) * 4 + (writer))
#define LAP_OF(word)		  ((word) / 16)
#define STATE_OF(word)		  (((word) / 4) % 4)
#define FRAME(writer, number)	  ((writer) * 16 + (number))

byte head;
bool closed;
byte word[DEPTH], first[DEPTH], second[DEPTH];

/* What an onlooker knows. */
byte kills, ended;
bool dead[WRITERS + 1];

/* Dies here, or not. */
#define MAY_DIE                                                                  \
	if                                                                       \
	:: skip                                                                  \
	:: atomic { kills < KILLS -> kills++; goto killed }                      \
	fi

proctype writer(byte id)
{
	byte position, found, number;

next:
	if
	:: number == FRAMES -> goto finished
	:: else -> number++
	fi;
again:
	atomic {
		if
		:: closed -> goto finished
		:: else -> position = head
		fi;
		found = 0
#ifdef ADD
		; head++
#endif
	}
#ifdef ADD
	word[SLOT(position)] = WORD(LAP(position), WRITING, id);
#else
	found = word[SLOT(position)];
	if
	:: LAP_OF(found) > LAP(position) -> goto again
	:: LAP_OF(found) == LAP(position) -> goto pass
	:: LAP_OF(found) < LAP(position) && STATE_OF(found) == WRITING ->
#ifndef TAKE_OVER
		goto pass
#endif
	:: else
	fi;
	atomic {
		if
		:: word[SLOT(position)] == found ->
			word[SLOT(position)] = WORD(LAP(position), WRITING, id);
			found = 0
		:: else -> goto again
		fi
	}
	MAY_DIE;
	atomic {
		if
		:: !closed && head == position -> head++; goto claimed
		:: else
		fi
	}
	if
	:: head > position
	:: else -> /* closed */
#ifndef BLIND_CLOSE
		atomic {
			if
			:: word[SLOT(position)] == WORD(LAP(position), WRITING, id) ->
				word[SLOT(position)] = WORD(LAP(position), EMPTY, id)
			:: else
			fi
		}
		goto finished
#endif
	fi;
claimed:
#endif
	MAY_DIE;
	first[SLOT(position)] = FRAME(id, number);
	MAY_DIE;
	second[SLOT(position)] = FRAME(id, number);
#ifdef ADD
	word[SLOT(position)] = WORD(LAP(position), PUBLISHED, id);
#else
	atomic {
		if
		:: word[SLOT(position)] == WORD(LAP(position), WRITING, id) ->
			word[SLOT(position)] = WORD(LAP(position), PUBLISHED, id);
			assert(head > position)
#ifdef TAKE_OVER
		:: else
#else
		:: else -> assert(false) /* only the dead are reclaimed */
#endif
		fi
	}
#endif
	goto next;
pass:
	atomic {
		if
		:: !closed && head == position -> head++
		:: else
		fi
	}
	goto again;
killed:
	dead[id] = true;
finished:
	atomic { found = 0; position = 0; number = 0; ended++ }
}

/* Sees a writer's EOF, and clears after it. */
proctype owner(byte id)
{
	byte slot, found;

#ifndef EARLY_RECLAIM
	dead[id] || ended == WRITERS;
	if
	:: dead[id]
	:: else -> goto finished
	fi;
#endif
	do
	:: slot < DEPTH ->
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
finished:
	slot = 0
}

proctype closer()
{
	byte at;

	atomic {
		closed = true;
		at = head
	}
	/* When nothing moves any more. */
	ended == WRITERS;
	assert(head == at)
}

proctype reader()
{
	byte cursor, seen, found, one, two, counted, missed;
	bool shut;

next:	do
	:: cursor == seen ->
		atomic {
			head != cursor || closed;
			seen = head;
			shut = closed
		}
		if
		:: shut && seen == cursor -> break
		:: seen - cursor > DEPTH -> goto lapped
		:: else
		fi
	:: cursor != seen ->
		/* Waits for a slot that is being written, until W is far enough. */
		atomic {
			word[SLOT(cursor)] / 4 != LAP(cursor) * 4 + WRITING ||
			head - cursor > DEPTH / 2;
			found = word[SLOT(cursor)]
		}
		if
		:: LAP_OF(found) > LAP(cursor) ->
			seen = head;
			assert(seen - cursor >= DEPTH);
			goto lapped
		:: LAP_OF(found) < LAP(cursor) || STATE_OF(found) != PUBLISHED ->
			atomic { missed++; cursor++; found = 0 }
		:: else ->
			one = first[SLOT(cursor)];
			two = second[SLOT(cursor)];
			atomic {
				if
#ifdef ADD
				:: word[SLOT(cursor)] != found -> missed++; cursor++
#elif !defined(NO_REREAD)
				:: word[SLOT(cursor)] != found ->
					assert(LAP_OF(word[SLOT(cursor)]) > LAP(cursor));
					seen = head;
					if
					:: seen - cursor >= DEPTH
					:: else -> assert(false)
					fi;
					goto lapped
#endif
				:: else ->
					assert(one == two);
					assert(one / 16 == found % 4);
					counted++; cursor++
				fi;
				one = 0; two = 0; found = 0
			}
		fi;
		goto next;
lapped:
		atomic {
			missed = missed + seen - (DEPTH - 1) - cursor;
			cursor = seen - (DEPTH - 1);
			one = 0; two = 0; found = 0
		}
	od;
	assert(cursor == head && counted + missed == cursor)
}

init {
	byte i;

	atomic {
				do
		:: i < WRITERS -> i++; run writer(i); run owner(i)
		:: else -> break
		od;
		run closer();
		run reader()
	}
}
