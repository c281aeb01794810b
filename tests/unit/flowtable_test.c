/* The connection table: against a model, at its cap, and in bytes per flow. */
#include "control/flowtable.h"
#include "shim.h"

#include <netinet/in.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S     1000000000ull
#define START (100000 * S)

static const struct flow_secret secret = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

static uint64_t state = 88172645463325252ull;

static uint32_t chance(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % limit;
}

/* Two addresses of each family. */
static void fill_addresses(uint8_t addresses[4][FLOW_ADDRESS_LEN])
{
	static const uint8_t ipv4[2][4] = {{10, 99, 0, 1}, {10, 99, 0, 2}};

	memset(addresses, 0, 4 * FLOW_ADDRESS_LEN);
	flow_address_map_ipv4(addresses[0], ipv4[0]);
	flow_address_map_ipv4(addresses[1], ipv4[1]);
	addresses[2][0] = addresses[3][0] = 0xfd;
	addresses[2][15] = 1;
	addresses[3][15] = 2;
}

static struct flowtable *open_table(uint32_t cap)
{
	uint8_t addresses[4][FLOW_ADDRESS_LEN];
	struct flowtable *table;

	fill_addresses(addresses);
	if (flowtable_new(cap, (const uint8_t(*)[FLOW_ADDRESS_LEN])addresses, 4, &secret,
			  &table) < 0)
		abort();
	return table;
}

/* Number `n` of a great many. */
static struct flow_key key_of(uint32_t n)
{
	uint8_t addresses[4][FLOW_ADDRESS_LEN];
	struct flow_key key = {.protocol = n & 4 ? IPPROTO_UDP : IPPROTO_TCP};
	uint32_t host = n / 32;

	fill_addresses(addresses);
	memcpy(key.local, addresses[n & 3], FLOW_ADDRESS_LEN);
	key.foreign[0] = 0x20;
	memcpy(key.foreign + 12, &host, sizeof(host));
	if (!(n & 2))
		flow_address_map_ipv4(key.foreign, &host);
	key.local_port = n & 8 ? 80 : 443;
	key.foreign_port = n & 16 ? 1000 : 2000;
	return key;
}

struct model {
	uint16_t owner; /* 0: not there */
	enum flow_via via;
	uint64_t made_ns, heard_ns;
};

#define KEYS 4096

static void check_entry(const struct flowtable *table, const struct model *models,
			uint32_t n, uint64_t now_ns)
{
	const struct flow_key key = key_of(n);
	struct flowtable_entry entry;
	bool found = flowtable_find(table, &key, now_ns, &entry);

	CHECK_INT(found, models[n].owner != 0);
	if (!found)
		return;
	CHECK_INT(entry.owner, models[n].owner);
	CHECK_INT(entry.via, models[n].via);
	CHECK_MEM(&entry.key, &key, sizeof(key));
	CHECK_INT(entry.made_s, now_ns / S - models[n].made_ns / S);
	CHECK_INT(entry.heard_s, now_ns / S - models[n].heard_ns / S);
}

static void do_put(struct flowtable *table, struct model *models, uint32_t n,
		   uint64_t now_ns)
{
	const struct flow_key key = key_of(n);
	uint16_t owner = (uint16_t)(1 + chance(5));
	enum flow_via via = (enum flow_via)chance(FLOW_VIA_NUM_);
	bool is_full = flowtable_count(table) == flowtable_cap(table);
	int ret = flowtable_put(table, &key, owner, via, now_ns);

	CHECK_INT(ret, is_full && !models[n].owner ? -ENOSPC : 0);
	if (ret == 0)
		models[n] = (struct model){owner, via, now_ns, now_ns};
}

static void do_other(struct flowtable *table, struct model *models, uint32_t n,
		     uint64_t now_ns)
{
	const struct flow_key key = key_of(n);

	if (chance(2)) {
		flowtable_hear(table, &key, now_ns);
		models[n].heard_ns = now_ns;
		return;
	}
	flowtable_remove(table, &key);
	models[n].owner = 0;
}

static bool count_entry(void *arg, const struct flowtable_entry *entry)
{
	(void)entry;
	++*(unsigned *)arg;
	return true;
}

static void check_all(const struct flowtable *table, const struct model *models,
		      uint64_t now_ns)
{
	unsigned there = 0, seen = 0;

	for (uint32_t n = 0; n < KEYS; n++) {
		check_entry(table, models, n, now_ns);
		there += models[n].owner != 0;
	}
	flowtable_each(table, now_ns, count_entry, &seen);
	CHECK_INT(seen, there);
	CHECK_INT(flowtable_count(table), there);
}

