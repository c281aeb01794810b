/*
 * See plane.h. Control's half of what travels as commands; the worker's is command.c,
 * where it is said which thread does what.
 */
#include "data/plane_internal.h"

#include <unistd.h>

/* ---- pings ---- */

_Static_assert(PLANE_PINGS_MAX == COMMAND_PINGS_MAX, "said to others, and what is");

int plane_ping_link(struct plane *plane, struct link *link, uint64_t token)
{
	int ret = command_ask(link, token);

	if (ret == 0)
		worker_send_commands(plane->worker);
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

/* ---- messages ---- */

int plane_send_message(struct plane *plane, struct link *link, const uint8_t *bytes,
		       size_t length)
{
	int ret = command_say(link, bytes, length);

	if (ret == 0)
		worker_send_commands(plane->worker);
	return ret;
}

bool plane_next_message(struct plane *plane, struct plane_message *ret_message)
{
	if (plane->messages_in_row == PLANE_MESSAGES_MAX) {
		plane->messages_in_row = 0;
		plane_come_again(plane);
		return false;
	}
	for (unsigned i = 0; i < plane->num_links; i++) {
		struct link *link =
			plane->links[plane->next_speaker++ % plane->num_links];

		ret_message->length = command_hear(link, ret_message->bytes);
		if (ret_message->length == 0)
			continue;
		ret_message->link = link;
		plane->messages_in_row++;
		return true;
	}
	plane->messages_in_row = 0;
	return false;
}
