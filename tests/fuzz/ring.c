/*
 * Fuzz target: both ends of a pair ring while a hostile hand writes to the memory.
 *
 * The input is a program: its first bytes choose where the positions start and the
 * salt, then each byte is an operation with arguments behind it. The hand can do what
 * a peer can do, and it knows the salt, so that it gets past the sequence when it
 * wants to. After each operation: positions within the ring and on the grid, and
 * what peek() gives within what it may give.
 */
#include "base/memfd.h"
#include "fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE SHMNET_RING_SIZE_MIN

struct input {
	const uint8_t *at;
	size_t left;
};

struct state {
	struct input in;
	struct shmnet_ring_tx tx;
	struct shmnet_ring_rx rx;
};

/* Mapped once; what was written is wiped after each run, to stay the same each time. */
static struct ring_map map;
static struct {
	uint32_t offset;
	uint32_t length;
} dirty[4096];
static unsigned dirty_count;

static void assert_that(bool condition)
{
	if (!condition)
		abort();
}

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t value = 0;

	for (; bytes > 0 && in->left > 0; bytes--, in->left--)
		value = value << 8 | *in->at++;
	return value;
}

static void touch(const uint8_t *place, uint32_t length, const uint8_t *bytes)
{
	uint32_t offset = (uint32_t)(place - map.data) & (SIZE - 1);

	if (dirty_count == sizeof(dirty) / sizeof(dirty[0]))
		return;
	dirty[dirty_count].offset = offset;
	dirty[dirty_count++].length = length;
	if (bytes)
		memcpy(map.data + offset, bytes, length);
}

static void wipe(void)
{
	memset(map.words, 0, sizeof(*map.words));
	while (dirty_count > 0) {
		dirty_count--;
		memset(map.data + dirty[dirty_count].offset, 0,
		       dirty[dirty_count].length);
	}
}

/* A position that is close to something, or anything at all. */
static uint64_t take_position(struct state *s)
{
	uint64_t bases[] = {s->rx.tail, s->rx.head, s->tx.published, s->tx.tail,
			    s->rx.tail + SIZE};
	uint64_t choice = take(&s->in, 1);

	if (choice % 8 >= 5)
		return take(&s->in, 8);
	return bases[choice % 8] + (uint64_t)(int64_t)(int16_t)take(&s->in, 2) *
					   (choice & 0x80 ? 1 : SHMNET_RING_ALIGN);
}

static uint32_t take_length(struct state *s)
{
	static const uint32_t lengths[] = {0,
					   1,
					   SHMNET_RING_COMMAND_MAX,
					   SHMNET_RING_PAYLOAD_MAX,
					   SHMNET_RING_PAYLOAD_MAX + 1,
					   UINT32_MAX,
					   UINT32_MAX - 15};
	uint64_t choice = take(&s->in, 1);

	if (choice < 7)
		return lengths[choice];
	return (uint32_t)take(&s->in, choice & 1 ? 1 : 4);
}

static void forge_header(struct state *s)
{
	uint64_t position = take_position(s);
	struct shmnet_ring_header header = {
		.length = take_length(s),
		.flags = (uint32_t)take(&s->in, 1),
		.sequence = position ^ s->rx.salt,
	};

	if (header.flags & 0x40)
		header.sequence ^= take(&s->in, 8);
	if (!(header.flags & 0x80))
		header.flags &= 0x7;
	touch(map.data + (position & (SIZE - 64)), sizeof(header),
	      (const uint8_t *)&header);
}

static void scribble(struct state *s)
{
	uint64_t position = take_position(s);
	uint64_t value = take(&s->in, 8);

	touch(map.data + (position & (SIZE - 8)), sizeof(value), (const uint8_t *)&value);
}

static void forge_words(struct state *s)
{
	uint64_t choice = take(&s->in, 1);

	if (choice % 4 == 0)
		map.words->head = take_position(s);
	else if (choice % 4 == 1)
		map.words->tail = take_position(s);
	else if (choice % 4 == 2)
		map.words->asleep = (uint32_t)take(&s->in, 4);
	else
		map.words->waiting = (uint32_t)take(&s->in, 4);
}

static void transmit(struct state *s)
{
	uint32_t flags = (uint32_t)take(&s->in, 1) & SHMNET_RECORD_FLAGS;
	uint32_t max = flags & SHMNET_RECORD_COMMAND ? SHMNET_RING_COMMAND_MAX
						     : SHMNET_RING_PAYLOAD_MAX;
	uint32_t length = (uint32_t)take(&s->in, 3) % max + 1;
	uint8_t *payload;
	int ret = shmnet_ring_reserve(&s->tx, length, flags, &payload);

	assert_that(ret == 0 || ret == -ENOBUFS || ret == -EPROTO);
	if (ret < 0)
		return;
	assert_that(payload >= map.data + 16 && payload + length <= map.data + 2 * SIZE);
	assert_that(SIZE - shmnet_ring_tx_used(&s->tx) >= shmnet_record_size(length));
	touch(payload - 16, 16, NULL);
	shmnet_ring_submit(&s->tx, length, flags);
}

