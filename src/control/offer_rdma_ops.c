/*
 * Connections by RDMA and their rings: a kind of offer.h, but for the handshake, which is
 * in offer_rdma_conn.c.
 *
 * Memory. A ring of ours is memory that the peer writes to; a ring of the peer's is a
 * staging ring of the same size, from which the device sends. Both belong to the ring
 * and are registered with the queue pair, which is closed after its rings are freed: the
 * device holds the pages until then, whatever is mapped.
 */
#include "control/offer_rdma_internal.h"

#include "base/memfd.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEND_DEPTH 256

struct rdma_world_ring {
	struct world_ring ring; /* first */
	bool is_ours;		/* else the staging ring of one of the peer's */
	uint32_t rkey;
};

static struct offer_rdma *rdma_of(const struct offer_fabric *kind)
{
	return (struct offer_rdma *)(uintptr_t)kind;
}

/* ---- connections ---- */

static uint16_t port_of(const struct config_endpoint *endpoint)
{
	const struct sockaddr_in *in = (const void *)&endpoint->address;

	return ntohs(in->sin_port); /* of IPv6 it is at the same place */
}

static void introduce(struct rdma_conn *conn, const struct world_channel *channel)
{
	struct world *world = conn->rdma->kind.offer->world;

	world_channel_key(channel, conn->key);
	conn->ours.qp_number = qp_verbs_number(conn->qp);
	conn->ours.port = port_of(&conn->rdma->config->listen);
	memcpy(conn->ours.gid, conn->rdma->device.gid, sizeof(conn->ours.gid));
	world->ops->random(world, conn->ours.nonce, sizeof(conn->ours.nonce));
	while (!conn->ours.link_id)
		world->ops->random(world, &conn->ours.link_id,
				   sizeof(conn->ours.link_id));
}

static int make_fabric(struct rdma_conn *conn, const char **ret_why)
{
	const struct offer_rdma *rdma = conn->rdma;
	const struct qp_verbs_spec spec = {
		.context = rdma->device.context,
		.port = rdma->device.port,
		.send_depth = SEND_DEPTH,
		.receive_depth =
			fabric_rdma_receive_depth(rdma->kind.offer->num_networks),
		.owner = conn,
	};
	struct offer *offer = rdma->kind.offer;
	const char *why;
	int ret = qp_verbs_new(&spec, &conn->qp, &why);

	*ret_why = offer->why;
	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "%s of %s: %s", why,
			 rdma->device.name, strerror(-ret));
		return ret;
	}
	ret = fabric_rdma_new(conn->qp, rdma->name, &conn->fabric);
	snprintf(offer->why, sizeof(offer->why), "can't use the queue pair: %s",
		 strerror(-ret));
	return ret;
}

static int rdma_conn_new(struct offer_fabric *kind, struct world_channel *channel,
			 uint16_t peer_id, bool active, struct world_conn **ret_conn,
			 const char **ret_why)
{
	struct offer_rdma *rdma = rdma_of(kind);
	struct rdma_conn *conn;
	int ret;

	(void)peer_id;
	*ret_why = rdma->down;
	if (!rdma->is_up)
		return -ENETDOWN;
	*ret_why = "out of memory";
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return -ENOMEM;
	conn->conn.kind = kind;
	conn->rdma = rdma;
	conn->state = RDMA_OFFERED;
	conn->active = active;
	ret = make_fabric(conn, ret_why);
	if (ret < 0) {
		free(conn);
		return ret;
	}
	introduce(conn, channel);
	conn->next = rdma->conns;
	rdma->conns = conn;
	*ret_conn = &conn->conn;
	return 0;
}

static void rdma_conn_offer(const struct world_conn *conn, struct world_offer *ret)
{
	rdma_bell_encode(&rdma_conn_of(conn)->ours, ret->bytes);
	ret->length = RDMA_BELL_BYTES;
}

