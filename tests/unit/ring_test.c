/*
 * The pair ring, both ends in one thread: each verb, each refusal, salvage after
 * a crash at each step, and a long differential run against a plain queue.
 */
#include "base/memfd.h"
#include <shmnet/ring.h>

#include "shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE SHMNET_RING_SIZE_MIN
#define SALT 0x9d2c5680ca3f117bull

struct pair {
	struct ring_map map;
	struct shmnet_ring_tx tx;
	struct shmnet_ring_rx rx;
};

/* Both ends as if they had moved `start` bytes already. */
static bool pair_open_at(struct pair *pair, uint64_t start)
{
	int fd, ret;

	if (memfd_ring_create(SIZE, &fd) < 0)
		return false;
	ret = ring_map_open(fd, SIZE, &pair->map);
	close(fd);
	if (ret < 0)
		return false;
	shmnet_ring_tx_init(&pair->tx, pair->map.words, pair->map.data, SIZE, SALT);
	shmnet_ring_rx_init(&pair->rx, pair->map.words, pair->map.data, SIZE, SALT);
	pair->tx.head = pair->tx.published = pair->tx.tail = start;
	pair->rx.head = pair->rx.credited = pair->rx.tail = start;
	pair->map.words->head = pair->map.words->tail = start;
	return true;
}

static bool pair_open(struct pair *pair)
{
	return pair_open_at(pair, 0);
}

