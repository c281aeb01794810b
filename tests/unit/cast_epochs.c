/*
 * Cast rings that come and go: writers that are processes are killed wherever they are,
 * and each time the ring either goes on in place, without the slot of the dead, or is
 * closed and replaced by one of a new epoch. Writers move on when the old ring refuses
 * them, readers when they have read it to its end. Each reader's counts must add up to
 * where each ring ended, no frame may be torn, and each writer's frames stay in order
 * across the rings.
 *
 * 30 kills; 1,000 with SHMNET_TEST_LONG=1.
 */
#include "cast_frames.h"
#include "shim.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEPTH	   64u
#define WRITERS	   4
#define READERS	   3
#define KILLS	   30u
#define KILLS_LONG 1000u
#define EPOCHS_MAX (KILLS_LONG + 1)

/* A slot of a closed ring that is still being written: the dead one's, or a late one. */
#define GIVE_UP_NS (20 * NSEC_PER_MSEC)

#define BETWEEN_KILLS 5000 /* frames accepted, of all readers */

struct outcome {
	uint64_t accepted; /* while it runs */
	uint64_t torn, disordered, miscounted;
	uint64_t own, lapped, holes, corrupt, skipped;
	uint32_t epochs; /* read to their end */
	int last;
};

/* In memory that all processes share. */
struct epochs {
	uint32_t current, stop;
	uint64_t sent[WRITERS + 1]; /* by writer id; survives its writer */
	struct outcome outcomes[READERS];
	uint64_t size;
	struct shmnet_cast_ring rings[EPOCHS_MAX];
};

static uint64_t ring_size(void)
{
	return shmnet_cast_file_size(DEPTH, MTU);
}

/* Fresh memory, in which there is no lap yet, and then everybody may look at it. */
static void make_epoch(struct epochs *e, uint32_t epoch)
{
	uint8_t *memory = (uint8_t *)e + e->size - (EPOCHS_MAX - epoch) * ring_size();

	shmnet_cast_ring_init(&e->rings[epoch], memory, DEPTH, MTU);
	e->rings[epoch].head->epoch = epoch + 1;
	__atomic_store_n(&e->current, epoch, __ATOMIC_RELEASE);
}

static struct epochs *epochs_open(void)
{
	uint64_t head = (sizeof(struct epochs) + 4095) & ~4095ull;
	uint64_t size = head + EPOCHS_MAX * ring_size();
	struct epochs *e = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (e == MAP_FAILED)
		return NULL;
	e->size = size;
	make_epoch(e, 0);
	return e;
}

static uint32_t current(const struct epochs *e)
{
	return __atomic_load_n(&e->current, __ATOMIC_ACQUIRE);
}

static bool stopped(const struct epochs *e)
{
	return __atomic_load_n(&e->stop, __ATOMIC_ACQUIRE);
}

static void write_frames(struct epochs *e, uint16_t id)
{
	uint32_t epoch = current(e);
	struct shmnet_cast_writer writer;
	uint8_t *payload;
	uint32_t length;

	shmnet_cast_writer_init(&writer, &e->rings[epoch], id);
	while (!stopped(e)) {
		int ret = shmnet_cast_reserve(&writer, &payload);

		if (ret == -ESHUTDOWN && epoch < current(e)) {
			shmnet_cast_writer_init(&writer, &e->rings[++epoch], id);
			continue;
		}
		if (ret == -ENOBUFS)
			continue;
		if (ret < 0)
			abort();
		length = frame_fill(payload, id, ++e->sent[id]);
		if (shmnet_cast_submit(&writer, length, 0) < 0)
			abort();
		if (mix(e->sent[id]) % 8 == 0)
			sched_yield();
	}
}

static void take_frame(struct outcome *outcome, const uint64_t *frame,
		       const struct shmnet_cast_record *record, uint64_t *last)
{
	if (!frame_right(frame, record)) {
		outcome->torn++;
		return;
	}
	outcome->disordered += frame[1] <= last[frame[0]];
	last[frame[0]] = frame[1];
	__atomic_store_n(&outcome->accepted, outcome->accepted + 1, __ATOMIC_RELAXED);
}

/* Nothing to read: of a closed ring, for how long? */
static void wait_or_skip(struct shmnet_cast_reader *reader, struct outcome *outcome,
			 uint64_t *since)
{
	if (!reader->closed && shmnet_cast_reader_update(reader) == 0 && !reader->closed)
		*since = clock_now_ns();
	if (clock_now_ns() - *since > GIVE_UP_NS) {
		shmnet_cast_skip(reader);
		outcome->skipped++;
	}
	sched_yield();
}

static int read_epoch(struct shmnet_cast_reader *reader, struct outcome *outcome,
		      uint64_t *last)
{
	uint64_t frame[256], since = clock_now_ns();
	struct shmnet_cast_record record;
	int ret;

	for (;;) {
		ret = shmnet_cast_read(reader, frame, &record);
		if (ret == 1)
			take_frame(outcome, frame, &record, last);
		else if (ret == 0)
			wait_or_skip(reader, outcome, &since);
		else if (ret != -EAGAIN)
			return ret;
	}
}

