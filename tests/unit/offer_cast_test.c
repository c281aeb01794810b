/*
 * Cast rings that nodes of one machine hand each other: what is taken, what is refused
 * in which words, and what a dead writer leaves in them.
 */
#include "control/offer_cast.h"

#include "rig.h"
#include "shim.h"

#include <shmnet/cast.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEPTH 64
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct side {
	struct rig_tap tap;
	struct plane *plane;
	unsigned port;
	struct config_network network;
	struct offer offer;
};

static bool side_open(struct side *side, uint16_t id)
{
	const struct plane_options options = {0};
	struct plane_port port = {
		.tap = &side->tap.tap,
		.node_id = id,
		.tag = RIG_TAG,
		.mtu = RIG_MTU,
	};

	memset(side, 0, sizeof(*side));
	side->network.mtu = RIG_MTU;
	if (!rig_tap_open(&side->tap, 1) || plane_new(&options, &side->plane) < 0 ||
	    plane_add_port(side->plane, &port, &side->port) < 0 ||
	    plane_start(side->plane) < 0)
		return false;
	side->offer.plane = side->plane;
	side->offer.node_id = id;
	side->offer.ports = &side->port;
	side->offer.networks = &side->network;
	side->offer.num_networks = 1;
	return true;
}

static void side_close(struct side *side)
{
	while (side->offer.casts)
		offer_cast_free(side->offer.casts);
	plane_free(side->plane);
	rig_tap_close(&side->tap);
}

static struct world_cast_spec spec_of(uint16_t maker, bool lane)
{
	return (struct world_cast_spec){
		.id = 0x1234567890abcdef,
		.epoch = lane ? 0 : 5,
		.depth = DEPTH,
		.label = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		.lane = lane,
		.maker = maker,
	};
}

static int accept_fd(struct side *side, int fd, const struct world_cast_spec *spec,
		     struct world_cast **ret_cast, const char **ret_why)
{
	struct world_parcel parcel = {.fd = fd};
	int ret = offer_cast_accept(&side->offer, &parcel, spec, ret_cast, ret_why);

	CHECK_INT(parcel.fd, -1);
	return ret;
}

