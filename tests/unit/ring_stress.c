/*
 * The pair ring between two threads: every record checked, sleeping receiver and
 * waiting transmitter with doorbells on a real socket. A lost wake-up is found by
 * its condition: one side blocks although what it waits for is there and no bell
 * comes. And a hostile third thread that scribbles over the memory meanwhile.
 *
 * RING_STRESS_RECORDS=N sets the number of records; otherwise 10^8, and 10^7 under the
 * address sanitizer.
 */
#include "base/memfd.h"

#include "shim.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#define SIZE	    SHMNET_RING_SIZE_MIN
#define SALT	    0x51a7c0de51a7c0deull
#define PATIENCE_MS 20000 /* without a bell before the condition is looked at */

/* Phases: long ones at full speed, short ones that sleep for every burst. */
#define PHASE	   65536
#define PHASE_SLOW 2048

struct stress {
	struct ring_map map;
	struct shmnet_ring_tx tx;
	struct shmnet_ring_rx rx;
	int bell[2]; /* 0: transmitter's end, 1: receiver's */
	uint64_t records;
	uint64_t sleeps, waits, bells_tx, bells_rx;
	bool failed;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ull;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44dull;
	return x ^ x >> 33;
}

static uint32_t record_length(uint64_t n)
{
	uint64_t random = mix(n);

	if (random % 8192 == 0)
		return SHMNET_RING_PAYLOAD_MAX;
	if (random % 512 == 0)
		return 1500;
	return (uint32_t)(random >> 32) % 128 + 1;
}

/* Words of a counter that starts at the record's hash; what is left over in bytes. */
static void record_fill(uint8_t *payload, uint32_t length, uint64_t n)
{
	uint64_t word = mix(~n);

	for (; length >= 8; length -= 8, payload += 8, word++)
		memcpy(payload, &word, 8);
	memcpy(payload, &word, length);
}

static bool record_right(const uint8_t *payload, uint32_t length, uint64_t n)
{
	uint64_t word = mix(~n), wrong = 0, found;

	for (; length >= 8; length -= 8, payload += 8, word++) {
		memcpy(&found, payload, 8);
		wrong |= found ^ word;
	}
	return wrong == 0 && memcmp(payload, &word, length) == 0;
}

static bool failed(struct stress *s)
{
	return __atomic_load_n(&s->failed, __ATOMIC_RELAXED);
}

static void fail(struct stress *s, const char *text)
{
	CHECK_STR(text, "");
	__atomic_store_n(&s->failed, true, __ATOMIC_RELAXED);
}

static bool slow_phase(uint64_t n)
{
	return n % PHASE < PHASE_SLOW;
}

/* A full socket holds a bell that was not heard yet: enough. */
static void ring(int fd)
{
	if (send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
		abort();
}

/* Blocks until a bell rings. Answers false if none came for a long time. */
static bool hear(int fd)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	char byte;
	int ret;

	do {
		ret = poll(&pollfd, 1, PATIENCE_MS);
	} while (ret < 0 && errno == EINTR);
	while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
		;
	return ret > 0;
}

/* ---- transmitter ---- */

static void show(struct stress *s)
{
	shmnet_ring_publish(&s->tx);
	if (shmnet_ring_tx_must_ring(&s->tx)) {
		s->bells_tx++;
		ring(s->bell[0]);
	}
}

static void wait_for_room(struct stress *s, uint32_t length)
{
	uint32_t number = (uint32_t)++s->waits;
	int ret = shmnet_ring_tx_wait(&s->tx, number, length);

	while (ret == 0 && !failed(s) && !hear(s->bell[0])) {
		if (shmnet_ring_update_tail(&s->tx) < 0 ||
		    shmnet_ring_has_room(&s->tx, shmnet_record_size(length) +
							 SHMNET_RING_COMMAND_ROOM))
			fail(s, "lost wake-up: there is room, and no bell came");
	}
	if (ret < 0)
		fail(s, "the transmitter was shown a bad R");
	shmnet_ring_tx_wait_over(&s->tx);
}

static void *transmit(void *argument)
{
	struct stress *s = argument;
	uint8_t *payload;
	uint64_t n = 0;

	while (n < s->records && !failed(s)) {
		uint32_t length = record_length(n);
		int ret = shmnet_ring_reserve(&s->tx, length, 0, &payload);

		if (ret == -ENOBUFS) {
			show(s);
			wait_for_room(s, length);
			continue;
		}
		if (ret < 0) {
			fail(s, "the transmitter was shown a bad R");
			break;
		}
		record_fill(payload, length, n);
		shmnet_ring_submit(&s->tx, length, 0);
		n++;
		if (slow_phase(n) ? mix(n) % 4 == 0 : n % 64 == 0)
			show(s);
	}
	show(s);
	return NULL;
}

