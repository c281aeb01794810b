/*
 * Tests that must not pass: selftest.sh runs them and reads what the shim says.
 */
#include "shim.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

static void helper_that_requires(bool *reached_end)
{
	REQUIRE(errno == -1);
	*reached_end = true;
}

TEST_CASE(fault, check_goes_on)
{
	CHECK(1 == 2);
	CHECK_INT(-3, 4);
	CHECK_U64(~0ull, 1);
	CHECK_STR("one", NULL);
	CHECK_CONTAINS("three", "two");
	CHECK_MEM("0123456789abcdefgh", "0123456789abcdefgX", 18);
}

TEST_CASE(fault, require_leaves_the_function)
{
	bool reached_end = false;

	helper_that_requires(&reached_end);
	CHECK_STR(reached_end ? "went on" : "left", "failed");
	CHECK_STR(test_failed() ? "known" : "unknown", "asked");
}

TEST_CASE(fault, leaks_an_fd)
{
	CHECK(memfd_create("forgotten", MFD_CLOEXEC) >= 0);
}

TEST_CASE(fault, closes_a_foreign_fd)
{
	CHECK(close(STDIN_FILENO) == 0);
}

TEST_CASE(skipped, for_a_reason)
{
	TEST_SKIP("no such device");
}

TEST_CASE(passed, despite_all)
{
	int fd = memfd_create("closed in time", MFD_CLOEXEC);

	REQUIRE(fd >= 0);
	CHECK(close(fd) == 0);
	CHECK(CHECK_STR(NULL, NULL) && CHECK_STR("a", "a") && CHECK_INT(-1, -1));
	CHECK(CHECK_CONTAINS("a word", "a wo"));
}
