/*
 * The flow cache: which verdict is found by which packet and how long, against a table
 * and against a model that knows every flow; what goes when there is no room. Time is
 * made up.
 */
#include "data/flowcache.h"

#include "rig.h"
#include "shim.h"

#include <stdlib.h>
#include <string.h>

#define MS	     1000000ull
#define START	     (1000 * FLOWCACHE_TICK_NS)
#define OTHER_PACKET 0
#define OPENER	     (FLOWCACHE_OPENS | FLOWCACHE_MAY_OPEN)
#define DATAGRAM_USE FLOWCACHE_MAY_OPEN
#define END	     FLOWCACHE_ENDS

static const struct plane_verdict flow_verdict = {.owner = 7, .keep = PLANE_KEEP_FLOW};

static struct plane_verdict verdict_of(enum plane_keep keep, enum drop_reason reason)
{
	return (struct plane_verdict){
		.owner = keep == PLANE_KEEP_SHORT ? 0 : 7,
		.reason = keep == PLANE_KEEP_SHORT ? reason : 0,
		.keep = keep,
	};
}

static bool cache_open(struct flowcache *cache, uint32_t flows)
{
	if (!CHECK_INT(flowcache_init(cache, flows), 0))
		return false;
	flowcache_set_time(cache, START);
	return true;
}

static bool is_found(struct flowcache *cache, uint64_t hash, unsigned use)
{
	struct plane_verdict verdict;

	return flowcache_find(cache, hash, use, &verdict);
}

TEST_CASE(flowcache, what_was_put_is_found_and_nothing_else)
{
	struct plane_verdict verdict;
	struct flowcache cache;
	uint64_t state = 5;

	REQUIRE(cache_open(&cache, 2000));
	for (unsigned i = 1; i <= 1000; i++) {
		verdict = (struct plane_verdict){.owner = (uint16_t)(i * 65),
						 .keep = PLANE_KEEP_FLOW};
		flowcache_put(&cache, rig_random(&state), &verdict);
	}
	CHECK_U64(cache.used, 1000);
	state = 5;
	for (unsigned i = 1; i <= 1000; i++) {
		REQUIRE(flowcache_find(&cache, rig_random(&state), OPENER, &verdict));
		REQUIRE(verdict.owner == (uint16_t)(i * 65));
		REQUIRE(verdict.keep == PLANE_KEEP_FLOW);
	}
	for (unsigned i = 0; i < 1000; i++)
		REQUIRE(!is_found(&cache, rig_random(&state), OPENER));
	flowcache_close(&cache);
	flowcache_close(&cache);
}

TEST_CASE(flowcache, a_verdict_takes_the_place_of_the_one_before)
{
	struct plane_verdict verdict = verdict_of(PLANE_KEEP_SHORT, DROP_NO_LISTENER);
	struct flowcache cache;

	REQUIRE(cache_open(&cache, 10));
	flowcache_put(&cache, 1, &flow_verdict);
	flowcache_put(&cache, 1, &verdict);
	CHECK_U64(cache.used, 1);
	CHECK(flowcache_find(&cache, 1, OPENER, &verdict));
	CHECK_INT(verdict.owner, 0);
	CHECK_INT(verdict.reason, DROP_NO_LISTENER);
	verdict.keep = PLANE_KEEP_NOT;
	flowcache_put(&cache, 1, &verdict);
	flowcache_put(&cache, 2, &verdict);
	CHECK(!is_found(&cache, 1, OPENER));
	CHECK_U64(cache.used, 0);
	flowcache_close(&cache);
}

/* Verdicts that contradict themselves are none. */
TEST_CASE(flowcache, odd_verdicts_are_not_kept)
{
	const struct plane_verdict odd[] = {
		{.owner = 7, .keep = PLANE_KEEP_SHORT},
		{.reason = DROP_NO_OWNER, .keep = PLANE_KEEP_FLOW},
		{.reason = DROP_NO_OWNER, .keep = PLANE_KEEP_DATAGRAM},
	};
	struct flowcache cache;

	REQUIRE(cache_open(&cache, 10));
	for (unsigned i = 0; i < 3; i++) {
		flowcache_put(&cache, 1, &odd[i]);
		CHECK_U64(cache.used, 0);
	}
	flowcache_close(&cache);
}

/* Half seconds after START; a packet that is `found` or not. */
struct step {
	unsigned at;
	unsigned use;
	bool found;
};

struct life {
	const char *name;
	enum plane_keep keep;
	enum drop_reason reason;
	struct step steps[6];
};

