/* Flows as people write them: what is understood, and what is refused in words. */
#include "control/flow_text.h"

#include "shim.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

struct row {
	const char *protocol, *source, *destination;
	bool established;
	const char *words; /* of the key, or of the refusal */
	enum flow_kind kind;
};

static int parse(const struct row *row, struct flow_packet *packet, struct flow_why *why)
{
	const struct flow_text text = {row->protocol, row->source, row->destination,
				       row->established};

	return flow_text_parse(&text, packet, why);
}

TEST_CASE(flow_text, flows_are_understood)
{
	static const struct row rows[] = {
		{"tcp", "198.51.100.7:40112", "10.99.0.1:80", false,
		 "tcp 198.51.100.7:40112 > 10.99.0.1:80", FLOW_OPENER},
		{"tcp", "[2001:DB8::7]:1", "[fd99::1]:65535", true,
		 "tcp [2001:db8::7]:1 > [fd99::1]:65535", FLOW_SEGMENT},
		{"6", "10.0.0.1:1", "10.0.0.1:2", false, "tcp 10.0.0.1:1 > 10.0.0.1:2",
		 FLOW_OPENER},
		{"udp", "10.0.0.1:53", "10.99.0.1:53", true,
		 "udp 10.0.0.1:53 > 10.99.0.1:53", FLOW_DATAGRAM},
		{"udplite", "10.0.0.1:1", "10.99.0.1:1", false,
		 "udplite 10.0.0.1:1 > 10.99.0.1:1", FLOW_DATAGRAM},
		{"sctp", "10.0.0.1:1", "10.99.0.1:1", true,
		 "sctp 10.0.0.1:1 > 10.99.0.1:1", FLOW_SEGMENT},
		{"icmp", "10.0.0.1", "10.99.0.1", false, "icmp 10.0.0.1 > 10.99.0.1",
		 FLOW_ECHO},
		{"icmp", "2001:db8::7", "fd99::1", false, "icmpv6 2001:db8::7 > fd99::1",
		 FLOW_ECHO},
		{"esp", "10.0.0.1", "10.99.0.1", false,
		 "protocol 50 10.0.0.1 > 10.99.0.1", FLOW_PAIR},
		{"255", "::1", "fd99::1", false, "protocol 255 ::1 > fd99::1", FLOW_PAIR},
	};
	char text[FLOW_TEXT_MAX];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct flow_packet packet = {.kind = FLOW_KIND_NUM_};
		struct flow_why why = {""};

		CHECK_INT(parse(&rows[i], &packet, &why), 0);
		CHECK_STR(flow_key_text(&packet.key, text), rows[i].words);
		CHECK_INT(packet.kind, rows[i].kind);
		CHECK_STR(why.text, "");
	}
}

TEST_CASE(flow_text, what_is_no_flow_is_refused_in_words)
{
	static const struct row rows[] = {
		{"tpc", "a", "b", false,
		 "no protocol 'tpc'; give tcp, udp, udplite, sctp, icmp, or a number up "
		 "to 255",
		 0},
		{"", "a", "b", false,
		 "no protocol ''; give tcp, udp, udplite, sctp, icmp, or a number up to "
		 "255",
		 0},
		{"256", "a", "b", false,
		 "no protocol '256'; give tcp, udp, udplite, sctp, icmp, or a number up "
		 "to 255",
		 0},
		{"-1", "a", "b", false,
		 "no protocol '-1'; give tcp, udp, udplite, sctp, icmp, or a number up "
		 "to 255",
		 0},
		{"tcp", "10.0.0.1", "10.99.0.1:80", false,
		 "'10.0.0.1' has no port; write it like 192.0.2.1:7471 or "
		 "[fd77::1]:7471",
		 0},
		{"tcp", "10.0.0.1:0", "10.99.0.1:80", false,
		 "'10.0.0.1:0' has a bad port; 1 to 65535 is allowed", 0},
		{"tcp", "10.0.0.1:1", "www:80", false,
		 "'www:80' does not begin with an IP address; names are not looked up",
		 0},
		{"tcp", "10.0.0.1:1", "[::ffff:10.99.0.1]:80", false,
		 "'[::ffff:10.99.0.1]:80' is an IPv4 address written as IPv6; write it "
		 "as IPv4",
		 0},
		{"udp", "10.0.0.1:1", "[fd99::1]:80", false,
		 "'10.0.0.1:1' and '[fd99::1]:80' are of two families of addresses", 0},
		{"udp", "10.99.0.1:80", "10.99.0.1:80", false,
		 "'10.99.0.1:80' is source and destination", 0},
		{"icmp", "10.0.0.1:1", "10.99.0.1", false,
		 "'10.0.0.1:1' is not an IPv4 or IPv6 address; this protocol has no "
		 "ports",
		 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct flow_packet packet = {.kind = FLOW_KIND_NUM_};
		struct flow_why why = {""};

		CHECK_INT(parse(&rows[i], &packet, &why), -EINVAL);
		CHECK_STR(why.text, rows[i].words);
		CHECK_INT(packet.kind, FLOW_KIND_NUM_);
	}
}

TEST_CASE(flow_text, protocols_have_names_or_numbers)
{
	char text[FLOW_PROTOCOL_MAX];

	CHECK_STR(flow_protocol_text(IPPROTO_TCP, text), "tcp");
	CHECK_STR(flow_protocol_text(IPPROTO_UDPLITE, text), "udplite");
	CHECK_STR(flow_protocol_text(0, text), "0");
	CHECK_STR(flow_protocol_text(255, text), "255");
}
