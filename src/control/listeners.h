/*
 * The list of what listens for a global network's addresses: sorted, and each entry
 * once, whatever number of sockets shares it (SO_REUSEPORT). Two lists are equal if
 * their bytes are. Control thread.
 */
#ifndef CONTROL_LISTENERS_H
#define CONTROL_LISTENERS_H

#include "control/listener.h"
#include "control/sockets.h"

/* *ret_listeners is for free(), NULL if there are none. -errno as sock_diag says. */
int listeners_read(struct sockets *sockets, const struct sockets_scope *scope,
		   struct listener **ret_listeners, unsigned *ret_num);

/* Sorts in place and joins those that differ in the families only. Returns how many
 * are left. */
unsigned listeners_sort(struct listener *listeners, unsigned num);

#endif
