/* See command.h. */
#include "data/command.h"

#include "base/clock.h"
#include "data/link.h"

#include <errno.h>
#include <string.h>

_Static_assert(64 * (COMMAND_PINGS_MAX + COMMAND_ANSWERS_MAX) <= COMMAND_PING_ROOM,
	       "room for all pings and answers");
_Static_assert(sizeof(struct shmnet_command) + SHMNET_COMMAND_MESSAGE_MAX <=
		       SHMNET_RING_COMMAND_MAX,
	       "fits into a record");

/* ---- control ---- */

int command_open(struct link *link)
{
	int ret = post_init(&link->commands.outbox, COMMAND_POST_SIZE);

	if (ret == 0)
		ret = post_init(&link->commands.inbox, COMMAND_POST_SIZE);
	return ret;
}

void command_close(struct link *link)
{
	post_close(&link->commands.outbox);
	post_close(&link->commands.inbox);
}

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

int command_say(struct link *link, const uint8_t *bytes, size_t length)
{
	if (length > SHMNET_COMMAND_MESSAGE_MAX)
		return -EMSGSIZE;
	return post_put(&link->commands.outbox, bytes, length);
}

size_t command_hear(struct link *link, uint8_t ret_bytes[SHMNET_COMMAND_MESSAGE_MAX])
{
	ssize_t length =
		post_take(&link->commands.inbox, ret_bytes, SHMNET_COMMAND_MESSAGE_MAX);

	return length < 0 ? 0 : (size_t)length; /* none is longer: receive_message() */
}

/* ---- worker: out ---- */

/*
 * A command of `length` bytes behind its header, which leaves `spare` bytes of the ring
 * to others. 0; -ENOBUFS if there is no room; -EPROTO, and the link rests.
 */
static int submit(struct link *link, uint16_t type, const void *bytes, uint32_t length,
		  uint32_t spare)
{
	const struct shmnet_command header = {.type = type, .length = length};
	uint32_t size = (uint32_t)sizeof(header) + length;
	uint8_t *place;
	int ret = shmnet_ring_reserve(&link->tx, size + spare, SHMNET_RECORD_COMMAND,
				      &place);

	if (ret == -EPROTO)
		link_fail(link, ret);
	if (ret < 0)
		return ret;
	memcpy(place, &header, sizeof(header));
	memcpy(place + sizeof(header), bytes, length);
	shmnet_ring_submit(&link->tx, size, SHMNET_RECORD_COMMAND);
	link->tx_pending = true;
	return 0;
}

static int submit_token(struct link *link, uint16_t type, uint64_t token)
{
	return submit(link, type, &token, sizeof(token), 0);
}

static void send_pings(struct link *link)
{
	for (unsigned i = 0; i < COMMAND_PINGS_MAX; i++) {
		struct command_ping *ping = &link->commands.pings[i];
		uint64_t token = __atomic_load_n(&ping->token, __ATOMIC_ACQUIRE); /* A */

		if (!token || token == ping->sent || link->error)
			continue;
		/* Without room it's lost, as a frame is: whoever asked knows when. */
		ping->sent = token;
		ping->sent_ns = clock_now_ns();
		submit_token(link, SHMNET_COMMAND_PING, token);
	}
}

static void send_message(struct link *link, const uint8_t *bytes, uint32_t length)
{
	if (submit(link, SHMNET_COMMAND_MESSAGE, bytes, length, COMMAND_PING_ROOM) < 0)
		counter_add(&link->counters.messages_lost, 1);
	else
		counter_add(&link->counters.messages_sent, 1);
}

bool command_send(struct link *link)
{
	uint8_t bytes[SHMNET_COMMAND_MESSAGE_MAX];
	ssize_t length;

	send_pings(link);
	for (unsigned i = 0; i < COMMAND_BURST; i++) {
		if (link->error)
			return false;
		length = post_take(&link->commands.outbox, bytes, sizeof(bytes));
		if (length <= 0)
			return false;
		send_message(link, bytes, (uint32_t)length);
	}
	return true;
}

/* ---- worker: in ---- */

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
	if (!may_answer(link) || submit_token(link, SHMNET_COMMAND_PONG, token) < 0) {
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

/* The bytes lie in memory that the peer writes to: they are copied, not looked at. */
static int receive_message(struct link *link, const uint8_t *bytes, uint32_t length)
{
	struct command_state *state = &link->commands;

	if (length == 0 || length > SHMNET_COMMAND_MESSAGE_MAX)
		return -EPROTO;
	if (state->is_mute || post_put(&state->inbox, bytes, length) < 0) {
		counter_add(&link->counters.messages_lost, 1);
		return 0;
	}
	counter_add(&link->counters.messages_received, 1);
	state->has_news = true;
	return 0;
}

static int receive_token(struct link *link, const uint8_t *bytes, uint32_t length,
			 void (*receive)(struct link *link, uint64_t token))
{
	uint64_t token;

	if (length != sizeof(token))
		return -EPROTO;
	memcpy(&token, bytes, sizeof(token));
	receive(link, token);
	return 0;
}

int command_receive(struct link *link, const struct shmnet_record *record)
{
	const uint8_t *bytes = record->payload + sizeof(struct shmnet_command);
	struct shmnet_command header;

	if (record->length < sizeof(header) || record->flags & SHMNET_RECORD_CAST)
		return -EPROTO;
	memcpy(&header, record->payload, sizeof(header));
	if (header.zero || header.length != record->length - sizeof(header))
		return -EPROTO;
	switch (header.type) {
	case SHMNET_COMMAND_PING:
		return receive_token(link, bytes, header.length, receive_ping);
	case SHMNET_COMMAND_PONG:
		return receive_token(link, bytes, header.length, receive_pong);
	case SHMNET_COMMAND_MESSAGE:
		return receive_message(link, bytes, header.length);
	default:
		return -EPROTO;
	}
}
