/*
 * What a pair on one machine offers each other: ring memory in sealed memfds, and a
 * doorbell each. A kind of offer.h: BELL and RING carry a descriptor and no bytes.
 *
 * Control thread.
 */
#ifndef CONTROL_OFFER_SHM_H
#define CONTROL_OFFER_SHM_H

#include "control/offer.h"

/* `offer` outlives it; nothing to be freed. */
void offer_shm_init(struct offer_fabric *shm, struct offer *offer);

#endif
