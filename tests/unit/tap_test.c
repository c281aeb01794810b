#include "control/kernel.h"
#include "data/tap.h"

#include <shmnet/wire.h>

#include "netns.h"
#include "shim.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define ETHERTYPE 0x88b5 /* for experiments: tells our frames from the host's own */
#define WAIT_MS	  5000

#define ENTER()                                                                          \
	do {                                                                             \
		const char *why_not = netns_enter_for_tap();                             \
                                                                                         \
		if (why_not)                                                             \
			TEST_SKIP(why_not);                                              \
	} while (0)

static struct kernel_link get_link(const char *name)
{
	struct kernel_link link = {0};
	struct kernel *kernel = NULL;

	if (CHECK_INT(kernel_open(NULL, &kernel), 0) &&
	    kernel_get_link(kernel, name, &link) == -ENODEV)
		link.gone = true;
	kernel_close(kernel);
	return link;
}

TEST_CASE(tap, errors_have_words)
{
	CHECK_STR(tap_error_text(TAP_ERROR_NONE), NULL);
	CHECK_STR(tap_error_text(TAP_ERROR_OTHER), NULL);
	CHECK_STR(tap_error_text(TAP_ERROR_NUM_), NULL);
	for (enum tap_error e = TAP_ERROR_NO_DEVICE; e < TAP_ERROR_OTHER; e++)
		CHECK(tap_error_text(e) != NULL);
	CHECK(strstr(tap_error_text(TAP_ERROR_NO_DEVICE), "modprobe tun") != NULL);
	CHECK(strstr(tap_error_text(TAP_ERROR_NO_CAPABILITY), "CAP_NET_ADMIN") != NULL);
}

TEST_CASE(tap, init_close_and_destroy_take_nothing)
{
	struct tap tap;

	tap_init(&tap);
	tap_close(&tap);
	tap_destroy(&tap);
	CHECK_INT(tap.num_queues, 0);
}

TEST_CASE(tap, opens_a_device_that_is_gone_when_closed)
{
	enum tap_error why = TAP_ERROR_NUM_;
	struct kernel_link link;
	struct tap tap;
	int header_size = 0;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 1, TAP_CREATE, &why) == 0);
	CHECK_INT(why, TAP_ERROR_NONE);
	CHECK_STR(tap.name, "tap0");
	CHECK_INT(tap.num_queues, 1);
	CHECK(!tap.steering_refused);
	CHECK_INT(tap.offloads | SHMNET_OFFLOAD_USO, SHMNET_OFFLOADS);
	CHECK_INT(fcntl(tap.queues[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	CHECK_INT(fcntl(tap.queues[0], F_GETFD), FD_CLOEXEC);
	CHECK_INT(ioctl(tap.queues[0], TUNGETVNETHDRSZ, &header_size), 0);
	CHECK_INT(header_size, SHMNET_VNET_HLEN);
	link = get_link("tap0");
	CHECK(link.is_tap);
	CHECK_INT(link.tap_queues, 1);
	CHECK(!link.running);
	tap_close(&tap);
	CHECK(get_link("tap0").gone);
}

static bool has_feature(const char *feature)
{
	char command[64];

	snprintf(command, sizeof(command), "ethtool -k tap0 | grep -q '%s: on'", feature);
	return system(command) == 0;
}

static void check_offloads(struct tap *tap, unsigned offloads)
{
	CHECK_INT(tap_set_offloads(tap, offloads), 0);
	CHECK_INT(tap->offloads, offloads);
	CHECK_INT(has_feature("tx-tcp-segmentation"), !!(offloads & SHMNET_OFFLOAD_TSO4));
	CHECK_INT(has_feature("tx-tcp6-segmentation"),
		  !!(offloads & SHMNET_OFFLOAD_TSO6));
	CHECK_INT(has_feature("tx-udp-segmentation"), !!(offloads & SHMNET_OFFLOAD_USO));
	CHECK(has_feature("tx-checksum-ip-generic"));
}

TEST_CASE(tap, offloads_are_what_was_asked_for)
{
	enum tap_error why;
	struct tap tap;
	unsigned all;

	ENTER();
	if (system("command -v ethtool >/dev/null") != 0)
		TEST_SKIP("ethtool is not installed");
	REQUIRE(tap_open(&tap, "tap0", 1, TAP_CREATE, &why) == 0);
	all = tap.offloads;
	check_offloads(&tap, 0);
	for (unsigned one = 1; one <= all; one <<= 1)
		check_offloads(&tap, one & all);
	check_offloads(&tap, all);
	tap_close(&tap);
}

TEST_CASE(tap, a_persistent_device_is_adopted_and_destroyed)
{
	enum tap_error why;
	struct tap tap;
	int index;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 1, TAP_CREATE, &why) == 0);
	CHECK_INT(tap_persist(&tap), 0);
	CHECK_INT(tap_persist(&tap), 0);
	index = get_link("tap0").index;
	tap_close(&tap);
	CHECK_INT(get_link("tap0").index, index);
	CHECK_INT(get_link("tap0").tap_queues, 0);

	REQUIRE(tap_open(&tap, "tap0", 1, TAP_ADOPT, &why) == 0);
	CHECK_INT(get_link("tap0").index, index);
	CHECK_INT(get_link("tap0").tap_queues, 1);
	tap_destroy(&tap);
	tap_destroy(&tap);
	CHECK(get_link("tap0").gone);
}