static void check_record(const struct state *s, const struct shmnet_record *record)
{
	uint64_t offset = (uint64_t)(record->payload - map.data);
	const volatile uint8_t *payload = record->payload;

	assert_that(record->length > 0 && record->length <= SHMNET_RING_PAYLOAD_MAX);
	assert_that(!(record->flags & ~SHMNET_RECORD_FLAGS));
	assert_that(!(record->flags & SHMNET_RECORD_COMMAND) ||
		    record->length <= SHMNET_RING_COMMAND_MAX);
	assert_that(offset == (s->rx.tail & (SIZE - 1)) + 16);
	assert_that(shmnet_record_size(record->length) <= s->rx.head - s->rx.tail);
	(void)payload[0];
	(void)payload[record->length - 1];
}

static void receive(struct state *s)
{
	uint64_t tail = s->rx.tail;
	struct shmnet_record record = {0};
	int ret = shmnet_ring_peek(&s->rx, &record);

	assert_that(ret == 1 || ret == 0 || ret == -EPROTO);
	assert_that(s->rx.tail == tail);
	if (ret != 1)
		return;
	check_record(s, &record);
	shmnet_ring_release(&s->rx, &record);
	assert_that(s->rx.tail - tail <= 65600);
}

static void wait_or_sleep(struct state *s)
{
	uint32_t number = (uint32_t)take(&s->in, 1) + 1;
	int ret;

	if (number & 1) {
		if (!shmnet_ring_rx_sleep(&s->rx, number))
			shmnet_ring_rx_wake(&s->rx);
		shmnet_ring_tx_must_ring(&s->tx);
		return;
	}
	ret = shmnet_ring_tx_wait(&s->tx, number, take_length(s) & 0xffff);
	assert_that(ret == 0 || ret == 1 || ret == -EPROTO);
	shmnet_ring_rx_must_ring(&s->rx);
}

static void accept_words(struct state *s)
{
	uint64_t position = take_position(s);
	uint64_t head = s->rx.head, tail = s->tx.tail;

	if (take(&s->in, 1) & 1) {
		if (shmnet_ring_accept_head(&s->rx, position) < 0)
			assert_that(s->rx.head == head);
	} else {
		if (shmnet_ring_accept_tail(&s->tx, position) < 0)
			assert_that(s->tx.tail == tail);
	}
}

static void poll_head(struct state *s)
{
	uint64_t head = s->rx.head;
	int ret = shmnet_ring_poll(&s->rx);

	assert_that(ret == 1 || ret == 0 || (ret == -EPROTO && s->rx.head == head));
}

static void salvage(struct state *s)
{
	uint64_t before = s->rx.head - s->rx.tail;

	shmnet_ring_salvage(&s->rx);
	assert_that(s->rx.head - s->rx.tail >= before);
}

static void update_tail(struct state *s)
{
	int ret = shmnet_ring_update_tail(&s->tx);

	assert_that(ret == 0 || ret == -EPROTO);
}

static void publish(struct state *s)
{
	shmnet_ring_publish(&s->tx);
}

static void credit(struct state *s)
{
	shmnet_ring_credit(&s->rx);
}

static void (*const operations[])(struct state *) = {
	forge_header, scribble,	   forge_words, transmit,      receive, publish,
	poll_head,    update_tail, credit,	wait_or_sleep, salvage, accept_words,
};

static void check_positions(const struct state *s)
{
	assert_that(s->rx.head - s->rx.tail <= SIZE);
	assert_that(s->tx.head - s->tx.tail <= SIZE);
	assert_that(s->tx.head - s->tx.published <= s->tx.head - s->tx.tail);
	assert_that(((s->rx.head | s->rx.tail | s->tx.head | s->tx.tail) & 63) == 0);
}

static void start(struct state *s)
{
	uint64_t position = take(&s->in, 4) * SHMNET_RING_ALIGN;
	uint64_t salt = take(&s->in, 8);

	shmnet_ring_tx_init(&s->tx, map.words, map.data, SIZE, salt);
	shmnet_ring_rx_init(&s->rx, map.words, map.data, SIZE, salt);
	s->tx.head = s->tx.published = s->tx.tail = position;
	s->rx.head = s->rx.credited = s->rx.tail = position;
	map.words->head = map.words->tail = position;
}

static void map_once(void)
{
	int fd;

	if (map.base)
		return;
	assert_that(memfd_ring_create(SIZE, &fd) == 0);
	assert_that(ring_map_open(fd, SIZE, &map) == 0);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state s = {.in = {data, size}};

	map_once();
	start(&s);
	while (s.in.left > 0) {
		uint64_t choice = take(&s.in, 1);

		operations[choice % (sizeof(operations) / sizeof(operations[0]))](&s);
		check_positions(&s);
	}
	wipe();
	return 0;
}
