/*
 * A global network with the workers running: what passes between them and control, and
 * that neither sleeps over it; late answers; links and verdicts that change under way.
 *
 * The test's thread is control of all hosts. What has to come is waited for, and a lost
 * wake-up ends in WAIT_MS.
 */
#include "data/plane.h"

#include "cable.h"
#include "global_frames.h"
#include "shim.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#define FLOWS (5000u / SLOWED)

/* `a` is the border. */
struct pair {
	struct host a, b;
	struct cable cable;
};

static bool pair_open(struct pair *pair, uint32_t spin_us)
{
	const struct plane_global global = {global_addresses, 2, 4096};

	return host_make_global(&pair->a, 1, spin_us, &global) &&
	       host_make_global(&pair->b, 2, spin_us, &global) &&
	       plane_start(pair->a.plane) == 0 && plane_start(pair->b.plane) == 0 &&
	       cable_plug(&pair->cable, &pair->a, &pair->b);
}

static struct port_counters read_port(const struct host *host)
{
	struct port_counters counters;

	plane_read_port(host->plane, host->port, &counters);
	return counters;
}

/* When nothing is under way. */
static void check_dispatch(const struct host *host, uint64_t packets)
{
	struct dispatch_counters counters = read_port(host).dispatch;

	CHECK_U64(counters.packets, packets);
	CHECK_U64(counters.local + counters.forwarded + counters.copied +
			  counters.dropped + counters.parked,
		  packets);
}

static void pair_close(struct pair *pair)
{
	struct link_counters finals[2];

	WAIT_UNTIL(process_rests());
	cable_detach(&pair->cable, 0, false, &finals[0]);
	cable_detach(&pair->cable, 1, false, &finals[1]);
	check_conservation(&finals[0], &finals[1]);
	host_close(&pair->a);
	host_close(&pair->b);
}

static bool wait_event(const struct host *host, int timeout_ms)
{
	struct pollfd fd = {.fd = plane_event_fd(host->plane), .events = POLLIN};

	return poll(&fd, 1, timeout_ms) == 1;
}

/* Waits for the event, and takes what there is. */
static unsigned answer_misses(struct host *host, uint16_t owner, enum plane_keep keep)
{
	const struct plane_verdict verdict = {.owner = owner, .keep = keep};
	struct plane_fault fault;
	struct plane_miss miss;
	unsigned count = 0;

	if (!CHECK(wait_event(host, WAIT_MS)))
		return 0;
	while (plane_next_fault(host->plane, &fault))
		CHECK(false);
	for (; plane_next_miss(host->plane, &miss); count++)
		CHECK_INT(plane_answer_flow(host->plane, miss.port, &miss.packet.key,
					    &verdict),
			  0);
	return count;
}

static void send_flow(struct host *host, unsigned number)
{
	static uint8_t frame[RIG_FRAME_MAX];
	const struct global_frame syn = {
		.flags = TCP_SYN,
		.client = (uint16_t)(number % 60000 + 1),
		.port = (uint16_t)(number / 60000 + 1),
	};

	CHECK(host_write(host, 0, frame, global_frame_make(frame, &syn)));
}

/* Each is two chances to lose a wake-up: of control, and of the worker. It may be late.
 */
static void check_wake_ups(uint32_t spin_us)
{
	static uint8_t frame[RIG_FRAME_MAX];
	unsigned late = 0;
	struct pair pair;

	REQUIRE(pair_open(&pair, spin_us));
	for (unsigned i = 0; i < FLOWS && !test_failed(); i++) {
		uint64_t dropped = read_port(&pair.a).dispatch.dropped;
		struct pollfd fd = {.fd = pair.b.tap.host[0], .events = POLLIN};

		send_flow(&pair.a, i);
		CHECK_INT(answer_misses(&pair.a, 2, PLANE_KEEP_FLOW), 1);
		while (poll(&fd, 1, 1000) == 0 &&
		       read_port(&pair.a).dispatch.dropped == dropped)
			continue;
		if (read_port(&pair.a).dispatch.dropped != dropped)
			late++;
		else
			CHECK(host_read(&pair.b, 0, frame) != 0);
	}
	CHECK_U64(read_port(&pair.a).drops[DROP_PARK_LATE], late);
	check_dispatch(&pair.a, FLOWS);
	pair_close(&pair);
}

