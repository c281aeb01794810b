/* See offer_cast.h. */
#include "control/offer_cast.h"

#include "base/memfd.h"

#include <shmnet/cast.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct world_cast {
	struct offer *offer;
	struct world_cast *next;
	struct cast *cast;
	int fd; /* to be sent on; -1 of a peer's lane */
};

static uint32_t mtu_of(const struct offer *offer, const struct world_cast_spec *spec)
{
	return offer->networks[spec->network].mtu;
}

/* ---- memory ---- */

static int fail(struct offer *offer, int error, const char *what, const char **ret_why)
{
	snprintf(offer->why, sizeof(offer->why), "can't %s: %s", what, strerror(-error));
	*ret_why = offer->why;
	return error;
}

/* Of a lane the maker's is the only map that can be written to. */
static int map_new(struct offer *offer, const struct world_cast_spec *spec,
		   struct cast_map *ret_map, int *ret_fd, const char **ret_why)
{
	uint32_t mtu = mtu_of(offer, spec);
	uint64_t size = shmnet_cast_file_size(spec->depth, mtu);
	int ret = offer_check_memory(size, size, offer->why, sizeof(offer->why));

	*ret_why = offer->why;
	if (ret < 0)
		return ret;
	if (spec->lane)
		ret = memfd_cast_create_lane(spec->depth, mtu, ret_fd, ret_map);
	else
		ret = memfd_cast_create(spec->depth, mtu, ret_fd);
	if (ret < 0)
		return fail(offer, ret, "make a memfd", ret_why);
	if (!spec->lane) {
		ret = cast_map_open(*ret_fd, spec->depth, mtu, true, ret_map);
		if (ret < 0) {
			close(*ret_fd);
			return fail(offer, ret, "map a cast ring", ret_why);
		}
	}
	((struct shmnet_cast_head *)ret_map->base)->epoch = spec->epoch;
	return 0;
}

/*
 * What an earlier life of ours was writing: it is over, as we hold its lock, and nobody
 * else may clear it now that we live.
 */
static void clear_own(const struct offer *offer, const struct world_cast_spec *spec,
		      const struct cast_map *map)
{
	struct shmnet_cast_ring ring;

	shmnet_cast_ring_init(&ring, map->base, spec->depth, mtu_of(offer, spec));
	shmnet_cast_reclaim(&ring, offer->node_id);
}

/* -EPROTO for what is the peer's fault. */
static int map_foreign(struct offer *offer, int fd, const struct world_cast_spec *spec,
		       struct cast_map *ret_map, const char **ret_why)
{
	uint32_t mtu = mtu_of(offer, spec);
	const char *why;
	uint64_t id;
	int ret;

	if (fd < 0) {
		*ret_why = "it came without a descriptor";
		return -EPROTO;
	}
	if (memfd_cast_check(fd, spec->depth, mtu, spec->lane, &why) < 0) {
		snprintf(offer->why, sizeof(offer->why), "its descriptor %s", why);
		*ret_why = offer->why;
		return -EPROTO;
	}
	if (memfd_get_id(fd, &id) < 0 || id != spec->id) {
		*ret_why = "its descriptor is of another ring";
		return -EPROTO;
	}
	ret = offer_check_memory(0, shmnet_cast_file_size(spec->depth, mtu), offer->why,
				 sizeof(offer->why));
	*ret_why = offer->why;
	if (ret < 0)
		return ret;
	ret = cast_map_open(fd, spec->depth, mtu, !spec->lane, ret_map);
	if (ret < 0)
		return fail(offer, ret, "map a cast ring", ret_why);
	if (!spec->lane)
		clear_own(offer, spec, ret_map);
	return 0;
}

/* ---- rings ---- */

/* Takes map and fd, also on failure. */
static int attach(struct offer *offer, const struct world_cast_spec *spec,
		  struct cast_map *map, int fd, struct world_cast **ret_cast,
		  const char **ret_why)
{
	bool is_ours = spec->maker == offer->node_id;
	struct plane_cast plane_cast = {
		.port = offer->ports[spec->network],
		.map = *map,
		.depth = spec->depth,
		.id = spec->id,
		.reads = !spec->lane || !is_ours,
		.writes = !spec->lane || is_ours,
		.only_writer = spec->lane && !is_ours ? spec->maker : 0,
	};
	struct world_cast *cast = calloc(1, sizeof(*cast));
	int ret = -ENOMEM;

	memcpy(plane_cast.label, spec->label, sizeof(plane_cast.label));
	if (cast)
		ret = plane_add_cast(offer->plane, &plane_cast, &cast->cast);
	if (ret < 0) {
		free(cast);
		cast_map_close(map);
		if (fd >= 0)
			close(fd);
		return fail(offer, ret, "add a cast ring", ret_why);
	}
	cast->offer = offer;
	cast->fd = fd;
	cast->next = offer->casts;
	offer->casts = cast;
	*ret_cast = cast;
	return 0;
}

int offer_cast_new(struct offer *offer, struct world_cast_spec *spec,
		   struct world_cast **ret_cast, const char **ret_why)
{
	struct cast_map map;
	int fd, ret;

	ret = map_new(offer, spec, &map, &fd, ret_why);
	if (ret < 0)
		return ret;
	ret = memfd_get_id(fd, &spec->id);
	if (ret < 0) {
		cast_map_close(&map);
		close(fd);
		return fail(offer, ret, "look at a memfd", ret_why);
	}
	return attach(offer, spec, &map, fd, ret_cast, ret_why);
}

int offer_cast_accept(struct offer *offer, struct world_parcel *parcel,
		      const struct world_cast_spec *spec, struct world_cast **ret_cast,
		      const char **ret_why)
{
	int ret, fd = parcel->fd;
	struct cast_map map;

	parcel->fd = -1;
	ret = map_foreign(offer, fd, spec, &map, ret_why);
	/* Of a peer's lane only the map is needed. */
	if (fd >= 0 && (ret < 0 || spec->lane)) {
		close(fd);
		fd = -1;
	}
	if (ret < 0)
		return ret;
	return attach(offer, spec, &map, fd, ret_cast, ret_why);
}

void offer_cast_free(struct world_cast *cast)
{
	struct world_cast **at;

	if (!cast)
		return;
	at = &cast->offer->casts;
	while (*at != cast)
		at = &(*at)->next;
	*at = cast->next;
	plane_remove_cast(cast->offer->plane, cast->cast, NULL);
	if (cast->fd >= 0)
		close(cast->fd);
	free(cast);
}

int offer_cast_fd(const struct world_cast *cast)
{
	return cast->fd;
}

void offer_cast_stop_writing(struct world_cast *cast)
{
	plane_set_cast_writes(cast->offer->plane, cast->cast, false);
}

void offer_cast_set_reader(struct world_cast *cast, struct world_link *link)
{
	plane_set_link_reads(cast->offer->plane, offer_link(link), cast->cast);
}

void offer_cast_close(struct world_cast *cast)
{
	plane_close_cast(cast->cast);
}

uint64_t offer_cast_position(const struct world_cast *cast)
{
	struct cast_counters counters;
	struct cast_usage usage;

	plane_read_cast(cast->cast, &counters, &usage);
	return usage.position;
}

struct cast *offer_cast_cast(const struct world_cast *cast)
{
	return cast->cast;
}

struct world_cast *offer_cast_find(const struct offer *offer, const struct cast *cast)
{
	struct world_cast *at = offer->casts;

	while (at && at->cast != cast)
		at = at->next;
	return at;
}