static void pair_close(struct pair *pair)
{
	ring_map_close(&pair->map);
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fill(uint8_t *payload, uint32_t length, uint64_t seed)
{
	for (uint32_t i = 0; i < length; i++)
		payload[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static bool filled(const uint8_t *payload, uint32_t length, uint64_t seed)
{
	for (uint32_t i = 0; i < length; i++) {
		if (payload[i] != (uint8_t)(seed + i * 7 + (i >> 8)))
			return false;
	}
	return true;
}

static int send_record(struct shmnet_ring_tx *tx, uint32_t length, uint32_t flags,
		       uint64_t seed)
{
	uint8_t *payload = NULL;
	int ret = shmnet_ring_reserve(tx, length, flags, &payload);

	if (ret < 0)
		return ret;
	fill(payload, length, seed);
	shmnet_ring_submit(tx, length, flags);
	return 0;
}

static void check_record(struct shmnet_ring_rx *rx, uint32_t length, uint32_t flags,
			 uint64_t seed)
{
	struct shmnet_record record = {0};

	REQUIRE(shmnet_ring_peek(rx, &record) == 1);
	CHECK_INT(record.length, length);
	CHECK_INT(record.flags, flags);
	CHECK(filled(record.payload, record.length, seed));
	shmnet_ring_release(rx, &record);
}

/* Everything from the transmitter to the receiver and the room back. */
static void drain(struct pair *pair)
{
	struct shmnet_record record = {0};

	shmnet_ring_publish(&pair->tx);
	REQUIRE(shmnet_ring_poll(&pair->rx) >= 0);
	while (shmnet_ring_peek(&pair->rx, &record) == 1)
		shmnet_ring_release(&pair->rx, &record);
	shmnet_ring_credit(&pair->rx);
	CHECK_INT(shmnet_ring_update_tail(&pair->tx), 0);
}

/* ---- shapes ---- */

TEST_CASE(ring, record_sizes)
{
	CHECK_U64(shmnet_record_size(1), 64);
	CHECK_U64(shmnet_record_size(48), 64);
	CHECK_U64(shmnet_record_size(49), 128);
	CHECK_U64(shmnet_record_size(SHMNET_RING_COMMAND_MAX), 4096);
	CHECK_U64(shmnet_record_size(SHMNET_RING_PAYLOAD_MAX), 65600);
	CHECK_U64(shmnet_record_size(UINT32_MAX), 0x100000000ull + 64);
}

TEST_CASE(ring, sizes)
{
	CHECK(shmnet_ring_size_valid(SHMNET_RING_SIZE_MIN));
	CHECK(shmnet_ring_size_valid(1 << 20));
	CHECK(shmnet_ring_size_valid(SHMNET_RING_SIZE_MAX));
	CHECK(!shmnet_ring_size_valid(SHMNET_RING_SIZE_MIN / 2));
	CHECK(!shmnet_ring_size_valid(SHMNET_RING_SIZE_MAX * 2ull));
	CHECK(!shmnet_ring_size_valid(3 << 18));
	CHECK(!shmnet_ring_size_valid(0));
}

/* ---- the way of a record ---- */

TEST_CASE(ring, record_travels)
{
	struct shmnet_record record = {0};
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(shmnet_ring_poll(&pair.rx), 0);
	CHECK_INT(shmnet_ring_peek(&pair.rx, &record), 0);

	CHECK_INT(send_record(&pair.tx, 100, 0, 1), 0);
	CHECK_INT(send_record(&pair.tx, 1, SHMNET_RECORD_CAST, 2), 0);
	CHECK_INT(send_record(&pair.tx, 30, SHMNET_RECORD_COMMAND, 3), 0);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 0); /* not published yet */

	shmnet_ring_publish(&pair.tx);
	CHECK_INT(shmnet_ring_peek(&pair.rx, &record), 0); /* not polled yet */
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	check_record(&pair.rx, 100, 0, 1);
	check_record(&pair.rx, 1, SHMNET_RECORD_CAST, 2);
	check_record(&pair.rx, 30, SHMNET_RECORD_COMMAND, 3);
	CHECK_INT(shmnet_ring_peek(&pair.rx, &record), 0);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 0);
	pair_close(&pair);
}

TEST_CASE(ring, peek_consumes_nothing)
{
	struct shmnet_record first = {0}, second = {0};
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(send_record(&pair.tx, 10, 0, 1), 0);
	shmnet_ring_publish(&pair.tx);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	CHECK_INT(shmnet_ring_peek(&pair.rx, &first), 1);
	CHECK_INT(shmnet_ring_peek(&pair.rx, &second), 1);
	CHECK(first.payload == second.payload);
	pair_close(&pair);
}

TEST_CASE(ring, reserve_twice_gives_the_same_place)
{
	uint8_t *first = NULL, *second = NULL;
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(shmnet_ring_reserve(&pair.tx, SHMNET_RING_PAYLOAD_MAX, 0, &first), 0);
	CHECK_INT(shmnet_ring_reserve(&pair.tx, 10, 0, &second), 0);
	CHECK(first == second);
	fill(second, 10, 4);
	shmnet_ring_submit(&pair.tx, 10, 0); /* less than the first reserve */
	CHECK_U64(shmnet_ring_tx_used(&pair.tx), 64);
	shmnet_ring_publish(&pair.tx);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	check_record(&pair.rx, 10, 0, 4);
	pair_close(&pair);
}

TEST_CASE(ring, release_is_not_credit)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(send_record(&pair.tx, 100, 0, 1), 0);
	shmnet_ring_publish(&pair.tx);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	check_record(&pair.rx, 100, 0, 1);
	CHECK_INT(shmnet_ring_update_tail(&pair.tx), 0);
	CHECK_U64(shmnet_ring_tx_used(&pair.tx), 128);
	shmnet_ring_credit(&pair.rx);
	CHECK_U64(shmnet_ring_tx_used(&pair.tx), 128);
	CHECK_INT(shmnet_ring_update_tail(&pair.tx), 0);
	CHECK_U64(shmnet_ring_tx_used(&pair.tx), 0);
	pair_close(&pair);
}

/* The record starts at each place of the last lines before the end of the data. */
TEST_CASE(ring, records_cross_the_end)
{
	for (uint64_t before = 64; before <= 1024; before += 64) {
		struct pair pair;

		REQUIRE(pair_open_at(&pair, SIZE - before));
		for (uint64_t i = 0; i < 4; i++)
			CHECK_INT(send_record(&pair.tx, 333, 0, before + i), 0);
		shmnet_ring_publish(&pair.tx);
		CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
		for (uint64_t i = 0; i < 4; i++)
			check_record(&pair.rx, 333, 0, before + i);
		pair_close(&pair);
	}
}

TEST_CASE(ring, largest_record_crosses_the_end)
{
	struct pair pair;

	REQUIRE(pair_open_at(&pair, SIZE - 64));
	CHECK_INT(send_record(&pair.tx, SHMNET_RING_PAYLOAD_MAX, 0, 5), 0);
	shmnet_ring_publish(&pair.tx);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	check_record(&pair.rx, SHMNET_RING_PAYLOAD_MAX, 0, 5);
	pair_close(&pair);
}

