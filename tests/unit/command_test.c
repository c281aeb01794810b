/*
 * Pings and messages through the rings. Two planes with their workers ask and answer each
 * other, from sleep, both ways at once and with a queue that is blocked; then a peer that
 * the test plays with hands of its own: what it may not send, what it may lie about,
 * a flood that it never reads the answers of. Messages between planes are in
 * message_test.c.
 *
 * The test's thread is the control thread, and the played peer.
 */
#include "data/path.h"

#include "rig.h"
#include "shim.h"

#include <shmnet/command.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 20000

/* ---- two planes ---- */

struct host {
	struct rig_tap tap;
	struct plane *plane;
	struct fabric *fabric;
	struct link *link;
	struct ring_map maps[2]; /* the link's */
	unsigned port;
};

static bool host_open(struct host *host, uint16_t id, struct fabric *fabric)
{
	const struct plane_options options = {0};
	const struct plane_port port = {
		.tap = &host->tap.tap, .node_id = id, .tag = RIG_TAG, .mtu = RIG_MTU};

	host->fabric = fabric;
	return rig_tap_open(&host->tap, 2) && plane_new(&options, &host->plane) == 0 &&
	       plane_add_port(host->plane, &port, &host->port) == 0 &&
	       plane_start(host->plane) == 0 &&
	       plane_add_fabric(host->plane, fabric) == 0;
}

static bool hosts_link(struct host *a, struct host *b)
{
	struct plane_link to_b = {.port = a->port, .peer_id = 2, .fabric = a->fabric};
	struct plane_link to_a = {.port = b->port, .peer_id = 1, .fabric = b->fabric};

	to_b.tx_salt = to_a.rx_salt = RIG_SALT;
	to_a.tx_salt = to_b.rx_salt = ~RIG_SALT;
	to_a.offloads = to_b.offloads = SHMNET_OFFLOADS;
	if (!rig_ring_open(RIG_RING_SIZE, &to_b.tx, &to_a.rx) ||
	    !rig_ring_open(RIG_RING_SIZE, &to_a.tx, &to_b.rx))
		return false;
	a->maps[0] = to_b.tx;
	a->maps[1] = to_b.rx;
	b->maps[0] = to_a.tx;
	b->maps[1] = to_a.rx;
	return plane_add_link(a->plane, &to_b, &a->link) == 0 &&
	       plane_add_link(b->plane, &to_a, &b->link) == 0;
}

static bool make_fabrics(struct fabric *fabrics[2])
{
	int hear[2], ring[2];

	return fabric_shm_bell(&hear[0], &ring[1]) == 0 &&
	       fabric_shm_bell(&hear[1], &ring[0]) == 0 &&
	       fabric_shm_new(hear[0], ring[0], &fabrics[0]) == 0 &&
	       fabric_shm_new(hear[1], ring[1], &fabrics[1]) == 0;
}

static bool hosts_open(struct host *a, struct host *b)
{
	struct fabric *fabrics[2];

	memset(a, 0, sizeof(*a));
	memset(b, 0, sizeof(*b));
	return make_fabrics(fabrics) && host_open(a, 1, fabrics[0]) &&
	       host_open(b, 2, fabrics[1]) && hosts_link(a, b);
}

static void host_close(struct host *host)
{
	plane_remove_fabric(host->plane, host->fabric);
	fabric_close(host->fabric);
	plane_free(host->plane);
	rig_tap_close(&host->tap);
	ring_map_close(&host->maps[0]);
	ring_map_close(&host->maps[1]);
}

static void hosts_close(struct host *a, struct host *b, struct link_counters finals[2])
{
	plane_remove_link(a->plane, a->link, false, &finals[0]);
	plane_remove_link(b->plane, b->link, false, &finals[1]);
	host_close(a);
	host_close(b);
}

/* False if none comes: it, or the news of it, was lost. */
static bool wait_pong(struct host *host, struct plane_pong *ret_pong)
{
	struct pollfd fd = {.fd = plane_event_fd(host->plane), .events = POLLIN};
	struct plane_fault fault;

	/* The event may be that of a pong which was taken before. */
	while (!plane_next_pong(host->plane, ret_pong)) {
		if (poll(&fd, 1, WAIT_MS) != 1)
			return false;
		CHECK(!plane_next_fault(host->plane, &fault));
	}
	return true;
}

