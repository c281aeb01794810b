/*
 * A member that writes what it likes into a cast ring while others write and read
 * there: W, words, lengths, flags, payloads; at random, and where it hurts. Nobody
 * crashes or touches a byte outside of the ring (there is no memory beside it) or of
 * the reader's buffer, every call ends, what a reader is told is well-formed and its
 * counts add up; and those who use other rings lose nothing. What happened is printed.
 */
#include "cast_frames.h"
#include "shim.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define DEPTH	   64u
#define WRITERS	   2
#define READERS	   2
#define FRAMES	   50000ull /* that each must have written, or read */
#define SCRIBBLES  50000ull
#define PATIENCE_S 60 /* for that */
#define PAGE	   4096u

enum outcome {
	DONE,	  /* written, or read */
	NOTHING,  /* to read; or no slot free */
	TAKEN,	  /* a writer's slot was taken away */
	SHUTDOWN, /* W had the closed bit */
	PROTO,	  /* W was nonsense */
	OUTCOMES
};

struct member {
	struct hostile *hostile;
	uint16_t id;
	uint64_t calls; /* that ended */
	uint64_t outcomes[OUTCOMES];
	uint64_t delivered, lapped, holes, corrupt, spoiled;
	uint64_t wrong; /* what must not happen */
};

struct hostile {
	uint8_t *memory, *quiet_memory;
	struct shmnet_cast_ring ring, quiet;
	struct member writers[WRITERS], readers[READERS];
	uint64_t quiet_sent, quiet_read, quiet_wrong;
	uint64_t scribbles;
	uint32_t stop;
};

static bool stopped(const struct hostile *h)
{
	return __atomic_load_n(&h->stop, __ATOMIC_RELAXED);
}

static uint64_t map_size(void)
{
	return (shmnet_cast_file_size(DEPTH, MTU) + PAGE - 1) / PAGE * PAGE;
}

/* With a page on each side that nobody may touch; the slots end at the last one. */
static uint8_t *guarded_open(struct shmnet_cast_ring *ring)
{
	uint64_t size = map_size();
	uint8_t *memory = mmap(NULL, size + 2 * PAGE, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	if (mprotect(memory + PAGE, size, PROT_READ | PROT_WRITE) < 0) {
		munmap(memory, size + 2 * PAGE);
		return NULL;
	}
	shmnet_cast_ring_init(ring,
			      memory + PAGE + size - shmnet_cast_file_size(DEPTH, MTU),
			      DEPTH, MTU);
	return memory;
}

static void guarded_close(uint8_t *memory)
{
	if (memory)
		munmap(memory, map_size() + 2 * PAGE);
}

/* ---- the hostile one ---- */

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dull;
}

static void put(uint64_t *place, uint64_t value)
{
	__atomic_store_n(place, value, __ATOMIC_RELAXED);
}

static void scribble_head(struct hostile *h, uint64_t random)
{
	uint64_t *place = &h->ring.head->head, head = shmnet_cast_now(&h->ring);

	switch (random >> 8 & 7) {
	case 0:
		put(place, random);
		break;
	case 1:
		put(place, head | SHMNET_CAST_CLOSED);
		break;
	case 2:
		put(place, SHMNET_CAST_POSITION_MAX - (random >> 16 & 3));
		break;
	case 3:
		put(place, head - (random >> 16 & 255));
		break;
	case 4:
		put(place, (random >> 16 & 3) << 60 | head);
		break;
	default:
		put(place, head + (random >> 16 & 127));
	}
}

/* Near W: that is where everybody is. */
static struct shmnet_cast_slot *near_head(struct hostile *h, uint64_t random)
{
	return shmnet_cast_slot_at(&h->ring,
				   shmnet_cast_now(&h->ring) + 4 - (random >> 48) % 16);
}

static void scribble_word(struct hostile *h, uint64_t random)
{
	uint64_t *place = &near_head(h, random)->word;
	uint64_t lap = shmnet_cast_lap(&h->ring, shmnet_cast_now(&h->ring));

	if ((random & 3) == 0)
		put(place, random_next(&random));
	else
		put(place, shmnet_cast_word(lap + (random >> 16 & 3) - 1,
					    (enum shmnet_cast_state)(random >> 18 & 3),
					    (uint16_t)(random >> 20 & 3)));
}