/* ---- room ---- */

static unsigned fill_up(struct shmnet_ring_tx *tx, uint32_t length)
{
	unsigned n = 0;

	while (send_record(tx, length, 0, n) == 0)
		n++;
	return n;
}

/* What frames left free takes so many. */
#define COMMANDS (SHMNET_RING_COMMAND_ROOM / 4096)

static void fill_up_with_commands(struct shmnet_ring_tx *tx)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		CHECK_INT(send_record(tx, SHMNET_RING_COMMAND_MAX, SHMNET_RECORD_COMMAND,
				      77 + i),
			  0);
}

static void check_commands(struct shmnet_ring_rx *rx)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		check_record(rx, SHMNET_RING_COMMAND_MAX, SHMNET_RECORD_COMMAND, 77 + i);
}

TEST_CASE(ring, full_and_one_credit_makes_room_again)
{
	struct shmnet_record record = {0};
	struct pair pair;
	unsigned n;

	REQUIRE(pair_open(&pair));
	n = fill_up(&pair.tx, 48);
	CHECK_INT(n, (SIZE - SHMNET_RING_COMMAND_ROOM) / 64);
	CHECK_INT(send_record(&pair.tx, 48, 0, 0), -ENOBUFS);
	shmnet_ring_publish(&pair.tx);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	REQUIRE(shmnet_ring_peek(&pair.rx, &record) == 1);
	shmnet_ring_release(&pair.rx, &record);
	CHECK_INT(send_record(&pair.tx, 48, 0, 0), -ENOBUFS);
	shmnet_ring_credit(&pair.rx);
	CHECK_INT(send_record(&pair.tx, 48, 0, n), 0);
	CHECK_INT(send_record(&pair.tx, 48, 0, 0), -ENOBUFS);
	pair_close(&pair);
}

TEST_CASE(ring, command_finds_room_in_a_ring_full_of_frames)
{
	struct pair pair;
	unsigned n;

	REQUIRE(pair_open(&pair));
	n = fill_up(&pair.tx, 48);
	fill_up_with_commands(&pair.tx);
	CHECK_U64(shmnet_ring_tx_used(&pair.tx), SIZE); /* to the last byte */
	CHECK_INT(send_record(&pair.tx, 1, SHMNET_RECORD_COMMAND, 0), -ENOBUFS);
	shmnet_ring_publish(&pair.tx);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	for (unsigned i = 0; i < n; i++)
		check_record(&pair.rx, 48, 0, i);
	check_commands(&pair.rx);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 0);
	pair_close(&pair);
}

TEST_CASE(ring, small_ring_takes_three_largest_frames)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(fill_up(&pair.tx, SHMNET_RING_PAYLOAD_MAX), 3);
	pair_close(&pair);
}

/* ---- the peer's word for R ---- */

TEST_CASE(ring, refuses_nonsense_for_r)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	for (int i = 0; i < 10; i++)
		CHECK_INT(send_record(&pair.tx, 48, 0, 0), 0);
	shmnet_ring_publish(&pair.tx);
	CHECK_INT(send_record(&pair.tx, 48, 0, 0), 0); /* submitted, not shown */
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 128), 0);
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 128), 0);
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 64), -EPROTO);  /* moves back */
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 0), -EPROTO);   /* moves back */
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 129), -EPROTO); /* off the grid */
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 192 + 32), -EPROTO);
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 704), -EPROTO); /* never shown */
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, UINT64_MAX - 63), -EPROTO);
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 1ull << 63), -EPROTO);
	CHECK_U64(pair.tx.tail, 128);
	CHECK_INT(shmnet_ring_accept_tail(&pair.tx, 640), 0);
	pair_close(&pair);
}

TEST_CASE(ring, full_ring_and_nonsense_for_r_is_an_error)
{
	uint8_t *payload = NULL;
	struct pair pair;

	REQUIRE(pair_open(&pair));
	fill_up(&pair.tx, 48);
	shmnet_ring_publish(&pair.tx);
	pair.map.words->tail = 2 * SIZE;
	CHECK_INT(shmnet_ring_reserve(&pair.tx, 48, 0, &payload), -EPROTO);
	CHECK(payload == NULL);
	CHECK_INT(shmnet_ring_tx_wait(&pair.tx, 1, 48), -EPROTO);
	pair_close(&pair);
}

