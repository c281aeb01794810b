/*
 * Channels between nodes of one machine: SEQPACKET Unix sockets on the event loop, a
 * message a datagram, a descriptor along with it at times. A kind of channel.h.
 *
 * Never waits and never sends more than the socket takes. Control thread.
 */
#ifndef CONTROL_CHANNEL_SHM_H
#define CONTROL_CHANNEL_SHM_H

#include "control/world.h"

#include <sys/un.h>

struct event_base;

/* Takes the fd, also on failure; nonblocking. */
int channel_shm_new(struct event_base *base, int fd, struct world_channel **ret_channel);

int channel_shm_dial(struct event_base *base, const struct sockaddr_un *address,
		     struct world_channel **ret_channel);

#endif
