/*
 * What a new config changes in the one that is in use: a list of changes, one per key,
 * each with the part of the node that has to do something about it.
 *
 * A fabric is the same if its kind is, a network if its name is; their order in the file
 * says nothing. What a running node can't take up is a change of RELOAD_RESTART: it stays
 * as it was, in the node and in the config in use. Nothing here knows the node. Control
 * thread.
 */
#ifndef CONTROL_RELOAD_H
#define CONTROL_RELOAD_H

#include "control/config.h"

#define RELOAD_KEY_MAX	   96
#define RELOAD_CHANGES_MAX 640

/* In the order in which they are done. */
enum reload_part {
	RELOAD_RESTART, /* none, while the node runs */
	RELOAD_SPIN,
	RELOAD_LIVENESS,
	RELOAD_UIDS,
	RELOAD_SEEDS,
	RELOAD_REMOVE,	  /* the network */
	RELOAD_ADDRESSES, /* of a local network */
	RELOAD_DISPATCH,  /* who gets new connections of a global one */
	RELOAD_ANNOUNCE,  /* where its addresses are announced */
	RELOAD_ADD,	  /* the network */
	RELOAD_NICS,	  /* that make the node a border */
	RELOAD_RENDER,	  /* the configuration of the routing protocol, not ours to do */
	RELOAD_PART_NUM_
};

struct reload_key;

struct reload_change {
	enum reload_part part;
	char name[RELOAD_KEY_MAX];    /* "networks.svc0.weight", "networks.lan1" */
	const struct reload_key *key; /* NULL: all of a fabric or network */
	unsigned old;		      /* its index in the config in use, or 0 */
	unsigned fresh;		      /* in the new one, or 0 */
};

struct reload {
	unsigned num;
	struct reload_change changes[RELOAD_CHANGES_MAX];
};

void reload_diff(const struct node_config *old, const struct node_config *fresh,
		 struct reload *ret_reload);

/*
 * The two configs exchange the values of the change's key, which it has; so a second call
 * takes the first one back.
 */
void reload_swap(struct node_config *old, struct node_config *fresh,
		 const struct reload_change *change);

#endif
