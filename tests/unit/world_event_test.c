/*
 * The daemon's world with real sockets: two worlds in one process, and a raw socket
 * for what a world would never send.
 */
#include "control/world_event.h"
#include "data/plane.h"

#include "loop.h"
#include "rig.h"
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LOG_MAX 8

/* A channel's owner, and what it heard. */
struct ear {
	struct world *world;
	struct world_channel *channel;
	unsigned messages;
	size_t lengths[LOG_MAX];
	uint8_t first[LOG_MAX]; /* byte of each message */
	unsigned surplus;	/* of the last message */
	int fd;			/* that came with a message, -1 if none */
	unsigned closed;
	int error;
	bool close_on_message;
	bool close_on_closed;
};

struct side {
	struct plane *plane;
	struct world *world;
	unsigned ports[1];
	unsigned appeared; /* times the other one did */
	unsigned disappeared;
	struct ear ear; /* of the channel that was accepted */
	/* With a link. */
	struct rig_tap tap;
	struct world_conn *conn;
	struct world_ring *rx, *tx;
	struct world_link *link;
	uint32_t heard; /* messages through it */
};

struct rig {
	struct loop loop;
	char error[WORLD_EVENT_ERROR_MAX];
	struct side a; /* node 1 */
	struct side b; /* node 2 */
};

/* ---- a channel ---- */

static void ear_close(struct ear *ear)
{
	if (ear->channel)
		ear->world->ops->channel_close(ear->channel);
	ear->channel = NULL;
}

static void on_message(void *arg, const uint8_t *bytes, size_t length,
		       struct world_parcel *parcel)
{
	struct ear *ear = arg;

	if (ear->messages < LOG_MAX) {
		ear->lengths[ear->messages] = length;
		ear->first[ear->messages] = bytes[0];
	}
	ear->messages++;
	ear->surplus = parcel->surplus;
	if (parcel->fd >= 0 && ear->fd < 0) {
		ear->fd = parcel->fd;
		parcel->fd = -1;
	}
	if (ear->close_on_message)
		ear_close(ear);
}

static void on_closed(void *arg, int error)
{
	struct ear *ear = arg;

	ear->closed++;
	ear->error = error;
	if (ear->close_on_closed)
		ear_close(ear);
}

static const struct world_channel_handler ear_handler = {
	.message = on_message,
	.closed = on_closed,
};

static void ear_attach(struct ear *ear, struct world *world,
		       struct world_channel *channel)
{
	ear->world = world;
	ear->channel = channel;
	ear->fd = -1;
	world->ops->channel_set_handler(channel, &ear_handler, ear);
}

static void ear_free(struct ear *ear)
{
	if (!ear->world)
		return;
	ear_close(ear);
	if (ear->fd >= 0)
		close(ear->fd);
}

static int ear_send(struct ear *ear, uint8_t first, size_t length, int fd)
{
	static uint8_t bytes[WORLD_MESSAGE_MAX + 1];

	bytes[0] = first;
	return ear->world->ops->channel_send(ear->channel, bytes, length, fd);
}

/* ---- a world ---- */

static void on_accepted(void *arg, struct world_channel *channel)
{
	struct side *side = arg;

	if (side->ear.channel)
		side->world->ops->channel_close(channel);
	else
		ear_attach(&side->ear, side->world, channel);
}

static void on_appeared(void *arg, uint16_t node_id)
{
	(void)node_id;
	((struct side *)arg)->appeared++;
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	(void)node_id;
	((struct side *)arg)->disappeared++;
}

static void on_link_message(void *arg, struct world_link *link, const uint8_t *bytes,
			    size_t length)
{
	struct side *side = arg;
	uint32_t number;

	CHECK(link == side->link);
	if (CHECK_INT(length, sizeof(number))) {
		memcpy(&number, bytes, sizeof(number));
		CHECK_INT(number, side->heard++);
	}
}

static const struct world_handler side_handler = {
	.link_message = on_link_message,
	.accepted = on_accepted,
	.appeared = on_appeared,
	.disappeared = on_disappeared,
};

