/*
 * See plane.h: cast rings come and go.
 *
 * A ring is added and removed as a link is, by a view. What a link knows of a ring is
 * in the place of the ring's index; it is cleared when no view has the ring any more,
 * and before the index is given away again. Indices take turns, so that what we
 * announced to peers in a place stays readable as long as possible: they may still be
 * reading a ring that we have left.
 */
#include "data/plane_internal.h"

#include <stdlib.h>

/* ---- adding and removing ---- */

static unsigned find_index(const struct plane_casts *casts)
{
	for (unsigned i = 1; i <= PLANE_CASTS_MAX; i++) {
		unsigned index = (casts->last + i) % PLANE_CASTS_MAX;

		if (!casts->by_index[index])
			return index;
	}
	return PLANE_CASTS_MAX;
}

static struct cast *cast_new(struct plane *plane, const struct plane_cast *spec)
{
	struct cast *cast = calloc(1, sizeof(*cast));
	struct port *port = &plane->ports[spec->port];
	struct shmnet_cast_ring ring;
	uint64_t now;

	if (!cast)
		return NULL;
	shmnet_cast_ring_init(&ring, spec->map.base, spec->depth, port->mtu);
	now = shmnet_cast_now(&ring);
	shmnet_cast_reader_init(&cast->reader, &ring, port->node_id, now);
	shmnet_cast_writer_init(&cast->writer, &ring, port->node_id);
	cast->plane = plane;
	cast->port = port;
	cast->id = spec->id;
	cast->key = want_key(spec->label);
	cast->only_writer = spec->only_writer;
	cast->reads = spec->reads;
	cast->map = spec->map;
	cast->next = now;
	cast->cursor = now;
	return cast;
}

/* Of its label this ring alone is written. */
static void take_label(struct plane_casts *casts, struct cast *cast)
{
	for (unsigned i = 0; i < PLANE_CASTS_MAX; i++) {
		struct cast *other = casts->by_index[i];

		if (other && other->key == cast->key)
			other->writes = false;
	}
	cast->writes = true;
}

/* What the worker computes addresses from fits the map. */
static bool spec_is_sound(const struct plane *plane, const struct plane_cast *spec)
{
	uint32_t mtu = plane->ports[spec->port].mtu;

	return shmnet_cast_depth_valid(spec->depth) &&
	       spec->map.length == shmnet_cast_file_size(spec->depth, mtu) &&
	       (spec->map.writable || !spec->writes);
}

int plane_add_cast(struct plane *plane, const struct plane_cast *spec,
		   struct cast **ret_cast)
{
	struct plane_casts *casts = &plane->casts[spec->port];
	unsigned index = find_index(casts);
	struct cast *cast;

	if (!spec_is_sound(plane, spec))
		return -EINVAL;
	if (index == PLANE_CASTS_MAX)
		return -ENOSPC;
	cast = cast_new(plane, spec);
	if (!cast)
		return -ENOMEM;
	cast->index = index;
	casts->by_index[index] = cast;
	casts->last = index;
	if (spec->writes)
		take_label(casts, cast);
	plane_publish(plane);
	*ret_cast = cast;
	return 0;
}

static void counters_add(struct cast_counters *sum, const struct cast_counters *counters)
{
	sum->written += counters->written;
	sum->skipped += counters->skipped;
	sum->received += counters->received;
	sum->own += counters->own;
	sum->passed += counters->passed;
	sum->lapped += counters->lapped;
	sum->holes += counters->holes;
	sum->corrupt += counters->corrupt;
}

void plane_remove_cast(struct plane *plane, struct cast *cast,
		       struct cast_counters *ret_final)
{
	plane->casts[cast->port->index].by_index[cast->index] = NULL;
	plane_publish(plane);

	for (unsigned i = 0; i < plane->num_links; i++) {
		struct link *link = plane->links[i];

		if (link->port == cast->port)
			link->casts[cast->index] = (struct link_cast){0};
	}
	counters_add(&cast->port->counters.casts, &cast->counters);
	if (ret_final)
		*ret_final = cast->counters;
	cast_map_close(&cast->map);
	free(cast);
}

/* ---- what else control does with a ring ---- */

void plane_set_cast_writes(struct plane *plane, struct cast *cast, bool writes)
{
	if (writes)
		take_label(&plane->casts[cast->port->index], cast);
	else
		cast->writes = false;
	plane_publish(plane);
}

void plane_set_link_reads(struct plane *plane, struct link *link, struct cast *cast)
{
	(void)plane;
	if (link->port == cast->port && link->tx.words)
		__atomic_store_n(&link->casts[cast->index].reads, true, __ATOMIC_RELAXED);
}

void plane_close_cast(struct cast *cast)
{
	if (cast->map.writable)
		shmnet_cast_close(&cast->reader.ring);
	worker_wake(cast->plane->worker);
}

uint64_t plane_reclaim_cast(struct cast *cast, uint16_t dead_writer)
{
	uint64_t slots = 0;

	if (cast->map.writable)
		slots = shmnet_cast_reclaim(&cast->reader.ring, dead_writer);
	worker_wake(cast->plane->worker);
	return slots;
}

