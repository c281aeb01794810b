/*
 * The plane with its worker running: sleeping and waking, links that come and go
 * under traffic, blocked queues, dead, silent, vanishing and hostile peers.
 *
 * The test's thread is the control thread. Nothing sleeps for long enough: what
 * has to come is waited for, and a lost wake-up ends in WAIT_MS.
 */
#include "data/plane.h"

#include "cable.h"
#include "shim.h"
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PING_PONGS (50000u / SLOWED) /* of two frames */

/* ---- sleeping and waking ---- */

struct echo {
	struct host *host;
	unsigned queue;
	unsigned peer;
	unsigned rounds;
};

static void *echo_main(void *arg)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct echo *echo = arg;

	for (unsigned i = 0; i < echo->rounds; i++) {
		size_t length = host_read(echo->host, echo->queue, frame);

		if (!CHECK(length != 0))
			break;
		rig_frame(frame, echo->host->id, echo->peer, rig_frame_number(frame),
			  length);
		host_write(echo->host, echo->queue, frame, length);
	}
	return NULL;
}

/* Each frame is a chance to lose a wake-up on each of two workers. */
static void ping(struct host *host, unsigned queue, unsigned peer, unsigned rounds)
{
	static uint8_t frame[RIG_FRAME_MAX];

	for (unsigned i = 0; i < rounds; i++) {
		size_t length = rig_frame(frame, host->id, peer, i, 64 + i % 64);

		REQUIRE(host_write(host, queue, frame, length));
		REQUIRE(host_read(host, queue, frame) == length);
		REQUIRE(rig_frame_is(frame, length, peer, host->id, i));
	}
}

static void check_ping_pong(uint32_t spin_us, unsigned queues)
{
	struct host a, b;
	struct cable cable;
	struct echo echo = {&b, queues - 1, 1, PING_PONGS};
	struct link_counters finals[2];
	pthread_t thread;

	REQUIRE(host_open(&a, 1, queues, spin_us) && host_open(&b, 2, queues, spin_us));
	REQUIRE(cable_plug(&cable, &a, &b));
	REQUIRE(pthread_create(&thread, NULL, echo_main, &echo) == 0);
	ping(&a, queues - 1, 2, PING_PONGS);
	pthread_join(thread, NULL);
	CHECK_U64(unrouted(&a) + unrouted(&b), 0);
	WAIT_UNTIL(process_rests());
	cable_detach(&cable, 0, false, &finals[0]);
	cable_detach(&cable, 1, false, &finals[1]);
	check_conservation(&finals[0], &finals[1]);
	check_conservation(&finals[1], &finals[0]);
	host_close(&a);
	host_close(&b);
}

TEST_CASE(plane, ping_pong_without_spinning)
{
	check_ping_pong(0, 1);
}

TEST_CASE(plane, ping_pong_with_spinning)
{
	check_ping_pong(50, 2);
}

/* ---- a peer that doesn't read ---- */

static void send_many(struct host *host, unsigned queue, unsigned peer, unsigned first,
		      unsigned count, size_t length)
{
	static uint8_t frame[RIG_FRAME_MAX];

	for (unsigned i = first; i < first + count; i++) {
		rig_frame(frame, host->id, peer, i, length);
		CHECK(host_write(host, queue, frame, length));
	}
}

static void receive_many(struct host *host, unsigned queue, unsigned peer, unsigned first,
			 unsigned count)
{
	static uint8_t frame[RIG_FRAME_MAX];

	for (unsigned i = first; i < first + count; i++) {
		size_t length = host_read(host, queue, frame);

		REQUIRE(rig_frame_is(frame, length, peer, host->id, i));
	}
}

/* The played peer takes what is there, `max` at most, and gives the room back. */
static unsigned played_receive(struct cable *cable, unsigned first, unsigned max)
{
	struct fabric *fabric = cable->fabric[1];
	struct shmnet_record record;
	unsigned taken = 0;

	CHECK(fabric->ops->poll(fabric, &cable->rx, &cable->tx) >= 0);
	while (taken < max && shmnet_ring_peek(&cable->rx, &record) == 1) {
		CHECK(rig_frame_is(record.payload, record.length, 1, 2, first + taken));
		shmnet_ring_release(&cable->rx, &record);
		taken++;
	}
	CHECK_INT(fabric->ops->credit(fabric, &cable->rx), 0);
	return taken;
}

