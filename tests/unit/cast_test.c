/*
 * The cast ring in one thread: each verb, each refusal, every way in which a position
 * can be missed, and a long random run in which each reader's counts must add up.
 */
#include <shmnet/cast.h>

#include "shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 16u
#define MTU   1500u
#define ME    9

struct tape {
	struct shmnet_cast_ring ring;
	struct shmnet_cast_writer a, b;
	struct shmnet_cast_reader reader;
	uint64_t buffer[256];
	struct shmnet_cast_record record;
};

static bool tape_open_depth(struct tape *tape, uint32_t depth)
{
	uint64_t size = shmnet_cast_file_size(depth, MTU);
	void *memory = aligned_alloc(64, size);

	memset(tape, 0, sizeof(*tape));
	if (!memory)
		return false;
	memset(memory, 0, size);
	shmnet_cast_ring_init(&tape->ring, memory, depth, MTU);
	shmnet_cast_writer_init(&tape->a, &tape->ring, 1);
	shmnet_cast_writer_init(&tape->b, &tape->ring, 2);
	shmnet_cast_reader_init(&tape->reader, &tape->ring, ME, 0);
	return true;
}

static bool tape_open(struct tape *tape)
{
	return tape_open_depth(tape, DEPTH);
}

static void tape_close(struct tape *tape)
{
	free(tape->ring.head);
}

static uint64_t *word_at(struct tape *tape, uint64_t position)
{
	return &shmnet_cast_slot_at(&tape->ring, position)->word;
}

static int send_frame(struct shmnet_cast_writer *writer, uint32_t length, uint8_t byte)
{
	uint8_t *payload = NULL;
	int ret = shmnet_cast_reserve(writer, &payload);

	if (ret < 0)
		return ret;
	memset(payload, byte, length);
	return shmnet_cast_submit(writer, length, 0);
}

static void send_many(struct shmnet_cast_writer *writer, unsigned count)
{
	while (count--)
		CHECK_INT(send_frame(writer, 60, 7), 0);
}

static int get(struct tape *tape)
{
	return shmnet_cast_read(&tape->reader, tape->buffer, &tape->record);
}

static unsigned get_all(struct tape *tape)
{
	unsigned count = 0;

	while (get(tape) == 1)
		count++;
	return count;
}

static uint64_t counted(const struct shmnet_cast_reader *reader)
{
	return reader->delivered + reader->own + reader->lapped + reader->holes +
	       reader->corrupt;
}

static void check_counts(const struct tape *tape, uint64_t delivered, uint64_t lapped,
			 uint64_t holes, uint64_t corrupt)
{
	CHECK_U64(tape->reader.delivered, delivered);
	CHECK_U64(tape->reader.lapped, lapped);
	CHECK_U64(tape->reader.holes, holes);
	CHECK_U64(tape->reader.corrupt, corrupt);
	CHECK_U64(counted(&tape->reader), tape->reader.cursor);
}

/* ---- shapes ---- */

TEST_CASE(cast, sizes)
{
	CHECK_U64(shmnet_cast_room(1490), 1536);
	CHECK_U64(shmnet_cast_room(1508), 1536);
	CHECK_U64(shmnet_cast_room(1509), 1600);
	CHECK_U64(shmnet_cast_room(SHMNET_MTU_MAX), 65600);
	CHECK_U64(shmnet_cast_file_size(16, 1500), 4096 + 16 * 1600);
	CHECK(shmnet_cast_depth_valid(16));
	CHECK(shmnet_cast_depth_valid(65536));
	CHECK(!shmnet_cast_depth_valid(8));
	CHECK(!shmnet_cast_depth_valid(100));
	CHECK(!shmnet_cast_depth_valid(131072));
	CHECK(!shmnet_cast_depth_valid(0));
}

