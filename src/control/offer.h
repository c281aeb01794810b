/*
 * What a pair of nodes offers each other: connections, rings, and the links that come of
 * them, whatever fabric they are of. The kinds are offer_shm.c (one machine) and
 * offer_rdma.c (verbs, between machines).
 *
 * The half of struct world_ops that carries frames, with offer_cast.c; world_event.c is
 * the other half. Here is what all kinds have in common: the list of links, how a fabric
 * comes to the plane and goes, and what their owners are told. A kind makes memory and
 * connections, and checks what the peer says of its own.
 *
 * Theory of operation
 * -------------------
 * conn_new() begins our half of a connection and offer() says what the peer needs for
 * its half. When the peer's offer was accepted, the kind makes the struct fabric and
 * gives it to the plane by offer_set_fabric(): at once (shm), or when the connection is
 * established (rdma); it says so by offer_conn_ready(). Links are made after that only.
 *
 * The memory of rings is their kind's from ring_new() or ring_accept() to ring_free();
 * the plane borrows it from link_new() to link_free(). So the order of the end is: the
 * worker leaves the link, what the dead had finished is read, rings go, the plane leaves
 * the fabric, the fabric is closed, the rest of the connection goes.
 *
 * Nothing here waits, or knows what is said between nodes. Control thread.
 */
#ifndef CONTROL_OFFER_H
#define CONTROL_OFFER_H

#include "control/config.h"
#include "control/world.h"
#include "data/plane.h"

/* One per node. */
struct offer {
	struct world *world; /* whose handler is told */
	struct plane *plane;
	uint16_t node_id;
	const unsigned *ports; /* the plane's port of each network */
	const struct config_network *networks;
	unsigned num_networks;
	struct world_link *links; /* all that are alive, of all kinds */
	struct world_cast *casts; /* likewise */
	void (*link_ended)(void *arg, unsigned network, uint16_t peer_id,
			   const struct link_counters *counters);
	void *arg;
	char why[256]; /* the last *ret_why that had to be made */
};

struct offer_fabric;

/* As in struct world_ops; what is said there of errors and *ret_why counts. */
struct offer_ops {
	int (*conn_new)(struct offer_fabric *kind, struct world_channel *channel,
			uint16_t peer_id, bool active, struct world_conn **ret_conn,
			const char **ret_why);
	void (*conn_offer)(const struct world_conn *conn, struct world_offer *ret);
	int (*conn_accept)(struct world_conn *conn, struct world_parcel *parcel,
			   const uint8_t *bytes, size_t length, const char **ret_why);
	bool (*conn_is_ready)(const struct world_conn *conn);
	const char *(*conn_fabric)(const struct world_conn *conn);
	/* All but conn->fabric, which is closed already. */
	void (*conn_free)(struct world_conn *conn);

	int (*ring_new)(struct world_conn *conn, unsigned network, uint64_t size,
			struct world_ring **ret_ring, const char **ret_why);
	void (*ring_offer)(const struct world_ring *ring, struct world_offer *ret);
	int (*ring_accept)(struct world_conn *conn, struct world_parcel *parcel,
			   const uint8_t *bytes, size_t length, uint64_t size,
			   struct world_ring **ret_ring, const char **ret_why);
	/* Its link is made: what is needed for offering only may go. NULL: nothing. */
	void (*ring_linked)(struct world_ring *ring);
	void (*ring_free)(struct world_ring *ring); /* its link is gone */
};

/* A kind, one per node at most: first member of its own struct, if it needs one. */
struct offer_fabric {
	const struct offer_ops *ops;
	struct offer *offer;
	bool is_remote;
};

/* First member of a kind's own struct. */
struct world_conn {
	struct offer_fabric *kind;
	uint16_t peer_id;
	struct fabric *fabric;	  /* the plane's, too; NULL: not yet */
	struct world_link *links; /* its own */
	uint32_t beat;
};

/* First member of a kind's own struct. */
struct world_ring {
	struct world_conn *conn;
	struct ring_map map;
	uint8_t index; /* number of the ring on the connection, its receiver's */
};

/* ---- struct world_ops, for world_event.c ---- */

int offer_conn_new(struct offer_fabric *kind, struct world_channel *channel,
		   uint16_t peer_id, bool active, struct world_conn **ret_conn,
		   const char **ret_why);
void offer_conn_offer(const struct world_conn *conn, struct world_offer *ret);
int offer_conn_accept(struct world_conn *conn, struct world_parcel *parcel,
		      const uint8_t *bytes, size_t length, const char **ret_why);
bool offer_conn_is_ready(const struct world_conn *conn);
const char *offer_conn_fabric(const struct world_conn *conn);
void offer_conn_beat(struct world_conn *conn);
uint64_t offer_conn_pulse(const struct world_conn *conn);
void offer_conn_free(struct world_conn *conn);

int offer_ring_new(struct world_conn *conn, unsigned network, uint64_t size,
		   struct world_ring **ret_ring, const char **ret_why);
void offer_ring_offer(const struct world_ring *ring, struct world_offer *ret);
int offer_ring_accept(struct world_conn *conn, struct world_parcel *parcel,
		      const uint8_t *bytes, size_t length, uint64_t size,
		      struct world_ring **ret_ring, const char **ret_why);
void offer_ring_free(struct world_ring *ring);

int offer_link_new(struct offer *offer, const struct world_link_spec *spec,
		   struct world_link **ret_link);
void offer_link_free(struct world_link *link, bool peer_is_dead);
void offer_link_pause(struct world_link *link, bool is_paused);
int offer_link_send(struct world_link *link, const uint8_t *bytes, size_t length);

struct link *offer_link(const struct world_link *link);

/* What its fabric says of the error that it died of; "": nothing. */
const char *offer_link_why(const struct world_link *link);

/* The link of the control plane that is this one of the data plane; NULL: none. */
struct world_link *offer_find_link(const struct offer *offer, const struct link *link);

/* ---- for the kinds ---- */

/* The plane watches it from now on; conn_free() takes it away and closes it. */
int offer_set_fabric(struct world_conn *conn, struct fabric *fabric);

/* Told to the handler of the world: from the event loop, never from within an op. */
void offer_conn_ready(struct world_conn *conn);
void offer_conn_lost(struct world_conn *conn, const char *words);

/*
 * Are there so many bytes of memory, and so much address space for them (rings are
 * mapped twice)? If not, -ENOMEM and words with both numbers in `why`.
 */
int offer_check_memory(uint64_t bytes, uint64_t address_space, char *why, size_t size);

static inline double offer_mebibytes(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

#endif
