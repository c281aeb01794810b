/*
 * The bells of a pair: what the peer may do with its ends of them, and what happens
 * if one can't be rung. Links with -Wl,--wrap=send.
 */
#include "data/fabric.h"

#include "rig.h"
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define PAGE 4096

/* ---- send(2) that fails on command ---- */

ssize_t __real_send(int fd, const void *bytes, size_t length, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags);

static int send_error; /* 0: as it is */

ssize_t __wrap_send(int fd, const void *bytes, size_t length, int flags)
{
	if (send_error) {
		errno = send_error;
		return -1;
	}
	return __real_send(fd, bytes, length, flags);
}

/* ---- our side, and what the peer has ---- */

struct pair {
	struct fabric *fabric;
	int peer_hears;		       /* of the bell that the peer made */
	int peer_sends;		       /* its copy of what it gave us of that */
	int peer_rings;		       /* what we gave it of ours */
	struct ring_map out[2], in[2]; /* a ring each way: the peer's map, then ours */
	struct shmnet_ring_tx tx;
	struct shmnet_ring_rx rx;
};

static bool pair_open(struct pair *pair)
{
	int receive_fd, send_fd;

	if (fabric_shm_bell(&receive_fd, &pair->peer_rings) < 0 ||
	    fabric_shm_bell(&pair->peer_hears, &send_fd) < 0 ||
	    !rig_ring_open(RIG_RING_SIZE, &pair->out[0], &pair->out[1]) ||
	    !rig_ring_open(RIG_RING_SIZE, &pair->in[0], &pair->in[1]))
		return false;
	pair->peer_sends = dup(send_fd);
	shmnet_ring_tx_init(&pair->tx, pair->out[1].words, pair->out[1].data,
			    RIG_RING_SIZE, RIG_SALT);
	shmnet_ring_rx_init(&pair->rx, pair->in[1].words, pair->in[1].data, RIG_RING_SIZE,
			    RIG_SALT);
	send_error = 0;
	return fabric_shm_new(receive_fd, send_fd, &pair->fabric) == 0;
}

static void pair_close(struct pair *pair)
{
	fabric_close(pair->fabric);
	close(pair->peer_hears);
	close(pair->peer_sends);
	close(pair->peer_rings);
	for (unsigned i = 0; i < 2; i++) {
		ring_map_close(&pair->out[i]);
		ring_map_close(&pair->in[i]);
	}
}

/* As for a new sleep of the peer's. */
static int publish_to_sleeper(struct pair *pair)
{
	pair->out[0].words->asleep++;
	return pair->fabric->ops->publish(pair->fabric, &pair->tx);
}

static unsigned count_bells(const struct pair *pair)
{
	unsigned count = 0;
	uint8_t byte;

	while (recv(pair->peer_hears, &byte, sizeof(byte), MSG_DONTWAIT) > 0)
		count++;
	return count;
}

/* ---- ringing ---- */

TEST_CASE(fabric_shm, sleeper_is_rung_once_per_sleep)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(pair.fabric->ops->publish(pair.fabric, &pair.tx), 0);
	CHECK_INT(count_bells(&pair), 0);
	CHECK_INT(publish_to_sleeper(&pair), 0);
	CHECK_INT(pair.fabric->ops->publish(pair.fabric, &pair.tx), 0);
	CHECK_INT(count_bells(&pair), 1);
	CHECK_U64(pair.fabric->bells_rung, 1);
	pair_close(&pair);
}

