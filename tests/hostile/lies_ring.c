/*
 * Lies in the memory of pair rings: W and R, headers, commands, frames; pages that vanish
 * or change while they are read. See hostile.h.
 */
#include "hostile.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>

/* Above what a victim answers before it looks how far we have read. */
#define PINGS 200

static void store_head(struct session *session, uint64_t head)
{
	__atomic_store_n(&session->tx.words->head, head, __ATOMIC_SEQ_CST);
	ring_bell(session);
}

/* Shown, and taken. */
static bool has_taken_some(struct session *session)
{
	return shmnet_ring_update_tail(&session->tx) == 0 && session->tx.tail > 0 &&
	       session->tx.tail == session->tx.head;
}

/* ---- W ---- */

static void head_beyond(struct session *session, unsigned round)
{
	if (round == 0)
		store_head(session, session->tx.head + session->tx.mask + 1 + 64);
}

static void head_back(struct session *session, unsigned round)
{
	if (round == 0)
		send_frames(session, 4);
	else if (has_taken_some(session))
		store_head(session, session->tx.head - 64);
}

static void head_odd(struct session *session, unsigned round)
{
	if (round > 0)
		return;
	put_record(session, "x", 1, 0);
	store_head(session, session->tx.head + 1 + random_next(&session->random) % 63);
}

static void head_random(struct session *session, unsigned round)
{
	(void)round;
	store_head(session, random_next(&session->random));
}

/* W that is right, over memory in which nothing was written. */
static void head_early(struct session *session, unsigned round)
{
	if (round == 0)
		store_head(session, session->tx.head + 4096);
}

/* ---- R ---- */

/* The victim looks at it when it has answered many pings. */
static void lie_about_tail(struct session *session, uint64_t tail)
{
	__atomic_store_n(&session->rx.words->tail, tail, __ATOMIC_SEQ_CST);
	send_pings(session, PINGS);
}

static void tail_beyond(struct session *session, unsigned round)
{
	if (round < 4)
		lie_about_tail(session, session->rx.tail + (1u << 20));
}

static void tail_back(struct session *session, unsigned round)
{
	(void)round;
	if (session->rx.tail < 64u * PINGS)
		send_pings(session, PINGS);
	else
		lie_about_tail(session, 64);
}

static void tail_odd(struct session *session, unsigned round)
{
	if (round < 4)
		lie_about_tail(session, session->rx.tail | 1);
}

/* ---- headers ---- */

/* A frame of 100 bytes whose header is changed before it is shown. */
static struct shmnet_ring_header *begin_header(struct session *session)
{
	uint8_t buffer[128];

	put_record(session, buffer, make_frame(session, buffer, 100), 0);
	return last_header(session);
}

static void header_zero(struct session *session, unsigned round)
{
	if (round > 0)
		return;
	begin_header(session)->length = 0;
	show(session);
}

static void header_long(struct session *session, unsigned round)
{
	if (round > 0)
		return;
	begin_header(session)->length = SHMNET_RING_PAYLOAD_MAX + 1;
	show(session);
}

/* Longer than what is shown. */
static void header_beyond(struct session *session, unsigned round)
{
	if (round > 0)
		return;
	begin_header(session)->length = 4096;
	show(session);
}

static void header_flags(struct session *session, unsigned round)
{
	if (round > 0)
		return;
	begin_header(session)->flags = 1u << (2 + random_next(&session->random) % 30);
	show(session);
}

static void header_sequence(struct session *session, unsigned round)
{
	if (round > 0)
		return;
	begin_header(session)->sequence ^= 1ull << random_next(&session->random) % 64;
	show(session);
}

static void header_random(struct session *session, unsigned round)
{
	struct shmnet_ring_header *header;

	if (round > 0)
		return;
	header = begin_header(session);
	header->length = (uint32_t)random_next(&session->random) | 1u << 31;
	header->flags = (uint32_t)random_next(&session->random);
	show(session);
}

/* ---- commands ---- */

static void command_short(struct session *session, unsigned round)
{
	if (round == 0 && put_record(session, "1234", 4, SHMNET_RECORD_COMMAND))
		show(session);
}