/* Both of IPv4, or both of IPv6: an address of the one isn't reached from the other. */
static bool same_family(const uint8_t a[16], const uint8_t b[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return (memcmp(a, mapped, sizeof(mapped)) == 0) ==
	       (memcmp(b, mapped, sizeof(mapped)) == 0);
}

static int rdma_conn_accept(struct world_conn *world_conn, struct world_parcel *parcel,
			    const uint8_t *bytes, size_t length, const char **ret_why)
{
	struct rdma_conn *conn = rdma_conn_of(world_conn);
	struct offer *offer = world_conn->kind->offer;
	const char *why;
	int ret;

	(void)parcel; /* remote channels carry none */
	ret = rdma_bell_decode(bytes, length, &conn->theirs, ret_why);
	if (ret < 0)
		return ret;
	*ret_why = "it and we listen on addresses of different families";
	if (!same_family(conn->ours.gid, conn->theirs.gid))
		return -EPROTO;
	conn->has_theirs = true;
	ret = rdma_conn_start(conn, &why);
	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "%s: %s: %s", conn->rdma->name,
			 why, strerror(-ret));
		*ret_why = offer->why;
	}
	return ret < 0 ? ret : 0;
}

static bool rdma_conn_is_ready(const struct world_conn *conn)
{
	return rdma_conn_of(conn)->state == RDMA_READY;
}

static const char *rdma_conn_fabric(const struct world_conn *conn)
{
	return rdma_conn_of(conn)->rdma->name;
}

/* The queue pair goes first, with the fabric: nothing comes by it any more. */
static void rdma_conn_free(struct world_conn *world_conn)
{
	struct rdma_conn *conn = rdma_conn_of(world_conn);
	struct offer_rdma *rdma = conn->rdma;
	struct rdma_conn **at = &rdma->conns;

	if (!world_conn->fabric) /* else the plane had it, and it is closed */
		fabric_close(conn->fabric);

	offer_rdma_drop_id(rdma, conn->cm_id);
	offer_rdma_drop_id(rdma, conn->asked.id);
	while (*at != conn)
		at = &(*at)->next;
	*at = conn->next;
	explicit_bzero(conn->key, sizeof(conn->key));
	free(conn);
	if (!rdma->is_up && !rdma->conns)
		offer_rdma_close_device(rdma);
}

/* ---- rings ---- */

/* On failure words are in the offer's `why`. */
static int ring_map(struct offer *offer, uint64_t size, struct ring_map *ret_map)
{
	int fd, ret;

	ret = offer_check_memory(size, 2 * size, offer->why, sizeof(offer->why));
	if (ret == 0)
		ret = rdma_memlock_check(2 * size, offer->why, sizeof(offer->why));
	if (ret < 0)
		return ret;
	ret = memfd_ring_create(size, &fd);
	if (ret == 0) {
		ret = ring_map_open(fd, size, ret_map);
		close(fd);
	}
	if (ret < 0)
		snprintf(offer->why, sizeof(offer->why), "can't map %.1f MiB: %s",
			 offer_mebibytes(2 * size), strerror(-ret));
	return ret;
}

static int ring_register(struct rdma_conn *conn, const struct ring_map *map,
			 bool peer_writes, struct qp_keys *ret_keys)
{
	struct offer *offer = conn->rdma->kind.offer;
	int ret = qp_verbs_register(conn->qp, map->data, 2 * map->size, peer_writes,
				    ret_keys);

	if (ret < 0)
		snprintf(offer->why, sizeof(offer->why),
			 "can't register %.1f MiB with %s: %s",
			 offer_mebibytes(2 * map->size), conn->rdma->device.name,
			 strerror(-ret));
	return ret;
}

static void rdma_ring_close(struct world_ring *ring)
{
	ring_map_close(&ring->map);
	free(ring);
}

/* It may have had no link that took it from the fabric, which others still use. */
static void rdma_ring_free(struct world_ring *ring)
{
	struct fabric *fabric = rdma_conn_of(ring->conn)->fabric;

	if (((const struct rdma_world_ring *)(const void *)ring)->is_ours)
		fabric_rdma_drop_rx(fabric, ring->index);
	else
		fabric_rdma_drop_tx(fabric, ring->index);
	rdma_ring_close(ring);
}