TEST_CASE(plane_global, no_wake_up_is_lost)
{
	check_wake_ups(0);
}

TEST_CASE(plane_global, nor_while_spinning)
{
	check_wake_ups(20);
}

/* One that no link was ever made for. */
TEST_CASE(plane_global, a_host_that_is_alone_serves_itself)
{
	const struct plane_global global = {global_addresses, 2, 4096};
	static uint8_t frame[RIG_FRAME_MAX];
	struct host host;

	REQUIRE(host_make_global(&host, 1, 0, &global));
	REQUIRE(plane_start(host.plane) == 0);
	send_flow(&host, 1);
	CHECK_INT(answer_misses(&host, 1, PLANE_KEEP_FLOW), 1);
	WAIT_UNTIL(read_port(&host).dispatch.local == 1);
	CHECK(host_read(&host, 0, frame) != 0);
	send_flow(&host, 2); /* nobody says anything */
	WAIT_UNTIL(read_port(&host).drops[DROP_PARK_LATE] == 1);
	check_dispatch(&host, 2);
	host_close(&host);
}

/* The worker sleeps, and nothing but time wakes it. */
TEST_CASE(plane_global, what_waits_in_vain_is_dropped_by_a_sleeping_worker)
{
	struct pair pair;

	REQUIRE(pair_open(&pair, 0));
	for (unsigned i = 0; i < 10; i++)
		send_flow(&pair.a, i);
	WAIT_UNTIL(read_port(&pair.a).drops[DROP_PARK_LATE] == 10);
	CHECK_U64(read_port(&pair.a).dispatch.parked, 0);
	CHECK(wait_event(&pair.a, 0));
	answer_misses(&pair.a, 2, PLANE_KEEP_FLOW);
	WAIT_UNTIL(read_port(&pair.a).dispatch.answers == 10);
	check_dispatch(&pair.a, 10);
	pair_close(&pair);
}

/* More answers than a turn takes, and than the queue holds; none is lost. */
TEST_CASE(plane_global, a_heap_of_answers)
{
	const struct plane_verdict verdict = {.owner = 2, .keep = PLANE_KEEP_FLOW};
	const struct global_frame about = {.flags = TCP_SYN};
	struct flow_key key;
	struct pair pair;

	REQUIRE(pair_open(&pair, 0));
	global_key_make(&key, &about);
	for (unsigned i = 0; i < 40 * FLOWS; i++) {
		key.foreign_port = (uint16_t)i;
		WAIT_UNTIL(plane_answer_flow(pair.a.plane, 0, &key, &verdict) != -EAGAIN);
	}
	WAIT_UNTIL(read_port(&pair.a).dispatch.answers == 40 * FLOWS);
	pair_close(&pair);
}

/* ---- a process that stood still ---- */

static void send_to_both(void *arg)
{
	struct pair *pair = arg;

	send_flow(&pair->a, 1);
	send_flow(&pair->b, 1);
}

/* What came meanwhile is dropped, but not if it is to wait for the next process. */
TEST_CASE(plane_global, after_a_stall_what_waits_is_late)
{
	struct pair pair;

	REQUIRE(pair_open(&pair, 0));
	host_tick(&pair.a);
	host_tick(&pair.b);
	plane_rest_taps(pair.b.plane, true);
	WAIT_UNTIL(process_rests());
	stop_process(send_to_both, &pair);
	host_tick(&pair.a);
	host_tick(&pair.b);
	WAIT_UNTIL(read_port(&pair.a).drops[DROP_PARK_LATE] == 1);
	CHECK_U64(read_port(&pair.a).dispatch.packets, 0);

	send_flow(&pair.a, 2);
	CHECK_INT(answer_misses(&pair.a, 2, PLANE_KEEP_FLOW), 1);
	WAIT_UNTIL(read_port(&pair.a).dispatch.answers == 1);
	send_flow(&pair.a, 2); /* if the first one is late, this one is not */
	WAIT_UNTIL(read_link(pair.cable.link[1]).delivered_frames > 0);
	plane_rest_taps(pair.b.plane, false);
	CHECK_INT(answer_misses(&pair.b, 2, PLANE_KEEP_FLOW), 1);
	CHECK_U64(read_port(&pair.b).dispatch.packets, 1);
	WAIT_UNTIL(read_port(&pair.a).dispatch.parked == 0);
	pair_close(&pair);
}