TEST_CASE(tap, adopting_nothing_creates)
{
	enum tap_error why;
	struct tap tap;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 1, TAP_ADOPT, &why) == 0);
	CHECK(get_link("tap0").is_tap);
	tap_close(&tap);
}

static int persist_and_die(void *arg)
{
	enum tap_error why;
	struct tap tap;

	(void)arg;
	if (tap_open(&tap, "tap0", 2, TAP_CREATE, &why) < 0 || tap_persist(&tap) < 0)
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

TEST_CASE(tap, what_a_killed_process_leaves_is_adopted_with_any_number_of_queues)
{
	enum tap_error why;
	struct tap tap;

	ENTER();
	CHECK_INT(run_in_child(persist_and_die, NULL), -1);
	for (unsigned n = 1; n <= TAP_QUEUES_MAX; n *= 4) {
		REQUIRE(tap_open(&tap, "tap0", n, TAP_ADOPT, &why) == 0);
		CHECK_INT(tap.num_queues, tap.steering_refused ? 1 : n);
		CHECK_INT(get_link("tap0").tap_queues, tap.num_queues);
		tap_close(&tap);
	}
	CHECK(get_link("tap0").is_tap);
}

/* As a process that has its queues' duplicates from elsewhere. */
static unsigned duplicate_queues(const struct tap *tap, int queues[TAP_QUEUES_MAX])
{
	for (unsigned i = 0; i < tap->num_queues; i++)
		queues[i] = dup(tap->queues[i]);
	return tap->num_queues;
}

TEST_CASE(tap, what_another_life_left_open_has_its_carrier)
{
	int queues[TAP_QUEUES_MAX];
	enum tap_error why;
	struct tap tap, next;
	unsigned num;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 4, TAP_CREATE, &why) == 0);
	CHECK_INT(system("ip link set tap0 up"), 0);
	CHECK_INT(tap_set_carrier(&tap, true), 0);
	num = duplicate_queues(&tap, queues);
	tap_close(&tap);
	CHECK(get_link("tap0").running);
	CHECK_INT(get_link("tap0").tap_queues, num);

	REQUIRE(tap_inherit(&next, "tap0", queues, num, num, &why) == 0);
	CHECK_INT(next.num_queues, num);
	CHECK_INT(next.steering_map >= 0, num > 1);
	CHECK(get_link("tap0").running);
	CHECK_INT(get_link("tap0").tap_queues, num);
	CHECK_INT(tap_persist(&next), 0);
	CHECK_INT(tap_unpersist(&next), 0);
	tap_close(&next);
	CHECK(get_link("tap0").gone);
}

TEST_CASE(tap, inheriting_refuses_what_is_no_queue_of_it)
{
	int queues[TAP_QUEUES_MAX], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	enum tap_error why;
	struct tap tap, next;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 1, TAP_CREATE, &why) == 0);
	duplicate_queues(&tap, queues);
	CHECK_INT(tap_inherit(&next, "tap1", queues, 1, 1, &why), -EINVAL);
	CHECK_INT(why, TAP_ERROR_NOT_A_TAP);
	CHECK_INT(tap_inherit(&next, "tap0", &null, 1, 1, &why), -EINVAL);
	CHECK_INT(tap_inherit(&next, "tap0", queues, 0, 1, &why), -EINVAL);
	CHECK_INT(next.num_queues, 0);
	CHECK_INT(fcntl(queues[0], F_GETFD) >= 0, 1);
	close(queues[0]);
	close(null);
	tap_close(&tap);
}