static int ring_make(struct rdma_conn *conn, struct rdma_world_ring *ring, uint64_t size)
{
	struct offer *offer = conn->rdma->kind.offer;
	struct qp_keys keys;
	int ret = ring_map(offer, size, &ring->ring.map);

	if (ret < 0)
		return ret;
	ret = ring_register(conn, &ring->ring.map, true, &keys);
	if (ret < 0)
		return ret;
	ret = fabric_rdma_set_rx(conn->fabric, conn->next_index, ring->ring.map.words,
				 size);
	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "ring %u of a connection: %s",
			 conn->next_index, strerror(-ret));
		return ret;
	}
	ring->is_ours = true;
	ring->rkey = keys.rkey;
	ring->ring.index = (uint8_t)conn->next_index++;
	return 0;
}

static int rdma_ring_new(struct world_conn *conn, unsigned network, uint64_t size,
			 struct world_ring **ret_ring, const char **ret_why)
{
	struct rdma_world_ring *ring = calloc(1, sizeof(*ring));
	int ret;

	(void)network;
	*ret_why = "out of memory";
	if (!ring)
		return -ENOMEM;
	*ret_why = conn->kind->offer->why;
	ret = ring_make(rdma_conn_of(conn), ring, size);
	if (ret < 0) {
		rdma_ring_close(&ring->ring);
		return ret;
	}
	*ret_ring = &ring->ring;
	return 0;
}

static void rdma_ring_offer(const struct world_ring *ring, struct world_offer *ret)
{
	const struct rdma_ring offer = {
		.index = ring->index,
		.rkey = ((const struct rdma_world_ring *)(const void *)ring)->rkey,
		.size = ring->map.size,
	};

	rdma_ring_encode(&offer, ret->bytes);
	ret->length = RDMA_RING_BYTES;
}

/* Staging memory, from which the device writes into the peer's. */
static int ring_take(struct rdma_conn *conn, const struct rdma_ring *theirs,
		     struct rdma_world_ring *ring, const char **ret_why)
{
	struct fabric_rdma_tx tx = {
		.index = theirs->index,
		.rkey = theirs->rkey,
		.size = theirs->size,
	};
	struct qp_keys keys;
	int ret = ring_map(conn->rdma->kind.offer, theirs->size, &ring->ring.map);

	if (ret < 0)
		return ret;
	ret = ring_register(conn, &ring->ring.map, false, &keys);
	if (ret < 0)
		return ret;
	tx.words = ring->ring.map.words;
	tx.staging = ring->ring.map.data;
	tx.lkey = keys.lkey;
	ring->ring.index = (uint8_t)theirs->index;
	ret = fabric_rdma_set_tx(conn->fabric, &tx);
	if (ret < 0)
		*ret_why = "its number is out of range, or that of another ring";
	return ret < 0 ? -EPROTO : 0;
}

static int rdma_ring_accept(struct world_conn *conn, struct world_parcel *parcel,
			    const uint8_t *bytes, size_t length, uint64_t size,
			    struct world_ring **ret_ring, const char **ret_why)
{
	struct rdma_world_ring *ring;
	struct rdma_ring theirs;
	int ret = rdma_ring_decode(bytes, length, size, &theirs, ret_why);

	(void)parcel;
	if (ret < 0)
		return ret;
	*ret_why = "out of memory";
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	*ret_why = conn->kind->offer->why;
	ret = ring_take(rdma_conn_of(conn), &theirs, ring, ret_why);
	if (ret < 0) {
		rdma_ring_close(&ring->ring);
		return ret;
	}
	*ret_ring = &ring->ring;
	return 0;
}

const struct offer_ops offer_rdma_ops = {
	.conn_new = rdma_conn_new,
	.conn_offer = rdma_conn_offer,
	.conn_accept = rdma_conn_accept,
	.conn_is_ready = rdma_conn_is_ready,
	.conn_fabric = rdma_conn_fabric,
	.conn_free = rdma_conn_free,
	.ring_new = rdma_ring_new,
	.ring_offer = rdma_ring_offer,
	.ring_accept = rdma_ring_accept,
	.ring_free = rdma_ring_free,
};