/* Full most of the time, so that entries stand far from home. */
TEST_CASE(flowtable, does_what_a_model_does)
{
	struct flowtable *table = open_table(1500);
	static struct model models[KEYS];
	uint64_t now_ns = START;

	memset(models, 0, sizeof(models));
	for (unsigned i = 0; i < 60000 && !test_failed(); i++) {
		uint32_t n = chance(KEYS);

		now_ns += chance(20) * S / 1000;
		if (chance(5) < 3)
			do_put(table, models, n, now_ns);
		else
			do_other(table, models, n, now_ns);
		check_entry(table, models, n, now_ns);
		if (i % 6000 == 0)
			check_all(table, models, now_ns);
	}
	check_all(table, models, now_ns);
	flowtable_free(table);
}

static bool is_of_two(void *arg, const struct flowtable_entry *entry)
{
	(void)arg;
	return entry->owner == 2;
}

TEST_CASE(flowtable, a_sweep_takes_out_what_is_over_and_nothing_else)
{
	struct flowtable *table = open_table(1500);
	static struct model models[KEYS];
	unsigned removed = 0, expected = 0;

	memset(models, 0, sizeof(models));
	for (unsigned i = 0; i < 3000; i++)
		do_put(table, models, chance(KEYS), START);
	for (uint32_t n = 0; n < KEYS; n++) {
		expected += models[n].owner == 2;
		if (models[n].owner == 2)
			models[n].owner = 0;
	}
	/* In steps, and a little more than one round: entries move back over the hand. */
	for (unsigned i = 0; i < 2 * flowtable_places(table) / 64; i++)
		removed += flowtable_sweep(table, START, 128, is_of_two, NULL);
	CHECK_INT(removed, expected);
	check_all(table, models, START);
	flowtable_free(table);
}

static bool never(void *arg, const struct flowtable_entry *entry)
{
	(void)arg;
	(void)entry;
	return false;
}

/* Two days, with a round an hour: stamps have 16 bits of seconds. */
TEST_CASE(flowtable, what_is_old_stays_old)
{
	struct flowtable *table = open_table(64);
	const struct flow_key key = key_of(7);
	struct flowtable_entry entry;
	uint64_t now_ns = START;

	CHECK_INT(flowtable_put(table, &key, 3, FLOW_VIA_PIN, now_ns), 0);
	for (unsigned hour = 1; hour <= 48; hour++) {
		now_ns += 3600 * S;
		flowtable_sweep(table, now_ns, 2 * flowtable_places(table), never, NULL);
		REQUIRE(flowtable_find(table, &key, now_ns, &entry));
		CHECK(entry.made_s >= 3600 && entry.heard_s >= 3600);
	}
	flowtable_free(table);
}

TEST_CASE(flowtable, other_addresses_have_no_place)
{
	struct flowtable *table = open_table(64);
	struct flow_key key = key_of(0);
	struct flowtable_entry entry;

	key.local[15] = 77;
	CHECK_INT(flowtable_put(table, &key, 3, FLOW_VIA_PIN, START), -EADDRNOTAVAIL);
	CHECK(!flowtable_find(table, &key, START, &entry));
	flowtable_hear(table, &key, START);
	flowtable_remove(table, &key);
	CHECK_INT(flowtable_count(table), 0);
	flowtable_free(table);
}

/* Together with 8 bytes in the data plane's cache: 32 at most. */
TEST_CASE(flowtable, a_flow_has_few_bytes)
{
	struct flowtable *table = open_table(65536);

	CHECK(flowtable_bytes(table, 4) / 65536.0 < 18.5);
	CHECK(flowtable_bytes(table, 6) / 65536.0 < 32.5);
	flowtable_free(table);
}

TEST_CASE(flowtable, sizes_that_are_none_are_refused)
{
	uint8_t addresses[4][FLOW_ADDRESS_LEN];
	struct flowtable *table = NULL;

	fill_addresses(addresses);
	CHECK_INT(flowtable_new(0, (const uint8_t(*)[FLOW_ADDRESS_LEN])addresses, 4,
				&secret, &table),
		  -EINVAL);
	CHECK_INT(flowtable_new(64, (const uint8_t(*)[FLOW_ADDRESS_LEN])addresses, 17,
				&secret, &table),
		  -EINVAL);
	CHECK(!table);
	flowtable_free(NULL);
}

TEST_CASE(flowtable, ways_have_names)
{
	CHECK_STR(flow_via_name(FLOW_VIA_KERNEL), "kernel");
	CHECK_STR(flow_via_name(FLOW_VIA_PIN), "pin");
	CHECK_STR(flow_via_name(FLOW_VIA_NUM_), "unknown");
}