TEST_CASE(tap, refuses_bad_arguments)
{
	static const char *const names[] = {"",	   "tap%d", "a/b", "a:b",
					    "a b", ".",	    "..",  "sixteen-letters-"};
	enum tap_error why;
	struct tap tap;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CHECK_INT(tap_open(&tap, names[i], 1, TAP_CREATE, &why), -EINVAL);
		CHECK_INT(why, TAP_ERROR_BAD_NAME);
		CHECK_INT(tap.num_queues, 0);
	}
	CHECK_INT(tap_open(&tap, "tap0", 0, TAP_CREATE, &why), -EINVAL);
	CHECK_INT(why, TAP_ERROR_OTHER);
	CHECK_INT(tap_open(&tap, "tap0", TAP_QUEUES_MAX + 1, TAP_CREATE, &why), -EINVAL);
}

TEST_CASE(tap, creating_refuses_a_name_that_is_taken)
{
	enum tap_error why;
	struct tap tap, second;

	ENTER();
	CHECK_INT(tap_open(&second, "lo", 1, TAP_CREATE, &why), -EEXIST);
	CHECK_INT(why, TAP_ERROR_EXISTS);
	REQUIRE(tap_open(&tap, "tap0", 1, TAP_CREATE, &why) == 0);
	CHECK_INT(tap_open(&second, "tap0", 1, TAP_CREATE, &why), -EEXIST);
	CHECK_INT(why, TAP_ERROR_EXISTS);
	CHECK_INT(get_link("tap0").tap_queues, 1);
	tap_close(&tap);
}

/* The tun device of another program; -1 if it can't be had. */
static int open_foreign(const char *name, int flags)
{
	struct ifreq ifr = {.ifr_flags = (short)flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	strncpy(ifr.ifr_name, name, IF_NAMESIZE - 1);
	if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0)
		return fd;
	close(fd);
	return -1;
}

TEST_CASE(tap, adopting_refuses_what_is_no_tap)
{
	enum tap_error why;
	struct tap tap;
	int fd;

	ENTER();
	CHECK_INT(tap_open(&tap, "lo", 1, TAP_ADOPT, &why), -EINVAL);
	CHECK_INT(why, TAP_ERROR_NOT_A_TAP);
	fd = open_foreign("tun0", IFF_TUN | IFF_MULTI_QUEUE);
	CHECK(!get_link("tun0").is_tap);
	CHECK_INT(tap_open(&tap, "tun0", 1, TAP_ADOPT, &why), -EINVAL);
	CHECK_INT(why, TAP_ERROR_NOT_A_TAP);
	close(fd);
}

TEST_CASE(tap, a_single_queue_tap_is_held_or_adopted_with_one_queue)
{
	enum tap_error why;
	struct tap tap;
	int fd;

	ENTER();
	fd = open_foreign("tap0", IFF_TAP | IFF_NO_PI);
	CHECK_INT(ioctl(fd, TUNSETPERSIST, 1), 0);
	CHECK_INT(tap_open(&tap, "tap0", 4, TAP_ADOPT, &why), -EBUSY);
	CHECK_INT(why, TAP_ERROR_HELD);
	close(fd);
	REQUIRE(tap_open(&tap, "tap0", 4, TAP_ADOPT, &why) == 0);
	CHECK_INT(tap.num_queues, 1);
	CHECK(tap.steering_refused);
	CHECK_INT(tap.steering_errno, EINVAL);
	CHECK_INT(tap_steer(&tap, 7, 0), 0);
	CHECK_INT(tap_steer(&tap, 7, 1), -EINVAL);
	CHECK_INT(tap_unsteer(&tap, 7), 0);
	tap_destroy(&tap);
	CHECK(get_link("tap0").gone);
}

TEST_CASE(tap, a_second_holder_of_a_multi_queue_tap_is_seen)
{
	enum tap_error why;
	struct tap tap;
	int fd;

	ENTER();
	fd = open_foreign("tap0", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE);
	CHECK_INT(get_link("tap0").tap_queues, 1);
	/* The kernel lets us in: only the count tells. */
	REQUIRE(tap_open(&tap, "tap0", 1, TAP_ADOPT, &why) == 0);
	CHECK_INT(get_link("tap0").tap_queues, 2);
	tap_close(&tap);
	close(fd);
}

