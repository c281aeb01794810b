/*
 * See plane.h. Control's half of what travels as commands; the worker's is command.c,
 * where it is said which thread does what.
 */
#include "data/plane_internal.h"

/* ---- pings ---- */

_Static_assert(PLANE_PINGS_MAX == COMMAND_PINGS_MAX, "said to others, and what is");

int plane_ping_link(struct plane *plane, struct link *link, uint64_t token)
{
	int ret = command_ask(link, token);

	if (ret == 0)
		worker_send_pings(plane->worker);
	return ret;
}

void plane_forget_ping(struct plane *plane, uint64_t token)
{
	for (unsigned i = 0; i < plane->num_links; i++) {
		if (command_forget(plane->links[i], token))
			return;
	}
}

bool plane_next_pong(struct plane *plane, struct plane_pong *ret_pong)
{
	for (unsigned i = 0; i < plane->num_links; i++) {
		if (command_take_answer(plane->links[i], &ret_pong->token,
					&ret_pong->time_ns))
			return true;
	}
	return false;
}