static bool side_open(struct rig *rig, struct side *side, uint16_t id)
{
	const struct plane_options plane_options = {0};
	const struct config_fabric shm = {.path = rig->loop.dir};
	struct world_event_options options = {
		.shm = &shm,
		.node_id = id,
		.ports = side->ports,
		.arg = side,
	};

	if (plane_new(&plane_options, &side->plane) < 0)
		return false;
	options.plane = side->plane;
	if (world_event_new(rig->loop.base, &options, &side->world, rig->error,
			    sizeof(rig->error)) < 0)
		return false;
	side->world->handler = &side_handler;
	side->world->handler_arg = side;
	return world_event_start(side->world, rig->error, sizeof(rig->error)) == 0;
}

static void side_close(struct side *side)
{
	ear_free(&side->ear);
	world_event_free(side->world);
	plane_free(side->plane);
	if (side->tap.tap.num_queues) /* after the plane, which watches it */
		rig_tap_close(&side->tap);
	memset(side, 0, sizeof(*side));
}

static bool rig_open(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	return loop_open(&rig->loop) && side_open(rig, &rig->a, 1) &&
	       side_open(rig, &rig->b, 2);
}

static void rig_close(struct rig *rig)
{
	side_close(&rig->a);
	side_close(&rig->b);
	loop_close(&rig->loop);
}

/* Node 1 dials node 2, which accepts. */
static bool rig_connect(struct rig *rig, struct ear *caller)
{
	struct world_channel *channel;

	memset(caller, 0, sizeof(*caller));
	if (!CHECK_INT(rig->a.world->ops->dial(rig->a.world, 2, &channel), 0))
		return false;
	ear_attach(caller, rig->a.world, channel);
	LOOP_WAIT(&rig->loop, rig->b.ear.channel);
	return rig->b.ear.channel != NULL;
}

/* Somebody who is no node: a plain socket to node 2. */
static int rig_intrude(struct rig *rig)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/node-2.sock",
		 rig->loop.dir);
	CHECK_INT(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	LOOP_WAIT(&rig->loop, rig->b.ear.channel);
	return fd;
}

/* `count` times the same descriptor with one message. */
static void send_descriptors(int to, int fd, unsigned count)
{
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(253 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(char[]){"x"}, 1};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
	for (unsigned i = 0; i < count; i++)
		memcpy(CMSG_DATA(&control.header) + i * sizeof(fd), &fd, sizeof(fd));
	CHECK_INT(sendmsg(to, &message, 0), 1);
}

/* ---- who is there ---- */

TEST_CASE(world_event, worlds_see_each_other)
{
	struct rig rig;

	REQUIRE(rig_open(&rig));
	LOOP_WAIT(&rig.loop, rig.a.appeared == 1 && rig.b.appeared == 1);
	side_close(&rig.b);
	LOOP_WAIT(&rig.loop, rig.a.disappeared == 1);
	rig_close(&rig);
}

TEST_CASE(world_event, dialling_nobody)
{
	struct world_channel *channel;
	char path[64];
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK_INT(rig.a.world->ops->dial(rig.a.world, 3, &channel), -ENOENT);
	snprintf(path, sizeof(path), "%s/node-3.sock", rig.loop.dir);
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	CHECK_INT(rig.a.world->ops->dial(rig.a.world, 3, &channel), -ECONNREFUSED);
	CHECK_INT(unlink(path), 0);
	rig_close(&rig);
}

TEST_CASE(world_event, second_world_of_an_id_is_refused)
{
	struct side again = {0};
	struct rig rig;

	REQUIRE(rig_open(&rig));
	CHECK(!side_open(&rig, &again, 1));
	check_words(rig.error, "node 1 is running already");
	side_close(&again);
	rig_close(&rig);
}

