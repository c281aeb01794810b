/* See offer.h. */
#include "control/offer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct world_link {
	struct offer *offer;
	struct world_link *next;
	struct world_conn *conn;
	struct world_link *conn_next; /* of the same connection */
	struct link *link;
	struct world_ring *rx;
	struct world_ring *tx;
	unsigned network;
	uint16_t peer_id;
};

/* ---- memory ---- */

/* The number in front of "kB" on a line of /proc/meminfo; UINT64_MAX if unknown. */
static uint64_t read_available_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib;
	uint64_t bytes = UINT64_MAX;
	char line[128];

	if (!file)
		return bytes;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			bytes = kib << 10;
	}
	fclose(file);
	return bytes;
}

static uint64_t read_address_space_used(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%llu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

int offer_check_memory(uint64_t bytes, uint64_t address_space, char *why, size_t size)
{
	uint64_t available = read_available_memory();
	uint64_t used = read_address_space_used();
	struct rlimit limit;

	if (bytes > available) {
		snprintf(why, size, "needs %.1f MiB of memory, %.1f MiB are available",
			 offer_mebibytes(bytes), offer_mebibytes(available));
		return -ENOMEM;
	}
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    used + address_space > limit.rlim_cur) {
		uint64_t left = used < limit.rlim_cur ? limit.rlim_cur - used : 0;

		snprintf(why, size,
			 "needs %.1f MiB of address space, %.1f MiB are left of the "
			 "limit (ulimit "
			 "-v)",
			 offer_mebibytes(address_space), offer_mebibytes(left));
		return -ENOMEM;
	}
	return 0;
}

/* ---- connections ---- */

int offer_conn_new(struct offer_fabric *kind, struct world_channel *channel,
		   uint16_t peer_id, bool active, struct world_conn **ret_conn,
		   const char **ret_why)
{
	struct world_conn *conn;
	int ret = kind->ops->conn_new(kind, channel, peer_id, active, &conn, ret_why);

	if (ret < 0)
		return ret;
	conn->kind = kind;
	conn->peer_id = peer_id;
	*ret_conn = conn;
	return 0;
}

void offer_conn_offer(const struct world_conn *conn, struct world_offer *ret)
{
	ret->fd = -1;
	ret->length = 0;
	conn->kind->ops->conn_offer(conn, ret);
}

int offer_conn_accept(struct world_conn *conn, struct world_parcel *parcel,
		      const uint8_t *bytes, size_t length, const char **ret_why)
{
	return conn->kind->ops->conn_accept(conn, parcel, bytes, length, ret_why);
}

bool offer_conn_is_ready(const struct world_conn *conn)
{
	return conn->kind->ops->conn_is_ready(conn);
}

const char *offer_conn_fabric(const struct world_conn *conn)
{
	return conn->kind->ops->conn_fabric(conn);
}

/* In the words of the rings, and where these are nobody else's to see, by the fabric. */
void offer_conn_beat(struct world_conn *conn)
{
	conn->beat++;
	for (struct world_link *link = conn->links; link; link = link->conn_next)
		plane_beat_link(link->link, conn->beat);
	if (conn->fabric && fabric_beat(conn->fabric) < 0)
		plane_wake(conn->kind->offer->plane);
}

/* Each summand only grows, as long as the peer is honest: so does the sum. */
uint64_t offer_conn_pulse(const struct world_conn *conn)
{
	uint64_t pulse = conn->fabric ? fabric_pulse(conn->fabric) : 0;

	for (const struct world_link *link = conn->links; link; link = link->conn_next)
		pulse += plane_pulse_link(link->link);
	return pulse;
}

void offer_conn_free(struct world_conn *conn)
{
	if (!conn)
		return;
	if (conn->fabric) {
		plane_remove_fabric(conn->kind->offer->plane, conn->fabric);
		fabric_close(conn->fabric);
	}
	conn->kind->ops->conn_free(conn);
}

int offer_set_fabric(struct world_conn *conn, struct fabric *fabric)
{
	int ret = plane_add_fabric(conn->kind->offer->plane, fabric);

	if (ret == 0)
		conn->fabric = fabric;
	return ret;
}

void offer_conn_ready(struct world_conn *conn)
{
	const struct world *world = conn->kind->offer->world;

	world->handler->conn_ready(world->handler_arg, conn);
}

void offer_conn_lost(struct world_conn *conn, const char *words)
{
	const struct world *world = conn->kind->offer->world;

	world->handler->conn_lost(world->handler_arg, conn, words);
}