TEST_CASE(tap, carrier_follows)
{
	enum tap_error why;
	struct tap tap;
	struct kernel_link link;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 1, TAP_CREATE, &why) == 0);
	CHECK_INT(change_interface("tap0", SIOCSIFFLAGS,
				   &(struct ifreq){.ifr_flags = IFF_UP}),
		  0);
	for (int on = 1; on >= 0; on--) {
		struct kernel *kernel = NULL;

		REQUIRE(kernel_open(NULL, &kernel) == 0);
		CHECK_INT(tap_set_carrier(&tap, on), 0);
		do {
			memset(&link, 0, sizeof(link));
			CHECK_INT(kernel_get_link(kernel, "tap0", &link), 0);
		} while (link.running != on &&
			 CHECK(wait_readable(kernel_watch_fd(kernel), WAIT_MS)));
		CHECK_INT(link.running, on);
		kernel_close(kernel);
	}
	tap_close(&tap);
}

/* --- steering, with real frames --- */

static void make_frame(uint8_t frame[60], const uint8_t destination[6], uint8_t label)
{
	static const uint8_t source[6] = {2, 0, 0, 0, 0, 9};

	memset(frame, 0, 60);
	memcpy(frame, destination, 6);
	memcpy(frame + 6, source, 6);
	frame[12] = ETHERTYPE >> 8;
	frame[13] = ETHERTYPE & 0xff;
	frame[14] = label;
}

/* The label of our next frame in the queue, passing over the host's own; or -1. */
static int read_label(int fd)
{
	uint8_t buffer[SHMNET_VNET_HLEN + 2048];
	const uint8_t *frame = buffer + SHMNET_VNET_HLEN;
	ssize_t size;

	while ((size = read(fd, buffer, sizeof(buffer))) > 0) {
		if (size >= SHMNET_VNET_HLEN + 60 && frame[12] == ETHERTYPE >> 8 &&
		    frame[13] == (ETHERTYPE & 0xff))
			return frame[14];
	}
	return -1;
}

/* The queue that the labelled frame came out of; -1 after a while. */
static int find_queue(const struct tap *tap, uint8_t label)
{
	struct pollfd fds[TAP_QUEUES_MAX];

	for (unsigned i = 0; i < tap->num_queues; i++)
		fds[i] = (struct pollfd){.fd = tap->queues[i], .events = POLLIN};
	while (poll(fds, tap->num_queues, WAIT_MS) > 0) {
		for (unsigned i = 0; i < tap->num_queues; i++) {
			if (fds[i].revents && read_label(fds[i].fd) == label)
				return (int)i;
		}
	}
	return -1;
}

struct sender {
	int fd;
	struct sockaddr_ll to;
	uint8_t label;
};

static bool open_sender(struct sender *sender, const struct tap *tap)
{
	memset(sender, 0, sizeof(*sender));
	sender->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	sender->to.sll_family = AF_PACKET;
	sender->to.sll_ifindex = (int)if_nametoindex(tap->name);
	return sender->fd >= 0;
}

static int send_and_find(struct sender *sender, const struct tap *tap,
			 const uint8_t destination[6])
{
	uint8_t frame[60];

	make_frame(frame, destination, ++sender->label);
	if (sendto(sender->fd, frame, sizeof(frame), 0, (struct sockaddr *)&sender->to,
		   sizeof(sender->to)) != sizeof(frame))
		return -errno;
	return find_queue(tap, sender->label);
}

static int queue_of_node(struct sender *sender, const struct tap *tap, uint16_t node_id)
{
	uint8_t mac[6];

	shmnet_mac_make(mac, 0x1234, node_id);
	return send_and_find(sender, tap, mac);
}

/* Up, with carrier, and sending: what is sent before that is dropped. */
static void start_tap(struct tap *tap)
{
	struct kernel_link link = {0};
	struct kernel *kernel = NULL;

	REQUIRE(kernel_open(NULL, &kernel) == 0);
	CHECK_INT(tap_set_carrier(tap, true), 0);
	CHECK_INT(kernel_get_link(kernel, tap->name, &link), 0);
	CHECK_INT(kernel_set_up(kernel, link.index, true), 0);
	while (kernel_get_link(kernel, tap->name, &link) == 0 && !link.running)
		CHECK(wait_readable(kernel_watch_fd(kernel), WAIT_MS));
	kernel_close(kernel);
}