#define STUCK_FRAMES 60u

TEST_CASE(plane, peer_that_does_not_read_holds_up_only_itself)
{
	struct link_counters finals[3];
	struct cable stuck, other;
	struct host a, c;
	unsigned got = 0;

	REQUIRE(host_open(&a, 1, 3, 0) && host_open(&c, 3, 2, 0));
	REQUIRE(cable_plug_played(&stuck, &a, 2) && cable_plug(&other, &a, &c));
	send_many(&a, 1, 2, 0, STUCK_FRAMES, 5000);
	WAIT_UNTIL(read_link(stuck.link[0]).sent_frames >= 30);
	for (unsigned i = 0; i < 1000; i += 10) {
		send_many(&a, 2, 3, i, 10, 1000);
		receive_many(&c, 1, 1, i, 10);
	}
	CHECK(read_link(stuck.link[0]).sent_frames < STUCK_FRAMES);
	WAIT_UNTIL(process_rests());
	/* A few at a time, so that the queue is unblocked and blocked again. */
	WAIT_UNTIL((got += played_receive(&stuck, got, 3)) == STUCK_FRAMES);

	cable_detach(&stuck, 0, false, &finals[0]);
	CHECK_U64(finals[0].sent_frames, STUCK_FRAMES);
	CHECK_U64(sum_drops(&finals[0], true), 0);
	cable_detach(&other, 0, false, &finals[1]);
	cable_detach(&other, 1, false, &finals[2]);
	check_conservation(&finals[1], &finals[2]);
	cable_free_played(&stuck);
	host_close(&a);
	host_close(&c);
}

/* A blocked queue whose link goes away has nobody left to wait for. */
TEST_CASE(plane, blocked_queue_outlives_its_link)
{
	struct link_counters final;
	struct cable cable;
	struct host a;

	REQUIRE(host_open(&a, 1, 2, 0) && cable_plug_played(&cable, &a, 2));
	send_many(&a, 1, 2, 0, STUCK_FRAMES, 5000);
	WAIT_UNTIL(read_link(cable.link[0]).sent_frames >= 30);
	cable_detach(&cable, 0, true, &final);
	CHECK_U64(final.drops[DROP_PEER_DOWN], final.sent_frames);
	WAIT_UNTIL(unrouted(&a) + final.sent_frames == STUCK_FRAMES);
	WAIT_UNTIL(process_rests());
	cable_free_played(&cable);
	host_close(&a);
}

/* One whose peer is paused has nothing to wait for either: its frames are dropped. */
TEST_CASE(plane, blocked_queue_of_a_paused_peer)
{
	struct link_counters final;
	struct cable cable;
	struct host a;

	REQUIRE(host_open(&a, 1, 2, 0) && cable_plug_played(&cable, &a, 2));
	send_many(&a, 1, 2, 0, STUCK_FRAMES, 5000);
	WAIT_UNTIL(read_link(cable.link[0]).sent_frames >= 30);
	WAIT_UNTIL(process_rests());
	plane_pause_link(a.plane, cable.link[0], true);
	WAIT_UNTIL(read_link(cable.link[0]).sent_frames == STUCK_FRAMES);
	CHECK(read_link(cable.link[0]).drops[DROP_PAUSED] > 0);
	WAIT_UNTIL(process_rests());
	cable_detach(&cable, 0, true, &final);
	CHECK_U64(sum_drops(&final, true), STUCK_FRAMES);
	cable_free_played(&cable);
	host_close(&a);
}

/* ---- links that come and go ---- */

struct pump {
	struct host *from;
	struct host *to;
	bool stop;
	uint64_t written;
	uint64_t read;
};