TEST_CASE(command, ping_is_answered_by_a_sleeping_worker)
{
	struct link_counters finals[2];
	struct plane_pong pong;
	struct host a, b;

	REQUIRE(hosts_open(&a, &b));
	for (uint64_t token = 1; token <= 2000; token++) {
		REQUIRE(plane_ping_link(a.plane, a.link, token) == 0);
		REQUIRE(wait_pong(&a, &pong));
		REQUIRE(CHECK_U64(pong.token, token));
		CHECK(pong.time_ns > 0);
		CHECK(!plane_next_pong(b.plane, &pong));
	}
	hosts_close(&a, &b, finals);
	CHECK_U64(finals[1].pings_answered, 2000);
	CHECK_U64(finals[1].received_frames, 0);
	CHECK_U64(finals[0].pongs_ignored, 0);
}

/* All at once, both ways; each answer comes once. */
static unsigned take_pongs(struct host *host, unsigned count)
{
	struct plane_pong pong;
	unsigned seen = 0;

	for (unsigned i = 0; i < count; i++) {
		if (!CHECK(wait_pong(host, &pong)) ||
		    !CHECK(pong.token >= 1 && pong.token <= PLANE_PINGS_MAX))
			return seen;
		CHECK(!(seen & 1u << pong.token));
		seen |= 1u << pong.token;
	}
	return seen;
}

TEST_CASE(command, as_many_pings_as_there_is_room_for)
{
	struct link_counters finals[2];
	struct host a, b;

	REQUIRE(hosts_open(&a, &b));
	for (uint64_t token = 1; token <= PLANE_PINGS_MAX; token++) {
		CHECK_INT(plane_ping_link(a.plane, a.link, token), 0);
		CHECK_INT(plane_ping_link(b.plane, b.link, token), 0);
	}
	CHECK_INT(plane_ping_link(a.plane, a.link, 99), -EBUSY);
	CHECK_INT(take_pongs(&a, PLANE_PINGS_MAX), (1 << (PLANE_PINGS_MAX + 1)) - 2);
	CHECK_INT(take_pongs(&b, PLANE_PINGS_MAX), (1 << (PLANE_PINGS_MAX + 1)) - 2);
	CHECK_INT(plane_ping_link(a.plane, a.link, 99), 0);
	plane_forget_ping(a.plane, 99);
	hosts_close(&a, &b, finals);
}

/* ---- a link whose peer is played ---- */

struct stage {
	struct rig_tap tap;
	struct port port;
	struct link link;
	struct fabric *fabrics[2];
	struct path_scratch scratch;
	struct shmnet_ring_tx tx; /* the peer's */
	struct shmnet_ring_rx rx;
	struct ring_map maps[2]; /* the peer's */
	struct ring_map tx_map, rx_map;
};

static struct stage *stage_open(void)
{
	struct stage *stage = calloc(1, sizeof(*stage));
	struct link *link = &stage->link;

	if (!stage || !rig_tap_open(&stage->tap, 1) || !make_fabrics(stage->fabrics) ||
	    !rig_ring_open(RIG_RING_SIZE, &stage->tx_map, &stage->maps[0]) ||
	    !rig_ring_open(RIG_RING_SIZE, &stage->maps[1], &stage->rx_map))
		abort();
	stage->port = (struct port){.node_id = 1, .tag = RIG_TAG, .mtu = RIG_MTU};
	shmnet_mac_make(stage->port.mac, RIG_TAG, 1);
	stage->port.queues[0].fd = stage->tap.tap.queues[0];
	if (command_open(link) < 0)
		abort();
	link->port = &stage->port;
	link->fabric = stage->fabrics[0];
	link->peer_id = 2;
	shmnet_mac_make(link->peer_mac, RIG_TAG, 2);
	shmnet_ring_tx_init(&link->tx, stage->tx_map.words, stage->tx_map.data,
			    RIG_RING_SIZE, RIG_SALT);
	shmnet_ring_rx_init(&link->rx, stage->rx_map.words, stage->rx_map.data,
			    RIG_RING_SIZE, ~RIG_SALT);
	shmnet_ring_rx_init(&stage->rx, stage->maps[0].words, stage->maps[0].data,
			    RIG_RING_SIZE, RIG_SALT);
	shmnet_ring_tx_init(&stage->tx, stage->maps[1].words, stage->maps[1].data,
			    RIG_RING_SIZE, ~RIG_SALT);
	return stage;
}

