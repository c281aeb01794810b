/*
 * What two nodes of one machine hand each other, and what they must not take: rings,
 * bells, and the link that comes of them.
 */
#include "control/offer_shm.h"

#include "netns.h"
#include "rig.h"
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE  SHMNET_RING_SIZE_MIN
#define FILE_ (SHMNET_RING_WORDS_LEN + SIZE) /* bytes of such a ring's file */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static void check_words(const char *text, const char *words)
{
	CHECK_STR(strstr(text, words) ? words : text, words);
}

/* ---- rings ---- */

/* A node without a data plane, and its half of a connection: enough for rings. */
struct half {
	struct offer offer;
	struct offer_fabric shm;
	struct world_conn *conn;
};

static bool half_open(struct half *half)
{
	const char *why = "";

	memset(half, 0, sizeof(*half));
	offer_shm_init(&half->shm, &half->offer);
	return CHECK_INT(offer_conn_new(&half->shm, NULL, 2, true, &half->conn, &why), 0);
}

static int new_ring(struct half *half, uint64_t size, struct world_ring **ret_ring,
		    const char **ret_why)
{
	return offer_ring_new(half->conn, 0, size, ret_ring, ret_why);
}

static int accept_ring(struct half *half, struct world_parcel *parcel, uint64_t size,
		       struct world_ring **ret_ring, const char **ret_why)
{
	return offer_ring_accept(half->conn, parcel, NULL, 0, size, ret_ring, ret_why);
}

static int offered_fd(const struct world_ring *ring)
{
	struct world_offer offer;

	offer_ring_offer(ring, &offer);
	CHECK_INT(offer.length, 0);
	return offer.fd;
}

static int make_memfd(uint64_t length, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK_INT(ftruncate(fd, (off_t)length), 0);
	CHECK_INT(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* The same file, without the right to write. */
static int reopen_read_only(int fd)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return again;
}

/* Takes the descriptor. */
static void check_ring_refused(int fd, const char *words)
{
	struct world_parcel parcel = {.fd = fd};
	struct world_ring *ring;
	struct half half;
	const char *why = "";

	REQUIRE(half_open(&half));
	CHECK_INT(accept_ring(&half, &parcel, SIZE, &ring, &why), -EPROTO);
	CHECK_STR(why, words);
	CHECK_INT(parcel.fd, -1);
	if (fd >= 0)
		CHECK_INT(fcntl(fd, F_GETFD), -1);
	offer_conn_free(half.conn);
}

TEST_CASE(offer_shm, rings_that_are_none_are_refused)
{
	check_ring_refused(-1, "it came without a descriptor");
	check_ring_refused(open("/dev/null", O_RDWR | O_CLOEXEC),
			   "its descriptor is not a memfd");
	check_ring_refused(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0),
			   "its descriptor is not a memfd");
	check_ring_refused(make_memfd(FILE_, F_SEAL_SEAL),
			   "its descriptor is not sealed against a change of its size");
	check_ring_refused(make_memfd(FILE_, SEALS & ~F_SEAL_SHRINK),
			   "its descriptor is not sealed against a change of its size");
	check_ring_refused(make_memfd(FILE_, SEALS | F_SEAL_WRITE),
			   "its descriptor is sealed against writing");
	check_ring_refused(make_memfd(FILE_ - 1, SEALS),
			   "its descriptor is shorter than the ring it is for");
	check_ring_refused(make_memfd(0, SEALS),
			   "its descriptor is shorter than the ring it is for");
	check_ring_refused(make_memfd(FILE_ + 1, SEALS),
			   "its descriptor is longer than the ring it is for");
	check_ring_refused(reopen_read_only(make_memfd(FILE_, SEALS)),
			   "its descriptor is not open for reading and writing");
}

TEST_CASE(offer_shm, rings_with_bytes_are_refused)
{
	struct world_parcel parcel = {.fd = open("/dev/null", O_RDWR | O_CLOEXEC)};
	static const uint8_t bytes[1];
	struct world_ring *ring;
	struct half half;
	const char *why = "";

	REQUIRE(half_open(&half));
	CHECK_INT(offer_ring_accept(half.conn, &parcel, bytes, 1, SIZE, &ring, &why),
		  -EPROTO);
	CHECK_STR(why, "it came with bytes that say nothing on one machine");
	CHECK_INT(parcel.fd, -1);
	offer_conn_free(half.conn);
}

