/* The names of base/drop.h, which the CLI and scripts match on. */
#include "base/drop.h"

#include "shim.h"

#include <string.h>

TEST_CASE(drop, every_reason_has_a_name_of_its_own)
{
	for (unsigned reason = 0; reason < DROP_NUM_; reason++) {
		REQUIRE(drop_reason_name(reason) != NULL);
		CHECK(strlen(drop_reason_name(reason)) > 0);
		for (unsigned other = 0; other < reason; other++)
			CHECK(strcmp(drop_reason_name(reason), drop_reason_name(other)) !=
			      0);
	}
}

TEST_CASE(drop, names_are_lower_case_words_and_hyphens)
{
	for (unsigned reason = 0; reason < DROP_NUM_; reason++) {
		const char *name = drop_reason_name(reason);

		CHECK_INT(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
	}
}

TEST_CASE(drop, names_follow_the_enum)
{
	CHECK_STR(drop_reason_name(DROP_RUNT), "runt");
	CHECK_STR(drop_reason_name(DROP_RING_FULL), "ring-full");
	CHECK_STR(drop_reason_name(DROP_TAP_ERROR), "tap-error");
	CHECK_STR(drop_reason_name(DROP_LOST_FIRST), "lost-first");
	CHECK_STR(drop_reason_name(DROP_PAUSED), "paused");
}

/* Per link and direction, so a reason on the wrong side breaks the books. */
TEST_CASE(drop, each_reason_is_of_one_side)
{
	CHECK(drop_reason_is_sent(DROP_RUNT));
	CHECK(drop_reason_is_sent(DROP_MISROUTED));
	CHECK(!drop_reason_is_sent(DROP_BAD_LENGTH));
	CHECK(!drop_reason_is_sent(DROP_CAST_LOST));
	CHECK(drop_reason_is_sent(DROP_GLOBAL_NEIGH));
	CHECK(drop_reason_is_sent(DROP_LOST_FIRST));
	CHECK(drop_reason_is_sent(DROP_PAUSED));
}

TEST_CASE(drop, out_of_range_is_null)
{
	CHECK_STR(drop_reason_name(DROP_NUM_), NULL);
	CHECK_STR(drop_reason_name(~0u), NULL);
}
