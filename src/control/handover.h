/*
 * Queues of TAPs that an earlier life of the node has opened: from the store of the
 * service manager, or from the process that this one takes over from. While somebody
 * has them the interface keeps its carrier, and frames wait in it.
 *
 * Owns the descriptors until they are taken. Control thread, at the start only.
 */
#ifndef CONTROL_HANDOVER_H
#define CONTROL_HANDOVER_H

#include "control/config.h"
#include "data/tap.h"

#include <stdbool.h>

struct handover_tap {
	char name[IF_NAMESIZE];
	bool is_kept;		    /* by the store, too */
	int queues[TAP_QUEUES_MAX]; /* -1: there is none */
};

/* Zeroed: there are none. */
struct handover {
	unsigned num_taps;
	struct handover_tap taps[CONFIG_NETWORKS_MAX];
};

/* The descriptor is the callee's; closed if the queue is there already (-EEXIST), or if
 * there is no room or number for it (-EINVAL). */
int handover_add(struct handover *handover, const char *name, unsigned queue, int fd);

/* NULL: of this TAP there are none. */
struct handover_tap *handover_find(struct handover *handover, const char *name);

/* How many, without a hole; 0 if one is missing. NULL: 0. */
unsigned handover_count(const struct handover_tap *tap);

/* The descriptors are the caller's now. */
void handover_release(struct handover_tap *tap);

/* Closes those of one TAP, and of all. */
void handover_drop(struct handover_tap *tap);
void handover_close(struct handover *handover);

#endif
