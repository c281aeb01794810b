/*
 * The fabric of kind rdma, but for what carries frames (offer_rdma.c): who else there is
 * on other machines, how they are dialled, and where they dial us. Ties together tls.c,
 * channel_tls.c and seeds.c for world_event.c.
 *
 * Order of use: remote_new() loads the certificates and takes the address; remote_start()
 * begins to ask who is there; remote_free() after all channels that came of it are
 * closed. Control thread.
 */
#ifndef CONTROL_REMOTE_H
#define CONTROL_REMOTE_H

#include "control/config.h"
#include "control/world.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct remote;
struct seeds;

struct remote_options {
	const struct config_fabric *fabric;
	const char *cluster;
	const char *name; /* of this node */
	uint16_t node_id;

	/* See struct seeds_options. */
	void (*appeared)(void *arg, uint16_t node_id);
	void (*disappeared)(void *arg, uint16_t node_id);
	void (*stranger)(void *arg, struct world_channel *channel, const uint8_t *bytes,
			 size_t length, struct world_parcel *parcel);
	void *arg;
};

/*
 * Options are copied, what they point to outlives it. On failure `ret_error` has a line
 * for the user: what, where, and what to do.
 */
int remote_new(struct event_base *base, const struct remote_options *options,
	       struct remote **ret_remote, char *ret_error, size_t error_size);

int remote_start(struct remote *remote);

/* The fabric's `seeds` are others now. -ENOMEM: as before, still. */
int remote_set_seeds(struct remote *remote);

/* See dial of struct world_ops. */
int remote_dial(struct remote *remote, uint16_t node_id,
		struct world_channel **ret_channel);

/* Is the node known, that is, can it be dialled? */
bool remote_has(const struct remote *remote, uint16_t node_id);

const struct seeds *remote_seeds(const struct remote *remote);

void remote_free(struct remote *remote); /* accepts NULL */

#endif
