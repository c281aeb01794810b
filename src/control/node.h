/*
 * The node: everything in its order, started, run until a signal, and taken
 * down in reverse.
 *
 * Owns the event base, the adapters, the plane, the world, the membership and the
 * control socket. Called by main on its thread, which is the control thread.
 * Says in the log what went wrong.
 */
#ifndef CONTROL_NODE_H
#define CONTROL_NODE_H

#include "control/config.h"

struct node;

/*
 * Brings the node up; on failure nothing of it is left, but for a TAP that was
 * adopted: it stays for the next start, with what was configured until then. The
 * config outlives the node, and is the node's to change: see node_reload.c.
 */
int node_new(struct node_config *config, struct node **ret_node);

/*
 * The same as the successor of a node of this name that runs, which ends then and leaves
 * its TAPs with their carriers and what is set up for them. What can be checked while it
 * runs is checked first: if that fails nothing has happened to it. Without one: a start.
 */
int node_succeed(struct node_config *config, struct node **ret_node);

/* Runs until SIGINT or SIGTERM; SIGHUP loads the config again. 0, or -errno if the node
 * had to give up. */
int node_run(struct node *node);

/* Leaves nothing behind, unless after SIGTERM there is a next life. Accepts NULL. */
void node_free(struct node *node);

/*
 * Removes what a killed node of this config left: TAPs, sockets, locks. -EADDRINUSE
 * if it is alive, -EBUSY if another process holds one of its TAPs.
 */
int node_cleanup(struct node_config *config);

#endif
