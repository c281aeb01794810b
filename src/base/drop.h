/*
 * Why a frame was not delivered. Every record is delivered or counted under
 * exactly one of these, on exactly one side: per (sender, receiver, network)
 *
 *     sent = delivered + drops at the sender + drops at the receiver.
 *
 * The numbers are those of enum DropReason in proto/ctl.proto; codec.c asserts
 * that.
 */
#ifndef BASE_DROP_H
#define BASE_DROP_H

#include <stdbool.h>

enum drop_reason {
	/* At the sender, before a receiver is known; counted on the network. */
	DROP_RUNT,	      /* shorter than an Ethernet header */
	DROP_FOREIGN_SOURCE,  /* source MAC is not this port's: bridged or macvlan */
	DROP_TAP_COMMAND,     /* the host forged the command bit */
	DROP_UNKNOWN_UNICAST, /* destination MAC is not a node of this network */
	DROP_NO_PEER,	      /* the destination node is not up */
	DROP_BAD_OFFLOAD,     /* vnet header and frame contradict each other */

	/* At the sender, for one receiver; counted on the link. */
	DROP_RING_FULL,
	DROP_PEER_DOWN, /* in the ring when the receiver went away */
	DROP_MISROUTED, /* steered into another peer's queue; counted on the network */

	/* At the receiver, for one sender; counted on the link. drop_reason_is_sent()
	 * knows the first and the last one. */
	DROP_BAD_LENGTH,
	DROP_BAD_SOURCE,      /* source MAC does not name the ring's owner */
	DROP_BAD_DESTINATION, /* neither this node nor a cast */
	DROP_BAD_HEADER,      /* vnet header does not fit our own parse, or our TAP */
	DROP_OVERSIZE,	      /* longer than this network's MTU allows */
	DROP_TAP_DOWN,	      /* the TAP refused it: not up */
	DROP_TAP_ERROR,	      /* the TAP refused it for another reason */
	DROP_CAST_LOST,	      /* gone from the cast ring before it was read */

	/* At the sender, for a global address, before a receiver is known; counted on
	 * the network. */
	DROP_GLOBAL_NEIGH, /* ARP or neighbour discovery about a global address */
	DROP_BAD_PACKET,   /* impossible IP headers, or addresses that nobody may have */
	DROP_BAD_FRAGMENT, /* tiny, overlapping, too long, or one of too many */
	DROP_NO_LISTENER,  /* would open a connection, and no node listens */
	DROP_NO_OWNER,	   /* belongs to a connection whose node is not up */
	DROP_PARK_FULL,	   /* no room to wait for a decision */
	DROP_PARK_LATE,	   /* the decision didn't come in time */
	DROP_LOST_FIRST,   /* a fragment whose first one didn't come in time */

	/*
	 * The network is paused. Here: counted on the network for what the host sends, on
	 * the link for what comes nevertheless. At the receiver: on the link.
	 */
	DROP_PAUSED,

	DROP_NUM_
};

/*
 * Counted at the sender (true) or at the receiver. The numbers are others' too, so
 * those of the receiver are a range in the middle. DROP_PAUSED is of either side: whoever
 * counts it at the receiver counts it apart.
 */
static inline bool drop_reason_is_sent(unsigned reason)
{
	return reason < DROP_BAD_LENGTH || reason > DROP_CAST_LOST;
}

/* "ring-full" and so on; NULL out of range. */
const char *drop_reason_name(unsigned reason);

#endif
