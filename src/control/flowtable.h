/*
 * The connection table [46]: which member has the socket of a flow, as far as this node
 * was told. It is disposable: the owner's kernel knows better, and can be asked.
 *
 * Bounded: a number of entries is given, and memory for it is taken at once (and touched
 * as it is needed). An entry has 16 bytes for IPv4 and 28 for IPv6, in tables that are
 * 7/8 full at most. The places depend on a secret, so nobody outside can make them
 * collide. Ages are kept in seconds.
 *
 * Pure logic: the time is given, in nanoseconds of a clock that only grows. Control
 * thread.
 */
#ifndef CONTROL_FLOWTABLE_H
#define CONTROL_FLOWTABLE_H

#include "base/flow.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOWTABLE_ADDRESSES_MAX 16

/* How it is known. */
enum flow_via {
	FLOW_VIA_KERNEL, /* one of our own sockets */
	FLOW_VIA_ANSWER, /* the owner said so when it was asked */
	FLOW_VIA_ONLY,	 /* placed by us: there was one listener */
	FLOW_VIA_POLICY, /* placed by us: the policy chose among several */
	FLOW_VIA_PIN,	 /* placed by another member, which told us */
	FLOW_VIA_NUM_
};

/* "kernel", "policy", ...; never NULL. */
const char *flow_via_name(enum flow_via via);

struct flowtable;

struct flowtable_entry {
	struct flow_key key;
	uint16_t owner;
	enum flow_via via;
	uint32_t made_s;  /* ago: when it was placed, or its owner confirmed it */
	uint32_t heard_s; /* ago: when it was used or seen; never above made_s */
};

/*
 * For flows to these addresses (mapped; at most FLOWTABLE_ADDRESSES_MAX). -ENOMEM,
 * -EINVAL.
 */
int flowtable_new(uint32_t cap, const uint8_t (*addresses)[FLOW_ADDRESS_LEN],
		  unsigned num_addresses, const struct flow_secret *secret,
		  struct flowtable **ret_table);
void flowtable_free(struct flowtable *table); /* accepts NULL */

bool flowtable_find(const struct flowtable *table, const struct flow_key *key,
		    uint64_t now_ns, struct flowtable_entry *ret_entry);

/*
 * Enters it, or changes what is there: made now, and heard now. -ENOSPC at the cap;
 * -EADDRNOTAVAIL: to no address of ours.
 */
int flowtable_put(struct flowtable *table, const struct flow_key *key, uint16_t owner,
		  enum flow_via via, uint64_t now_ns);

/* It lives: a packet of it came, or its socket was seen. Nothing if it isn't there. */
void flowtable_hear(struct flowtable *table, const struct flow_key *key, uint64_t now_ns);

void flowtable_remove(struct flowtable *table, const struct flow_key *key);

/*
 * Looks at the next `budget` places, goes round for ever, and removes those entries
 * that `is_over` wants removed; it must not change the table. An entry may be looked at
 * twice in a round. Each has to be looked at once in some hours, or its ages go wrong.
 * Returns how many were removed.
 */
unsigned flowtable_sweep(struct flowtable *table, uint64_t now_ns, uint32_t budget,
			 bool (*is_over)(void *arg, const struct flowtable_entry *),
			 void *arg);

/* Until `each` returns false; it must not change the table. */
void flowtable_each(const struct flowtable *table, uint64_t now_ns,
		    bool (*each)(void *arg, const struct flowtable_entry *), void *arg);

uint32_t flowtable_count(const struct flowtable *table);
uint32_t flowtable_cap(const struct flowtable *table);
uint32_t flowtable_places(const struct flowtable *table); /* of both families */

/* Bytes of memory that flows of this family (4 or 6) take at most. */
size_t flowtable_bytes(const struct flowtable *table, unsigned version);

#endif
