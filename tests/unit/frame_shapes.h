/*
 * Frames as hex digits, header by header, for the tests of base/frame.
 */
#ifndef TESTS_UNIT_FRAME_SHAPES_H
#define TESTS_UNIT_FRAME_SHAPES_H

#include "base/frame.h"

#include <stddef.h>
#include <stdint.h>

#define ETH                                                                              \
	"025312340002"                                                                   \
	"025312340001"
#define VLAN                                                                             \
	"8100"                                                                           \
	"0005"
#define QINQ                                                                             \
	"88a8"                                                                           \
	"0006"

#define ZERO8 "0000000000000000"

#define IP4_FRAG(ihl, fragment, protocol)                                                \
	"0800"                                                                           \
	"4" ihl "00"                                                                     \
	"0000"                                                                           \
	"0000" fragment "40" protocol "0000"                                             \
	"0a000001"                                                                       \
	"0a000002"
#define IP4(ihl, protocol) IP4_FRAG(ihl, "0000", protocol)
#define IP6(next)                                                                        \
	"86dd"                                                                           \
	"60000000"                                                                       \
	"0000" next "40" ZERO8 ZERO8 ZERO8 ZERO8
#define EXT(next, eights) next eights "000000000000"
#define TCP(doff)                                                                        \
	"0001"                                                                           \
	"0002"                                                                           \
	"00000000"                                                                       \
	"00000000" doff "0"                                                              \
	"10"                                                                             \
	"ffff"                                                                           \
	"0000"                                                                           \
	"0000"
#define UDP                                                                              \
	"0001"                                                                           \
	"0002"                                                                           \
	"0000"                                                                           \
	"0000"
#define TEN "00000000000000000000"

/* Number of bytes. */
static inline size_t shape_decode(const char *hex, uint8_t *ret_bytes)
{
	size_t length = 0;

	for (; hex[0] && hex[1]; hex += 2) {
		unsigned value = 0;

		for (int i = 0; i < 2; i++)
			value = value * 16 + (unsigned)(hex[i] <= '9'
								? hex[i] - '0'
								: hex[i] - 'a' + 10);
		ret_bytes[length++] = (uint8_t)value;
	}
	return length;
}

#endif