TEST_CASE(cast, word)
{
	uint64_t last = SHMNET_CAST_POSITION_MAX / SHMNET_CAST_DEPTH_MIN + 1;
	uint64_t word = shmnet_cast_word(last, SHMNET_CAST_PUBLISHED, 0xfffe);

	CHECK_U64(shmnet_cast_word_lap(word), last);
	CHECK_INT(shmnet_cast_word_state(word), SHMNET_CAST_PUBLISHED);
	CHECK_INT(shmnet_cast_word_writer(word), 0xfffe);
}

/* ---- the way of a frame ---- */

TEST_CASE(cast, frame_travels)
{
	struct tape tape;
	uint8_t *payload = NULL;

	REQUIRE(tape_open(&tape));
	CHECK_INT(get(&tape), 0);
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), 0);
	memset(payload, 0x5a, 61);
	CHECK_INT(get(&tape), 0);
	CHECK_INT(shmnet_cast_submit(&tape.a, 61, SHMNET_RECORD_COMMAND), 0);
	REQUIRE(get(&tape) == 1);
	CHECK_INT(tape.record.length, 61);
	CHECK_INT(tape.record.flags, SHMNET_RECORD_COMMAND);
	CHECK_INT(tape.record.writer, 1);
	CHECK_U64(tape.record.position, 0);
	CHECK_MEM((uint8_t *)tape.buffer, payload, 61);
	CHECK_INT(get(&tape), 0);
	check_counts(&tape, 1, 0, 0, 0);
	tape_close(&tape);
}

TEST_CASE(cast, largest_frame)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	CHECK_INT(send_frame(&tape.a, tape.ring.room, 3), 0);
	CHECK_INT(get(&tape), 1);
	CHECK_INT(tape.record.length, tape.ring.room);
	CHECK_INT(((uint8_t *)tape.buffer)[tape.ring.room - 1], 3);
	tape_close(&tape);
}

TEST_CASE(cast, laps_wrap)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	for (unsigned i = 0; i < 5 * DEPTH; i++) {
		CHECK_INT(send_frame(i & 1 ? &tape.a : &tape.b, 60 + i, (uint8_t)i), 0);
		REQUIRE(get(&tape) == 1);
		CHECK_INT(tape.record.length, 60 + i);
		CHECK_INT(*(uint8_t *)tape.buffer, (uint8_t)i);
		CHECK_U64(tape.record.position, i);
	}
	check_counts(&tape, 5 * DEPTH, 0, 0, 0);
	tape_close(&tape);
}

TEST_CASE(cast, reserve_twice_gives_the_same_slot)
{
	uint8_t *first = NULL, *second = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	CHECK_INT(shmnet_cast_reserve(&tape.a, &first), 0);
	CHECK_INT(shmnet_cast_reserve(&tape.a, &second), 0);
	CHECK(first == second);
	CHECK_U64(tape.ring.head->head, 1);
	tape_close(&tape);
}

TEST_CASE(cast, own_frames_are_skipped)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	tape.reader.id = 1;
	send_many(&tape.a, 3);
	send_many(&tape.b, 2);
	CHECK_INT(get_all(&tape), 2);
	CHECK_INT(tape.record.writer, 2);
	CHECK_U64(tape.reader.own, 3);
	CHECK_U64(counted(&tape.reader), 5);
	tape_close(&tape);
}

TEST_CASE(cast, reader_begins_now)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, 20);
	shmnet_cast_reader_init(&tape.reader, &tape.ring, ME,
				shmnet_cast_now(&tape.ring));
	CHECK_INT(get(&tape), 0);
	send_many(&tape.a, 1);
	CHECK_INT(get(&tape), 1);
	CHECK_U64(tape.record.position, 20);
	tape_close(&tape);
}

/* ---- what is missed ---- */

TEST_CASE(cast, full_ring_is_not_lapped)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, DEPTH);
	CHECK_INT(get_all(&tape), DEPTH);
	check_counts(&tape, DEPTH, 0, 0, 0);
	tape_close(&tape);
}

