/*
 * See flowtable.h.
 *
 * Theory of operation
 * -------------------
 * Two tables, one per family, with linear probing: an entry stands at its home or behind
 * it, and no place between its home and itself is empty. Removal keeps that so by moving
 * entries back into the gap; there are no tombstones, so a table does not wear out. The
 * number of places is no power of two: the home is the hash scaled to it.
 *
 * Stamps are 16 bit numbers of seconds, which tell ages up to 18 hours. The sweep pulls
 * stamps that grow too old after it, so that an age stays at STAMP_AGE_MAX.
 */
#include "control/flowtable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NSEC_PER_SEC  1000000000ull
#define STAMP_AGE_MAX 0x8000

_Static_assert(FLOWTABLE_ADDRESSES_MAX <= 16, "an address is named by four bits");
_Static_assert(FLOW_VIA_NUM_ <= 16, "so is the way");

static const char *const via_names[] = {
	[FLOW_VIA_KERNEL] = "kernel", [FLOW_VIA_ANSWER] = "answer",
	[FLOW_VIA_ONLY] = "only",     [FLOW_VIA_POLICY] = "policy",
	[FLOW_VIA_PIN] = "pin",
};
_Static_assert(sizeof(via_names) / sizeof(via_names[0]) == FLOW_VIA_NUM_, "one per way");

/* The owner is 0 where nothing is. */
struct entry {
	uint16_t owner;
	uint16_t made, heard; /* seconds, modulo 2^16 */
	uint16_t foreign_port, local_port;
	uint8_t protocol;
	uint8_t local : 4, via : 4; /* which address of ours */
	uint8_t foreign[];	    /* 4 or 16 bytes */
};
_Static_assert(sizeof(struct entry) == 12, "16 bytes with an IPv4 address");

/* All flows of one family. */
struct half {
	unsigned version;
	size_t stride;
	uint32_t places;
	uint32_t count;
	uint32_t hand; /* of the sweep */
	uint8_t *memory;
};

struct flowtable {
	uint32_t cap;
	struct flow_secret secret;
	unsigned num_addresses;
	uint8_t addresses[FLOWTABLE_ADDRESSES_MAX][FLOW_ADDRESS_LEN];
	struct half halves[2];
};

const char *flow_via_name(enum flow_via via)
{
	return (unsigned)via < FLOW_VIA_NUM_ ? via_names[via] : "unknown";
}

/* ---- life ---- */

static int half_init(struct half *half, unsigned version, uint32_t cap)
{
	half->version = version;
	half->stride = sizeof(struct entry) + (version == 4 ? 4 : 16);
	half->places = cap + cap / 7 + 1;
	half->memory = calloc(half->places, half->stride);
	return half->memory ? 0 : -ENOMEM;
}

int flowtable_new(uint32_t cap, const uint8_t (*addresses)[FLOW_ADDRESS_LEN],
		  unsigned num_addresses, const struct flow_secret *secret,
		  struct flowtable **ret_table)
{
	struct flowtable *table;

	if (cap == 0 || cap > UINT32_MAX / 2 || num_addresses > FLOWTABLE_ADDRESSES_MAX)
		return -EINVAL;
	table = calloc(1, sizeof(*table));
	if (!table)
		return -ENOMEM;
	table->cap = cap;
	table->secret = *secret;
	table->num_addresses = num_addresses;
	if (num_addresses)
		memcpy(table->addresses, addresses, num_addresses * sizeof(*addresses));
	if (half_init(&table->halves[0], 4, cap) < 0 ||
	    half_init(&table->halves[1], 6, cap) < 0) {
		flowtable_free(table);
		return -ENOMEM;
	}
	*ret_table = table;
	return 0;
}

void flowtable_free(struct flowtable *table)
{
	if (!table)
		return;
	free(table->halves[0].memory);
	free(table->halves[1].memory);
	free(table);
}

/* ---- places ---- */

static struct entry *entry_at(const struct half *half, uint32_t place)
{
	return (struct entry *)(half->memory + place * half->stride);
}

static uint32_t next_place(const struct half *half, uint32_t place)
{
	return place + 1 == half->places ? 0 : place + 1;
}

static unsigned half_of(const struct flow_key *key)
{
	return flow_address_is_ipv4(key->local) ? 0 : 1;
}