TEST_CASE(world_event, credentials_are_the_kernel_s)
{
	struct world_credentials credentials = {0};
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	rig.b.world->ops->channel_credentials(rig.b.ear.channel, &credentials);
	CHECK_INT(credentials.pid, getpid());
	CHECK_INT(credentials.uid, geteuid());
	CHECK_INT(credentials.gid, getegid());
	rig.a.world->ops->channel_credentials(caller.channel, &credentials);
	CHECK_INT(credentials.pid, getpid());
	ear_free(&caller);
	rig_close(&rig);
}

/* ---- messages ---- */

TEST_CASE(world_event, messages_come_in_order_and_whole)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK_INT(ear_send(&caller, 'a', 1, -1), 0);
	CHECK_INT(ear_send(&caller, 'b', WORLD_MESSAGE_MAX, -1), 0);
	CHECK_INT(ear_send(&caller, 'c', 100, -1), 0);
	LOOP_WAIT(&rig.loop, rig.b.ear.messages == 3);
	CHECK_INT(rig.b.ear.lengths[0], 1);
	CHECK_INT(rig.b.ear.lengths[1], WORLD_MESSAGE_MAX);
	CHECK_INT(rig.b.ear.lengths[2], 100);
	CHECK_MEM(rig.b.ear.first, "abc", 3);
	CHECK_INT(ear_send(&rig.b.ear, 'd', 5, -1), 0);
	LOOP_WAIT(&rig.loop, caller.messages == 1);
	CHECK_INT(caller.first[0], 'd');
	CHECK_INT(rig.b.ear.closed + caller.closed, 0);
	ear_free(&caller);
	rig_close(&rig);
}

/* So many of one channel, and then others have their turn. */
TEST_CASE(world_event, what_has_come_is_read_in_one_turn)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	for (unsigned i = 0; i < 40; i++)
		CHECK_INT(ear_send(&caller, 'a', 10, -1), 0);
	event_base_loop(rig.loop.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	CHECK_INT(rig.b.ear.messages, 32);
	event_base_loop(rig.loop.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	CHECK_INT(rig.b.ear.messages, 40);
	ear_free(&caller);
	rig_close(&rig);
}

TEST_CASE(world_event, descriptor_comes_with_its_message)
{
	struct ear caller;
	struct rig rig;
	int ends[2];
	char byte;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
	CHECK_INT(ear_send(&caller, 'a', 1, -1), 0);
	CHECK_INT(ear_send(&caller, 'b', 1, ends[1]), 0);
	close(ends[1]);
	LOOP_WAIT(&rig.loop, rig.b.ear.messages == 2);
	REQUIRE(rig.b.ear.fd >= 0);
	CHECK_INT(rig.b.ear.surplus, 0);
	CHECK_INT(fcntl(rig.b.ear.fd, F_GETFD), FD_CLOEXEC);
	CHECK_INT(write(rig.b.ear.fd, "!", 1), 1);
	CHECK_INT(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	ear_free(&caller);
	rig_close(&rig);
}

TEST_CASE(world_event, descriptor_that_nobody_takes_is_closed)
{
	struct ear caller;
	struct rig rig;
	int ends[2];

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
	rig.b.ear.fd = 1 << 20; /* it has one, so to say */
	CHECK_INT(ear_send(&caller, 'a', 1, ends[1]), 0);
	close(ends[1]);
	LOOP_WAIT(&rig.loop, rig.b.ear.messages == 1);
	CHECK_INT(read(ends[0], &(char){0}, 1), 0); /* nobody may write */
	rig.b.ear.fd = -1;
	close(ends[0]);
	ear_free(&caller);
	rig_close(&rig);
}

/* `surplus` is what the receiver is told: above 64 it can't count. */
static void check_surplus(unsigned count, unsigned surplus)
{
	struct rig rig;
	int fd;

	REQUIRE(rig_open(&rig));
	fd = rig_intrude(&rig);
	send_descriptors(fd, STDERR_FILENO, count);
	LOOP_WAIT(&rig.loop, rig.b.ear.messages == 1);
	CHECK(rig.b.ear.fd >= 0);
	CHECK_INT(rig.b.ear.surplus, surplus);
	close(fd);
	rig_close(&rig);
}

TEST_CASE(world_event, surplus_descriptors_are_counted_and_closed)
{
	check_surplus(1, 0);
	check_surplus(2, 1);
	check_surplus(64, 63);
	check_surplus(100, 64);
	check_surplus(253, 64);
}

/* Ours is the shortage: the peer must not be told that it sent too few or many. */
TEST_CASE(world_event, no_room_for_a_descriptor_ends_the_channel)
{
	struct rlimit limit, none;
	struct ear caller;
	struct rig rig;
	int lowest;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK_INT(ear_send(&caller, 'a', 1, STDERR_FILENO), 0);
	lowest = dup(STDERR_FILENO);
	close(lowest);
	getrlimit(RLIMIT_NOFILE, &limit);
	none = limit;
	none.rlim_cur = (rlim_t)lowest;
	setrlimit(RLIMIT_NOFILE, &none);
	LOOP_WAIT(&rig.loop, rig.b.ear.messages || rig.b.ear.closed);
	setrlimit(RLIMIT_NOFILE, &limit);
	CHECK_INT(rig.b.ear.messages, 0);
	CHECK_INT(rig.b.ear.error, -EMFILE);
	ear_free(&caller);
	rig_close(&rig);
}

TEST_CASE(world_event, oversized_message_is_the_end)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK_INT(ear_send(&caller, 'a', WORLD_MESSAGE_MAX + 1, STDERR_FILENO), 0);
	CHECK_INT(ear_send(&caller, 'b', 1, -1), 0);
	LOOP_WAIT(&rig.loop, rig.b.ear.closed);
	loop_idle(&rig.loop);
	CHECK_INT(rig.b.ear.error, -EMSGSIZE);
	CHECK_INT(rig.b.ear.closed, 1);
	CHECK_INT(rig.b.ear.messages, 0);
	ear_free(&caller);
	rig_close(&rig);
}

TEST_CASE(world_event, empty_message_is_an_error_and_not_the_end_of_file)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK_INT(ear_send(&caller, 'a', 0, -1), 0);
	LOOP_WAIT(&rig.loop, rig.b.ear.closed);
	CHECK_INT(rig.b.ear.error, -EBADMSG);
	CHECK_INT(rig.b.ear.messages, 0);
	ear_free(&caller);
	rig_close(&rig);
}

