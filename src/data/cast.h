/*
 * A cast ring as the data plane has it. Private to the data plane.
 *
 * The worker reads and writes the ring as long as a view that it may hold names it;
 * plane_cast.c adds and removes it around that. What is atomic is said; the counters
 * have one writer, the worker, and are read by control with relaxed loads.
 *
 * `index` is the ring's place in each link's `casts` and in what we announce to
 * peers (shmnet/cast.h). It is given away again only after no view names the ring and
 * the links' places were cleared.
 */
#ifndef DATA_CAST_H
#define DATA_CAST_H

#include "data/plane.h"

/* Slots that a turn looks at, in a ring where few of them hold a frame. */
#define CAST_LOOKS_MAX SHMNET_CAST_STEPS_MAX

/* How long a slot may be in writing while others wait behind it. */
#define CAST_PATIENCE_MS   100
#define CAST_IMPATIENCE_MS 1	/* soon after one that was given up */
#define CAST_IMPATIENT_MS  1000 /* that soon */

struct cast {
	struct plane *plane;
	struct port *port;
	unsigned index;
	uint64_t id;
	uint64_t key; /* the label, see want_key() */
	uint16_t only_writer;
	bool reads;
	bool writes;	  /* control's; what the worker goes by is in the view */
	int error;	  /* nonzero: left alone; written by the worker, atomic */
	bool error_taken; /* control's */
	struct shmnet_cast_reader reader;
	struct shmnet_cast_writer writer;
	uint64_t next;	       /* no cast of ours is in the ring at or after it */
	uint64_t stuck_at;     /* the slot in writing at which the reader waits */
	uint64_t patient_ns;   /* until then; 0: it doesn't wait */
	uint64_t impatient_ns; /* the last slot in writing that was given up is recent */
	uint64_t cursor;       /* the reader's, for control; atomic */
	struct cast_counters counters;
	struct cast_map map;
};

/* A ring from a link's point of view. */
struct link_cast {
	bool reads;	/* the peer reads it; set by control, atomic */
	bool announced; /* and was told so: no copies any more; the worker's */
	bool is_known;	/* the peer has told us `since`; the worker's */
	uint64_t since;
};

/* A closed, drained, or broken ring: neither written nor read any more. */
static inline bool cast_rests(const struct cast *cast)
{
	return __atomic_load_n(&cast->error, __ATOMIC_RELAXED) != 0;
}

#endif
