/*
 * What the process gives up before it does anything else: capabilities that its config
 * has no use for, new privileges for good, core dumps, and system calls that it never
 * makes.
 *
 * Called by main() once, after the config was read and before there is a second thread;
 * nothing of it can be taken back. Says in the log what is kept.
 */
#ifndef CONTROL_CONFINE_H
#define CONTROL_CONFINE_H

#include "control/config.h"

#include <stdbool.h>

/*
 * Before confine(), to clean up as root what another user's node left: becomes the user
 * whose runtime directory it is, with all capabilities. What that user owns is not ours
 * otherwise. -errno; logs why.
 */
int confine_to_owner(const struct node_config *config);

/* -errno; logs why. */
int confine(const struct node_config *config);

/*
 * Whether a config that comes later may have nodes of other users if this one had not.
 * What else takes privileges needs a restart anyway.
 */
bool confine_permits_uids(void);

#endif