/* A worker that slept did not stand still, even if control is slow. */
TEST_CASE(plane_global, an_idle_worker_is_not_stalled)
{
	struct pair pair;

	REQUIRE(pair_open(&pair, 0));
	host_tick(&pair.a);
	WAIT_UNTIL(process_rests());
	pause_ms(STALL_NS / 1000000 * 5 / 4);
	send_flow(&pair.a, 1);
	CHECK_INT(answer_misses(&pair.a, 2, PLANE_KEEP_FLOW), 1);
	CHECK_U64(read_port(&pair.a).dispatch.packets, 1);
	pair_close(&pair);
}

/* ---- a peer that doesn't read ---- */

/* What is there; the room is given back. */
static unsigned played_receive(struct cable *cable)
{
	struct fabric *fabric = cable->fabric[1];
	struct shmnet_record record;
	unsigned taken = 0;

	CHECK(fabric->ops->poll(fabric, &cable->rx, &cable->tx) >= 0);
	for (; shmnet_ring_peek(&cable->rx, &record) == 1; taken++)
		shmnet_ring_release(&cable->rx, &record);
	CHECK_INT(fabric->ops->credit(fabric, &cable->rx), 0);
	return taken;
}

#define LONG_FRAMES 100u

static void send_long(struct host *host, unsigned count)
{
	static const struct global_frame bulk = {
		.flags = TCP_ACK, .data = 20000, .gso_size = 1448};
	static uint8_t frame[RIG_FRAME_MAX];

	for (unsigned i = 0; i < count; i++)
		CHECK(host_write(host, 0, frame, global_frame_make(frame, &bulk)));
}

/* The worker waits for it asleep, and not long; then for its room, and is woken. */
TEST_CASE(plane_global, a_full_ring_holds_up_nobody_for_long)
{
	const struct plane_global global = {global_addresses, 2, 1024};
	struct link_counters counters;
	struct cable cable;
	struct host host;
	unsigned got = 0;

	REQUIRE(host_make_global(&host, 1, 0, &global) && plane_start(host.plane) == 0);
	REQUIRE(cable_plug_played(&cable, &host, 2));
	send_long(&host, 1);
	answer_misses(&host, 2, PLANE_KEEP_FLOW);
	WAIT_UNTIL(read_link(cable.link[0]).sent_frames == 1);
	send_long(&host, LONG_FRAMES - 1);
	WAIT_UNTIL(read_link(cable.link[0]).sent_frames == LONG_FRAMES);
	CHECK(read_link(cable.link[0]).drops[DROP_RING_FULL] > LONG_FRAMES / 2);
	WAIT_UNTIL(process_rests());
	for (unsigned i = 1; i <= 5; i++) {
		got += played_receive(&cable);
		send_long(&host, LONG_FRAMES / 5);
		WAIT_UNTIL((got += played_receive(&cable)) > 0 &&
			   read_link(cable.link[0]).sent_frames ==
				   LONG_FRAMES + i * (LONG_FRAMES / 5));
	}
	WAIT_UNTIL(process_rests());
	got += played_receive(&cable);
	check_dispatch(&host, 2 * LONG_FRAMES);
	cable_detach(&cable, 0, false, &counters);
	CHECK_U64(counters.sent_frames, got + counters.drops[DROP_RING_FULL]);
	cable_free_played(&cable);
	host_close(&host);
}

/* ---- all at once ---- */

struct flood {
	struct host *host;
	bool stop;
	uint64_t written;
};

static void *flood_main(void *arg)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct flood *flood = arg;

	while (!__atomic_load_n(&flood->stop, __ATOMIC_ACQUIRE)) {
		const struct global_frame packet = {
			.protocol = flood->written % 3 ? 0 : IPPROTO_UDP,
			.flags = flood->written % 7 ? TCP_ACK : TCP_SYN,
			.client = (uint16_t)(flood->written * 7919 % 5000 + 1),
			.data = flood->written % 1000,
		};

		if (!host_write(flood->host, 0, frame, global_frame_make(frame, &packet)))
			break;
		flood->written++;
	}
	return NULL;
}

