/*
 * The world of the daemon: libevent's clock and timers, a rendezvous directory with
 * SEQPACKET Unix sockets as channels and rings in sealed memfds for the nodes of this
 * machine, seeds with TLS channels for those of others. A node has either, or both;
 * then who is in the rendezvous is reached by that.
 *
 * Order of use: world_event_new() claims the node's id (a second instance is
 * refused here, before anything of the host was touched); membership_new() sets
 * the handler; world_event_start() makes the node visible; membership_free();
 * world_event_free().
 *
 * Control thread.
 */
#ifndef CONTROL_WORLD_EVENT_H
#define CONTROL_WORLD_EVENT_H

#include "control/world.h"

#include <stddef.h>
#include <stdint.h>

struct cast;
struct config_fabric;
struct config_network;
struct event_base;
struct link;
struct link_counters;
struct offer_rdma;
struct plane;
struct plane_miss;
struct remote;

#define WORLD_EVENT_ERROR_MAX 512

struct world_event_options {
	const struct config_fabric *shm;  /* its directory is made if its parent exists */
	const struct config_fabric *rdma; /* NULL: none, as of the other */
	const char *cluster, *name;
	uint16_t node_id;
	struct plane *plane;
	const struct config_network *networks; /* of the config */
	unsigned num_networks;
	const unsigned *ports; /* the plane's port of each of them */

	/* The TAP of a port is gone; the plane's other faults are handled here. */
	void (*port_fault)(void *arg, unsigned port, int error);
	/* A link ended; what it counted, for those who add up. */
	void (*link_ended)(void *arg, unsigned network, uint16_t peer_id,
			   const struct link_counters *counters);
	/* A ping of the plane was answered. */
	void (*pong)(void *arg, uint64_t token, uint64_t time_ns);
	/* A flow that the plane knows nothing of; NULL: no network is global. */
	void (*miss)(void *arg, const struct plane_miss *miss);
	void *arg;
};

/*
 * The base must have EVENT_BASE_FLAG_PRECISE_TIMER. Options are copied, what they
 * point to must outlive the world. On failure `ret_error` has a line for the user:
 * what, where, and what to do.
 */
int world_event_new(struct event_base *base, const struct world_event_options *options,
		    struct world **ret_world, char *ret_error, size_t error_size);

/*
 * Would world_event_new() fail if the process that runs had given up its id and its
 * `listen` ("": it has none)? Nobody notices, and nothing is left but the directory.
 */
int world_event_check(struct event_base *base, const struct world_event_options *options,
		      uint16_t running_id, const char *running_listen, char *ret_error,
		      size_t error_size);

/* Others see us from now on, and we them. */
int world_event_start(struct world *world, char *ret_error, size_t error_size);

/* The list of networks has so many places now. */
void world_event_set_networks(struct world *world, unsigned num_networks);

/* The `seeds` of the fabric of kind rdma are others now. -ENOMEM: as before, still. */
int world_event_set_seeds(struct world *world);

/* Removes its own files only. Accepts NULL. */
void world_event_free(struct world *world);

/* The two halves of the fabric of kind rdma; NULL: there is none. */
const struct remote *world_event_remote(const struct world *world);
const struct offer_rdma *world_event_rdma(const struct world *world);

/* Is the node in the rendezvous? */
bool world_event_is_local(const struct world *world, uint16_t node_id);

/* The plane's link behind it, for counters. */
struct link *world_event_link(const struct world_link *link);
struct cast *world_event_cast(const struct world_cast *cast);

#endif
