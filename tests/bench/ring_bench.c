/*
 * Rows R1, R3, R4 and R5 of the goals: the pair ring between two processes on two
 * cores, and the cast ring to eight more, each beside its peer, in turn, several
 * rounds, every payload checked.
 *
 *     R1  64-byte frames/s               AF_UNIX SEQPACKET, same payload
 *     R3  1500-byte frames, GB/s         memcpy on one core, same working set
 *     R4  round trip, polled, ns         one flag in one cache line
 *     R5  casts to 8 readers, per        8 pair-ring sends
 *         second of the sender's CPU
 *
 * The ring is used as a node uses it: a burst of submits and one publish, credit per
 * quarter of the ring or when drained, must_ring() asked each time. Both ends poll: the
 * cost of sleeping is the fabric's and is measured with the daemon.
 *
 * R5 is measured by the sender's CPU time while all 8 read and check every frame: with
 * a core for each of them that is how fast casts go. Here they share two cores, and
 * their work, the same 8 times on both sides, would hide the sender's: R5b counts the
 * CPU time of all nine. R5c and R5d are R5 and R5b with 1500-byte frames. Time spent
 * waiting for others counts nowhere: everybody gives up the core then. A cast ring
 * doesn't wait for its readers; here its writer does, outside of the ring, since a
 * frame that was lapped is none that arrived.
 *
 *     ring_bench [--json] [--rounds N] [--size BYTES] [ROW...]
 */
#include "rounds.h"

#include "base/clock.h"
#include "base/memfd.h"

#include <shmnet/cast.h>

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BURST	   32
#define SALT	   0x8badf00dcafe1234ull
#define READERS	   8
#define CAST_DEPTH 256 /* as a node's */
#define CAST_MTU   1500

/* What the two processes tell each other outside of what is measured. */
struct shared {
	uint32_t ready;
	uint32_t wrong;	 /* payloads that were not what was sent */
	uint64_t end_ns; /* when the receiver had it all */
	_Alignas(128) uint32_t ping;
	_Alignas(128) uint32_t pong;
	uint64_t busy_ns; /* CPU time of the readers, without waiting */
	struct {
		_Alignas(128) uint64_t cursor; /* how far a reader of casts is */
	} readers[READERS];
};

struct bench {
	struct shared *shared;
	struct ring_map there, back;
	struct ring_map fan[READERS];
	struct shmnet_cast_ring cast;
	int sockets[2];
	uint64_t size;
	uint32_t length; /* of a payload */
	uint64_t count;
	uint64_t waited_ns; /* CPU time of this process */
	uint64_t sender_ns, all_ns;
};

struct row {
	const char *name;
	const char *what;
	const char *unit;
	const char *peer_name;
	uint32_t length;
	uint64_t count, peer_count;
	double (*ours)(struct bench *bench);
	double (*peer)(struct bench *bench);
	double reach, stretch; /* ratio of ours to peer; 0: no goal */
	bool less_is_better;
};

static void die(const char *what)
{
	fprintf(stderr, "ring_bench: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* The CPUs that the program was started with: a pinned parent's child has but one. */
static cpu_set_t cpus;

static void pin(int nth)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &cpus) && nth-- == 0)
			CPU_SET(cpu, &one);
	}
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		die("sched_setaffinity");
}

