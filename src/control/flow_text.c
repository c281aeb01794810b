/* See flow_text.h. */
#include "control/flow_text.h"

#include "control/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct protocol {
	const char *name;
	uint8_t number;
} protocols[] = {
	{"tcp", IPPROTO_TCP},	{"udp", IPPROTO_UDP},	{"udplite", IPPROTO_UDPLITE},
	{"sctp", IPPROTO_SCTP}, {"icmp", IPPROTO_ICMP}, {"icmpv6", IPPROTO_ICMPV6},
	{"gre", IPPROTO_GRE},	{"esp", IPPROTO_ESP},	{"ah", IPPROTO_AH},
};
#define NUM_PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))

const char *flow_protocol_text(uint8_t protocol, char text[FLOW_PROTOCOL_MAX])
{
	for (size_t i = 0; i < NUM_PROTOCOLS; i++) {
		if (protocols[i].number == protocol) {
			snprintf(text, FLOW_PROTOCOL_MAX, "%s", protocols[i].name);
			return text;
		}
	}
	snprintf(text, FLOW_PROTOCOL_MAX, "%u", protocol);
	return text;
}

static int __attribute__((format(printf, 2, 3)))
refuse(struct flow_why *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return -EINVAL;
}

static int parse_protocol(const char *text, uint8_t *ret_protocol, struct flow_why *why)
{
	size_t digits = strspn(text, "0123456789");

	for (size_t i = 0; i < NUM_PROTOCOLS; i++) {
		if (strcmp(protocols[i].name, text) == 0) {
			*ret_protocol = protocols[i].number;
			return 0;
		}
	}
	if (digits == 0 || digits > 3 || text[digits] || atoi(text) > UINT8_MAX)
		return refuse(why,
			      "no protocol '%s'; give tcp, udp, udplite, sctp, icmp, or "
			      "a number up to 255",
			      text);
	*ret_protocol = (uint8_t)atoi(text);
	return 0;
}

/* One end of a flow. */
struct end {
	uint8_t address[FLOW_ADDRESS_LEN];
	uint16_t port;
};

static int parse_endpoint(const char *text, struct end *ret_end, struct flow_why *why)
{
	const struct sockaddr_in6 *in6;
	const struct sockaddr_in *in4;
	struct config_endpoint endpoint;
	const char *words;

	if (config_endpoint_parse(text, &endpoint, &words) < 0)
		return refuse(why, "'%s' %s", text, words);
	in4 = (const struct sockaddr_in *)&endpoint.address;
	in6 = (const struct sockaddr_in6 *)&endpoint.address;
	if (endpoint.address.ss_family == AF_INET) {
		flow_address_map_ipv4(ret_end->address, &in4->sin_addr);
		ret_end->port = ntohs(in4->sin_port);
	} else {
		memcpy(ret_end->address, &in6->sin6_addr, FLOW_ADDRESS_LEN);
		ret_end->port = ntohs(in6->sin6_port);
	}
	return 0;
}

static int parse_address(const char *text, struct end *ret_end, struct flow_why *why)
{
	struct in_addr ipv4;

	ret_end->port = 0;
	if (inet_pton(AF_INET, text, &ipv4) == 1) {
		flow_address_map_ipv4(ret_end->address, &ipv4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, ret_end->address) == 1)
		return 0;
	return refuse(why,
		      "'%s' is not an IPv4 or IPv6 address; this protocol has no "
		      "ports",
		      text);
}

static int parse_end(const char *text, uint8_t protocol, struct end *ret_end,
		     struct flow_why *why)
{
	if (flow_has_ports(protocol))
		return parse_endpoint(text, ret_end, why);
	return parse_address(text, ret_end, why);
}

static enum flow_kind kind_of(uint8_t protocol, bool established)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_SCTP:
		return established ? FLOW_SEGMENT : FLOW_OPENER;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return FLOW_DATAGRAM;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return FLOW_ECHO;
	default:
		return FLOW_PAIR;
	}
}

int flow_text_parse(const struct flow_text *text, struct flow_packet *ret_packet,
		    struct flow_why *ret_why)
{
	struct flow_packet packet = {.key = {.protocol = 0}};
	struct end from = {.port = 0}, to = {.port = 0};

	if (parse_protocol(text->protocol, &packet.key.protocol, ret_why) < 0 ||
	    parse_end(text->source, packet.key.protocol, &from, ret_why) < 0 ||
	    parse_end(text->destination, packet.key.protocol, &to, ret_why) < 0)
		return -EINVAL;
	if (flow_address_is_ipv4(from.address) != flow_address_is_ipv4(to.address))
		return refuse(ret_why, "'%s' and '%s' are of two families of addresses",
			      text->source, text->destination);
	if (memcmp(from.address, to.address, FLOW_ADDRESS_LEN) == 0 &&
	    from.port == to.port)
		return refuse(ret_why, "'%s' is source and destination", text->source);
	if (packet.key.protocol == IPPROTO_ICMP && !flow_address_is_ipv4(to.address))
		packet.key.protocol = IPPROTO_ICMPV6;
	memcpy(packet.key.foreign, from.address, FLOW_ADDRESS_LEN);
	memcpy(packet.key.local, to.address, FLOW_ADDRESS_LEN);
	packet.key.foreign_port = from.port;
	packet.key.local_port = to.port;
	packet.kind = kind_of(packet.key.protocol, text->established);
	*ret_packet = packet;
	return 0;
}
