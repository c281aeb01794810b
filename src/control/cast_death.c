/*
 * See cast.h. Members that left or fell silent: what they were writing is cleared once
 * their death is proved, and rings that a silent one may be stopped in are given up.
 * The theory is at the head of cast_group.c. Control thread.
 */
#include "control/cast_internal.h"

#include <stdlib.h>

#define DEATH_NS    (2 * CAST_MSEC) /* a process on its way out, doubling */
#define DEATH_TRIES 9

static void reclaim_ring(struct casts *casts, struct cast_ring *ring, void *arg)
{
	const struct cast_departure *departure = arg;
	int ret;

	if (ring->spec.lane)
		return;
	ret = cast_ops(casts)->cast_reclaim(casts->owner->world, ring->cast,
					    departure->id);
	if (ret < 0 || !ring->group || ring->spec.maker != departure->id)
		return;
	cast_say(ring->group->cause, sizeof(ring->group->cause), "%s died",
		 departure->name);
	cast_happen(ring->group, EVENT_MAKER_DIED);
}

struct trial {
	uint16_t id;
	bool is_over; /* the answer is the same of each ring */
	bool is_dead;
};

static void try_ring(struct casts *casts, struct cast_ring *ring, void *arg)
{
	struct trial *trial = arg;

	if (trial->is_over || ring->spec.lane)
		return;
	trial->is_over = true;
	trial->is_dead = cast_ops(casts)->cast_reclaim(casts->owner->world, ring->cast,
						       trial->id) >= 0;
}

/* Without a ring there is nothing to clear, and nothing to find out. */
static bool is_dead(struct casts *casts, uint16_t id)
{
	struct trial trial = {.id = id};

	casts_each_ring(casts, try_ring, &trial);
	return trial.is_dead;
}

/* True if there is no more to do about it. */
static bool settle_departure(struct casts *casts, struct cast_departure *departure)
{
	if (is_dead(casts, departure->id)) {
		casts_each_ring(casts, reclaim_ring, departure);
		return true;
	}
	departure->due_ns = cast_now(casts) + (DEATH_NS << departure->tries);
	return ++departure->tries > DEATH_TRIES;
}

void cast_check_departures(struct casts *casts, uint64_t time_ns)
{
	struct cast_departure **at = &casts->departures, *departure;

	while ((departure = *at)) {
		if (departure->due_ns > time_ns || !settle_departure(casts, departure)) {
			at = &departure->next;
			continue;
		}
		*at = departure->next;
		free(departure);
	}
}

/* One that ends again and again is looked at once. */
static void forget_departure(struct casts *casts, uint16_t id)
{
	struct cast_departure **at = &casts->departures, *departure;

	while ((departure = *at) && departure->id != id)
		at = &departure->next;
	if (!departure)
		return;
	*at = departure->next;
	free(departure);
}

void casts_end(struct casts *casts, struct peer *peer)
{
	struct cast_departure *departure;

	if (!casts)
		return;
	forget_departure(casts, peer_id(peer));
	departure = calloc(1, sizeof(*departure));
	if (!departure)
		return; /* its slot stays a hole */
	departure->id = peer_id(peer);
	cast_say(departure->name, sizeof(departure->name), "%s", peer_name(peer));
	if (settle_departure(casts, departure)) {
		free(departure);
	} else {
		departure->next = casts->departures;
		casts->departures = departure;
	}
	casts_plan(casts);
}

/* Whoever looks after a ring that its maker has left, the memory is good. */
static void part_ring(struct casts *casts, struct cast_ring *ring,
		      const struct peer *peer)
{
	cast_ring_remove_member(ring, peer_id(peer));
	if (ring->spec.maker != peer_id(peer))
		return;
	if (ring->spec.lane) {
		cast_ring_free(casts, ring);
	} else if (ring->group) {
		cast_say(ring->group->cause, sizeof(ring->group->cause),
			 "%s left the network", peer_name(peer));
		cast_happen(ring->group, EVENT_MAKER_DIED);
	}
}

void casts_part(struct casts *casts, struct peer *peer, unsigned network)
{
	struct cast_ring *next;

	if (!casts || peer_is_remote(peer))
		return;
	for (struct cast_ring *ring = casts->networks[network].rings; ring; ring = next) {
		next = ring->next;
		part_ring(casts, ring, peer);
	}
	cast_forget_mentions(&casts->networks[network], peer_id(peer));
	casts_plan(casts);
}

static void condemn(struct cast_group *group, void *arg)
{
	const struct peer *peer = arg;

	if (!group->ring || group->ring->spec.lane ||
	    !peer_has_network(peer, group->network) ||
	    !cast_may_share(group->casts, peer, group->network))
		return;
	cast_say(group->cause, sizeof(group->cause), "%s is silent", peer_name(peer));
	cast_happen(group, EVENT_SUSPECT);
}

void casts_silence(struct casts *casts, struct peer *peer)
{
	if (!casts)
		return;
	if (is_dead(casts, peer_id(peer)))
		casts_end(casts, peer);
	else
		casts_each_group(casts, condemn, peer);
	casts_plan(casts);
}
