/*
 * Cutting super-frames: each piece looked at field by field. Whether a kernel makes
 * the same of them is segment_kernel_test.c's question.
 */
#include "base/segment.h"

#include "shim.h"
#include "super_frame.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define TCP4  ETH IP4("5", "06") TCP("5")
#define TCP4O ETH IP4("7", "06") ZERO8 TCP("8") TEN "0000"
#define TCP4V ETH QINQ VLAN IP4("5", "06") TCP("5")
#define TCP6  ETH IP6("06") TCP("5")
#define TCP6E ETH IP6("00") EXT("3c", "00") EXT("06", "00") TCP("5")
#define UDP4  ETH IP4("5", "11") UDP
#define UDP4V ETH VLAN IP4("5", "11") UDP
#define UDP6  ETH IP6("11") UDP
#define UDP6E ETH IP6("3c") EXT("11", "01") ZERO8 UDP

#define ACK	 0x10
#define FIN	 0x01
#define PSH	 0x08
#define CWR	 0x80
#define TSO4_ECN (FRAME_GSO_TCPV4 | FRAME_GSO_ECN)
#define TSO6_ECN (FRAME_GSO_TCPV6 | FRAME_GSO_ECN)

static const struct super_frame supers[] = {
	{TCP4, FRAME_GSO_TCPV4, 1460, ACK | PSH, 60000},
	{TCP4, FRAME_GSO_TCPV4, 1460, ACK | FIN | PSH, 2 * 1460},
	{TCP4, TSO4_ECN, 1000, ACK | CWR | FIN | PSH, 2001},
	{TCP4, FRAME_GSO_TCPV4, 8, 0xff, 1000},
	{TCP4, FRAME_GSO_TCPV4, 1460, 0xff, 1461},
	{TCP4, FRAME_GSO_TCPV4, 1460, 0xff, 1460},
	{TCP4, FRAME_GSO_TCPV4, 1460, 0xff, 1},
	{TCP4, FRAME_GSO_TCPV4, 1460, 0xff, 0},
	{TCP4, FRAME_GSO_TCPV4, 1460, ACK, 65535 - 40},
	{TCP4O, FRAME_GSO_TCPV4, 1428, ACK | PSH, 50000},
	{TCP4V, FRAME_GSO_TCPV4, 1460, ACK | PSH, 50001},
	{TCP6, FRAME_GSO_TCPV6, 1440, ACK | PSH, 60000},
	{TCP6, TSO6_ECN, 1440, ACK | CWR, 5000},
	{TCP6E, FRAME_GSO_TCPV6, 1424, ACK | FIN, 9999},
	{UDP4, FRAME_GSO_UDP_L4, 1472, 0, 60000},
	{UDP4, FRAME_GSO_UDP_L4, 1, 0, 128},
	{UDP4, FRAME_GSO_UDP_L4, 1472, 0, 0},
	{UDP4V, FRAME_GSO_UDP_L4, 1200, 0, 48000},
	{UDP6, FRAME_GSO_UDP_L4, 1452, 0, 60001},
	{UDP6E, FRAME_GSO_UDP_L4, 1400, 0, 2801},
};

/* Where the walk over the pieces is. */
struct walk {
	const struct super_frame *super;
	const uint8_t *payload; /* the whole */
	struct frame_layout layout;
	unsigned index;
	size_t at; /* in the data */
};

static void check_vnet(const struct walk *walk, const uint8_t *piece)
{
	const struct frame_vnet expected = {
		.flags = FRAME_NEEDS_CSUM,
		.csum_start = walk->layout.l4,
		.csum_offset = walk->layout.protocol == IPPROTO_TCP ? 16 : 6,
	};

	CHECK_MEM(piece, &expected, sizeof(expected));
}

static void check_ip(const struct walk *walk, const uint8_t *frame, size_t length)
{
	const uint8_t *ip = frame + walk->layout.l3;
	size_t header_length = (size_t)(walk->layout.l4 - walk->layout.l3);

	if (walk->layout.ip_version == 6) {
		CHECK_INT(super_get_be16(ip + 4), length - walk->layout.l3 - 40);
		return;
	}
	CHECK_INT(super_get_be16(ip + 2), length - walk->layout.l3);
	CHECK_INT(super_get_be16(ip + 4), (0xfffd + walk->index) & 0xffff);
	CHECK_INT(super_sum(0, ip, header_length), 0xffff);
}