TEST_CASE(cast, lapped_reader_goes_on_three_quarters_behind)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, 100);
	CHECK_INT(get(&tape), 1);
	CHECK_U64(tape.record.position, 100 - DEPTH * 3 / 4);
	CHECK_INT(get_all(&tape), DEPTH * 3 / 4 - 1);
	check_counts(&tape, DEPTH * 3 / 4, 100 - DEPTH * 3 / 4, 0, 0);
	tape_close(&tape);
}

/* W as the reader knows it is old: the slot's word tells. */
TEST_CASE(cast, lapped_after_the_look_at_w)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, 4);
	CHECK_INT(get(&tape), 1);
	send_many(&tape.a, DEPTH - 2);
	CHECK_INT(get(&tape), 1);
	CHECK_U64(tape.record.position, 2 + DEPTH - DEPTH * 3 / 4);
	check_counts(&tape, 2, 1 + DEPTH / 4, 0, 0);
	tape_close(&tape);
}

TEST_CASE(cast, slow_writer_is_waited_for_half_a_ring)
{
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), 0);
	send_many(&tape.b, DEPTH / 2 - 1);
	CHECK_INT(get(&tape), 0);
	check_counts(&tape, 0, 0, 0, 0);
	send_many(&tape.b, 1);
	CHECK_INT(get_all(&tape), DEPTH / 2);
	check_counts(&tape, DEPTH / 2, 0, 1, 0);
	CHECK_INT(shmnet_cast_submit(&tape.a, 60, 0), 0); /* whole, but late */
	CHECK_INT(get(&tape), 0);
	tape_close(&tape);
}

TEST_CASE(cast, held_slot_is_passed_over)
{
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), 0);
	memset(payload, 1, 60);
	for (unsigned lap = 0; lap < 3; lap++) {
		send_many(&tape.b, DEPTH - 1);
		get_all(&tape);
	}
	send_many(&tape.b, 1);
	CHECK_INT(get_all(&tape), 1);
	CHECK_U64(tape.b.holes, 3);
	CHECK_INT(payload[0], 1);
	check_counts(&tape, 3 * (DEPTH - 1) + 1, 0, 4, 0);
	/* Published two laps late: free for the next. */
	CHECK_INT(shmnet_cast_submit(&tape.a, 60, 0), 0);
	for (unsigned lap = 0; lap < 2; lap++) {
		send_many(&tape.b, DEPTH - 1);
		get_all(&tape);
	}
	CHECK_U64(tape.b.holes, 3);
	CHECK_U64(tape.reader.holes, 4);
	CHECK_U64(counted(&tape.reader), tape.reader.cursor);
	tape_close(&tape);
}

TEST_CASE(cast, skip_gives_up)
{
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	shmnet_cast_skip(&tape.reader);
	check_counts(&tape, 0, 0, 0, 0);
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), 0);
	send_many(&tape.b, 1);
	CHECK_INT(get(&tape), 0);
	shmnet_cast_skip(&tape.reader);
	CHECK_INT(get(&tape), 1);
	check_counts(&tape, 1, 0, 1, 0);
	tape_close(&tape);
}

TEST_CASE(cast, withdrawn_slot_is_a_hole)
{
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	shmnet_cast_withdraw(&tape.a); /* nothing claimed */
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), 0);
	shmnet_cast_withdraw(&tape.a);
	send_many(&tape.a, 1);
	CHECK_INT(get_all(&tape), 1);
	check_counts(&tape, 1, 0, 1, 0);
	tape_close(&tape);
}

TEST_CASE(cast, all_slots_held)
{
	struct shmnet_cast_writer writers[DEPTH];
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	for (uint16_t i = 0; i < DEPTH; i++) {
		shmnet_cast_writer_init(&writers[i], &tape.ring, (uint16_t)(100 + i));
		CHECK_INT(shmnet_cast_reserve(&writers[i], &payload), 0);
	}
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), -ENOBUFS);
	for (uint16_t i = 0; i < DEPTH; i++)
		CHECK_INT(shmnet_cast_submit(&writers[i], 60, 0), 0);
	CHECK_INT(send_frame(&tape.a, 60, 1), 0);
	get_all(&tape);
	CHECK_U64(counted(&tape.reader), tape.reader.cursor);
	tape_close(&tape);
}