/* A polling loop that lets others onto the core if nothing comes for a while. */
static inline void relax(unsigned *idle)
{
	if (++*idle % 4096 == 0)
		sched_yield();
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

/*
 * A payload: its number, then noise from a place that the number gives. Copied in as a
 * frame is, and compared in full. There is as much noise as a ring has room: frames
 * come from memory that is as warm, or cold, as the ring's.
 */
#define NOISE_SIZE (1u << 20)
static uint8_t noise[NOISE_SIZE + 2048];

static inline const uint8_t *noise_of(uint64_t n, uint32_t length)
{
	return noise + (n * shmnet_record_size(length) & (NOISE_SIZE - 1));
}

static void noise_init(void)
{
	uint64_t state = SALT;

	for (size_t i = 0; i < sizeof(noise); i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		noise[i] = (uint8_t)(state >> 56);
	}
}

static inline void payload_fill(uint8_t *payload, uint32_t length, uint64_t n)
{
	memcpy(payload, &n, sizeof(n));
	memcpy(payload + sizeof(n), noise_of(n, length), length - sizeof(n));
}

static inline bool payload_right(const uint8_t *payload, uint32_t length, uint64_t n)
{
	return memcmp(payload, &n, sizeof(n)) == 0 &&
	       memcmp(payload + sizeof(n), noise_of(n, length), length - sizeof(n)) == 0;
}

/* ---- two processes ---- */

static void wait_until(const uint32_t *flag)
{
	unsigned idle = 0;

	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		relax(&idle);
}

/* Runs both ends; the time from the first frame to the last one's arrival. */
static double run_pair(struct bench *bench, void (*transmit)(struct bench *),
		       void (*receive)(struct bench *))
{
	uint64_t start;
	int status;
	pid_t pid;

	memset(bench->shared, 0, sizeof(*bench->shared));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		pin(1);
		__atomic_store_n(&bench->shared->ready, 1, __ATOMIC_RELEASE);
		receive(bench);
		bench->shared->end_ns = clock_now_ns();
		_exit(bench->shared->wrong ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	pin(0);
	wait_until(&bench->shared->ready);
	start = clock_now_ns();
	transmit(bench);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		fprintf(stderr, "ring_bench: %u payloads wrong\n", bench->shared->wrong);
		exit(EXIT_FAILURE);
	}
	return (double)(bench->shared->end_ns - start) / NSEC_PER_SEC;
}

/* ---- the ring, one way ---- */

static void ring_transmit(struct bench *bench)
{
	const uint32_t length = bench->length;
	struct shmnet_ring_tx tx;
	uint8_t *payload;
	unsigned idle = 0;
	uint64_t n = 0;

	shmnet_ring_tx_init(&tx, bench->there.words, bench->there.data, bench->size,
			    SALT);
	while (n < bench->count) {
		uint64_t burst_end = n + BURST < bench->count ? n + BURST : bench->count;
		uint64_t before = n;

		while (n < burst_end &&
		       shmnet_ring_reserve(&tx, length, 0, &payload) == 0) {
			payload_fill(payload, length, n++);
			shmnet_ring_submit(&tx, length, 0);
		}
		if (n == before) {
			relax(&idle);
			continue;
		}
		shmnet_ring_publish(&tx);
		if (shmnet_ring_tx_must_ring(&tx))
			bench->shared->wrong++; /* nobody sleeps here */
	}
}

static void ring_receive(struct bench *bench)
{
	struct shmnet_record record;
	struct shmnet_ring_rx rx;
	unsigned idle = 0;
	uint64_t n = 0;

	shmnet_ring_rx_init(&rx, bench->there.words, bench->there.data, bench->size,
			    SALT);
	while (n < bench->count) {
		int ret = shmnet_ring_poll(&rx);

		while (ret > 0 && (ret = shmnet_ring_peek(&rx, &record)) > 0) {
			bench->shared->wrong +=
				record.length != bench->length ||
				!payload_right(record.payload, bench->length, n++);
			shmnet_ring_release(&rx, &record);
			if (rx.tail - rx.credited >= bench->size / 4)
				break;
		}
		if (rx.tail == rx.credited) {
			relax(&idle);
		} else if (rx.tail == rx.head ||
			   rx.tail - rx.credited >= bench->size / 4) {
			shmnet_ring_credit(&rx);
			if (shmnet_ring_rx_must_ring(&rx))
				bench->shared->wrong++;
		}
		if (ret < 0)
			die("the ring was refused");
	}
}

static double ring_frames(struct bench *bench)
{
	return (double)bench->count / run_pair(bench, ring_transmit, ring_receive);
}

static double ring_gigabytes(struct bench *bench)
{
	return ring_frames(bench) * bench->length / 1e9;
}

/* ---- its peers ---- */

static void socket_transmit(struct bench *bench)
{
	uint8_t payload[2048];

	for (uint64_t n = 0; n < bench->count; n++) {
		payload_fill(payload, bench->length, n);
		if (send(bench->sockets[0], payload, bench->length, 0) < 0)
			die("send");
	}
}

static void socket_receive(struct bench *bench)
{
	uint8_t payload[2048];

	for (uint64_t n = 0; n < bench->count; n++) {
		ssize_t length = recv(bench->sockets[1], payload, sizeof(payload), 0);

		if (length < 0)
			die("recv");
		bench->shared->wrong += length != bench->length ||
					!payload_right(payload, bench->length, n);
	}
}

static double socket_frames(struct bench *bench)
{
	double seconds;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, bench->sockets) < 0)
		die("socketpair");
	seconds = run_pair(bench, socket_transmit, socket_receive);
	close(bench->sockets[0]);
	close(bench->sockets[1]);
	return (double)bench->count / seconds;
}