static const struct life lives[] = {
	{"openers that repeat",
	 PLANE_KEEP_FLOW,
	 0,
	 {{0, OPENER, true},
	  {20, OPENER, true},
	  {40, OPENER, true},
	  {61, OPENER, false}}},
	{"segments make it no younger for openers",
	 PLANE_KEEP_FLOW,
	 0,
	 {{15, OTHER_PACKET, true},
	  {20, OTHER_PACKET, true},
	  {21, OPENER, false},
	  {21, OTHER_PACKET, true},
	  {22, OPENER, false}}},
	{"a connection that goes on",
	 PLANE_KEEP_FLOW,
	 0,
	 {{30, OTHER_PACKET, true},
	  {210, OTHER_PACKET, true},
	  {390, OTHER_PACKET, true},
	  {571, OTHER_PACKET, false}}},
	{"a connection that ends",
	 PLANE_KEEP_FLOW,
	 0,
	 {{1, END, true},
	  {2, OPENER, false},
	  {60, OTHER_PACKET, true},
	  {120, OTHER_PACKET, true},
	  {181, OTHER_PACKET, false}}},
	{"an opener alone",
	 PLANE_KEEP_FLOW,
	 0,
	 {{180, OTHER_PACKET, true}, {180, OPENER, false}}},
	{"an opener that was not followed",
	 PLANE_KEEP_FLOW,
	 0,
	 {{181, OTHER_PACKET, false}}},
	{"over a long silence",
	 PLANE_KEEP_FLOW,
	 0,
	 {{257, OTHER_PACKET, false}, {512, OTHER_PACKET, false}}},
	{"datagrams",
	 PLANE_KEEP_DATAGRAM,
	 0,
	 {{10, DATAGRAM_USE, true}, {20, DATAGRAM_USE, true}, {21, DATAGRAM_USE, false}}},
	{"nobody listens",
	 PLANE_KEEP_SHORT,
	 DROP_NO_LISTENER,
	 {{1, OPENER, true}, {1, DATAGRAM_USE, true}, {2, OPENER, false}}},
	{"the owner is down",
	 PLANE_KEEP_SHORT,
	 DROP_NO_OWNER,
	 {{0, OTHER_PACKET, true},
	  {1, OPENER, false},
	  {1, DATAGRAM_USE, false},
	  {1, END, true},
	  {2, OTHER_PACKET, false}}},
};

static void check_life(const struct life *life)
{
	struct plane_verdict verdict = verdict_of(life->keep, life->reason);
	struct flowcache cache;

	REQUIRE(cache_open(&cache, 100));
	flowcache_put(&cache, 42, &verdict);
	for (unsigned i = 0; i < 6; i++) {
		const struct step *step = &life->steps[i];

		if (i && !step->at)
			break;
		flowcache_set_time(&cache, START + step->at * FLOWCACHE_TICK_NS);
		if (!CHECK_INT(is_found(&cache, 42, step->use), step->found))
			CHECK_STR("which step", life->name);
	}
	flowcache_close(&cache);
}

