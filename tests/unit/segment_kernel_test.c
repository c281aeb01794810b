/*
 * The kernel's pieces and ours: super-frames go through a packet socket to a TAP that
 * offloads nothing, so that the kernel cuts them itself; every frame that comes out
 * must be the one that base/segment makes, to the byte.
 */
#include "base/segment.h"
#include "data/tap.h"

#include "netns.h"
#include "shim.h"
#include "super_frame.h"

#include <linux/if_packet.h>
#include <linux/if_tun.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct {
	const char *shape;
	uint8_t gso_type;
} shapes[] = {
	{ETH IP4("5", "06") TCP("5"), FRAME_GSO_TCPV4},
	{ETH IP4("7", "06") ZERO8 TCP("8") TEN "0000", FRAME_GSO_TCPV4},
	{ETH VLAN IP4("5", "06") TCP("5"), FRAME_GSO_TCPV4},
	{ETH IP6("06") TCP("5"), FRAME_GSO_TCPV6},
	{ETH IP6("00") EXT("3c", "00") EXT("06", "00") TCP("5"), FRAME_GSO_TCPV6},
	{ETH IP4("5", "06") TCP("5"), FRAME_GSO_TCPV4 | FRAME_GSO_ECN},
	{ETH VLAN IP6("06") TCP("5"), FRAME_GSO_TCPV6 | FRAME_GSO_ECN},
	{ETH IP4("5", "11") UDP, FRAME_GSO_UDP_L4}, /* from here on Linux 6.2 */
	{ETH VLAN IP4("5", "11") UDP, FRAME_GSO_UDP_L4},
	{ETH IP6("11") UDP, FRAME_GSO_UDP_L4},
	{ETH IP6("3c") EXT("11", "01") ZERO8 UDP, FRAME_GSO_UDP_L4},
};
#define SHAPES_OF_TCP 7

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void choose(uint64_t *random, unsigned shapes_known, struct super_frame *super)
{
	static const uint16_t sizes[] = {8, 100, 536, 1000, 1400};
	size_t i = random_next(random) % shapes_known;
	size_t pieces = 1 + random_next(random) % 40;

	super->shape = shapes[i].shape;
	super->gso_type = shapes[i].gso_type;
	super->gso_size = sizes[random_next(random) % COUNT(sizes)];
	super->tcp_flags = (uint8_t)random_next(random);
	super->data_length = super->gso_size * (pieces - 1);
	super->data_length += 1 + random_next(random) % super->gso_size;
}

/* What a sender's kernel would write to a wire without any help. */
struct lab {
	struct tap tap;
	int packet;
	unsigned ifindex;
};

static void lab_open(struct lab *lab)
{
	struct ifreq ifr = {.ifr_flags = IFF_UP};
	enum tap_error why;
	int on = 1;

	lab->packet = -1;
	REQUIRE(tap_open(&lab->tap, "sk0", 1, TAP_CREATE, &why) == 0);
	CHECK_INT(ioctl(lab->tap.queues[0], TUNSETOFFLOAD, 0), 0);
	CHECK_INT(tap_set_carrier(&lab->tap, true), 0);
	CHECK_INT(change_interface("sk0", SIOCSIFFLAGS, &ifr), 0);
	lab->ifindex = if_nametoindex("sk0");
	lab->packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	CHECK_INT(setsockopt(lab->packet, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)),
		  0);
}

static void lab_close(struct lab *lab)
{
	if (lab->packet >= 0)
		close(lab->packet);
	tap_close(&lab->tap);
}

static bool send_super(const struct lab *lab, const uint8_t *payload, size_t length)
{
	const struct sockaddr_ll to = {.sll_family = AF_PACKET,
				       .sll_ifindex = (int)lab->ifindex};

	return sendto(lab->packet, payload, length, 0, (const struct sockaddr *)&to,
		      sizeof(to)) == (ssize_t)length;
}

/* The next frame that is ours; the kernel has words of its own. */
static size_t read_piece(const struct lab *lab, uint8_t *piece, size_t room)
{
	uint8_t addresses[2 * SHMNET_ETH_ALEN];
	ssize_t n;

	shape_decode(ETH, addresses);
	do {
		if (!wait_readable(lab->tap.queues[0], 5000))
			return 0;
		n = read(lab->tap.queues[0], piece, room);
	} while (n > 0 &&
		 memcmp(piece + SHMNET_VNET_HLEN, addresses, sizeof(addresses)) != 0);
	return n < 0 ? 0 : (size_t)n;
}

/* TCP may spell a sum of zero either way. */
static void finish(uint8_t *piece, size_t length, const uint8_t *kernels)
{
	struct frame_vnet vnet;
	size_t at;

	memcpy(&vnet, piece, sizeof(vnet));
	at = SHMNET_VNET_HLEN + (size_t)vnet.csum_start + vnet.csum_offset;
	CHECK_INT(frame_finish_checksum(piece + SHMNET_VNET_HLEN,
					length - SHMNET_VNET_HLEN, &vnet),
		  0);
	if (super_get_be16(piece + at) == 0xffff && super_get_be16(kernels + at) == 0)
		super_put_be16(piece + at, 0);
}

static unsigned compare(const struct lab *lab, const uint8_t *payload, size_t length)
{
	uint8_t kernels[2048], ours[2048];
	struct segment segment;
	unsigned pieces = 0;

	if (!CHECK_INT(segment_begin(&segment, payload, length), 0) ||
	    !CHECK(send_super(lab, payload, length)))
		return 0;
	while (segment_length(&segment) > 0 && !test_failed()) {
		size_t n = segment_next(&segment, ours);

		CHECK_INT(read_piece(lab, kernels, sizeof(kernels)), n);
		if (test_failed())
			break;
		CHECK_INT(kernels[0] & FRAME_NEEDS_CSUM, 0);
		finish(ours, n, kernels);
		CHECK_MEM(ours + SHMNET_VNET_HLEN, kernels + SHMNET_VNET_HLEN,
			  n - SHMNET_VNET_HLEN);
		pieces++;
	}
	return pieces;
}

static void compare_many(const struct lab *lab, unsigned shapes_known)
{
	static uint8_t payload[SUPER_ROOM];
	uint64_t random = 0x9e3779b97f4a7c15ull;
	unsigned pieces = 0;

	for (unsigned i = 0; i < 1000 && !test_failed(); i++) {
		struct super_frame super;

		choose(&random, shapes_known, &super);
		pieces += compare(lab, payload, super_make(&super, payload));
		if (test_failed())
			CHECK_STR("differs", super.shape);
	}
	CHECK(pieces > 10000);
}

TEST_CASE(segment_kernel, makes_the_same)
{
	const char *why_not = netns_enter_for_tap();
	struct lab lab;

	if (why_not)
		TEST_SKIP(why_not);
	lab_open(&lab);
	if (!test_failed())
		compare_many(&lab, lab.tap.offloads & SHMNET_OFFLOAD_USO ? COUNT(shapes)
									 : SHAPES_OF_TCP);
	lab_close(&lab);
}
