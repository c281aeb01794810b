/*
 * Looking at frames: where the headers are, which virtio-net headers fit, and the
 * checksum that is finished by hand.
 */
#include "base/frame.h"

#include "frame_shapes.h"
#include "shim.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* A copy of exactly that size, so that ASan sees a read behind its end. */
static void parse_exact(const uint8_t *bytes, size_t length, struct frame_layout *layout)
{
	uint8_t *copy = malloc(length ? length : 1);

	memset(layout, 0xee, sizeof(*layout));
	REQUIRE(copy);
	memcpy(copy, bytes, length);
	frame_parse(copy, length, layout);
	free(copy);
}

/* ---- parsing ---- */

struct parse_case {
	const char *name;
	const char *frame;
	unsigned l3, l4, payload, ip_version, protocol;
};

#define NO_L4 0, 0

/* Or each part of a frame gets a line of its own. */
/* clang-format off */
static const struct parse_case parse_cases[] = {
	{"arp", ETH "0806" ZERO8, 14, NO_L4, 0, 0},
	{"nothing after Ethernet", ETH "0800", 14, NO_L4, 0, 0},
	{"tcp", ETH IP4("5", "06") TCP("5"), 14, 34, 54, 4, IPPROTO_TCP},
	{"udp", ETH IP4("5", "11") UDP, 14, 34, 42, 4, IPPROTO_UDP},
	{"icmp", ETH IP4("5", "01") UDP, 14, NO_L4, 4, 0},
	{"sctp", ETH IP4("5", "84") TCP("5"), 14, NO_L4, 4, 0},

	{"vlan", ETH VLAN IP4("5", "06") TCP("5"), 18, 38, 58, 4, IPPROTO_TCP},
	{"qinq", ETH QINQ VLAN IP4("5", "11") UDP, 22, 42, 50, 4, IPPROTO_UDP},
	{"three tags", ETH QINQ VLAN VLAN IP4("5", "06") TCP("5"), 22, NO_L4, 0, 0},
	{"tag cut off", ETH "8100" "00", 14, NO_L4, 0, 0},
	{"tag, then nothing", ETH VLAN "08", 14, NO_L4, 0, 0},
	{"vlan arp", ETH VLAN "0806" ZERO8, 18, NO_L4, 0, 0},

	{"options", ETH IP4("7", "06") ZERO8 TCP("5"), 14, 42, 62, 4, IPPROTO_TCP},
	{"most options", ETH IP4("f", "11") TEN TEN TEN TEN UDP, 14, 74, 82, 4,
	 IPPROTO_UDP},
	{"options cut off", ETH IP4("f", "11") UDP, 14, NO_L4, 4, 0},
	{"short ihl", ETH IP4("4", "06") TCP("5"), 14, NO_L4, 0, 0},
	{"no ihl", ETH IP4("0", "06") TCP("5"), 14, NO_L4, 0, 0},
	{"version 6 in 0800", ETH "0800" "65000000" ZERO8 ZERO8 TCP("5"), 14, NO_L4, 0,
	 0},
	{"version 4 in 86dd", ETH "86dd" "45000000" "000006" "40" TEN TEN TEN "0000"
	 TCP("5"), 14, NO_L4, 0, 0},
	{"header cut off", ETH "0800" "45000000" ZERO8 "00000000000000", 14, 0, 0, 0,
	 0},

	{"do not fragment", ETH IP4_FRAG("5", "4000", "06") TCP("5"), 14, 34, 54, 4,
	 IPPROTO_TCP},
	{"first fragment", ETH IP4_FRAG("5", "2000", "06") TCP("5"), 14, NO_L4, 4, 0},
	{"later fragment", ETH IP4_FRAG("5", "2001", "11") UDP, 14, NO_L4, 4, 0},
	{"last fragment", ETH IP4_FRAG("5", "1fff", "11") UDP, 14, NO_L4, 4, 0},

	{"tcp options", ETH IP4("5", "06") TCP("8") TEN "0000", 14, 34, 66, 4,
	 IPPROTO_TCP},
	{"tcp options out of sight", ETH IP4("5", "06") TCP("f"), 14, 34, 94, 4,
	 IPPROTO_TCP},
	{"short doff", ETH IP4("5", "06") TCP("4"), 14, NO_L4, 4, 0},
	{"no doff", ETH IP4("5", "06") TCP("0"), 14, NO_L4, 4, 0},
	{"tcp cut off", ETH IP4("5", "06") UDP TEN "00", 14, NO_L4, 4, 0},
	{"udp cut off", ETH IP4("5", "11") "00010002000000", 14, NO_L4, 4, 0},

	{"ipv6 tcp", ETH IP6("06") TCP("5"), 14, 54, 74, 6, IPPROTO_TCP},
	{"ipv6 udp", ETH VLAN IP6("11") UDP, 18, 58, 66, 6, IPPROTO_UDP},
	{"ipv6 cut off", ETH "86dd" "60000000" "0000" "06" "40" ZERO8 ZERO8 ZERO8
	 "00000000000000", 14, NO_L4, 0, 0},
	{"hop-by-hop", ETH IP6("00") EXT("06", "00") TCP("5"), 14, 62, 82, 6,
	 IPPROTO_TCP},
	{"routing, long", ETH IP6("2b") EXT("11", "02") ZERO8 ZERO8 UDP, 14, 78, 86, 6,
	 IPPROTO_UDP},
	{"two kinds", ETH IP6("00") EXT("3c", "00") EXT("06", "00") TCP("5"), 14, 70,
	 90, 6, IPPROTO_TCP},
	{"eight", ETH IP6("00") EXT("00", "00") EXT("00", "00") EXT("00", "00")
	 EXT("00", "00") EXT("00", "00") EXT("00", "00") EXT("00", "00") EXT("11", "00")
	 UDP, 14, 118, 126, 6, IPPROTO_UDP},
	{"nine", ETH IP6("00") EXT("00", "00") EXT("00", "00") EXT("00", "00") EXT("00",
	 "00") EXT("00", "00") EXT("00", "00") EXT("00", "00") EXT("00", "00") EXT("11",
	 "00") UDP, 14, NO_L4, 6, 0},
	{"longest extension", ETH IP6("00") EXT("06", "ff") TCP("5"), 14, NO_L4, 6, 0},
	{"extension cut off", ETH IP6("00") "06000000000000", 14, NO_L4, 6, 0},
	{"ipv6 fragment", ETH IP6("2c") EXT("06", "00") TCP("5"), 14, NO_L4, 6, 0},
	{"authenticated", ETH IP6("33") EXT("06", "00") TCP("5"), 14, NO_L4, 6, 0},
	{"no next header", ETH IP6("3b") TCP("5"), 14, NO_L4, 6, 0},
};
/* clang-format on */