/* However deep the ring, and whatever is in it, a call is short. */
TEST_CASE(cast, deep_ring_of_nonsense)
{
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open_depth(&tape, SHMNET_CAST_DEPTH_MAX));
	for (uint64_t i = 0; i < SHMNET_CAST_DEPTH_MAX; i++)
		*word_at(&tape, i) = shmnet_cast_word(0, SHMNET_CAST_WRITING, 3);
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), -ENOBUFS);
	CHECK_U64(shmnet_cast_now(&tape.ring), SHMNET_CAST_STEPS_MAX);
	tape.ring.head->head = SHMNET_CAST_DEPTH_MAX;
	CHECK_INT(get(&tape), -EAGAIN);
	CHECK_U64(tape.reader.cursor, SHMNET_CAST_STEPS_MAX);
	CHECK_U64(counted(&tape.reader), tape.reader.cursor);
	tape_close(&tape);
}

/* ---- death ---- */

TEST_CASE(cast, reclaim_empties_what_the_dead_was_writing)
{
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, 1);
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), 0);
	send_many(&tape.b, 1);
	CHECK_INT(get_all(&tape), 1);
	CHECK_U64(shmnet_cast_reclaim(&tape.ring, 2), 0);
	CHECK_U64(shmnet_cast_reclaim(&tape.ring, 1), 1);
	CHECK_U64(shmnet_cast_reclaim(&tape.ring, 1), 0);
	CHECK_INT(get_all(&tape), 1);
	check_counts(&tape, 2, 0, 1, 0);
	send_many(&tape.b, DEPTH);
	CHECK_U64(tape.b.holes, 0);
	/* It lives after all: told so, and the word stays. */
	CHECK_INT(shmnet_cast_submit(&tape.a, 60, 0), -EPROTO);
	get_all(&tape);
	check_counts(&tape, 2 + DEPTH, 0, 1, 0);
	tape_close(&tape);
}

/* Claimed, but W not moved: the next one does it. */
TEST_CASE(cast, claim_of_the_dead_is_helped_along)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	*word_at(&tape, 0) = shmnet_cast_word(1, SHMNET_CAST_WRITING, 1);
	CHECK_INT(get(&tape), 0);
	send_many(&tape.b, 1);
	CHECK_U64(tape.ring.head->head, 2);
	CHECK_U64(shmnet_cast_reclaim(&tape.ring, 1), 1);
	CHECK_INT(get_all(&tape), 1);
	check_counts(&tape, 1, 0, 1, 0);
	tape_close(&tape);
}

/* ---- closing ---- */

TEST_CASE(cast, closed_ring_is_drained)
{
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, 2);
	CHECK_INT(shmnet_cast_reserve(&tape.b, &payload), 0);
	shmnet_cast_close(&tape.ring);
	shmnet_cast_close(&tape.ring);
	CHECK_INT(send_frame(&tape.a, 60, 1), -ESHUTDOWN);
	CHECK_INT(get_all(&tape), 2);
	CHECK_INT(get(&tape), 0); /* b may still publish */
	CHECK_INT(shmnet_cast_submit(&tape.b, 60, 0), 0);
	CHECK_INT(get(&tape), 1);
	CHECK_INT(get(&tape), -ESHUTDOWN);
	CHECK_INT(send_frame(&tape.b, 60, 1), -ESHUTDOWN);
	check_counts(&tape, 3, 0, 0, 0);
	tape_close(&tape);
}