/*
 * From where a frame comes to where its record would be: the same bytes, and as many
 * of them, as the ring's transmitter touches.
 */
static double memcpy_gigabytes(struct bench *bench)
{
	uint64_t step = shmnet_record_size(bench->length), position = 0;
	uint64_t start;

	pin(0);
	start = clock_now_ns();
	for (uint64_t n = 0; n < bench->count; n++, position += step) {
		uint8_t *place = bench->there.data + (position & (bench->size - 1));

		payload_fill(place, bench->length, n);
		__asm__ __volatile__("" : : "r"(place) : "memory");
	}
	return (double)bench->count * bench->length / (double)(clock_now_ns() - start);
}

/* ---- round trips ---- */

static void ring_send(struct shmnet_ring_tx *tx, uint32_t length, uint64_t n)
{
	uint8_t *payload;
	unsigned idle = 0;

	while (shmnet_ring_reserve(tx, length, 0, &payload) < 0)
		relax(&idle);
	payload_fill(payload, length, n);
	shmnet_ring_submit(tx, length, 0);
	shmnet_ring_publish(tx);
	shmnet_ring_tx_must_ring(tx);
}

static bool ring_get(struct shmnet_ring_rx *rx, uint32_t length, uint64_t n)
{
	struct shmnet_record record;
	unsigned idle = 0;
	bool right;

	while (shmnet_ring_poll(rx) == 0)
		relax(&idle);
	if (shmnet_ring_peek(rx, &record) != 1)
		return false;
	right = record.length == length && payload_right(record.payload, length, n);
	shmnet_ring_release(rx, &record);
	if (rx->tail - rx->credited > rx->mask / 4) {
		shmnet_ring_credit(rx);
		shmnet_ring_rx_must_ring(rx);
	}
	return right;
}

static void trip(struct bench *bench, struct ring_map *out, struct ring_map *in,
		 bool first)
{
	struct shmnet_ring_tx tx;
	struct shmnet_ring_rx rx;

	shmnet_ring_tx_init(&tx, out->words, out->data, bench->size, SALT);
	shmnet_ring_rx_init(&rx, in->words, in->data, bench->size, SALT);
	for (uint64_t n = 0; n < bench->count; n++) {
		if (first)
			ring_send(&tx, bench->length, n);
		if (!ring_get(&rx, bench->length, n))
			bench->shared->wrong++;
		if (!first)
			ring_send(&tx, bench->length, n);
	}
}

static void trip_out(struct bench *bench)
{
	trip(bench, &bench->there, &bench->back, true);
}

static void trip_back(struct bench *bench)
{
	trip(bench, &bench->back, &bench->there, false);
}

static double ring_round_trip(struct bench *bench)
{
	return run_pair(bench, trip_out, trip_back) / (double)bench->count * 1e9;
}

static void flag_out(struct bench *bench)
{
	unsigned idle = 0;

	for (uint32_t n = 1; n <= bench->count; n++) {
		__atomic_store_n(&bench->shared->ping, n, __ATOMIC_RELEASE);
		while (__atomic_load_n(&bench->shared->pong, __ATOMIC_ACQUIRE) != n)
			relax(&idle);
	}
}

static void flag_back(struct bench *bench)
{
	unsigned idle = 0;

	for (uint32_t n = 1; n <= bench->count; n++) {
		while (__atomic_load_n(&bench->shared->ping, __ATOMIC_ACQUIRE) != n)
			relax(&idle);
		__atomic_store_n(&bench->shared->pong, n, __ATOMIC_RELEASE);
	}
}

