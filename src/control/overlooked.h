/*
 * Nodes that appeared when memory was short. The world shows each once, so they are
 * remembered here, where it takes no memory, and shown again a second later. Ids are
 * anybody's to make up: there is room for OVERLOOKED_MAX.
 *
 * Control thread.
 */
#ifndef CONTROL_OVERLOOKED_H
#define CONTROL_OVERLOOKED_H

#include "control/world.h"

#define OVERLOOKED_MAX 64

struct overlooked;

/* `show` may add the id again. */
int overlooked_new(struct world *world, void (*show)(void *arg, uint16_t node_id),
		   void *arg, struct overlooked **ret_overlooked);
void overlooked_free(struct overlooked *overlooked); /* accepts NULL */

void overlooked_add(struct overlooked *overlooked, uint16_t node_id);
void overlooked_remove(struct overlooked *overlooked, uint16_t node_id);

#endif