/* ---- receiver ---- */

static void give_back(struct stress *s)
{
	shmnet_ring_credit(&s->rx);
	if (shmnet_ring_rx_must_ring(&s->rx)) {
		s->bells_rx++;
		ring(s->bell[1]);
	}
}

/* True if there may be something to read. */
static bool sleep_until_rung(struct stress *s)
{
	uint32_t number = (uint32_t)++s->sleeps;

	if (shmnet_ring_rx_sleep(&s->rx, number))
		return true;
	while (!failed(s) && !hear(s->bell[1])) {
		if (__atomic_load_n(&s->map.words->head, __ATOMIC_SEQ_CST) != s->rx.tail)
			fail(s, "lost wake-up: records are there, and no bell came");
	}
	shmnet_ring_rx_wake(&s->rx);
	return !failed(s);
}

static uint64_t drain(struct stress *s, uint64_t n)
{
	struct shmnet_record record;
	int ret;

	while ((ret = shmnet_ring_peek(&s->rx, &record)) == 1) {
		if (record.length != record_length(n) ||
		    !record_right(record.payload, record.length, n)) {
			fail(s, "a record is not what was sent");
			return n;
		}
		n++;
		shmnet_ring_release(&s->rx, &record);
		if (s->rx.tail - s->rx.credited >= SIZE / 4)
			give_back(s);
	}
	if (ret < 0)
		fail(s, "a header was refused");
	give_back(s);
	return n;
}

static void *receive(void *argument)
{
	struct stress *s = argument;
	uint64_t n = 0;
	unsigned idle = 0;

	while (n < s->records && !failed(s)) {
		int ret = shmnet_ring_poll(&s->rx);

		if (ret == 1) {
			n = drain(s, n);
			idle = 0;
		} else if (ret < 0) {
			fail(s, "the receiver was shown a bad W");
		} else if (slow_phase(n) || ++idle > 200) {
			if (!sleep_until_rung(s))
				break;
			idle = 0;
		}
	}
	return NULL;
}

static bool stress_open(struct stress *s)
{
	int fd, ret;

	memset(s, 0, sizeof(*s));
	if (memfd_ring_create(SIZE, &fd) < 0)
		return false;
	ret = ring_map_open(fd, SIZE, &s->map);
	close(fd);
	if (ret < 0)
		return false;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->bell) < 0) {
		ring_map_close(&s->map);
		return false;
	}
	shmnet_ring_tx_init(&s->tx, s->map.words, s->map.data, SIZE, SALT);
	shmnet_ring_rx_init(&s->rx, s->map.words, s->map.data, SIZE, SALT);
	return true;
}

static void stress_close(struct stress *s)
{
	close(s->bell[0]);
	close(s->bell[1]);
	ring_map_close(&s->map);
}

static uint64_t records_wanted(void)
{
	const char *text = getenv("RING_STRESS_RECORDS");

	if (text)
		return strtoull(text, NULL, 10);
	return UNDER_SANITIZER && !UNDER_TSAN ? 10000000 : 100000000;
}

TEST_CASE(ring_stress, every_record_arrives_and_no_wake_up_is_lost)
{
	pthread_t transmitter, receiver;
	struct stress s;

	REQUIRE(stress_open(&s));
	s.records = records_wanted();
	REQUIRE(pthread_create(&transmitter, NULL, transmit, &s) == 0);
	REQUIRE(pthread_create(&receiver, NULL, receive, &s) == 0);
	pthread_join(transmitter, NULL);
	pthread_join(receiver, NULL);
	CHECK(!s.failed);
	CHECK_U64(s.rx.tail, s.tx.head);
	printf("%llu records, %llu sleeps (%llu bells), %llu waits (%llu bells)\n",
	       (unsigned long long)s.records, (unsigned long long)s.sleeps,
	       (unsigned long long)s.bells_tx, (unsigned long long)s.waits,
	       (unsigned long long)s.bells_rx);
	/* Else nothing was tried. A sleep is rung for once at most. */
	CHECK(s.bells_tx > s.records / PHASE && s.bells_tx <= s.sleeps);
	CHECK(s.bells_rx > 0 && s.bells_rx <= s.waits);
	stress_close(&s);
}