TEST_CASE(fabric_shm, bell_that_can_not_be_rung_is_owed)
{
	static const int errors[] = {ENOBUFS, ENOMEM};
	struct pair pair;

	for (unsigned i = 0; i < 2; i++) {
		REQUIRE(pair_open(&pair));
		send_error = errors[i];
		CHECK_INT(publish_to_sleeper(&pair), 0);
		CHECK_U64(pair.fabric->bells_rung, 0);
		/* Who sleeps with a debt would leave the peer asleep. */
		CHECK_INT(pair.fabric->ops->arm(pair.fabric, &pair.rx, 1), 1);
		CHECK_U64(pair.in[0].words->asleep, 0);
		send_error = 0;
		CHECK_INT(pair.fabric->ops->arm(pair.fabric, &pair.rx, 2), 0);
		CHECK_INT(count_bells(&pair), 1);
		CHECK_INT(pair.fabric->ops->arm(pair.fabric, &pair.rx, 3), 0);
		CHECK_INT(count_bells(&pair), 0);
		CHECK_U64(pair.fabric->bells_rung, 1);
		pair_close(&pair);
	}
}

TEST_CASE(fabric_shm, bell_that_is_owed_is_rung_with_the_next_one)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	send_error = ENOBUFS;
	CHECK_INT(publish_to_sleeper(&pair), 0);
	send_error = 0;
	CHECK_INT(pair.fabric->ops->publish(pair.fabric, &pair.tx), 0);
	CHECK_INT(count_bells(&pair), 1);
	send_error = ENOBUFS;
	CHECK_INT(publish_to_sleeper(&pair), 0);
	send_error = 0;
	CHECK_INT(pair.fabric->ops->credit(pair.fabric, &pair.rx), 0);
	CHECK_INT(count_bells(&pair), 1);
	pair_close(&pair);
}

TEST_CASE(fabric_shm, other_errors_are_the_end_but_for_full_and_gone)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	send_error = EPERM;
	CHECK_INT(publish_to_sleeper(&pair), -EPERM);
	send_error = 0;
	/* Nobody takes them, and there are many more than it holds. */
	for (unsigned i = 0; i < 5000; i++)
		CHECK_INT(publish_to_sleeper(&pair), 0);
	CHECK(count_bells(&pair) < 5000);
	shutdown(pair.peer_hears, SHUT_RD);
	CHECK_INT(publish_to_sleeper(&pair), 0);
	pair_close(&pair);
}

/* ---- being rung ---- */

static bool drain(struct pair *pair)
{
	return pair->fabric->ops->drain(pair->fabric);
}

TEST_CASE(fabric_shm, bell_is_heard_until_its_end)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK(drain(&pair)); /* for no reason */
	CHECK_INT(send(pair.peer_rings, "x", 1, MSG_DONTWAIT), 1);
	CHECK_INT(send(pair.peer_rings, "yes", 3, MSG_DONTWAIT), 3);
	CHECK(drain(&pair));
	CHECK(drain(&pair));
	CHECK(drain(&pair));
	CHECK_INT(shutdown(pair.peer_rings, SHUT_WR), 0);
	CHECK(!drain(&pair));
	pair_close(&pair);
	REQUIRE(pair_open(&pair));
	CHECK_INT(send(pair.peer_rings, "", 0, MSG_DONTWAIT), 0);
	CHECK(!drain(&pair));
	pair_close(&pair);
}

/* It has an end of ours to send through, and nothing ever comes out of that one. */
/* Whoever reads the rings sets the count back when there was something. */
TEST_CASE(fabric_shm, bell_that_rings_for_nothing_breaks_the_rules)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	for (unsigned i = 0; i < FABRIC_IDLE_BELLS_MAX; i++) {
		CHECK_INT(send(pair.peer_rings, "x", 1, MSG_DONTWAIT), 1);
		CHECK(pair.fabric->ops->drain(pair.fabric));
	}
	CHECK_INT(pair.fabric->ops->poll(pair.fabric, &pair.rx, &pair.tx), 0);
	CHECK_STR(fabric_why(pair.fabric), "");
	CHECK_INT(send(pair.peer_rings, "x", 1, MSG_DONTWAIT), 1);
	CHECK(!pair.fabric->ops->drain(pair.fabric));
	CHECK_INT(pair.fabric->ops->poll(pair.fabric, &pair.rx, &pair.tx), -EPROTO);
	CHECK_STR(fabric_why(pair.fabric), "its doorbell rings for nothing");
	pair_close(&pair);
}