static void check_tcp(const struct walk *walk, const uint8_t *tcp, bool is_last)
{
	uint32_t sequence = super_get_be16(tcp + 4) << 16 | super_get_be16(tcp + 6);
	unsigned flags = walk->super->tcp_flags;

	if (walk->index > 0)
		flags &= ~(unsigned)CWR;
	if (!is_last)
		flags &= ~(unsigned)(FIN | PSH);
	CHECK_INT(sequence, (uint32_t)(0xfffffff0u + walk->at));
	CHECK_INT(tcp[13], flags);
}

/* The receiver's kernel sums up what the header tells it to: all ones then. */
static void check_sum(const struct walk *walk, uint8_t *piece, size_t length)
{
	uint8_t *frame = piece + SHMNET_VNET_HLEN;
	size_t l4_length = length - walk->layout.l4;
	struct frame_vnet vnet;
	uint32_t sum;

	memcpy(&vnet, piece, sizeof(vnet));
	CHECK_INT(frame_finish_checksum(frame, length, &vnet), 0);
	sum = super_pseudo_sum(&walk->layout, frame, length);
	CHECK_INT(super_sum(sum, frame + walk->layout.l4, l4_length), 0xffff);
}

/* All that isn't one of the fields above is as it was. */
static void check_rest(const struct walk *walk, const uint8_t *frame)
{
	static const size_t tcp_holes[] = {4, 5, 6, 7, 13, 16, 17};
	static const size_t udp_holes[] = {4, 5, 6, 7};
	static const size_t ip4_holes[] = {2, 3, 4, 5, 10, 11};
	static const size_t ip6_holes[] = {4, 5};
	bool tcp = walk->layout.protocol == IPPROTO_TCP,
	     v4 = walk->layout.ip_version == 4;
	uint8_t masked[SEGMENT_HEAD_MAX];
	const uint8_t *original = walk->payload + SHMNET_VNET_HLEN;

	memcpy(masked, frame, walk->layout.payload);
	for (unsigned i = 0; i < (tcp ? COUNT(tcp_holes) : COUNT(udp_holes)); i++) {
		size_t hole = walk->layout.l4 + (tcp ? tcp_holes[i] : udp_holes[i]);

		masked[hole] = original[hole];
	}
	for (unsigned i = 0; i < (v4 ? COUNT(ip4_holes) : COUNT(ip6_holes)); i++) {
		size_t hole = walk->layout.l3 + (v4 ? ip4_holes[i] : ip6_holes[i]);

		masked[hole] = original[hole];
	}
	CHECK_MEM(masked, original, walk->layout.payload);
}

static void check_piece(struct walk *walk, uint8_t *piece, size_t piece_length)
{
	uint8_t *frame = piece + SHMNET_VNET_HLEN;
	size_t length = piece_length - SHMNET_VNET_HLEN;
	size_t data_length = length - walk->layout.payload;
	size_t left = walk->super->data_length - walk->at;
	bool is_last = left <= walk->super->gso_size;

	REQUIRE(length >= walk->layout.payload);
	REQUIRE(CHECK_INT(data_length, is_last ? left : walk->super->gso_size));
	CHECK_MEM(frame + walk->layout.payload,
		  walk->payload + SHMNET_VNET_HLEN + walk->layout.payload + walk->at,
		  data_length);
	check_vnet(walk, piece);
	check_ip(walk, frame, length);
	if (walk->layout.protocol == IPPROTO_TCP)
		check_tcp(walk, frame + walk->layout.l4, is_last);
	else
		CHECK_INT(super_get_be16(frame + walk->layout.l4 + 4), data_length + 8);
	check_rest(walk, frame);
	check_sum(walk, piece, length);
	walk->at += data_length;
	walk->index++;
}

static size_t pieces_of(const struct super_frame *super)
{
	size_t pieces = (super->data_length + super->gso_size - 1) / super->gso_size;

	return pieces ? pieces : 1;
}

/* In memory of exactly their length, so that ASan sees a byte beyond it. */
static void check_pieces(struct walk *walk, struct segment *segment)
{
	size_t length;

	while ((length = segment_length(segment)) > 0 && !test_failed()) {
		uint8_t *piece = malloc(length);

		REQUIRE(piece);
		CHECK_INT(segment_next(segment, piece), length);
		check_piece(walk, piece, length);
		free(piece);
	}
	REQUIRE(!test_failed());
	CHECK_INT(walk->at, walk->super->data_length);
	CHECK_INT(walk->index, pieces_of(walk->super));
	CHECK_INT(segment_next(segment, NULL), 0);
}

