/*
 * Which flow a packet belongs to: a table of packets, what is the same whatever way a
 * packet travels, and the hashes of keys.
 */
#include "base/flow.h"
#include "base/frame.h"

#include "flow_shapes.h"
#include "shim.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* A copy of exactly that size, so that ASan sees a read behind its end. */
static enum drop_reason crack_exact(const uint8_t *bytes, size_t length,
				    size_t frame_length, struct flow_packet *packet)
{
	uint8_t *copy = malloc(length ? length : 1);
	enum drop_reason reason;

	if (!copy)
		abort();
	memcpy(copy, bytes, length);
	memset(packet, 0, sizeof(*packet));
	reason = flow_crack(copy, length, frame_length, packet);
	free(copy);
	return reason;
}

/* ---- what is taken ---- */

#define F4(protocol)  protocol " 198.51.100.7 > 10.99.0.1"
#define F4P(protocol) protocol " 198.51.100.7:40112 > 10.99.0.1:80"
#define F6(protocol)  protocol " 2001:db8::7 > fd99::1"
#define F6P(protocol) protocol " [2001:db8::7]:40112 > [fd99::1]:80"
#define INNER4	      BACK4("0000", "06") PORTS_BACK "00000000"
#define INNER6	      BACK6("06") PORTS_BACK "00000000"

