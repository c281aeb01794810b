/* See offer_shm.h. */
#include "control/offer_shm.h"

#include "base/memfd.h"
#include "data/fabric.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct world_ring {
	int fd; /* -1 for a peer's */
	struct ring_map map;
};

struct world_bell {
	int fd;
};

struct world_conn {
	struct offer_shm *offer;
	struct fabric *fabric;
	struct world_link *links; /* its own */
	uint32_t beat;
};

struct world_link {
	struct offer_shm *offer;
	struct world_link *next;
	struct world_conn *conn;
	struct world_link *conn_next; /* of the same connection */
	struct link *link;
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

static double mebibytes(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

int offer_shm_check_memory(uint64_t bytes, uint64_t address_space, char *why, size_t size)
{
	uint64_t available = read_available_memory();
	uint64_t used = read_address_space_used();
	struct rlimit limit;

	if (bytes > available) {
		snprintf(why, size, "needs %.1f MiB of memory, %.1f MiB are available",
			 mebibytes(bytes), mebibytes(available));
		return -ENOMEM;
	}
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    used + address_space > limit.rlim_cur) {
		uint64_t left = used < limit.rlim_cur ? limit.rlim_cur - used : 0;

		snprintf(why, size,
			 "needs %.1f MiB of address space, %.1f MiB are left of the "
			 "limit (ulimit "
			 "-v)",
			 mebibytes(address_space), mebibytes(left));
		return -ENOMEM;
	}
	return 0;
}

/* ---- rings ---- */

static int ring_map(struct offer_shm *offer, struct world_ring *ring, int fd,
		    uint64_t size, const char **ret_why)
{
	int ret = ring_map_open(fd, size, &ring->map);

	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "can't map %.1f MiB: %s",
			 mebibytes(2 * size), strerror(-ret));
		*ret_why = offer->why;
	}
	return ret;
}

static int ring_make(struct offer_shm *offer, struct world_ring *ring, uint64_t size,
		     const char **ret_why)
{
	int ret = offer_shm_check_memory(size, 2 * size, offer->why, sizeof(offer->why));

	*ret_why = offer->why;
	if (ret < 0)
		return ret;
	ret = memfd_ring_create(size, &ring->fd);
	if (ret < 0) {
		snprintf(offer->why, sizeof(offer->why), "can't make a memfd: %s",
			 strerror(-ret));
		return ret;
	}
	return ring_map(offer, ring, ring->fd, size, ret_why);
}

static struct world_ring *ring_alloc(const char **ret_why)
{
	struct world_ring *ring = calloc(1, sizeof(*ring));

	if (ring)
		ring->fd = -1;
	else
		*ret_why = "out of memory";
	return ring;
}

int offer_shm_ring_new(struct offer_shm *offer, uint64_t size,
		       struct world_ring **ret_ring, const char **ret_why)
{
	struct world_ring *ring = ring_alloc(ret_why);
	int ret;

	if (!ring)
		return -ENOMEM;
	ret = ring_make(offer, ring, size, ret_why);
	if (ret < 0) {
		offer_shm_ring_free(ring);
		return ret;
	}
	*ret_ring = ring;
	return 0;
}

/* -EPROTO for what is the peer's fault. */
static int ring_take(struct offer_shm *offer, struct world_ring *ring, int fd,
		     uint64_t size, const char **ret_why)
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
	ret = offer_shm_check_memory(0, 2 * size, offer->why, sizeof(offer->why));
	if (ret < 0) {
		*ret_why = offer->why;
		return ret;
	}
	return ring_map(offer, ring, fd, size, ret_why);
}

int offer_shm_ring_accept(struct offer_shm *offer, struct world_parcel *parcel,
			  uint64_t size, struct world_ring **ret_ring,
			  const char **ret_why)
{
	struct world_ring *ring = ring_alloc(ret_why);
	int ret = ring ? ring_take(offer, ring, parcel->fd, size, ret_why) : -ENOMEM;

	if (parcel->fd >= 0)
		close(parcel->fd);
	parcel->fd = -1;
	if (ret < 0) {
		offer_shm_ring_free(ring);
		return ret;
	}
	*ret_ring = ring;
	return 0;
}

int offer_shm_ring_fd(const struct world_ring *ring)
{
	return ring->fd;
}

/* But for its mapping. */
static void ring_release(struct world_ring *ring)
{
	if (ring->fd >= 0)
		close(ring->fd);
	free(ring);
}

void offer_shm_ring_free(struct world_ring *ring)
{
	if (!ring)
		return;
	ring_map_close(&ring->map);
	ring_release(ring);
}

/* ---- bells ---- */

static struct world_bell *bell_alloc(int fd)
{
	struct world_bell *bell = malloc(sizeof(*bell));

	if (bell)
		bell->fd = fd;
	return bell;
}

