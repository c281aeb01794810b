/*
 * See cast.h. What the world says of rings, the one timer of them all, and life.
 * Control thread.
 */
#include "base/log.h"
#include "control/cast_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is due ---- */

void casts_each_group(struct casts *casts,
		      void (*each)(struct cast_group *group, void *arg), void *arg)
{
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++) {
		for (unsigned j = 0; j <= cast_config(casts, i)->multicast_rings; j++) {
			if (casts->networks[i].groups[j].is_used)
				each(&casts->networks[i].groups[j], arg);
		}
	}
}

void casts_each_ring(struct casts *casts,
		     void (*each)(struct casts *casts, struct cast_ring *ring, void *arg),
		     void *arg)
{
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++) {
		struct cast_ring *next;

		for (struct cast_ring *ring = casts->networks[i].rings; ring;
		     ring = next) {
			next = ring->next;
			each(casts, ring, arg);
		}
	}
}

static void plan_group(struct cast_group *group, void *arg)
{
	uint64_t *due_ns = arg;

	*due_ns = cast_earlier(*due_ns, group->due_ns);
}

static void plan_ring(struct casts *casts, struct cast_ring *ring, void *arg)
{
	uint64_t *due_ns = arg;

	(void)casts;
	*due_ns = cast_earlier(*due_ns, ring->drained_ns);
}

void casts_plan(struct casts *casts)
{
	uint64_t due_ns = casts->is_dirty ? 1 : 0, time_ns = cast_now(casts);

	casts_each_group(casts, plan_group, &due_ns);
	casts_each_ring(casts, plan_ring, &due_ns);
	for (struct cast_departure *at = casts->departures; at; at = at->next)
		due_ns = cast_earlier(due_ns, at->due_ns);
	due_ns = cast_ask_next(casts, due_ns);
	if (due_ns)
		cast_ops(casts)->timer_set(casts->timer,
					   due_ns > time_ns ? due_ns - time_ns : 0);
	else
		cast_ops(casts)->timer_cancel(casts->timer);
}

static void check_group(struct cast_group *group, void *arg)
{
	const uint64_t *time_ns = arg;

	if (group->due_ns && group->due_ns <= *time_ns)
		cast_happen(group, EVENT_TIMER);
}

static void check_ring(struct casts *casts, struct cast_ring *ring, void *arg)
{
	const uint64_t *time_ns = arg;

	if (ring->drained_ns && ring->drained_ns <= *time_ns)
		cast_ring_free(casts, ring);
}

/* ---- the timer ---- */

static void on_timer(void *arg)
{
	struct casts *casts = arg;
	uint64_t time_ns = cast_now(casts);

	cast_check_departures(casts, time_ns);
	casts_each_group(casts, check_group, &time_ns);
	casts_each_ring(casts, check_ring, &time_ns);
	cast_ask_due(casts, time_ns);
	cast_tell_all(casts);
	casts_plan(casts);
}

/* ---- what the world says ---- */

/* Alone there is nobody to share with. */
static bool has_sharer(const struct casts *casts, unsigned network)
{
	struct peer_owner *owner = casts->owner;
	struct peer *peer;

	for (unsigned i = 0; (peer = owner->peer_at(owner, i)); i++) {
		if (cast_is_sharer(casts, peer, network))
			return true;
	}
	return false;
}

void casts_want(struct casts *casts, unsigned network,
		const uint8_t label[SHMNET_ETH_ALEN])
{
	struct cast_group *group = NULL;

	if (!casts)
		return;
	if (has_sharer(casts, network) &&
	    (!cast_has_lanes(casts, network) ||
	     memcmp(label, cast_broadcast, sizeof(cast_broadcast)) == 0))
		group = cast_group_need(casts, network, label);
	if (!group) {
		cast_ops(casts)->cast_answered(casts->owner->world, network, label);
		return;
	}
	group->is_wanted = true;
	cast_say(group->cause, sizeof(group->cause), "the first cast");
	cast_happen(group, EVENT_WANTED);
	casts_plan(casts);
}

static struct cast_ring *find_by_cast(const struct casts *casts,
				      const struct world_cast *cast)
{
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++) {
		for (struct cast_ring *ring = casts->networks[i].rings; ring;
		     ring = ring->next) {
			if (ring->cast == cast)
				return ring;
		}
	}
	return NULL;
}

/* Only its maker can have done it; of ours nobody reads here. */
static void lane_fault(struct casts *casts, struct cast_ring *ring, int error)
{
	struct peer *peer = cast_find_peer(casts, ring->spec.maker);
	char words[CAST_WORDS_MAX];

	if (!peer)
		return;
	cast_say(words, sizeof(words),
		 "%s broke the rules of its cast lane of network %s", peer_name(peer),
		 cast_config(casts, ring->spec.network)->name);
	cast_ring_free(casts, ring);
	if (error == -EPROTO)
		peer_blame(peer, words);
}

void casts_fault(struct casts *casts, struct world_cast *cast, int error)
{
	struct cast_ring *ring = casts ? find_by_cast(casts, cast) : NULL;

	if (!ring)
		return;
	if (ring->spec.lane) {
		lane_fault(casts, ring, error);
	} else if (!ring->group) {
		cast_ring_free(casts, ring);
	} else if (error == -ESHUTDOWN) {
		cast_happen(ring->group, EVENT_CLOSED);
	} else {
		struct cast_label_text name;

		cast_warn(ring->group, &casts->nonsense_limit,
			  "the ring of %s holds nonsense that one of its members wrote",
			  cast_label_text(ring->group->label, &name));
		cast_say(ring->group->cause, sizeof(ring->group->cause),
			 "the former one held nonsense");
		cast_happen(ring->group, EVENT_BROKEN);
	}
	casts_plan(casts);
}

/* ---- life ---- */

int casts_new(struct peer_owner *owner, struct casts **ret_casts)
{
	struct casts *casts = calloc(1, sizeof(*casts));

	if (!casts)
		return -ENOMEM;
	casts->owner = owner;
	casts->timer = owner->world->ops->timer_new(owner->world, on_timer, casts);
	if (!casts->timer) {
		free(casts);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < owner->config->num_networks; i++)
		casts_add_network(casts, i);
	*ret_casts = casts;
	return 0;
}

void casts_add_network(struct casts *casts, unsigned network)
{
	cast_group_init(casts, network, &casts->networks[network].groups[0],
			cast_broadcast);
}

void casts_remove_network(struct casts *casts, unsigned network)
{
	struct cast_network *at = &casts->networks[network];

	while (at->rings)
		cast_ring_free(casts, at->rings);
	free(at->mentions);
	memset(at, 0, sizeof(*at));
	casts_plan(casts);
}

static void free_ring(struct casts *casts, struct cast_ring *ring, void *arg)
{
	(void)arg;
	cast_ring_free(casts, ring);
}

void casts_free(struct casts *casts)
{
	struct cast_departure *next;

	if (!casts)
		return;
	casts_each_ring(casts, free_ring, NULL);
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++)
		free(casts->networks[i].mentions);
	for (struct cast_departure *at = casts->departures; at; at = next) {
		next = at->next;
		free(at);
	}
	cast_ops(casts)->timer_free(casts->timer);
	free(casts);
}