#define REQUIRE_STEERING(tap)                                                            \
	do {                                                                             \
		if ((tap)->steering_refused) {                                           \
			tap_close(tap);                                                  \
			TEST_SKIP("BPF is refused: CAP_BPF is missing");                 \
		}                                                                        \
	} while (0)

TEST_CASE(tap, frames_come_out_of_the_queue_of_their_destination)
{
	static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
	static const uint8_t multicast[6] = {0x33, 0x33, 0, 0, 0, 2};
	enum tap_error why;
	struct sender sender;
	struct tap tap;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 4, TAP_CREATE, &why) == 0);
	REQUIRE_STEERING(&tap);
	CHECK_INT(tap.num_queues, 4);
	CHECK_INT(get_link("tap0").tap_queues, 4);
	start_tap(&tap);
	REQUIRE(open_sender(&sender, &tap));

	CHECK_INT(queue_of_node(&sender, &tap, 2), 0);
	CHECK_INT(tap_steer(&tap, 1, 1), 0);
	CHECK_INT(tap_steer(&tap, 2, 2), 0);
	CHECK_INT(tap_steer(&tap, 0x0203, 3), 0);
	CHECK_INT(tap_steer(&tap, 0xfffe, 1), 0);
	CHECK_INT(queue_of_node(&sender, &tap, 1), 1);
	CHECK_INT(queue_of_node(&sender, &tap, 2), 2);
	CHECK_INT(queue_of_node(&sender, &tap, 0x0203), 3);
	CHECK_INT(queue_of_node(&sender, &tap, 0xfffe), 1);
	CHECK_INT(queue_of_node(&sender, &tap, 0x0302), 0);

	/* A cast is no node's, whatever its last bytes say. */
	CHECK_INT(send_and_find(&sender, &tap, multicast), 0);
	CHECK_INT(send_and_find(&sender, &tap, broadcast), 0);

	CHECK_INT(tap_steer(&tap, 2, 3), 0);
	CHECK_INT(queue_of_node(&sender, &tap, 2), 3);
	CHECK_INT(tap_unsteer(&tap, 2), 0);
	CHECK_INT(tap_unsteer(&tap, 2), 0);
	CHECK_INT(queue_of_node(&sender, &tap, 2), 0);
	CHECK_INT(tap_steer(&tap, 2, 4), -EINVAL);
	close(sender.fd);
	tap_close(&tap);
}

TEST_CASE(tap, an_adopted_tap_forgets_how_it_was_steered)
{
	enum tap_error why;
	struct sender sender;
	struct tap tap;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 3, TAP_CREATE, &why) == 0);
	REQUIRE_STEERING(&tap);
	CHECK_INT(tap_persist(&tap), 0);
	CHECK_INT(tap_steer(&tap, 5, 2), 0);
	tap_close(&tap);
	REQUIRE(tap_open(&tap, "tap0", 2, TAP_ADOPT, &why) == 0);
	start_tap(&tap);
	REQUIRE(open_sender(&sender, &tap));
	CHECK_INT(queue_of_node(&sender, &tap, 5), 0);
	CHECK_INT(tap_steer(&tap, 5, 1), 0);
	CHECK_INT(queue_of_node(&sender, &tap, 5), 1);
	close(sender.fd);
	tap_close(&tap);
}

TEST_CASE(tap, the_steering_map_has_an_end)
{
	enum tap_error why;
	struct tap tap;
	int error = 0;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 2, TAP_CREATE, &why) == 0);
	REQUIRE_STEERING(&tap);
	for (unsigned id = 1; !error && id <= TAP_STEERED_MAX; id++)
		error = tap_steer(&tap, (uint16_t)id, 1);
	CHECK_INT(error, 0);
	CHECK_INT(tap_steer(&tap, 0xfff0, 1), -E2BIG);
	CHECK_INT(tap_steer(&tap, 1, 0), 0);
	tap_close(&tap);
}

static int use_without_capabilities(void *arg)
{
	struct tap *tap = arg;
	int carrier, steer;

	if (!drop_capabilities())
		return 1;
	carrier = tap_set_carrier(tap, true);
	steer = tap_steer(tap, 3, 1);
	tap_destroy(tap);
	return (carrier ? 2 : 0) + (steer ? 4 : 0);
}