static double flag_round_trip(struct bench *bench)
{
	return run_pair(bench, flag_out, flag_back) / (double)bench->count * 1e9;
}

/* ---- one to many ---- */

static void map_fresh(struct ring_map *map, uint64_t size)
{
	int fd, ret = memfd_ring_create(size, &fd);

	if (ret == 0) {
		ret = ring_map_open(fd, size, map);
		close(fd);
	}
	if (ret) {
		errno = -ret;
		die("memory of the ring");
	}
	memset(map->data, 0, size); /* page faults are not what is measured */
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void give_way(struct bench *bench)
{
	uint64_t start = cpu_ns();

	sched_yield();
	bench->waited_ns += cpu_ns() - start;
}

static void run_reader(struct bench *bench, int nth, void (*receive)(struct bench *, int))
{
	uint64_t start;

	pin(nth % 2);
	__atomic_fetch_add(&bench->shared->ready, 1, __ATOMIC_RELEASE);
	start = cpu_ns();
	receive(bench, nth);
	__atomic_fetch_add(&bench->shared->busy_ns, cpu_ns() - start - bench->waited_ns,
			   __ATOMIC_RELAXED);
	_exit(bench->shared->wrong ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void join_reader(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		fprintf(stderr, "ring_bench: payloads wrong or lost\n");
		exit(EXIT_FAILURE);
	}
}

/* One transmits, READERS receive. */
static void run_fan(struct bench *bench, void (*transmit)(struct bench *),
		    void (*receive)(struct bench *, int))
{
	pid_t pids[READERS];
	uint64_t start;

	memset(bench->shared, 0, sizeof(*bench->shared));
	bench->waited_ns = 0;
	fflush(stdout);
	for (int i = 0; i < READERS; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			die("fork");
		if (pids[i] == 0)
			run_reader(bench, i, receive);
	}
	pin(0);
	while (__atomic_load_n(&bench->shared->ready, __ATOMIC_ACQUIRE) < READERS)
		sched_yield();
	start = cpu_ns();
	transmit(bench);
	bench->sender_ns = cpu_ns() - start - bench->waited_ns;
	for (int i = 0; i < READERS; i++)
		join_reader(pids[i]);
	bench->all_ns = bench->sender_ns + bench->shared->busy_ns;
}

static uint64_t slowest(const struct bench *bench)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < READERS; i++) {
		uint64_t cursor = __atomic_load_n(&bench->shared->readers[i].cursor,
						  __ATOMIC_ACQUIRE);

		least = cursor < least ? cursor : least;
	}
	return least;
}

static void cast_transmit(struct bench *bench)
{
	struct shmnet_cast_writer writer;
	uint64_t room = CAST_DEPTH;
	uint8_t *payload;

	shmnet_cast_writer_init(&writer, &bench->cast, 1);
	for (uint64_t n = 0; n < bench->count; n++) {
		while (n == room) {
			room = slowest(bench) + CAST_DEPTH;
			if (n == room)
				give_way(bench);
		}
		if (shmnet_cast_reserve(&writer, &payload) < 0)
			die("the cast ring was refused");
		payload_fill(payload, bench->length, n);
		shmnet_cast_submit(&writer, bench->length, 0);
	}
}

static void cast_receive(struct bench *bench, int nth)
{
	uint64_t *cursor = &bench->shared->readers[nth].cursor;
	struct shmnet_cast_reader reader;
	struct shmnet_cast_record record;
	uint64_t frame[256], n = 0;

	shmnet_cast_reader_init(&reader, &bench->cast, 2, 0);
	while (n < bench->count) {
		int ret = shmnet_cast_read(&reader, frame, &record);

		if (ret < 0)
			die("the cast ring was refused");
		if (ret == 1)
			bench->shared->wrong +=
				record.length != bench->length ||
				!payload_right((uint8_t *)frame, bench->length, n++);
		if (ret == 0 || n % (CAST_DEPTH / 4) == 0)
			__atomic_store_n(cursor, n, __ATOMIC_RELEASE);
		if (ret == 0)
			give_way(bench);
	}
	bench->shared->wrong += reader.delivered != reader.cursor;
}