/* The head and slots behind a descriptor. */
static struct shmnet_cast_head *map_fd(int fd, struct shmnet_cast_ring *ret_ring)
{
	void *memory = mmap(NULL, shmnet_cast_file_size(DEPTH, RIG_MTU),
			    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return NULL;
	shmnet_cast_ring_init(ret_ring, memory, DEPTH, RIG_MTU);
	return memory;
}

TEST_CASE(offer_cast, a_shared_ring_is_one_for_both)
{
	struct world_cast_spec spec = spec_of(1, false);
	struct world_cast *ours, *theirs;
	struct shmnet_cast_ring ring;
	struct shmnet_cast_head *head;
	struct side a, b;
	const char *why = "";

	REQUIRE(side_open(&a, 1) && side_open(&b, 2));
	REQUIRE(offer_cast_new(&a.offer, &spec, &ours, &why) == 0);
	CHECK_INT(accept_fd(&b, dup(offer_cast_fd(ours)), &spec, &theirs, &why), 0);
	CHECK(offer_cast_find(&b.offer, offer_cast_cast(theirs)) == theirs);
	CHECK(!offer_cast_find(&a.offer, offer_cast_cast(theirs)));
	CHECK_U64(offer_cast_position(theirs), 0);
	head = map_fd(offer_cast_fd(theirs), &ring);
	REQUIRE(head);
	CHECK_U64(head->epoch, 5);
	offer_cast_close(ours);
	CHECK(head->head & SHMNET_CAST_CLOSED);
	munmap(head, shmnet_cast_file_size(DEPTH, RIG_MTU));
	side_close(&a);
	side_close(&b);
}

/* What an earlier life of the same id left in the middle of being written. */
TEST_CASE(offer_cast, who_comes_back_clears_its_own_slots)
{
	struct world_cast_spec spec = spec_of(1, false);
	struct shmnet_cast_writer writer;
	struct world_cast *ours, *theirs;
	struct shmnet_cast_ring ring;
	struct shmnet_cast_head *head;
	struct side a, b;
	const char *why = "";
	uint8_t *payload;

	REQUIRE(side_open(&a, 1) && side_open(&b, 2));
	REQUIRE(offer_cast_new(&a.offer, &spec, &ours, &why) == 0);
	head = map_fd(offer_cast_fd(ours), &ring);
	REQUIRE(head);
	for (uint16_t id = 2; id <= 3; id++) {
		shmnet_cast_writer_init(&writer, &ring, id);
		CHECK_INT(shmnet_cast_reserve(&writer, &payload), 0);
	}
	CHECK_INT(accept_fd(&b, dup(offer_cast_fd(ours)), &spec, &theirs, &why), 0);
	CHECK_U64(shmnet_cast_reclaim(&ring, 2), 0);
	CHECK_U64(shmnet_cast_reclaim(&ring, 3), 1);
	munmap(head, shmnet_cast_file_size(DEPTH, RIG_MTU));
	side_close(&a);
	side_close(&b);
}

/* Its reader keeps no descriptor, and can't map it to write. */
TEST_CASE(offer_cast, a_lane_is_its_makers)
{
	struct world_cast_spec spec = spec_of(1, true);
	struct world_cast *ours, *theirs;
	struct shmnet_cast_ring ring;
	struct side a, b;
	const char *why = "";

	REQUIRE(side_open(&a, 1) && side_open(&b, 2));
	REQUIRE(offer_cast_new(&a.offer, &spec, &ours, &why) == 0);
	CHECK(!map_fd(offer_cast_fd(ours), &ring));
	CHECK_INT(accept_fd(&b, dup(offer_cast_fd(ours)), &spec, &theirs, &why), 0);
	CHECK_INT(offer_cast_fd(theirs), -1);
	side_close(&a);
	side_close(&b);
}

static void check_refused(struct side *side, int fd, bool lane, const char *words)
{
	struct world_cast_spec spec = spec_of(1, lane);
	struct world_cast *cast;
	const char *why = "";

	CHECK_INT(accept_fd(side, fd, &spec, &cast, &why), -EPROTO);
	CHECK_STR(why, words);
}

static int make_memfd(uint64_t length, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK_INT(ftruncate(fd, (off_t)length), 0);
	CHECK_INT(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

TEST_CASE(offer_cast, memory_that_is_none_is_refused)
{
	uint64_t size = shmnet_cast_file_size(DEPTH, RIG_MTU);
	struct side side;

	REQUIRE(side_open(&side, 2));
	check_refused(&side, -1, false, "it came without a descriptor");
	check_refused(&side, open("/dev/null", O_RDWR | O_CLOEXEC), false,
		      "its descriptor is not a memfd");
	check_refused(&side, make_memfd(size, F_SEAL_SEAL), false,
		      "its descriptor is not sealed against a change of its size");
	check_refused(&side, make_memfd(size - 1, SEALS), false,
		      "its descriptor is shorter than the ring it is for");
	check_refused(&side, make_memfd(size + 1, SEALS), false,
		      "its descriptor is longer than the ring it is for");
	check_refused(&side, make_memfd(size, SEALS), false,
		      "its descriptor is of another ring");
	CHECK(!side.offer.casts);
	side_close(&side);
}

TEST_CASE(offer_cast, more_memory_than_there_is_is_refused_with_both_numbers)
{
	struct world_cast_spec spec = spec_of(1, false);
	struct world_cast *cast;
	const char *why = "";
	struct side side;
	double needs, available;

	REQUIRE(side_open(&side, 1));
	side.network.mtu = SHMNET_MTU_MAX;
	spec.depth = SHMNET_CAST_DEPTH_MAX; /* 4 GiB */
	if (offer_cast_new(&side.offer, &spec, &cast, &why) == -ENOMEM)
		CHECK_INT(sscanf(why, "needs %lf MiB of memory, %lf MiB are available",
				 &needs, &available),
			  2);
	side_close(&side);
}