TEST_CASE(flowcache, lives_of_entries)
{
	for (unsigned i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
		check_life(&lives[i]);
}

/* ---- against a model ---- */

#define MODEL_FLOWS 500u

struct model_flow {
	uint64_t hash;
	bool exists;
	enum plane_keep keep;
	enum drop_reason reason;
	bool is_open, has_ended;
	uint64_t stamp; /* ticks that never wrap */
};

static unsigned model_limit(const struct model_flow *flow)
{
	if (flow->keep == PLANE_KEEP_SHORT)
		return 1;
	if (flow->keep == PLANE_KEEP_DATAGRAM)
		return 20;
	return flow->has_ended ? 60 : 180;
}

/* As the table in flowcache.h has it. */
static bool model_find(struct model_flow *flow, uint64_t tick, unsigned use)
{
	uint64_t age = tick - flow->stamp;

	if (!flow->exists || age > model_limit(flow))
		return false;
	if (flow->keep == PLANE_KEEP_SHORT)
		return flow->reason != DROP_NO_OWNER || !(use & FLOWCACHE_MAY_OPEN);
	if (flow->keep == PLANE_KEEP_DATAGRAM)
		return true;
	if (use & FLOWCACHE_OPENS && (flow->is_open || flow->has_ended || age > 20))
		return false;
	flow->has_ended |= use == END;
	flow->is_open |= !(use & FLOWCACHE_OPENS) && age > 20;
	if (use & FLOWCACHE_OPENS || flow->is_open || flow->has_ended)
		flow->stamp = tick;
	return true;
}

static void model_put(struct flowcache *cache, struct model_flow *flow, uint64_t tick,
		      uint64_t dice)
{
	static const enum drop_reason reasons[] = {DROP_NO_OWNER, DROP_NO_LISTENER};
	struct plane_verdict verdict =
		verdict_of((enum plane_keep)(dice % 4), reasons[dice / 4 % 2]);

	*flow = (struct model_flow){
		.hash = flow->hash,
		.exists = verdict.keep != PLANE_KEEP_NOT,
		.keep = verdict.keep,
		.reason = verdict.reason,
		.stamp = tick,
	};
	flowcache_put(cache, flow->hash, &verdict);
}

static uint64_t next_tick(uint64_t tick, uint64_t dice)
{
	if (dice % 400 == 0)
		tick += dice / 400 % 3;
	if (dice % 50021 == 0)
		tick += dice / 50021 % 700;
	return tick;
}

TEST_CASE(flowcache, randomized_against_a_model)
{
	static const unsigned uses[] = {OTHER_PACKET, OPENER,	    DATAGRAM_USE,
					END,	      OTHER_PACKET, OPENER};
	static struct model_flow flows[MODEL_FLOWS];
	uint64_t state = 77, tick = 1000, hits = 0;
	struct plane_verdict verdict;
	struct flowcache cache;

	REQUIRE(cache_open(&cache, 4 * MODEL_FLOWS));
	for (unsigned i = 0; i < MODEL_FLOWS; i++)
		flows[i].hash = rig_random(&state);
	for (unsigned i = 0; i < 1000000; i++) {
		uint64_t dice = rig_random(&state) >> 1;
		struct model_flow *flow = &flows[dice % MODEL_FLOWS];
		unsigned use = uses[dice / MODEL_FLOWS % 6];
		bool found;

		dice /= MODEL_FLOWS * 6;
		tick = next_tick(tick, dice);
		flowcache_set_time(&cache, tick * FLOWCACHE_TICK_NS + dice % (400 * MS));
		if (dice % 16 == 1)
			model_put(&cache, flow, tick, dice / 16);
		found = flowcache_find(&cache, flow->hash, use, &verdict);
		REQUIRE(found == model_find(flow, tick, use));
		REQUIRE(!found || verdict.keep == flow->keep);
		REQUIRE(!found || verdict.owner || verdict.reason == flow->reason);
		hits += found;
	}
	CHECK(hits > 300000);
	CHECK_U64(cache.evicted, 0);
	flowcache_close(&cache);
}

/* ---- little room ---- */

static void put_many(struct flowcache *cache, uint64_t state, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		flowcache_put(cache, rig_random(&state), &flow_verdict);
}

static unsigned count_found(struct flowcache *cache, uint64_t state, unsigned count,
			    unsigned use)
{
	unsigned found = 0;

	for (unsigned i = 0; i < count; i++)
		found += is_found(cache, rig_random(&state), use);
	return found;
}

TEST_CASE(flowcache, there_is_room_for_as_many_as_were_asked_for)
{
	struct flowcache cache;

	REQUIRE(cache_open(&cache, 100000));
	put_many(&cache, 3, 100000);
	CHECK(cache.evicted < 250);
	CHECK_U64(cache.used + cache.evicted, 100000);
	CHECK_INT(count_found(&cache, 3, 100000, OPENER), cache.used);
	CHECK(cache.mapped < 1001000);
	flowcache_close(&cache);
}

/* Connections that carry data lose nothing to openers that don't. */
TEST_CASE(flowcache, a_flood_pushes_out_itself)
{
	struct flowcache cache;

	REQUIRE(cache_open(&cache, 10000));
	put_many(&cache, 9, 2000);
	CHECK_INT(count_found(&cache, 9, 2000, OTHER_PACKET), 2000);
	for (unsigned i = 1; i <= 50; i++) {
		flowcache_set_time(&cache, START + i * 100 * MS);
		put_many(&cache, 1000 + i, 10000);
		/* One more opener proves nothing. */
		count_found(&cache, 1000 + i, 10000, OPENER);
	}
	CHECK(cache.evicted > 400000);
	CHECK_U64(cache.evicted_confirmed, 0);
	CHECK_INT(count_found(&cache, 9, 2000, OTHER_PACKET), 2000);
	flowcache_close(&cache);
}

/* Among equals the oldest. */
TEST_CASE(flowcache, the_oldest_goes)
{
	struct flowcache cache;

	REQUIRE(cache_open(&cache, 8));
	CHECK_INT(cache.num_buckets, 3);
	for (unsigned i = 0; i < 200; i++) {
		flowcache_set_time(&cache, START + i * FLOWCACHE_TICK_NS / 4);
		put_many(&cache, 1 + i, 1);
	}
	/* Three buckets of eight: of the last eight nobody was the oldest of sixteen. */
	for (unsigned i = 192; i < 200; i++)
		CHECK_INT(count_found(&cache, 1 + i, 1, OPENER), 1);
	CHECK_U64(cache.used, 24);
	flowcache_close(&cache);
}

TEST_CASE(flowcache, many_at_once_are_as_many_in_turn)
{
	uint64_t hashes[64], state = 12, found;
	struct plane_verdict verdicts[64];
	uint8_t uses[64] = {0};
	struct flowcache cache;

	REQUIRE(cache_open(&cache, 1000));
	for (unsigned i = 0; i < 64; i++) {
		hashes[i] = rig_random(&state);
		if (i % 3)
			flowcache_put(&cache, hashes[i],
				      &(struct plane_verdict){.owner = (uint16_t)i,
							      .keep = PLANE_KEEP_FLOW});
	}
	found = flowcache_find_bulk(&cache, hashes, uses, 64, verdicts);
	for (unsigned i = 0; i < 64; i++) {
		CHECK_INT(found >> i & 1, i % 3 != 0);
		CHECK(i % 3 == 0 || verdicts[i].owner == i);
	}
	flowcache_close(&cache);
}
