/* See offer_shm.h. */
#include "control/offer_shm.h"

#include "base/memfd.h"
#include "data/fabric.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct shm_conn {
	struct world_conn conn; /* first */
	int receive_fd;		/* of our bell; the fabric's once there is one: -1 */
	int send_fd;		/* the other end of it, to be sent; -1 likewise */
};

struct shm_ring {
	struct world_ring ring; /* first */
	int fd;			/* to be sent; -1 for a peer's, or if that is over */
};

static struct shm_conn *shm_conn(const struct world_conn *conn)
{
	return (struct shm_conn *)(uintptr_t)conn;
}

static struct shm_ring *shm_ring(const struct world_ring *ring)
{
	return (struct shm_ring *)(uintptr_t)ring;
}

static struct offer *offer_of(const struct world_conn *conn)
{
	return conn->kind->offer;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- connections ---- */

static int shm_conn_new(struct offer_fabric *kind, struct world_channel *channel,
			uint16_t peer_id, bool active, struct world_conn **ret_conn,
			const char **ret_why)
{
	struct shm_conn *shm = calloc(1, sizeof(*shm));
	struct offer *offer = kind->offer;
	int ret = -ENOMEM;

	(void)channel;
	(void)peer_id;
	(void)active;
	if (shm)
		ret = fabric_shm_bell(&shm->receive_fd, &shm->send_fd);
	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "no doorbell: %s",
			 strerror(-ret));
		*ret_why = offer->why;
		free(shm);
		return ret;
	}
	*ret_conn = &shm->conn;
	return 0;
}

static void shm_conn_offer(const struct world_conn *conn, struct world_offer *ret)
{
	ret->fd = shm_conn(conn)->send_fd;
}

static int get_socket_option(int fd, int option)
{
	socklen_t length = sizeof(int);
	int value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) < 0 ? -1 : value;
}

/* -EPROTO for what is the peer's fault. */
static int check_bell(int fd, size_t length, const char **ret_why)
{
	if (length) {
		*ret_why = "it came with bytes that say nothing on one machine";
		return -EPROTO;
	}
	if (get_socket_option(fd, SO_DOMAIN) != AF_UNIX ||
	    get_socket_option(fd, SO_TYPE) != SOCK_SEQPACKET) {
		*ret_why = "its descriptor is not a SEQPACKET socket";
		return -EPROTO;
	}
	return 0;
}

/* Takes the fd. Nobody but the peer has the end that it rings us by from now on. */
static int connect_bells(struct shm_conn *shm, int fd, const char **ret_why)
{
	struct offer *offer = offer_of(&shm->conn);
	struct fabric *fabric;
	int ret, receive_fd = shm->receive_fd;

	shm->receive_fd = -1;
	fd_close(&shm->send_fd);
	ret = fabric_shm_new(receive_fd, fd, &fabric);
	if (ret == 0) {
		ret = offer_set_fabric(&shm->conn, fabric);
		if (ret < 0)
			fabric_close(fabric);
	}
	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "can't use it: %s",
			 strerror(-ret));
		*ret_why = offer->why;
	}
	return ret;
}

static int shm_conn_accept(struct world_conn *conn, struct world_parcel *parcel,
			   const uint8_t *bytes, size_t length, const char **ret_why)
{
	int ret, fd = parcel->fd;

	(void)bytes;
	parcel->fd = -1;
	ret = check_bell(fd, length, ret_why);
	if (ret < 0) {
		fd_close(&fd);
		return ret;
	}
	return connect_bells(shm_conn(conn), fd, ret_why);
}

/* There is nothing to wait for: what is in the memory is found when we look. */
static bool shm_conn_is_ready(const struct world_conn *conn)
{
	(void)conn;
	return true;
}

static const char *shm_conn_fabric(const struct world_conn *conn)
{
	(void)conn;
	return "shm";
}

static void shm_conn_free(struct world_conn *conn)
{
	fd_close(&shm_conn(conn)->receive_fd);
	fd_close(&shm_conn(conn)->send_fd);
	free(shm_conn(conn));
}

/* ---- rings ---- */