static const struct {
	const char *name;
	const char *frame;
	const char *key;
	enum flow_kind kind;
	unsigned l4;
	bool ends;
} taken[] = {
	/* clang-format off */
	{"syn", V4("06") SYN, F4P("tcp"), FLOW_OPENER, 34, false},
	{"syn with data", V4("06") SYN TEN, F4P("tcp"), FLOW_OPENER, 34, false},
	{"syn, push, ecn", V4("06") TCP_OF(PORTS, "5", "ca"), F4P("tcp"), FLOW_OPENER,
	 34, false},
	{"syn and ack", V4("06") TCP_OF(PORTS, "5", "12"), F4P("tcp"), FLOW_SEGMENT, 34,
	 false},
	{"ack", V4("06") ACK_, F4P("tcp"), FLOW_SEGMENT, 34, false},
	{"fin", V4("06") TCP_OF(PORTS, "5", "11"), F4P("tcp"), FLOW_SEGMENT, 34, true},
	{"rst", V4("06") TCP_OF(PORTS, "5", "04"), F4P("tcp"), FLOW_SEGMENT, 34, true},
	{"no flags", V4("06") TCP_OF(PORTS, "5", "00"), F4P("tcp"), FLOW_SEGMENT, 34,
	 false},
	{"tcp options", V4("06") TCP_OF(PORTS, "8", "02") TEN "0000", F4P("tcp"),
	 FLOW_OPENER, 34, false},
	{"udp", V4("11") UDP8, F4P("udp"), FLOW_DATAGRAM, 34, false},
	{"udp, more than its length", V4("11") UDP8 TEN, F4P("udp"), FLOW_DATAGRAM, 34,
	 false},
	{"udp from port 0", V4("11") UDP_OF("0000" "0050", "0008"),
	 "udp 198.51.100.7:0 > 10.99.0.1:80", FLOW_DATAGRAM, 34, false},
	{"udplite", V4("88") UDP8, F4P("udplite"), FLOW_DATAGRAM, 34, false},
	{"udplite, all covered", V4("88") UDP_OF(PORTS, "0000"), F4P("udplite"),
	 FLOW_DATAGRAM, 34, false},
	{"sctp init", V4("84") INIT, F4P("sctp"), FLOW_OPENER, 34, false},
	{"sctp data", V4("84") SCTP_OF(PORTS, "00000009", "00"), F4P("sctp"),
	 FLOW_SEGMENT, 34, false},
	{"sctp abort", V4("84") SCTP_OF(PORTS, "00000009", "06"), F4P("sctp"),
	 FLOW_SEGMENT, 34, true},
	{"sctp shutdown complete", V4("84") SCTP_OF(PORTS, "00000009", "0e"),
	 F4P("sctp"), FLOW_SEGMENT, 34, true},
	{"sctp shutdown", V4("84") SCTP_OF(PORTS, "00000009", "07"), F4P("sctp"),
	 FLOW_SEGMENT, 34, false},
	{"gre", V4("2f"), F4("protocol 47"), FLOW_PAIR, 34, false},
	{"esp", V4("32") TEN, F4("protocol 50"), FLOW_PAIR, 34, false},
	{"ah", V4("33") TEN, F4("protocol 51"), FLOW_PAIR, 34, false},
	{"icmpv6 in ipv4", V4("3a") ICMP_OF("80"), F4("icmpv6"), FLOW_PAIR, 34, false},
	{"extension header in ipv4", V4("2b") EXT("06", "00") SYN, F4("protocol 43"),
	 FLOW_PAIR, 34, false},
	{"echo", V4("01") ICMP_OF("08"), F4("icmp"), FLOW_ECHO, 34, false},
	{"echo reply", V4("01") ICMP_OF("00"), F4("icmp"), FLOW_REPLY, 34, false},
	{"timestamp", V4("01") ICMP_OF("0d"), F4("icmp"), FLOW_ECHO, 34, false},
	{"timestamp reply", V4("01") ICMP_OF("0e"), F4("icmp"), FLOW_REPLY, 34, false},

	{"vlan", ETH VLAN "0800" HEAD4("5", "0000", "06", CLIENT4, GLOBAL4) SYN,
	 F4P("tcp"), FLOW_OPENER, 38, false},
	{"qinq", ETH QINQ VLAN "86dd" HEAD6("11", CLIENT6, GLOBAL6) UDP8, F6P("udp"),
	 FLOW_DATAGRAM, 62, false},
	{"options", V4_OPTIONS("6", "06") "94040000" SYN, F4P("tcp"), FLOW_OPENER, 38,
	 false},
	{"options that end early", V4_OPTIONS("7", "06") "0100ffff" "83010000" SYN,
	 F4P("tcp"), FLOW_OPENER, 42, false},
	{"most options", V4_OPTIONS("f", "11") "0728" "04" TEN TEN TEN "00000000000000"
	 UDP8, F4P("udp"), FLOW_DATAGRAM, 74, false},
	{"do not fragment", V4_FRAG("4000", "06") SYN, F4P("tcp"), FLOW_OPENER, 34,
	 false},
	{"reserved bit", V4_FRAG("8000", "06") SYN, F4P("tcp"), FLOW_OPENER, 34, false},

	{"syn, v6", V6("06") SYN, F6P("tcp"), FLOW_OPENER, 54, false},
	{"udp, v6", V6("11") UDP8, F6P("udp"), FLOW_DATAGRAM, 54, false},
	{"sctp, v6", V6("84") INIT, F6P("sctp"), FLOW_OPENER, 54, false},
	{"link-local client", V6_FROM("fe800000000000000000000000000007", "06") SYN,
	 "tcp [fe80::7]:40112 > [fd99::1]:80", FLOW_OPENER, 54, false},
	{"hop-by-hop", V6("00") EXT("06", "00") SYN, F6P("tcp"), FLOW_OPENER, 62, false},
	{"many kinds", V6("00") EXT("3c", "00") EXT("2b", "01") ZERO8 EXT("3c", "00")
	 EXT("11", "00") UDP8,
	 F6P("udp"), FLOW_DATAGRAM, 94, false},
	{"routing header that arrived", V6("2b") "0602000000000000" ZERO8 ZERO8 SYN,
	 F6P("tcp"), FLOW_OPENER, 78, false},
	{"eight", V6("3c") EXT("3c", "00") EXT("3c", "00") EXT("3c", "00") EXT("3c", "00")
	 EXT("3c", "00") EXT("3c", "00") EXT("3c", "00") EXT("11", "00") UDP8,
	 F6P("udp"), FLOW_DATAGRAM, 118, false},
	{"atomic fragment", V6("2c") FRAG6("06", "0000") SYN, F6P("tcp"), FLOW_OPENER,
	 62, false},
	{"atomic, options on both sides", V6("3c") EXT("2c", "00") FRAG6("3c", "0000")
	 EXT("06", "00") SYN,
	 F6P("tcp"), FLOW_OPENER, 78, false},
	{"no next header", V6("3b"), F6("protocol 59"), FLOW_PAIR, 54, false},
	{"ah, v6", V6("33") EXT("06", "01") TEN SYN, F6("protocol 51"), FLOW_PAIR, 54,
	 false},
	{"icmp in ipv6", V6("01") ICMP_OF("08"), F6("icmp"), FLOW_PAIR, 54, false},
	{"echo, v6", V6("3a") ICMP_OF("80"), F6("icmpv6"), FLOW_ECHO, 54, false},
	{"echo reply, v6", V6("3a") ICMP_OF("81"), F6("icmpv6"), FLOW_REPLY, 54, false},
	{"multicast listeners", V6("3a") ICMP_OF("82"), F6("icmpv6"), FLOW_REPLY, 54,
	 false},

	{"frag needed", V4("01") ICMP_OF("03") INNER4, F4P("tcp"), FLOW_ERROR, 34, false},
	{"from a router", V4_FROM("c0000201", "01") ICMP_OF("0b") INNER4, F4P("tcp"),
	 FLOW_ERROR, 34, false},
	{"from ourselves", V4_FROM(GLOBAL4, "01") ICMP_OF("03") INNER4, F4P("tcp"),
	 FLOW_ERROR, 34, false},
	{"about udp", V4("01") ICMP_OF("03") BACK4("0000", "11") PORTS_BACK "00080000",
	 F4P("udp"), FLOW_ERROR, 34, false},
	{"about sctp", V4("01") ICMP_OF("0c") BACK4("0000", "84") PORTS_BACK "00000009",
	 F4P("sctp"), FLOW_ERROR, 34, false},
	{"about gre", V4("01") ICMP_OF("03") BACK4("0000", "2f") ZERO8,
	 F4("protocol 47"), FLOW_ERROR, 34, false},
	{"about a first fragment", V4("01") ICMP_OF("0b") BACK4("2000", "11") PORTS_BACK
	 "00080000", F4P("udp"), FLOW_ERROR, 34, false},
	{"about options", V4("01") ICMP_OF("03") HEAD4("6", "0000", "06", GLOBAL4,
	 CLIENT4) "94040000" PORTS_BACK "00000000",
	 F4P("tcp"), FLOW_ERROR, 34, false},
	{"about a ping", V4("01") ICMP_OF("03") BACK4("0000", "01") ICMP_OF("08"),
	 F4("icmp"), FLOW_REPLY, 34, false},
	{"too big", V6("3a") ICMP_OF("02") INNER6, F6P("tcp"), FLOW_ERROR, 54, false},
	{"unknown error, v6", V6("3a") ICMP_OF("64") INNER6, F6P("tcp"), FLOW_ERROR, 54,
	 false},
	{"about extensions", V6("3a") ICMP_OF("02") BACK6("00") EXT("3c", "00")
	 EXT("11", "00") PORTS_BACK "00080000",
	 F6P("udp"), FLOW_ERROR, 54, false},
	{"about ah", V4("01") ICMP_OF("03") BACK4("0000", "33") EXT("06", "04"),
	 F4("protocol 51"), FLOW_ERROR, 34, false},
	{"about what is within ah, v6", V6("3a") ICMP_OF("02") BACK6("33") EXT("06",
	 "01") "00000000" PORTS_BACK "00000000",
	 F6P("tcp"), FLOW_ERROR, 54, false},
	{"about a first fragment, v6", V6("3a") ICMP_OF("03") BACK6("2c") FRAG6("11",
	 "0001") PORTS_BACK "00080000",
	 F6P("udp"), FLOW_ERROR, 54, false},
	{"about a ping, v6", V6("3a") ICMP_OF("01") BACK6("3a") ICMP_OF("80"),
	 F6("icmpv6"), FLOW_REPLY, 54, false},

	{"another port of ours", V4_FROM(GLOBAL4, "06") SYN,
	 "tcp 10.99.0.1:40112 > 10.99.0.1:80", FLOW_OPENER, 34, false},
	{"ping of ours", V4_FROM(GLOBAL4, "01") ICMP_OF("08"),
	 "icmp 10.99.0.1 > 10.99.0.1", FLOW_ECHO, 34, false},
	/* clang-format on */
};