static void run_cast(struct bench *bench)
{
	uint64_t size = shmnet_cast_file_size(CAST_DEPTH, CAST_MTU);
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	shmnet_cast_ring_init(&bench->cast, memory, CAST_DEPTH, CAST_MTU);
	run_fan(bench, cast_transmit, cast_receive);
	munmap(memory, size);
}

/* The same frame into each reader's own ring. */
static void fan_send(struct bench *bench, struct shmnet_ring_tx *txs, uint64_t n)
{
	uint8_t *payload;

	for (int i = 0; i < READERS; i++) {
		while (shmnet_ring_reserve(&txs[i], bench->length, 0, &payload) < 0) {
			shmnet_ring_publish(&txs[i]);
			give_way(bench);
		}
		payload_fill(payload, bench->length, n);
		shmnet_ring_submit(&txs[i], bench->length, 0);
	}
}

static void fan_transmit(struct bench *bench)
{
	struct shmnet_ring_tx txs[READERS];

	for (int i = 0; i < READERS; i++)
		shmnet_ring_tx_init(&txs[i], bench->fan[i].words, bench->fan[i].data,
				    bench->size, SALT);
	for (uint64_t n = 0; n < bench->count; n++) {
		fan_send(bench, txs, n);
		if ((n + 1) % BURST && n + 1 < bench->count)
			continue;
		for (int i = 0; i < READERS; i++) {
			shmnet_ring_publish(&txs[i]);
			shmnet_ring_tx_must_ring(&txs[i]);
		}
	}
}

static void fan_receive(struct bench *bench, int nth)
{
	struct shmnet_record record;
	struct shmnet_ring_rx rx;
	uint64_t n = 0;

	shmnet_ring_rx_init(&rx, bench->fan[nth].words, bench->fan[nth].data, bench->size,
			    SALT);
	while (n < bench->count) {
		int ret = shmnet_ring_poll(&rx);

		if (ret == 0)
			give_way(bench);
		while (ret > 0 && (ret = shmnet_ring_peek(&rx, &record)) > 0) {
			bench->shared->wrong +=
				record.length != bench->length ||
				!payload_right(record.payload, bench->length, n++);
			shmnet_ring_release(&rx, &record);
			if (rx.tail - rx.credited >= bench->size / 4)
				break;
		}
		if (ret < 0)
			die("the ring was refused");
		shmnet_ring_credit(&rx);
		shmnet_ring_rx_must_ring(&rx);
	}
}

static void run_sends(struct bench *bench)
{
	for (int i = 0; i < READERS; i++)
		map_fresh(&bench->fan[i], bench->size);
	run_fan(bench, fan_transmit, fan_receive);
	for (int i = 0; i < READERS; i++)
		ring_map_close(&bench->fan[i]);
}

static double per_second(const struct bench *bench, uint64_t ns)
{
	return (double)bench->count * NSEC_PER_SEC / (double)ns;
}

static double cast_by_sender(struct bench *bench)
{
	run_cast(bench);
	return per_second(bench, bench->sender_ns);
}

static double sends_by_sender(struct bench *bench)
{
	run_sends(bench);
	return per_second(bench, bench->sender_ns);
}

static double cast_by_all(struct bench *bench)
{
	run_cast(bench);
	return per_second(bench, bench->all_ns);
}

static double sends_by_all(struct bench *bench)
{
	run_sends(bench);
	return per_second(bench, bench->all_ns);
}

/* ---- rows ---- */

static const struct row rows[] = {
	{"R1", "64 B frames/s, two processes", "frames/s", "AF_UNIX SEQPACKET",
	 SHMNET_VNET_HLEN + 64, 5000000, 100000, ring_frames, socket_frames, 50, 150,
	 false},
	{"R3", "1500 B frames", "GB/s", "memcpy, one core", 1500, 1000000, 3000000,
	 ring_gigabytes, memcpy_gigabytes, 0.6, 0.9, false},
	{"R4", "64 B round trip, polled", "ns", "one flag, one cache line",
	 SHMNET_VNET_HLEN + 64, 300000, 300000, ring_round_trip, flag_round_trip, 2, 1.3,
	 true},
	{"R5", "64 B casts, sender's CPU", "frames/s", "8 pair-ring sends",
	 SHMNET_VNET_HLEN + 64, 300000, 300000, cast_by_sender, sends_by_sender, 3, 7,
	 false},
	{"R5b", "64 B casts, CPU of all", "frames/s", "8 pair-ring sends",
	 SHMNET_VNET_HLEN + 64, 300000, 300000, cast_by_all, sends_by_all, 0, 0, false},
	{"R5c", "1500 B casts, sender's CPU", "frames/s", "8 pair-ring sends", 1500,
	 100000, 100000, cast_by_sender, sends_by_sender, 0, 0, false},
	{"R5d", "1500 B casts, CPU of all", "frames/s", "8 pair-ring sends", 1500, 100000,
	 100000, cast_by_all, sends_by_all, 0, 0, false},
};

