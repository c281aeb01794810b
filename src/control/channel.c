/* See channel.h. */
#include "control/channel.h"

#include <string.h>
#include <unistd.h>

/* ---- for its owner ---- */

void world_channel_set_handler(struct world_channel *channel,
			       const struct world_channel_handler *handler, void *arg)
{
	channel->handler = handler;
	channel->arg = arg;
	if (handler && channel->ops->listening)
		channel->ops->listening(channel);
}

void world_channel_credentials(struct world_channel *channel,
			       struct world_credentials *ret)
{
	channel->ops->credentials(channel, ret);
}

bool world_channel_is_remote(const struct world_channel *channel)
{
	return channel->ops->is_remote;
}

int world_channel_send(struct world_channel *channel, const uint8_t *bytes, size_t length,
		       int fd)
{
	return channel->ops->send(channel, bytes, length, fd);
}

bool world_channel_at_end(struct world_channel *channel)
{
	return channel->is_ended || channel->ops->at_end(channel);
}

const char *world_channel_why(const struct world_channel *channel)
{
	return channel->ops->why ? channel->ops->why(channel) : "";
}

void world_channel_key(const struct world_channel *channel,
		       uint8_t ret[CHANNEL_KEY_BYTES])
{
	memset(ret, 0, CHANNEL_KEY_BYTES);
	if (channel->ops->key)
		channel->ops->key(channel, ret);
}

void world_channel_close(struct world_channel *channel)
{
	channel->handler = NULL;
	if (channel->is_calling)
		channel->close_next = true;
	else
		channel->ops->close(channel);
}

/* ---- for its kind ---- */

/* The handler returned. False if it closed the channel. */
static bool has_called(struct world_channel *channel)
{
	channel->is_calling = false;
	if (!channel->close_next)
		return true;
	channel->ops->close(channel);
	return false;
}

bool channel_deliver(struct world_channel *channel, const uint8_t *bytes, size_t length,
		     struct world_parcel *parcel)
{
	channel->is_calling = true;
	if (channel->handler)
		channel->handler->message(channel->arg, bytes, length, parcel);
	if (parcel->fd >= 0)
		close(parcel->fd);
	parcel->fd = -1;
	return has_called(channel);
}

bool channel_deliver_end(struct world_channel *channel, int error)
{
	channel->is_ended = true;
	channel->is_calling = true;
	if (channel->handler)
		channel->handler->closed(channel->arg, error);
	return has_called(channel);
}