/* ---- the peer's word for W ---- */

TEST_CASE(ring, refuses_nonsense_for_w)
{
	struct pair pair;

	REQUIRE(pair_open_at(&pair, 5 * SIZE));
	pair.rx.tail = 5 * SIZE + 128;
	pair.rx.head = 5 * SIZE + 256;
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 5 * SIZE + 256), 0);
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 5 * SIZE + 192), -EPROTO); /* back */
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 5 * SIZE + 64), -EPROTO);
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 0), -EPROTO);
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 5 * SIZE + 257), -EPROTO);
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 5 * SIZE + 288), -EPROTO);
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 6 * SIZE + 192), -EPROTO);
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, UINT64_MAX - 63), -EPROTO);
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 1ull << 63), -EPROTO);
	CHECK_U64(pair.rx.head, 5 * SIZE + 256);
	CHECK_INT(shmnet_ring_accept_head(&pair.rx, 6 * SIZE + 128), 0); /* full */
	pair_close(&pair);
}

TEST_CASE(ring, own_positions_are_never_read_back)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(send_record(&pair.tx, 10, 0, 1), 0);
	shmnet_ring_publish(&pair.tx);
	pair.map.words->head = 0; /* a hole, or the peer */
	CHECK_INT(send_record(&pair.tx, 10, 0, 2), 0);
	shmnet_ring_publish(&pair.tx);
	CHECK_U64(pair.map.words->head, 128);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	check_record(&pair.rx, 10, 0, 1);
	shmnet_ring_credit(&pair.rx);
	pair.map.words->tail = 0;
	check_record(&pair.rx, 10, 0, 2);
	shmnet_ring_credit(&pair.rx);
	CHECK_U64(pair.map.words->tail, 128);
	pair_close(&pair);
}

/* ---- headers ---- */

static struct shmnet_ring_header *header_at(struct pair *pair, uint64_t position)
{
	return (struct shmnet_ring_header *)(void *)(pair->map.data +
						     (position & (SIZE - 1)));
}

/* One record of 100 bytes, shown to the receiver; nothing behind it. */
static bool pair_open_with_record(struct pair *pair)
{
	if (!pair_open(pair))
		return false;
	send_record(&pair->tx, 100, 0, 1);
	shmnet_ring_publish(&pair->tx);
	return shmnet_ring_poll(&pair->rx) == 1;
}

static void check_header(uint32_t length, uint32_t flags, uint64_t sequence, int expected)
{
	struct shmnet_record record = {0};
	struct pair pair;

	REQUIRE(pair_open_with_record(&pair));
	*header_at(&pair, 0) = (struct shmnet_ring_header){length, flags, sequence};
	CHECK_INT(shmnet_ring_peek(&pair.rx, &record), expected);
	if (expected < 0)
		CHECK(record.payload == NULL);
	CHECK_U64(pair.rx.tail, 0); /* nothing is consumed */
	pair_close(&pair);
}

TEST_CASE(ring, refuses_bad_headers)
{
	check_header(100, 0, SALT, 1);
	check_header(112, 0, SALT, 1);	     /* to the end of the two lines */
	check_header(1, 0, SALT, 1);	     /* shorter is its own business */
	check_header(113, 0, SALT, -EPROTO); /* beyond W */
	check_header(0, 0, SALT, -EPROTO);
	check_header(SHMNET_RING_PAYLOAD_MAX + 1, 0, SALT, -EPROTO);
	check_header(UINT32_MAX, 0, SALT, -EPROTO);
	check_header(UINT32_MAX - 15, 0, SALT, -EPROTO); /* 32-bit sum would be 0 */
	check_header(100, SHMNET_RECORD_COMMAND | SHMNET_RECORD_CAST, SALT, 1);
	check_header(100, 4, SALT, -EPROTO);
	check_header(100, 0x80000000u, SALT, -EPROTO);
	check_header(100, 0, 0, -EPROTO);
	check_header(100, 0, SALT ^ SIZE, -EPROTO); /* another lap's */
	check_header(100, 0, SALT ^ 64, -EPROTO);
	check_header(100, 0, ~SALT, -EPROTO);
}

