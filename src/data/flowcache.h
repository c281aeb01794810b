/*
 * Where packets of a flow go: what the worker knows of flows, and all that the data
 * plane knows [47]. A verdict of control's is kept here, by a keyed hash of the flow's
 * addresses and ports, until it is too old or others need the room. What is not found is
 * asked for once more; so the whole cache may be lost at any time and no connection
 * breaks.
 *
 * Owns its memory: 8 bytes per entry, allocated by flowcache_init() alone. One thread.
 * Never blocks or logs, reads no clock, makes no system call.
 *
 * Theory of operation
 * -------------------
 * A bucket is a cache line of eight entries. A hash has two buckets, and its entry is in
 * one of them: in the first one if that had room to spare, so most hits cost one line,
 * and the others two. The buckets are as many as the room asks for, no power of two: ten
 * bytes a flow. Of as many flows as there is to be room for, one or two in a thousand
 * find both buckets full.
 *
 *     bits of an entry   63..28        27..12   11..4   3           2..0
 *                        fingerprint   owner    stamp   confirmed   state
 *
 * Fingerprint: the upper 36 bits of the hash; the lower 28 choose the first bucket, all
 * of them the second. A flow that is not in the cache is taken for one that is if one of
 * the 16 entries has its fingerprint: once in 2^32 look-ups at the least. Who can't know
 * the key of the hash can't look for such a flow; and it gets what its node's kernel says
 * to a stranger's packet.
 *
 * Time: the stamp is a count of half seconds, modulo 256. An age is exact as long as it
 * is below 256 of them, so no entry may get older than that unseen: each tick of
 * flowcache_set_time() looks at a part of the buckets in turn, all of them within
 * FLOWCACHE_ROUND ticks, and frees what is over its limit; after a long silence at all of
 * them, with ages as of the tick before the silence. What the limits below and a round
 * come to stays below 256.
 *
 *     state      kept   stamped by                  an opener finds it
 *     OPENING    90 s   the verdict, each opener    within 10 s
 *     OPEN       90 s   each packet                 never: the connection is old
 *     ENDED      30 s   each packet                 never: it may be a new one
 *     DATAGRAM   10 s   the verdict                 -
 *     SHORT       1 s   the verdict                 yes, but for no-owner
 *
 * A verdict that keeps a flow makes it OPENING. A packet that doesn't open makes it OPEN
 * when its 10 s are over; one that ends it (RST, FIN) makes it ENDED. So one stamp tells
 * both how long nothing came and how old the opener is. An opener that doesn't find the
 * entry overrides it by its own verdict. SHORT is a verdict to drop: where the others
 * have the owner it has the reason. That the flow's node is not up (no-owner) says
 * nothing about a packet that may open a connection, so such ones don't find it.
 *
 * When both buckets are full of what still counts, the oldest entry that is not confirmed
 * goes, and only without one the oldest of all. Confirmed is what got a packet after the
 * first one, other than one more opener. So a flood of openers, each a flow of its own,
 * pushes out itself, and no connection that carries data.
 */
#ifndef DATA_FLOWCACHE_H
#define DATA_FLOWCACHE_H

#include "data/plane.h"

#define FLOWCACHE_TICK_NS 500000000ull
#define FLOWCACHE_ROUND	  32 /* ticks */
#define FLOWCACHE_BUCKET  8

struct flowcache_bucket {
	uint64_t entries[FLOWCACHE_BUCKET]; /* 0: free */
};

struct flowcache {
	struct flowcache_bucket *buckets;
	uint32_t num_buckets;
	uint32_t hand;	  /* the next bucket that a tick looks at */
	uint64_t tick;	  /* now */
	uint64_t used;	  /* entries, some of them over their limit */
	uint64_t evicted; /* that still counted */
	uint64_t evicted_confirmed;
	size_t mapped; /* bytes */
};

/* What a packet is, as far as the cache minds. */
enum flowcache_use {
	FLOWCACHE_OPENS = 1,	/* opens a connection: SYN, INIT */
	FLOWCACHE_MAY_OPEN = 2, /* needs no connection: also a datagram */
	FLOWCACHE_ENDS = 4,	/* RST, FIN */
};

/* Room for `flows` at least. 0 or -ENOMEM. */
int flowcache_init(struct flowcache *cache, uint32_t flows);

/* Accepts a cache that is zeroed. */
void flowcache_close(struct flowcache *cache);

/* Before look-ups; time never goes back. Costs something once per tick. */
void flowcache_set_time(struct flowcache *cache, uint64_t now_ns);

/* True if there is a verdict for such a packet. `use`: of enum flowcache_use. */
bool flowcache_find(struct flowcache *cache, uint64_t hash, unsigned use,
		    struct plane_verdict *ret);

/* Is there an entry of a connection, though none for such a packet? */
bool flowcache_has_flow(const struct flowcache *cache, uint64_t hash);

/*
 * The same for many at once, which hides the memory's latency: ret[i] is set where the
 * bit i of what is returned is. `num` is 64 at the most.
 */
uint64_t flowcache_find_bulk(struct flowcache *cache, const uint64_t *hashes,
			     const uint8_t *uses, unsigned num,
			     struct plane_verdict *ret);

/* Keeps a verdict in place of what there was for this hash. PLANE_KEEP_NOT: forgets it.
 */
void flowcache_put(struct flowcache *cache, uint64_t hash,
		   const struct plane_verdict *verdict);

#endif
