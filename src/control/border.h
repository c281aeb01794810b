/*
 * A border: a node that leads from the outside to the addresses of global networks, as
 * its NICs are there and have carrier [12], [50].
 *
 * Another program speaks OSPF for the host, and is told by what the kernel shows: for
 * each address that this host leads to there is a route in the table main, straight out
 * of the network's port, that it takes over. Nothing goes that way: what local programs
 * send is caught by a rule before it, and what NICs bring by the packet filter. With the
 * route the address is withdrawn; of a killed node it is, as the port has no carrier.
 *
 * FRRouting takes the address on the port for the better route: it announces what runs.
 * So the port of a network that this node is drained for, and which has to go on, is
 * dormant meanwhile.
 *
 * Owns these routes, and knows the NICs. Who is drained or paused is for the caller to
 * say. Logs nothing. Control thread.
 */
#ifndef CONTROL_BORDER_H
#define CONTROL_BORDER_H

#include "control/codec_peer.h"
#include "control/config.h"
#include "control/kernel.h"

#include <stdbool.h>

#define BORDER_TABLE	254 /* main */
#define BORDER_PROTOCOL 83  /* as all that is shmnet's */

/* What keeps a border from leading to a network: the first that holds. */
enum border_bar {
	BORDER_BAR_NONE,
	BORDER_BAR_INSIDE, /* it is no border, or the network isn't routed */
	BORDER_BAR_NIC,
	BORDER_BAR_PAUSED,
	BORDER_BAR_DRAINED,
	BORDER_BAR_PORT,  /* its interface is gone, or has no carrier */
	BORDER_BAR_ROUTE, /* the kernel refused */
	BORDER_BAR_NUM_
};

/* The end of a sentence that begins with the node: "is drained". */
const char *border_bar_words(enum border_bar bar);

struct border;

/*
 * With the NICs as they are. Routes of an earlier life that this config doesn't want are
 * removed, so the ports have to be there. All outlives the handle.
 */
int border_new(struct kernel *kernel, const struct node_config *config,
	       struct border **ret_border);

/* The routes stay, as they do in a kill. Accepts NULL. */
void border_free(struct border *border);

/* The NICs of the config, or all that is known of them, may be others now. */
void border_look(struct border *border);

/* Is it one of the NICs, or was it? Then that is known as it is now. */
bool border_take_link(struct border *border, const struct kernel_link *link);

/*
 * `bar` is what the caller knows of the network: from BORDER_BAR_NONE on the routes are
 * there, put back if somebody removed them, if nothing else is in the way.
 */
void border_set(struct border *border, unsigned network, enum border_bar bar);

/* What keeps it from that, as of the last border_set(). */
enum border_bar border_bar(const struct border *border, unsigned network);

/* As it is told to others. */
void border_describe(const struct border *border, struct peer_border *ret_border);

/* What is wrong here, with the remedy. */
void border_each_reason(const struct border *border,
			void (*each)(const char *words, void *arg), void *arg);

#endif