TEST_CASE(ring, limits_of_lengths)
{
	struct shmnet_ring_rx rx = {.salt = SALT};
	struct shmnet_ring_header header = {.sequence = SALT};

	header.length = SHMNET_RING_PAYLOAD_MAX;
	CHECK(shmnet_ring_header_valid(&rx, &header, SIZE));
	CHECK(shmnet_ring_header_valid(&rx, &header, 65600));
	CHECK(!shmnet_ring_header_valid(&rx, &header, 65600 - 64));
	header.length++;
	CHECK(!shmnet_ring_header_valid(&rx, &header, SIZE));
	header.flags = SHMNET_RECORD_COMMAND;
	header.length = SHMNET_RING_COMMAND_MAX;
	CHECK(shmnet_ring_header_valid(&rx, &header, SIZE));
	header.length++;
	CHECK(!shmnet_ring_header_valid(&rx, &header, SIZE));
}

TEST_CASE(ring, other_salt_is_refused)
{
	struct shmnet_record record = {0};
	struct pair pair;

	REQUIRE(pair_open_with_record(&pair));
	pair.rx.salt ^= 1;
	CHECK_INT(shmnet_ring_peek(&pair.rx, &record), -EPROTO);
	pair_close(&pair);
}

/* Payload full of headers of the lap before: none of them passes. */
TEST_CASE(ring, record_of_an_earlier_lap_is_refused)
{
	struct shmnet_record record = {0};
	struct pair pair;

	REQUIRE(pair_open(&pair));
	for (uint64_t at = 0; at < SIZE; at += 64)
		*header_at(&pair, at) = (struct shmnet_ring_header){48, 0, at ^ SALT};
	pair.rx.tail = pair.rx.head = SIZE;
	pair.map.words->head = 2 * SIZE;
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	CHECK_INT(shmnet_ring_peek(&pair.rx, &record), -EPROTO);
	pair.rx.head = SIZE;
	shmnet_ring_salvage(&pair.rx);
	CHECK_U64(pair.rx.head, SIZE);
	pair_close(&pair);
}

/* ---- a peer that flips bits ---- */

/* Whatever peek() answers, what it gives lies below W and in the mapping. */
static void check_bounds(struct pair *pair)
{
	struct shmnet_ring_rx *rx = &pair->rx;
	struct shmnet_record record = {0};
	uint64_t offset;
	int ret;

	CHECK(rx->head - rx->tail <= SIZE);
	ret = shmnet_ring_peek(rx, &record);
	if (ret != 1) {
		CHECK(ret == 0 || ret == -EPROTO);
		return;
	}
	offset = (uint64_t)(record.payload - pair->map.data);
	CHECK(record.length > 0 && record.length <= SHMNET_RING_PAYLOAD_MAX);
	CHECK(offset + record.length <= 2 * SIZE);
	CHECK(shmnet_record_size(record.length) <= rx->head - rx->tail);
}

/* Each bit of the words, with records waiting; the other end's words too. */
TEST_CASE(ring, each_bit_of_the_words_flipped)
{
	for (unsigned bit = 0; bit < sizeof(struct shmnet_ring_words) * 8; bit++) {
		struct pair pair;
		uint8_t *byte;
		int ret;

		REQUIRE(pair_open_at(&pair, 3 * SIZE));
		for (int i = 0; i < 5; i++)
			CHECK_INT(send_record(&pair.tx, 100, 0, 0), 0);
		shmnet_ring_publish(&pair.tx);
		byte = (uint8_t *)pair.map.words + bit / 8;
		*byte = (uint8_t)(*byte ^ 1u << bit % 8);
		ret = shmnet_ring_poll(&pair.rx);
		CHECK(ret == 1 || ret == -EPROTO);
		check_bounds(&pair);
		ret = shmnet_ring_update_tail(&pair.tx);
		CHECK(ret == 0 || ret == -EPROTO);
		CHECK(shmnet_ring_tx_used(&pair.tx) <= 5 * 128);
		pair_close(&pair);
	}
}

/* Each bit of two headers and of the payload between them. */
TEST_CASE(ring, each_bit_of_the_records_flipped)
{
	struct pair pair;

	REQUIRE(pair_open_with_record(&pair));
	send_record(&pair.tx, 100, 0, 0);
	shmnet_ring_publish(&pair.tx);
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	for (unsigned bit = 0; bit < 256 * 8; bit++) {
		struct shmnet_record record = {0};
		uint8_t *byte = pair.map.data + bit / 8;

		*byte = (uint8_t)(*byte ^ 1u << bit % 8);
		pair.rx.tail = 0;
		check_bounds(&pair);
		if (bit >= 64 && bit < 128) /* the sequence */
			CHECK_INT(shmnet_ring_peek(&pair.rx, &record), -EPROTO);
		pair.rx.tail = 128;
		check_bounds(&pair);
		*byte = (uint8_t)(*byte ^ 1u << bit % 8);
	}
	pair_close(&pair);
}

