/* See flowcache.h. */
#include "data/flowcache.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* So full are the buckets when the cache holds as many flows as it was made for. */
#define LOAD_PERCENT 80

/* Free places from which on the first bucket is not compared with the second. */
#define ROOMY 3

#define HUGE_PAGE (2u << 20)

/* From so many ticks on all buckets are looked at, instead of those that are due. */
#define SILENCE 16

/* Within which an opener finds the entry of an opener. */
#define OPENER_TICKS 20

enum state { FREE, OPENING, OPEN, ENDED, DATAGRAM, SHORT, NUM_STATES };

/* Ticks; an entry of this age counts, an older one doesn't. */
static const uint8_t limits[8] = {
	[OPENING] = 180, [OPEN] = 180, [ENDED] = 60, [DATAGRAM] = 20, [SHORT] = 1,
};
_Static_assert(180 + FLOWCACHE_ROUND + SILENCE < 256, "ages are exact");

#define STATE_MASK	  7u
#define CONFIRMED	  8u
#define STAMP_SHIFT	  4
#define OWNER_SHIFT	  12
#define FINGERPRINT_SHIFT 28

/* ---- entries ---- */

static enum state entry_state(uint64_t entry)
{
	return entry & STATE_MASK;
}

static uint16_t entry_owner(uint64_t entry)
{
	return (uint16_t)(entry >> OWNER_SHIFT);
}

static uint8_t entry_age(uint64_t entry, uint64_t tick)
{
	return (uint8_t)(tick - (entry >> STAMP_SHIFT));
}

static bool entry_counts(uint64_t entry, uint64_t tick)
{
	return entry && entry_age(entry, tick) <= limits[entry_state(entry)];
}

/* A free one has a fingerprint, too: who finds it must look at its state. */
static bool entry_is(uint64_t entry, uint64_t hash)
{
	return (entry ^ hash) < 1ull << FINGERPRINT_SHIFT;
}

static uint64_t entry_make(uint64_t hash, uint16_t owner, uint64_t tick, enum state state)
{
	return hash >> FINGERPRINT_SHIFT << FINGERPRINT_SHIFT |
	       (uint64_t)owner << OWNER_SHIFT | (tick & 0xff) << STAMP_SHIFT | state;
}

/* The same with another stamp, state, and perhaps the word that it is confirmed. */
static uint64_t entry_move(uint64_t entry, uint64_t tick, enum state state,
			   uint64_t confirmed)
{
	const uint64_t cleared = 0xffull << STAMP_SHIFT | STATE_MASK;

	return (entry & ~cleared) | (tick & 0xff) << STAMP_SHIFT | confirmed | state;
}

/* ---- buckets ---- */

static uint32_t reduce(const struct flowcache *cache, uint64_t bits28)
{
	return (uint32_t)(bits28 * cache->num_buckets >> 28);
}

static struct flowcache_bucket *first_bucket(const struct flowcache *cache, uint64_t hash)
{
	return &cache->buckets[reduce(cache, hash & 0xfffffff)];
}

static struct flowcache_bucket *second_bucket(const struct flowcache *cache,
					      uint64_t hash)
{
	uint64_t other = hash * 0x9e3779b97f4a7c15ull >> 36;
	struct flowcache_bucket *bucket = &cache->buckets[reduce(cache, other)];

	if (bucket != first_bucket(cache, hash))
		return bucket;
	return bucket == cache->buckets ? bucket + 1 : bucket - 1;
}

/* Without a jump that depends on where it is: that would be guessed wrong each time. */
static inline uint64_t *find_in(struct flowcache_bucket *bucket, uint64_t hash)
{
	uint64_t *found = NULL;

	for (unsigned i = 0; i < FLOWCACHE_BUCKET; i++)
		found = entry_is(bucket->entries[i], hash) ? &bucket->entries[i] : found;
	return found;
}

static uint64_t *find(const struct flowcache *cache, uint64_t hash)
{
	uint64_t *entry = find_in(first_bucket(cache, hash), hash);

	return entry ? entry : find_in(second_bucket(cache, hash), hash);
}

/* ---- look-ups ---- */