/* ---- rings ---- */

int offer_ring_new(struct world_conn *conn, unsigned network, uint64_t size,
		   struct world_ring **ret_ring, const char **ret_why)
{
	int ret = conn->kind->ops->ring_new(conn, network, size, ret_ring, ret_why);

	if (ret == 0)
		(*ret_ring)->conn = conn;
	return ret;
}

void offer_ring_offer(const struct world_ring *ring, struct world_offer *ret)
{
	ret->fd = -1;
	ret->length = 0;
	ring->conn->kind->ops->ring_offer(ring, ret);
}

int offer_ring_accept(struct world_conn *conn, struct world_parcel *parcel,
		      const uint8_t *bytes, size_t length, uint64_t size,
		      struct world_ring **ret_ring, const char **ret_why)
{
	int ret = conn->kind->ops->ring_accept(conn, parcel, bytes, length, size,
					       ret_ring, ret_why);

	if (ret == 0)
		(*ret_ring)->conn = conn;
	return ret;
}

void offer_ring_free(struct world_ring *ring)
{
	if (ring)
		ring->conn->kind->ops->ring_free(ring);
}

/* ---- links ---- */

static struct world_link *link_alloc(struct offer *offer,
				     const struct world_link_spec *spec)
{
	struct world_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->offer = offer;
	link->network = spec->network;
	link->peer_id = spec->peer_id;
	link->conn = spec->conn;
	link->rx = spec->rx;
	link->tx = spec->tx;
	return link;
}

static void link_insert(struct world_link *link)
{
	link->next = link->offer->links;
	link->offer->links = link;
	link->conn_next = link->conn->links;
	link->conn->links = link;
}

static void link_unlink(struct world_link *link)
{
	struct world_link **at = &link->offer->links;

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	for (at = &link->conn->links; *at != link;)
		at = &(*at)->conn_next;
	*at = link->conn_next;
}

static void ring_linked(struct world_ring *ring)
{
	if (ring->conn->kind->ops->ring_linked)
		ring->conn->kind->ops->ring_linked(ring);
}

int offer_link_new(struct offer *offer, const struct world_link_spec *spec,
		   struct world_link **ret_link)
{
	const struct plane_link plane_link = {
		.port = offer->ports[spec->network],
		.peer_id = spec->peer_id,
		.fabric = spec->conn->fabric,
		.is_remote = spec->conn->kind->is_remote,
		.is_trusted = spec->is_trusted,
		.tx = spec->tx->map,
		.rx = spec->rx->map,
		.tx_salt = spec->tx_salt,
		.rx_salt = spec->rx_salt,
		.tx_index = spec->tx->index,
		.rx_index = spec->rx->index,
		.offloads = spec->offloads,
	};
	struct world_link *link = link_alloc(offer, spec);
	int ret;

	if (!link)
		return -ENOMEM;
	link_insert(link);
	ret = plane_add_link(offer->plane, &plane_link, &link->link);
	if (ret < 0) {
		link_unlink(link);
		free(link);
		return ret;
	}
	ring_linked(link->tx);
	ring_linked(link->rx);
	*ret_link = link;
	return 0;
}

void offer_link_free(struct world_link *link, bool peer_is_dead)
{
	struct offer *offer = link->offer;
	struct link_counters counters;

	link_unlink(link);
	plane_remove_link(offer->plane, link->link, peer_is_dead, &counters);
	offer_ring_free(link->rx);
	offer_ring_free(link->tx);
	if (offer->link_ended)
		offer->link_ended(offer->arg, link->network, link->peer_id, &counters);
	free(link);
}

void offer_link_pause(struct world_link *link, bool is_paused)
{
	plane_pause_link(link->offer->plane, link->link, is_paused);
}

int offer_link_send(struct world_link *link, const uint8_t *bytes, size_t length)
{
	_Static_assert(WORLD_WORD_MAX == PLANE_MESSAGE_MAX,
		       "said to others, and what is");
	return plane_send_message(link->offer->plane, link->link, bytes, length);
}

struct link *offer_link(const struct world_link *link)
{
	return link->link;
}

const char *offer_link_why(const struct world_link *link)
{
	return fabric_why(link->conn->fabric);
}

struct world_link *offer_find_link(const struct offer *offer, const struct link *link)
{
	struct world_link *at = offer->links;

	while (at && at->link != link)
		at = at->next;
	return at;
}
