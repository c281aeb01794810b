/* Which flow fragments belong to, in whatever order they come. Time is made up. */
#include "data/fragments.h"

#include "shim.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#define AT(ms) (1 + (ms)*NSEC_PER_MSEC)

static const struct flow_secret secret = {{1, 2}};

static struct fragments *fragments_new(void)
{
	struct fragments *fragments = malloc(sizeof(*fragments));

	if (!fragments)
		abort();
	fragments_init(fragments, &secret);
	return fragments;
}

static struct flow_packet any(uint32_t id, uint32_t offset, uint32_t length, bool more)
{
	struct flow_packet packet = {
		.key = {.protocol = IPPROTO_UDP},
		.kind = FLOW_FRAGMENT,
		.is_fragment = true,
		.more = more,
		.fragment_id = id,
		.fragment_offset = offset,
		.fragment_length = length,
	};

	flow_address_map_ipv4(packet.key.foreign, &(uint32_t){htonl(0xc6336407)});
	flow_address_map_ipv4(packet.key.local, &(uint32_t){htonl(0x0a630001)});
	return packet;
}

static struct flow_packet later(uint32_t id, uint32_t offset, uint32_t length)
{
	return any(id, offset, length, true);
}

static struct flow_packet last(uint32_t id, uint32_t offset, uint32_t length)
{
	return any(id, offset, length, false);
}

static struct flow_packet first(uint32_t id, uint16_t port, uint32_t length)
{
	struct flow_packet packet = any(id, 0, length, true);

	packet.kind = FLOW_DATAGRAM;
	packet.key.foreign_port = port;
	packet.key.local_port = 53;
	return packet;
}

static int place(struct fragments *fragments, struct flow_packet packet, uint64_t now_ns)
{
	return fragments_place(fragments, &packet, now_ns);
}

/* The port that it went to, or -errno. */
static int find(struct fragments *fragments, struct flow_packet packet, uint64_t now_ns)
{
	const struct flow_packet *ret = NULL;
	int error = fragments_find(fragments, &packet, now_ns, &ret);

	if (error) {
		CHECK(ret == NULL);
		return error;
	}
	CHECK_INT(ret->kind, FLOW_DATAGRAM);
	return ret->key.foreign_port;
}

TEST_CASE(fragments, follow_their_first)
{
	struct fragments *fragments = fragments_new();

	CHECK_INT(find(fragments, later(1, 1480, 1480), AT(0)), -ENOENT);
	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(1)), 0);
	CHECK_INT(place(fragments, first(2, 2000, 1480), AT(1)), 0);
	CHECK_INT(find(fragments, later(1, 1480, 1480), AT(2)), 1000);
	CHECK_INT(find(fragments, last(2, 1480, 100), AT(2)), 2000);
	CHECK_INT(find(fragments, last(1, 2960, 100), AT(2)), 1000);
	CHECK_INT(find(fragments, later(3, 1480, 1480), AT(2)), -ENOENT);
	free(fragments);
}

TEST_CASE(fragments, are_told_apart_by_all_that_the_kernel_knows_them_by)
{
	struct fragments *fragments = fragments_new();
	struct flow_packet other;

	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(1)), 0);
	other = later(1, 1480, 8);
	other.key.protocol = IPPROTO_TCP;
	CHECK_INT(find(fragments, other, AT(1)), -ENOENT);
	other = later(1, 1480, 8);
	other.key.foreign[15] ^= 1;
	CHECK_INT(find(fragments, other, AT(1)), -ENOENT);
	other = later(1, 1480, 8);
	other.key.local[15] ^= 1;
	CHECK_INT(find(fragments, other, AT(1)), -ENOENT);
	CHECK_INT(find(fragments, later(1, 1480, 8), AT(1)), 1000);
	free(fragments);
}

/* The first one's protocol is that behind the options, a later one's is the options. */
TEST_CASE(fragments, ipv6_has_no_protocol)
{
	struct fragments *fragments = fragments_new();
	struct flow_packet head = first(0x12345678, 1000, 1480);
	struct flow_packet tail = last(0x12345678, 1480, 8);
	struct flow_packet other = last(0x12340000, 1480, 8);

	head.key.local[0] = tail.key.local[0] = other.key.local[0] = 0xfd;
	tail.key.protocol = IPPROTO_DSTOPTS;
	CHECK_INT(place(fragments, head, AT(1)), 0);
	CHECK_INT(find(fragments, other, AT(1)), -ENOENT);
	CHECK_INT(find(fragments, tail, AT(1)), 1000);
	free(fragments);
}

TEST_CASE(fragments, a_first_that_is_said_twice)
{
	struct fragments *fragments = fragments_new();

	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(1)), 0);
	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(2)), 0);
	CHECK_INT(find(fragments, later(1, 1480, 8), AT(3)), 1000);
	free(fragments);
}

TEST_CASE(fragments, another_first_spoils_it)
{
	struct fragments *fragments = fragments_new();

	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(1)), 0);
	CHECK_INT(place(fragments, first(1, 1001, 1480), AT(2)), -EINVAL);
	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(3)), -EINVAL);
	CHECK_INT(find(fragments, last(1, 1480, 8), AT(4)), -EINVAL);
	CHECK_INT(place(fragments, first(2, 1000, 1480), AT(1)), 0);
	CHECK_INT(place(fragments, first(2, 1000, 1472), AT(2)), -EINVAL);
	free(fragments);
}

