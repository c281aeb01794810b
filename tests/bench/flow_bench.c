/*
 * Rows D1 and D4d of the goals: the data plane's flow cache.
 *
 *     D1   look-ups/s, 1 M flows, one core     DPDK's rte_hash, in bulk
 *     D1b  the same                            one at a time
 *     D4d  bytes per flow                      IPVS: 128 and more per connection
 *
 * A look-up begins with the flow's addresses and ports, 40 bytes as the cracker gives
 * them, and ends with the node that they belong to, which is checked. Both sides get the
 * same keys in the same random order, 64 at a time, and each computes its own hash of
 * them: ours SipHash with a secret, theirs a CRC. Theirs compares the whole key besides,
 * ours 36 bits of the hash. D1b is the cache as the worker asks it: a frame at a time.
 *
 *     flow_bench [--json] [--rounds N]
 *
 * Without DPDK at build time D1 has no peer and is left out.
 */
#include "flow_bench.h"
#include "rounds.h"

#include "base/clock.h"
#include "data/flowcache.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOWS	   (1u << 20)
#define PASSES	   4
#define START_NS   (1000 * NSEC_PER_SEC)
#define IPVS_BYTES 128 /* it says so itself when it is loaded, and adds its buckets */

struct flows {
	struct flow_key *keys; /* in the order in which they are looked up */
	uint16_t *owners;
	struct flow_secret secret;
	struct flowcache cache;
};

static void die(const char *what)
{
	fprintf(stderr, "flow_bench: %s\n", what);
	exit(EXIT_FAILURE);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* IPv4 clients of one service, no two alike. */
static void key_fill(struct flow_key *key, unsigned n)
{
	static const uint8_t service[4] = {10, 99, 0, 1};
	const uint8_t client[4] = {198, (uint8_t)(n >> 16), (uint8_t)(n >> 8),
				   (uint8_t)n};

	memset(key, 0, sizeof(*key));
	flow_address_map_ipv4(key->foreign, client);
	flow_address_map_ipv4(key->local, service);
	key->foreign_port = (uint16_t)(1024 + n % 60000);
	key->local_port = 443;
	key->protocol = 6;
}

static void swap_flows(struct flows *flows, unsigned a, unsigned b)
{
	struct flow_key key = flows->keys[a];
	uint16_t owner = flows->owners[a];

	flows->keys[a] = flows->keys[b];
	flows->keys[b] = key;
	flows->owners[a] = flows->owners[b];
	flows->owners[b] = owner;
}

/* In the order of their numbers, as a table is filled; looked up in any other one. */
static void flows_make(struct flows *flows)
{
	uint64_t state = 88172645463325252ull;

	flows->keys = calloc(FLOWS, sizeof(*flows->keys));
	flows->owners = calloc(FLOWS, sizeof(*flows->owners));
	if (!flows->keys || !flows->owners || flowcache_init(&flows->cache, FLOWS) < 0)
		die("out of memory");
	flows->secret = (struct flow_secret){{next_random(&state), next_random(&state)}};
	for (unsigned i = 0; i < FLOWS; i++) {
		key_fill(&flows->keys[i], i);
		flows->owners[i] = (uint16_t)(1 + next_random(&state) % 60000);
	}
}

static void flows_shuffle(struct flows *flows)
{
	uint64_t state = 1181783497276652981ull;

	for (unsigned i = FLOWS - 1; i > 0; i--)
		swap_flows(flows, i, (unsigned)(next_random(&state) % (i + 1)));
}

static void cache_fill(struct flows *flows)
{
	flowcache_set_time(&flows->cache, START_NS);
	for (unsigned i = 0; i < FLOWS; i++) {
		const struct plane_verdict verdict = {.owner = flows->owners[i],
						      .keep = PLANE_KEEP_FLOW};

		flowcache_put(&flows->cache, flow_hash(&flows->keys[i], &flows->secret),
			      &verdict);
	}
}

/* ---- what is measured ---- */

static unsigned find_bulk(struct flows *flows, unsigned first)
{
	static const uint8_t uses[FLOW_BURST];
	struct plane_verdict verdicts[FLOW_BURST];
	uint64_t hashes[FLOW_BURST], found;
	unsigned right = 0;

	for (unsigned i = 0; i < FLOW_BURST; i++)
		hashes[i] = flow_hash(&flows->keys[first + i], &flows->secret);
	found = flowcache_find_bulk(&flows->cache, hashes, uses, FLOW_BURST, verdicts);
	for (unsigned i = 0; i < FLOW_BURST; i++)
		right +=
			(found >> i & 1) && verdicts[i].owner == flows->owners[first + i];
	return right;
}

static unsigned find_each(struct flows *flows, unsigned first)
{
	struct plane_verdict verdict;
	unsigned right = 0;

	for (unsigned i = first; i < first + FLOW_BURST; i++) {
		uint64_t hash = flow_hash(&flows->keys[i], &flows->secret);

		right += flowcache_find(&flows->cache, hash, 0, &verdict) &&
			 verdict.owner == flows->owners[i];
	}
	return right;
}

#if FLOW_BENCH_DPDK
static unsigned find_peer(struct flows *flows, unsigned first)
{
	const struct flow_key *keys[FLOW_BURST];

	for (unsigned i = 0; i < FLOW_BURST; i++)
		keys[i] = &flows->keys[first + i];
	return peer_find(keys, &flows->owners[first]);
}

static void peer_fill(const struct flows *flows)
{
	if (!peer_open(FLOWS, sizeof(struct flow_key)))
		die("DPDK does not start");
	for (unsigned i = 0; i < FLOWS; i++) {
		if (!peer_add(&flows->keys[i], flows->owners[i]))
			die("DPDK's table is full");
	}
}
#endif

static uint64_t cpu_time_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * NSEC_PER_SEC + (uint64_t)time.tv_nsec;
}

