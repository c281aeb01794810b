/*
 * Messages between planes with their workers running: in order and without loss as long
 * as control keeps up, woken from sleep, fair between peers if one floods us, a ring
 * that is full, and links that end with messages under way. command_test.c has what a
 * peer may not send.
 *
 * The test's thread is the control thread of all.
 */
#include "cable.h"
#include "shim.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define MESSAGES (20000u / SLOWED)

/* Of a length and with bytes that its number says. */
static size_t make_message(uint32_t number, uint8_t *bytes)
{
	size_t length = sizeof(number) +
			number * 7919u % (PLANE_MESSAGE_MAX - sizeof(number) + 1);

	memset(bytes, (int)(number & 0xff), length);
	memcpy(bytes, &number, sizeof(number));
	return length;
}

static int say(struct host *host, struct link *link, uint32_t number)
{
	uint8_t bytes[PLANE_MESSAGE_MAX];

	return plane_send_message(host->plane, link, bytes, make_message(number, bytes));
}

static bool is_message(const struct plane_message *message, uint32_t number)
{
	uint8_t bytes[PLANE_MESSAGE_MAX];

	return message->length == make_message(number, bytes) &&
	       memcmp(message->bytes, bytes, message->length) == 0;
}

/* As the control thread does when the event is there. */
static void take_event(struct host *host)
{
	struct plane_fault fault;

	CHECK(!plane_next_fault(host->plane, &fault));
}

/* False if no event comes: a wake-up was lost. */
static bool wait_event(struct host *a, struct host *b)
{
	struct pollfd fds[2] = {
		{.fd = plane_event_fd(a->plane), .events = POLLIN},
		{.fd = plane_event_fd(b->plane), .events = POLLIN},
	};

	if (poll(fds, 2, WAIT_MS) <= 0)
		return false;
	take_event(a);
	take_event(b);
	return true;
}

/* ---- both ways ---- */

struct talk {
	struct host hosts[2];
	struct cable cable;
	uint32_t said[2];  /* by each side */
	uint32_t heard[2]; /* by each side */
};

static bool talk_open(struct talk *talk, uint32_t spin_us)
{
	memset(talk, 0, sizeof(*talk));
	return host_open(&talk->hosts[0], 1, 1, spin_us) &&
	       host_open(&talk->hosts[1], 2, 2, 0) &&
	       cable_plug(&talk->cable, &talk->hosts[0], &talk->hosts[1]);
}

static void talk_close(struct talk *talk, struct link_counters finals[2])
{
	for (unsigned side = 0; side < 2; side++)
		cable_detach(&talk->cable, side, false, &finals[side]);
	host_close(&talk->hosts[0]);
	host_close(&talk->hosts[1]);
}

/* Up to `window` that the other side has not heard yet. */
static void say_some(struct talk *talk, unsigned side, uint32_t window)
{
	while (talk->said[side] < MESSAGES &&
	       talk->said[side] - talk->heard[!side] < window &&
	       CHECK_INT(
		       say(&talk->hosts[side], talk->cable.link[side], talk->said[side]),
		       0))
		talk->said[side]++;
}

static bool hear_some(struct talk *talk, unsigned side)
{
	struct plane_message message;
	bool any = false;

	while (plane_next_message(talk->hosts[side].plane, &message)) {
		CHECK(message.link == talk->cable.link[side]);
		CHECK(is_message(&message, talk->heard[side]));
		talk->heard[side]++;
		any = true;
	}
	return any;
}

static void check_talk(uint32_t spin_us, uint32_t window)
{
	struct link_counters finals[2];
	struct talk talk;
	bool any;

	REQUIRE(talk_open(&talk, spin_us));
	while ((talk.heard[0] < MESSAGES || talk.heard[1] < MESSAGES) && !test_failed()) {
		say_some(&talk, 0, window);
		say_some(&talk, 1, window);
		any = hear_some(&talk, 0);
		any = hear_some(&talk, 1) || any;
		if (!any)
			REQUIRE(wait_event(&talk.hosts[0], &talk.hosts[1]));
	}
	WAIT_UNTIL(process_rests());
	talk_close(&talk, finals);
	for (unsigned side = 0; side < 2; side++) {
		CHECK_U64(finals[side].messages_sent, MESSAGES);
		CHECK_U64(finals[side].messages_received, MESSAGES);
		CHECK_U64(finals[side].messages_lost, 0);
		CHECK_U64(finals[side].sent_frames + finals[side].received_frames, 0);
	}
}

