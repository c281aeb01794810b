/*
 * The cast ring under load: writers and readers that are threads, then writers and
 * readers that are processes, of which the writers are stopped and killed wherever
 * they are. Each frame says who wrote it, which of that writer's it is, and the rest
 * follows from these: a frame of two halves is found. Each reader's counts must add
 * up to where the ring ended.
 *
 * CAST_STRESS_READS=N sets how many frames are to be accepted in each test; otherwise
 * 10^7, and 10^6 under a sanitizer.
 */
#include <shmnet/cast.h>

#include "cast_frames.h"
#include "shim.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
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

#define DEPTH	64u
#define WRITERS 4
#define READERS 3

struct outcome {
	uint64_t accepted; /* while it runs */
	uint64_t torn, disordered;
	struct shmnet_cast_reader reader; /* at the end */
	int last;
};

/* In memory that all threads and processes share. */
struct stress {
	struct shmnet_cast_ring ring;
	uint64_t sent[WRITERS + 1]; /* by writer id; survives its writer */
	struct outcome outcomes[READERS];
	uint32_t stop;
	uint64_t size;
};

struct job {
	struct stress *stress;
	unsigned number;
};

static bool stopped(const struct stress *s)
{
	return __atomic_load_n(&s->stop, __ATOMIC_RELAXED);
}

static void write_frames(struct stress *s, uint16_t id)
{
	struct shmnet_cast_writer writer;
	uint8_t *payload;

	shmnet_cast_writer_init(&writer, &s->ring, id);
	while (!stopped(s)) {
		int ret = shmnet_cast_reserve(&writer, &payload);
		uint32_t length;

		if (ret == -ENOBUFS)
			continue;
		if (ret < 0)
			abort();
		length = frame_fill(payload, id, ++s->sent[id]);
		if (shmnet_cast_submit(&writer, length, 0) < 0)
			abort();
		/* Sometimes the readers are to keep up. */
		if (mix(s->sent[id]) % 8 == 0)
			sched_yield();
	}
}

static void *write_thread(void *argument)
{
	struct job *job = argument;

	write_frames(job->stress, (uint16_t)(job->number + 1));
	return NULL;
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

/* Until the ring is closed and drained. The first reader is also the first writer. */
static void read_frames(struct stress *s, unsigned number)
{
	struct outcome *outcome = &s->outcomes[number];
	struct shmnet_cast_reader *reader = &outcome->reader;
	uint64_t last[WRITERS + 1] = {0}, frame[256];
	struct shmnet_cast_record record;
	int ret;

	shmnet_cast_reader_init(reader, &s->ring, number == 0 ? 1 : 0, 0);
	while ((ret = shmnet_cast_read(reader, frame, &record)) >= 0 || ret == -EAGAIN) {
		if (ret == 1)
			take_frame(outcome, frame, &record, last);
		else
			sched_yield();
	}
	outcome->last = ret;
}

static void *read_thread(void *argument)
{
	struct job *job = argument;

	read_frames(job->stress, job->number);
	return NULL;
}

static struct stress *stress_open(void)
{
	uint64_t size = 4096 + shmnet_cast_file_size(DEPTH, MTU);
	struct stress *s = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (s == MAP_FAILED)
		return NULL;
	s->size = size;
	shmnet_cast_ring_init(&s->ring, (uint8_t *)s + 4096, DEPTH, MTU);
	return s;
}

static uint64_t accepted(const struct stress *s)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < READERS; i++)
		sum += __atomic_load_n(&s->outcomes[i].accepted, __ATOMIC_RELAXED);
	return sum;
}

static uint64_t reads_wanted(void)
{
	const char *text = getenv("CAST_STRESS_READS");

	if (text)
		return strtoull(text, NULL, 10);
	return UNDER_SANITIZER ? 1000000 : 10000000;
}