TEST_CASE(tap, an_open_tap_needs_no_capability)
{
	enum tap_error why;
	struct tap tap;

	ENTER();
	REQUIRE(tap_open(&tap, "tap0", 2, TAP_CREATE, &why) == 0);
	REQUIRE_STEERING(&tap);
	CHECK_INT(tap_persist(&tap), 0);
	CHECK_INT(run_in_child(use_without_capabilities, &tap), 0);
	tap_close(&tap);
	CHECK(get_link("tap0").gone);
}

/* --- refusals; each in a child that gives something up --- */

struct refusal {
	bool (*give_up)(void);
	int expected;
	enum tap_error why;
};

static int open_refused(void *arg)
{
	const struct refusal *refusal = arg;
	enum tap_error why;
	struct tap tap;

	if (!refusal->give_up())
		return 77;
	if (tap_open(&tap, "tap0", 2, TAP_CREATE, &why) != refusal->expected)
		return 1;
	return why == refusal->why && tap.num_queues == 0 ? 0 : 2;
}

/* Whatever /dev/net holds, it is covered. */
static bool hide_device(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", "/dev/net", "tmpfs", 0, NULL) == 0;
}

static bool hide_behind_a_file(void)
{
	int fd;

	if (!hide_device())
		return false;
	fd = open("/dev/net/tun", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	return fd >= 0 && close(fd) == 0;
}

/* A node without a driver behind it. */
static bool hide_behind_a_dead_node(void)
{
	return hide_device() &&
	       mknod("/dev/net/tun", S_IFCHR | 0600, 0x0a << 8 | 0xc7) == 0;
}

static bool become_nobody(void)
{
	return hide_behind_a_file() && setgid(65534) == 0 && setuid(65534) == 0;
}

static void check_refusal(bool (*give_up)(void), int expected, enum tap_error why)
{
	struct refusal refusal = {give_up, expected, why};
	int rc;

	ENTER();
	rc = run_in_child(open_refused, &refusal);
	if (rc == 77)
		TEST_SKIP("the process may not give up what the test takes from it");
	CHECK_INT(rc, 0);
}

TEST_CASE(tap, says_that_there_is_no_device)
{
	check_refusal(hide_device, -ENOENT, TAP_ERROR_NO_DEVICE);
}

TEST_CASE(tap, says_that_there_is_no_driver)
{
	check_refusal(hide_behind_a_dead_node, -ENOENT, TAP_ERROR_NO_DEVICE);
}

TEST_CASE(tap, says_that_the_device_is_something_else)
{
	check_refusal(hide_behind_a_file, -EOPNOTSUPP, TAP_ERROR_UNSUPPORTED);
}

TEST_CASE(tap, says_that_the_device_may_not_be_opened)
{
	check_refusal(become_nobody, -EACCES, TAP_ERROR_NO_ACCESS);
}

TEST_CASE(tap, says_that_a_capability_is_missing)
{
	check_refusal(drop_capabilities, -EPERM, TAP_ERROR_NO_CAPABILITY);
}

/* 0 if a TAP in a user namespace has one queue and lets frames through. */
static int open_in_user_namespace(void *arg)
{
	enum tap_error why;
	struct sender sender;
	struct tap tap;

	(void)arg;
	if (!netns_enter_user())
		return 77;
	if (tap_open(&tap, "tap0", 4, TAP_CREATE, &why) < 0)
		return 1;
	if (!tap.steering_refused)
		return 77;
	if (tap.num_queues != 1 || tap.steering_errno != EPERM || tap.steering_map != -1)
		return 2;
	start_tap(&tap);
	if (!open_sender(&sender, &tap) || queue_of_node(&sender, &tap, 3) != 0)
		return 3;
	if (tap_steer(&tap, 3, 0) || tap_unsteer(&tap, 3))
		return 4;
	tap_close(&tap);
	return tap_open(&tap, "tap0", 1, TAP_CREATE, &why) ? 5 : 0;
}

TEST_CASE(tap, a_user_namespace_gets_one_queue)
{
	int rc;

	ENTER();
	rc = run_in_child(open_in_user_namespace, NULL);
	if (rc == 77)
		TEST_SKIP("no user namespace, or one that may load BPF");
	CHECK_INT(rc, 0);
}