/* Each finds two workers asleep. */
TEST_CASE(message, one_at_a_time)
{
	check_talk(0, 1);
}

TEST_CASE(message, many_at_a_time)
{
	check_talk(50, 100);
}

/* ---- a peer that floods us ---- */

#define FEW 30u

static void say_too_much(struct host *host, struct link *link)
{
	for (uint32_t i = 0; i < 1000 && say(host, link, i) == 0; i++)
		continue;
}

/* Nobody takes what comes to `a`: b's is lost, c's waits. */
static void flood(struct host *b, struct cable *to_b, struct host *c, struct cable *to_c)
{
	WAIT_UNTIL((say_too_much(b, to_b->link[1]),
		    read_link(to_b->link[0]).messages_lost > 1000));
	for (uint32_t i = 0; i < FEW; i++) {
		say_too_much(b, to_b->link[1]);
		CHECK_INT(say(c, to_c->link[1], i), 0);
	}
	WAIT_UNTIL(read_link(to_c->link[0]).messages_received == FEW);
}

/* Turn and turn about, though b's were there first. */
static void check_turns(struct host *a, const struct link *from_c)
{
	struct plane_message message;
	uint32_t heard = 0;

	for (unsigned i = 0; i < 2 * FEW; i++) {
		REQUIRE(plane_next_message(a->plane, &message));
		if (message.link == from_c)
			CHECK(is_message(&message, heard++));
	}
	CHECK_INT(heard, FEW);
}

TEST_CASE(message, flood_displaces_nobody_elses)
{
	struct link_counters finals[2];
	struct host a, b, c;
	struct cable to_b, to_c;

	REQUIRE(host_open(&a, 1, 1, 0) && host_open(&b, 2, 1, 0) &&
		host_open(&c, 3, 1, 0));
	REQUIRE(cable_plug(&to_b, &a, &b) && cable_plug(&to_c, &a, &c));
	flood(&b, &to_b, &c, &to_c);
	check_turns(&a, to_c.link[0]);
	WAIT_UNTIL(process_rests());
	CHECK_U64(read_link(to_c.link[0]).messages_lost, 0);
	cable_detach(&to_b, 0, false, &finals[0]);
	cable_detach(&to_b, 1, false, &finals[1]);
	CHECK(finals[0].messages_received + finals[0].messages_lost <=
	      finals[1].messages_sent);
	CHECK_U64(finals[1].messages_received, 0);
	cable_detach(&to_c, 0, false, NULL);
	cable_detach(&to_c, 1, false, NULL);
	host_close(&a);
	host_close(&b);
	host_close(&c);
}

/* Control looks at everything else between so many, and is called back for the rest. */
TEST_CASE(message, control_takes_so_many_in_a_row)
{
	struct link_counters finals[2];
	struct plane_message message;
	struct talk talk;
	uint32_t heard = 0, rounds = 0;

	REQUIRE(talk_open(&talk, 0));
	for (uint32_t i = 0; i < 200; i++)
		CHECK_INT(say(&talk.hosts[1], talk.cable.link[1], i), 0);
	WAIT_UNTIL(read_link(talk.cable.link[0]).messages_received == 200);
	while (heard < 200) {
		REQUIRE(wait_event(&talk.hosts[0], &talk.hosts[1]));
		for (rounds++; plane_next_message(talk.hosts[0].plane, &message); heard++)
			CHECK(is_message(&message, heard));
		CHECK(heard <= rounds * PLANE_MESSAGES_MAX);
	}
	talk_close(&talk, finals);
}

/* ---- a peer that does not read ---- */