TEST_CASE(fragments, what_does_not_fit_spoils_it)
{
	static const struct {
		uint32_t offset, length;
		bool more;
		uint32_t next_offset, next_length;
		bool next_more;
	} cases[] = {
		{1472, 16, true, 0, 0, false},	  /* within the first */
		{8, 8, false, 0, 0, false},	  /* likewise, as the last */
		{2000, 8, false, 2008, 8, true},  /* behind the last */
		{2000, 8, false, 2000, 16, true}, /* across it */
		{2000, 8, false, 2000, 7, false}, /* another last one */
		{2000, 8, false, 3000, 8, false}, /* likewise */
		{2000, 8, true, 1480, 8, false},  /* the last one, before another */
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fragments *fragments = fragments_new();
		int wanted = cases[i].next_length ? 1000 : -EINVAL;

		CHECK_INT(place(fragments, first(1, 1000, 1480), AT(1)), 0);
		CHECK_INT(find(fragments,
			       any(1, cases[i].offset, cases[i].length, cases[i].more),
			       AT(1)),
			  wanted);
		if (cases[i].next_length)
			CHECK_INT(find(fragments,
				       any(1, cases[i].next_offset, cases[i].next_length,
					   cases[i].next_more),
				       AT(1)),
				  -EINVAL);
		CHECK_INT(find(fragments, later(1, 1480, 8), AT(1)), -EINVAL);
		free(fragments);
	}
}

/* An id that comes again: the datagram before it is there as a whole. */
TEST_CASE(fragments, finished_ones_make_way)
{
	struct fragments *fragments = fragments_new();

	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(1)), 0);
	CHECK_INT(find(fragments, last(1, 2960, 8), AT(2)), 1000);
	CHECK_INT(find(fragments, later(1, 1480, 1480), AT(2)), 1000);
	CHECK_INT(find(fragments, later(1, 1480, 1480), AT(3)), 1000);
	CHECK_INT(place(fragments, first(1, 2000, 512), AT(4)), 0);
	CHECK_INT(find(fragments, last(1, 512, 8), AT(5)), 2000);
	free(fragments);
}

TEST_CASE(fragments, are_not_endless)
{
	struct fragments *fragments = fragments_new();

	CHECK_INT(place(fragments, first(1, 1000, 8), AT(1)), 0);
	for (uint32_t i = 1; i < FRAGMENTS_OF_ONE; i++)
		CHECK_INT(find(fragments, later(1, i * 8, 8), AT(1)), 1000);
	CHECK_INT(find(fragments, last(1, FRAGMENTS_OF_ONE * 8, 8), AT(1)), -EINVAL);
	CHECK_INT(place(fragments, first(2, 1000, 8), AT(1)), 0);
	for (uint32_t i = 1; i < FRAGMENTS_OF_ONE; i++)
		CHECK_INT(place(fragments, first(2, 1000, 8), AT(1)), 0);
	CHECK_INT(place(fragments, first(2, 1000, 8), AT(1)), -EINVAL);
	free(fragments);
}

/* Also of a datagram that was there as a whole. */
TEST_CASE(fragments, are_not_repeated_endlessly)
{
	struct fragments *fragments = fragments_new();

	CHECK_INT(place(fragments, first(1, 1000, 8), AT(1)), 0);
	for (uint32_t i = 1; i < FRAGMENTS_OF_ONE; i++)
		CHECK_INT(find(fragments, last(1, 8, 8), AT(1)), 1000);
	CHECK_INT(find(fragments, last(1, 8, 8), AT(1)), -EINVAL);
	free(fragments);
}

TEST_CASE(fragments, are_forgotten)
{
	struct fragments *fragments = fragments_new();

	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(0)), 0);
	CHECK_INT(find(fragments, later(1, 1480, 8), AT(4999)), 1000);
	CHECK_INT(find(fragments, later(1, 1488, 8), AT(5000)), -ENOENT);
	CHECK_INT(place(fragments, first(1, 2000, 1480), AT(5000)), 0);
	CHECK_INT(find(fragments, later(1, 1480, 8), AT(9999)), 2000);
	free(fragments);
}

/* However many come: the latest are known, but for those that share a bucket. */
TEST_CASE(fragments, the_oldest_go)
{
	struct fragments *fragments = fragments_new();
	unsigned known = 0;

	for (uint32_t i = 0; i < 10000; i++)
		CHECK_INT(place(fragments, first(i, (uint16_t)i, 1480), AT(i / 10)), 0);
	for (uint32_t i = 0; i < 10000; i++) {
		int port = find(fragments, later(i, 1480, 8), AT(1000));

		if (port >= 0) {
			CHECK_INT(port, i);
			known++;
		}
		CHECK(port >= 0 || i < 9999 - FRAGMENTS_PLACES);
	}
	CHECK_INT(known, FRAGMENTS_DATAGRAMS);
	free(fragments);
}

/* A flood of finished datagrams pushes no other one out. */
TEST_CASE(fragments, finished_ones_go_before_the_oldest)
{
	struct fragments *fragments = fragments_new();

	CHECK_INT(place(fragments, first(1, 1000, 1480), AT(0)), 0);
	for (uint32_t i = 2; i < 10000; i++) {
		CHECK_INT(place(fragments, first(i, 2000, 1480), AT(1)), 0);
		CHECK_INT(find(fragments, last(i, 1480, 8), AT(1)), 2000);
	}
	CHECK_INT(find(fragments, later(1, 1480, 8), AT(2)), 1000);
	free(fragments);
}
