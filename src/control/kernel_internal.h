/*
 * What kernel.c gives the other files of kernel.h: requests, addresses in bulk, and its
 * place for words.
 */
#ifndef CONTROL_KERNEL_INTERNAL_H
#define CONTROL_KERNEL_INTERNAL_H

#include "control/kernel.h"

#include <stddef.h>

struct nlmsghdr;

/* What a dump gave; free(items). */
struct kernel_list {
	size_t item_size;
	size_t num;
	size_t room;
	char *items;
};

/* Of one message of the answer: 0 or -errno. */
typedef int (*kernel_answer_fn)(const struct nlmsghdr *header, void *arg);

struct kernel_held {
	struct config_address address;
	int index;	   /* of the interface that holds it */
	bool is_permanent; /* it doesn't expire */
};

/* 4 or 16 bytes */
size_t kernel_address_size(int family);

/* -ENOMEM. */
int kernel_list_add(struct kernel_list *list, const void *item);

/* The one request that is under construction; it has room for REQUEST_SIZE bytes. */
struct nlmsghdr *kernel_start_request(struct kernel *kernel, uint16_t type,
				      uint16_t flags);

/* Sends it and waits for the end of the answer; `each` may be NULL. */
int kernel_exchange(struct kernel *kernel, kernel_answer_fn each, void *arg);

/* The same for dumps; each() gets the list, which is made anew by each try. */
int kernel_dump(struct kernel *kernel, kernel_answer_fn each, struct kernel_list *list);

/* Returns `error`; kernel_last_error() will say what the C library says of it. */
int kernel_fail(struct kernel *kernel, int error);

/* Returns `error`; kernel_last_error() will say this. */
int kernel_fail_saying(struct kernel *kernel, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Without regard to the prefix. */
bool kernel_same_address(const struct config_address *a, const struct config_address *b);

/* Of all interfaces; AF_UNSPEC: both families. free() what it gives (NULL if none). */
int kernel_dump_addresses(struct kernel *kernel, int family,
			  struct kernel_held **ret_held, size_t *ret_num);

/*
 * Adds it, or makes it stay if it is there and would expire. `is_shared`: others have
 * it, too, and nobody is asked whether they do.
 */
int kernel_keep_address(struct kernel *kernel, int index,
			const struct config_address *address, bool is_shared);

/*
 * An IPv4 address that leaves the interface takes along those of its subnet that
 * were added after it, unless this has been called. The kernel calls it a change
 * of the interface even if it was set before.
 */
int kernel_promote_secondaries(struct kernel *kernel, int index);

#endif
