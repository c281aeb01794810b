/*
 * The kernel that a node needs, by its config: what is older can't carry it at all. What
 * asks for more than this does without it on an older kernel.
 *
 * Asks uname(2), touches nothing. Any thread; shmnetctl uses it, too.
 */
#ifndef CONTROL_KERNEL_VERSION_H
#define CONTROL_KERNEL_VERSION_H

#include "control/config.h"

#include <stddef.h>

/* -ENOSYS, with words in `why`: this one is too old. */
int kernel_version_check(const struct node_config *config, char *why, size_t size);

/* The same of the kernel that calls itself `release`: "6.1.0-18-amd64". */
int kernel_version_check_release(const struct node_config *config, const char *release,
				 char *why, size_t size);

#endif