static void *pump_main(void *arg)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct pump *pump = arg;

	while (!__atomic_load_n(&pump->stop, __ATOMIC_ACQUIRE)) {
		size_t length = 100 + pump->written % 1000;
		unsigned queue = pump->written % 3;

		rig_frame(frame, pump->from->id, pump->to->id, pump->written, length);
		if (!host_write(pump->from, queue, frame, length))
			break;
		__atomic_store_n(&pump->written, pump->written + 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Takes what is there; the worker at the other end must never find its TAP full. */
static void *sink_main(void *arg)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct pump *pump = arg;
	struct pollfd fds[3];

	for (unsigned q = 0; q < 3; q++)
		fds[q] = (struct pollfd){pump->to->tap.host[q], POLLIN, 0};
	while (!__atomic_load_n(&pump->stop, __ATOMIC_ACQUIRE) || poll(fds, 3, 0) > 0) {
		if (poll(fds, 3, 1) <= 0)
			continue;
		for (unsigned q = 0; q < 3; q++) {
			if (recv(fds[q].fd, frame, sizeof(frame), MSG_DONTWAIT) > 0)
				__atomic_store_n(&pump->read, pump->read + 1,
						 __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

/* The receiver lets go first: what it leaves unread is then exactly known. */
static void add_and_remove(struct host *a, struct host *b, struct link_counters sums[2])
{
	struct link_counters final;
	struct cable cable;

	REQUIRE(cable_plug(&cable, a, b));
	WAIT_UNTIL(read_link(cable.link[0]).sent_frames > 0);
	for (unsigned side = 2; side-- > 0;) {
		cable_detach(&cable, side, false, &final);
		link_counters_add(&sums[side], &final);
	}
}

TEST_CASE(plane, links_come_and_go_under_traffic)
{
	struct link_counters sums[2] = {{0}, {0}};
	struct host a, b;
	struct pump pump = {.from = &a, .to = &b};
	pthread_t source, sink;

	REQUIRE(host_open(&a, 1, 3, 0) && host_open(&b, 2, 3, 50));
	REQUIRE(pthread_create(&source, NULL, pump_main, &pump) == 0);
	REQUIRE(pthread_create(&sink, NULL, sink_main, &pump) == 0);
	for (unsigned i = 0; i < 300 && !test_failed(); i++)
		add_and_remove(&a, &b, sums);
	__atomic_store_n(&pump.stop, true, __ATOMIC_RELEASE);
	pthread_join(source, NULL);
	WAIT_UNTIL(pump.written == sums[0].sent_frames + unrouted(&a));
	pthread_join(sink, NULL);
	check_conservation(&sums[0], &sums[1]);
	CHECK_U64(pump.read, sums[1].delivered_frames);
	CHECK(sums[1].delivered_frames > 0);
	host_close(&a);
	host_close(&b);
}

/* ---- peers that die ---- */

static void played_submit(struct cable *cable, unsigned number)
{
	uint8_t *place = NULL;

	REQUIRE(shmnet_ring_reserve(&cable->tx, 200, 0, &place) == 0);
	rig_frame(place, 2, 1, number, 200);
	shmnet_ring_submit(&cable->tx, 200, 0);
}

TEST_CASE(plane, dead_peer_is_salvaged_and_what_it_left_unread_counted)
{
	struct link_counters final;
	struct cable cable;
	struct host a;
	uint8_t *place = NULL;
	unsigned got = 0;

	REQUIRE(host_open(&a, 1, 2, 0) && cable_plug_played(&cable, &a, 2));
	send_many(&a, 1, 2, 0, 7, 300);
	WAIT_UNTIL((got += played_receive(&cable, got, 3 - got)) == 3);
	for (unsigned i = 0; i < 5; i++) {
		played_submit(&cable, i);
		if (i == 1)
			cable.fabric[1]->ops->publish(cable.fabric[1], &cable.tx);
	}
	CHECK_INT(shmnet_ring_reserve(&cable.tx, 200, 0, &place), 0);
	rig_frame(place, 2, 1, 5, 200); /* filled, never submitted */
	WAIT_UNTIL(read_link(cable.link[0]).sent_frames == 7);
	cable_hang_up(&cable);

	cable_detach(&cable, 0, true, &final);
	CHECK_U64(final.drops[DROP_PEER_DOWN], 4);
	CHECK_U64(final.delivered_frames, 5);
	receive_many(&a, 1, 2, 0, 5);
	cable_free_played(&cable);
	host_close(&a);
}

/* ---- a process that stood still ---- */

static void played_publish(void *arg)
{
	struct cable *cable = arg;

	cable->fabric[1]->ops->publish(cable->fabric[1], &cable->tx);
}

/* What is in the rings waits until control knows of whom. */
TEST_CASE(plane, after_a_stall_control_is_first)
{
	struct link_counters finals[2];
	struct cable given_up, other;
	struct host a, c;

	REQUIRE(host_open(&a, 1, 3, 0) && host_open(&c, 3, 2, 0));
	REQUIRE(cable_plug_played(&given_up, &a, 2));
	host_tick(&a);
	WAIT_UNTIL(process_rests());
	for (unsigned i = 0; i < 5; i++)
		played_submit(&given_up, i);
	stop_process(played_publish, &given_up);

	REQUIRE(cable_plug(&other, &c, &a)); /* its view is taken up meanwhile */
	send_many(&c, 1, 1, 0, 10, 300);
	WAIT_UNTIL(read_link(other.link[0]).sent_frames == 10);
	CHECK_U64(read_link(given_up.link[0]).delivered_frames, 0);
	CHECK_U64(read_link(other.link[1]).delivered_frames, 0);
	cable_detach(&given_up, 0, false, &finals[0]);
	CHECK_U64(finals[0].delivered_frames, 0);
	host_tick(&a);
	receive_many(&a, 2, 3, 0, 10);

	WAIT_UNTIL(process_rests());
	cable_hang_up(&given_up);
	cable_detach(&other, 0, false, &finals[0]);
	cable_detach(&other, 1, false, &finals[1]);
	check_conservation(&finals[0], &finals[1]);
	cable_free_played(&given_up);
	host_close(&a);
	host_close(&c);
}

/* Two peers, 2 and 3, and a stop when the worker calls upon a fabric. */
struct stop {
	struct host host;
	struct cable cables[2];
	const struct fabric_ops *ops; /* as they were */
	struct fabric_ops stopping;
	bool in_poll;
	bool in_publish;
};

static struct stop stop;

static int poll_and_stop(struct fabric *fabric, struct shmnet_ring_rx *rx,
			 struct shmnet_ring_tx *tx)
{
	if (__atomic_exchange_n(&stop.in_poll, false, __ATOMIC_ACQUIRE)) {
		played_publish(&stop.cables[0]);
		played_publish(&stop.cables[1]);
		stop_process(NULL, NULL);
	}
	return stop.ops->poll(fabric, rx, tx);
}

static int publish_and_stop(struct fabric *fabric, struct shmnet_ring_tx *tx)
{
	if (__atomic_exchange_n(&stop.in_publish, false, __ATOMIC_ACQUIRE))
		stop_process(NULL, NULL);
	return stop.ops->publish(fabric, tx);
}

static bool stop_open(void)
{
	if (!host_make(&stop.host, 1, 3, 0) ||
	    !cable_plug_played(&stop.cables[0], &stop.host, 2) ||
	    !cable_plug_played(&stop.cables[1], &stop.host, 3))
		return false;
	stop.ops = stop.cables[0].fabric[0]->ops;
	stop.stopping = *stop.ops;
	stop.stopping.poll = poll_and_stop;
	stop.stopping.publish = publish_and_stop;
	stop.cables[0].fabric[0]->ops = &stop.stopping;
	stop.cables[1].fabric[0]->ops = &stop.stopping;
	if (plane_start(stop.host.plane) < 0)
		return false;
	host_tick(&stop.host);
	WAIT_UNTIL(process_rests());
	return true;
}

/* One of the cables is still attached. */
static void stop_close(struct cable *cable)
{
	cable_detach(cable, 0, false, NULL);
	for (unsigned i = 0; i < 2; i++)
		cable_free_played(&stop.cables[i]);
	host_close(&stop.host);
}

/* What is left of a turn is left, too. */
TEST_CASE(plane, a_stall_in_the_middle_of_a_turn)
{
	struct cable *first = &stop.cables[0], *second = &stop.cables[1];
	struct link_counters final;

	REQUIRE(stop_open());
	played_submit(first, 0);
	played_submit(second, 0);
	__atomic_store_n(&stop.in_poll, true, __ATOMIC_RELEASE);
	plane_wake(stop.host.plane);
	WAIT_UNTIL(read_link(first->link[0]).delivered_frames == 1);
	cable_detach(second, 0, false, &final);
	CHECK_U64(final.received_frames, 0);

	host_tick(&stop.host);
	played_submit(first, 1);
	played_publish(first);
	WAIT_UNTIL(read_link(first->link[0]).delivered_frames == 2);
	stop_close(first);
}

static uint64_t sent_by(const struct cable *cable)
{
	return read_link(cable->link[0]).sent_frames;
}

/* So are queues: whichever comes second is read when control has spoken. */
TEST_CASE(plane, a_stall_between_two_queues)
{
	struct cable *first = &stop.cables[0], *second = &stop.cables[1];
	struct link_counters final;

	REQUIRE(stop_open());
	plane_rest_taps(stop.host.plane, true);
	send_many(&stop.host, 1, 2, 0, 10, 300);
	send_many(&stop.host, 2, 3, 0, 10, 300);
	__atomic_store_n(&stop.in_publish, true, __ATOMIC_RELEASE);
	plane_rest_taps(stop.host.plane, false);
	WAIT_UNTIL(sent_by(first) + sent_by(second) > 0);
	if (sent_by(second) > 0) {
		first = &stop.cables[1];
		second = &stop.cables[0];
	}
	cable_detach(second, 0, false, &final);
	CHECK_U64(sent_by(first), 10);
	CHECK_U64(final.sent_frames, 0);
	CHECK_U64(unrouted(&stop.host), 0);

	host_tick(&stop.host);
	WAIT_UNTIL(unrouted(&stop.host) == 10);
	stop_close(first);
}

/* Its bell is gone, its memory is not: nobody turns in vain, the other peer works. */
TEST_CASE(plane, bell_whose_peer_closed)
{
	struct cable silent, other;
	struct host a, c;

	REQUIRE(host_open(&a, 1, 3, 0) && host_open(&c, 3, 2, 0));
	REQUIRE(cable_plug_played(&silent, &a, 2) && cable_plug(&other, &a, &c));
	/* Bells that nobody took, then the end. */
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(send(silent.ring[1], "x", 1, MSG_DONTWAIT), 1);
	cable_hang_up(&silent);
	WAIT_UNTIL(process_rests());
	send_many(&a, 1, 2, 0, 10, 300);
	send_many(&a, 2, 3, 0, 10, 300);
	receive_many(&c, 1, 1, 0, 10);
	WAIT_UNTIL(read_link(silent.link[0]).sent_frames == 10);
	CHECK_INT(plane_next_fault(a.plane, &(struct plane_fault){0}), false);
	WAIT_UNTIL(process_rests());
	cable_detach(&silent, 0, true, NULL);
	cable_detach(&other, 0, false, NULL);
	cable_detach(&other, 1, false, NULL);
	cable_free_played(&silent);
	host_close(&a);
	host_close(&c);
}

/* ---- faults ---- */

TEST_CASE(plane, tap_that_vanishes)
{
	struct plane_fault fault;
	struct host a;

	REQUIRE(host_open(&a, 1, 2, 50));
	close(a.tap.host[1]);
	a.tap.host[1] = -1;
	REQUIRE(host_wait_fault(&a, &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_PORT);
	CHECK_INT(fault.port, a.port);
	CHECK_INT(fault.error, -ENODEV);
	CHECK(!plane_next_fault(a.plane, &fault));
	WAIT_UNTIL(process_rests());
	host_close(&a);
}

/* The same while its frames wait for room in a ring. */
TEST_CASE(plane, tap_that_vanishes_while_blocked)
{
	struct plane_fault fault;
	struct cable cable;
	struct host a;

	REQUIRE(host_open(&a, 1, 2, 0) && cable_plug_played(&cable, &a, 2));
	send_many(&a, 1, 2, 0, STUCK_FRAMES, 5000);
	WAIT_UNTIL(read_link(cable.link[0]).sent_frames >= 30);
	WAIT_UNTIL(process_rests());
	close(a.tap.host[1]);
	a.tap.host[1] = -1;
	REQUIRE(host_wait_fault(&a, &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_PORT);
	WAIT_UNTIL(process_rests());
	cable_detach(&cable, 0, true, NULL);
	CHECK(!plane_next_fault(a.plane, &fault));
	WAIT_UNTIL(process_rests());
	cable_free_played(&cable);
	host_close(&a);
}

TEST_CASE(plane, peer_that_breaks_the_rules)
{
	struct plane_fault fault;
	struct cable cable;
	struct host a;

	REQUIRE(host_open(&a, 1, 2, 0) && cable_plug_played(&cable, &a, 2));
	__atomic_store_n(&cable.tx_map.words->head, 1, __ATOMIC_SEQ_CST);
	CHECK_INT(send(cable.ring[1], "x", 1, MSG_DONTWAIT), 1);
	REQUIRE(host_wait_fault(&a, &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_LINK);
	CHECK(fault.link == cable.link[0]);
	CHECK_INT(fault.error, -EPROTO);
	CHECK(!plane_next_fault(a.plane, &fault));
	WAIT_UNTIL(process_rests());
	cable_detach(&cable, 0, true, NULL);
	cable_free_played(&cable);
	host_close(&a);
}

/* ---- over the rdma fabric, on a connection that is played ---- */

struct wire_net {
	struct wire wire;
	struct host host[2];
	struct cable cable;
};

/* The operation, if there is one of that number, fails at side 0. */
static bool wire_net_open(struct wire_net *net, uint64_t seed, enum wire_op op, int error)
{
	struct plane_link specs[2];

	memset(net, 0, sizeof(*net));
	memset(specs, 0, sizeof(specs));
	if (!wire_open(&net->wire, seed))
		return false;
	for (unsigned side = 0; side < 2; side++) {
		struct plane_link *spec = &specs[side];

		spec->is_remote = true;
		spec->offloads = SHMNET_OFFLOADS;
		spec->tx_salt = specs[!side].rx_salt = RIG_SALT + side;
		net->cable.fabric[side] = net->wire.fabric[side];
		net->cable.host[side] = &net->host[side];
		if (!wire_add_ring(&net->wire, side, &spec->tx, &specs[!side].rx) ||
		    !host_open(&net->host[side], side + 1, 2, 50 * side))
			return false;
	}
	wire_break(net->cable.fabric[0], op, error);
	return cable_attach(&net->cable, 0, 2, &specs[0]) &&
	       cable_attach(&net->cable, 1, 1, &specs[1]);
}

static void wire_net_close(struct wire_net *net)
{
	cable_detach(&net->cable, 0, false, NULL);
	cable_detach(&net->cable, 1, false, NULL);
	host_close(&net->host[0]);
	host_close(&net->host[1]);
	wire_close(&net->wire);
}

static bool wire_net_read(struct wire_net *net, unsigned side, unsigned number)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct pollfd fd = {.fd = net->host[side].tap.host[1], .events = POLLIN};
	uint64_t left = 4 * WAIT_MS;
	ssize_t n;

	while (poll(&fd, 1, 0) == 0 && left--) {
		if (!qp_loop_step(net->wire.loop))
			poll(&fd, 1, 1);
	}
	n = recv(fd.fd, frame, sizeof(frame), MSG_DONTWAIT);
	return n > 0 && rig_frame_is(frame, (size_t)n, 2 - side, side + 1, number);
}

/* Frames both ways over a wire that takes its time. */
TEST_CASE(plane, frames_over_the_rdma_fabric)
{
	struct wire_net *net = calloc(1, sizeof(*net));

	REQUIRE(net && wire_net_open(net, 0xfeed, WIRE_OP_NUM_, 0));
	for (unsigned i = 0; i < 3000 / SLOWED && !test_failed(); i++) {
		for (unsigned k = 0; k < 4; k++) {
			send_many(&net->host[0], 1, 2, 4 * i + k, 1, 50 + 999 * k);
			send_many(&net->host[1], 1, 1, 4 * i + k, 1, 5000);
		}
		for (unsigned k = 0; k < 4; k++) {
			CHECK(wire_net_read(net, 1, 4 * i + k));
			CHECK(wire_net_read(net, 0, 4 * i + k));
		}
	}
	qp_loop_settle(net->wire.loop);
	wire_net_close(net);
	free(net);
}

static bool wire_net_hear(struct wire_net *net, unsigned side, uint32_t number)
{
	struct plane_message message;
	uint64_t left = 4 * WAIT_MS;
	uint32_t heard;

	while (!plane_next_message(net->host[side].plane, &message) && left--) {
		if (!qp_loop_step(net->wire.loop))
			pause_ms(1);
	}
	memcpy(&heard, message.bytes, sizeof(heard));
	return CHECK_INT(message.length, 4 + number % 1000) && CHECK_INT(heard, number);
}

/*
 * Nothing but messages, far more bytes than a ring holds, bursts of them to one side
 * while the other one is silent: they are shown, and the room comes back.
 */
TEST_CASE(plane, messages_over_the_rdma_fabric)
{
	struct wire_net *net = calloc(1, sizeof(*net));
	uint8_t bytes[PLANE_MESSAGE_MAX] = {0};
	uint32_t said[2] = {0, 0}, heard[2] = {0, 0};

	REQUIRE(net && wire_net_open(net, 0xcafe, WIRE_OP_NUM_, 0));
	for (unsigned i = 0; i < 400 / SLOWED && !test_failed(); i++) {
		unsigned from = i / 20 % 2;

		for (unsigned k = 0; k <= i % 40; k++, said[from]++) {
			memcpy(bytes, &said[from], sizeof(said[from]));
			CHECK_INT(plane_send_message(net->host[from].plane,
						     net->cable.link[from], bytes,
						     4 + said[from] % 1000),
				  0);
		}
		while (heard[from] < said[from] && !test_failed())
			CHECK(wire_net_hear(net, !from, heard[from]++));
	}
	for (unsigned side = 0; side < 2; side++) {
		struct link_counters counters;
		struct link_usage usage;

		WAIT_UNTIL((qp_loop_settle(net->wire.loop),
			    plane_read_link(net->cable.link[side], &counters, &usage),
			    usage.ring_used == 0));
		CHECK_U64(counters.messages_sent, said[side]);
		CHECK_U64(counters.messages_lost, 0);
	}
	CHECK_U64(qp_loop_faults(net->wire.loop).rnr, 0);
	wire_net_close(net);
	free(net);
}

static void check_wire_fault(enum wire_op op, int error)
{
	struct wire_net *net = calloc(1, sizeof(*net));
	struct plane_fault fault;
	bool failed;

	REQUIRE(net && wire_net_open(net, 0xbeef, op, error));
	/*
	 * Something to do, so that it goes to sleep once more; for WAIT_ROOM more than
	 * the peer, which reads, has taken by then.
	 */
	do {
		send_many(&net->host[0], 1, 2, 0, STUCK_FRAMES, 5000);
		failed = plane_next_fault(net->host[0].plane, &fault);
	} while (!failed && op == WIRE_WAIT_ROOM);
	REQUIRE(failed || host_wait_fault(&net->host[0], &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_LINK);
	CHECK_INT(fault.error, error);
	WAIT_UNTIL(process_rests());
	wire_net_close(net);
	free(net);
}

TEST_CASE(plane, fabric_that_fails_at_work)
{
	check_wire_fault(WIRE_PUBLISH, -EIO);
	check_wire_fault(WIRE_POLL, -EPROTO);
}

TEST_CASE(plane, fabric_that_fails_on_the_way_to_sleep)
{
	check_wire_fault(WIRE_ARM, -EIO);
	check_wire_fault(WIRE_WAIT_ROOM, -EPROTO);
}

/* Nothing rang: control has heard of it. */
TEST_CASE(plane, fabric_that_fails_in_its_sleep)
{
	struct wire_net *net = calloc(1, sizeof(*net));
	struct plane_fault fault;

	REQUIRE(net && wire_net_open(net, 0xdead, WIRE_OP_NUM_, 0));
	WAIT_UNTIL(process_rests());
	qp_loop_fail(net->wire.loop, 0, "device removed");
	CHECK(!plane_next_fault(net->host[0].plane, &fault));
	plane_wake(net->host[0].plane);
	REQUIRE(host_wait_fault(&net->host[0], &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_LINK);
	CHECK_INT(fault.error, -EIO);
	wire_net_close(net);
	free(net);
}

/* ---- a hostile peer ---- */

struct villain {
	struct cable *cable;
	uint64_t random;
	bool stop;
};

static void scribble_word(struct villain *villain, struct shmnet_ring_words *words)
{
	uint64_t *const positions[] = {&words->head, &words->tail};
	uint32_t *const numbers[] = {&words->waiting, &words->asleep};
	uint64_t value = rig_random(&villain->random);
	uint64_t *position = positions[value % 2];

	if (value & 4)
		*numbers[value % 2] = (uint32_t)(value >> 32);
	else if (value & 8)
		*position += SHMNET_RING_ALIGN * (value >> 59);
	else if ((value & 0xff0) == 0)
		*position = value;
}

/* Anything from a spotless record to nonsense that is marked as one. */
static void forge_record(struct villain *villain)
{
	struct cable *cable = villain->cable;
	uint64_t value = rig_random(&villain->random);
	size_t length = RIG_FRAME_MIN + value % 4000;
	uint8_t *place;

	if (shmnet_ring_reserve(&cable->tx, SHMNET_RING_PAYLOAD_MAX, 0, &place) < 0)
		return;
	if (value & 0x10000)
		rig_frame(place, value & 0x20000 ? 2 : 3, 1, value, length);
	else
		length = rig_frame_tcp(place, 2, 1, length, 1000);
	for (unsigned i = 0; i < (value >> 20) % 4; i++)
		place[rig_random(&villain->random) % 80] ^= (uint8_t)(value >> 40);
	shmnet_ring_submit(&cable->tx, (uint32_t)length, value >> 50 & 1 ? 0 : 2);
	shmnet_ring_publish(&cable->tx);
}

static void scribble_data(struct villain *villain, const struct ring_map *map)
{
	uint64_t value = rig_random(&villain->random);

	memcpy(map->data + value % (map->size - 8), &villain->random, 1 + value % 8);
}

static void *villain_main(void *arg)
{
	struct villain *villain = arg;
	struct cable *cable = villain->cable;

	while (!__atomic_load_n(&villain->stop, __ATOMIC_ACQUIRE)) {
		for (unsigned i = 0; i < 64; i++) {
			scribble_data(villain, &cable->tx_map);
			scribble_data(villain, &cable->rx_map);
			forge_record(villain);
		}
		scribble_word(villain, cable->tx_map.words);
		scribble_word(villain, cable->rx_map.words);
		send(cable->ring[1], "x", rig_random(&villain->random) % 2,
		     MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	return NULL;
}

/* Keeps the villain's queue from filling, both ways. */
static void feed_villain(struct host *host, unsigned *ret_forged)
{
	static uint8_t frame[RIG_FRAME_MAX];
	ssize_t n;

	while ((n = recv(host->tap.host[1], frame, sizeof(frame), MSG_DONTWAIT)) > 0) {
		if ((size_t)n >= RIG_FRAME_MIN && frame[SHMNET_VNET_HLEN + 11] != 2)
			++*ret_forged;
	}
	for (unsigned i = 0; i < 4; i++) {
		size_t length = rig_frame(frame, 1, 2, i, 3000);

		send(host->tap.host[1], frame, length, MSG_DONTWAIT);
	}
}

/* The villain and its link for a while, beside honest traffic. */
static bool suffer_villain(struct host *a, struct host *c, uint64_t seed, unsigned first,
			   unsigned *ret_forged)
{
	struct cable cable;
	struct villain villain = {.cable = &cable, .random = seed};
	struct link_counters final;
	struct plane_fault fault = {0};
	pthread_t thread;

	if (!CHECK(cable_plug_played(&cable, a, 2)) ||
	    !CHECK(pthread_create(&thread, NULL, villain_main, &villain) == 0))
		return false;
	for (unsigned i = 0; i < 10; i++) {
		feed_villain(a, ret_forged);
		send_many(a, 2, 3, first + 10 * i, 10, 1000);
		send_many(c, 1, 1, first + 10 * i, 10, 1000);
		receive_many(c, 1, 1, first + 10 * i, 10);
		receive_many(a, 2, 3, first + 10 * i, 10);
	}
	plane_next_fault(a->plane, &fault);
	cable_detach(&cable, 0, seed & 1, &final);
	__atomic_store_n(&villain.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	cable_free_played(&cable);
	return fault.error ||
	       final.delivered_frames + sum_drops(&final, false) == final.received_frames;
}

/* It scribbles over everything it shares, while an honest pair goes about its work. */
TEST_CASE(plane, hostile_peer_harms_nobody_else)
{
	struct link_counters finals[2];
	struct cable honest, reserved;
	struct host a, c;
	unsigned forged = 0;

#ifdef TSAN
	TEST_SKIP("a hostile peer is a data race");
#endif
	REQUIRE(host_open(&a, 1, 3, 0) && host_open(&c, 3, 2, 0));
	/* The villain gets queue 1 of a, each time. */
	REQUIRE(cable_plug_played(&reserved, &a, 4) && cable_plug(&honest, &a, &c));
	cable_detach(&reserved, 0, false, NULL);
	cable_free_played(&reserved);
	for (unsigned i = 0; i < 200 && !test_failed(); i++)
		CHECK(suffer_villain(&a, &c, 2 * i + i % 2 + 1, 100 * i, &forged));
	CHECK_U64(forged, 0);
	cable_detach(&honest, 0, false, &finals[0]);
	cable_detach(&honest, 1, false, &finals[1]);
	for (unsigned side = 0; side < 2; side++) {
		CHECK_U64(finals[side].sent_frames, 200 * 100);
		CHECK_U64(finals[side].delivered_frames, 200 * 100);
	}
	host_close(&a);
	host_close(&c);
}
