/*
 * Fuzz target: a writer and a reader of a cast ring while a hostile member writes to the
 * memory.
 *
 * The input is a program: its first bytes choose where W starts, then each byte is an
 * operation with arguments behind it. The hand can do what a member can do: words, with
 * the lap that belongs there when it wants to, lengths and flags, W. Nobody touches a
 * byte outside of the ring or of the buffer, what a reader is told is well-formed, and
 * its counts add up to how far it went.
 */
#include <shmnet/cast.h>

#include "fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH SHMNET_CAST_DEPTH_MIN
#define MTU                                                                              \
	(SHMNET_RING_ALIGN * 2 - SHMNET_VNET_HLEN - SHMNET_ETH_HLEN - SHMNET_VLAN_HLEN)
#define WRITER 1
#define READER 2

struct input {
	const uint8_t *at;
	size_t left;
};

struct state {
	struct input in;
	struct shmnet_cast_ring ring;
	struct shmnet_cast_writer writer;
	struct shmnet_cast_reader reader;
	uint64_t start;
	void *buffer;
};

static void must(bool condition)
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

/* Close to where something happens, or anywhere. */
static uint64_t take_position(struct state *s)
{
	uint64_t bases[] = {s->reader.cursor, s->reader.head, s->writer.position,
			    shmnet_cast_load_head(&s->ring)};
	uint64_t choice = take(&s->in, 1);

	if (choice % 8 >= 4)
		return take(&s->in, 8);
	return bases[choice % 4] + (uint64_t)(int64_t)(int8_t)take(&s->in, 1);
}

static void forge_word(struct state *s)
{
	uint64_t position = take_position(s), choice = take(&s->in, 1);
	struct shmnet_cast_slot *slot = shmnet_cast_slot_at(&s->ring, position);

	slot->word =
		shmnet_cast_word(shmnet_cast_lap(&s->ring, position) +
					 (uint64_t)(int64_t)(int8_t)(choice >> 4) - 1,
				 (enum shmnet_cast_state)(choice & 3),
				 (uint16_t)take(&s->in, choice & 4 ? 2 : 1));
}

static void forge_frame(struct state *s)
{
	struct shmnet_cast_slot *slot = shmnet_cast_slot_at(&s->ring, take_position(s));

	slot->length = (uint32_t)take(&s->in, 4);
	slot->flags = (uint32_t)take(&s->in, 1);
}

static void scribble(struct state *s)
{
	struct shmnet_cast_slot *slot = shmnet_cast_slot_at(&s->ring, take_position(s));

	slot->word = take(&s->in, 8);
}

static void forge_head(struct state *s)
{
	s->ring.head->head = take_position(s);
}

static void write_frame(struct state *s)
{
	const uint8_t *end =
		s->ring.slots +
		(uint64_t)DEPTH * (sizeof(struct shmnet_cast_slot) + s->ring.room);
	uint32_t length = (uint32_t)take(&s->in, 1) % s->ring.room + 1;
	uint8_t *payload;
	int ret = shmnet_cast_reserve(&s->writer, &payload);

	must(ret == 0 || ret == -ESHUTDOWN || ret == -ENOBUFS || ret == -EPROTO);
	if (ret < 0)
		return;
	must(payload > s->ring.slots && payload + s->ring.room <= end);
	must(s->writer.position < SHMNET_CAST_POSITION_MAX);
	memset(payload, 0x5a, s->ring.room);
	if (length & 1)
		shmnet_cast_submit(&s->writer, length, 0);
	else if (length & 2)
		shmnet_cast_withdraw(&s->writer);
}

static void read_frame(struct state *s)
{
	struct shmnet_cast_record record = {0};
	uint64_t cursor = s->reader.cursor;
	int ret = shmnet_cast_read(&s->reader, s->buffer, &record);

	must(ret == 1 || ret == 0 || ret == -EAGAIN || ret == -ESHUTDOWN ||
	     ret == -EPROTO);
	must(s->reader.cursor >= cursor);
	if (ret != 1)
		return;
	must(record.length > 0 && record.length <= s->ring.room);
	must(!(record.flags & ~SHMNET_RECORD_FLAGS));
	must(record.writer >= SHMNET_NODE_ID_MIN && record.writer <= SHMNET_NODE_ID_MAX);
	must(record.writer != READER);
	must(record.position >= cursor && record.position < s->reader.cursor);
}

static void skip(struct state *s)
{
	shmnet_cast_skip(&s->reader);
}

static void reclaim(struct state *s)
{
	must(shmnet_cast_reclaim(&s->ring, (uint16_t)take(&s->in, 1)) <= DEPTH);
}

static void close_ring(struct state *s)
{
	shmnet_cast_close(&s->ring);
}

static void (*const operations[])(struct state *) = {
	forge_word, forge_frame, scribble, forge_head, write_frame,
	read_frame, read_frame,	 skip,	   reclaim,    close_ring,
};

static void check_books(const struct state *s)
{
	const struct shmnet_cast_reader *reader = &s->reader;

	must(reader->delivered + reader->own + reader->lapped + reader->holes +
		     reader->corrupt ==
	     reader->cursor - s->start);
	must(reader->head <= SHMNET_CAST_POSITION_MAX);
	must(reader->cursor <= reader->head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t length = shmnet_cast_file_size(DEPTH, MTU);
	struct state s = {.in = {data, size}};
	void *memory = aligned_alloc(SHMNET_RING_ALIGN, length);

	must(memory != NULL);
	memset(memory, 0, length);
	shmnet_cast_ring_init(&s.ring, memory, DEPTH, MTU);
	s.buffer = malloc(s.ring.room);
	must(s.buffer != NULL);
	s.start = take(&s.in, 2);
	s.ring.head->head = s.start;
	shmnet_cast_writer_init(&s.writer, &s.ring, WRITER);
	shmnet_cast_reader_init(&s.reader, &s.ring, READER, s.start);
	while (s.in.left > 0) {
		uint64_t choice = take(&s.in, 1);

		operations[choice % (sizeof(operations) / sizeof(operations[0]))](&s);
		check_books(&s);
	}
	free(s.buffer);
	free(memory);
	return 0;
}
