/*
 * Cast rings with workers running: who sleeps is woken, a slot that stays in writing
 * wakes nobody, rings are replaced and writers die under traffic, and a member that
 * scribbles over all that it shares spoils no more than casts.
 */
#include "data/plane.h"

#include "cable.h"
#include "shim.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS (50000u / SLOWED) /* of two casts */
#define DEPTH  256u

/* Two hosts, or one and a writer that the test plays. */
struct pair {
	struct host hosts[2];
	struct cable cable;
	struct cast_file file;
	struct cast *casts[2];
};

static bool pair_open(struct pair *pair, uint32_t spin_us)
{
	memset(pair, 0, sizeof(*pair));
	return host_open(&pair->hosts[0], 1, 1, 0) &&
	       host_open(&pair->hosts[1], 2, 1, spin_us) &&
	       cable_plug(&pair->cable, &pair->hosts[0], &pair->hosts[1]);
}

static void say_reads(struct pair *pair, unsigned writer)
{
	plane_set_link_reads(pair->hosts[writer].plane, pair->cable.link[writer],
			     pair->casts[writer]);
}

static bool pair_add_ring(struct pair *pair, uint32_t depth)
{
	if (!cast_file_open(&pair->file, depth))
		return false;
	for (unsigned i = 0; i < 2; i++) {
		if (host_add_cast(&pair->hosts[i], &pair->file, true, &pair->casts[i]) <
		    0)
			return false;
	}
	say_reads(pair, 0);
	say_reads(pair, 1);
	return true;
}

static void pair_remove_ring(struct pair *pair)
{
	for (unsigned i = 0; i < 2; i++)
		plane_remove_cast(pair->hosts[i].plane, pair->casts[i], NULL);
	cast_file_close(&pair->file);
}

static void pair_close(struct pair *pair)
{
	cable_detach(&pair->cable, 0, false, NULL);
	cable_detach(&pair->cable, 1, false, NULL);
	host_close(&pair->hosts[0]);
	host_close(&pair->hosts[1]);
}

static void send_cast(struct host *host, uint64_t number)
{
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length = rig_frame(frame, host->id, RIG_TO_ALL, number, 64 + number % 64);

	CHECK(host_write(host, 0, frame, length));
}

/* False if none comes, or another one. */
static bool expect_cast(struct host *host, unsigned from, uint64_t number)
{
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length = host_read(host, 0, frame);

	return CHECK(rig_frame_is(frame, length, from, RIG_TO_ALL, number));
}

/* ---- sleeping and waking ---- */

static void *echo_main(void *arg)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct host *host = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t length = host_read(host, 0, frame);

		if (!CHECK(length != 0))
			break;
		rig_frame(frame, host->id, RIG_TO_ALL, rig_frame_number(frame), length);
		host_write(host, 0, frame, length);
	}
	return NULL;
}

/* Each cast is a chance to lose a wake-up. */
static void check_ping_pong(uint32_t spin_us)
{
	struct link_counters finals[2];
	struct pair pair;
	pthread_t thread;

	REQUIRE(pair_open(&pair, spin_us) && pair_add_ring(&pair, DEPTH));
	REQUIRE(pthread_create(&thread, NULL, echo_main, &pair.hosts[1]) == 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		send_cast(&pair.hosts[0], i);
		REQUIRE(expect_cast(&pair.hosts[0], 2, i));
	}
	pthread_join(thread, NULL);
	WAIT_UNTIL(process_rests());
	CHECK_U64(read_cast(pair.casts[0]).written, ROUNDS);
	CHECK_U64(read_cast(pair.casts[0]).received, ROUNDS);
	pair_remove_ring(&pair);
	cable_detach(&pair.cable, 0, false, &finals[0]);
	cable_detach(&pair.cable, 1, false, &finals[1]);
	check_conservation(&finals[0], &finals[1]);
	check_conservation(&finals[1], &finals[0]);
	CHECK_U64(finals[1].delivered_frames, ROUNDS);
	host_close(&pair.hosts[0]);
	host_close(&pair.hosts[1]);
}

TEST_CASE(cast_plane, ping_pong_without_spinning)
{
	check_ping_pong(0);
}

TEST_CASE(cast_plane, ping_pong_with_spinning)
{
	check_ping_pong(50);
}

/* ---- a slot that stays in writing ---- */