struct drain {
	struct host *hosts[2];
	bool stop;
};

static void *drain_main(void *arg)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct drain *drain = arg;
	struct pollfd fds[2];

	for (unsigned i = 0; i < 2; i++)
		fds[i] = (struct pollfd){drain->hosts[i]->tap.host[0], POLLIN, 0};
	while (!__atomic_load_n(&drain->stop, __ATOMIC_ACQUIRE)) {
		if (poll(fds, 2, 1) <= 0)
			continue;
		for (unsigned i = 0; i < 2; i++)
			(void)!recv(fds[i].fd, frame, sizeof(frame), MSG_DONTWAIT);
	}
	return NULL;
}

/* What comes goes by turns to both nodes, to one without a link, nowhere, or is late. */
static void answer_some(struct host *host, unsigned *number)
{
	static const struct plane_verdict verdicts[] = {
		{.owner = 1, .keep = PLANE_KEEP_FLOW},
		{.owner = 2, .keep = PLANE_KEEP_FLOW},
		{.owner = 2, .keep = PLANE_KEEP_DATAGRAM},
		{.owner = 9, .keep = PLANE_KEEP_FLOW},
		{.owner = 2, .keep = PLANE_KEEP_NOT},
		{.reason = DROP_NO_OWNER, .keep = PLANE_KEEP_SHORT},
	};
	struct plane_fault fault;
	struct plane_miss miss;

	while (plane_next_fault(host->plane, &fault))
		;
	while (plane_next_miss(host->plane, &miss)) {
		if (++*number % 17 == 0)
			continue;
		plane_answer_flow(host->plane, miss.port, &miss.packet.key,
				  &verdicts[*number % 6]);
	}
	if (*number % 50 == 0)
		plane_renew_datagrams(host->plane, host->port);
}

static void add_link(struct pair *pair, struct link_counters sums[2], unsigned *number)
{
	struct link_counters final;

	REQUIRE(cable_plug(&pair->cable, &pair->a, &pair->b));
	for (unsigned i = 0; i < 20; i++) {
		wait_event(&pair->a, 1);
		answer_some(&pair->a, number);
	}
	for (unsigned side = 2; side-- > 0;) {
		cable_detach(&pair->cable, side, false, &final);
		link_counters_add(&sums[side], &final);
	}
}

TEST_CASE(plane_global, links_and_verdicts_change_under_traffic)
{
	const struct plane_global global = {global_addresses, 2, 1024};
	struct link_counters sums[2] = {{0}, {0}};
	struct pair pair;
	struct flood flood = {.host = &pair.a};
	struct drain drain = {.hosts = {&pair.a, &pair.b}};
	pthread_t source, sink;
	unsigned number = 0;

	REQUIRE(host_make_global(&pair.a, 1, 0, &global) &&
		host_make_global(&pair.b, 2, 0, &global));
	REQUIRE(plane_start(pair.a.plane) == 0 && plane_start(pair.b.plane) == 0);
	REQUIRE(pthread_create(&source, NULL, flood_main, &flood) == 0);
	REQUIRE(pthread_create(&sink, NULL, drain_main, &drain) == 0);
	for (unsigned i = 0; i < 30 && !test_failed(); i++)
		add_link(&pair, sums, &number);
	__atomic_store_n(&flood.stop, true, __ATOMIC_RELEASE);
	pthread_join(source, NULL);
	WAIT_UNTIL(read_port(&pair.a).dispatch.packets == flood.written &&
		   read_port(&pair.a).dispatch.parked == 0);
	__atomic_store_n(&drain.stop, true, __ATOMIC_RELEASE);
	pthread_join(sink, NULL);
	check_dispatch(&pair.a, flood.written);
	check_conservation(&sums[0], &sums[1]);
	CHECK_U64(read_port(&pair.a).dispatch.forwarded, sums[0].sent_frames);
	CHECK(sums[1].delivered_frames > 0);
	CHECK(read_port(&pair.a).drops[DROP_NO_PEER] > 0);
	host_close(&pair.a);
	host_close(&pair.b);
}
