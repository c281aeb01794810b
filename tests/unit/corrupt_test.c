/*
 * The data path under a member that writes nonsense, by a seed: indices, headers,
 * commands, frames and slots of a cast ring, each wrong in one way or in all, read by the
 * functions that the worker runs. Another member's frames come in between: each arrives,
 * in order. What the liar's own records came to is counted to the last one.
 *
 * CORRUPT=N writes N of them instead of the few that each run has time for, SEED=N by
 * another seed.
 */
#include "cable.h"

#include "data/plane_internal.h"
#include "shim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HONEST 3u
#define LIAR   2u
#define DEPTH  64u

enum kind { INDEX, HEADER, COMMAND, FRAME, SLOT, KIND_NUM_ };
static const char *const kinds[] = {"indices", "headers", "commands", "frames", "slots"};

struct rig {
	struct host host;
	struct cable liar, honest;
	struct cast_file file;
	struct cast *cast;
	struct shmnet_cast_ring slots;
	struct path_scratch scratch;
	uint64_t random;
	uint64_t written[KIND_NUM_];
	uint64_t refused; /* rings that were nonsense, and begun anew */
	uint64_t number;  /* of the honest one's frames */
};

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static bool rig_make(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	rig->random = number_of("SEED", 1) * 0x9e3779b97f4a7c15ull | 1;
	if (!host_make(&rig->host, 1, 1, 0) ||
	    !cable_plug_played(&rig->liar, &rig->host, LIAR) ||
	    !cable_plug_played(&rig->honest, &rig->host, HONEST) ||
	    !cast_file_open(&rig->file, DEPTH) ||
	    host_add_cast(&rig->host, &rig->file, false, &rig->cast) < 0)
		return false;
	rig->slots = cast_file_ring(&rig->file);
	return true;
}

static void rig_close(struct rig *rig)
{
	plane_remove_cast(rig->host.plane, rig->cast, NULL);
	cable_detach(&rig->liar, 0, false, NULL);
	cable_detach(&rig->honest, 0, false, NULL);
	cable_free_played(&rig->liar);
	cable_free_played(&rig->honest);
	cast_file_close(&rig->file);
	host_close(&rig->host);
}

/* As control does after a quarantine, but in the same memory. */
static void begin_anew(struct rig *rig)
{
	struct link *link = rig->liar.link[0];

	rig->refused++;
	memset(rig->liar.tx_map.words, 0, sizeof(*rig->liar.tx_map.words));
	shmnet_ring_rx_init(&link->rx, link->rx.words, link->rx.data, RIG_RING_SIZE,
			    link->rx.salt);
	shmnet_ring_tx_init(&rig->liar.tx, rig->liar.tx_map.words, rig->liar.tx_map.data,
			    RIG_RING_SIZE, rig->liar.tx.salt);
	link->casts_told = link->casts_taken = link->counters.drops[DROP_CAST_LOST] = 0;
	link->error = 0;
}

static void begin_slots_anew(struct rig *rig)
{
	rig->refused++;
	memset(rig->file.map.base, 0, rig->file.map.length);
	shmnet_cast_reader_init(&rig->cast->reader, &rig->cast->reader.ring, 1, 0);
	rig->cast->error = 0;
}

/* ---- nonsense ---- */

/* Close to what is right, or anything. */
static uint64_t skew(struct rig *rig, uint64_t right)
{
	uint64_t random = rig_random(&rig->random);

	switch (random % 6) {
	case 0:
		return random;
	case 1:
		return right ^ 1ull << (random >> 8) % 64;
	case 2:
		return right + (random >> 8) % 257 - 128;
	case 3:
		return right + RIG_RING_SIZE;
	case 4:
		return 0;
	default:
		return (uint32_t)random;
	}
}

static void write_index(struct rig *rig)
{
	uint64_t *head = &rig->liar.tx.words->head;

	__atomic_store_n(head, skew(rig, *head), __ATOMIC_RELAXED);
	__atomic_store_n(&rig->liar.rx.words->tail, skew(rig, 0), __ATOMIC_RELAXED);
}

/* Room for a record, whatever the victim says of what it took. */
static uint8_t *record(struct rig *rig)
{
	struct shmnet_ring_tx *tx = &rig->liar.tx;

	tx->tail = tx->head;
	return tx->data + (tx->head & tx->mask) + sizeof(struct shmnet_ring_header);
}

static void finish(struct rig *rig, uint32_t length, uint32_t flags)
{
	shmnet_ring_submit(&rig->liar.tx, length, flags);
	shmnet_ring_publish(&rig->liar.tx);
}

static void write_header(struct rig *rig)
{
	uint8_t *payload = record(rig);
	struct shmnet_ring_header *header =
		(struct shmnet_ring_header *)(void *)(payload - sizeof(*header));
	size_t length = rig_frame(payload, LIAR, 1, 7, RIG_FRAME_MIN);

	finish(rig, (uint32_t)length, 0);
	switch (rig_random(&rig->random) % 3) {
	case 0:
		header->length = (uint32_t)skew(rig, header->length);
		break;
	case 1:
		header->flags = (uint32_t)skew(rig, header->flags);
		break;
	default:
		header->sequence = skew(rig, header->sequence);
	}
}

