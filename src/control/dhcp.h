/*
 * An address by DHCP [27]: the host's own client, run on a network's TAP.
 *
 * One client per network, in the foreground, from the network's first carrier to the end
 * of the node. What it says goes to the log under its name; when it ends it is started
 * again. The address is set by the client (its script), by the host's rules, and so are
 * routes and name servers if the DHCP server names some. If the node is killed, the
 * client is killed too, and releases nothing: the address stays on the TAP for the next
 * life, whose client asks for it again.
 *
 * Owns the child process and the client's lease file. Control thread.
 */
#ifndef CONTROL_DHCP_H
#define CONTROL_DHCP_H

#include "control/config.h"

#include <event2/event.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct dhcp;
struct dhcp_kind;
struct netns;

/* The program, found once per node. */
struct dhcp_program {
	const struct dhcp_kind *kind; /* what we know of it */
	char path[PATH_MAX];
	char *const
		*arguments; /* of the config, the path first; NULL: those of the kind */
};

struct dhcp_options {
	struct event_base *base;
	const struct dhcp_program *program; /* outlives the dhcp, as the texts do */
	const char *network;
	const char *interface;
	const struct netns *netns; /* of the interface; outlives the dhcp, too */
	const char *directory;	   /* for the lease file */
	const char *node;
};

/*
 * The config's client, else the first one on PATH. -ENOENT or -EACCES, and in words what
 * is missing and how to get it. Starts nothing.
 */
int dhcp_find_program(const struct node_config *config, struct dhcp_program *ret_program,
		      char *ret_error, size_t error_size);

int dhcp_new(const struct dhcp_options *options, struct dhcp **ret_dhcp);

/* The network has a live peer: the first time the client starts, then it renews. */
void dhcp_carrier(struct dhcp *dhcp);

/* Tells the client to release the address and to end, and starts none again. */
void dhcp_stop(struct dhcp *dhcp);

/* Has it, or what releases its address, not ended yet? */
bool dhcp_is_running(const struct dhcp *dhcp);

/* dhcp_free() is to be as if the node was killed: the address and its lease stay. */
void dhcp_leave(struct dhcp *dhcp);

/* Kills what still runs. Accepts NULL. */
void dhcp_free(struct dhcp *dhcp);

/* Removes what a killed node's client left in the directory. */
void dhcp_remove_state(const char *directory, const char *node, const char *interface);

/* The client's name, for words. */
const char *dhcp_program_name(const struct dhcp_program *program);

#endif