/* Each ring to its end, then the next. The first reader is also the first writer. */
static void read_epochs(struct epochs *e, unsigned number)
{
	struct outcome *outcome = &e->outcomes[number];
	uint64_t last[WRITERS + 1] = {0}, delivered = 0;
	struct shmnet_cast_reader reader;

	for (uint32_t epoch = 0;; epoch++) {
		while (epoch > current(e)) {
			if (stopped(e))
				return;
			sched_yield();
		}
		shmnet_cast_reader_init(&reader, &e->rings[epoch], number == 0 ? 1 : 0,
					0);
		outcome->last = read_epoch(&reader, outcome, last);
		delivered += reader.delivered;
		outcome->own += reader.own;
		outcome->lapped += reader.lapped;
		outcome->holes += reader.holes;
		outcome->corrupt += reader.corrupt;
		outcome->miscounted += reader.delivered + reader.own + reader.lapped +
					       reader.holes + reader.corrupt !=
				       shmnet_cast_now(&e->rings[epoch]);
		outcome->miscounted += delivered != outcome->accepted + outcome->torn;
		outcome->epochs++;
	}
}

static pid_t start(struct epochs *e, void (*run_writer)(struct epochs *, uint16_t),
		   void (*run_reader)(struct epochs *, unsigned), unsigned number)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (run_writer)
			run_writer(e, (uint16_t)(number + 1));
		else
			run_reader(e, number);
		_exit(0);
	}
	CHECK(pid > 0);
	return pid;
}

static uint64_t accepted(const struct epochs *e)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < READERS; i++)
		sum += __atomic_load_n(&e->outcomes[i].accepted, __ATOMIC_RELAXED);
	return sum;
}

static bool ended_well(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

/* Traffic first, then anywhere in it. */
static void wait_for_frames(struct epochs *e, uint64_t random)
{
	uint64_t goal = accepted(e) + BETWEEN_KILLS;

	while (accepted(e) < goal)
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	nanosleep(&(struct timespec){.tv_nsec = random % 500 * 1000}, NULL);
}

/*
 * In place, without the slot in which the dead one was; or a new ring, and then that
 * slot is emptied, or left to the patience of the readers. Answers how many that were.
 */
static uint64_t bury(struct epochs *e, uint16_t id, uint64_t random)
{
	uint32_t epoch = current(e);

	if (random >> 20 & 1) {
		make_epoch(e, epoch + 1);
		shmnet_cast_close(&e->rings[epoch]);
		if (random >> 21 & 1)
			return 0;
	}
	return shmnet_cast_reclaim(&e->rings[epoch], id);
}

static uint64_t kill_one(struct epochs *e, pid_t *writers, uint64_t random)
{
	unsigned victim = (unsigned)(random >> 10) % WRITERS;
	uint64_t reclaimed;
	int status;

	wait_for_frames(e, random);
	kill(writers[victim], SIGKILL);
	CHECK(waitpid(writers[victim], &status, 0) == writers[victim]);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	reclaimed = bury(e, (uint16_t)(victim + 1), random);
	CHECK(reclaimed <= 1);
	writers[victim] = start(e, write_frames, NULL, victim);
	return reclaimed;
}

static void check_outcome(const struct epochs *e, const struct outcome *outcome)
{
	printf("%llu delivered, %llu own, %llu lapped, %llu holes, %llu of them given "
	       "up\n",
	       (unsigned long long)outcome->accepted, (unsigned long long)outcome->own,
	       (unsigned long long)outcome->lapped, (unsigned long long)outcome->holes,
	       (unsigned long long)outcome->skipped);
	CHECK_INT(outcome->last, -ESHUTDOWN);
	CHECK_INT(outcome->epochs, e->current + 1);
	CHECK_U64(outcome->torn, 0);
	CHECK_U64(outcome->disordered, 0);
	CHECK_U64(outcome->miscounted, 0);
	CHECK_U64(outcome->corrupt, 0);
	CHECK(outcome->accepted > 0);
}

TEST_CASE(cast_epochs, writers_killed)
{
	unsigned kills = getenv("SHMNET_TEST_LONG") ? KILLS_LONG : KILLS;
	pid_t writers[WRITERS], readers[READERS];
	struct epochs *e = epochs_open();
	uint64_t reclaimed = 0;

	REQUIRE(e);
	fflush(stdout);
	for (unsigned i = 0; i < READERS; i++)
		readers[i] = start(e, NULL, read_epochs, i);
	for (unsigned i = 0; i < WRITERS; i++)
		writers[i] = start(e, write_frames, NULL, i);
	for (unsigned i = 0; i < kills && !test_failed(); i++)
		reclaimed += kill_one(e, writers, mix(i + 1));
	__atomic_store_n(&e->stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < WRITERS; i++)
		CHECK(ended_well(writers[i]));
	shmnet_cast_close(&e->rings[e->current]);
	printf("%u kills, %llu slots reclaimed, %u rings\n", kills,
	       (unsigned long long)reclaimed, e->current + 1);
	for (unsigned i = 0; i < READERS; i++) {
		CHECK(ended_well(readers[i]));
		check_outcome(e, &e->outcomes[i]);
	}
	munmap(e, e->size);
}