int offer_shm_bell_new(struct world_bell **ret_ours, int *ret_theirs)
{
	int receive_fd, send_fd;
	int ret = fabric_shm_bell(&receive_fd, &send_fd);
	struct world_bell *bell;

	if (ret < 0)
		return ret;
	bell = bell_alloc(receive_fd);
	if (!bell) {
		close(receive_fd);
		close(send_fd);
		return -ENOMEM;
	}
	*ret_ours = bell;
	*ret_theirs = send_fd;
	return 0;
}

static int get_socket_option(int fd, int option)
{
	socklen_t length = sizeof(int);
	int value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) < 0 ? -1 : value;
}

int offer_shm_bell_accept(struct world_parcel *parcel, struct world_bell **ret_bell,
			  const char **ret_why)
{
	int fd = parcel->fd;
	struct world_bell *bell;

	parcel->fd = -1;
	if (get_socket_option(fd, SO_DOMAIN) != AF_UNIX ||
	    get_socket_option(fd, SO_TYPE) != SOCK_SEQPACKET) {
		*ret_why = "its descriptor is not a SEQPACKET socket";
		if (fd >= 0)
			close(fd);
		return -EPROTO;
	}
	bell = bell_alloc(fd);
	if (!bell) {
		*ret_why = "out of memory";
		close(fd);
		return -ENOMEM;
	}
	*ret_bell = bell;
	return 0;
}

void offer_shm_bell_free(struct world_bell *bell)
{
	if (!bell)
		return;
	close(bell->fd);
	free(bell);
}

/* ---- connections ---- */

int offer_shm_conn_new(struct offer_shm *offer, struct world_bell *ours,
		       struct world_bell *theirs, struct world_conn **ret_conn)
{
	struct world_conn *conn = calloc(1, sizeof(*conn));
	int ret;

	if (!conn) {
		offer_shm_bell_free(ours);
		offer_shm_bell_free(theirs);
		return -ENOMEM;
	}
	ret = fabric_shm_new(ours->fd, theirs->fd, &conn->fabric);
	free(ours);
	free(theirs);
	if (ret < 0)
		goto err_conn;
	conn->offer = offer;
	ret = plane_add_fabric(offer->plane, conn->fabric);
	if (ret < 0)
		goto err_fabric;
	*ret_conn = conn;
	return 0;

err_fabric:
	fabric_close(conn->fabric);
err_conn:
	free(conn);
	return ret;
}

void offer_shm_conn_free(struct world_conn *conn)
{
	if (!conn)
		return;
	plane_remove_fabric(conn->offer->plane, conn->fabric);
	fabric_close(conn->fabric);
	free(conn);
}

void offer_shm_conn_beat(struct world_conn *conn)
{
	conn->beat++;
	for (struct world_link *link = conn->links; link; link = link->conn_next)
		plane_beat_link(link->link, conn->beat);
}

/* Each summand only grows, as long as the peer is honest: so does the sum. */
uint64_t offer_shm_conn_pulse(const struct world_conn *conn)
{
	uint64_t pulse = 0;

	for (const struct world_link *link = conn->links; link; link = link->conn_next)
		pulse += plane_pulse_link(link->link);
	return pulse;
}

/* ---- links ---- */

int offer_shm_link_new(struct offer_shm *offer, const struct world_link_spec *spec,
		       struct world_link **ret_link)
{
	const struct plane_link plane_link = {
		.port = offer->ports[spec->network],
		.peer_id = spec->peer_id,
		.fabric = spec->conn->fabric,
		.tx = spec->tx->map,
		.rx = spec->rx->map,
		.tx_salt = spec->tx_salt,
		.rx_salt = spec->rx_salt,
		.offloads = spec->offloads,
	};
	struct world_link *link = calloc(1, sizeof(*link));
	int ret;

	if (!link)
		return -ENOMEM;
	link->offer = offer;
	link->network = spec->network;
	link->peer_id = spec->peer_id;
	link->next = offer->links;
	offer->links = link;
	ret = plane_add_link(offer->plane, &plane_link, &link->link);
	if (ret < 0) {
		offer->links = link->next;
		free(link);
		return ret;
	}
	link->conn = spec->conn;
	link->conn_next = link->conn->links;
	link->conn->links = link;
	/* The mappings are the data plane's now. */
	ring_release(spec->tx);
	ring_release(spec->rx);
	*ret_link = link;
	return 0;
}

void offer_shm_link_free(struct world_link *link, bool peer_is_dead)
{
	struct offer_shm *offer = link->offer;
	struct world_link **at = &offer->links;
	struct link_counters counters;

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	for (at = &link->conn->links; *at != link;)
		at = &(*at)->conn_next;
	*at = link->conn_next;
	plane_remove_link(offer->plane, link->link, peer_is_dead, &counters);
	if (offer->link_ended)
		offer->link_ended(offer->arg, link->network, link->peer_id, &counters);
	free(link);
}

struct link *offer_shm_link(const struct world_link *link)
{
	return link->link;
}

struct world_link *offer_shm_find_link(const struct offer_shm *offer,
				       const struct link *link)
{
	struct world_link *at = offer->links;

	while (at && at->link != link)
		at = at->next;
	return at;
}
