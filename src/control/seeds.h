/*
 * Membership between machines: asks the seeds of the config who is there, tells who asks,
 * and keeps what it hears in a book.
 *
 * Theory of operation
 *
 * A talk is a channel on which both sides say LOOK: who I am, whom I know. Who dials
 * says it first, the other answers at once; then both repeat it every few seconds, and
 * soon after something changed, so that news flood along the talks. A node keeps one talk
 * to each of its seeds and as many as dial it: that joins all nodes as long as the graph
 * of seeds hangs together, whichever way its edges point.
 *
 * Who was dialled knows by the first message what a channel is for: with LOOK it stays
 * here, with anything else it is a stranger, and not ours.
 *
 * A seed that can't be reached, refuses us or falls silent is tried again, later each
 * time; what is wrong is logged once, and kept for who asks. Nothing here is fatal.
 * What others say of third nodes is hearsay (book.h): it tells where to dial, no more.
 *
 * Knows nothing of TLS: its owner dials, and hands over who dialled us. Control thread.
 */
#ifndef CONTROL_SEEDS_H
#define CONTROL_SEEDS_H

#include "control/book.h"
#include "control/config.h"
#include "control/world.h"

#include <stdint.h>

#define SEEDS_GUESTS_MAX 32 /* dialled us and said nothing yet: then the oldest goes */
#define SEEDS_TALKS_MAX	 (BOOK_LINES_MAX + CONFIG_SEEDS_MAX)
#define SEEDS_NAMED_MAX	 CONFIG_SEEDS_MAX /* of one node, likewise */
#define SEEDS_WORDS_MAX	 640

struct event_base;
struct seeds;

enum seed_state {
	SEED_DIALLING,
	SEED_UP,
	SEED_WAITING, /* until it is dialled again; there is a reason */
	SEED_OURSELVES,
};

/* The strings are the seed's until anything happens. */
struct seed_report {
	const char *address;
	enum seed_state state;
	const char *node;   /* who is there; "" if that was never known */
	const char *reason; /* why it is not up; "" if it is, or was not tried yet */
	uint64_t since_ns;  /* of the clock in base/clock.h */
};

/* Milliseconds. */
struct seeds_pace {
	unsigned look;	   /* from one LOOK to the next, if nothing changes */
	unsigned change;   /* at least, if something does */
	unsigned patience; /* for the first LOOK of another one */
	unsigned silence;  /* for the next one */
	unsigned retry;	   /* of a seed, the first time; doubled each time */
	unsigned retry_most;
	unsigned lifetime; /* of what is heard */
};
extern const struct seeds_pace seeds_pace_default;

struct seeds_options {
	const char *cluster;
	struct peer_life self;
	const struct config_endpoint *seeds; /* our own address is passed over */
	unsigned num_seeds;
	const struct seeds_pace *pace; /* NULL: the default */

	/* See dial of struct world_ops. */
	int (*dial)(void *arg, const struct config_endpoint *address,
		    struct world_channel **ret_channel);
	/* See struct world_handler. */
	void (*appeared)(void *arg, uint16_t node_id);
	void (*disappeared)(void *arg, uint16_t node_id);
	/*
	 * Somebody dialled us for something else: the channel is the callee's, and so is
	 * the first message.
	 */
	void (*stranger)(void *arg, struct world_channel *channel, const uint8_t *bytes,
			 size_t length, struct world_parcel *parcel);
	void *arg;
};

/* Options are copied; what they point to outlives the seeds. */
int seeds_new(struct event_base *base, const struct seeds_options *options,
	      struct seeds **ret_seeds);

/*
 * Others than before, from now on: a new one is dialled soon, and one that is gone is not
 * dialled again; who is talked with stays. -ENOMEM: nothing has changed.
 */
int seeds_set(struct seeds *seeds, const struct config_endpoint *addresses, unsigned num);

/* Dials in the loop's next turn. */
int seeds_start(struct seeds *seeds);

/* Somebody dialled us; takes the channel. */
void seeds_accept(struct seeds *seeds, struct world_channel *channel);

/* Where the node can be dialled; NULL: not known. Valid until anything happens. */
const struct config_endpoint *seeds_find(const struct seeds *seeds, uint16_t node_id);

unsigned seeds_count_nodes(const struct seeds *seeds);

/* In the order of the config. */
void seeds_each(const struct seeds *seeds,
		void (*each)(const struct seed_report *report, void *arg), void *arg);

/* What is wrong with the cluster as a whole and was heard of lately; "": nothing. */
const char *seeds_words(const struct seeds *seeds);

void seeds_free(struct seeds *seeds); /* accepts NULL */

#endif