/* ---- salvage ---- */

enum step {
	STEP_RESERVED,
	STEP_HALF,    /* of the payload */
	STEP_PAYLOAD, /* all of it */
	STEP_LENGTH,
	STEP_FLAGS,
	STEP_SEQUENCE, /* finished */
	STEP_NUM_
};

/* What a transmitter has stored that dies after `step` of writing a record. */
static void write_until(struct pair *pair, uint32_t length, uint64_t seed, enum step step)
{
	struct shmnet_ring_header *header = header_at(pair, pair->tx.head);
	uint8_t *payload = NULL;

	CHECK_INT(shmnet_ring_reserve(&pair->tx, length, 0, &payload), 0);
	if (step >= STEP_HALF)
		fill(payload, length / 2, seed);
	if (step >= STEP_PAYLOAD)
		fill(payload, length, seed);
	if (step >= STEP_LENGTH)
		header->length = length;
	if (step >= STEP_FLAGS)
		header->flags = 0;
	if (step >= STEP_SEQUENCE)
		header->sequence = pair->tx.head ^ SALT;
}

/*
 * `published` records are shown, `finished` more submitted, and the next is begun
 * and left at `step`; then the receiver, which has polled or not, salvages.
 */
static void check_salvage(uint64_t start, unsigned published, unsigned finished,
			  enum step step, bool polled)
{
	unsigned total = published + finished;
	struct shmnet_record record = {0};
	struct pair pair;

	REQUIRE(pair_open_at(&pair, start));
	/* What was here before: records of the lap before. */
	for (uint64_t at = start; at < start + SIZE; at += 64)
		*header_at(&pair, at) =
			(struct shmnet_ring_header){48, 0, (at - SIZE) ^ SALT};
	for (unsigned i = 0; i < total; i++) {
		CHECK_INT(send_record(&pair.tx, 40 + i * 50, 0, i), 0);
		if (i + 1 == published)
			shmnet_ring_publish(&pair.tx);
	}
	write_until(&pair, 40 + total * 50, total, step);
	if (step == STEP_SEQUENCE)
		total++;

	if (polled)
		CHECK_INT(shmnet_ring_poll(&pair.rx), published > 0);
	shmnet_ring_salvage(&pair.rx);
	for (unsigned i = 0; i < total; i++)
		check_record(&pair.rx, 40 + i * 50, 0, i);
	CHECK_INT(shmnet_ring_peek(&pair.rx, &record), 0);
	shmnet_ring_salvage(&pair.rx); /* finds nothing new */
	CHECK_INT(shmnet_ring_peek(&pair.rx, &record), 0);
	pair_close(&pair);
}

TEST_CASE(ring, salvage_after_a_crash_at_each_step)
{
	static const uint64_t starts[] = {0, SIZE - 256, 7 * SIZE - 64};

	for (unsigned i = 0; i < 3 * 4 * 4 * STEP_NUM_ * 2; i++)
		check_salvage(starts[i % 3], i / 3 % 4, i / 12 % 4,
			      (enum step)(i / 48 % STEP_NUM_), i / (48 * STEP_NUM_) != 0);
}

TEST_CASE(ring, salvage_of_a_full_ring)
{
	struct pair pair;
	unsigned n;

	REQUIRE(pair_open_at(&pair, SIZE / 2));
	n = fill_up(&pair.tx, 48);
	fill_up_with_commands(&pair.tx);
	shmnet_ring_salvage(&pair.rx);
	CHECK_U64(pair.rx.head - pair.rx.tail, SIZE);
	for (unsigned i = 0; i < n; i++)
		check_record(&pair.rx, 48, 0, i);
	check_commands(&pair.rx);
	pair_close(&pair);
}

TEST_CASE(ring, salvage_of_fresh_memory)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	shmnet_ring_salvage(&pair.rx);
	CHECK_U64(pair.rx.head, 0);
	pair.rx.salt = 0; /* even if zeroes are the right sequence */
	shmnet_ring_salvage(&pair.rx);
	CHECK_U64(pair.rx.head, 0);
	pair_close(&pair);
}