static void check_parse(const struct parse_case *test)
{
	uint8_t bytes[FRAME_HEAD_MAX];
	size_t length = shape_decode(test->frame, bytes);
	struct frame_layout layout;

	parse_exact(bytes, length, &layout);
	if (layout.l3 != test->l3 || layout.l4 != test->l4 ||
	    layout.payload != test->payload || layout.ip_version != test->ip_version ||
	    (layout.l4 && layout.protocol != test->protocol))
		CHECK_STR("found something else", test->name);
}

TEST_CASE(frame, parses)
{
	for (unsigned i = 0; i < COUNT(parse_cases); i++)
		check_parse(&parse_cases[i]);
}

/* However much of it is in sight: what is found lies in there, and never changes. */
static void check_prefixes(const struct parse_case *test)
{
	uint8_t bytes[FRAME_HEAD_MAX];
	size_t length = shape_decode(test->frame, bytes);
	struct frame_layout layout;

	for (size_t n = SHMNET_ETH_HLEN; n < length; n++) {
		parse_exact(bytes, n, &layout);
		CHECK(layout.l3 <= n);
		CHECK(layout.l4 == 0 || layout.l4 == test->l4);
		CHECK(layout.l4 == 0 || layout.l4 + 8u <= n);
		CHECK(layout.ip_version == 0 || layout.ip_version == test->ip_version);
	}
}

TEST_CASE(frame, parses_what_is_cut_off_anywhere)
{
	for (unsigned i = 0; i < COUNT(parse_cases); i++)
		check_prefixes(&parse_cases[i]);
}

/* ---- virtio-net headers ---- */

#define TCP4 ETH IP4("5", "06") TCP("5")	    /* l4 34, payload 54 */
#define UDP4 ETH IP4("5", "11") UDP		    /* 34, 42 */
#define TCP6 ETH IP6("06") TCP("5")		    /* 54, 74 */
#define UDP6 ETH IP6("11") UDP			    /* 54, 62 */
#define TCPV ETH QINQ VLAN IP4("5", "06") TCP("5")  /* 42, 62 */
#define TCPO ETH IP4("5", "06") TCP("8") TEN "0000" /* 34, 66 */
#define ARP  ETH "0806" ZERO8
#define FRAG ETH IP4_FRAG("5", "2000", "06") TCP("5")

#define FITS DROP_NUM_

