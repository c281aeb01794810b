/*
 * Hosts with a running plane each, and the cables between them, for the tests of the
 * data plane.
 *
 * The test's thread is the control thread of all of them. Nothing sleeps for long
 * enough: what has to come is waited for, and a lost wake-up ends in WAIT_MS.
 */
#ifndef TESTS_UNIT_CABLE_H
#define TESTS_UNIT_CABLE_H

#include "rig.h"

/* What the sanitizers slow down, and what makes no sense under them. */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOWED 10u
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SLOWED 10u
#endif
#endif
#ifndef SLOWED
#define SLOWED 1u
#endif

#define WAIT_MS 20000

/* A node: a TAP and a plane with one port. */
struct host {
	struct rig_tap tap;
	struct plane *plane;
	unsigned id;
	unsigned port;
};

/* What lies between two of them, or between one and a peer that the test plays. */
struct cable {
	struct host *host[2]; /* [1] is NULL if the test plays it */
	struct fabric *fabric[2];
	int ring[2]; /* with what each side rings; its fabric's */
	struct link *link[2];
	struct ring_map maps[2][2]; /* of each link */
	struct shmnet_ring_tx tx;   /* the played peer's */
	struct shmnet_ring_rx rx;
	struct ring_map tx_map;
	struct ring_map rx_map;
};

/* ---- waiting ---- */

void pause_ms(unsigned ms);
bool wait_more(unsigned *left, const char *condition);

#define WAIT_UNTIL(condition)                                                            \
	do {                                                                             \
		unsigned left = WAIT_MS;                                                 \
                                                                                         \
		while (!(condition) && wait_more(&left, #condition))                     \
			continue;                                                        \
	} while (0)

/* A worker that turns for nothing never lets this become true. */
bool process_rests(void);

/* The hosts' stall_ns. */
#define STALL_NS 1000000000ull

/*
 * All threads stand still for longer, and another process does `meanwhile` then, which
 * may be NULL. Any thread may call it.
 */
void stop_process(void (*meanwhile)(void *arg), void *arg);

/* ---- hosts ---- */

/* Without a worker: the test calls data/path.h itself. */
bool host_make(struct host *host, unsigned id, unsigned queues, uint32_t spin_us);
bool host_make_global(struct host *host, unsigned id, uint32_t spin_us,
		      const struct plane_global *global);
bool host_open(struct host *host, unsigned id, unsigned queues, uint32_t spin_us);
void host_close(struct host *host);

/* Control has heard everything. Before the first call nobody ever stands still. */
void host_tick(struct host *host);

bool host_write(struct host *host, unsigned queue, const uint8_t *frame, size_t length);

/* 0 if nothing comes: a wake-up was lost. */
size_t host_read(struct host *host, unsigned queue, uint8_t *frame);

uint64_t unrouted(const struct host *host);

/* What the plane has to tell control, waited for. */
bool host_wait_fault(struct host *host, struct plane_fault *ret_fault);

/* ---- cast rings ---- */

/* The memory, and a mapping that is the test's. */
struct cast_file {
	int fd;
	uint32_t depth;
	uint64_t id;
	uint8_t label[SHMNET_ETH_ALEN];
	struct cast_map map;
};

/* A broadcast ring. */
bool cast_file_open(struct cast_file *file, uint32_t depth);
void cast_file_close(struct cast_file *file);
struct shmnet_cast_ring cast_file_ring(const struct cast_file *file);

/* The host reads it, and perhaps writes it. */
int host_add_cast(struct host *host, const struct cast_file *file, bool writes,
		  struct cast **ret_cast);
struct cast_counters read_cast(const struct cast *cast);

/* ---- cables ---- */

/* Maps for both sides; specs[0] transmits on the first ring. */
bool make_rings(struct plane_link specs[2]);

bool cable_attach(struct cable *cable, unsigned side, unsigned peer_id,
		  struct plane_link *spec);
bool cable_plug(struct cable *cable, struct host *a, struct host *b);
/* The same, as if the hosts shared no memory. */
bool cable_plug_remote(struct cable *cable, struct host *a, struct host *b);

/* Side 1 is played by the test. */
bool cable_plug_played(struct cable *cable, struct host *a, unsigned peer_id);

/* The link, too, unless it is NULL because it is gone. */
void cable_detach(struct cable *cable, unsigned side, bool peer_is_dead,
		  struct link_counters *ret_final);
void cable_hang_up(struct cable *cable);
void cable_free_played(struct cable *cable);

/* ---- the books ---- */

struct link_counters read_link(const struct link *link);

/* Drops at the sender, or at the receiver. */
uint64_t sum_drops(const struct link_counters *counters, bool sent);

/* One way: what `sender` counted of it and what `receiver` did. */
void check_conservation(const struct link_counters *sender,
			const struct link_counters *receiver);

#endif