/* A third member stops in the middle of a frame: the others wait, asleep, not long. */
TEST_CASE(cast_plane, writer_that_stops_in_mid_slot)
{
	struct shmnet_cast_writer writer;
	struct shmnet_cast_ring ring;
	struct pair pair;
	uint8_t *place;

	REQUIRE(pair_open(&pair, 0) && pair_add_ring(&pair, DEPTH));
	ring = cast_file_ring(&pair.file);
	shmnet_cast_writer_init(&writer, &ring, 3);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_INT(shmnet_cast_reserve(&writer, &place), 0);
		send_cast(&pair.hosts[0], i);
		CHECK(expect_cast(&pair.hosts[1], 1, i));
		WAIT_UNTIL(read_cast(pair.casts[1]).holes == i + 1);
		WAIT_UNTIL(process_rests());
		writer.claimed = false; /* it never comes back */
	}
	CHECK_INT(plane_next_fault(pair.hosts[1].plane, &(struct plane_fault){0}), false);
	pair_remove_ring(&pair);
	pair_close(&pair);
}

/* What it was writing is given up at once if it is known to be dead. */
TEST_CASE(cast_plane, slot_of_a_dead_writer)
{
	struct shmnet_cast_writer writer;
	struct shmnet_cast_ring ring;
	struct pair pair;
	uint8_t *place;

	REQUIRE(pair_open(&pair, 0) && pair_add_ring(&pair, DEPTH));
	ring = cast_file_ring(&pair.file);
	shmnet_cast_writer_init(&writer, &ring, 3);
	CHECK_INT(shmnet_cast_reserve(&writer, &place), 0);
	send_cast(&pair.hosts[0], 0);
	WAIT_UNTIL(read_cast(pair.casts[0]).written == 1);
	CHECK_U64(plane_reclaim_cast(pair.casts[1], 3), 1);
	CHECK(expect_cast(&pair.hosts[1], 1, 0));
	WAIT_UNTIL(read_cast(pair.casts[1]).holes == 1);
	pair_remove_ring(&pair);
	pair_close(&pair);
}

/* ---- the end of a ring ---- */

