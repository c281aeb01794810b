/*
 * What a pair on one machine offers each other: ring memory in sealed memfds, a
 * doorbell each, and from both a link of the data plane.
 *
 * The shm half of struct world_ops, with offer_cast.c; world_event.c is the other half
 * and shares struct offer_shm with it. Nothing here waits, or knows what is said between
 * nodes. Control thread.
 */
#ifndef CONTROL_OFFER_SHM_H
#define CONTROL_OFFER_SHM_H

#include "control/config.h"
#include "control/world.h"
#include "data/plane.h"

struct offer_shm {
	struct plane *plane;
	uint16_t node_id;
	const unsigned *ports; /* the plane's port of each network */
	const struct config_network *networks;
	unsigned num_networks;
	struct world_link *links; /* all that are alive */
	struct world_cast *casts; /* likewise */
	void (*link_ended)(void *arg, unsigned network, uint16_t peer_id,
			   const struct link_counters *counters);
	void *arg;
	char why[256]; /* the last *ret_why that had to be made */
};

int offer_shm_ring_new(struct offer_shm *offer, uint64_t size,
		       struct world_ring **ret_ring, const char **ret_why);
int offer_shm_ring_accept(struct offer_shm *offer, struct world_parcel *parcel,
			  uint64_t size, struct world_ring **ret_ring,
			  const char **ret_why);
int offer_shm_ring_fd(const struct world_ring *ring);
void offer_shm_ring_free(struct world_ring *ring);

int offer_shm_bell_new(struct world_bell **ret_ours, int *ret_theirs);
int offer_shm_bell_accept(struct world_parcel *parcel, struct world_bell **ret_bell,
			  const char **ret_why);
void offer_shm_bell_free(struct world_bell *bell);

int offer_shm_conn_new(struct offer_shm *offer, struct world_bell *ours,
		       struct world_bell *theirs, struct world_conn **ret_conn);
void offer_shm_conn_free(struct world_conn *conn);
void offer_shm_conn_beat(struct world_conn *conn);
uint64_t offer_shm_conn_pulse(const struct world_conn *conn);

int offer_shm_link_new(struct offer_shm *offer, const struct world_link_spec *spec,
		       struct world_link **ret_link);
void offer_shm_link_free(struct world_link *link, bool peer_is_dead);

struct link *offer_shm_link(const struct world_link *link);

/* The link of the control plane that is this one of the data plane; NULL: none. */
struct world_link *offer_shm_find_link(const struct offer_shm *offer,
				       const struct link *link);

/*
 * Are there so many bytes of memory, and so much address space for them (rings are
 * mapped twice)? If not, -ENOMEM and words with both numbers in `why`.
 */
int offer_shm_check_memory(uint64_t bytes, uint64_t address_space, char *why,
			   size_t size);

#endif