TEST_CASE(flow, takes)
{
	for (unsigned i = 0; i < COUNT(taken) && !test_failed(); i++) {
		uint8_t frame[FRAME_HEAD_MAX];
		size_t length = flow_shape_decode(taken[i].frame, frame);
		struct flow_packet packet;
		char text[FLOW_TEXT_MAX];

		CHECK_INT(crack_exact(frame, length, length, &packet), DROP_NUM_);
		CHECK_STR(flow_key_text(&packet.key, text), taken[i].key);
		CHECK_INT(packet.kind, taken[i].kind);
		CHECK_INT(packet.l4, taken[i].l4);
		CHECK_INT(packet.ends, taken[i].ends);
		CHECK(!packet.is_fragment);
		if (test_failed())
			CHECK_STR("is what failed", taken[i].name);
	}
}

/* ---- what is not ---- */

#define P DROP_BAD_PACKET
#define F DROP_BAD_FRAGMENT

static const struct {
	const char *name;
	const char *frame;
	enum drop_reason reason;
} refused[] = {
	/* clang-format off */
	{"arp", ETH "0806" TEN TEN TEN, P},
	{"three tags", ETH QINQ VLAN VLAN "0800" HEAD4("5", "0000", "06", CLIENT4,
	 GLOBAL4) SYN, P},
	{"tag cut off", ETH "8100" "00", P},
	{"version 6 in 0800", ETH "0800" HEAD6("06", CLIENT6, GLOBAL6) SYN, P},
	{"version 4 in 86dd", ETH "86dd" HEAD4("5", "0000", "06", CLIENT4, GLOBAL4) SYN
	 SYN, P},
	{"short ihl", V4_OPTIONS("4", "06") SYN, P},
	{"ihl beyond the packet", V4_OPTIONS("f", "06") SYN, P},
	{"protocol 0", V4("00") SYN, P},
	{"source route", V4_OPTIONS("7", "06") "8307040a00000100" SYN, P},
	{"source route behind others", V4_OPTIONS("8", "06") "0101890704" "0a00000100"
	 "0000" SYN, P},
	{"option without length", V4_OPTIONS("6", "06") "01010107" SYN, P},
	{"option of length 1", V4_OPTIONS("6", "06") "07010000" SYN, P},
	{"option beyond the header", V4_OPTIONS("6", "06") "07050000" SYN, P},

	{"from 0.0.0.0", V4_FROM("00000000", "06") SYN, P},
	{"from net 0", V4_FROM("00010203", "06") SYN, P},
	{"from loopback", V4_FROM("7f000001", "06") SYN, P},
	{"from multicast", V4_FROM("e0000001", "06") SYN, P},
	{"from broadcast", V4_FROM("ffffffff", "06") SYN, P},
	{"from ::", V6_FROM("00000000000000000000000000000000", "06") SYN, P},
	{"from ::1", V6_FROM("00000000000000000000000000000001", "06") SYN, P},
	{"from multicast, v6", V6_FROM("ff020000000000000000000000000001", "06") SYN, P},
	{"from a mapped address", V6_FROM("00000000000000000000ffffc6336407", "06") SYN,
	 P},
	{"to a mapped address", ETH "86dd" HEAD6("06", CLIENT6,
	 "00000000000000000000ffff0a630001") SYN, P},
	{"land", V4_FROM(GLOBAL4, "06") TCP_OF("0050" "0050", "5", "02"), P},
	{"land, udp, v6", V6_FROM(GLOBAL6, "11") UDP_OF("0050" "0050", "0008"), P},
	{"land without ports", V4_FROM(GLOBAL4, "2f"), P},

	{"tcp cut off", V4("06") PORTS TEN "00000000", P},
	{"doff 4", V4("06") TCP_OF(PORTS, "4", "02"), P},
	{"doff beyond the packet", V4("06") TCP_OF(PORTS, "6", "02"), P},
	{"syn and fin", V4("06") TCP_OF(PORTS, "5", "03"), P},
	{"syn and rst", V4("06") TCP_OF(PORTS, "5", "06"), P},
	{"tcp to port 0", V4("06") TCP_OF("9cb0" "0000", "5", "02"), P},
	{"tcp from port 0", V4("06") TCP_OF("0000" "0050", "5", "02"), P},
	{"udp cut off", V4("11") PORTS "000800", P},
	{"udp to port 0", V4("11") UDP_OF("9cb0" "0000", "0008"), P},
	{"udp of 7", V4("11") UDP_OF(PORTS, "0007"), P},
	{"udp longer than the packet", V4("11") UDP_OF(PORTS, "0009"), P},
	{"udp jumbogram", V6("11") UDP_OF(PORTS, "0000"), P},
	{"udplite of 7", V4("88") UDP_OF(PORTS, "0007"), P},
	{"udplite covers too much", V4("88") UDP_OF(PORTS, "0009"), P},
	{"sctp without chunk", V4("84") PORTS ZERO8, P},
	{"init with tag", V4("84") SCTP_OF(PORTS, "00000009", "01"), P},
	{"icmp cut off", V4("01") "08000000000000", P},

	{"hop-by-hop as second", V6("3c") EXT("00", "00") EXT("06", "00") SYN, P},
	{"routing header on its way", V6("2b") "0600000100000000" SYN, P},
	{"nine", V6("3c") EXT("3c", "00") EXT("3c", "00") EXT("3c", "00") EXT("3c", "00")
	 EXT("3c", "00") EXT("3c", "00") EXT("3c", "00") EXT("3c", "00") EXT("11", "00")
	 UDP8, P},
	{"extension beyond the packet", V6("3c") EXT("06", "09") SYN, P},
	{"extension cut off", V6("3c") "06000000000000", P},
	{"two fragment headers", V6("2c") FRAG6("2c", "0000") FRAG6("06", "0000") SYN, P},
	{"two fragment headers apart", V6("2c") FRAG6("3c", "0000") EXT("2c", "00")
	 FRAG6("06", "0000") SYN, P},
	{"hop-by-hop in a later fragment", V6("2c") FRAG6("00", "0009") ZERO8, P},
	{"jumbogram", V6("00") , P},
	{"neighbour solicitation", V6("3a") ICMP_OF("87") GLOBAL6, DROP_GLOBAL_NEIGH},
	{"redirect", V6("3a") ICMP_OF("89") GLOBAL6 GLOBAL6, DROP_GLOBAL_NEIGH},

	{"quotes nothing", V4("01") ICMP_OF("03"), P},
	{"quotes no ports", V4("01") ICMP_OF("03") BACK4("0000", "06"), P},
	{"quotes 7 bytes", V4("01") ICMP_OF("03") BACK4("0000", "06") PORTS_BACK
	 "000000", P},
	{"quotes another's", V4("01") ICMP_OF("03") HEAD4("5", "0000", "06", "0a630002",
	 CLIENT4) PORTS_BACK ZERO8, P},
	{"quotes what came to us", V4("01") ICMP_OF("03") HEAD4("5", "0000", "06",
	 CLIENT4, GLOBAL4) PORTS ZERO8, P},
	{"quotes a multicast", V4("01") ICMP_OF("03") HEAD4("5", "0000", "11", GLOBAL4,
	 "e0000001") PORTS_BACK ZERO8, P},
	{"quotes a later fragment", V4("01") ICMP_OF("03") BACK4("2001", "06")
	 PORTS_BACK ZERO8, P},
	{"quotes an error", V4("01") ICMP_OF("03") BACK4("0000", "01") ICMP_OF("03"), P},
	{"quotes port 0", V4("01") ICMP_OF("03") BACK4("0000", "06") "0000" "9cb0"
	 ZERO8, P},
	{"quotes ipv6", V4("01") ICMP_OF("03") INNER6, P},
	{"quotes ipv4", V6("3a") ICMP_OF("01") INNER4 ZERO8 ZERO8, P},
	{"quotes a later fragment, v6", V6("3a") ICMP_OF("02") BACK6("2c") FRAG6("11",
	 "0009") PORTS_BACK "00000000", P},
	{"quotes half an extension", V6("3a") ICMP_OF("02") BACK6("3c") EXT("11", "09")
	 PORTS_BACK "00000000", P},
	{"an error in fragments", V4_FRAG("2000", "01") ICMP_OF("03") INNER4 "00000000",
	 F},

	{"tiny, tcp", V4_FRAG("2000", "06") PORTS TEN "0000", F},
	{"tiny, tcp options", V4_FRAG("2000", "06") TCP_OF(PORTS, "7", "02") "00000000",
	 F},
	{"tiny, sctp", V4_FRAG("2000", "84") PORTS "00000000", F},
	{"tiny, v6", V6("2c") FRAG6("06", "0001") PORTS "00000000", F},
	{"tiny, extension only", V6("2c") FRAG6("3c", "0001") EXT("06", "00"), F},
	{"tiny, extension cut off", V6("2c") FRAG6("3c", "0001") EXT("06", "01"), F},
	{"empty first", V4_FRAG("2000", "11"), F},
	{"empty last", V4_FRAG("0001", "11"), F},
	{"empty, v6", V6("2c") FRAG6("11", "0008"), F},
	{"no multiple of 8", V4_FRAG("2000", "11") UDP8 "00", F},
	{"no multiple of 8, later, v6", V6("2c") FRAG6("11", "0009") ZERO8 "00", F},
	{"beyond 65535", V4_FRAG("1fff", "11") ZERO8, F},
	{"beyond 65535 by the header", V4_FRAG("1ffd", "11") "00000000", F},
	{"beyond 65535, v6", V6("2c") FRAG6("11", "fff8") ZERO8, F},
	{"beyond 65535 by extensions", V6("3c") EXT("2c", "00") FRAG6("11", "fff8")
	 "00000000", F},
	/* clang-format on */
};