/* A dead peer that was hostile too: more records than the ring holds. */
TEST_CASE(ring, salvage_stays_within_the_ring)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	for (uint64_t at = 0; at < SIZE; at += 64)
		*header_at(&pair, at) = (struct shmnet_ring_header){48, 0, at ^ SALT};
	header_at(&pair, SIZE - 64)->length = 49; /* would end beyond */
	shmnet_ring_salvage(&pair.rx);
	CHECK_U64(pair.rx.head, SIZE - 64);
	header_at(&pair, SIZE - 64)->length = 48;
	shmnet_ring_salvage(&pair.rx);
	CHECK_U64(pair.rx.head, SIZE);
	pair_close(&pair);
}

/* ---- sleeping and waiting ---- */

TEST_CASE(ring, doorbell_once_per_sleep)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK(!shmnet_ring_tx_must_ring(&pair.tx)); /* awake */
	CHECK(!shmnet_ring_rx_sleep(&pair.rx, 1));
	CHECK(shmnet_ring_tx_must_ring(&pair.tx));
	CHECK(!shmnet_ring_tx_must_ring(&pair.tx)); /* on its way */
	shmnet_ring_rx_wake(&pair.rx);
	CHECK(!shmnet_ring_tx_must_ring(&pair.tx));
	CHECK(!shmnet_ring_rx_sleep(&pair.rx, 2)); /* asleep again */
	CHECK(shmnet_ring_tx_must_ring(&pair.tx));
	CHECK(!shmnet_ring_tx_must_ring(&pair.tx));
	shmnet_ring_rx_wake(&pair.rx);
	CHECK(!shmnet_ring_rx_sleep(&pair.rx, UINT32_MAX));
	CHECK(shmnet_ring_tx_must_ring(&pair.tx));
	pair_close(&pair);
}

TEST_CASE(ring, sleep_sees_what_was_published)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(send_record(&pair.tx, 10, 0, 1), 0);
	CHECK(!shmnet_ring_rx_sleep(&pair.rx, 1));
	shmnet_ring_rx_wake(&pair.rx);
	shmnet_ring_publish(&pair.tx);
	CHECK(shmnet_ring_rx_sleep(&pair.rx, 2));
	CHECK_U64(pair.map.words->asleep, 0); /* withdrawn */
	CHECK(!shmnet_ring_tx_must_ring(&pair.tx));
	CHECK_INT(shmnet_ring_poll(&pair.rx), 1);
	CHECK(shmnet_ring_rx_sleep(&pair.rx, 3)); /* polled, not released */
	check_record(&pair.rx, 10, 0, 1);
	CHECK(!shmnet_ring_rx_sleep(&pair.rx, 4));
	pair_close(&pair);
}

TEST_CASE(ring, wait_for_room)
{
	struct pair pair;

	REQUIRE(pair_open(&pair));
	CHECK_INT(shmnet_ring_tx_wait(&pair.tx, 1, 100), 1);
	CHECK_U64(pair.map.words->waiting, 0); /* withdrawn */
	fill_up(&pair.tx, 100);
	CHECK_INT(shmnet_ring_tx_wait(&pair.tx, 2, 100), 0);
	CHECK(shmnet_ring_rx_must_ring(&pair.rx));
	CHECK(!shmnet_ring_rx_must_ring(&pair.rx));
	CHECK_INT(shmnet_ring_tx_wait(&pair.tx, 3, 100), 0); /* woken for nothing */
	CHECK(shmnet_ring_rx_must_ring(&pair.rx));
	shmnet_ring_tx_wait_over(&pair.tx);
	CHECK(!shmnet_ring_rx_must_ring(&pair.rx));
	drain(&pair);
	CHECK_INT(shmnet_ring_tx_wait(&pair.tx, 4, 100), 1);
	CHECK(!shmnet_ring_rx_must_ring(&pair.rx));
	pair_close(&pair);
}

/* ---- against a plain queue ---- */

/*
 * The model: records in a circle that is larger than the ring can ever hold, and how
 * far each verb has come, in records; bytes only for the room.
 */
#define MODEL_RECORDS (SIZE / 64 + 1)

