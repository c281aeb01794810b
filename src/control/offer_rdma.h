/*
 * What a pair on two machines offers each other: a queue pair each, and registered
 * memory. A kind of offer.h: BELL and RING carry bytes (offer_rdma_wire.h) and no
 * descriptor.
 *
 * One per node; it has the device, and listens there for the connections of peers. If
 * the device goes, or its port, all connections are lost, and it is tried each second
 * until it is back. Nothing here waits. Control thread.
 */
#ifndef CONTROL_OFFER_RDMA_H
#define CONTROL_OFFER_RDMA_H

#include "control/offer.h"

#include <event2/event.h>

struct offer_rdma;

/*
 * Opens the device, so it comes after the last change of credentials. On failure a line
 * for the user, with the remedy. `config` and `offer` outlive it.
 */
int offer_rdma_new(struct offer *offer, struct event_base *base,
		   const struct config_fabric *config, struct offer_rdma **ret_rdma,
		   char *ret_error, size_t error_size);

/* After its connections. Accepts NULL. */
void offer_rdma_free(struct offer_rdma *rdma);

struct offer_fabric *offer_rdma_kind(struct offer_rdma *rdma);

/* "rxe0"; the one it had if it is gone. */
const char *offer_rdma_device(const struct offer_rdma *rdma);

/* Why it can't be used now; NULL if it can. */
const char *offer_rdma_down(const struct offer_rdma *rdma);

#endif