static void write_command(struct rig *rig)
{
	uint64_t random = rig_random(&rig->random);
	struct shmnet_command header = {
		.type = (uint16_t)(random % 5),
		.zero = (uint16_t)(random >> 8 & 15 ? 0 : random >> 16),
		.length = (uint32_t)(random >> 32 & 2047),
	};
	uint8_t *payload = record(rig);
	uint32_t length = (uint32_t)sizeof(header) + header.length;

	if (random >> 60 == 0)
		header.length = (uint32_t)skew(rig, header.length);
	memcpy(payload, &header, sizeof(header));
	if (random >> 56 & 1)
		length = 1 + (uint32_t)(random >> 20) % 64;
	finish(rig, length, SHMNET_RECORD_COMMAND | (random >> 55 & 63 ? 0 : 2));
}

/* A good frame, or one with an offload, with some bytes of its head changed. */
static void write_frame(struct rig *rig)
{
	uint64_t random = rig_random(&rig->random);
	uint8_t *payload = record(rig);
	size_t length = random & 1 ? rig_frame_tcp(payload, LIAR, 1, random >> 8 & 8191,
						   (uint16_t)(random >> 24 & 2047))
				   : rig_frame(payload, LIAR, 1, random,
					       RIG_FRAME_MIN + (random >> 8 & 511));

	for (unsigned i = 1 + (unsigned)(random >> 60); i > 0; i--) {
		uint64_t where = rig_random(&rig->random);

		payload[where % 64] = (uint8_t)(where >> 32);
	}
	if ((random >> 40) % 8 == 0)
		length = 1 + (random >> 44) % length;
	finish(rig, (uint32_t)length, random >> 50 & 7 ? 0 : SHMNET_RECORD_CAST);
}

static void write_slot(struct rig *rig)
{
	uint64_t random = rig_random(&rig->random);
	uint64_t head = shmnet_cast_now(&rig->slots);
	struct shmnet_cast_slot *slot =
		shmnet_cast_slot_at(&rig->slots, head + random % 8);
	uint64_t right =
		shmnet_cast_word(shmnet_cast_lap(&rig->slots, head),
				 (enum shmnet_cast_state)(random >> 8 & 3), LIAR);

	slot->word = random >> 16 & 1 ? skew(rig, right) : right;
	slot->length = (uint32_t)skew(rig, 100);
	slot->flags = random >> 17 & 7 ? SHMNET_RECORD_CAST : (uint32_t)random;
	rig_frame((uint8_t *)(slot + 1), LIAR, RIG_TO_ALL, random, 100);
	__atomic_store_n(&rig->slots.head->head,
			 random >> 24 & 255 ? head + (random >> 32) % 9 : skew(rig, head),
			 __ATOMIC_RELAXED);
}

/* ---- what comes of it ---- */

/* Of the liar's frames some are good; the TAP is small, and is read now and then. */
static void check_delivered(struct rig *rig)
{
	static uint8_t frame[RIG_FRAME_MAX];

	while (recv(rig->host.tap.host[0], frame, sizeof(frame), MSG_DONTWAIT) > 0)
		continue;
}

static void check_honest(struct rig *rig)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct shmnet_ring_tx *tx = &rig->honest.tx;
	uint8_t *payload;
	size_t length;

	check_delivered(rig);
	REQUIRE(shmnet_ring_reserve(tx, 256, 0, &payload) == 0);
	length = rig_frame(payload, HONEST, 1, ++rig->number, 200);
	shmnet_ring_submit(tx, (uint32_t)length, 0);
	shmnet_ring_publish(tx);
	CHECK_INT(path_rx(rig->honest.link[0], &rig->scratch), 1);
	length = (size_t)recv(rig->host.tap.host[0], frame, sizeof(frame), MSG_DONTWAIT);
	CHECK(rig_frame_is(frame, length, HONEST, 1, rig->number));
}

static void read_all(struct rig *rig, enum kind kind)
{
	struct link *link = rig->liar.link[0];
	bool drained;

	if (kind == SLOT)
		path_cast_rx(rig->host.plane->view, rig->cast, &rig->scratch, &drained);
	else
		path_rx(link, &rig->scratch);
	if (link->error) {
		CHECK_INT(link->error, -EPROTO);
		begin_anew(rig);
	}
	if (rig->cast->error)
		begin_slots_anew(rig);
}

static void write_one(struct rig *rig, enum kind kind)
{
	static void (*const writers[])(struct rig *) = {
		write_index, write_header, write_command, write_frame, write_slot,
	};

	writers[kind](rig);
	rig->written[kind]++;
}

TEST_CASE(corrupt, nonsense_harms_who_writes_it)
{
	static struct rig rig;
	uint64_t amount = number_of("CORRUPT", 100000);
	struct link_counters counters;

	REQUIRE(rig_make(&rig));
	for (uint64_t i = 0; i < amount; i++) {
		enum kind kind = (enum kind)(rig_random(&rig.random) >> 20) % KIND_NUM_;

		write_one(&rig, kind);
		read_all(&rig, kind);
		if (i % 16 == 0)
			check_honest(&rig);
	}
	counters = read_link(rig.liar.link[0]);
	CHECK_U64(counters.received_frames,
		  counters.delivered_frames + sum_drops(&counters, false));
	counters = read_link(rig.honest.link[0]);
	CHECK_U64(counters.delivered_frames, rig.number);
	for (unsigned kind = 0; kind < KIND_NUM_; kind++) {
		printf("%llu %s, ", (unsigned long long)rig.written[kind], kinds[kind]);
		CHECK(rig.written[kind] > amount / (2 * KIND_NUM_));
	}
	printf("%llu rings given up, %llu frames of the honest one\n",
	       (unsigned long long)rig.refused, (unsigned long long)rig.number);
	CHECK(rig.refused > amount / 20);
	rig_close(&rig);
}
