#include "control/nft.h"

#include "command_output.h"
#include "netns.h"
#include "shim.h"

#include <stdlib.h>

#define OWNED "add table netdev shmnet/n1/www { flags owner; }\n"

#define OPEN(nft)                                                                        \
	do {                                                                             \
		const char *why_not = netns_enter();                                     \
                                                                                         \
		if (why_not)                                                             \
			TEST_SKIP(why_not);                                              \
		REQUIRE(nft_open(NULL, &(nft)) == 0);                                    \
	} while (0)

TEST_CASE(nft, all_lines_or_none)
{
	struct nft *nft = NULL;

	nft_close(NULL);
	OPEN(nft);
	CHECK_INT(nft_run(nft, "add table inet a\nadd table inet b\n"), 0);
	CHECK_INT(nft_run(nft, "list tables"), 0);
	CHECK_STR(nft_output(nft), "table inet a\ntable inet b\n");
	CHECK_INT(nft_run(nft, "add table inet c\ndelete table inet d\n"), -ENOENT);
	CHECK(strstr(nft_last_error(nft), "No such file or directory"));
	CHECK_INT(nft_run(nft, "list tables"), 0);
	CHECK_STR(nft_output(nft), "table inet a\ntable inet b\n");
	nft_close(nft);
	CHECK(command_says("nft list tables", "table inet a"));
}

TEST_CASE(nft, errors_are_one_line)
{
	struct nft *nft = NULL;

	OPEN(nft);
	CHECK_INT(nft_run(nft, "add nothing inet a\n"), -EINVAL);
	CHECK(strstr(nft_last_error(nft), "syntax error"));
	CHECK(!strchr(nft_last_error(nft), '\n'));
	CHECK(!strstr(nft_last_error(nft), "Error: "));
	nft_close(nft);
}

TEST_CASE(nft, an_owned_table_resists_others_and_goes_with_the_handle)
{
	struct nft *nft = NULL, *other = NULL;

	OPEN(nft);
	CHECK_INT(nft_run(nft, OWNED "add table inet guard\n"), 0);
	CHECK_INT(nft_open(NULL, &other), 0);
	CHECK_INT(nft_run(other, "delete table netdev shmnet/n1/www\n"), -EPERM);
	CHECK_INT(nft_run(other, "flush ruleset\n"), 0);
	CHECK_INT(nft_run(other, "list tables"), 0);
	CHECK_STR(nft_output(other), "table netdev shmnet/n1/www\n");
	nft_close(nft);
	CHECK_INT(nft_run(other, "list tables"), 0);
	CHECK_STR(nft_output(other), "");
	nft_close(other);
}

/* The library keeps names of interfaces while it runs commands, not longer. */
TEST_CASE(nft, knows_an_interface_that_is_new)
{
	struct nft *nft = NULL;

	OPEN(nft);
	CHECK_INT(nft_run(nft, "add table netdev t\n"
			       "add chain netdev t c { type filter hook ingress device "
			       "lo priority 0; }\n"
			       "add rule netdev t c ip daddr 10.99.0.1 fwd to lo\n"),
		  0);
	CHECK_INT(system("ip link add new0 type veth peer name new1"), 0);
	CHECK_INT(
		nft_run(nft, "add rule netdev t c ip daddr 10.99.0.1 fwd to \"new1\"\n"),
		0);
	nft_close(nft);
}

static int run_without_capabilities(void *arg)
{
	struct nft *nft = arg;

	if (!drop_capabilities())
		return 1;
	return nft_run(nft, "add table inet a\n") == -EPERM ? 0 : 2;
}

TEST_CASE(nft, says_that_a_capability_is_missing)
{
	struct nft *nft = NULL;

	OPEN(nft);
	CHECK_INT(run_in_child(run_without_capabilities, nft), 0);
	nft_close(nft);
}

TEST_CASE(nft, quotes_what_an_interface_may_be_called)
{
	CHECK(nft_can_quote("eth0"));
	CHECK(nft_can_quote("$br-lan.100@x"));
	CHECK(nft_can_quote("a{b};c"));
	CHECK(!nft_can_quote("a\"b"));
	CHECK(!nft_can_quote("a\\b"));
	CHECK(!nft_can_quote("eth*"));
}
