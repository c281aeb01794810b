/*
 * Channels of the daemon's world: SEQPACKET Unix sockets on the event loop, a
 * message a datagram, a descriptor along with it at times.
 *
 * Never waits and never sends more than the socket takes. Control thread.
 */
#ifndef CONTROL_WORLD_CHANNEL_H
#define CONTROL_WORLD_CHANNEL_H

#include "control/world.h"

#include <sys/un.h>

struct event_base;

/* Takes the fd, also on failure; nonblocking. */
int world_channel_new(struct event_base *base, int fd,
		      struct world_channel **ret_channel);

int world_channel_dial(struct event_base *base, const struct sockaddr_un *address,
		       struct world_channel **ret_channel);

/* As in struct world_ops. */
void world_channel_set_handler(struct world_channel *channel,
			       const struct world_channel_handler *handler, void *arg);
void world_channel_credentials(struct world_channel *channel,
			       struct world_credentials *ret);
int world_channel_send(struct world_channel *channel, const uint8_t *bytes, size_t length,
		       int fd);
bool world_channel_at_end(struct world_channel *channel);
void world_channel_close(struct world_channel *channel);

#endif
