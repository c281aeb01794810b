/*
 * The rdma fabric: rings in the memory of another machine. See fabric_rdma.c for how.
 *
 * The connection is made by the control thread and given its rings one by one, each
 * before the peer can know of it; from then on the worker and control call it as
 * data/fabric.h says. It has a lock of its own.
 *
 * Each ring has an index on its connection, which its receiver gives it, per direction:
 * "our ring 3" and "the peer's ring 3" are two. The words of a ring's map are memory
 * that no device reaches: the fabric itself writes there what the peer told.
 */
#ifndef DATA_FABRIC_RDMA_H
#define DATA_FABRIC_RDMA_H

#include "data/fabric.h"
#include "data/qp.h"

#define FABRIC_RDMA_RINGS_MAX 127 /* of each direction; indices are below that */

/* Receives that a connection needs which has that many rings in each direction. */
uint32_t fabric_rdma_receive_depth(unsigned num_rings);

/*
 * The fabric owns the qp from now on, also on failure. `name` is how why() begins,
 * "rdma/rxe0", and is copied.
 */
int fabric_rdma_new(struct qp *qp, const char *name, struct fabric **ret_fabric);

/*
 * A ring of ours, which the peer writes to. -EINVAL: no such index or size; -EEXIST: it
 * has been given before; -ENOSPC: the receives don't suffice for one more.
 */
int fabric_rdma_set_rx(struct fabric *fabric, unsigned index,
		       struct shmnet_ring_words *words, uint64_t size);

/* A ring of the peer's. `staging` is our memory of the same size, mapped twice. */
struct fabric_rdma_tx {
	unsigned index;
	uint64_t size;
	struct shmnet_ring_words *words;
	const uint8_t *staging;
	uint32_t lkey; /* of the staging memory */
	uint32_t rkey; /* of the peer's, whose offset 0 is the ring's */
};

int fabric_rdma_set_tx(struct fabric *fabric, const struct fabric_rdma_tx *tx);

/*
 * Its memory goes, whether a link ever had it or not: the peer may speak of it all the
 * same, and that is no news, and no error.
 */
void fabric_rdma_drop_rx(struct fabric *fabric, unsigned index);
void fabric_rdma_drop_tx(struct fabric *fabric, unsigned index);

/* Of the whole connection, since it was made. Any thread. */
struct fabric_rdma_counters {
	uint64_t writes; /* those below included */
	uint64_t written_bytes;
	uint64_t immediates;
	uint64_t signalled;
	uint64_t receives; /* immediates that came */
	uint64_t send_queue_full;
};

void fabric_rdma_read(const struct fabric *fabric,
		      struct fabric_rdma_counters *ret_counters);

#endif