TEST_CASE(cast, claim_that_closing_overtook_is_withdrawn)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	CHECK_INT(shmnet_cast_writer_update(&tape.a), 0);
	CHECK_INT(shmnet_cast_claim(&tape.a), 1);
	shmnet_cast_close(&tape.ring);
	CHECK_INT(shmnet_cast_settle(&tape.a), -ESHUTDOWN);
	CHECK_U64(*word_at(&tape, 0), shmnet_cast_word(1, SHMNET_CAST_EMPTY, 1));
	CHECK(!tape.a.claimed);
	CHECK_INT(get(&tape), -ESHUTDOWN);
	check_counts(&tape, 0, 0, 0, 0);
	tape_close(&tape);
}

/* ---- hostile hands ---- */

TEST_CASE(cast, w_moving_back_is_refused)
{
	uint8_t *payload = NULL;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, 5);
	CHECK_INT(get_all(&tape), 5);
	tape.ring.head->head = 2;
	CHECK_INT(get(&tape), -EPROTO);
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), -EPROTO);
	tape.ring.head->head = SHMNET_CAST_POSITION_MAX + 1;
	CHECK_INT(get(&tape), -EPROTO);
	CHECK_INT(shmnet_cast_reserve(&tape.a, &payload), -EPROTO);
	check_counts(&tape, 5, 0, 0, 0);
	tape_close(&tape);
}

TEST_CASE(cast, closed_ring_stays_closed)
{
	struct tape tape;

	REQUIRE(tape_open(&tape));
	shmnet_cast_close(&tape.ring);
	CHECK_INT(get(&tape), -ESHUTDOWN);
	tape.ring.head->head = 3;
	CHECK_INT(get(&tape), -EPROTO);
	tape.ring.head->head = 3 | SHMNET_CAST_CLOSED;
	CHECK_INT(get(&tape), -EPROTO);
	tape_close(&tape);
}

TEST_CASE(cast, w_jumping_ahead_is_lapping)
{
	uint64_t far = SHMNET_CAST_POSITION_MAX - 100;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, 5);
	tape.ring.head->head = far;
	CHECK_INT(get_all(&tape), 0);
	check_counts(&tape, 0, far - DEPTH * 3 / 4, DEPTH * 3 / 4, 0);
	CHECK_INT(send_frame(&tape.b, 60, 1), 0);
	CHECK_INT(get(&tape), 1);
	CHECK_U64(tape.record.position, far);
	tape_close(&tape);
}

TEST_CASE(cast, corrupt_slots_are_counted_and_passed)
{
	static const uint64_t words[] = {
		1ull << SHMNET_CAST_LAP_SHIFT | 3ull << SHMNET_CAST_STATE_SHIFT | 1,
		1ull << SHMNET_CAST_LAP_SHIFT | 2ull << SHMNET_CAST_STATE_SHIFT | 0,
		1ull << SHMNET_CAST_LAP_SHIFT | 2ull << SHMNET_CAST_STATE_SHIFT | 0xffff,
		7ull << SHMNET_CAST_LAP_SHIFT | 2ull << SHMNET_CAST_STATE_SHIFT | 1,
		UINT64_MAX,
	};
	struct tape tape;

	REQUIRE(tape_open(&tape));
	send_many(&tape.a, 9);
	for (unsigned i = 0; i < 5; i++)
		*word_at(&tape, i) = words[i];
	shmnet_cast_slot_at(&tape.ring, 5)->length = tape.ring.room + 1;
	shmnet_cast_slot_at(&tape.ring, 6)->length = 0;
	shmnet_cast_slot_at(&tape.ring, 7)->flags = 4;
	CHECK_INT(get(&tape), 1);
	CHECK_U64(tape.record.position, 8);
	check_counts(&tape, 1, 0, 0, 8);
	/* In the next lap all but the far laps are repaired. */
	send_many(&tape.a, DEPTH);
	CHECK_U64(tape.a.holes, 2);
	tape_close(&tape);
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dull;
}