struct fit_case {
	const char *name;
	const char *frame;
	size_t length;
	uint32_t mtu;
	struct frame_vnet foreign; /* flags, type, header length, size, start, offset */
	enum drop_reason expected;
	struct frame_vnet own;
};

/* clang-format off */
static const struct fit_case fit_cases[] = {
	{"plain", TCP4, 1514, 1500, {0}, FITS, {0}},
	{"plain arp", ARP, 42, 1500, {0}, FITS, {0}},
	{"data valid is not passed on", TCP4, 100, 1500, {.flags = 2}, FITS, {0}},
	{"unused fields", TCP4, 100, 1500, {0, 0, 99, 98, 97, 96}, FITS, {0}},
	{"unused flags", TCP4, 100, 1500, {0xfe, 0, 0, 0, 0, 0}, FITS, {0}},
	{"mtu", TCP4, 14 + 1500, 1500, {0}, FITS, {0}},
	{"mtu + 1", TCP4, 14 + 1501, 1500, {0}, DROP_OVERSIZE, {0}},
	{"mtu - 1", TCP4, 14 + 1499, 1500, {0}, FITS, {0}},
	{"mtu with tags", TCPV, 22 + 1500, 1500, {0}, FITS, {0}},
	{"mtu with tags + 1", TCPV, 22 + 1501, 1500, {0}, DROP_OVERSIZE, {0}},
	{"largest mtu", ARP, 14 + 65521, 65521, {0}, FITS, {0}},

	{"sum", TCP4, 100, 1500, {1, 0, 0, 0, 34, 16}, FITS, {1, 0, 0, 0, 34, 16}},
	{"sum udp", UDP4, 100, 1500, {1, 0, 0, 0, 34, 6}, FITS, {1, 0, 0, 0, 34, 6}},
	{"sum ipv6", TCP6, 100, 1500, {1, 0, 0, 0, 54, 16}, FITS, {1, 0, 0, 0, 54, 16}},
	{"sum tags", TCPV, 100, 1500, {1, 0, 0, 0, 42, 16}, FITS, {1, 0, 0, 0, 42, 16}},
	{"sum, junk", TCP4, 100, 1500, {3, 0, 9, 8, 34, 16}, FITS, {1, 0, 0, 0, 34,
	 16}},
	{"sum, mtu + 1", TCP4, 1515, 1500, {1, 0, 0, 0, 34, 16}, DROP_OVERSIZE, {0}},
	{"sum of arp", ARP, 60, 1500, {1, 0, 0, 0, 34, 16}, DROP_BAD_HEADER, {0}},
	{"sum of fragment", FRAG, 60, 1500, {1, 0, 0, 0, 34, 16}, DROP_BAD_HEADER, {0}},
	{"start - 1", TCP4, 100, 1500, {1, 0, 0, 0, 33, 16}, DROP_BAD_HEADER, {0}},
	{"start + 1", TCP4, 100, 1500, {1, 0, 0, 0, 35, 16}, DROP_BAD_HEADER, {0}},
	{"start 0", TCP4, 100, 1500, {1, 0, 0, 0, 0, 16}, DROP_BAD_HEADER, {0}},
	{"start far", TCP4, 100, 1500, {1, 0, 0, 0, 65535, 16}, DROP_BAD_HEADER, {0}},
	{"udp offset", TCP4, 100, 1500, {1, 0, 0, 0, 34, 6}, DROP_BAD_HEADER, {0}},
	{"tcp offset", UDP4, 100, 1500, {1, 0, 0, 0, 34, 16}, DROP_BAD_HEADER, {0}},
	{"offset far", TCP4, 100, 1500, {1, 0, 0, 0, 34, 65535}, DROP_BAD_HEADER, {0}},
	{"doff too far", TCPO, 65, 1500, {1, 0, 0, 0, 34, 16}, DROP_BAD_HEADER, {0}},
	{"doff just so", TCPO, 66, 1500, {1, 0, 0, 0, 34, 16}, FITS, {1, 0, 0, 0, 34,
	 16}},

	{"tso4", TCP4, 60000, 1500, {1, 1, 0, 1448, 34, 16}, FITS, {1, 1, 54, 1448, 34,
	 16}},
	{"tso4 ecn", TCP4, 60000, 1500, {1, 0x81, 7, 1448, 34, 16}, FITS, {1, 0x81, 54,
	 1448, 34, 16}},
	{"tso6", TCP6, 60000, 1500, {1, 4, 0, 1428, 54, 16}, FITS, {1, 4, 74, 1428, 54,
	 16}},
	{"uso4", UDP4, 60000, 1500, {1, 5, 0, 1400, 34, 6}, FITS, {1, 5, 42, 1400, 34,
	 6}},
	{"uso6", UDP6, 60000, 1500, {1, 5, 0, 1400, 54, 6}, FITS, {1, 5, 62, 1400, 54,
	 6}},
	{"tso with tags", TCPV, 60000, 1500, {1, 1, 0, 1460, 42, 16}, FITS, {1, 1, 62,
	 1460, 42, 16}},
	{"tso with options", TCPO, 60000, 1500, {1, 1, 0, 1448, 34, 16}, FITS, {1, 1,
	 66, 1448, 34, 16}},
	{"tso of little", TCP4, 60, 1500, {1, 1, 0, 1448, 34, 16}, FITS, {1, 1, 54,
	 1448, 34, 16}},
	{"segment of mtu", TCP4, 60000, 1500, {1, 1, 0, 1460, 34, 16}, FITS, {1, 1, 54,
	 1460, 34, 16}},
	{"segment of mtu + 1", TCP4, 60000, 1500, {1, 1, 0, 1461, 34, 16},
	 DROP_OVERSIZE, {0}},
	{"segment of 65535", TCP4, 60000, 65521, {1, 1, 0, 65535, 34, 16},
	 DROP_OVERSIZE, {0}},
	{"tso without sum", TCP4, 60000, 1500, {0, 1, 54, 1448, 34, 16},
	 DROP_BAD_HEADER, {0}},
	{"tso4 of ipv6", TCP6, 60000, 1500, {1, 1, 0, 1400, 54, 16}, DROP_BAD_HEADER,
	 {0}},
	{"tso6 of ipv4", TCP4, 60000, 1500, {1, 4, 0, 1400, 34, 16}, DROP_BAD_HEADER,
	 {0}},
	{"tso of udp", UDP4, 60000, 1500, {1, 1, 0, 1400, 34, 6}, DROP_BAD_HEADER, {0}},
	{"uso of tcp", TCP4, 60000, 1500, {1, 5, 0, 1400, 34, 16}, DROP_BAD_HEADER,
	 {0}},
	{"ecn of udp", UDP4, 60000, 1500, {1, 0x85, 0, 1400, 34, 6}, DROP_BAD_HEADER,
	 {0}},
	{"ecn of nothing", TCP4, 1000, 1500, {1, 0x80, 0, 1400, 34, 16},
	 DROP_BAD_HEADER, {0}},
	{"ufo", UDP4, 60000, 1500, {1, 3, 0, 1400, 34, 6}, DROP_BAD_HEADER, {0}},
	{"unknown", TCP4, 60000, 1500, {1, 2, 0, 1400, 34, 16}, DROP_BAD_HEADER, {0}},
	{"all bits", TCP4, 60000, 1500, {1, 0xff, 0, 1400, 34, 16}, DROP_BAD_HEADER,
	 {0}},
	{"tso of fragment", FRAG, 60000, 1500, {1, 1, 0, 1400, 34, 16}, DROP_BAD_HEADER,
	 {0}},
	{"tso size 0", TCP4, 60000, 1500, {1, 1, 0, 0, 34, 16}, DROP_BAD_HEADER, {0}},
	{"tso size 7", TCP4, 60000, 1500, {1, 1, 0, 7, 34, 16}, DROP_BAD_HEADER, {0}},
	{"tso size 8", TCP4, 60000, 1500, {1, 1, 0, 8, 34, 16}, FITS, {1, 1, 54, 8, 34,
	 16}},
	{"uso size 0", UDP4, 1000, 1500, {1, 5, 0, 0, 34, 6}, DROP_BAD_HEADER, {0}},
	{"uso 128 of 10", UDP4, 42 + 1280, 1500, {1, 5, 0, 10, 34, 6}, FITS, {1, 5, 42,
	 10, 34, 6}},
	{"uso 129 of 10", UDP4, 42 + 1281, 1500, {1, 5, 0, 10, 34, 6}, DROP_BAD_HEADER,
	 {0}},
};
/* clang-format on */