TEST_CASE(offer_shm, ring_made_here_is_one_there)
{
	struct world_ring *made, *taken;
	struct half ours, theirs;
	struct world_parcel parcel;
	const char *why = "";

	REQUIRE(half_open(&ours) && half_open(&theirs));
	REQUIRE(new_ring(&ours, SIZE, &made, &why) == 0);
	parcel = (struct world_parcel){.fd = dup(offered_fd(made))};
	CHECK_INT(accept_ring(&theirs, &parcel, SIZE, &taken, &why), 0);
	CHECK_INT(parcel.fd, -1);
	CHECK_INT(offered_fd(taken), -1);
	offer_ring_free(taken);
	parcel = (struct world_parcel){.fd = dup(offered_fd(made))};
	CHECK_INT(accept_ring(&theirs, &parcel, 2 * SIZE, &taken, &why), -EPROTO);
	offer_ring_free(made);
	offer_ring_free(NULL);
	offer_conn_free(ours.conn);
	offer_conn_free(theirs.conn);
}

TEST_CASE(offer_shm, ring_of_no_valid_size_is_not_made)
{
	struct world_ring *ring;
	struct half half;
	const char *why = "";

	REQUIRE(half_open(&half));
	CHECK_INT(new_ring(&half, SIZE + 1, &ring, &why), -EINVAL);
	check_words(why, "can't make a memfd: ");
	offer_conn_free(half.conn);
}