static int ring_map(struct offer *offer, struct world_ring *ring, int fd, uint64_t size,
		    const char **ret_why)
{
	int ret = ring_map_open(fd, size, &ring->map);

	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "can't map %.1f MiB: %s",
			 offer_mebibytes(2 * size), strerror(-ret));
		*ret_why = offer->why;
	}
	return ret;
}

static int ring_make(struct offer *offer, struct shm_ring *shm, uint64_t size,
		     const char **ret_why)
{
	int ret = offer_check_memory(size, 2 * size, offer->why, sizeof(offer->why));

	*ret_why = offer->why;
	if (ret < 0)
		return ret;
	ret = memfd_ring_create(size, &shm->fd);
	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "can't make a memfd: %s",
			 strerror(-ret));
		return ret;
	}
	return ring_map(offer, &shm->ring, shm->fd, size, ret_why);
}

static void shm_ring_free(struct world_ring *ring)
{
	ring_map_close(&ring->map);
	fd_close(&shm_ring(ring)->fd);
	free(shm_ring(ring));
}

static struct shm_ring *ring_alloc(const char **ret_why)
{
	struct shm_ring *shm = calloc(1, sizeof(*shm));

	if (shm)
		shm->fd = -1;
	else
		*ret_why = "out of memory";
	return shm;
}

static int shm_ring_new(struct world_conn *conn, unsigned network, uint64_t size,
			struct world_ring **ret_ring, const char **ret_why)
{
	struct shm_ring *shm = ring_alloc(ret_why);
	int ret;

	(void)network;
	if (!shm)
		return -ENOMEM;
	ret = ring_make(offer_of(conn), shm, size, ret_why);
	if (ret < 0) {
		shm_ring_free(&shm->ring);
		return ret;
	}
	*ret_ring = &shm->ring;
	return 0;
}

static void shm_ring_offer(const struct world_ring *ring, struct world_offer *ret)
{
	ret->fd = shm_ring(ring)->fd;
}

/* -EPROTO for what is the peer's fault. */
static int ring_take(struct offer *offer, struct world_ring *ring, int fd, uint64_t size,
		     const char **ret_why)
{
	const char *why;
	int ret;

	if (fd < 0) {
		*ret_why = "it came without a descriptor";
		return -EPROTO;
	}
	if (memfd_ring_check(fd, size, &why) < 0) {
		snprintf(offer->why, sizeof(offer->why), "its descriptor %s", why);
		*ret_why = offer->why;
		return -EPROTO;
	}
	/* Its memory is there already; only our view of it may lack room. */
	ret = offer_check_memory(0, 2 * size, offer->why, sizeof(offer->why));
	if (ret < 0) {
		*ret_why = offer->why;
		return ret;
	}
	return ring_map(offer, ring, fd, size, ret_why);
}

static int shm_ring_accept(struct world_conn *conn, struct world_parcel *parcel,
			   const uint8_t *bytes, size_t length, uint64_t size,
			   struct world_ring **ret_ring, const char **ret_why)
{
	struct shm_ring *shm = ring_alloc(ret_why);
	int ret = shm ? 0 : -ENOMEM;

	(void)bytes;
	if (shm && length) {
		*ret_why = "it came with bytes that say nothing on one machine";
		ret = -EPROTO;
	}
	if (ret == 0)
		ret = ring_take(offer_of(conn), &shm->ring, parcel->fd, size, ret_why);
	fd_close(&parcel->fd);
	if (ret < 0) {
		if (shm)
			shm_ring_free(&shm->ring);
		return ret;
	}
	*ret_ring = &shm->ring;
	return 0;
}

static void shm_ring_linked(struct world_ring *ring)
{
	fd_close(&shm_ring(ring)->fd);
}

static const struct offer_ops shm_ops = {
	.conn_new = shm_conn_new,
	.conn_offer = shm_conn_offer,
	.conn_accept = shm_conn_accept,
	.conn_is_ready = shm_conn_is_ready,
	.conn_fabric = shm_conn_fabric,
	.conn_free = shm_conn_free,
	.ring_new = shm_ring_new,
	.ring_offer = shm_ring_offer,
	.ring_accept = shm_ring_accept,
	.ring_linked = shm_ring_linked,
	.ring_free = shm_ring_free,
};

void offer_shm_init(struct offer_fabric *shm, struct offer *offer)
{
	*shm = (struct offer_fabric){.ops = &shm_ops, .offer = offer};
}