TEST_CASE(fabric_shm, peer_has_nothing_to_receive_from)
{
	struct pair pair;
	uint8_t byte;

	REQUIRE(pair_open(&pair));
	CHECK_INT(send(pair.peer_rings, "x", 1, MSG_DONTWAIT), 1);
	CHECK_INT(recv(pair.peer_rings, &byte, 1, MSG_DONTWAIT), 0);
	CHECK_INT(send(pair.fabric->wait_fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
	CHECK_INT(errno, EPIPE);
	CHECK(drain(&pair));
	pair_close(&pair);
}

/* Closing one may take as long as its sender likes. */
TEST_CASE(fabric_shm, bell_takes_no_files)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec iov = {(char[]){"x"}, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	socklen_t length = sizeof(int);
	struct pair pair;
	int value;

	REQUIRE(pair_open(&pair));
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &(int){STDIN_FILENO}, sizeof(int));
	if (getsockopt(pair.fabric->wait_fd, SOL_SOCKET, SO_PASSRIGHTS, &value, &length) <
	    0) {
		pair_close(&pair);
		TEST_SKIP("this kernel has no SO_PASSRIGHTS (Linux 6.16)");
	}
	CHECK_INT(sendmsg(pair.peer_rings, &message, MSG_DONTWAIT), -1);
	CHECK_INT(errno, EPERM);
	pair_close(&pair);
}

/* ---- a peer that receives, and stops in the middle of it ---- */

struct stopped {
	int fd;
	int uffd;
	void *page; /* never there, so that who stores into it sleeps */
	pthread_t thread;
};

static void *stopped_main(void *arg)
{
	const struct stopped *stopped = arg;

	/* Not recv(): the sanitizers' is careful with what it is given. */
	syscall(SYS_recvfrom, stopped->fd, stopped->page, 1, 0, NULL, NULL);
	return NULL;
}

/* False if there is no userfaultfd for us. */
static bool stopped_open(struct stopped *stopped)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register area = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	stopped->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (stopped->uffd < 0)
		return false;
	stopped->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area.range.start = (uintptr_t)stopped->page;
	area.range.len = PAGE;
	return CHECK(stopped->page != MAP_FAILED) &&
	       CHECK_INT(ioctl(stopped->uffd, UFFDIO_API, &api), 0) &&
	       CHECK_INT(ioctl(stopped->uffd, UFFDIO_REGISTER, &area), 0);
}

/* There is a message at `fd`; returns in the middle of its receiver's copying. */
static void stopped_receive(struct stopped *stopped, int fd)
{
	struct uffd_msg fault;

	stopped->fd = fd;
	CHECK_INT(pthread_create(&stopped->thread, NULL, stopped_main, stopped), 0);
	CHECK_INT(read(stopped->uffd, &fault, sizeof(fault)), sizeof(fault));
}

static void stopped_close(struct stopped *stopped)
{
	struct uffdio_zeropage zero = {
		.range = {.start = (uintptr_t)stopped->page, .len = PAGE},
	};

	CHECK_INT(ioctl(stopped->uffd, UFFDIO_ZEROPAGE, &zero), 0);
	pthread_join(stopped->thread, NULL);
	close(stopped->uffd);
	munmap(stopped->page, PAGE);
}

/* If anything here waited, it would be for ever. */
TEST_CASE(fabric_shm, peer_that_stops_in_its_recv_holds_up_nobody)
{
	struct stopped stopped;
	struct pair pair;

	if (!stopped_open(&stopped))
		TEST_SKIP("no userfaultfd for this user");
	REQUIRE(pair_open(&pair));
	CHECK_INT(publish_to_sleeper(&pair), 0);
	stopped_receive(&stopped, pair.peer_hears);
	for (unsigned i = 0; i < 1000; i++)
		CHECK_INT(publish_to_sleeper(&pair), 0);
	CHECK_INT(send(pair.peer_rings, "x", 1, MSG_DONTWAIT), 1);
	CHECK(drain(&pair));
	CHECK(drain(&pair));
	stopped_close(&stopped);
	pair_close(&pair);
}
