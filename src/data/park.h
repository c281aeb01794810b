/*
 * Frames that wait: for control to say where their flow goes, or for the first fragment
 * of their datagram. Bounded in bytes and in time.
 *
 * Owns its memory, allocated by park_init() alone. The worker's. Reads no clock, and
 * counts nothing: who takes a frame out knows why.
 *
 * Theory of operation
 * -------------------
 * The memory is a ring of items in the order in which they came, which is that of their
 * deadlines. A position is a byte count that never wraps; an item begins at its position
 * modulo PARK_BYTES and is contiguous: behind the ring there is room for the rest of one
 * that begins shortly before the end.
 *
 * Items leave in any order, and their room becomes free in the order in which they came:
 * the tail moves over those that were freed. So a frame that nobody asks for holds up
 * others' room for PARK_TIME_NS at most.
 *
 * Who waits for the same thing is found by hash: PARK_LISTS lists, each in order of age.
 * The oldest item of all is therefore the first of its list.
 *
 *     waiting   in its list                park_put()
 *     taken     in none, room still used   park_take(), park_expire()
 *     free      tail may move over it      park_free()
 */
#ifndef DATA_PARK_H
#define DATA_PARK_H

#include "base/flow.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARK_BYTES   (1u << 20)
#define PARK_TIME_NS 50000000ull
#define PARK_LISTS   1024

/* What a frame waits for. No padding: compared with memcmp(). */
struct park_key {
	struct flow_key flow;
	uint32_t fragment_id;
	uint8_t port;
	uint8_t is_fragment; /* for the first one of its datagram */
	uint8_t zero[2];
};
_Static_assert(sizeof(struct park_key) == sizeof(struct flow_key) + 8, "no padding");

struct park_item {
	struct park_key key;
	uint64_t since_ns;
	uint32_t size;	 /* in the ring */
	uint32_t length; /* of the payload */
	uint32_t list;
	uint32_t next;	/* in the list: where it begins, in units, + 1; 0: the last */
	uint16_t l3;	/* the caller's */
	bool has_asked; /* for what it waits for, and those behind it need not */
	uint8_t state;
	uint8_t payload[]; /* as it was read from the TAP */
};

struct park_list {
	uint32_t first, last; /* as `next` */
};

struct park {
	uint8_t *memory;
	uint64_t head, tail;
	struct park_list lists[PARK_LISTS];
};

/* 0 or -ENOMEM. */
int park_init(struct park *park);

/* Accepts a park that is zeroed. */
void park_close(struct park *park);

/* Who may fill how much of it: nobody can keep out what opens connections by that which
 * doesn't. */
enum park_rank {
	PARK_FRAGMENT, /* of which nothing is known: a quarter */
	PARK_SEGMENT,  /* three quarters */
	PARK_OPENER,   /* all */
};

/* Is there room for a frame of this length? */
bool park_has_room(const struct park *park, size_t length, enum park_rank rank);

/* Waits a frame for this whose item has_asked? */
bool park_has_asked(const struct park *park, const struct park_key *key, uint64_t hash);

/* Copies the frame, for which there must be room. `now_ns` never goes back. */
struct park_item *park_put(struct park *park, const struct park_key *key, uint64_t hash,
			   uint64_t now_ns, const uint8_t *payload, size_t length);

/* The oldest that waits for this, or NULL. Others may be put before it is freed. */
struct park_item *park_take(struct park *park, const struct park_key *key, uint64_t hash);

/* The oldest of all if it came PARK_TIME_NS ago, or NULL. */
struct park_item *park_expire(struct park *park, uint64_t now_ns);

/* One that was taken, or expired. */
void park_free(struct park *park, struct park_item *item);

/* When the next one expires; UINT64_MAX if none waits. */
uint64_t park_deadline(const struct park *park);

#endif