/* Runs `what` without a descriptor to spare. */
static void run_without_descriptors(void (*what)(void *arg), void *arg)
{
	struct rlimit limit, none;

	getrlimit(RLIMIT_NOFILE, &limit);
	none = limit;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	what(arg);
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void fail_to_make_ring(void *arg)
{
	struct world_ring *ring;
	const char *why = "";

	CHECK_INT(new_ring(arg, SIZE, &ring, &why), -EMFILE);
	check_words(why, "can't make a memfd: Too many open files");
}

static void fail_to_make_bell(void *arg)
{
	struct half *half = arg;
	struct world_conn *conn;
	const char *why = "";

	CHECK_INT(offer_conn_new(&half->shm, NULL, 2, true, &conn, &why), -EMFILE);
	check_words(why, "no doorbell: Too many open files");
}

TEST_CASE(offer_shm, without_a_descriptor_to_spare_nothing_is_made)
{
	struct half half;

	REQUIRE(half_open(&half));
	run_without_descriptors(fail_to_make_ring, &half);
	run_without_descriptors(fail_to_make_bell, &half);
	offer_conn_free(half.conn);
}

/* ---- memory ---- */

TEST_CASE(offer_shm, more_memory_than_there_is_is_refused_with_both_numbers)
{
	double needed = 0, available = 0;
	char why[256] = "";

	CHECK_INT(offer_check_memory(1 << 20, 1 << 20, why, sizeof(why)), 0);
	CHECK_INT(offer_check_memory(1ull << 60, 1ull << 60, why, sizeof(why)), -ENOMEM);
	CHECK_INT(sscanf(why, "needs %lf MiB of memory, %lf MiB are available", &needed,
			 &available),
		  2);
	CHECK(needed == (double)(1ull << 40));
	CHECK(available > 0 && available < needed);
}

static uint64_t address_space(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	uint64_t pages = 0;

	CHECK(file && fscanf(file, "%" SCNu64, &pages) == 1);
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool has_both_numbers(const char *why)
{
	double needed = 0, left = 0;

	return sscanf(why,
		      "needs %lf MiB of address space, %lf MiB are left of the limit "
		      "(ulimit -v)",
		      &needed, &left) == 2 &&
	       needed == 2.0 * SIZE / (1 << 20) && left <= needed;
}

/* In a child: 0 if all is as it should be. */
static int use_up_address_space(void *arg)
{
	const struct rlimit limit = {address_space() + SIZE, RLIM_INFINITY};
	struct world_parcel parcel = {.fd = make_memfd(FILE_, SEALS)};
	struct half *half = arg;
	struct world_ring *ring;
	const char *why = "";

	if (setrlimit(RLIMIT_AS, &limit) < 0)
		return 1;
	if (new_ring(half, SIZE, &ring, &why) != -ENOMEM || !has_both_numbers(why))
		return 2;
	if (accept_ring(half, &parcel, SIZE, &ring, &why) != -ENOMEM ||
	    !has_both_numbers(why) || parcel.fd != -1)
		return 3;
	return 0;
}

TEST_CASE(offer_shm, more_address_space_than_the_limit_is_refused)
{
	struct half half;

	REQUIRE(half_open(&half));
	CHECK_INT(run_in_child(use_up_address_space, &half), 0);
	offer_conn_free(half.conn);
}

/* ---- bells ---- */

static void check_bell_refused(int fd)
{
	struct world_parcel parcel = {.fd = fd};
	struct half half;
	const char *why = "";

	REQUIRE(half_open(&half));
	CHECK_INT(offer_conn_accept(half.conn, &parcel, NULL, 0, &why), -EPROTO);
	CHECK_STR(why, "its descriptor is not a SEQPACKET socket");
	CHECK_INT(parcel.fd, -1);
	offer_conn_free(half.conn);
}

TEST_CASE(offer_shm, bells_that_are_none_are_refused)
{
	check_bell_refused(-1);
	check_bell_refused(open("/dev/null", O_RDWR | O_CLOEXEC));
	check_bell_refused(make_memfd(FILE_, SEALS));
	check_bell_refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	check_bell_refused(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	check_bell_refused(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

TEST_CASE(offer_shm, bell_with_bytes_is_refused)
{
	struct world_parcel parcel = {
		.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
	static const uint8_t bytes[1];
	struct half half;
	const char *why = "";

	REQUIRE(half_open(&half));
	CHECK_INT(offer_conn_accept(half.conn, &parcel, bytes, 1, &why), -EPROTO);
	CHECK_STR(why, "it came with bytes that say nothing on one machine");
	CHECK_INT(parcel.fd, -1);
	offer_conn_free(half.conn);
}

/* The end that the peer rings by is nobody else's: it sees ours go. */
TEST_CASE(offer_shm, bell_is_closed_with_its_connection)
{
	struct world_offer offer;
	struct half half;
	int bell;

	REQUIRE(half_open(&half));
	CHECK(offer_conn_is_ready(half.conn));
	CHECK_STR(offer_conn_fabric(half.conn), "shm");
	offer_conn_offer(half.conn, &offer);
	CHECK_INT(offer.length, 0);
	bell = dup(offer.fd);
	CHECK_INT(send(bell, "", 1, MSG_NOSIGNAL), 1);
	offer_conn_beat(half.conn);
	CHECK_U64(offer_conn_pulse(half.conn), 0);
	offer_conn_free(half.conn);
	CHECK_INT(send(bell, "", 1, MSG_NOSIGNAL), -1);
	close(bell);
	offer_conn_free(NULL);
}

/* ---- links ---- */

/* One of the two nodes. */
struct side {
	struct rig_tap tap;
	struct plane *plane;
	unsigned port;
	struct half half;
	struct world_ring *own;	  /* until the link has it */
	struct world_ring *other; /* likewise */
	struct world_link *link;
	struct link_counters ended;
	unsigned num_ended;
};

static void on_link_ended(void *arg, unsigned network, uint16_t peer_id,
			  const struct link_counters *counters)
{
	struct side *side = arg;

	CHECK_INT(network, 0);
	CHECK(peer_id != 0);
	side->ended = *counters;
	side->num_ended++;
}

static bool side_open(struct side *side, uint16_t id)
{
	const struct plane_options options = {0};
	struct plane_port port = {
		.tap = &side->tap.tap,
		.node_id = id,
		.tag = RIG_TAG,
		.mtu = RIG_MTU,
	};
	const char *why;

	memset(side, 0, sizeof(*side));
	if (!rig_tap_open(&side->tap, 1) || plane_new(&options, &side->plane) < 0 ||
	    plane_add_port(side->plane, &port, &side->port) < 0 ||
	    plane_start(side->plane) < 0)
		return false;
	if (!half_open(&side->half))
		return false;
	side->half.offer.plane = side->plane;
	side->half.offer.ports = &side->port;
	side->half.offer.link_ended = on_link_ended;
	side->half.offer.arg = side;
	return new_ring(&side->half, SIZE, &side->own, &why) == 0;
}

static void side_close(struct side *side)
{
	if (side->link)
		offer_link_free(side->link, false);
	offer_ring_free(side->own);
	offer_ring_free(side->other);
	offer_conn_free(side->half.conn);
	plane_free(side->plane);
	rig_tap_close(&side->tap);
}

/* The ring of the one becomes the other's. */
static int hand_ring(struct side *from, struct side *to)
{
	struct world_parcel parcel = {.fd = dup(offered_fd(from->own))};
	const char *why;

	return accept_ring(&to->half, &parcel, SIZE, &to->other, &why);
}

static int side_link(struct side *side, uint16_t peer_id)
{
	const struct world_link_spec spec = {
		.peer_id = peer_id,
		.conn = side->half.conn,
		.rx = side->own,
		.tx = side->other,
		.rx_salt = RIG_SALT,
		.tx_salt = RIG_SALT,
		.offloads = SHMNET_OFFLOADS,
	};
	int ret = offer_link_new(&side->half.offer, &spec, &side->link);

	if (ret == 0)
		side->own = side->other = NULL;
	return ret;
}

/* What rings the one becomes the other's. */
static int hand_bell(struct side *from, struct side *to)
{
	struct world_parcel parcel = {.fd = -1};
	struct world_offer offer;
	const char *why;

	offer_conn_offer(from->half.conn, &offer);
	parcel.fd = dup(offer.fd);
	return offer_conn_accept(to->half.conn, &parcel, NULL, 0, &why);
}

static bool connect_sides(struct side *a, struct side *b)
{
	struct world_parcel from_b = {.fd = -1};
	struct world_offer offer;
	const char *why;

	/* Accepting ends offering, so b's goes out first. */
	offer_conn_offer(b->half.conn, &offer);
	from_b.fd = dup(offer.fd);
	return CHECK_INT(hand_bell(a, b), 0) &&
	       CHECK_INT(offer_conn_accept(a->half.conn, &from_b, NULL, 0, &why), 0) &&
	       CHECK_INT(hand_ring(a, b), 0) && CHECK_INT(hand_ring(b, a), 0) &&
	       CHECK_INT(side_link(a, 2), 0) && CHECK_INT(side_link(b, 1), 0);
}

/* Whatever the words say, all that counts is that they changed. */
TEST_CASE(offer_shm, life_is_seen_by_a_beat_and_by_a_frame_and_its_credit)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct side a, b;
	uint64_t seen_by_a, seen_by_b;
	size_t length;

	REQUIRE(side_open(&a, 1) && side_open(&b, 2) && connect_sides(&a, &b));
	seen_by_a = offer_conn_pulse(a.half.conn);
	seen_by_b = offer_conn_pulse(b.half.conn);
	CHECK_U64(offer_conn_pulse(a.half.conn), seen_by_a);
	offer_conn_beat(b.half.conn);
	CHECK(offer_conn_pulse(a.half.conn) != seen_by_a);
	CHECK_U64(offer_conn_pulse(b.half.conn), seen_by_b);
	seen_by_a = offer_conn_pulse(a.half.conn);
	length = rig_frame(frame, 1, 2, 7, RIG_FRAME_MIN);
	CHECK_INT(send(a.tap.host[0], frame, length, 0), length);
	REQUIRE(wait_readable(b.tap.host[0], 10000));
	CHECK(offer_conn_pulse(b.half.conn) != seen_by_b);
	offer_link_free(b.link, false); /* gives back what it read */
	b.link = NULL;
	CHECK(offer_conn_pulse(a.half.conn) != seen_by_a);
	CHECK_U64(offer_conn_pulse(b.half.conn), 0);
	offer_conn_beat(b.half.conn);
	side_close(&a);
	side_close(&b);
}

TEST_CASE(offer_shm, link_carries_a_frame_and_tells_what_it_counted)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct side a, b;
	size_t length;

	REQUIRE(side_open(&a, 1) && side_open(&b, 2) && connect_sides(&a, &b));
	CHECK(offer_find_link(&a.half.offer, offer_link(a.link)) == a.link);
	CHECK(!offer_find_link(&a.half.offer, offer_link(b.link)));
	CHECK(!offer_find_link(&a.half.offer, NULL));
	length = rig_frame(frame, 1, 2, 7, RIG_FRAME_MIN);
	CHECK_INT(send(a.tap.host[0], frame, length, 0), length);
	memset(frame, 0, sizeof(frame));
	REQUIRE(wait_readable(b.tap.host[0], 10000));
	CHECK_INT(recv(b.tap.host[0], frame, sizeof(frame), 0), length);
	CHECK(rig_frame_is(frame, length, 1, 2, 7));
	side_close(&a);
	side_close(&b);
	CHECK_INT(a.num_ended, 1);
	CHECK_INT(b.num_ended, 1);
	CHECK_INT(a.ended.sent_frames, 1);
	CHECK_INT(b.ended.received_frames, 1);
	CHECK_INT(b.ended.delivered_frames, 1);
}