static void stage_close(struct stage *stage)
{
	rig_tap_close(&stage->tap);
	command_close(&stage->link);
	fabric_close(stage->fabrics[0]);
	fabric_close(stage->fabrics[1]);
	ring_map_close(&stage->tx_map);
	ring_map_close(&stage->rx_map);
	ring_map_close(&stage->maps[0]);
	ring_map_close(&stage->maps[1]);
	free(stage);
}

static bool peer_put(struct stage *stage, const void *bytes, uint32_t length,
		     uint32_t flags)
{
	uint8_t *place;

	if (shmnet_ring_reserve(&stage->tx, length, flags, &place) < 0)
		return false;
	memcpy(place, bytes, length);
	shmnet_ring_submit(&stage->tx, length, flags);
	shmnet_ring_publish(&stage->tx);
	return true;
}

static bool peer_say(struct stage *stage, uint16_t type, uint64_t token)
{
	const struct shmnet_command_ping command = {
		{type, 0, sizeof(uint64_t)},
		token,
	};

	return peer_put(stage, &command, sizeof(command), SHMNET_RECORD_COMMAND);
}

/* The next command that the node sent; type 0 if there is none. */
static struct shmnet_command_ping peer_hear(struct stage *stage)
{
	struct shmnet_command_ping command = {0};
	struct shmnet_record record;

	if (shmnet_ring_poll(&stage->rx) <= 0 ||
	    shmnet_ring_peek(&stage->rx, &record) <= 0)
		return command;
	CHECK_INT(record.flags, SHMNET_RECORD_COMMAND);
	CHECK_INT(record.length, sizeof(command));
	memcpy(&command, record.payload, sizeof(command));
	CHECK_INT(command.header.zero, 0);
	CHECK_INT(command.header.length, sizeof(command.token));
	shmnet_ring_release(&stage->rx, &record);
	shmnet_ring_credit(&stage->rx);
	return command;
}

TEST_CASE(command, ping_is_answered_in_the_same_turn)
{
	struct stage *stage = stage_open();
	struct shmnet_command_ping answer;

	CHECK(peer_say(stage, SHMNET_COMMAND_PING, 0));
	CHECK(peer_say(stage, SHMNET_COMMAND_PING, UINT64_MAX));
	CHECK_INT(path_rx(&stage->link, &stage->scratch), 2);
	answer = peer_hear(stage);
	CHECK_INT(answer.header.type, SHMNET_COMMAND_PONG);
	CHECK_U64(answer.token, 0);
	answer = peer_hear(stage);
	CHECK_INT(answer.header.type, SHMNET_COMMAND_PONG);
	CHECK_U64(answer.token, UINT64_MAX);
	CHECK_INT(peer_hear(stage).header.type, 0);
	CHECK_U64(stage->link.counters.pings_answered, 2);
	CHECK_U64(stage->link.counters.received_frames, 0);
	stage_close(stage);
}

static const struct {
	const char *what;
	uint16_t type, zero;
	uint32_t length; /* as the command says */
	uint32_t size;	 /* of the record */
	uint32_t flags;
} malformed[] = {
	{"type 0", 0, 0, 8, 16, SHMNET_RECORD_COMMAND},
	{"unknown type", 4, 0, 8, 16, SHMNET_RECORD_COMMAND},
	{"largest type", 0xffff, 0, 8, 16, SHMNET_RECORD_COMMAND},
	{"zero is set", 1, 1, 8, 16, SHMNET_RECORD_COMMAND},
	{"length too small", 1, 0, 7, 16, SHMNET_RECORD_COMMAND},
	{"length too large", 2, 0, 9, 16, SHMNET_RECORD_COMMAND},
	{"length with the header", 1, 0, 16, 16, SHMNET_RECORD_COMMAND},
	{"record cut", 1, 0, 8, 15, SHMNET_RECORD_COMMAND},
	{"record of one byte", 1, 0, 8, 1, SHMNET_RECORD_COMMAND},
	{"record of a header", 1, 0, 0, 8, SHMNET_RECORD_COMMAND},
	{"record too long", 1, 0, 8, 17, SHMNET_RECORD_COMMAND},
	{"longest record", 1, 0, 8, SHMNET_RING_COMMAND_MAX, SHMNET_RECORD_COMMAND},
	{"cast", 1, 0, 8, 16, SHMNET_RECORD_COMMAND | SHMNET_RECORD_CAST},
	{"empty message", 3, 0, 0, 8, SHMNET_RECORD_COMMAND},
	{"message too long", 3, 0, 1025, 1033, SHMNET_RECORD_COMMAND},
	{"longest message that is a record", 3, 0, SHMNET_RING_COMMAND_MAX - 8,
	 SHMNET_RING_COMMAND_MAX, SHMNET_RECORD_COMMAND},
	{"message beyond the record", 3, 0, 9, 16, SHMNET_RECORD_COMMAND},
	{"message of all there is", 3, 0, UINT32_MAX, 16, SHMNET_RECORD_COMMAND},
	{"message that wraps", 3, 0, UINT32_MAX - 7, 16, SHMNET_RECORD_COMMAND},
	{"message that ends before the record", 3, 0, 7, 16, SHMNET_RECORD_COMMAND},
	{"message without its header", 3, 0, 0, 7, SHMNET_RECORD_COMMAND},
	{"message with zero set", 3, 0x100, 8, 16, SHMNET_RECORD_COMMAND},
	{"cast message", 3, 0, 8, 16, SHMNET_RECORD_COMMAND | SHMNET_RECORD_CAST},
};