/* What a packet makes of a connection's entry; false: it doesn't find it. */
static bool use_flow(uint64_t *entry, uint64_t tick, unsigned use)
{
	enum state state = entry_state(*entry);
	bool is_young = entry_age(*entry, tick) <= OPENER_TICKS;
	uint64_t next;

	if (use & FLOWCACHE_OPENS) {
		if (state != OPENING || !is_young)
			return false;
		next = entry_move(*entry, tick, OPENING, 0);
	} else if (use & FLOWCACHE_ENDS) {
		next = entry_move(*entry, tick, ENDED, CONFIRMED);
	} else if (state == OPENING && is_young) {
		next = *entry | CONFIRMED;
	} else {
		next = entry_move(*entry, tick, state == ENDED ? ENDED : OPEN, CONFIRMED);
	}
	if (next != *entry)
		*entry = next; /* else the line stays clean */
	return true;
}

static bool use_short(uint64_t entry, unsigned use, struct plane_verdict *ret)
{
	enum drop_reason reason = entry_owner(entry);

	if (reason == DROP_NO_OWNER && use & (FLOWCACHE_OPENS | FLOWCACHE_MAY_OPEN))
		return false;
	*ret = (struct plane_verdict){.reason = reason, .keep = PLANE_KEEP_SHORT};
	return true;
}

static bool use_entry(const struct flowcache *cache, uint64_t *entry, unsigned use,
		      struct plane_verdict *ret)
{
	if (!entry || !entry_counts(*entry, cache->tick))
		return false;
	*ret = (struct plane_verdict){.owner = entry_owner(*entry),
				      .keep = PLANE_KEEP_FLOW};
	switch (entry_state(*entry)) {
	case SHORT:
		return use_short(*entry, use, ret);
	case DATAGRAM:
		ret->keep = PLANE_KEEP_DATAGRAM;
		if (!(*entry & CONFIRMED))
			*entry |= CONFIRMED;
		return true;
	default:
		return use_flow(entry, cache->tick, use);
	}
}

bool flowcache_find(struct flowcache *cache, uint64_t hash, unsigned use,
		    struct plane_verdict *ret)
{
	return use_entry(cache, find(cache, hash), use, ret);
}

bool flowcache_has_flow(const struct flowcache *cache, uint64_t hash)
{
	const uint64_t *entry = find(cache, hash);
	enum state state = entry ? entry_state(*entry) : FREE;

	return (state == OPENING || state == OPEN || state == ENDED) &&
	       entry_counts(*entry, cache->tick);
}

uint64_t flowcache_find_bulk(struct flowcache *cache, const uint64_t *hashes,
			     const uint8_t *uses, unsigned num, struct plane_verdict *ret)
{
	uint64_t *entries[64], found = 0;

	for (unsigned i = 0; i < num; i++)
		__builtin_prefetch(first_bucket(cache, hashes[i]), 1);
	for (unsigned i = 0; i < num; i++) {
		entries[i] = find_in(first_bucket(cache, hashes[i]), hashes[i]);
		if (!entries[i])
			__builtin_prefetch(second_bucket(cache, hashes[i]), 1);
	}
	for (unsigned i = 0; i < num; i++) {
		if (!entries[i])
			entries[i] = find_in(second_bucket(cache, hashes[i]), hashes[i]);
		found |= (uint64_t)use_entry(cache, entries[i], uses[i], &ret[i]) << i;
	}
	return found;
}

/* ---- verdicts ---- */

static unsigned find_free(struct flowcache_bucket *bucket, uint64_t tick,
			  uint64_t **ret_place)
{
	unsigned num = 0;

	for (unsigned i = 0; i < FLOWCACHE_BUCKET; i++) {
		if (entry_counts(bucket->entries[i], tick))
			continue;
		num++;
		*ret_place = &bucket->entries[i];
	}
	return num;
}

/* The higher, the sooner it goes. */
static unsigned eviction_rank(uint64_t entry, uint64_t tick)
{
	return entry_age(entry, tick) + (entry & CONFIRMED ? 0 : 256);
}

static uint64_t *find_victim(struct flowcache_bucket *first,
			     struct flowcache_bucket *second, uint64_t tick)
{
	uint64_t *victim = &first->entries[0];

