/*
 * The kernel's opinion: a virtio-net header that frame_fit_vnet() made must never be
 * refused by a TAP. Frames of all shapes, whole and then with bytes changed, go into
 * a real one, in a network namespace of its own.
 */
#include "base/frame.h"
#include "data/tap.h"

#include "frame_shapes.h"
#include "netns.h"
#include "shim.h"

#include <sys/uio.h>

#define MTU 9000

#define TEN_X4 TEN TEN TEN TEN

static const char *const shapes[] = {
	ETH IP4("5", "06") TCP("5") TEN_X4,
	ETH IP4("5", "11") UDP TEN_X4,
	ETH IP6("06") TCP("5") TEN_X4,
	ETH IP6("11") UDP TEN_X4,
	ETH IP4("7", "06") ZERO8 TCP("8") TEN "0000" TEN_X4,
	ETH IP6("00") EXT("3c", "00") EXT("06", "00") TCP("5") TEN_X4,
	ETH VLAN IP4("5", "06") TCP("5") TEN_X4,
	ETH QINQ VLAN IP6("11") UDP TEN_X4,
	ETH IP4("5", "06") TCP("f") TEN_X4 TEN_X4,
	ETH "0806" TEN_X4,
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* What a sender might say about a frame. */
static void tell(struct frame_vnet *vnet, const struct frame_layout *layout,
		 uint64_t random)
{
	static const uint8_t types[] = {0, 0, 1, 4, 5, 0x81, 0x84, 0x85, 3, 0x80};
	static const uint16_t sizes[] = {1, 8, 9, 30, 536, 1448, 8000, 8900};

	*vnet = (struct frame_vnet){
		.flags = random % 4 != 0,
		.gso_type = types[random / 4 % sizeof(types)],
		.gso_size = sizes[random / 64 % 8],
		.csum_start = layout->l4,
		.csum_offset = layout->protocol == 6 ? 16 : 6,
	};
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static size_t make_frame(uint64_t *random, uint8_t *frame, size_t room)
{
	uint64_t changes = random_next(random) % 4;
	size_t length = shape_decode(shapes[random_next(random) % SHAPES], frame);
	size_t data = random_next(random) % 3 ? 0 : random_next(random) % 60000;

	memset(frame + length, 0, room - length);
	while (changes--)
		frame[12 + random_next(random) % (length - 12)] =
			(uint8_t)random_next(random);
	return length + data;
}

/* True if our own code would have written this one. */
static bool make_pair(uint64_t *random, uint8_t *frame, size_t room, size_t *ret_length,
		      struct frame_vnet *ret_vnet)
{
	size_t length = make_frame(random, frame, room);
	struct frame_layout layout;
	struct frame_vnet foreign;

	frame_parse(frame, length < FRAME_HEAD_MAX ? length : FRAME_HEAD_MAX, &layout);
	tell(&foreign, &layout, random_next(random));
	*ret_length = length;
	return frame_fit_vnet(&layout, &foreign, length, MTU, ret_vnet) == DROP_NUM_;
}

static bool bring_up(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_UP};

	return change_interface(name, SIOCSIFFLAGS, &ifr) == 0;
}

static ssize_t write_frame(const struct tap *tap, struct frame_vnet vnet, uint8_t *frame,
			   size_t length)
{
	const struct iovec iov[2] = {{&vnet, sizeof(vnet)}, {frame, length}};
	ssize_t n = writev(tap->queues[0], iov, 2);

	return n < 0 ? -errno : n - (ssize_t)sizeof(vnet);
}

/* Or the test below would prove nothing. */
static void check_kernel_is_particular(const struct tap *tap, uint8_t *frame)
{
	size_t length = shape_decode(shapes[0], frame);

	CHECK_INT(write_frame(tap, (struct frame_vnet){0}, frame, length), length);
	CHECK_INT(write_frame(tap, (struct frame_vnet){1, 0, 0, 0, 60000, 16}, frame,
			      length),
		  -EINVAL);
	CHECK_INT(
		write_frame(tap, (struct frame_vnet){1, 2, 0, 99, 34, 16}, frame, length),
		-EINVAL);
	CHECK_INT(write_frame(tap, (struct frame_vnet){1, 1, 60000, 99, 34, 16}, frame,
			      length),
		  -EINVAL);
}

TEST_CASE(frame_kernel, takes_what_we_accept)
{
	static uint8_t frame[61000];
	const char *why_not = netns_enter_for_tap();
	uint64_t random = 0x9e3779b97f4a7c15ull;
	unsigned written = 0, super = 0;
	enum tap_error why;
	struct tap tap;

	if (why_not)
		TEST_SKIP(why_not);
	REQUIRE(tap_open(&tap, "fk0", 1, TAP_CREATE, &why) == 0);
	CHECK(bring_up("fk0"));
	CHECK_INT(tap_set_carrier(&tap, true), 0);
	check_kernel_is_particular(&tap, frame);
	for (unsigned i = 0; i < 40000 && !test_failed(); i++) {
		struct frame_vnet vnet;
		size_t length;

		if (!make_pair(&random, frame, sizeof(frame), &length, &vnet))
			continue;
		written++;
		super += vnet.gso_type != 0;
		if (!CHECK_INT(write_frame(&tap, vnet, frame, length), length))
			CHECK_MEM(&vnet, &(struct frame_vnet){0}, sizeof(vnet));
	}
	CHECK(written > 1000 && super > 200);
	tap_close(&tap);
}