/* The played peer takes what is there: in order, with gaps. Returns how many. */
static unsigned played_hear(struct cable *cable)
{
	struct fabric *fabric = cable->fabric[1];
	struct shmnet_record record;
	uint32_t number, last = 0;
	unsigned count = 0;

	CHECK(fabric->ops->poll(fabric, &cable->rx, &cable->tx) >= 0);
	for (; shmnet_ring_peek(&cable->rx, &record) == 1; count++, last = number) {
		struct plane_message message = {.length = record.length - 8};

		memcpy(message.bytes, record.payload + 8, message.length);
		memcpy(&number, message.bytes, sizeof(number));
		CHECK_INT(record.flags, SHMNET_RECORD_COMMAND);
		CHECK(count == 0 || number > last);
		CHECK(is_message(&message, number));
		shmnet_ring_release(&cable->rx, &record);
	}
	CHECK_INT(fabric->ops->credit(fabric, &cable->rx), 0);
	return count;
}

TEST_CASE(message, full_ring_loses_what_comes_then)
{
	struct link_counters counters;
	struct cable cable;
	struct host a;
	uint32_t said = 0;

	REQUIRE(host_open(&a, 1, 2, 0) && cable_plug_played(&cable, &a, 2));
	while (!read_link(cable.link[0]).messages_lost) {
		if (say(&a, cable.link[0], said) == 0)
			said++;
		else
			pause_ms(1);
	}
	WAIT_UNTIL((counters = read_link(cable.link[0]),
		    counters.messages_sent + counters.messages_lost == said));
	CHECK_INT(played_hear(&cable), counters.messages_sent);
	CHECK_INT(say(&a, cable.link[0], said), 0);
	WAIT_UNTIL(played_hear(&cable) == 1);
	cable_detach(&cable, 0, false, &counters);
	CHECK_U64(counters.drops[DROP_PEER_DOWN], 0);
	cable_free_played(&cable);
	host_close(&a);
}

/* ---- links that end ---- */

static void check_end(bool peer_is_dead)
{
	struct link_counters final;
	struct plane_message message;
	struct talk talk;

	REQUIRE(talk_open(&talk, 0));
	for (uint32_t i = 0; i < 50; i++) {
		CHECK_INT(say(&talk.hosts[0], talk.cable.link[0], i), 0);
		CHECK_INT(say(&talk.hosts[1], talk.cable.link[1], i), 0);
	}
	WAIT_UNTIL(read_link(talk.cable.link[0]).messages_received == 50);
	CHECK(plane_next_message(talk.hosts[0].plane, &message));
	/* More under way: in the outbox, the ring, or the inbox. */
	CHECK_INT(say(&talk.hosts[1], talk.cable.link[1], 50), 0);
	cable_detach(&talk.cable, 1, false, NULL);
	cable_detach(&talk.cable, 0, peer_is_dead, &final);
	CHECK(!plane_next_message(talk.hosts[0].plane, &message));
	CHECK(!plane_next_message(talk.hosts[1].plane, &message));
	CHECK_U64(final.drops[DROP_PEER_DOWN], 0);
	host_close(&talk.hosts[0]);
	host_close(&talk.hosts[1]);
}

TEST_CASE(message, nothing_comes_of_a_link_that_is_removed)
{
	check_end(false);
	check_end(true);
}

/* The next link of the same pair begins with nothing of the former one. */
TEST_CASE(message, next_link_begins_anew)
{
	struct link_counters finals[2];
	struct plane_message message;
	struct talk talk;

	REQUIRE(talk_open(&talk, 0));
	for (uint32_t life = 0; life < 50; life++) {
		CHECK_INT(say(&talk.hosts[1], talk.cable.link[1], life), 0);
		WAIT_UNTIL(plane_next_message(talk.hosts[0].plane, &message));
		CHECK(is_message(&message, life));
		CHECK_INT(say(&talk.hosts[1], talk.cable.link[1], 99), 0);
		for (unsigned side = 2; side-- > 0;)
			cable_detach(&talk.cable, side, side == 0, NULL);
		REQUIRE(cable_plug(&talk.cable, &talk.hosts[0], &talk.hosts[1]));
	}
	talk_close(&talk, finals);
}
