/* See overlooked.h. */
#include "control/overlooked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_NS 1000000000ull

struct overlooked {
	struct world *world;
	struct world_timer *timer;
	void (*show)(void *arg, uint16_t node_id);
	void *arg;
	unsigned num;
	uint16_t ids[OVERLOOKED_MAX];
};

static void on_timer(void *arg)
{
	struct overlooked *overlooked = arg;
	unsigned num = overlooked->num;
	uint16_t ids[OVERLOOKED_MAX];

	memcpy(ids, overlooked->ids, sizeof(ids));
	overlooked->num = 0;
	for (unsigned i = 0; i < num; i++)
		overlooked->show(overlooked->arg, ids[i]);
}

int overlooked_new(struct world *world, void (*show)(void *arg, uint16_t node_id),
		   void *arg, struct overlooked **ret_overlooked)
{
	struct overlooked *overlooked = calloc(1, sizeof(*overlooked));

	if (!overlooked)
		return -ENOMEM;
	overlooked->world = world;
	overlooked->show = show;
	overlooked->arg = arg;
	overlooked->timer = world->ops->timer_new(world, on_timer, overlooked);
	if (!overlooked->timer) {
		free(overlooked);
		return -ENOMEM;
	}
	*ret_overlooked = overlooked;
	return 0;
}

void overlooked_free(struct overlooked *overlooked)
{
	if (!overlooked)
		return;
	overlooked->world->ops->timer_free(overlooked->timer);
	free(overlooked);
}

void overlooked_add(struct overlooked *overlooked, uint16_t node_id)
{
	overlooked_remove(overlooked, node_id);
	if (overlooked->num == OVERLOOKED_MAX)
		return;
	overlooked->ids[overlooked->num++] = node_id;
	overlooked->world->ops->timer_set(overlooked->timer, AGAIN_NS);
}

void overlooked_remove(struct overlooked *overlooked, uint16_t node_id)
{
	for (unsigned i = 0; i < overlooked->num; i++) {
		if (overlooked->ids[i] == node_id)
			overlooked->ids[i--] = overlooked->ids[--overlooked->num];
	}
}