static void check_fit(const struct fit_case *test)
{
	uint8_t bytes[FRAME_HEAD_MAX];
	size_t length = shape_decode(test->frame, bytes);
	struct frame_vnet own, again;
	struct frame_layout layout;
	enum drop_reason reason;

	if (length > test->length)
		length = test->length;
	parse_exact(bytes, length, &layout);
	memset(&own, 0xee, sizeof(own));
	reason = frame_fit_vnet(&layout, &test->foreign, test->length, test->mtu, &own);
	if (!CHECK_INT(reason, test->expected))
		CHECK_STR("case", test->name);
	if (reason != FITS || test->expected != FITS)
		return;
	if (!CHECK_MEM(&own, &test->own, sizeof(own)))
		CHECK_STR("case", test->name);
	/* What a sender made, a receiver takes. */
	CHECK_INT(frame_fit_vnet(&layout, &own, test->length, test->mtu, &again), FITS);
	CHECK_MEM(&again, &own, sizeof(own));
}

TEST_CASE(frame, fits_headers)
{
	for (unsigned i = 0; i < COUNT(fit_cases); i++)
		check_fit(&fit_cases[i]);
}

/* ---- the checksum ---- */

/* RFC 1071, the straightforward way. */
static uint16_t reference_sum(const uint8_t *bytes, size_t length)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return (uint16_t)sum;
}

