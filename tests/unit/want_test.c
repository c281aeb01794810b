/* Which labels get asked for, and how often. Time is made up. */
#include "data/want.h"

#include "base/clock.h"
#include "shim.h"

#include <stdlib.h>

static const uint8_t broadcast[SHMNET_ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t group[SHMNET_ETH_ALEN] = {0x01, 0x00, 0x5e, 1, 2, 3};

#define AT(ms) ((ms)*NSEC_PER_MSEC)

static struct wants *wants_new(void)
{
	struct wants *wants = calloc(1, sizeof(*wants));

	if (!wants)
		abort();
	return wants;
}

TEST_CASE(want, broadcast_at_once_and_once)
{
	struct wants *wants = wants_new();
	uint8_t label[SHMNET_ETH_ALEN];

	CHECK_U64(want_key(broadcast), WANT_BROADCAST);
	CHECK(!wants_take(wants, label));
	CHECK(wants_count(wants, WANT_BROADCAST, AT(5)));
	CHECK(!wants_count(wants, WANT_BROADCAST, AT(6)));
	CHECK(wants_take(wants, label));
	CHECK_MEM(label, broadcast, sizeof(label));
	CHECK(!wants_take(wants, label));
	CHECK(!wants_count(wants, WANT_BROADCAST, AT(5000)));
	CHECK(!wants_take(wants, label));
	free(wants);
}

/* The second counts from the first cast after the answer, which is soon under load. */
TEST_CASE(want, again_a_second_after_the_answer)
{
	struct wants *wants = wants_new();
	uint8_t label[SHMNET_ETH_ALEN];

	CHECK(wants_count(wants, WANT_BROADCAST, AT(5)));
	wants_answer(wants, WANT_BROADCAST); /* of a question not yet heard */
	REQUIRE(wants_take(wants, label));
	wants_answer(wants, WANT_BROADCAST);
	CHECK(!wants_count(wants, WANT_BROADCAST, AT(10)));
	CHECK(!wants_count(wants, WANT_BROADCAST, AT(1009)));
	CHECK(!wants_take(wants, label));
	CHECK(wants_count(wants, WANT_BROADCAST, AT(1010)));
	CHECK(wants_take(wants, label));
	free(wants);
}

TEST_CASE(want, group_that_is_busy_for_a_second)
{
	struct wants *wants = wants_new();
	uint64_t key = want_key(group);
	uint8_t label[SHMNET_ETH_ALEN];

	for (unsigned second = 0; second < 3; second++) {
		for (unsigned i = 0; i < WANT_GROUP_CASTS - 1; i++)
			CHECK(!wants_count(wants, key, AT(2000 * second + i)));
	}
	CHECK(!wants_take(wants, label));
	CHECK(wants_count(wants, key, AT(4999)));
	REQUIRE(wants_take(wants, label));
	CHECK_MEM(label, group, sizeof(label));
	free(wants);
}

/* One-off groups, as IPv6 has them, come and go without a word. */
TEST_CASE(want, many_groups_of_a_few_casts)
{
	struct wants *wants = wants_new();
	uint8_t label[SHMNET_ETH_ALEN] = {0x33, 0x33, 0xff, 0, 0, 0};

	for (unsigned i = 0; i < 20000; i++) {
		label[4] = (uint8_t)(i / 2 >> 8);
		label[5] = (uint8_t)(i / 2);
		CHECK(!wants_count(wants, want_key(label), AT(i / 100)));
	}
	CHECK(!wants_take(wants, label));
	free(wants);
}

/* A place that is asked for is not pushed out of it. */
TEST_CASE(want, question_outlives_other_groups)
{
	struct wants *wants = wants_new();
	uint8_t label[SHMNET_ETH_ALEN] = {0x33, 0x33, 0xff, 0, 0, 0};

	for (unsigned i = 0; i < WANT_GROUP_CASTS; i++)
		wants_count(wants, want_key(group), AT(1));
	for (unsigned i = 0; i < 5000; i++) {
		label[4] = (uint8_t)(i >> 8);
		label[5] = (uint8_t)i;
		wants_count(wants, want_key(label), AT(2));
	}
	REQUIRE(wants_take(wants, label));
	CHECK_MEM(label, group, sizeof(label));
	free(wants);
}