TEST_CASE(command, malformed_ones_are_faults)
{
	static uint8_t bytes[SHMNET_RING_COMMAND_MAX];

	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		struct stage *stage = stage_open();
		const struct shmnet_command_ping command = {
			{malformed[i].type, malformed[i].zero, malformed[i].length}, 7};

		memcpy(bytes, &command, sizeof(command));
		CHECK(peer_put(stage, bytes, malformed[i].size, malformed[i].flags));
		CHECK(peer_say(stage, SHMNET_COMMAND_PING, 8));
		CHECK_INT(path_rx(&stage->link, &stage->scratch), 0);
		if (!CHECK_INT(stage->link.error, -EPROTO))
			CHECK_STR(malformed[i].what, "");
		CHECK_INT(peer_hear(stage).header.type, 0);
		stage_close(stage);
	}
}

/* Answers that nobody reads end; they start again once all were read. */
TEST_CASE(command, flood_is_answered_up_to_a_bound)
{
	struct stage *stage = stage_open();
	struct link_counters *counters = &stage->link.counters;
	uint64_t pings = 0;

	while (peer_say(stage, SHMNET_COMMAND_PING, pings))
		pings++;
	CHECK(pings > 4000);
	/* A frame behind them comes in its turn; a turn takes a burst, not more. */
	CHECK_INT(path_rx(&stage->link, &stage->scratch), PATH_BURST);
	while (path_rx(&stage->link, &stage->scratch) > 0)
		;
	CHECK_U64(counters->pings_answered, COMMAND_ANSWERS_MAX);
	CHECK_U64(counters->pings_unanswered, pings - COMMAND_ANSWERS_MAX);
	CHECK_U64(shmnet_ring_tx_used(&stage->link.tx),
		  COMMAND_ANSWERS_MAX * SHMNET_RING_ALIGN);
	CHECK_INT(stage->link.error, 0);
	for (uint64_t i = 0; i < COMMAND_ANSWERS_MAX; i++)
		CHECK_U64(peer_hear(stage).token, i);
	CHECK_INT(peer_hear(stage).header.type, 0);
	CHECK(peer_say(stage, SHMNET_COMMAND_PING, 5));
	CHECK_INT(path_rx(&stage->link, &stage->scratch), 1);
	CHECK_U64(peer_hear(stage).token, 5);
	stage_close(stage);
}

/* ---- messages ---- */

static bool peer_tell(struct stage *stage, uint32_t number, uint32_t length)
{
	uint8_t bytes[sizeof(struct shmnet_command) + SHMNET_COMMAND_MESSAGE_MAX];
	const struct shmnet_command header = {SHMNET_COMMAND_MESSAGE, 0, length};

	memset(bytes, (int)number, sizeof(bytes));
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), &number, sizeof(number));
	return peer_put(stage, bytes, (uint32_t)sizeof(header) + length,
			SHMNET_RECORD_COMMAND);
}

/* The next message that control gets; UINT32_MAX: there is none. */
static uint32_t hear(struct stage *stage, size_t *ret_length)
{
	uint8_t bytes[SHMNET_COMMAND_MESSAGE_MAX];
	uint32_t number;

	*ret_length = command_hear(&stage->link, bytes);
	if (*ret_length < sizeof(number))
		return UINT32_MAX;
	memcpy(&number, bytes, sizeof(number));
	for (size_t i = sizeof(number); i < *ret_length; i++)
		CHECK_INT(bytes[i], number & 0xff);
	return number;
}