static void say_command(struct session *session, unsigned round, uint16_t type,
			uint16_t zero, uint32_t claimed, uint32_t length)
{
	static const uint8_t bytes[2 * SHMNET_COMMAND_MESSAGE_MAX];

	if (round == 0 && put_command(session, type, zero, claimed, bytes, length))
		show(session);
}

static void command_type(struct session *session, unsigned round)
{
	uint16_t type = (uint16_t)(4 + random_next(&session->random) % 65532);

	say_command(session, round, type, 0, 8, 8);
}

static void command_length(struct session *session, unsigned round)
{
	say_command(session, round, SHMNET_COMMAND_PING, 0, UINT32_MAX, 8);
}

static void command_zero(struct session *session, unsigned round)
{
	say_command(session, round, SHMNET_COMMAND_PING, 1, 8, 8);
}

static void command_ping_short(struct session *session, unsigned round)
{
	say_command(session, round, SHMNET_COMMAND_PING, 0, 4, 4);
}

static void message_none(struct session *session, unsigned round)
{
	say_command(session, round, SHMNET_COMMAND_MESSAGE, 0, 0, 0);
}

static void message_long(struct session *session, unsigned round)
{
	say_command(session, round, SHMNET_COMMAND_MESSAGE, 0,
		    SHMNET_COMMAND_MESSAGE_MAX + 1, SHMNET_COMMAND_MESSAGE_MAX + 1);
}

static void command_cast(struct session *session, unsigned round)
{
	const struct shmnet_command_ping ping = {{SHMNET_COMMAND_PING, 0, 8}, 1};

	if (round == 0 && put_record(session, &ping, sizeof(ping), SHMNET_RECORD_FLAGS))
		show(session);
}

/* To a control thread that expects none on such a network. */
static void message_noise(struct session *session, unsigned round)
{
	uint64_t bytes[SHMNET_COMMAND_MESSAGE_MAX / 8];

	(void)round;
	for (unsigned i = 0; i < 8; i++) {
		uint32_t length = 1 + (uint32_t)(random_next(&session->random) % 1024);

		for (unsigned j = 0; j < sizeof(bytes) / 8; j++)
			bytes[j] = random_next(&session->random);
		put_command(session, SHMNET_COMMAND_MESSAGE, 0, length, bytes, length);
	}
	show(session);
}

static void pong_noise(struct session *session, unsigned round)
{
	uint64_t token;

	(void)round;
	for (unsigned i = 0; i < 100; i++) {
		token = i % 3 ? random_next(&session->random) : i;
		put_command(session, SHMNET_COMMAND_PONG, 0, 8, &token, 8);
	}
	show(session);
}

/* ---- frames: counted, and no more ---- */

static void frame_runt(struct session *session, unsigned round)
{
	uint8_t buffer[64];

	(void)round;
	make_frame(session, buffer, 40);
	for (uint32_t length = 1; length < SHMNET_VNET_HLEN + SHMNET_ETH_HLEN; length++)
		put_record(session, buffer, length, 0);
	show(session);
}

/* One byte of the addresses is another one. */
static void frame_addresses(struct session *session, unsigned round)
{
	uint8_t buffer[128];

	(void)round;
	for (unsigned i = 0; i < 12; i++) {
		uint32_t length = make_frame(session, buffer, 64);

		buffer[SHMNET_VNET_HLEN + i] ^= (uint8_t)(1 << session->round % 8);
		put_record(session, buffer, length, i & 1 ? SHMNET_RECORD_CAST : 0);
	}
	show(session);
}

static void frame_oversize(struct session *session, unsigned round)
{
	static uint8_t buffer[SHMNET_RING_PAYLOAD_MAX];
	uint32_t mtu = session->self->mtu, length;

	(void)round;
	length = make_frame(session, buffer, mtu + SHMNET_ETH_HLEN + 5);
	put_record(session, buffer, length, 0);
	length = make_frame(session, buffer, SHMNET_FRAME_MAX);
	put_record(session, buffer, length, 0);
	show(session);
}