static size_t foreign_size(const struct half *half)
{
	return half->stride - sizeof(struct entry);
}

static const uint8_t *foreign_of(const struct half *half, const struct flow_key *key)
{
	return key->foreign + FLOW_ADDRESS_LEN - foreign_size(half);
}

static uint32_t home_of(const struct flowtable *table, const struct half *half,
			const struct flow_key *key)
{
	uint64_t hash = flow_hash(key, &table->secret) >> 32;

	return (uint32_t)(hash * half->places >> 32);
}

static int local_of(const struct flowtable *table, const struct flow_key *key)
{
	for (unsigned i = 0; i < table->num_addresses; i++) {
		if (memcmp(table->addresses[i], key->local, FLOW_ADDRESS_LEN) == 0)
			return (int)i;
	}
	return -EADDRNOTAVAIL;
}

/* The key that was entered. */
static void key_of(const struct flowtable *table, const struct half *half,
		   const struct entry *entry, struct flow_key *ret_key)
{
	memset(ret_key, 0, sizeof(*ret_key));
	if (half->version == 4)
		flow_address_map_ipv4(ret_key->foreign, entry->foreign);
	else
		memcpy(ret_key->foreign, entry->foreign, FLOW_ADDRESS_LEN);
	memcpy(ret_key->local, table->addresses[entry->local], FLOW_ADDRESS_LEN);
	ret_key->foreign_port = entry->foreign_port;
	ret_key->local_port = entry->local_port;
	ret_key->protocol = entry->protocol;
}

/* Its entry, or the empty place where it would go. */
static struct entry *search(const struct flowtable *table, const struct half *half,
			    const struct flow_key *key, int local, uint32_t *ret_place)
{
	const uint8_t *foreign = foreign_of(half, key);
	uint32_t place = home_of(table, half, key);
	struct entry *entry;

	for (;; place = next_place(half, place)) {
		entry = entry_at(half, place);
		if (entry->owner == 0 ||
		    (entry->foreign_port == key->foreign_port &&
		     entry->local_port == key->local_port &&
		     entry->protocol == key->protocol && entry->local == local &&
		     memcmp(entry->foreign, foreign, foreign_size(half)) == 0))
			break;
	}
	*ret_place = place;
	return entry;
}

/* ---- time ---- */

static uint16_t stamp_of(uint64_t now_ns)
{
	return (uint16_t)(now_ns / NSEC_PER_SEC);
}

static uint16_t age_of(uint16_t stamp, uint64_t now_ns)
{
	return (uint16_t)(stamp_of(now_ns) - stamp);
}

static void pull(uint16_t *stamp, uint64_t now_ns)
{
	if (age_of(*stamp, now_ns) > STAMP_AGE_MAX)
		*stamp = (uint16_t)(stamp_of(now_ns) - STAMP_AGE_MAX);
}

static void show(const struct flowtable *table, const struct half *half,
		 const struct entry *entry, uint64_t now_ns, struct flowtable_entry *ret)
{
	key_of(table, half, entry, &ret->key);
	ret->owner = entry->owner;
	ret->via = (enum flow_via)entry->via;
	ret->made_s = age_of(entry->made, now_ns);
	ret->heard_s = age_of(entry->heard, now_ns);
}

/* ---- flows ---- */

bool flowtable_find(const struct flowtable *table, const struct flow_key *key,
		    uint64_t now_ns, struct flowtable_entry *ret_entry)
{
	const struct half *half = &table->halves[half_of(key)];
	int local = local_of(table, key);
	const struct entry *entry;
	uint32_t place;

	if (local < 0)
		return false;
	entry = search(table, half, key, local, &place);
	if (entry->owner == 0)
		return false;
	show(table, half, entry, now_ns, ret_entry);
	return true;
}

int flowtable_put(struct flowtable *table, const struct flow_key *key, uint16_t owner,
		  enum flow_via via, uint64_t now_ns)
{
	struct half *half = &table->halves[half_of(key)];
	int local = local_of(table, key);
	struct entry *entry;
	uint32_t place;