/* ---- the hostile hand ---- */

struct flipper {
	struct stress s;
	bool stop;
	uint64_t seed;
	uint64_t tail; /* where the receiver is, so that attacks hit */
};

/* Knows the salt and where the receiver is: most forged headers get past a check. */
static void flip_once(struct flipper *flipper, uint64_t random)
{
	struct ring_map *map = &flipper->s.map;
	uint64_t tail = __atomic_load_n(&flipper->tail, __ATOMIC_RELAXED);
	uint64_t place = tail + (random >> 32) % 64 * 64;
	uint64_t *word = (uint64_t *)(void *)(map->data + (place & (SIZE - 1)));

	switch (random & 15) {
	case 0:
		word = (uint64_t *)(void *)map->words + (random >> 8) % 32;
		__atomic_store_n(word, random * random, __ATOMIC_RELAXED);
		break;
	case 1:
	case 2:
	case 3:
		__atomic_store_n(&map->words->head, place, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n(word, random, __ATOMIC_RELAXED);
		break;
	case 5:
		__atomic_store_n(word + 1, random, __ATOMIC_RELAXED);
		break;
	case 6:
		__atomic_store_n(word, UINT32_MAX - (random >> 8 & 31), __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n(word, random >> 20 & 0xff, __ATOMIC_RELAXED);
		__atomic_store_n(word + 1, place ^ SALT, __ATOMIC_RELAXED);
	}
}

static void *flip(void *argument)
{
	struct flipper *flipper = argument;
	uint64_t n = flipper->seed;

	while (!__atomic_load_n(&flipper->stop, __ATOMIC_RELAXED))
		flip_once(flipper, mix(n++));
	return NULL;
}

/* Bounds by the copy alone: the memory has changed again since. */
static bool in_bounds(const struct stress *s, const struct shmnet_record *record)
{
	uint64_t offset = (uint64_t)(record->payload - s->map.data);

	return record->length > 0 && record->length <= SHMNET_RING_PAYLOAD_MAX &&
	       offset == (s->rx.tail & (SIZE - 1)) + 16 &&
	       shmnet_record_size(record->length) <= s->rx.head - s->rx.tail &&
	       s->rx.head - s->rx.tail <= SIZE;
}

/*
 * One look by the receiver. After a refusal it starts over where it was, as if the
 * ring were made anew, so that the next attack meets an open door.
 */
static int receive_hostile(struct stress *s)
{
	static uint8_t copy[SHMNET_RING_PAYLOAD_MAX];
	struct shmnet_record record;
	int ret = shmnet_ring_poll(&s->rx);

	if (ret == 1)
		ret = shmnet_ring_peek(&s->rx, &record);
	if (ret < 0)
		s->rx.head = s->rx.tail;
	if (ret != 1)
		return ret;
	if (!in_bounds(s, &record)) {
		fail(s, "a record lies outside");
		return -ERANGE;
	}
	memcpy(copy, record.payload, record.length);
	shmnet_ring_release(&s->rx, &record);
	shmnet_ring_credit(&s->rx);
	return 1;
}

TEST_CASE(ring_stress, scribbling_peer_gets_refusals_and_nothing_else)
{
	uint64_t wanted = 100000;
	uint64_t accepted = 0, refused = 0;
	struct flipper flipper = {.seed = 1};
	struct stress *s = &flipper.s;
	pthread_t hand;

	if (UNDER_TSAN)
		TEST_SKIP("the races are wanted");
	REQUIRE(stress_open(s));
	REQUIRE(pthread_create(&hand, NULL, flip, &flipper) == 0);
	while ((accepted < wanted || refused < wanted) && !failed(s)) {
		int ret = receive_hostile(s);

		__atomic_store_n(&flipper.tail, s->rx.tail, __ATOMIC_RELAXED);
		accepted += ret > 0;
		refused += ret < 0;
		if (ret <= 0 && refused % 64 == 0)
			shmnet_ring_salvage(&s->rx);
		CHECK(s->rx.head - s->rx.tail <= SIZE);
	}
	__atomic_store_n(&flipper.stop, true, __ATOMIC_RELAXED);
	pthread_join(hand, NULL);
	printf("%llu records accepted, %llu refusals\n", (unsigned long long)accepted,
	       (unsigned long long)refused);
	stress_close(s);
}
