/* See command.h. */
#include "data/command.h"

#include "base/clock.h"
#include "data/link.h"

#include <shmnet/command.h>

#include <errno.h>
#include <string.h>

/* ---- control ---- */

int command_ask(struct link *link, uint64_t token)
{
	for (unsigned i = 0; i < COMMAND_PINGS_MAX; i++) {
		struct command_ping *ping = &link->commands.pings[i];

		if (ping->token)
			continue;
		__atomic_store_n(&ping->token, token, __ATOMIC_RELEASE); /* A */
		return 0;
	}
	return -EBUSY;
}

static void free_slot(struct command_ping *ping)
{
	__atomic_store_n(&ping->token, 0, __ATOMIC_RELEASE); /* C */
}

bool command_forget(struct link *link, uint64_t token)
{
	for (unsigned i = 0; i < COMMAND_PINGS_MAX; i++) {
		struct command_ping *ping = &link->commands.pings[i];

		if (ping->token != token)
			continue;
		free_slot(ping);
		return true;
	}
	return false;
}

bool command_take_answer(struct link *link, uint64_t *ret_token, uint64_t *ret_time_ns)
{
	for (unsigned i = 0; i < COMMAND_PINGS_MAX; i++) {
		struct command_ping *ping = &link->commands.pings[i];

		if (!ping->token ||
		    __atomic_load_n(&ping->done, __ATOMIC_ACQUIRE) != ping->token) /* B */
			continue;
		*ret_token = ping->token;
		*ret_time_ns = __atomic_load_n(&ping->time_ns, __ATOMIC_RELAXED);
		free_slot(ping);
		return true;
	}
	return false;
}

/* ---- worker ---- */

/* 0; -ENOBUFS if there is no room; -EPROTO, and the link rests. */
static int submit(struct link *link, uint16_t type, uint64_t token)
{
	const struct shmnet_command_ping command = {
		.header = {.type = type, .length = sizeof(command.token)},
		.token = token,
	};
	uint8_t *place;
	int ret = shmnet_ring_reserve(&link->tx, sizeof(command), SHMNET_RECORD_COMMAND,
				      &place);

	if (ret == -EPROTO)
		link_fail(link, ret);
	if (ret < 0)
		return ret;
	memcpy(place, &command, sizeof(command));
	shmnet_ring_submit(&link->tx, sizeof(command), SHMNET_RECORD_COMMAND);
	link->tx_pending = true;
	return 0;
}

void command_send_pings(struct link *link)
{
	for (unsigned i = 0; i < COMMAND_PINGS_MAX; i++) {
		struct command_ping *ping = &link->commands.pings[i];
		uint64_t token = __atomic_load_n(&ping->token, __ATOMIC_ACQUIRE); /* A */

		if (!token || token == ping->sent || link->error)
			continue;
		/* Without room it's lost, as a frame is: whoever asked knows when. */
		ping->sent = token;
		ping->sent_ns = clock_now_ns();
		submit(link, SHMNET_COMMAND_PING, token);
	}
}

/* False: the peer has not read what it was answered before. */
static bool may_answer(struct link *link)
{
	struct command_state *state = &link->commands;
	int ret;

	if (state->answers < COMMAND_ANSWERS_MAX)
		return true;
	ret = shmnet_ring_update_tail(&link->tx);
	if (ret < 0)
		link_fail(link, ret);
	if (ret < 0 || link->tx.tail < state->answered_until)
		return false;
	state->answers = 0;
	return true;
}

static void receive_ping(struct link *link, uint64_t token)
{
	struct command_state *state = &link->commands;

	if (state->is_mute)
		return;
	if (!may_answer(link) || submit(link, SHMNET_COMMAND_PONG, token) < 0) {
		counter_add(&link->counters.pings_unanswered, 1);
		return;
	}
	counter_add(&link->counters.pings_answered, 1);
	state->answers++;
	state->answered_until = link->tx.head;
}

/* The slot that was sent with this token and still waits for its answer. */
static struct command_ping *find_ping(struct link *link, uint64_t token)
{
	for (unsigned i = 0; i < COMMAND_PINGS_MAX; i++) {
		struct command_ping *ping = &link->commands.pings[i];

		if (ping->sent == token && ping->done != token &&
		    __atomic_load_n(&ping->token, __ATOMIC_ACQUIRE) == token) /* C */
			return ping;
	}
	return NULL;
}

static void receive_pong(struct link *link, uint64_t token)
{
	struct command_ping *ping = token ? find_ping(link, token) : NULL;

	if (!ping) {
		counter_add(&link->counters.pongs_ignored, 1);
		return;
	}
	__atomic_store_n(&ping->time_ns, clock_now_ns() - ping->sent_ns,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&ping->done, token, __ATOMIC_RELEASE); /* B */
	link->commands.has_news = true;
}

int command_receive(struct link *link, const struct shmnet_record *record)
{
	struct shmnet_command_ping command;

	if (record->length != sizeof(command) || record->flags & SHMNET_RECORD_CAST)
		return -EPROTO;
	memcpy(&command, record->payload, sizeof(command));
	if (command.header.zero || command.header.length != sizeof(command.token))
		return -EPROTO;
	switch (command.header.type) {
	case SHMNET_COMMAND_PING:
		receive_ping(link, command.token);
		return 0;
	case SHMNET_COMMAND_PONG:
		receive_pong(link, command.token);
		return 0;
	default:
		return -EPROTO;
	}
}