TEST_CASE(command, messages_come_whole_and_in_order)
{
	struct stage *stage = stage_open();
	size_t length;

	CHECK(peer_tell(stage, 1, SHMNET_COMMAND_MESSAGE_MAX));
	CHECK(peer_say(stage, SHMNET_COMMAND_PING, 7));
	CHECK(peer_tell(stage, 2, 4));
	CHECK_INT(path_rx(&stage->link, &stage->scratch), 3);
	CHECK(stage->link.commands.has_news);
	CHECK_INT(hear(stage, &length), 1);
	CHECK_INT(length, SHMNET_COMMAND_MESSAGE_MAX);
	CHECK_INT(hear(stage, &length), 2);
	CHECK_INT(length, 4);
	hear(stage, &length);
	CHECK_INT(length, 0);
	CHECK_U64(peer_hear(stage).token, 7);
	CHECK_U64(stage->link.counters.messages_received, 2);
	CHECK_U64(stage->link.counters.received_frames, 0);
	stage_close(stage);
}

/* Control does not run: what it has no room for is lost, and pings are answered. */
TEST_CASE(command, flood_of_messages_is_taken_up_to_a_bound)
{
	struct stage *stage = stage_open();
	struct link_counters *counters = &stage->link.counters;
	uint32_t sent = 0;
	size_t length;

	for (unsigned turn = 0; turn < 20; turn++) {
		while (peer_tell(stage, sent, 4 + sent % 1020))
			sent++;
		CHECK_INT(path_rx(&stage->link, &stage->scratch), PATH_BURST);
	}
	while (path_rx(&stage->link, &stage->scratch) > 0)
		;
	CHECK_INT(stage->link.error, 0);
	CHECK_U64(counters->messages_received + counters->messages_lost, sent);
	CHECK(counters->messages_received >= COMMAND_POST_SIZE / 1040);
	CHECK(counters->messages_lost > 0);
	CHECK(peer_say(stage, SHMNET_COMMAND_PING, 9));
	CHECK_INT(path_rx(&stage->link, &stage->scratch), 1);
	CHECK_U64(peer_hear(stage).token, 9);
	for (uint64_t i = 0; i < counters->messages_received; i++) {
		uint32_t number = hear(stage, &length);

		CHECK_INT(length, 4 + number % 1020);
	}
	CHECK(peer_tell(stage, 77, 4));
	CHECK_INT(path_rx(&stage->link, &stage->scratch), 1);
	CHECK_INT(hear(stage, &length), 77);
	stage_close(stage);
}

TEST_CASE(command, messages_that_no_record_holds_are_refused)
{
	static const uint8_t bytes[SHMNET_COMMAND_MESSAGE_MAX + 1];
	struct stage *stage = stage_open();

	CHECK_INT(command_say(&stage->link, bytes, 0), -EMSGSIZE);
	CHECK_INT(command_say(&stage->link, bytes, sizeof(bytes)), -EMSGSIZE);
	CHECK_INT(command_say(&stage->link, bytes, sizeof(bytes) - 1), 0);
	CHECK(!command_send(&stage->link));
	CHECK_U64(stage->link.counters.messages_sent, 1);
	stage_close(stage);
}

static unsigned say_many(struct stage *stage, size_t length)
{
	static const uint8_t bytes[SHMNET_COMMAND_MESSAGE_MAX];
	unsigned count = 0;

	while (command_say(&stage->link, bytes, length) == 0)
		count++;
	return count;
}

/* A turn sends a burst; the rest waits for the next one. */
TEST_CASE(command, messages_are_sent_by_the_burst)
{
	struct stage *stage = stage_open();
	unsigned count = say_many(stage, 100);

	CHECK(count > 3 * COMMAND_BURST);
	for (unsigned sent = 0; sent + COMMAND_BURST <= count; sent += COMMAND_BURST) {
		CHECK(command_send(&stage->link));
		CHECK_U64(stage->link.counters.messages_sent, sent + COMMAND_BURST);
	}
	CHECK(!command_send(&stage->link));
	CHECK_U64(stage->link.counters.messages_sent, count);
	CHECK_U64(stage->link.counters.messages_lost, 0);
	stage_close(stage);
}