static void check_super(const struct super_frame *super, const uint8_t *room,
			size_t length)
{
	struct walk walk = {.super = super};
	uint8_t *payload = malloc(length);
	struct segment segment;

	REQUIRE(payload);
	memcpy(payload, room, length);
	walk.payload = payload;
	memset(&segment, 0xee, sizeof(segment));
	CHECK(segment_is_super(payload));
	frame_parse(payload + SHMNET_VNET_HLEN,
		    length < FRAME_HEAD_MAX ? length - SHMNET_VNET_HLEN : FRAME_HEAD_MAX,
		    &walk.layout);
	if (CHECK_INT(segment_begin(&segment, payload, length), 0))
		check_pieces(&walk, &segment);
	CHECK_MEM(payload, room, length);
	free(payload);
}

TEST_CASE(segment, cuts)
{
	static uint8_t payload[SUPER_ROOM];

	for (unsigned i = 0; i < COUNT(supers) && !test_failed(); i++) {
		check_super(&supers[i], payload, super_make(&supers[i], payload));
		if (test_failed())
			CHECK_INT(i, -1);
	}
}

/* ---- what isn't cut ---- */

static int begin(const uint8_t *room, size_t length)
{
	uint8_t *payload = malloc(length ? length : 1);
	struct segment segment;
	int error;

	memcpy(payload, room, length);
	error = segment_begin(&segment, payload, length);
	free(payload);
	return error;
}

TEST_CASE(segment, refuses_what_is_cut_off)
{
	static uint8_t payload[SUPER_ROOM];

	for (unsigned i = 0; i < COUNT(supers); i++) {
		size_t length = super_make(&supers[i], payload);

		CHECK_INT(begin(payload, length), 0);
		CHECK_INT(begin(payload, length - 1), -EINVAL);
		for (size_t n = 0; n < 150 && n < length; n++)
			CHECK_INT(begin(payload, n), -EINVAL);
	}
}

/* Lengths that contradict the frame's, one byte at a time. */
TEST_CASE(segment, refuses_other_lengths)
{
	static const struct {
		const char *shape;
		uint8_t gso_type;
		size_t at;
	} cases[] = {
		{TCP4, FRAME_GSO_TCPV4, 17},   {TCP6, FRAME_GSO_TCPV6, 19},
		{UDP4, FRAME_GSO_UDP_L4, 17},  {UDP4, FRAME_GSO_UDP_L4, 39},
		{UDP6, FRAME_GSO_UDP_L4, 19},  {UDP6, FRAME_GSO_UDP_L4, 59},
		{UDP6E, FRAME_GSO_UDP_L4, 75},
	};
	uint8_t payload[4096];

	for (unsigned i = 0; i < COUNT(cases); i++) {
		const struct super_frame super = {cases[i].shape, cases[i].gso_type, 1000,
						  0, 3000};
		size_t length = super_make(&super, payload);

		payload[SHMNET_VNET_HLEN + cases[i].at]++;
		CHECK_INT(begin(payload, length), -EINVAL);
		payload[SHMNET_VNET_HLEN + cases[i].at] -= 2;
		CHECK_INT(begin(payload, length), -EINVAL);
	}
}

TEST_CASE(segment, refuses_what_is_no_super_frame)
{
	const struct super_frame super = {UDP4, FRAME_GSO_UDP_L4, 1000, 0, 2000};
	static const struct frame_vnet bad[] = {
		{0}, /* asks for nothing */
		{1, FRAME_GSO_NONE, 42, 1000, 34, 6},
		{0, FRAME_GSO_UDP_L4, 42, 1000, 34, 6},
		{1, FRAME_GSO_UDP_L4, 42, 0, 34, 6},
		{1, FRAME_GSO_UDP_L4, 42, 15, 34, 6}, /* too many */
		{1, FRAME_GSO_TCPV4, 42, 1000, 34, 6},
		{1, FRAME_GSO_UDP_L4 | FRAME_GSO_ECN, 42, 1000, 34, 6},
		{1, 3, 42, 1000, 34, 6},
		{1, FRAME_GSO_UDP_L4, 42, 1000, 33, 6},
		{1, FRAME_GSO_UDP_L4, 42, 1000, 34, 16},
	};
	uint8_t payload[4096];
	size_t length = super_make(&super, payload);

	for (unsigned i = 0; i < COUNT(bad); i++) {
		memcpy(payload, &bad[i], sizeof(bad[i]));
		CHECK(segment_is_super(payload) == (bad[i].gso_type != 0));
		CHECK_INT(begin(payload, length), -EINVAL);
	}
}
