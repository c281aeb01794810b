/* What kernel.c gives kernel_port.c: addresses in bulk, and its place for words. */
#ifndef CONTROL_KERNEL_INTERNAL_H
#define CONTROL_KERNEL_INTERNAL_H

#include "control/kernel.h"

#include <stddef.h>

struct kernel_held {
	struct config_address address;
	int index;	   /* of the interface that holds it */
	bool is_permanent; /* it doesn't expire */
};

/* Returns `error`; kernel_last_error() will say this. */
int kernel_fail_saying(struct kernel *kernel, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Without regard to the prefix. */
bool kernel_same_address(const struct config_address *a, const struct config_address *b);

/* Of all interfaces; AF_UNSPEC: both families. free() what it gives (NULL if none). */
int kernel_dump_addresses(struct kernel *kernel, int family,
			  struct kernel_held **ret_held, size_t *ret_num);

/* Adds it, or makes it stay if it is there and would expire. */
int kernel_keep_address(struct kernel *kernel, int index,
			const struct config_address *address);

/*
 * An IPv4 address that leaves the interface takes along those of its subnet that
 * were added after it, unless this has been called. The kernel calls it a change
 * of the interface even if it was set before.
 */
int kernel_promote_secondaries(struct kernel *kernel, int index);

#endif
