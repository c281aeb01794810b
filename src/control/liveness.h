/*
 * Who of the peers shows life: the node's one tick, and what it asks others.
 *
 * At each tick the node shows its own life to every peer that it has links with, then
 * looks who has shown some. What follows for a peer is the table's in peer.c: this
 * hands it EVENT_SILENT, EVENT_HEARD or EVENT_UNHEARD. Owned by the membership. Knows
 * the world only through world.h. Control thread.
 */
#ifndef CONTROL_LIVENESS_H
#define CONTROL_LIVENESS_H

#include "control/peer.h"

struct liveness;

/* The tick begins. The owner outlives it, and has its peers in peer_at(). */
int liveness_new(struct peer_owner *owner, struct liveness **ret_liveness);

/* Accepts NULL. */
void liveness_free(struct liveness *liveness);

#endif