	if (local < 0)
		return local;
	entry = search(table, half, key, local, &place);
	if (entry->owner == 0) {
		if (flowtable_count(table) == table->cap)
			return -ENOSPC;
		half->count++;
	}
	entry->owner = owner;
	entry->made = entry->heard = stamp_of(now_ns);
	entry->foreign_port = key->foreign_port;
	entry->local_port = key->local_port;
	entry->protocol = key->protocol;
	entry->local = (uint8_t)local & 0xf;
	entry->via = (uint8_t)via & 0xf;
	memcpy(entry->foreign, foreign_of(half, key), foreign_size(half));
	return 0;
}

void flowtable_hear(struct flowtable *table, const struct flow_key *key, uint64_t now_ns)
{
	int local = local_of(table, key);
	struct entry *entry;
	uint32_t place;

	if (local < 0)
		return;
	entry = search(table, &table->halves[half_of(key)], key, local, &place);
	entry->heard = entry->owner ? stamp_of(now_ns) : 0;
}

/* Is `at` one of the places from behind `from` up to `to`, going round? */
static bool is_between(uint32_t at, uint32_t from, uint32_t to)
{
	return from < to ? from < at && at <= to : from < at || at <= to;
}

/* Fills the gap with what may stand there, until the gap is where nothing follows. */
static void remove_at(const struct flowtable *table, struct half *half, uint32_t gap)
{
	uint32_t place = gap;
	struct flow_key key;

	for (;;) {
		const struct entry *entry;

		place = next_place(half, place);
		entry = entry_at(half, place);
		if (entry->owner == 0)
			break;
		key_of(table, half, entry, &key);
		if (is_between(home_of(table, half, &key), gap, place))
			continue;
		memcpy(entry_at(half, gap), entry, half->stride);
		gap = place;
	}
	memset(entry_at(half, gap), 0, half->stride);
	half->count--;
}

void flowtable_remove(struct flowtable *table, const struct flow_key *key)
{
	struct half *half = &table->halves[half_of(key)];
	int local = local_of(table, key);
	uint32_t place;

	if (local >= 0 && search(table, half, key, local, &place)->owner != 0)
		remove_at(table, half, place);
}

/* ---- all of them ---- */

static unsigned sweep_half(struct flowtable *table, struct half *half, uint64_t now_ns,
			   uint32_t budget,
			   bool (*is_over)(void *arg, const struct flowtable_entry *),
			   void *arg)
{
	unsigned removed = 0;

	for (; budget > 0 && half->count > 0; budget--) {
		struct entry *entry = entry_at(half, half->hand);
		struct flowtable_entry shown;

		if (entry->owner != 0) {
			pull(&entry->made, now_ns);
			pull(&entry->heard, now_ns);
			show(table, half, entry, now_ns, &shown);
			if (is_over(arg, &shown)) {
				/* Another one may stand here now. */
				remove_at(table, half, half->hand);
				removed++;
				continue;
			}
		}
		half->hand = next_place(half, half->hand);
	}
	return removed;
}

unsigned flowtable_sweep(struct flowtable *table, uint64_t now_ns, uint32_t budget,
			 bool (*is_over)(void *arg, const struct flowtable_entry *),
			 void *arg)
{
	return sweep_half(table, &table->halves[0], now_ns, budget / 2, is_over, arg) +
	       sweep_half(table, &table->halves[1], now_ns, budget / 2, is_over, arg);
}

void flowtable_each(const struct flowtable *table, uint64_t now_ns,
		    bool (*each)(void *arg, const struct flowtable_entry *), void *arg)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct half *half = &table->halves[i];
		uint32_t left = half->count;

		for (uint32_t place = 0; left > 0; place++) {
			const struct entry *entry = entry_at(half, place);
			struct flowtable_entry shown;

			if (entry->owner == 0)
				continue;
			left--;
			show(table, half, entry, now_ns, &shown);
			if (!each(arg, &shown))
				return;
		}
	}
}

uint32_t flowtable_count(const struct flowtable *table)
{
	return table->halves[0].count + table->halves[1].count;
}

uint32_t flowtable_cap(const struct flowtable *table)
{
	return table->cap;
}

uint32_t flowtable_places(const struct flowtable *table)
{
	return table->halves[0].places + table->halves[1].places;
}

size_t flowtable_bytes(const struct flowtable *table, unsigned version)
{
	const struct half *half = &table->halves[version == 4 ? 0 : 1];

	return half->places * half->stride;
}