static void scribble(struct tape *tape, uint64_t random)
{
	uint64_t lap = shmnet_cast_lap(&tape->ring, tape->reader.cursor);
	struct shmnet_cast_slot *slot =
		shmnet_cast_slot_at(&tape->ring, tape->reader.cursor + random % 8);

	switch (random >> 8 & 7) {
	case 0:
		slot->length = (uint32_t)(random >> 32);
		break;
	case 1:
		slot->flags = (uint32_t)(random >> 32) & 7;
		break;
	case 2:
		slot->word = random;
		break;
	case 3:
		tape->ring.head->head += random >> 40 & 63;
		break;
	default:
		slot->word = (lap + (random >> 16 & 3) - 1) << SHMNET_CAST_LAP_SHIFT |
			     (random >> 32 & 0x3ffff);
	}
}

TEST_CASE(cast, scribbler_spoils_frames_and_nothing_else)
{
	uint64_t state = 99;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	for (unsigned i = 0; i < 1000000 && !test_failed(); i++) {
		uint64_t random = random_next(&state);
		int ret;

		if (random >> 60 < 6)
			scribble(&tape, random);
		send_frame(random >> 50 & 1 ? &tape.a : &tape.b, 60, 1);
		ret = get(&tape);
		CHECK(ret == 0 || ret == 1);
		if (ret == 1)
			CHECK(tape.record.length <= tape.ring.room);
		CHECK_U64(counted(&tape.reader), tape.reader.cursor);
	}
	CHECK(tape.reader.delivered > 10000);
	CHECK(tape.reader.corrupt > 1000);
	CHECK(tape.reader.lapped > 1000);
	CHECK(tape.reader.holes > 1000);
	tape_close(&tape);
}

/* ---- a random run ---- */

#define WRITERS 4

/* Each frame carries its position; a reader's must come in order and be right. */
static void step_write(struct shmnet_cast_writer *writer, uint64_t random)
{
	uint8_t *payload = NULL;

	if (!writer->claimed) {
		if (shmnet_cast_reserve(writer, &payload) == 0)
			memcpy(payload, &writer->position, 8);
	} else if (random % 16 == 0) {
		shmnet_cast_withdraw(writer);
	} else if (random % 16 == 1) {
		CHECK_U64(shmnet_cast_reclaim(&writer->ring, writer->id), 1);
		CHECK_INT(shmnet_cast_submit(writer, 8, 0), -EPROTO);
	} else {
		CHECK_INT(shmnet_cast_submit(writer, 8, 0), 0);
	}
}

TEST_CASE(cast, counts_add_up)
{
	struct shmnet_cast_writer writers[WRITERS];
	uint64_t state = 7, last = 0;
	struct tape tape;

	REQUIRE(tape_open(&tape));
	tape.reader.id = 2;
	for (uint16_t i = 0; i < WRITERS; i++)
		shmnet_cast_writer_init(&writers[i], &tape.ring, (uint16_t)(i + 1));
	for (unsigned i = 0; i < 2000000 && !test_failed(); i++) {
		uint64_t random = random_next(&state);
		bool fast = i >> 10 & 1; /* phases: the reader keeps up, or does not */

		if ((random >> 56) % 8 < (fast ? 4 : 7)) {
			/* The last writer is slow. */
			unsigned n = random >> 40 & 63 ? random % 3 : 3;

			step_write(&writers[n], random >> 32);
		} else if (get(&tape) == 1) {
			CHECK_U64(tape.buffer[0], tape.record.position);
			CHECK(tape.record.position >= last);
			CHECK(tape.record.writer != 2);
			last = tape.record.position + 1;
		}
		CHECK_U64(counted(&tape.reader), tape.reader.cursor);
	}
	CHECK(tape.reader.delivered > 100000 && tape.reader.own > 10000);
	CHECK(tape.reader.lapped > 1000 && tape.reader.holes > 1000);
	CHECK_U64(tape.reader.corrupt, 0);
	tape_close(&tape);
}