static uint32_t random_next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* A checksum over data that holds it sums up to all ones, whatever the rest is. */
TEST_CASE(frame, knows_what_a_header_needs)
{
	static const struct {
		uint8_t gso_type;
		uint32_t offload;
	} needs[] = {
		{FRAME_GSO_NONE, 0},
		{FRAME_GSO_TCPV4, SHMNET_OFFLOAD_TSO4},
		{FRAME_GSO_TCPV4 | FRAME_GSO_ECN, SHMNET_OFFLOAD_TSO4},
		{FRAME_GSO_TCPV6, SHMNET_OFFLOAD_TSO6},
		{FRAME_GSO_TCPV6 | FRAME_GSO_ECN, SHMNET_OFFLOAD_TSO6},
		{FRAME_GSO_UDP_L4, SHMNET_OFFLOAD_USO},
	};

	for (unsigned i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		const struct frame_vnet vnet = {.flags = FRAME_NEEDS_CSUM,
						.gso_type = needs[i].gso_type};

		CHECK_INT(frame_offload(&vnet), needs[i].offload);
	}
}

TEST_CASE(frame, finishes_checksums)
{
	uint32_t random = 0x2545f491;

	for (unsigned i = 0; i < 2000; i++) {
		uint8_t frame[2000], before[2000];
		size_t length = 64 + random_next(&random) % 1900;
		struct frame_vnet vnet = {.flags = 1, .csum_start = 14 + i % 20};
		size_t at;

		vnet.csum_offset = (uint16_t)(random_next(&random) % 8 * 2);
		at = (size_t)vnet.csum_start + vnet.csum_offset;
		for (size_t k = 0; k < length; k++)
			frame[k] = (uint8_t)random_next(&random);
		memcpy(before, frame, length);
		/* What the kernel leaves there is the pseudo header's sum; here none. */
		frame[at] = frame[at + 1] = 0;
		CHECK_INT(frame_finish_checksum(frame, length, &vnet), 0);
		CHECK_INT(
			reference_sum(frame + vnet.csum_start, length - vnet.csum_start),
			0xffff);
		memcpy(before + at, frame + at, 2);
		CHECK_MEM(frame, before, length);
	}
}

/* 0 means "no checksum" to UDP; its other spelling is 0xffff. */
TEST_CASE(frame, checksum_is_never_zero)
{
	struct frame_vnet vnet = {.flags = 1, .csum_start = 20, .csum_offset = 6};
	uint8_t frame[40] = {0};

	frame[20] = 0xff;
	frame[21] = 0xff;
	CHECK_INT(frame_finish_checksum(frame, sizeof(frame), &vnet), 0);
	CHECK_INT(frame[26] << 8 | frame[27], 0xffff);
}

TEST_CASE(frame, refuses_checksums)
{
	static const struct frame_vnet bad[] = {
		{0, 0, 0, 0, 34, 16},	  /* none is wanted */
		{1, 1, 54, 1448, 34, 16}, /* in each of many segments */
		{1, 0, 0, 0, 13, 16},	  /* of the addresses */
		{1, 0, 0, 0, 34, 25},	  /* one byte inside */
		{1, 0, 0, 0, 34, 26},	  /* none */
		{1, 0, 0, 0, 60, 0},	    {1, 0, 0, 0, 61, 0},
		{1, 0, 0, 0, 65535, 65535}, {1, 0, 0, 0, 14, 65535},
	};
	uint8_t frame[60], before[60];

	memset(frame, 0x5a, sizeof(frame));
	memcpy(before, frame, sizeof(frame));
	for (unsigned i = 0; i < COUNT(bad); i++)
		CHECK_INT(frame_finish_checksum(frame, sizeof(frame), &bad[i]), -EINVAL);
	CHECK_MEM(frame, before, sizeof(frame));
	CHECK_INT(frame_finish_checksum(frame, sizeof(frame),
					&(struct frame_vnet){1, 0, 0, 0, 34, 24}),
		  0);
}