/* ---- the end ---- */

TEST_CASE(world_event, end_comes_after_what_was_sent_before)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK(!rig.b.world->ops->channel_at_end(rig.b.ear.channel));
	CHECK_INT(ear_send(&caller, 'a', 1, -1), 0);
	ear_free(&caller);
	CHECK(rig.b.world->ops->channel_at_end(rig.b.ear.channel));
	LOOP_WAIT(&rig.loop, rig.b.ear.closed);
	loop_idle(&rig.loop);
	CHECK_INT(rig.b.ear.messages, 1);
	CHECK_INT(rig.b.ear.closed, 1);
	CHECK_INT(rig.b.ear.error, 0);
	CHECK(rig.b.world->ops->channel_at_end(rig.b.ear.channel));
	CHECK_INT(ear_send(&rig.b.ear, 'b', 1, -1), -EPIPE);
	rig_close(&rig);
}

/* As one that refuses does: it closes without having read what we sent. */
TEST_CASE(world_event, last_words_of_one_that_did_not_listen_are_heard)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK_INT(ear_send(&rig.b.ear, 'x', 1, -1), 0);
	CHECK_INT(ear_send(&caller, 'a', 1, -1), 0);
	CHECK_INT(ear_send(&caller, 'b', 1, -1), 0);
	ear_free(&caller);
	LOOP_WAIT(&rig.loop, rig.b.ear.closed);
	CHECK_INT(rig.b.ear.messages, 2);
	CHECK_INT(rig.b.ear.closed, 1);
	rig_close(&rig);
}

