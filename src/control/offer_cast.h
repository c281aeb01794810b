/*
 * Cast rings on one machine: memory in sealed memfds, and from it a cast ring of the
 * data plane. Belongs to offer.h, and shares struct offer with it.
 *
 * Nothing here knows what is said between nodes, or who is alive. Control thread.
 */
#ifndef CONTROL_OFFER_CAST_H
#define CONTROL_OFFER_CAST_H

#include "control/offer.h"
#include "control/world.h"

int offer_cast_new(struct offer *offer, struct world_cast_spec *spec,
		   struct world_cast **ret_cast, const char **ret_why);
int offer_cast_accept(struct offer *offer, struct world_parcel *parcel,
		      const struct world_cast_spec *spec, struct world_cast **ret_cast,
		      const char **ret_why);
void offer_cast_free(struct world_cast *cast);
int offer_cast_fd(const struct world_cast *cast);
void offer_cast_stop_writing(struct world_cast *cast);
void offer_cast_set_reader(struct world_cast *cast, struct world_link *link);
void offer_cast_close(struct world_cast *cast);
uint64_t offer_cast_position(const struct world_cast *cast);

struct cast *offer_cast_cast(const struct world_cast *cast);

/* The one of the control plane that is this one of the data plane; NULL: none. */
struct world_cast *offer_cast_find(const struct offer *offer, const struct cast *cast);

#endif
