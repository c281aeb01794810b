/*
 * The labels for which a port would like a cast ring, and has asked control.
 *
 * The worker counts casts that had no ring of their own and raises a want; control
 * takes it, and answers it when it has made the ring or can't. A want that was
 * answered is raised again a second later at the earliest.
 *
 * `state` is what the two threads share. Whose move it is:
 *
 *     state      moves to    by       the worker's
 *     COUNTING   RAISED      worker   key, count, since_ns
 *     RAISED     TAKEN       control  nothing
 *     TAKEN      ANSWERED    control  nothing
 *     ANSWERED   COUNTING    worker   nothing until it moved
 */
#ifndef DATA_WANT_H
#define DATA_WANT_H

#include <shmnet/wire.h>

/* Groups that are counted at once; two of one place push each other out. */
#define WANT_GROUPS 64

/* A group is worth a ring from so many casts within a second on. */
#define WANT_GROUP_CASTS 32

/* The label of the broadcast ring. */
#define WANT_BROADCAST 0xffffffffffffull

enum want_state {
	WANT_COUNTING,
	WANT_RAISED,
	WANT_TAKEN,
	WANT_ANSWERED,
};

struct want {
	enum want_state state; /* atomic */
	uint64_t key;	       /* the label; 0: a free place */
	uint64_t since_ns;     /* of the second that is counted in; or not before it */
	unsigned count;
};

struct wants {
	struct want broadcast;
	struct want groups[WANT_GROUPS];
};

/* A MAC address as a number, to compare by; not 0 for a cast. */
static inline uint64_t want_key(const uint8_t *mac)
{
	uint64_t key = 0;

	memcpy(&key, mac, SHMNET_ETH_ALEN);
	return key;
}

/* Worker: a cast to `key` that had no ring of that label. True if control is to know. */
bool wants_count(struct wants *wants, uint64_t key, uint64_t now_ns);

/* Control: the next one that was raised. False if there is none. */
bool wants_take(struct wants *wants, uint8_t ret_label[SHMNET_ETH_ALEN]);

/* Control. */
void wants_answer(struct wants *wants, uint64_t key);

#endif