/* Before the reader has been told of the end. */
TEST_CASE(world_event, sending_to_one_that_closed_leaves_its_last_words)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	CHECK_INT(ear_send(&rig.b.ear, 'x', 1, -1), 0);
	CHECK_INT(ear_send(&caller, 'a', 1, -1), 0);
	ear_free(&caller);
	CHECK_INT(ear_send(&rig.b.ear, 'b', 1, -1), -EPIPE);
	LOOP_WAIT(&rig.loop, rig.b.ear.closed);
	CHECK_INT(rig.b.ear.messages, 1);
	rig_close(&rig);
}

TEST_CASE(world_event, reader_that_does_not_read_is_not_waited_for)
{
	struct ear caller;
	struct rig rig;
	int ret = 0, sent = 0;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	for (; ret == 0 && sent < 100000; sent++)
		ret = ear_send(&caller, 'a', 1024, -1);
	CHECK_INT(ret, -EAGAIN);
	LOOP_WAIT(&rig.loop, (int)rig.b.ear.messages == sent - 1);
	CHECK_INT(ear_send(&caller, 'a', 1024, -1), 0);
	ear_free(&caller);
	rig_close(&rig);
}

TEST_CASE(world_event, channel_may_be_closed_within_its_own_callbacks)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig) && rig_connect(&rig, &caller));
	rig.b.ear.close_on_message = true;
	caller.close_on_closed = true;
	CHECK_INT(ear_send(&caller, 'a', 1, STDERR_FILENO), 0);
	CHECK_INT(ear_send(&caller, 'b', 1, STDERR_FILENO), 0);
	LOOP_WAIT(&rig.loop, caller.closed);
	loop_idle(&rig.loop);
	CHECK_INT(rig.b.ear.messages, 1);
	CHECK_INT(rig.b.ear.closed, 0);
	CHECK_INT(caller.closed, 1);
	CHECK(!caller.channel && !rig.b.ear.channel);
	ear_free(&caller);
	rig_close(&rig);
}

/* ---- messages through a link ---- */

static bool side_start_plane(struct side *side, uint16_t id)
{
	const struct plane_port port = {
		.tap = &side->tap.tap, .node_id = id, .tag = RIG_TAG, .mtu = RIG_MTU};

	return rig_tap_open(&side->tap, 1) &&
	       plane_add_port(side->plane, &port, &side->ports[0]) == 0 &&
	       plane_start(side->plane) == 0;
}

static bool side_offer(struct side *side, struct world_channel *channel, uint16_t peer_id,
		       struct world_offer *ret_bell, struct world_offer *ret_ring)
{
	const struct world_ops *ops = side->world->ops;
	const char *why;

	if (ops->conn_new(side->world, channel, peer_id, peer_id == 2, &side->conn,
			  &why) < 0 ||
	    ops->ring_new(side->conn, 0, RIG_RING_SIZE, &side->rx, &why) < 0)
		return false;
	ops->conn_offer(side->conn, ret_bell);
	ops->ring_offer(side->rx, ret_ring);
	/* What was sent is the receiver's to keep. */
	ret_bell->fd = dup(ret_bell->fd);
	ret_ring->fd = dup(ret_ring->fd);
	return true;
}

static bool side_accept(struct side *side, const struct world_offer *bell,
			const struct world_offer *ring)
{
	const struct world_ops *ops = side->world->ops;
	struct world_parcel parcels[2] = {{.fd = bell->fd}, {.fd = ring->fd}};
	const char *why;

	return ops->conn_accept(side->conn, &parcels[0], bell->bytes, bell->length,
				&why) == 0 &&
	       ops->ring_accept(side->conn, &parcels[1], ring->bytes, ring->length,
				RIG_RING_SIZE, &side->tx, &why) == 0;
}

static bool side_link(struct side *side, uint16_t peer_id)
{
	const struct world_link_spec spec = {
		.peer_id = peer_id, .conn = side->conn, .rx = side->rx, .tx = side->tx};

	return side->world->ops->link_new(side->world, &spec, &side->link) == 0;
}