	for (unsigned i = 1; i < 2 * FLOWCACHE_BUCKET; i++) {
		uint64_t *entry = i < FLOWCACHE_BUCKET
					  ? &first->entries[i]
					  : &second->entries[i - FLOWCACHE_BUCKET];

		if (eviction_rank(*entry, tick) > eviction_rank(*victim, tick))
			victim = entry;
	}
	return victim;
}

static uint64_t *make_place(struct flowcache *cache, uint64_t hash)
{
	struct flowcache_bucket *first = first_bucket(cache, hash);
	struct flowcache_bucket *second = second_bucket(cache, hash);
	uint64_t *place = NULL, *other = NULL;
	unsigned room = find_free(first, cache->tick, &place);

	if (room < ROOMY && find_free(second, cache->tick, &other) > room)
		place = other;
	if (place)
		return place;
	place = find_victim(first, second, cache->tick);
	cache->evicted++;
	cache->evicted_confirmed += (*place & CONFIRMED) != 0;
	return place;
}

void flowcache_put(struct flowcache *cache, uint64_t hash,
		   const struct plane_verdict *verdict)
{
	static const enum state states[] = {
		[PLANE_KEEP_NOT] = FREE,
		[PLANE_KEEP_FLOW] = OPENING,
		[PLANE_KEEP_DATAGRAM] = DATAGRAM,
		[PLANE_KEEP_SHORT] = SHORT,
	};
	uint16_t value = verdict->owner ? verdict->owner : (uint16_t)verdict->reason;
	enum state state = states[verdict->keep];
	uint64_t *place = find(cache, hash);

	/* A reason has no other state to be in, an owner not this one. */
	if (state != FREE && !verdict->owner != (state == SHORT))
		state = FREE;
	if (!place && state == FREE)
		return;
	if (!place)
		place = make_place(cache, hash);
	cache->used -= *place != 0;
	*place = state == FREE ? 0 : entry_make(hash, value, cache->tick, state);
	cache->used += *place != 0;
}

/* ---- time ---- */

/* `silence`: ticks that went by since `from`. */
static void sweep_bucket(struct flowcache *cache, uint32_t index, uint64_t from,
			 uint64_t silence)
{
	struct flowcache_bucket *bucket = &cache->buckets[index];

	for (unsigned i = 0; i < FLOWCACHE_BUCKET; i++) {
		uint64_t entry = bucket->entries[i];

		if (!entry ||
		    entry_age(entry, from) + silence <= limits[entry_state(entry)])
			continue;
		bucket->entries[i] = 0;
		cache->used--;
	}
}

static void sweep_due(struct flowcache *cache, uint64_t ticks)
{
	uint64_t due = ((uint64_t)cache->num_buckets / FLOWCACHE_ROUND + 1) * ticks;

	while (due--) {
		sweep_bucket(cache, cache->hand, cache->tick, 0);
		if (++cache->hand == cache->num_buckets)
			cache->hand = 0;
	}
}

void flowcache_set_time(struct flowcache *cache, uint64_t now_ns)
{
	uint64_t tick = now_ns / FLOWCACHE_TICK_NS, before = cache->tick;
	uint64_t silence = tick - before;

	if (tick <= before)
		return;
	cache->tick = tick;
	if (cache->used == 0)
		return;
	if (silence <= SILENCE) {
		sweep_due(cache, silence);
		return;
	}
	for (uint32_t i = 0; i < cache->num_buckets; i++)
		sweep_bucket(cache, i, before, silence);
}

/* ---- making it ---- */

int flowcache_init(struct flowcache *cache, uint32_t flows)
{
	uint64_t entries = (uint64_t)flows * 100 / LOAD_PERCENT + 1;
	void *memory;

	*cache = (struct flowcache){
		.num_buckets = (uint32_t)(entries / FLOWCACHE_BUCKET) + 2,
	};
	cache->mapped = cache->num_buckets * sizeof(struct flowcache_bucket);
	memory = mmap(NULL, cache->mapped, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	/* A look-up is a random access; the more of them the TLB covers the better. */
	if (cache->mapped >= HUGE_PAGE)
		madvise(memory, cache->mapped, MADV_HUGEPAGE);
	cache->buckets = memory;
	return 0;
}

void flowcache_close(struct flowcache *cache)
{
	if (cache->buckets)
		munmap(cache->buckets, cache->mapped);
	*cache = (struct flowcache){0};
}
