/*
 * What happened to the node's peers and networks: the last EVENTS_MAX changes of state,
 * with their causes in words.
 *
 * A change is told once, here: events_tell() writes the log's line and keeps the event,
 * so the two can't disagree. Of a subject that changes for ever the log gets a part only,
 * see base/log_cap.h. Owns no clock: who tells, tells the time. An older event makes room
 * for a newer one; the sequence, which starts at 1, shows the gap.
 *
 * A zeroed struct is empty and needs no end. Control thread.
 */
#ifndef CONTROL_EVENTS_H
#define CONTROL_EVENTS_H

#include "base/log.h"

#include <stdint.h>

#define EVENTS_MAX	   256
#define EVENTS_SUBJECT_MAX 64
#define EVENTS_CAUSE_MAX   256 /* what is longer is cut, in the log it is not */
#define EVENTS_LINE_MAX	   1024

enum events_kind { EVENTS_NODE, EVENTS_NETWORK, EVENTS_RING, EVENTS_KIND_NUM_ };

enum events_state {
	EVENTS_STARTING, /* this node */
	EVENTS_READY,
	EVENTS_DOWN, /* another node */
	EVENTS_UP,
	EVENTS_REFUSED, /* by us or by it */
	EVENTS_OFF,	/* a network, as its carrier */
	EVENTS_ON,
	EVENTS_REMOVED, /* a network whose interface is gone */
	EVENTS_SUSPECT, /* another node */
	EVENTS_MADE,	/* a cast ring, by this node */
	EVENTS_TAKEN_OVER,
	EVENTS_REMADE, /* in other memory */
	EVENTS_PAUSED, /* a network, or one of another node */
	EVENTS_RESUMED,
	EVENTS_QUARANTINED, /* another node: it broke the rules */
	EVENTS_RELOADED,    /* this node's config */
	EVENTS_TAKEN,	    /* this node, by a newer process */
	EVENTS_ANNOUNCING,  /* a node: addresses, to the outside */
	EVENTS_WITHDRAWN,   /* a border: nothing */
	EVENTS_STATE_NUM_
};

/* A change of `subject`, which is the name of a node or of a network, or
 * "lan0 broadcast". */
struct events_change {
	enum log_level level; /* of its line */
	enum events_kind kind;
	const char *subject;
	enum events_state old;
	enum events_state state;
	/*
	 * How long before it was already so, in effect: a node silent or away, a network
	 * without carrier, a ring without a maker. 0: not known, or nothing was missing.
	 */
	uint64_t gap_ns;
};

struct events_item {
	uint64_t sequence;
	uint64_t time_ns; /* monotonic */
	enum events_kind kind;
	enum events_state old;
	enum events_state state;
	uint64_t gap_ns;
	char subject[EVENTS_SUBJECT_MAX];
	char cause[EVENTS_CAUSE_MAX];
};

struct events {
	uint64_t count; /* of all that were told */
	struct events_item items[EVENTS_MAX];
};

/* `format` is the cause. `events` NULL: the change is logged only. */
void events_tell(struct events *events, uint64_t now_ns,
		 const struct events_change *change, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* How many are kept, and the index-th of them, the oldest first. */
unsigned events_kept(const struct events *events);
const struct events_item *events_get(const struct events *events, unsigned index);

#endif