static void side_unlink(struct side *side)
{
	side->world->ops->link_free(side->link, false);
	side->world->ops->conn_free(side->conn);
}

static bool rig_link(struct rig *rig, struct ear *caller)
{
	struct world_offer bells[2], rings[2];

	return side_start_plane(&rig->a, 1) && side_start_plane(&rig->b, 2) &&
	       rig_connect(rig, caller) &&
	       side_offer(&rig->a, caller->channel, 2, &bells[0], &rings[0]) &&
	       side_offer(&rig->b, rig->b.ear.channel, 1, &bells[1], &rings[1]) &&
	       side_accept(&rig->a, &bells[1], &rings[1]) &&
	       side_accept(&rig->b, &bells[0], &rings[0]) && side_link(&rig->a, 2) &&
	       side_link(&rig->b, 1);
}

/* More than are taken in one go, and a second time from rest. */
TEST_CASE(world_event, messages_come_through_a_link)
{
	struct ear caller;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	REQUIRE(rig_link(&rig, &caller));
	for (uint32_t i = 0; i < 300; i++) {
		CHECK_INT(rig.a.world->ops->link_send(rig.a.link, (const uint8_t *)&i,
						      sizeof(i)),
			  0);
		if (i == 200)
			LOOP_WAIT(&rig.loop, rig.b.heard == 201);
	}
	LOOP_WAIT(&rig.loop, rig.b.heard == 300);
	CHECK_INT(rig.a.heard, 0);
	CHECK_INT(rig.a.world->ops->link_send(rig.a.link, NULL, 0), -EMSGSIZE);
	side_unlink(&rig.a);
	side_unlink(&rig.b);
	ear_free(&caller);
	rig_close(&rig);
}

/* ---- time and chance ---- */

struct alarm {
	struct world *world;
	struct world_timer *timer;
	unsigned fired;
	bool frees;
};

static void on_alarm(void *arg)
{
	struct alarm *alarm = arg;

	alarm->fired++;
	if (!alarm->frees)
		return;
	alarm->world->ops->timer_free(alarm->timer);
	alarm->timer = NULL;
}

TEST_CASE(world_event, timer_fires_once_and_may_be_freed_by_itself)
{
	struct alarm alarm = {0};
	struct rig rig;
	uint64_t start;

	REQUIRE(rig_open(&rig));
	alarm.world = rig.a.world;
	alarm.timer = alarm.world->ops->timer_new(alarm.world, on_alarm, &alarm);
	REQUIRE(alarm.timer);
	start = alarm.world->ops->now(alarm.world);
	alarm.world->ops->timer_set(alarm.timer, 3600 * NSEC_PER_SEC);
	alarm.world->ops->timer_set(alarm.timer, 20 * NSEC_PER_MSEC); /* replaces */
	LOOP_WAIT(&rig.loop, alarm.fired);
	CHECK(alarm.world->ops->now(alarm.world) - start >= 19 * NSEC_PER_MSEC);
	loop_idle(&rig.loop);
	CHECK_INT(alarm.fired, 1);
	alarm.world->ops->timer_set(alarm.timer, 0);
	alarm.world->ops->timer_cancel(alarm.timer);
	loop_idle(&rig.loop);
	CHECK_INT(alarm.fired, 1);
	alarm.frees = true;
	alarm.world->ops->timer_set(alarm.timer, 0);
	LOOP_WAIT(&rig.loop, alarm.fired == 2);
	CHECK(!alarm.timer);
	alarm.world->ops->timer_free(NULL);
	rig_close(&rig);
}

TEST_CASE(world_event, random_bytes_differ)
{
	uint64_t a = 0, b = 0;
	struct rig rig;

	REQUIRE(rig_open(&rig));
	rig.a.world->ops->random(rig.a.world, &a, sizeof(a));
	rig.a.world->ops->random(rig.a.world, &b, sizeof(b));
	CHECK(a != b);
	rig_close(&rig);
}

TEST_CASE(world_event, free_accepts_null)
{
	world_event_free(NULL);
}