TEST_CASE(flow, refuses)
{
	for (unsigned i = 0; i < COUNT(refused) && !test_failed(); i++) {
		uint8_t frame[FRAME_HEAD_MAX];
		size_t length = flow_shape_decode(refused[i].frame, frame);
		struct flow_packet packet;

		if (!CHECK_INT(crack_exact(frame, length, length, &packet),
			       refused[i].reason))
			CHECK_STR("is what failed", refused[i].name);
	}
}

/* ---- lengths ---- */

TEST_CASE(flow, refuses_what_is_cut_off_anywhere)
{
	for (unsigned i = 0; i < COUNT(taken); i++) {
		uint8_t frame[FRAME_HEAD_MAX];
		size_t length = flow_shape_decode(taken[i].frame, frame);
		struct flow_packet packet;

		for (size_t n = 0; n < length; n++) {
			enum drop_reason reason = crack_exact(frame, n, n, &packet);

			if (!CHECK_INT(reason, DROP_BAD_PACKET))
				CHECK_STR("is what failed", taken[i].name);
		}
	}
}

/* The less is seen of a packet, the less is taken; nothing is taken for another. */
TEST_CASE(flow, sees_the_same_in_a_shorter_head)
{
	for (unsigned i = 0; i < COUNT(taken); i++) {
		uint8_t frame[FRAME_HEAD_MAX];
		size_t length = flow_shape_decode(taken[i].frame, frame);
		struct flow_packet all, some;

		crack_exact(frame, length, length, &all);
		for (size_t n = 0; n < length; n++) {
			if (crack_exact(frame, n, length, &some) != DROP_NUM_)
				continue;
			CHECK_MEM(&some, &all, sizeof(all));
			CHECK(n > 14);
		}
	}
}