/* Look-ups per second that this thread has its core. */
static double measure(struct flows *flows, unsigned (*find)(struct flows *, unsigned))
{
	uint64_t start = cpu_time_ns(), right = 0;

	for (unsigned pass = 0; pass < PASSES; pass++) {
		for (unsigned i = 0; i < FLOWS; i += FLOW_BURST)
			right += find(flows, i);
	}
	/* The cache may have pushed out one or two in a thousand: they cost time, too. */
	if (right < (uint64_t)PASSES * FLOWS / 1000 * 997)
		die("flows were not found");
	return (double)PASSES * FLOWS * NSEC_PER_SEC / (double)(cpu_time_ns() - start);
}

/* ---- rows ---- */

static void print_row(const char *row, const char *unit, const char *peer_name,
		      const double *ours, const double *peer, int n, bool json)
{
	if (!json) {
		printf("%-4s %12.4g %-12s%-28s%12.4g%9.3gx\n", row,
		       rounds_median(ours, n), unit, peer_name, rounds_median(peer, n),
		       rounds_median(ours, n) / rounds_median(peer, n));
		return;
	}
	printf("{\"row\":\"%s\",\"unit\":\"%s\",\"name\":\"%s\",", row, unit, peer_name);
	rounds_print("ours", ours, n);
	putchar(',');
	rounds_print("peer", peer, n);
	puts("}");
}

static void run_lookups(struct flows *flows, int rounds, bool json)
{
#if FLOW_BENCH_DPDK
	double bulk[ROUNDS_MAX], each[ROUNDS_MAX], peer[ROUNDS_MAX];
	char name[64];

	for (int i = 0; i < rounds; i++) {
		bulk[i] = measure(flows, find_bulk);
		peer[i] = measure(flows, find_peer);
		each[i] = measure(flows, find_each);
	}
	snprintf(name, sizeof(name), "rte_hash bulk, %s", peer_memory());
	print_row("D1", "lookups/s", name, bulk, peer, rounds, json);
	print_row("D1b", "lookups/s", name, each, peer, rounds, json);
#else
	fprintf(stderr, "flow_bench: built without DPDK: no row D1, %.3g look-ups/s\n",
		measure(flows, find_bulk));
	(void)find_each;
	(void)rounds;
	(void)json;
#endif
}

static void run_memory(const struct flows *flows, bool json)
{
	double ours = (double)flows->cache.mapped / (double)flows->cache.used;
	double peer = IPVS_BYTES;

	print_row("D4d", "bytes", "IPVS", &ours, &peer, 1, json);
}

static void pin(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
						{"rounds", required_argument, NULL, 'r'},
						{0}};
	struct flows flows = {0};
	bool json = false;
	int rounds = 5, c;

	while ((c = getopt_long(argc, argv, "r:", options, NULL)) != -1) {
		if (c == 'j')
			json = true;
		else if (c == 'r')
			rounds = atoi(optarg);
		else
			return 2;
	}
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr,
			"usage: flow_bench [--json] [--rounds N]; N from 1 to 99\n");
		return 2;
	}
	pin();
	flows_make(&flows);
	cache_fill(&flows);
#if FLOW_BENCH_DPDK
	peer_fill(&flows);
#endif
	flows_shuffle(&flows);
	run_lookups(&flows, rounds, json);
	run_memory(&flows, json);
	return EXIT_SUCCESS;
}