static void pause_us(long us)
{
	nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

static void check_outcome(const struct stress *s, const struct outcome *outcome)
{
	const struct shmnet_cast_reader *reader = &outcome->reader;

	printf("%llu delivered, %llu own, %llu lapped, %llu holes\n",
	       (unsigned long long)reader->delivered, (unsigned long long)reader->own,
	       (unsigned long long)reader->lapped, (unsigned long long)reader->holes);
	CHECK_INT(outcome->last, -ESHUTDOWN);
	CHECK_U64(outcome->torn, 0);
	CHECK_U64(outcome->disordered, 0);
	CHECK_U64(reader->corrupt, 0);
	CHECK_U64(reader->delivered, outcome->accepted);
	CHECK_U64(reader->cursor, shmnet_cast_now(&s->ring));
	CHECK_U64(reader->delivered + reader->own + reader->lapped + reader->holes,
		  reader->cursor);
	CHECK(reader->lapped > 0); /* else nothing was tried */
}

TEST_CASE(cast_stress, threads)
{
	pthread_t writers[WRITERS], readers[READERS];
	struct stress *s = stress_open();
	struct job jobs[WRITERS];

	REQUIRE(s);
	for (unsigned i = 0; i < WRITERS; i++)
		jobs[i] = (struct job){s, i};
	for (unsigned i = 0; i < READERS; i++)
		REQUIRE(pthread_create(&readers[i], NULL, read_thread, &jobs[i]) == 0);
	for (unsigned i = 0; i < WRITERS; i++)
		REQUIRE(pthread_create(&writers[i], NULL, write_thread, &jobs[i]) == 0);
	while (accepted(s) < reads_wanted())
		pause_us(1000);
	__atomic_store_n(&s->stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	shmnet_cast_close(&s->ring);
	for (unsigned i = 0; i < READERS; i++) {
		pthread_join(readers[i], NULL);
		check_outcome(s, &s->outcomes[i]);
	}
	munmap(s, s->size);
}

/* ---- processes ---- */

static pid_t start_writer(struct stress *s, uint16_t id)
{
	pid_t pid = fork();

	if (pid == 0) {
		write_frames(s, id);
		_exit(0);
	}
	return pid;
}

static pid_t start_reader(struct stress *s, unsigned number)
{
	pid_t pid = fork();

	if (pid == 0) {
		read_frames(s, number);
		_exit(0);
	}
	return pid;
}

static bool ended_well(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

/* Stops a writer for a while; every eighth is killed, reclaimed and replaced. */
static uint64_t attack(struct stress *s, pid_t *writers, uint64_t random)
{
	unsigned victim = random % WRITERS;
	uint64_t reclaimed;
	int status;

	pause_us((long)(random >> 8) & 255);
	if ((random >> 24) % 8) {
		kill(writers[victim], SIGSTOP);
		pause_us((long)(random >> 16) & 1023);
		kill(writers[victim], SIGCONT);
		return 0;
	}
	kill(writers[victim], SIGKILL);
	CHECK(waitpid(writers[victim], &status, 0) == writers[victim]);
	CHECK(WIFSIGNALED(status));
	pause_us((long)(random >> 16) & 255); /* its slot is in the others' way */
	reclaimed = shmnet_cast_reclaim(&s->ring, (uint16_t)(victim + 1));
	CHECK(reclaimed <= 1);
	writers[victim] = start_writer(s, (uint16_t)(victim + 1));
	CHECK(writers[victim] > 0);
	return reclaimed;
}

TEST_CASE(cast_stress, processes_stopped_and_killed)
{
	pid_t writers[WRITERS], readers[READERS];
	struct stress *s = stress_open();
	uint64_t attacks = 0, reclaimed = 0;

	REQUIRE(s);
	fflush(stdout);
	for (unsigned i = 0; i < READERS; i++)
		CHECK((readers[i] = start_reader(s, i)) > 0);
	for (unsigned i = 0; i < WRITERS; i++)
		CHECK((writers[i] = start_writer(s, (uint16_t)(i + 1))) > 0);
	while (accepted(s) < reads_wanted() && !test_failed())
		reclaimed += attack(s, writers, mix(attacks++));
	__atomic_store_n(&s->stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < WRITERS; i++)
		CHECK(ended_well(writers[i]));
	shmnet_cast_close(&s->ring);
	printf("%llu attacks, %llu killed in a slot\n", (unsigned long long)attacks,
	       (unsigned long long)reclaimed);
	CHECK(reclaimed > 0);
	for (unsigned i = 0; i < READERS; i++) {
		CHECK(ended_well(readers[i]));
		check_outcome(s, &s->outcomes[i]);
		CHECK(s->outcomes[i].reader.holes > 0);
	}
	munmap(s, s->size);
}