TEST_CASE(cast_plane, closed_ring_is_read_to_its_end)
{
	struct plane_fault fault;
	struct pair pair;

	REQUIRE(pair_open(&pair, 0) && pair_add_ring(&pair, DEPTH));
	for (unsigned i = 0; i < 100; i++)
		send_cast(&pair.hosts[0], i);
	WAIT_UNTIL(read_cast(pair.casts[0]).written == 100);
	plane_close_cast(pair.casts[1]);
	for (unsigned i = 0; i < 100; i++)
		REQUIRE(expect_cast(&pair.hosts[1], 1, i));
	REQUIRE(host_wait_fault(&pair.hosts[1], &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_CAST);
	CHECK(fault.cast == pair.casts[1]);
	CHECK_INT(fault.error, -ESHUTDOWN);
	CHECK(!plane_next_fault(pair.hosts[1].plane, &fault));
	WAIT_UNTIL(process_rests());
	pair_remove_ring(&pair);
	pair_close(&pair);
}

TEST_CASE(cast_plane, ring_whose_w_is_nonsense)
{
	struct plane_fault fault;
	struct pair pair;

	REQUIRE(pair_open(&pair, 0) && pair_add_ring(&pair, DEPTH));
	send_cast(&pair.hosts[0], 0);
	REQUIRE(expect_cast(&pair.hosts[1], 1, 0));
	__atomic_store_n(&cast_file_ring(&pair.file).head->head,
			 SHMNET_CAST_POSITION_MAX + 1, __ATOMIC_SEQ_CST);
	send_cast(&pair.hosts[0], 1); /* as a copy */
	for (unsigned i = 0; i < 2; i++) {
		if (i == 1)
			send_cast(&pair.hosts[0], 2);
		REQUIRE(expect_cast(&pair.hosts[1], 1, i + 1));
		REQUIRE(host_wait_fault(&pair.hosts[i], &fault));
		CHECK_INT(fault.kind, PLANE_FAULT_CAST);
		CHECK_INT(fault.error, -EPROTO);
		CHECK(!plane_next_fault(pair.hosts[i].plane, &fault));
	}
	WAIT_UNTIL(process_rests());
	pair_remove_ring(&pair);
	pair_close(&pair);
}

TEST_CASE(cast_plane, ring_that_is_wanted)
{
	struct plane_fault fault;
	struct pair pair;

	REQUIRE(pair_open(&pair, 0));
	send_cast(&pair.hosts[0], 0);
	REQUIRE(expect_cast(&pair.hosts[1], 1, 0));
	REQUIRE(host_wait_fault(&pair.hosts[0], &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_CAST_WANTED);
	CHECK_INT(fault.port, pair.hosts[0].port);
	CHECK_INT(fault.label[0] & fault.label[5], 0xff);
	send_cast(&pair.hosts[0], 1);
	REQUIRE(expect_cast(&pair.hosts[1], 1, 1));
	CHECK(!plane_next_fault(pair.hosts[0].plane, &fault));
	plane_cast_answered(pair.hosts[0].plane, pair.hosts[0].port, fault.label);
	REQUIRE(pair_add_ring(&pair, DEPTH));
	send_cast(&pair.hosts[0], 2);
	REQUIRE(expect_cast(&pair.hosts[1], 1, 2));
	CHECK_U64(read_cast(pair.casts[0]).written, 1);
	pair_remove_ring(&pair);
	pair_close(&pair);
}

/* Who shares no memory gets copies, whatever there is; one that does makes it worth. */
TEST_CASE(cast_plane, ring_is_wanted_for_who_could_read_it)
{
	struct plane_fault fault;
	struct host hosts[3];
	struct cable far, near;

	REQUIRE(host_open(&hosts[0], 1, 1, 0) && host_open(&hosts[1], 2, 1, 0) &&
		host_open(&hosts[2], 3, 1, 0));
	REQUIRE(cable_plug_remote(&far, &hosts[0], &hosts[1]));
	for (unsigned i = 0; i < 100; i++) {
		send_cast(&hosts[0], i);
		REQUIRE(expect_cast(&hosts[1], 1, i));
	}
	WAIT_UNTIL(process_rests());
	CHECK(!plane_next_fault(hosts[0].plane, &fault));
	REQUIRE(cable_plug(&near, &hosts[0], &hosts[2]));
	send_cast(&hosts[0], 100);
	REQUIRE(expect_cast(&hosts[1], 1, 100) && expect_cast(&hosts[2], 1, 100));
	REQUIRE(host_wait_fault(&hosts[0], &fault));
	CHECK_INT(fault.kind, PLANE_FAULT_CAST_WANTED);
	for (unsigned side = 0; side < 2; side++) {
		cable_detach(&far, side, false, NULL);
		cable_detach(&near, side, false, NULL);
	}
	for (unsigned i = 0; i < 3; i++)
		host_close(&hosts[i]);
}

/* ---- a dead writer ---- */

#define DEAD_RINGS 3u
#define DEAD_CASTS (DEPTH - 1) /* in each ring; and a slot in which it is killed */

static bool die_writing(const struct cast_file *file, struct shmnet_ring_words *words,
			unsigned index)
{
	struct shmnet_cast_ring ring = cast_file_ring(file);
	struct shmnet_cast_writer writer;
	uint8_t *place = NULL;

	shmnet_cast_writer_init(&writer, &ring, 2);
	shmnet_cast_announce(words, index, file->id, 0);
	for (unsigned i = 0; i < DEAD_CASTS; i++) {
		if (shmnet_cast_reserve(&writer, &place) < 0)
			return false;
		rig_frame(place, 2, RIG_TO_ALL, index, 100);
		if (shmnet_cast_submit(&writer, 100, SHMNET_RECORD_CAST) < 0)
			return false;
	}
	return shmnet_cast_reserve(&writer, &place) == 0;
}

/* What it had put there is delivered before its link goes, although no bell rang. */
TEST_CASE(cast_plane, dead_writer_is_salvaged)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct cast_file files[DEAD_RINGS];
	struct cast *casts[DEAD_RINGS];
	struct link_counters final;
	struct cable cable;
	struct host a;

	REQUIRE(host_open(&a, 1, 1, 0) && cable_plug_played(&cable, &a, 2));
	for (unsigned i = 0; i < DEAD_RINGS; i++) {
		REQUIRE(cast_file_open(&files[i], DEPTH));
		CHECK_INT(host_add_cast(&a, &files[i], true, &casts[i]), 0);
	}
	WAIT_UNTIL(process_rests());
	for (unsigned i = 0; i < DEAD_RINGS; i++)
		CHECK(die_writing(&files[i], cable.tx.words, i));
	cable_hang_up(&cable);
	for (unsigned i = 0; i < DEAD_RINGS; i++)
		CHECK_U64(plane_reclaim_cast(casts[i], 2), 1);
	cable_detach(&cable, 0, true, &final);
	CHECK_U64(final.delivered_frames + final.drops[DROP_TAP_ERROR],
		  DEAD_RINGS * DEAD_CASTS);
	CHECK_U64(final.drops[DROP_CAST_LOST], 0);
	for (uint64_t i = 0; i < final.delivered_frames; i++) {
		size_t length = host_read(&a, 0, frame);

		REQUIRE(rig_frame_is(frame, length, 2, RIG_TO_ALL,
				     rig_frame_number(frame)));
	}
	for (unsigned i = 0; i < DEAD_RINGS; i++) {
		plane_remove_cast(a.plane, casts[i], NULL);
		cast_file_close(&files[i]);
	}
	cable_free_played(&cable);
	host_close(&a);
}

/* ---- rings and links that come and go ---- */

struct pump {
	struct host *from;
	struct host *to;
	bool stop; /* writing */
	bool end;  /* of reading, as soon as there is nothing left */
	uint64_t written;
	uint64_t read;
	uint64_t twice; /* came more than once */
	uint8_t *had;
};

#define CASTS_MAX 20000000u /* more than there is time for */

static void *pump_main(void *arg)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct pump *pump = arg;

	while (!__atomic_load_n(&pump->stop, __ATOMIC_ACQUIRE) &&
	       pump->written < CASTS_MAX) {
		size_t length = 100 + pump->written % 1000;

		rig_frame(frame, pump->from->id, RIG_TO_ALL, pump->written, length);
		if (!host_write(pump->from, 0, frame, length))
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
	struct pollfd fd = {pump->to->tap.host[0], POLLIN, 0};

	while (!__atomic_load_n(&pump->end, __ATOMIC_ACQUIRE) || poll(&fd, 1, 0) > 0) {
		if (poll(&fd, 1, 1) <= 0 ||
		    recv(fd.fd, frame, sizeof(frame), MSG_DONTWAIT) <= 0)
			continue;
		pump->read++;
		pump->twice += pump->had[rig_frame_number(frame)]++;
	}
	return NULL;
}

/* As control does it: the new one for all, then the old one is closed and drained. */
static void replace_ring(struct pair *pair, unsigned first)
{
	struct pair old = *pair;
	struct plane_fault fault;

	REQUIRE(cast_file_open(&pair->file, DEPTH));
	for (unsigned i = 0; i < 2; i++) {
		unsigned who = i ^ first;

		CHECK_INT(host_add_cast(&pair->hosts[who], &pair->file, true,
					&pair->casts[who]),
			  0);
	}
	if (first)
		say_reads(pair, 0);
	if (!old.casts[0])
		return;
	plane_close_cast(old.casts[first]);
	do
		REQUIRE(host_wait_fault(&pair->hosts[1], &fault));
	while (fault.kind != PLANE_FAULT_CAST);
	CHECK(fault.cast == old.casts[1]);
	pair_remove_ring(&old);
	say_reads(pair, 0);
}

/* The receiver lets go first: what it leaves unread is then exactly known. */
static void join_and_leave(struct pair *pair, struct link_counters sums[2],
			   unsigned round)
{
	struct link_counters final;

	REQUIRE(cable_plug(&pair->cable, &pair->hosts[0], &pair->hosts[1]));
	if (round % 3 == 0 && pair->casts[0])
		say_reads(pair, 0);
	WAIT_UNTIL(read_link(pair->cable.link[0]).sent_frames > 10);
	for (unsigned i = 0; i < round % 4; i++)
		replace_ring(pair, (round + i) % 2);
	WAIT_UNTIL(read_link(pair->cable.link[1]).delivered_frames > 0);
	for (unsigned side = 2; side-- > 0;) {
		cable_detach(&pair->cable, side, false, &final);
		link_counters_add(&sums[side], &final);
	}
}

TEST_CASE(cast_plane, rings_and_links_come_and_go_under_traffic)
{
	struct link_counters sums[2] = {{0}, {0}};
	struct pair pair = {0};
	struct pump pump = {.from = &pair.hosts[0], .to = &pair.hosts[1]};
	struct port_counters counters;
	pthread_t source, sink;

	pump.had = calloc(CASTS_MAX, 1);
	REQUIRE(pump.had != NULL && host_open(&pair.hosts[0], 1, 1, 0) &&
		host_open(&pair.hosts[1], 2, 1, 50));
	REQUIRE(pthread_create(&source, NULL, pump_main, &pump) == 0);
	REQUIRE(pthread_create(&sink, NULL, sink_main, &pump) == 0);
	for (unsigned i = 0; i < 150 && !test_failed(); i++)
		join_and_leave(&pair, sums, i);
	__atomic_store_n(&pump.stop, true, __ATOMIC_RELEASE);
	pthread_join(source, NULL);
	__atomic_store_n(&pump.end, true, __ATOMIC_RELEASE);
	pthread_join(sink, NULL);
	CHECK_U64(pump.read, sums[1].delivered_frames);
	CHECK_U64(pump.twice, 0);
	CHECK(sums[1].delivered_frames <= sums[0].sent_frames);
	CHECK(sums[1].delivered_frames > 0);
	plane_read_port(pair.hosts[0].plane, pair.hosts[0].port, &counters);
	CHECK(counters.casts.written > 0);
	CHECK_U64(counters.casts.corrupt, 0);
	pair_remove_ring(&pair);
	free(pump.had);
	host_close(&pair.hosts[0]);
	host_close(&pair.hosts[1]);
}

/*
 * The same with one link that lives: nothing may be missing or too much, but what
 * the reader was lapped on, and that is counted.
 */
TEST_CASE(cast_plane, rings_are_replaced_under_traffic)
{
	struct link_counters finals[2];
	struct pair pair = {0};
	struct pump pump = {.from = &pair.hosts[0], .to = &pair.hosts[1]};
	pthread_t source, sink;

	pump.had = calloc(CASTS_MAX, 1);
	REQUIRE(pump.had != NULL && pair_open(&pair, 50));
	REQUIRE(pthread_create(&source, NULL, pump_main, &pump) == 0);
	REQUIRE(pthread_create(&sink, NULL, sink_main, &pump) == 0);
	for (unsigned i = 0; i < 300 && !test_failed(); i++)
		replace_ring(&pair, i % 2);
	__atomic_store_n(&pump.stop, true, __ATOMIC_RELEASE);
	pthread_join(source, NULL);
	WAIT_UNTIL(read_link(pair.cable.link[0]).sent_frames + unrouted(&pair.hosts[0]) ==
		   pump.written);
	WAIT_UNTIL(process_rests());
	__atomic_store_n(&pump.end, true, __ATOMIC_RELEASE);
	pthread_join(sink, NULL);
	finals[0] = read_link(pair.cable.link[0]);
	finals[1] = read_link(pair.cable.link[1]);
	check_conservation(&finals[0], &finals[1]);
	CHECK_U64(pump.read, finals[1].delivered_frames);
	CHECK_U64(pump.twice, 0);
	pair_remove_ring(&pair);
	free(pump.had);
	pair_close(&pair);
}

/* ---- a member that scribbles over all that it shares ---- */

#define VILLAIN 3u

struct villain {
	struct shmnet_cast_ring ring;
	struct shmnet_ring_words
		*words; /* of its ring to a host that it has a link with */
	uint64_t id;	/* of the cast ring */
	uint64_t random;
	bool stop;
};

static void forge_w(struct villain *villain)
{
	uint64_t value = rig_random(&villain->random);
	uint64_t *head = &villain->ring.head->head;

	if ((value & 0xfff) == 0)
		__atomic_store_n(head, value, __ATOMIC_SEQ_CST);
	else if (value & 0x1000)
		__atomic_fetch_add(
			head,
			value >> 40 & (value & 0x2000 ? 15 : 2 * villain->ring.depth - 1),
			__ATOMIC_SEQ_CST);
	else if ((value & 0x3fe000) == 0)
		shmnet_cast_close(&villain->ring);
}

/* A cast of its own, or a frame for one host in another's name. */
static void forge_frame(uint8_t *payload, uint16_t writer, uint64_t value)
{
	if (writer != VILLAIN) {
		rig_frame(payload, writer, 1 + (value & 1), value, 90);
		return;
	}
	rig_frame(payload, VILLAIN, RIG_TO_ALL, value, 90);
	payload[value >> 10 & 63] ^= (uint8_t)(value >> 16 & value >> 24);
}

static void forge_slot(struct villain *villain)
{
	uint64_t value = rig_random(&villain->random);
	uint64_t position = shmnet_cast_now(&villain->ring) + (value >> 60);
	struct shmnet_cast_slot *slot = shmnet_cast_slot_at(&villain->ring, position);
	uint64_t lap = shmnet_cast_lap(&villain->ring, position) - (value >> 58 & 1);
	uint16_t writer = value >> 6 & 3;
	uint64_t word = shmnet_cast_word(lap, value >> 4 & 3, writer);

	slot->length = value & 1 ? (uint32_t)(value >> 32) : 60 + (value >> 32) % 9000;
	slot->flags = value & 2 ? SHMNET_RECORD_CAST : value >> 24 & 7;
	forge_frame((uint8_t *)(slot + 1), writer, value);
	__atomic_store_n(&slot->word, value & 8 ? word : value, __ATOMIC_SEQ_CST);
}

static void *villain_main(void *arg)
{
	struct villain *villain = arg;

	while (!__atomic_load_n(&villain->stop, __ATOMIC_ACQUIRE)) {
		uint64_t value = rig_random(&villain->random);

		for (unsigned i = 0; i < 64; i++)
			forge_slot(villain);
		forge_w(villain);
		shmnet_cast_announce(villain->words, value % SHMNET_RING_CASTS,
				     value & 64 ? villain->id : value, value >> 30);
		__atomic_store_n(&villain->words->cast_frames, value, __ATOMIC_RELAXED);
		if ((value & 0xff00) == 0)
			sched_yield();
	}
	return NULL;
}

/* All that is not a cast is `from`'s, and comes in order: nobody speaks in its name. */
static void receive_unicasts(struct host *host, unsigned from, uint64_t first)
{
	static uint8_t frame[RIG_FRAME_MAX];

	for (uint64_t i = 0; i < 10;) {
		size_t length = host_read(host, 1, frame);

		REQUIRE(length > SHMNET_VNET_HLEN);
		if (shmnet_mac_is_cast(frame + SHMNET_VNET_HLEN))
			continue;
		REQUIRE(rig_frame_is(frame, length, from, host->id, first + i++));
	}
	while (recv(host->tap.host[2], frame, sizeof(frame), MSG_DONTWAIT) > 0)
		; /* the villain's */
}

static void send_to(struct host *host, unsigned to, uint64_t number)
{
	static uint8_t frame[RIG_FRAME_MAX];
	size_t length = rig_frame(frame, host->id, to, number, 100 + number % 1000);

	CHECK(host_write(host, 0, frame, length));
}

static void work_beside_villain(struct pair *pair)
{
	for (uint64_t first = 0; first < 100 && !test_failed(); first += 10) {
		for (uint64_t i = first; i < first + 10; i++) {
			for (unsigned side = 0; side < 2; side++) {
				send_to(&pair->hosts[side], RIG_TO_ALL, i);
				send_to(&pair->hosts[side], 2 - side, i);
			}
		}
		receive_unicasts(&pair->hosts[0], 2, first);
		receive_unicasts(&pair->hosts[1], 1, first);
	}
}

/* The villain is a third node, of which host 0 knows. */
static bool suffer_villain(struct pair *pair, uint64_t seed, uint32_t depth)
{
	struct plane_fault fault = {0};
	struct villain villain = {.random = seed};
	struct cable cable;
	pthread_t thread;
	bool found = false;

	if (!CHECK(pair_add_ring(pair, depth)) ||
	    !CHECK(cable_plug_played(&cable, &pair->hosts[0], VILLAIN)))
		return false;
	villain.ring = cast_file_ring(&pair->file);
	villain.words = cable.tx.words;
	villain.id = pair->file.id;
	if (!CHECK(pthread_create(&thread, NULL, villain_main, &villain) == 0))
		return false;
	work_beside_villain(pair);
	plane_reclaim_cast(pair->casts[0], VILLAIN);
	cable_detach(&cable, 0, seed & 1, NULL); /* drains what it can */
	for (unsigned i = 0; i < 2; i++) {
		while (plane_next_fault(pair->hosts[i].plane, &fault))
			found |= fault.kind == PLANE_FAULT_CAST;
	}
	__atomic_store_n(&villain.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	WAIT_UNTIL(process_rests());
	pair_remove_ring(pair);
	cable_free_played(&cable);
	return found;
}

TEST_CASE(cast_plane, hostile_member_spoils_casts_only)
{
	struct pair pair;
	unsigned found = 0;

#ifdef TSAN
	TEST_SKIP("a hostile member is a data race");
#endif
	memset(&pair, 0, sizeof(pair));
	REQUIRE(host_open(&pair.hosts[0], 1, 3, 0) &&
		host_open(&pair.hosts[1], 2, 3, 50) &&
		cable_plug(&pair.cable, &pair.hosts[0], &pair.hosts[1]));
	for (uint64_t i = 0; i < 40 && !test_failed(); i++)
		found += suffer_villain(&pair, 0x9e3779b97f4a7c15ull * (i + 1),
					i % 4 ? DEPTH : 8 * DEPTH);
	CHECK(found > 0);
	pair_close(&pair);
}