/*
 * A ring that is full of frames takes eleven of the longest messages; one that is
 * full of them, too, all pings and answers.
 */
TEST_CASE(command, messages_leave_room_for_pings)
{
	struct stage *stage = stage_open();
	struct link *link = &stage->link;
	uint8_t *place;
	unsigned count;

	while (shmnet_ring_reserve(&link->tx, 48, 0, &place) == 0)
		shmnet_ring_submit(&link->tx, 48, 0);
	count = say_many(stage, SHMNET_COMMAND_MESSAGE_MAX);
	while (command_send(link))
		;
	CHECK_U64(link->counters.messages_sent + link->counters.messages_lost, count);
	CHECK_U64(link->counters.messages_sent, 11);
	for (uint64_t token = 1; token <= COMMAND_PINGS_MAX; token++)
		CHECK_INT(command_ask(link, token), 0);
	command_send(link);
	for (unsigned i = 0; i < COMMAND_ANSWERS_MAX; i++)
		CHECK(peer_say(stage, SHMNET_COMMAND_PING, i));
	path_rx(link, &stage->scratch);
	CHECK_U64(link->counters.pings_answered, COMMAND_ANSWERS_MAX);
	CHECK_U64(link->counters.pings_unanswered, 0);
	stage_close(stage);
}

TEST_CASE(command, link_at_rest_sends_no_messages)
{
	struct stage *stage = stage_open();

	say_many(stage, 100);
	stage->link.error = -EPROTO;
	CHECK(!command_send(&stage->link));
	CHECK_U64(stage->link.counters.messages_sent, 0);
	CHECK_U64(shmnet_ring_tx_used(&stage->link.tx), 0);
	stage_close(stage);
}

TEST_CASE(command, dead_peer_is_not_listened_to)
{
	struct stage *stage = stage_open();
	size_t length;

	CHECK(peer_tell(stage, 1, 10));
	path_rx_salvage(&stage->link, &stage->scratch);
	hear(stage, &length);
	CHECK_INT(length, 0);
	CHECK_U64(stage->link.counters.messages_received, 0);
	CHECK_U64(stage->link.counters.messages_lost, 1);
	stage_close(stage);
}

/* ---- rings without room ---- */

/* Frames may not take the commands' room, so pings pass a ring that is full of them. */
TEST_CASE(command, full_ring_has_room_for_commands)
{
	struct stage *stage = stage_open();
	struct link *link = &stage->link;
	struct shmnet_record record;
	uint8_t *place;

	while (shmnet_ring_reserve(&link->tx, 1000, 0, &place) == 0)
		shmnet_ring_submit(&link->tx, 1000, 0);
	CHECK(peer_say(stage, SHMNET_COMMAND_PING, 9));
	CHECK_INT(path_rx(link, &stage->scratch), 1);
	while (shmnet_ring_poll(&stage->rx) > 0 &&
	       shmnet_ring_peek(&stage->rx, &record) > 0 && !record.flags)
		shmnet_ring_release(&stage->rx, &record);
	CHECK_U64(peer_hear(stage).token, 9);
	stage_close(stage);
}

TEST_CASE(command, ring_without_any_room_loses_the_answer)
{
	struct stage *stage = stage_open();
	struct link *link = &stage->link;
	uint8_t *place;

	while (shmnet_ring_reserve(&link->tx, 48, SHMNET_RECORD_COMMAND, &place) == 0)
		shmnet_ring_submit(&link->tx, 48, SHMNET_RECORD_COMMAND);
	CHECK(peer_say(stage, SHMNET_COMMAND_PING, 9));
	CHECK_INT(path_rx(link, &stage->scratch), 1);
	CHECK_U64(link->counters.pings_unanswered, 1);
	CHECK_INT(command_ask(link, 3), 0);
	command_send(link);
	CHECK_INT(link->error, 0);
	/* It is lost, and not sent late. */
	link->tx.tail = link->tx.head;
	command_send(link);
	CHECK_U64(shmnet_ring_tx_used(&link->tx), 0);
	stage_close(stage);
}

TEST_CASE(command, nonsense_tail_is_found_while_answering)
{
	struct stage *stage = stage_open();

	for (unsigned i = 0; i < COMMAND_ANSWERS_MAX + 1; i++)
		CHECK(peer_say(stage, SHMNET_COMMAND_PING, i));
	stage->link.tx.words->tail = 32;
	path_rx(&stage->link, &stage->scratch);
	CHECK_INT(stage->link.error, -EPROTO);
	stage_close(stage);
}