/* How much of them the worker has not read of what was there at `ends`. */
static uint64_t count_unread(const struct plane_casts *casts,
			     const uint64_t ends[PLANE_CASTS_MAX])
{
	uint64_t unread = 0;

	for (unsigned i = 0; i < PLANE_CASTS_MAX; i++) {
		const struct cast *cast = casts->by_index[i];
		uint64_t cursor;

		if (!cast || !cast->reads || cast_rests(cast))
			continue;
		cursor = __atomic_load_n(&cast->cursor, __ATOMIC_RELAXED);
		unread += ends[i] > cursor ? ends[i] - cursor : 0;
	}
	return unread;
}

/*
 * A turn of the worker reads a burst of each ring, so what was in a ring takes no more
 * turns than it has bursts; it takes them all only if a member moves W back and forth.
 */
void plane_drain_casts(struct plane *plane, const struct port *port)
{
	const struct plane_casts *casts = &plane->casts[port->index];
	uint64_t ends[PLANE_CASTS_MAX] = {0}, unread, before, rounds = 0;

	for (unsigned i = 0; i < PLANE_CASTS_MAX; i++) {
		const struct cast *cast = casts->by_index[i];

		if (!cast)
			continue;
		ends[i] = shmnet_cast_now(&cast->reader.ring);
		if (cast->reader.ring.depth / PATH_BURST + 1 > rounds)
			rounds = cast->reader.ring.depth / PATH_BURST + 1;
	}
	unread = count_unread(casts, ends);
	while (unread && rounds--) {
		before = unread;
		plane_publish(plane);
		plane_publish(plane); /* the turn of the one before is over */
		unread = count_unread(casts, ends);
		if (unread == before)
			return; /* slots in writing, or the worker doesn't run */
	}
}

/* ---- what control reads ---- */

static unsigned count_readers(const struct cast *cast)
{
	const struct plane *plane = cast->plane;
	unsigned readers = 0;

	for (unsigned i = 0; i < plane->num_links; i++) {
		const struct link *link = plane->links[i];

		readers += link->port == cast->port && link->casts[cast->index].reads;
	}
	return readers;
}

void plane_read_cast(const struct cast *cast, struct cast_counters *ret_counters,
		     struct cast_usage *ret_usage)
{
	const struct shmnet_cast_ring *ring = &cast->reader.ring;
	uint64_t head = shmnet_cast_load_head(ring);
	uint64_t position = head & ~SHMNET_CAST_CLOSED;
	uint64_t cursor = __atomic_load_n(&cast->cursor, __ATOMIC_RELAXED);

	plane_copy_counters((uint64_t *)ret_counters, (const uint64_t *)&cast->counters,
			    sizeof(*ret_counters));
	*ret_usage = (struct cast_usage){
		.position = position,
		.unread = cast->reads && position > cursor ? position - cursor : 0,
		.depth = (unsigned)ring->depth,
		.readers = count_readers(cast),
		.is_closed = head & SHMNET_CAST_CLOSED,
	};
}

void plane_add_cast_counters(const struct plane *plane, unsigned port,
			     struct cast_counters *sum)
{
	struct cast_counters counters;
	struct cast_usage usage;

	for (unsigned i = 0; i < PLANE_CASTS_MAX; i++) {
		const struct cast *cast = plane->casts[port].by_index[i];

		if (!cast)
			continue;
		plane_read_cast(cast, &counters, &usage);
		counters_add(sum, &counters);
	}
}

/* ---- faults ---- */

static bool take_fault(struct cast *cast, struct plane_fault *ret_fault)
{
	int error = __atomic_load_n(&cast->error, __ATOMIC_RELAXED);

	if (!error || cast->error_taken)
		return false;
	cast->error_taken = true;
	*ret_fault = (struct plane_fault){.kind = PLANE_FAULT_CAST,
					  .cast = cast,
					  .port = cast->port->index,
					  .error = error};
	return true;
}

bool plane_next_cast_fault(struct plane *plane, struct plane_fault *ret_fault)
{
	for (unsigned p = 0; p < plane->num_ports; p++) {
		for (unsigned i = 0; i < PLANE_CASTS_MAX; i++) {
			struct cast *cast = plane->casts[p].by_index[i];

			if (cast && take_fault(cast, ret_fault))
				return true;
		}
	}
	return false;
}

bool plane_next_want(struct plane *plane, struct plane_fault *ret_fault)
{
	uint8_t label[SHMNET_ETH_ALEN];

	for (unsigned p = 0; p < plane->num_ports; p++) {
		if (!wants_take(&plane->ports[p].wants, label))
			continue;
		*ret_fault =
			(struct plane_fault){.kind = PLANE_FAULT_CAST_WANTED, .port = p};
		memcpy(ret_fault->label, label, sizeof(label));
		return true;
	}
	return false;
}

bool plane_next_stranger(struct plane *plane, struct plane_fault *ret_fault)
{
	for (unsigned p = 0; p < plane->num_ports; p++) {
		uint16_t id = __atomic_exchange_n(&plane->ports[p].stranger, 0,
						  __ATOMIC_RELAXED);

		if (!id)
			continue;
		*ret_fault = (struct plane_fault){
			.kind = PLANE_FAULT_STRANGER, .port = p, .peer_id = id};
		return true;
	}
	return false;
}

void plane_cast_answered(struct plane *plane, unsigned port,
			 const uint8_t label[SHMNET_ETH_ALEN])
{
	wants_answer(&plane->ports[port].wants, want_key(label));
}
