/*
 * A queue of items of any length, from one thread to one other: what the planes have
 * to say to each other beyond a word.
 *
 * Owns its memory. Never blocks, and allocates in post_init() only. Who wakes whom is
 * the caller's matter.
 *
 * Theory of operation
 * -------------------
 * An item is a length and that many bytes, padded to 8; one that crosses the end goes
 * on at the beginning. Positions are byte counts that never wrap, each of one writer:
 *
 *     writer    put:  read tail           (D)     head: behind what was put
 *                     fill, write head    (A)
 *     reader    take: read head           (B)     tail: behind what was taken
 *                     copy, write tail    (C)
 *
 * (A) release pairs with (B) acquire: who sees the head sees the items below it.
 * (C) release pairs with (D) acquire: the tail is the writer's licence to fill again
 *     what is below it, and what is there has been copied.
 * Each keeps a copy of the other one's position, and reads it anew only when by the
 * copy there is no room, or no item.
 *
 * Between post_put() and whatever wakes the reader nothing is needed: who was woken
 * after it by a system call, or takes once more before it sleeps, finds the item.
 */
#ifndef DATA_POST_H
#define DATA_POST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define POST_LINE 64 /* what two threads had better not share */

struct post {
	uint8_t *bytes;
	uint64_t mask; /* size - 1 */
	uint8_t pad0[POST_LINE];
	uint64_t head; /* the writer's (A) */
	uint64_t seen_tail;
	uint8_t pad1[POST_LINE];
	uint64_t tail; /* the reader's (C) */
	uint64_t seen_head;
	uint8_t pad2[POST_LINE];
};

/*
 * Room for `bytes` at least, with 4 bytes and padding to 8 for each item. 0 or -ENOMEM.
 * No other thread has it yet.
 */
int post_init(struct post *post, size_t bytes);

/* No other thread has it any more. Accepts a post that is zeroed, or could not be made.
 */
void post_close(struct post *post);

/*
 * The writer's. -EAGAIN: no room until something is taken; -EMSGSIZE: no bytes, or more
 * than there will ever be room for.
 */
int post_put(struct post *post, const void *item, size_t length);

/*
 * The reader's: the next item's length. 0: there is none. -EMSGSIZE: it has more bytes
 * than `room`, and stays.
 */
ssize_t post_take(struct post *post, void *item, size_t room);

#endif