/* A virtio-net header that asks for anything, before a packet of anything. */
static void frame_offload(struct session *session, unsigned round)
{
	static const uint16_t types[] = {0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806};
	static uint8_t buffer[SHMNET_RING_PAYLOAD_MAX];

	(void)round;
	for (unsigned i = 0; i < 32; i++) {
		uint64_t random = random_next(&session->random);
		uint32_t length =
			make_frame(session, buffer, 14 + (uint32_t)(random % 3000));
		uint16_t type = types[random >> 32 & 3];

		for (unsigned j = 0; j < SHMNET_VNET_HLEN; j++)
			buffer[j] = (uint8_t)random_next(&session->random);
		buffer[1] = (uint8_t)(random >> 40 & 7); /* the types that there are */
		buffer[SHMNET_VNET_HLEN + 12] = (uint8_t)(type >> 8);
		buffer[SHMNET_VNET_HLEN + 13] = (uint8_t)type;
		for (uint32_t j = SHMNET_VNET_HLEN + 14; j < length && j < 128; j++)
			buffer[j] = (uint8_t)random_next(&session->random);
		buffer[SHMNET_VNET_HLEN + 14] = random & 1ull << 50 ? 0x45 : 0x60;
		put_record(session, buffer, length, 0);
	}
	show(session);
}

/* ---- pages ---- */

static void punch(int fd, off_t offset, off_t length)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

/* Under records that are shown afterwards. */
static void hole_records(struct session *session, unsigned round)
{
	uint8_t buffer[2048];

	if (round > 0)
		return;
	for (unsigned i = 0; i < 20; i++)
		put_record(session, buffer, make_frame(session, buffer, 1400), 0);
	punch(session->tx_fd, SHMNET_RING_WORDS_LEN, (off_t)session->tx.mask + 1);
	show(session);
}

/* Under the words of the victim's ring: what is its own there is nothing it reads. */
static void hole_words(struct session *session, unsigned round)
{
	if (round == 0)
		send_frames(session, 4);
	else if (has_taken_some(session))
		punch(session->tx_fd, 0, SHMNET_RING_WORDS_LEN);
}

/* Everywhere, again and again, while frames come. */
static void hole_storm(struct session *session)
{
	while (flips_on(session)) {
		punch(session->tx_fd, 0, 1 << 30);
		punch(session->rx_fd, SHMNET_RING_WORDS_LEN, 1 << 30);
		sched_yield();
	}
}

static void keep_sending(struct session *session, unsigned round)
{
	(void)round;
	send_frames(session, 64);
}

/* ---- flips: between the check and the use ---- */

/* The payload of what is under way: addresses, virtio-net headers, lengths of packets. */
static void flip_payloads(struct session *session)
{
	uint64_t random = session->random | 1;
	uint64_t *words = (uint64_t *)(void *)session->tx.data;
	uint64_t count = (session->tx.mask + 1) / 8;

	while (flips_on(session)) {
		uint64_t place = random_next(&random) % count;

		if (place % 8 >= 2) /* not where a record may begin */
			__atomic_store_n(&words[place], random, __ATOMIC_RELAXED);
	}
}

/* Lengths and flags of the records at the victim's tail, and back. */
static void flip_headers(struct session *session)
{
	uint64_t random = session->random | 1;

	while (flips_on(session)) {
		uint64_t tail =
			__atomic_load_n(&session->tx.words->tail, __ATOMIC_RELAXED);
		struct shmnet_ring_header *header =
			(struct shmnet_ring_header *)(void *)(session->tx.data +
							      (tail & session->tx.mask &
							       ~63ull));
		uint32_t length = __atomic_load_n(&header->length, __ATOMIC_RELAXED);

		__atomic_store_n(&header->length, (uint32_t)random_next(&random),
				 __ATOMIC_RELAXED);
		__atomic_store_n(&header->length, length, __ATOMIC_RELAXED);
		__atomic_store_n(&header->flags, (uint32_t)random & 3, __ATOMIC_RELAXED);
		__atomic_store_n(&header->flags, 0, __ATOMIC_RELAXED);
	}
}