struct model {
	struct {
		uint32_t length;
		uint32_t flags;
		uint64_t seed;
		uint64_t end; /* bytes from the start to behind it */
	} record[MODEL_RECORDS];
	uint64_t submitted, published, polled, released;
	uint64_t bytes_submitted, bytes_released, bytes_credited;
	uint64_t refused;
};

static uint32_t random_length(uint64_t random, uint32_t flags)
{
	uint32_t max = flags & SHMNET_RECORD_COMMAND ? SHMNET_RING_COMMAND_MAX
						     : SHMNET_RING_PAYLOAD_MAX;
	unsigned choice = random >> 32 & 0xff;

	if (choice == 0)
		return max;
	if (choice == 1)
		return (uint32_t)(random >> 40) % max + 1;
	if (choice < 16)
		return (uint32_t)(random >> 40) % (max < 2000 ? max : 2000) + 1;
	return (uint32_t)(random >> 40) % 140 + 1;
}

static void step_submit(struct pair *pair, struct model *model, uint64_t random)
{
	uint32_t flags =
		(random & 0xf0) == 0 ? (uint32_t)random & SHMNET_RECORD_FLAGS : 0;
	uint32_t length = random_length(random, flags);
	uint64_t end = model->bytes_submitted + (16 + length + 63) / 64 * 64;
	uint64_t kept = flags & SHMNET_RECORD_COMMAND ? 0 : 16384;
	bool fits = end + kept - model->bytes_credited <= SIZE;
	uint64_t slot = model->submitted % MODEL_RECORDS;

	CHECK_INT(send_record(&pair->tx, length, flags, random), fits ? 0 : -ENOBUFS);
	if (!fits) {
		model->refused++;
		return;
	}
	model->record[slot].length = length;
	model->record[slot].flags = flags;
	model->record[slot].seed = random;
	model->record[slot].end = model->bytes_submitted = end;
	model->submitted++;
}

static void step_receive(struct pair *pair, struct model *model)
{
	uint64_t slot = model->released % MODEL_RECORDS;
	struct shmnet_record record = {0};

	if (model->released == model->polled) {
		CHECK_INT(shmnet_ring_peek(&pair->rx, &record), 0);
		return;
	}
	check_record(&pair->rx, model->record[slot].length, model->record[slot].flags,
		     model->record[slot].seed);
	model->bytes_released = model->record[slot].end;
	model->released++;
}

static void step(struct pair *pair, struct model *model, uint64_t random)
{
	/* Phases in which one or the other side is faster: empty and full are met. */
	unsigned bias = model->submitted >> 9 & 1 ? 9 : 5;
	unsigned choice = random >> 60;

	if (choice < bias) {
		step_submit(pair, model, random);
	} else if (choice < 12) {
		step_receive(pair, model);
	} else if (choice == 12) {
		shmnet_ring_publish(&pair->tx);
		model->published = model->submitted;
	} else if (choice == 13) {
		shmnet_ring_credit(&pair->rx);
		model->bytes_credited = model->bytes_released;
	} else {
		model->polled = model->published;
		CHECK_INT(shmnet_ring_poll(&pair->rx), model->polled != model->released);
	}
}

static void run_differential(uint64_t start, uint64_t seed, unsigned steps)
{
	struct model *model = calloc(1, sizeof(*model));
	uint64_t state = seed;
	struct pair pair;

	REQUIRE(model);
	REQUIRE(pair_open_at(&pair, start));
	for (unsigned i = 0; i < steps && !test_failed(); i++)
		step(&pair, model, random_next(&state) * 0x2545f4914f6cdd1dull);
	CHECK(model->released > steps / 8);
	CHECK(model->refused > steps / 1000);
	if (test_failed())
		CHECK_U64(seed, 0); /* names it */
	pair_close(&pair);
	free(model);
}

TEST_CASE(ring, agrees_with_a_queue)
{
	run_differential(0, 1, 8000000);
	for (uint64_t seed = 2; seed < 12 && !test_failed(); seed++)
		run_differential(random_next(&(uint64_t){seed}) & ~63ull, seed, 200000);
}

/* 2^64 bytes never pass, but nothing depends on that. */
TEST_CASE(ring, agrees_with_a_queue_when_positions_wrap)
{
	run_differential(0 - 5 * SIZE, 77, 500000);
	run_differential(0 - 64ull, 78, 100000);
}