static void scribble_slot(struct hostile *h, uint64_t random)
{
	struct shmnet_cast_slot *slot = near_head(h, random);
	uint32_t lengths[] = {0, h->ring.room, h->ring.room + 1, UINT32_MAX};
	uint8_t *payload = (uint8_t *)(slot + 1);

	switch (random >> 8 & 3) {
	case 0:
		__atomic_store_n(&slot->length, lengths[random >> 12 & 3],
				 __ATOMIC_RELAXED);
		break;
	case 1:
		__atomic_store_n(&slot->length, (uint32_t)(random >> 16),
				 __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n(&slot->flags, (uint32_t)(random >> 16) & 7,
				 __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n(payload + (random >> 16) % h->ring.room, (uint8_t)random,
				 __ATOMIC_RELAXED);
	}
}

/* A ring that was broken is mended after a while, or nothing more would be tried. */
static void *scribble(void *argument)
{
	struct hostile *h = argument;
	uint64_t state = 4711;

	for (uint64_t i = 1; !stopped(h); i++) {
		uint64_t random = random_next(&state);

		if (i % 16 == 0)
			put(&h->ring.head->head, random >> 44);
		else if (random >> 60 == 0)
			scribble_head(h, random);
		else if (random >> 60 < 8)
			scribble_word(h, random);
		else
			scribble_slot(h, random);
		if (random >> 40 & 1)
			sched_yield();
		__atomic_store_n(&h->scribbles, i, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* ---- its victims ---- */

static void count(struct member *m, int ret)
{
	switch (ret) {
	case 1:
		__atomic_store_n(&m->outcomes[DONE], m->outcomes[DONE] + 1,
				 __ATOMIC_RELAXED);
		break;
	case 0:
	case -EAGAIN:
	case -ENOBUFS:
		m->outcomes[NOTHING]++;
		break;
	case -ESHUTDOWN:
		m->outcomes[SHUTDOWN]++;
		break;
	case -EPROTO:
		m->outcomes[PROTO]++;
		break;
	default:
		m->wrong++;
	}
	m->calls++;
	if (ret < 0)
		sched_yield();
}

/* A refused ring is begun anew: as if control had made another one. */
static void *write_thread(void *argument)
{
	struct member *m = argument;
	struct hostile *h = m->hostile;
	uint64_t number = 0;

	while (!stopped(h)) {
		struct shmnet_cast_writer writer;
		uint8_t *payload = NULL;
		int ret = 0;

		shmnet_cast_writer_init(&writer, &h->ring, m->id);
		while (!stopped(h) &&
		       (ret = shmnet_cast_reserve(&writer, &payload)) == 0) {
			uint32_t length = frame_fill(payload, m->id, ++number);

			/* All that it may write to is there. */
			payload[h->ring.room - 1] = 1;
			if (shmnet_cast_submit(&writer, length, 0) < 0)
				m->outcomes[TAKEN]++;
			count(m, 1);
		}
		count(m, ret);
	}
	return NULL;
}

static void check_record(struct member *m, const uint64_t *frame,
			 const struct shmnet_cast_record *record)
{
	m->wrong += record->length < 1 || record->length > m->hostile->ring.room ||
		    record->flags & ~SHMNET_RECORD_FLAGS ||
		    record->writer < SHMNET_NODE_ID_MIN ||
		    record->writer > SHMNET_NODE_ID_MAX;
	m->spoiled += record->length < LENGTH_MIN || !frame_right(frame, record);
}

static void add_up(struct member *m, const struct shmnet_cast_reader *reader,
		   uint64_t start)
{
	m->delivered += reader->delivered;
	m->lapped += reader->lapped;
	m->holes += reader->holes;
	m->corrupt += reader->corrupt;
	m->wrong += reader->delivered + reader->own + reader->lapped + reader->holes +
			    reader->corrupt !=
		    reader->cursor - start;
}

/* The buffer is on the heap, and not a byte larger than it must be. */
static void *read_thread(void *argument)
{
	struct member *m = argument;
	struct hostile *h = m->hostile;
	uint64_t *frame = malloc(h->ring.room);

	while (frame && !stopped(h)) {
		uint64_t start = shmnet_cast_now(&h->ring);
		struct shmnet_cast_reader reader;
		struct shmnet_cast_record record;
		int ret;

		shmnet_cast_reader_init(&reader, &h->ring, 0, start);
		while ((ret = shmnet_cast_read(&reader, frame, &record)) >= 0 ||
		       ret == -EAGAIN) {
			if (ret == 1)
				check_record(m, frame, &record);
			count(m, ret);
			if (stopped(h))
				break;
			if (ret == 0)
				sched_yield();
		}
		count(m, ret);
		add_up(m, &reader, start);
	}
	free(frame);
	return NULL;
}

/* ---- those beside ---- */

static void *quiet_write(void *argument)
{
	struct hostile *h = argument;
	struct shmnet_cast_writer writer;
	uint8_t *payload = NULL;

	shmnet_cast_writer_init(&writer, &h->quiet, 1);
	for (uint64_t n = 1; !stopped(h); n++) {
		while (n - __atomic_load_n(&h->quiet_read, __ATOMIC_ACQUIRE) > DEPTH / 2)
			sched_yield();
		if (shmnet_cast_reserve(&writer, &payload) < 0 ||
		    shmnet_cast_submit(&writer, frame_fill(payload, 1, n), 0) < 0)
			h->quiet_wrong++;
		h->quiet_sent = n;
	}
	shmnet_cast_close(&h->quiet);
	return NULL;
}

static void *quiet_read(void *argument)
{
	struct hostile *h = argument;
	struct shmnet_cast_reader reader;
	struct shmnet_cast_record record;
	uint64_t frame[256];
	int ret;

	shmnet_cast_reader_init(&reader, &h->quiet, 0, 0);
	while ((ret = shmnet_cast_read(&reader, frame, &record)) >= 0) {
		if (ret == 0) {
			sched_yield();
			continue;
		}
		h->quiet_wrong +=
			!frame_right(frame, &record) || frame[1] != h->quiet_read + 1;
		__atomic_store_n(&h->quiet_read, frame[1], __ATOMIC_RELEASE);
	}
	h->quiet_wrong += ret != -ESHUTDOWN;
	return NULL;
}

/* ---- the test ---- */

static uint64_t fewest_frames(const struct hostile *h)
{
	uint64_t fewest = UINT64_MAX;

	for (unsigned i = 0; i < WRITERS + READERS; i++) {
		const struct member *m =
			i < WRITERS ? &h->writers[i] : &h->readers[i - WRITERS];
		uint64_t done = __atomic_load_n(&m->outcomes[DONE], __ATOMIC_RELAXED);

		fewest = done < fewest ? done : fewest;
	}
	return fewest;
}

/* A call that doesn't end can't be joined: no way but out. */
static void wait_for_all(struct hostile *h)
{
	for (unsigned ms = 0;
	     fewest_frames(h) < FRAMES ||
	     __atomic_load_n(&h->scribbles, __ATOMIC_RELAXED) < SCRIBBLES;
	     ms++) {
		if (ms == PATIENCE_S * 1000) {
			fprintf(stderr, "%llu scribbles, %llu frames of the slowest\n",
				(unsigned long long)h->scribbles,
				(unsigned long long)fewest_frames(h));
			abort();
		}
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	__atomic_store_n(&h->stop, 1, __ATOMIC_RELAXED);
}

static void check_member(const struct member *m, const char *role)
{
	const uint64_t *outcomes = m->outcomes;

	printf("%s %u: %llu calls, %llu done, %llu taken away, %llu nothing, %llu "
	       "closed, "
	       "%llu refused; %llu delivered (%llu spoiled), %llu lapped, %llu holes, "
	       "%llu corrupt\n",
	       role, m->id, (unsigned long long)m->calls,
	       (unsigned long long)outcomes[DONE], (unsigned long long)outcomes[TAKEN],
	       (unsigned long long)outcomes[NOTHING],
	       (unsigned long long)outcomes[SHUTDOWN],
	       (unsigned long long)outcomes[PROTO], (unsigned long long)m->delivered,
	       (unsigned long long)m->spoiled, (unsigned long long)m->lapped,
	       (unsigned long long)m->holes, (unsigned long long)m->corrupt);
	CHECK_U64(m->wrong, 0);
	CHECK(outcomes[PROTO] > 0 && outcomes[SHUTDOWN] > 0);
}

static void run(struct hostile *h)
{
	void *(*beside[])(void *) = {scribble, quiet_write, quiet_read};
	pthread_t threads[WRITERS + READERS + 3];
	unsigned n = 0;

	for (unsigned i = 0; i < WRITERS; i++) {
		h->writers[i] = (struct member){.hostile = h, .id = (uint16_t)(i + 1)};
		REQUIRE(!pthread_create(&threads[n++], NULL, write_thread,
					&h->writers[i]));
	}
	for (unsigned i = 0; i < READERS; i++) {
		h->readers[i] = (struct member){.hostile = h, .id = (uint16_t)(i + 1)};
		REQUIRE(!pthread_create(&threads[n++], NULL, read_thread,
					&h->readers[i]));
	}
	for (unsigned i = 0; i < 3; i++)
		REQUIRE(!pthread_create(&threads[n++], NULL, beside[i], h));
	wait_for_all(h);
	while (n > 0)
		pthread_join(threads[--n], NULL);
}

TEST_CASE(cast_hostile, a_scribbler_harms_nobody_but_the_frames)
{
	static struct hostile h;

	h.memory = guarded_open(&h.ring);
	h.quiet_memory = guarded_open(&h.quiet);
	REQUIRE(h.memory && h.quiet_memory);
	run(&h);
	printf("%llu scribbles; beside: %llu sent, %llu read\n",
	       (unsigned long long)h.scribbles, (unsigned long long)h.quiet_sent,
	       (unsigned long long)h.quiet_read);
	for (unsigned i = 0; i < WRITERS; i++)
		check_member(&h.writers[i], "writer");
	for (unsigned i = 0; i < READERS; i++) {
		check_member(&h.readers[i], "reader");
		CHECK(h.readers[i].lapped > 0 && h.readers[i].holes > 0);
		CHECK(h.readers[i].corrupt > 0 && h.readers[i].delivered > 0);
	}
	CHECK_U64(h.quiet_wrong, 0);
	CHECK_U64(h.quiet_read, h.quiet_sent);
	guarded_close(h.memory);
	guarded_close(h.quiet_memory);
}