/* Every word of both pages of words. */
static void flip_words(struct session *session)
{
	uint64_t random = session->random | 1;
	uint64_t *pages[] = {(uint64_t *)(void *)session->tx.words,
			     (uint64_t *)(void *)session->rx.words};

	while (flips_on(session)) {
		uint64_t place = random_next(&random);

		__atomic_store_n(&pages[place & 1][(place >> 1) % 160], random >> 8,
				 __ATOMIC_RELAXED);
	}
}

/* `asleep` and `waiting`: the victim rings for nothing, and is not rung for. */
static void flip_sleep(struct session *session)
{
	uint64_t random = session->random | 1;

	while (flips_on(session)) {
		__atomic_store_n(&session->rx.words->asleep,
				 (uint32_t)random_next(&random), __ATOMIC_RELAXED);
		__atomic_store_n(&session->tx.words->waiting,
				 (uint32_t)random_next(&random), __ATOMIC_RELAXED);
		sched_yield();
	}
}

const struct lie ring_lies[] = {
	{"head-beyond", EXPECT_QUARANTINE, NULL, head_beyond, NULL},
	{"head-back", EXPECT_QUARANTINE, NULL, head_back, NULL},
	{"head-odd", EXPECT_QUARANTINE, NULL, head_odd, NULL},
	{"head-random", EXPECT_QUARANTINE, NULL, head_random, NULL},
	{"head-early", EXPECT_QUARANTINE, NULL, head_early, NULL},
	{"tail-beyond", EXPECT_QUARANTINE, NULL, tail_beyond, NULL},
	{"tail-back", EXPECT_QUARANTINE, NULL, tail_back, NULL},
	{"tail-odd", EXPECT_QUARANTINE, NULL, tail_odd, NULL},
	{"header-zero", EXPECT_QUARANTINE, NULL, header_zero, NULL},
	{"header-long", EXPECT_QUARANTINE, NULL, header_long, NULL},
	{"header-beyond", EXPECT_QUARANTINE, NULL, header_beyond, NULL},
	{"header-flags", EXPECT_QUARANTINE, NULL, header_flags, NULL},
	{"header-sequence", EXPECT_QUARANTINE, NULL, header_sequence, NULL},
	{"header-random", EXPECT_QUARANTINE, NULL, header_random, NULL},
	{"command-short", EXPECT_QUARANTINE, NULL, command_short, NULL},
	{"command-type", EXPECT_QUARANTINE, NULL, command_type, NULL},
	{"command-length", EXPECT_QUARANTINE, NULL, command_length, NULL},
	{"command-zero", EXPECT_QUARANTINE, NULL, command_zero, NULL},
	{"command-cast", EXPECT_QUARANTINE, NULL, command_cast, NULL},
	{"ping-short", EXPECT_QUARANTINE, NULL, command_ping_short, NULL},
	{"message-none", EXPECT_QUARANTINE, NULL, message_none, NULL},
	{"message-long", EXPECT_QUARANTINE, NULL, message_long, NULL},
	{"message-noise", EXPECT_KEPT, NULL, message_noise, NULL},
	{"pong-noise", EXPECT_KEPT, NULL, pong_noise, NULL},
	{"frame-runt", EXPECT_KEPT, NULL, frame_runt, NULL},
	{"frame-addresses", EXPECT_KEPT, NULL, frame_addresses, NULL},
	{"frame-oversize", EXPECT_KEPT, NULL, frame_oversize, NULL},
	{"frame-offload", EXPECT_KEPT, NULL, frame_offload, NULL},
	{"hole-records", EXPECT_QUARANTINE, NULL, hole_records, NULL},
	{"hole-words", EXPECT_QUARANTINE, NULL, hole_words, NULL},
	{"hole-storm", EXPECT_QUARANTINE, NULL, keep_sending, hole_storm},
	{"flip-payloads", EXPECT_EITHER, NULL, keep_sending, flip_payloads},
	{"flip-headers", EXPECT_QUARANTINE, NULL, keep_sending, flip_headers},
	{"flip-words", EXPECT_QUARANTINE, NULL, keep_sending, flip_words},
	{"flip-sleep", EXPECT_KEPT, NULL, keep_sending, flip_sleep},
	{NULL, EXPECT_EITHER, NULL, NULL, NULL},
};
