/*
 * What the codec's files share.
 *
 *     codec_peer.c         encoding and decoding, and all messages but one
 *     codec_peer_border.c  BORDER
 *     codec_peer_peek.c    the versions, which are read before anything else is
 *     codec_peer_type.c    names, descriptors, members
 */
#ifndef CONTROL_CODEC_PEER_INTERNAL_H
#define CONTROL_CODEC_PEER_INTERNAL_H

#include "control/codec_peer.h"

#include "peer.pb-c.h"

/* What the generated struct points to while it is packed. */
struct codec_peer_border {
	Shmnet__Peer__Border body;
	Shmnet__Peer__Nic nics[CONFIG_NICS_MAX];
	Shmnet__Peer__Nic *nic_list[CONFIG_NICS_MAX];
	char *announces[CONFIG_NETWORKS_MAX];
};

Shmnet__Peer__Border *codec_peer_fill_border(struct codec_peer_border *to,
					     const struct peer_border *from);
int codec_peer_take_border(const Shmnet__Peer__Border *from, struct peer_border *to,
			   const char **ret_why);

/* Fields that we don't know, in what it has in it. */
unsigned codec_peer_unknown_of_border(const Shmnet__Peer__Border *border);

#endif
