/*
 * Packets for a global address as hex digits, header by header, for the tests of
 * base/flow. From 198.51.100.7 or 2001:db8::7, port 40112, to 10.99.0.1 or fd99::1,
 * port 80. Lengths of IP are 0: flow_shape_decode() fills them in.
 */
#ifndef TESTS_UNIT_FLOW_SHAPES_H
#define TESTS_UNIT_FLOW_SHAPES_H

#include "frame_shapes.h"

#define CLIENT4 "c6336407"
#define GLOBAL4 "0a630001"
#define CLIENT6 "20010db8000000000000000000000007"
#define GLOBAL6 "fd990000000000000000000000000001"
#define PORTS                                                                            \
	"9cb0"                                                                           \
	"0050"
#define PORTS_BACK                                                                       \
	"0050"                                                                           \
	"9cb0"

#define HEAD4(ihl, fragment, protocol, from, to)                                         \
	"4" ihl "00"                                                                     \
	"0000"                                                                           \
	"1234" fragment "40" protocol "0000" from to
#define HEAD6(next, from, to)                                                            \
	"60000000"                                                                       \
	"0000" next "40" from to
#define FRAG6(next, offset) next "00" offset "00001234"

#define V4_FROM(from, protocol) ETH "0800" HEAD4("5", "0000", protocol, from, GLOBAL4)
#define V4_FRAG(fragment, protocol)                                                      \
	ETH "0800" HEAD4("5", fragment, protocol, CLIENT4, GLOBAL4)
#define V4_OPTIONS(ihl, protocol)                                                        \
	ETH "0800" HEAD4(ihl, "0000", protocol, CLIENT4, GLOBAL4)
#define V4(protocol)	    V4_FRAG("0000", protocol)
#define V6_FROM(from, next) ETH "86dd" HEAD6(next, from, GLOBAL6)
#define V6(next)	    V6_FROM(CLIENT6, next)

/* As the global address sent them. */
#define BACK4(fragment, protocol) HEAD4("5", fragment, protocol, GLOBAL4, CLIENT4)
#define BACK6(next)		  HEAD6(next, GLOBAL6, CLIENT6)

#define TCP_OF(ports, doff, flags)                                                       \
	ports "00000001"                                                                 \
	      "00000002" doff "0" flags "ffff"                                           \
	      "0000"                                                                     \
	      "0000"
#define SYN			   TCP_OF(PORTS, "5", "02")
#define ACK_			   TCP_OF(PORTS, "5", "10")
#define UDP_OF(ports, length)	   ports length "0000"
#define UDP8			   UDP_OF(PORTS, "0008")
#define SCTP_OF(ports, tag, chunk) ports tag "00000000" chunk "000004"
#define INIT			   SCTP_OF(PORTS, "00000000", "01")
#define ICMP_OF(type)                                                                    \
	type "00"                                                                        \
	     "0000"                                                                      \
	     "00000000"

/* Number of bytes. `ret_frame` of FRAME_HEAD_MAX bytes at least. */
static inline size_t flow_shape_decode(const char *hex, uint8_t *ret_frame)
{
	size_t length = shape_decode(hex, ret_frame), at = 12;
	unsigned type, ip_length;

	do {
		type = (unsigned)(ret_frame[at] << 8 | ret_frame[at + 1]);
		at += type == 0x8100 || type == 0x88a8 ? 4 : 2;
	} while (type == 0x8100 || type == 0x88a8);
	ip_length = (unsigned)(length - at);
	if (type == 0x86dd) {
		ip_length -= 40;
		at += 2;
	}
	if ((type == 0x0800 || type == 0x86dd) && at + 4 <= length) {
		ret_frame[at + 2] = (uint8_t)(ip_length >> 8);
		ret_frame[at + 3] = (uint8_t)ip_length;
	}
	return length;
}

#endif