/* ---- asking a peer that is played ---- */

static void check_no_answer(struct link *link)
{
	uint64_t token, time_ns;

	CHECK(!command_take_answer(link, &token, &time_ns));
	CHECK(!link->commands.has_news);
}

TEST_CASE(command, pongs_that_nobody_asked_for_are_ignored)
{
	struct stage *stage = stage_open();
	struct link *link = &stage->link;
	uint64_t token, time_ns;

	CHECK_INT(command_ask(link, 77), 0);
	/* Asked, but not sent: the peer can't know it. */
	for (uint64_t lie = 0; lie < 80; lie++)
		CHECK(peer_say(stage, SHMNET_COMMAND_PONG, lie));
	while (path_rx(link, &stage->scratch) > 0)
		;
	check_no_answer(link);
	CHECK_U64(link->counters.pongs_ignored, 80);
	command_send(link);
	path_publish(link);
	CHECK_U64(peer_hear(stage).token, 77);
	/* Once, and then it's nobody's again. */
	CHECK(peer_say(stage, SHMNET_COMMAND_PONG, 78));
	CHECK(peer_say(stage, SHMNET_COMMAND_PONG, 77));
	CHECK(peer_say(stage, SHMNET_COMMAND_PONG, 77));
	CHECK_INT(path_rx(link, &stage->scratch), 3);
	CHECK(link->commands.has_news);
	link->commands.has_news = false;
	CHECK(command_take_answer(link, &token, &time_ns));
	CHECK_U64(token, 77);
	check_no_answer(link);
	CHECK(peer_say(stage, SHMNET_COMMAND_PONG, 77));
	CHECK_INT(path_rx(link, &stage->scratch), 1);
	check_no_answer(link);
	CHECK_U64(link->counters.pongs_ignored, 83);
	CHECK_INT(link->error, 0);
	stage_close(stage);
}

TEST_CASE(command, late_answer_is_not_the_next_ones)
{
	struct stage *stage = stage_open();
	struct link *link = &stage->link;
	uint64_t token, time_ns;

	CHECK_INT(command_ask(link, 1), 0);
	command_send(link);
	CHECK(command_forget(link, 1));
	CHECK(!command_forget(link, 1));
	CHECK_INT(command_ask(link, 2), 0); /* the same slot */
	CHECK(peer_say(stage, SHMNET_COMMAND_PONG, 1));
	path_rx(link, &stage->scratch);
	check_no_answer(link);
	command_send(link);
	CHECK(peer_say(stage, SHMNET_COMMAND_PONG, 1));
	CHECK(peer_say(stage, SHMNET_COMMAND_PONG, 2));
	path_rx(link, &stage->scratch);
	CHECK(command_take_answer(link, &token, &time_ns));
	CHECK_U64(token, 2);
	stage_close(stage);
}

TEST_CASE(command, dead_peer_is_not_answered)
{
	struct stage *stage = stage_open();

	CHECK(peer_say(stage, SHMNET_COMMAND_PING, 1));
	path_rx_salvage(&stage->link, &stage->scratch);
	CHECK_U64(shmnet_ring_tx_used(&stage->link.tx), 0);
	CHECK_U64(stage->link.counters.pings_answered, 0);
	stage_close(stage);
}

static bool was_sent(const struct link *link)
{
	struct link_counters counters;
	struct link_usage usage;

	for (unsigned i = 0; i < WAIT_MS; i++) {
		plane_read_link(link, &counters, &usage);
		if (usage.ring_used)
			return true;
		poll(NULL, 0, 1);
	}
	return false;
}

/* A plane that is asked, and whose peer left: what lay in its ring was no frame. */
TEST_CASE(command, unread_commands_are_no_lost_frames)
{
	struct link_counters finals[2];
	struct host a, b;

	REQUIRE(hosts_open(&a, &b));
	plane_remove_link(b.plane, b.link, false, &finals[1]);
	CHECK_INT(plane_ping_link(a.plane, a.link, 1), 0);
	CHECK(was_sent(a.link));
	plane_remove_link(a.plane, a.link, false, &finals[0]);
	CHECK_U64(finals[0].drops[DROP_PEER_DOWN], 0);
	host_close(&a);
	host_close(&b);
}