TEST_CASE(flow, reads_no_padding)
{
	uint8_t frame[FRAME_HEAD_MAX] = {0};
	size_t length = flow_shape_decode(V4("11"), frame);
	struct flow_packet packet;

	/* What follows would be a good datagram, and is not part of the packet. */
	shape_decode(UDP8, frame + length);
	CHECK_INT(crack_exact(frame, length + 26, length + 26, &packet), DROP_BAD_PACKET);
	length = flow_shape_decode(V4("01") ICMP_OF("03") BACK4("0000", "06"), frame);
	shape_decode(PORTS_BACK ZERO8, frame + length);
	CHECK_INT(crack_exact(frame, length + 12, length + 12, &packet), DROP_BAD_PACKET);
	length = flow_shape_decode(V6("3c") EXT("11", "00"), frame);
	shape_decode(UDP8, frame + length);
	CHECK_INT(crack_exact(frame, length + 8, length + 8, &packet), DROP_BAD_PACKET);
	length = flow_shape_decode(V4("11") UDP8, frame);
	CHECK_INT(crack_exact(frame, 60, 60, &packet), DROP_NUM_);
}

static void set_be16(uint8_t *bytes, unsigned value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

TEST_CASE(flow, takes_super_frames_and_no_length_of_zero)
{
	uint8_t frame[FRAME_HEAD_MAX] = {0};
	struct flow_packet packet;

	flow_shape_decode(V4("06") ACK_, frame);
	set_be16(frame + 16, 65521);
	CHECK_INT(crack_exact(frame, 256, 65535, &packet), DROP_NUM_);
	CHECK_INT(crack_exact(frame, 256, 65534, &packet), DROP_BAD_PACKET);
	set_be16(frame + 16, 0);
	CHECK_INT(crack_exact(frame, 256, 65535, &packet), DROP_BAD_PACKET);
	flow_shape_decode(V6("06") ACK_, frame);
	set_be16(frame + 18, 65495);
	CHECK_INT(crack_exact(frame, 256, 65549, &packet), DROP_NUM_);
	set_be16(frame + 18, 0);
	CHECK_INT(crack_exact(frame, 256, 65549, &packet), DROP_BAD_PACKET);
}

/* Behind 25 * 8 bytes of options; one more pushes the last byte out of sight. */
TEST_CASE(flow, refuses_what_is_out_of_sight)
{
	uint8_t frame[512] = {0};
	struct flow_packet packet;
	size_t length;

	flow_shape_decode(V6("3c") EXT("11", "17"), frame);
	shape_decode(UDP8, frame + 54 + 24 * 8);
	length = 54 + 24 * 8 + 8;
	set_be16(frame + 18, (unsigned)length - 54);
	CHECK_INT(length, 254);
	CHECK_INT(crack_exact(frame, length, length, &packet), DROP_NUM_);
	CHECK_INT(packet.key.local_port, 80);
	memmove(frame + 54 + 25 * 8, frame + 54 + 24 * 8, 8);
	frame[55]++;
	length += 8;
	set_be16(frame + 18, (unsigned)length - 54);
	CHECK_INT(crack_exact(frame, FRAME_HEAD_MAX, length, &packet), DROP_BAD_PACKET);
	CHECK_INT(crack_exact(frame, length, length, &packet), DROP_BAD_PACKET);
}

/* ---- fragments ---- */

static const struct {
	const char *name;
	const char *frame;
	const char *key;
	enum flow_kind kind;
	uint32_t id, offset, length;
	bool more;
} fragments[] = {
	/* clang-format off */
	{"first", V4_FRAG("2000", "11") UDP_OF(PORTS, "1000") ZERO8, F4P("udp"),
	 FLOW_DATAGRAM, 0x1234, 0, 16, true},
	{"first, echo", V4_FRAG("2000", "01") ICMP_OF("08"), F4("icmp"), FLOW_ECHO,
	 0x1234, 0, 8, true},
	{"first, gre", V4_FRAG("2000", "2f") ZERO8, F4("protocol 47"), FLOW_PAIR,
	 0x1234, 0, 8, true},
	{"first, opener", V4_FRAG("2000", "06") SYN "00000000", F4P("tcp"), FLOW_OPENER,
	 0x1234, 0, 24, true},
	{"next", V4_FRAG("2001", "11") ZERO8, "udp 198.51.100.7:0 > 10.99.0.1:0",
	 FLOW_FRAGMENT, 0x1234, 8, 8, true},
	{"last", V4_FRAG("0002", "11") "00", "udp 198.51.100.7:0 > 10.99.0.1:0",
	 FLOW_FRAGMENT, 0x1234, 16, 1, false},
	{"last one possible", V4_FRAG("1ffd", "11") "000000",
	 "udp 198.51.100.7:0 > 10.99.0.1:0", FLOW_FRAGMENT, 0x1234, 65512, 3, false},
	{"first, v6", V6("2c") FRAG6("11", "0001") UDP_OF(PORTS, "1000") ZERO8,
	 F6P("udp"), FLOW_DATAGRAM, 0x1234, 0, 16, true},
	{"first, options", V6("3c") EXT("2c", "00") FRAG6("3c", "0001") EXT("11", "00")
	 UDP_OF(PORTS, "1000"),
	 F6P("udp"), FLOW_DATAGRAM, 0x1234, 0, 16, true},
	{"next, v6", V6("2c") FRAG6("11", "0009") ZERO8,
	 "udp [2001:db8::7]:0 > [fd99::1]:0", FLOW_FRAGMENT, 0x1234, 8, 8, true},
	{"last, v6", V6("2c") FRAG6("11", "0010") "00",
	 "udp [2001:db8::7]:0 > [fd99::1]:0", FLOW_FRAGMENT, 0x1234, 16, 1, false},
	{"next, of an extension", V6("2c") FRAG6("3c", "0009") ZERO8, F6("protocol 60"),
	 FLOW_FRAGMENT, 0x1234, 8, 8, true},
	{"last one possible, v6", V6("2c") FRAG6("11", "fff8") "00000000000000",
	 "udp [2001:db8::7]:0 > [fd99::1]:0", FLOW_FRAGMENT, 0x1234, 65528, 7, false},
	/* clang-format on */
};

TEST_CASE(flow, takes_fragments)
{
	for (unsigned i = 0; i < COUNT(fragments) && !test_failed(); i++) {
		uint8_t frame[FRAME_HEAD_MAX];
		size_t length = flow_shape_decode(fragments[i].frame, frame);
		struct flow_packet packet;
		char text[FLOW_TEXT_MAX];

		CHECK_INT(crack_exact(frame, length, length, &packet), DROP_NUM_);
		CHECK_STR(flow_key_text(&packet.key, text), fragments[i].key);
		CHECK_INT(packet.kind, fragments[i].kind);
		CHECK(packet.is_fragment);
		CHECK_INT(packet.more, fragments[i].more);
		CHECK_INT(packet.fragment_id, fragments[i].id);
		CHECK_INT(packet.fragment_offset, fragments[i].offset);
		CHECK_INT(packet.fragment_length, fragments[i].length);
		CHECK_INT(packet.l4 == 0, packet.kind == FLOW_FRAGMENT);
		if (test_failed())
			CHECK_STR("is what failed", fragments[i].name);
	}
}

/* ---- at a glance ---- */

TEST_CASE(flow, destination_is_that_of_the_key)
{
	for (unsigned i = 0; i < COUNT(taken); i++) {
		uint8_t frame[FRAME_HEAD_MAX], address[FLOW_ADDRESS_LEN];
		size_t length = flow_shape_decode(taken[i].frame, frame);
		struct flow_packet packet;

		crack_exact(frame, length, length, &packet);
		CHECK(flow_destination(frame, length, address));
		CHECK_MEM(address, packet.key.local, sizeof(address));
	}
}

TEST_CASE(flow, destination_of_ip_only)
{
	static const char *const none[] = {
		ETH "0806" TEN TEN TEN TEN,
		ETH "0800",
		ETH "0800" HEAD6("06", CLIENT6, GLOBAL6),
		ETH "86dd" HEAD4("5", "0000", "06", CLIENT4, GLOBAL4) TEN TEN TEN,
		ETH QINQ VLAN VLAN "0800" HEAD4("5", "0000", "06", CLIENT4, GLOBAL4),
		ETH "86dd" HEAD6("06", CLIENT6, "00000000000000000000ffff0a630001"),
		"0253123400",
	};
	uint8_t frame[FRAME_HEAD_MAX], address[FLOW_ADDRESS_LEN];

	for (unsigned i = 0; i < COUNT(none); i++) {
		size_t length = shape_decode(none[i], frame);

		if (!CHECK(!flow_destination(frame, length, address)))
			CHECK_STR("is what failed", none[i]);
	}
	shape_decode(ETH "0800" HEAD4("5", "0000", "06", CLIENT4, GLOBAL4), frame);
	CHECK(!flow_destination(frame, 33, address));
	CHECK(flow_destination(frame, 34, address));
}

#define ARP_OF(sender, target)                                                           \
	"0806"                                                                           \
	"0001"                                                                           \
	"0800"                                                                           \
	"06"                                                                             \
	"04"                                                                             \
	"0001"                                                                           \
	"025312340001" sender "000000000000" target
#define OTHER4		    "0a630002"
#define OTHER6		    "fd990000000000000000000000000002"
#define ALL6		    "ff020000000000000000000000000001"
#define ND_OF(type, target) ETH "86dd" HEAD6("3a", CLIENT6, ALL6) ICMP_OF(type) target

TEST_CASE(flow, neighbours)
{
	static const struct {
		const char *frame;
		bool is_v4, is_v6;
	} cases[] = {
		{ETH ARP_OF(GLOBAL4, OTHER4), true, false},
		{ETH ARP_OF(OTHER4, GLOBAL4), true, false},
		{ETH VLAN ARP_OF(OTHER4, GLOBAL4) TEN, true, false},
		{ETH ARP_OF(OTHER4, OTHER4), false, false},
		{ND_OF("87", GLOBAL6), false, true},
		{ND_OF("88", GLOBAL6), false, true},
		{ND_OF("87", OTHER6), false, false},
		{ND_OF("85", GLOBAL6), false, false},
		{ETH "86dd" HEAD6("00", CLIENT6, ALL6) EXT("3a", "00") ICMP_OF("87")
			 GLOBAL6,
		 false, true},
		{V4("06") SYN, false, false},
	};
	uint8_t v4[FLOW_ADDRESS_LEN], v6[FLOW_ADDRESS_LEN], frame[FRAME_HEAD_MAX];

	shape_decode("00000000000000000000ffff" GLOBAL4, v4);
	shape_decode(GLOBAL6, v6);
	for (unsigned i = 0; i < COUNT(cases); i++) {
		size_t length = flow_shape_decode(cases[i].frame, frame);

		CHECK_INT(flow_is_neighbour(frame, length, v4), cases[i].is_v4);
		CHECK_INT(flow_is_neighbour(frame, length, v6), cases[i].is_v6);
		for (size_t n = 0; n < 38 && n < length; n++)
			CHECK(!flow_is_neighbour(frame, n, v4));
		if (test_failed())
			CHECK_STR("is what failed", cases[i].frame);
	}
}

/* ---- hashes ---- */

static struct flow_key key_of(unsigned i)
{
	struct flow_key key = {.protocol = IPPROTO_TCP, .local_port = 80};

	flow_address_map_ipv4(key.foreign, &(uint32_t){htonl(0xc6330000 + i / 100)});
	flow_address_map_ipv4(key.local, &(uint32_t){htonl(0x0a630001)});
	key.foreign_port = (uint16_t)(40000 + i);
	return key;
}

/* SipHash-1-3 of the bytes 0 to 36 and three of zero, with a key of zeros. */
TEST_CASE(flow, hash_is_siphash)
{
	const struct flow_secret secret = {{0, 0}};
	struct flow_key key;

	for (unsigned i = 0; i < 16; i++) {
		key.foreign[i] = (uint8_t)i;
		key.local[i] = (uint8_t)(16 + i);
	}
	key.foreign_port = 0x2120;
	key.local_port = 0x2322;
	key.protocol = 0x24;
	memset(key.zero, 0, sizeof(key.zero));
	CHECK_U64(flow_hash(&key, &secret), 0xe8359a10be56a92dull);
}

TEST_CASE(flow, hash_depends_on_key_and_secret)
{
	const struct flow_secret one = {{1, 2}}, other = {{1, 3}};
	struct flow_key key = key_of(0), changed;

	for (unsigned i = 0; i < 37; i++) {
		changed = key;
		((uint8_t *)&changed)[i] ^= 1;
		CHECK(flow_hash(&key, &one) != flow_hash(&changed, &one));
	}
	CHECK(flow_hash(&key, &one) != flow_hash(&key, &other));
}

/* Written down: a node of another version must come to the same. */
TEST_CASE(flow, score_is_the_same_everywhere)
{
	struct flow_key key = key_of(7);

	CHECK_U64(flow_score(&key, 1, 1), 0xff0f38d797ffffffull);
	CHECK_U64(flow_score(&key, 2, 1), 0xff4e1bb055ffffffull);
	CHECK_U64(flow_score(&key, 65534, 256), 0xfffbe80e90adffffull);
	CHECK_U64(flow_score(&key, 1, 0), 0);
}

#define FLOWS 20000

static unsigned best_of(const struct flow_key *key, const uint32_t *weights, unsigned n)
{
	uint64_t best = 0, score;
	unsigned ret = 0;

	for (unsigned i = 0; i < n; i++) {
		score = flow_score(key, (uint16_t)(i + 1), weights[i]);
		if (score > best) {
			best = score;
			ret = i;
		}
	}
	return ret;
}

/* 5 standard deviations of a fair draw. */
TEST_CASE(flow, score_shares_by_weight)
{
	static const uint32_t weights[] = {1, 2, 0, 5, 256 / 8};
	unsigned share[COUNT(weights)] = {0};

	for (unsigned i = 0; i < FLOWS; i++) {
		struct flow_key key = key_of(i);

		share[best_of(&key, weights, COUNT(weights))]++;
	}
	CHECK_INT(share[2], 0);
	for (unsigned i = 0; i < COUNT(weights); i++) {
		int wanted = (int)(FLOWS * weights[i] / 40);

		CHECK(abs((int)share[i] - wanted) * abs((int)share[i] - wanted) <=
		      25 * wanted);
	}
}

TEST_CASE(flow, score_moves_only_the_share_of_who_went)
{
	static const uint32_t all[] = {1, 1, 1, 1}, without[] = {1, 1, 0, 1};
	unsigned moved = 0;

	for (unsigned i = 0; i < FLOWS; i++) {
		struct flow_key key = key_of(i);
		unsigned before = best_of(&key, all, 4);

		if (before == 2)
			moved++;
		else
			CHECK_INT(best_of(&key, without, 4), before);
	}
	CHECK(moved > FLOWS / 5 && moved < FLOWS * 3 / 10);
}