/* Each measurement has rings of its own, as each epoch has. */
static double measure(const struct row *row, struct bench *bench, bool ours)
{
	double result;

	bench->length = row->length;
	bench->count = ours ? row->count : row->peer_count;
	map_fresh(&bench->there, bench->size);
	map_fresh(&bench->back, bench->size);
	result = ours ? row->ours(bench) : row->peer(bench);
	ring_map_close(&bench->there);
	ring_map_close(&bench->back);
	return result;
}

static void print_row(const struct row *row, const double *ours, const double *peer,
		      int rounds, bool json)
{
	double our = rounds_median(ours, rounds), their = rounds_median(peer, rounds);
	double ratio = our / their;
	bool reached = row->less_is_better ? ratio <= row->reach : ratio >= row->reach;
	const char *verdict = row->reach == 0 ? "-" : reached ? "reached" : "missed";

	if (!json) {
		printf("%-4s%-30s%12.4g %-9s%-26s%12.4g%9.3gx%8.4g%8.4g  %s\n", row->name,
		       row->what, our, row->unit, row->peer_name, their, ratio,
		       row->reach, row->stretch, verdict);
		return;
	}
	printf("{\"row\":\"%s\",\"what\":\"%s\",\"unit\":\"%s\",\"name\":\"%s\",",
	       row->name, row->what, row->unit, row->peer_name);
	rounds_print("ours", ours, rounds);
	putchar(',');
	rounds_print("peer", peer, rounds);
	printf(",\"ratio\":%.6g,\"reach\":%g,\"stretch\":%g,\"better\":\"%s\"}\n", ratio,
	       row->reach, row->stretch, row->less_is_better ? "less" : "more");
}

static void run_row(const struct row *row, struct bench *bench, int rounds, bool json)
{
	double ours[ROUNDS_MAX], peer[ROUNDS_MAX];

	for (int i = 0; i < rounds; i++) {
		ours[i] = measure(row, bench, true);
		peer[i] = measure(row, bench, false);
	}
	print_row(row, ours, peer, rounds, json);
	fflush(stdout);
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++) {
		if (strcmp(*names, name) == 0)
			return true;
	}
	return false;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: ring_bench [--json] [--rounds N] [--size BYTES] [ROW...]\n"
		"rows: R1 R3 R4 R5 R5b R5c R5d; N from 1 to 99; BYTES a "
		"power of two\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
						{"rounds", required_argument, NULL, 'r'},
						{"size", required_argument, NULL, 's'},
						{0}};
	struct bench bench = {.size = 1 << 20};
	bool json = false;
	int rounds = 5, c;

	while ((c = getopt_long(argc, argv, "r:", options, NULL)) != -1) {
		if (c == 'j')
			json = true;
		else if (c == 'r')
			rounds = atoi(optarg);
		else if (c == 's')
			bench.size = strtoull(optarg, NULL, 0);
		else
			return usage();
	}
	if (rounds < 1 || rounds > ROUNDS_MAX || !shmnet_ring_size_valid(bench.size))
		return usage();
	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		die("sched_getaffinity");
	if (CPU_COUNT(&cpus) < 2) {
		fprintf(stderr, "ring_bench: needs two CPUs, has %d\n", CPU_COUNT(&cpus));
		return EXIT_FAILURE;
	}
	noise_init();
	bench.shared = mmap(NULL, sizeof(*bench.shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bench.shared == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (wanted(rows[i].name, argv + optind))
			run_row(&rows[i], &bench, rounds, json);
	}
	return EXIT_SUCCESS;
}
