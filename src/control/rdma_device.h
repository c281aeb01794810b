/*
 * The RDMA device of a node: finds it by the address that the node listens on, opens it,
 * and says in words why it can't.
 *
 * It is opened after the last change of the process's credentials, which the kernel
 * compares at each write(2) to it. Children of the node (dhcp) exec at once and have
 * nothing of it; that a fork doesn't part a device from its queues is seen to here.
 * Control thread; the context may be used by any.
 */
#ifndef CONTROL_RDMA_DEVICE_H
#define CONTROL_RDMA_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ibv_context;

#define RDMA_DEVICE_NAME_MAX 64
#define RDMA_DEVICE_WHY_MAX  512

struct rdma_device {
	struct ibv_context *context; /* NULL: not open */
	char name[RDMA_DEVICE_NAME_MAX];
	char path[256]; /* in sysfs, as long as it is there */
	unsigned port;
	uint8_t gid[16];
	uint32_t max_message; /* bytes */
};

/*
 * `name` is NULL for the first device with an active port that has a RoCEv2 GID for
 * `address`. On failure words of RDMA_DEVICE_WHY_MAX at `why`.
 */
int rdma_device_open(const char *name, const struct sockaddr *address,
		     struct rdma_device *ret_device, char *why);
void rdma_device_close(struct rdma_device *device); /* also one that isn't open */

/* False once it was removed; cheap enough for each second. */
bool rdma_device_is_there(const struct rdma_device *device);

/*
 * Is it as it was? -ENODEV and words if it was removed, its port is down or its address
 * is gone.
 */
int rdma_device_check(const struct rdma_device *device, char *why);

/* Why a file of /dev/infiniband can't be opened or used, which gave -errno. */
void rdma_device_explain(const char *node, int error, char *ret_words, size_t size);

/* The GID that belongs to an address. */
void rdma_gid_of(const struct sockaddr *address, uint8_t ret_gid[16]);

/*
 * May `bytes` more be locked? If not -ENOMEM and words with both numbers. Raises the
 * soft limit to the hard one.
 */
int rdma_memlock_check(uint64_t bytes, char *why, size_t size);

#endif
