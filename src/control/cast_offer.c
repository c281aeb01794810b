/*
 * What peers say of cast rings, and what their coming and going means for those. See
 * cast_internal.h. All of what they say is checked: a peer may lie.
 */
#include "base/log.h"
#include "control/cast_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what happens to a peer ---- */

static void link_ring(struct casts *casts, struct cast_ring *ring, struct peer *peer)
{
	struct cast_member *member = cast_ring_member(ring, peer_id(peer), false);

	if (member && member->reads && !ring->drained_ns)
		cast_ops(casts)->cast_set_reader(ring->cast,
						 peer_link(peer, ring->spec.network));
}

static void warn_of_mode(const struct casts *casts, const struct peer *peer,
			 unsigned network)
{
	char words[CAST_WORDS_MAX];

	if (cast_no_sharer_reason(casts, peer, network, words, sizeof(words)))
		log_warn(peer_name(peer), "%s", words);
}

void casts_link(struct casts *casts, struct peer *peer, unsigned network)
{
	if (!casts || peer_is_remote(peer))
		return;
	for (struct cast_ring *ring = casts->networks[network].rings; ring;
	     ring = ring->next)
		link_ring(casts, ring, peer);
	warn_of_mode(casts, peer, network);
	casts->is_dirty = true;
	casts_plan(casts);
}

static void forget_ring(struct casts *casts, struct cast_ring *ring, void *arg)
{
	const struct peer *peer = arg;

	cast_ring_remove_member(ring, peer_id(peer));
	if (ring->spec.lane && ring->spec.maker == peer_id(peer))
		cast_ring_free(casts, ring);
}

static void clear_ring(struct casts *casts, struct cast_ring *ring, void *arg)
{
	const struct peer *peer = arg;

	if (!ring->spec.lane)
		(void)cast_ops(casts)->cast_reclaim(casts->owner->world, ring->cast,
						    peer_id(peer));
}

void casts_forget(struct casts *casts, struct peer *peer, bool may_be_dead)
{
	if (!casts || peer_is_remote(peer))
		return;
	if (may_be_dead)
		casts_each_ring(casts, clear_ring, peer);
	casts_each_ring(casts, forget_ring, peer);
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++)
		cast_forget_mentions(&casts->networks[i], peer_id(peer));
	casts_plan(casts);
}

/* ---- what a peer says ---- */

struct offer {
	struct casts *casts;
	struct peer *peer;
	unsigned network;
	const struct peer_cast *cast;
	struct world_parcel *parcel;
	char *why;
	size_t size;
};

static bool is_better(const struct peer_cast *offer, const struct cast_ring *ring)
{
	if (offer->epoch != ring->spec.epoch)
		return offer->epoch > ring->spec.epoch;
	return offer->id > ring->spec.id;
}

/*
 * The same id is the same memory, so another shape is a lie. Another group is one too,
 * but not always of who says it: who was told so first passes it on. Then we know better,
 * and have the ring all the same.
 */
static bool take_known(const struct offer *offer, struct cast_ring *ring)
{
	struct casts *casts = offer->casts;
	const struct peer_cast *cast = offer->cast;
	struct cast_member *member;

	if (cast->depth != ring->spec.depth || cast->lane != ring->spec.lane) {
		cast_say(offer->why, offer->size,
			 "%s gave cast ring %016llx of network %s with %u slots another "
			 "shape than %s knows (%u slots)",
			 peer_name(offer->peer), (unsigned long long)cast->id,
			 cast_config(casts, offer->network)->name, cast->depth,
			 casts->owner->config->name, ring->spec.depth);
		return false;
	}
	if (cast->epoch >= ring->spec.epoch) {
		member = cast_ring_member(ring, peer_id(offer->peer), true);
		if (member)
			member->knows = true;
	}
	if (cast->epoch <= ring->spec.epoch || !ring->group ||
	    memcmp(cast->label, ring->spec.label, sizeof(cast->label)) != 0)
		return true;
	ring->spec.epoch = cast->epoch;
	ring->spec.maker = cast->maker;
	cast_happen(ring->group, EVENT_RENEWED);
	return true;
}

static void fill_spec(const struct offer *offer, struct world_cast_spec *spec)
{
	const struct peer_cast *cast = offer->cast;

	*spec = (struct world_cast_spec){
		.network = offer->network,
		.id = cast->id,
		.epoch = cast->epoch,
		.depth = cast->depth,
		.lane = cast->lane,
		.maker = cast->maker,
	};
	memcpy(spec->label, cast->label, sizeof(spec->label));
}

/* A ring that is not added yet. 0; -EPROTO: the peer's fault, in words; else ours. */
static int accept_offer(const struct offer *offer, struct cast_ring **ret_ring,
			struct world_cast **ret_cast, const char **ret_why)
{
	struct casts *casts = offer->casts;
	struct world_cast_spec spec;
	struct cast_ring *ring;
	int ret;

	fill_spec(offer, &spec);
	ring = cast_ring_new(&spec);
	*ret_why = "out of memory";
	if (!ring)
		return -ENOMEM;
	ret = cast_ops(casts)->cast_accept(casts->owner->world, offer->parcel, &spec,
					   ret_cast, ret_why);
	if (ret < 0)
		free(ring);
	else
		*ret_ring = ring;
	if (ret == -EPROTO)
		cast_say(offer->why, offer->size,
			 "the cast ring of %s for network %s: %s", peer_name(offer->peer),
			 cast_config(casts, offer->network)->name, *ret_why);
	return ret;
}

/* It is asked for again, as any other ring that is mentioned but not here. */
static void starve_offer(const struct offer *offer, struct cast_group *group)
{
	cast_mention(offer->casts, offer->peer, offer->network, offer->cast->id, false);
	cast_happen(group, EVENT_UNFIT);
}

static bool take_shared(const struct offer *offer)
{
	struct casts *casts = offer->casts;
	struct cast_group *group =
		cast_group_need(casts, offer->network, offer->cast->label);
	struct cast_ring *ring;
	struct world_cast *cast;
	const char *why;
	int ret;

	if (!group || (group->ring && !is_better(offer->cast, group->ring)) ||
	    cast_ring_was_left(casts, offer->network, offer->cast->id))
		return true;
	ret = accept_offer(offer, &ring, &cast, &why);
	if (ret == -EPROTO)
		return false;
	if (ret < 0) {
		cast_say(group->reason, sizeof(group->reason), "%s", why);
		starve_offer(offer, group);
		return true;
	}
	cast_group_use(group, ring, cast);
	cast_ring_member(group->ring, peer_id(offer->peer), true);
	cast_happen(group, EVENT_OFFERED);
	return true;
}

static bool take_lane(const struct offer *offer)
{
	struct casts *casts = offer->casts;
	struct cast_ring *lane;
	struct world_cast *cast;
	const char *why;
	int ret;

	for (struct cast_ring *ring = casts->networks[offer->network].rings; ring;
	     ring = ring->next) {
		if (ring->spec.maker == offer->cast->maker) {
			cast_say(offer->why, offer->size,
				 "%s sent a second cast lane for network %s",
				 peer_name(offer->peer),
				 cast_config(casts, offer->network)->name);
			return false;
		}
	}
	ret = accept_offer(offer, &lane, &cast, &why);
	if (ret == 0)
		cast_ring_add(casts, lane, cast);
	else if (ret != -EPROTO)
		log_warn(peer_name(offer->peer),
			 "its cast lane of network %s is not read: %s",
			 cast_config(casts, offer->network)->name, why);
	return ret != -EPROTO;
}

static bool check_offer(const struct offer *offer)
{
	const struct casts *casts = offer->casts;
	const struct peer_cast *cast = offer->cast;
	const char *network = cast_config(casts, offer->network)->name;

	if (cast->lane && cast->maker != peer_id(offer->peer)) {
		cast_say(offer->why, offer->size,
			 "%s (id %u) sent a cast lane of id %u for network %s",
			 peer_name(offer->peer), peer_id(offer->peer), cast->maker,
			 network);
		return false;
	}
	if (cast_may_share(casts, offer->peer, offer->network) &&
	    cast->lane == cast_has_lanes(casts, offer->network))
		return true;
	cast_say(offer->why, offer->size,
		 "%s (uid %lu) sent a %s for network %s, which has no such with %s (uid "
		 "%lu)",
		 peer_name(offer->peer), (unsigned long)peer_uid(offer->peer),
		 cast->lane ? "cast lane" : "shared cast ring", network,
		 casts->owner->config->name, (unsigned long)casts->owner->world->uid);
	return false;
}

bool casts_take_offer(struct casts *casts, struct peer *peer, unsigned network,
		      const struct peer_cast *cast, struct world_parcel *parcel,
		      char *why, size_t size)
{
	const struct offer offer = {casts, peer, network, cast, parcel, why, size};
	struct cast_ring *ring;
	bool ok;

	if (!casts)
		return true;
	if (!check_offer(&offer))
		return false;
	if (!cast->lane && cast->epoch > casts->networks[network].epoch)
		casts->networks[network].epoch = cast->epoch;
	ring = cast_ring_find(casts, network, cast->id);
	if (ring)
		ok = take_known(&offer, ring);
	else
		ok = cast->lane ? take_lane(&offer) : take_shared(&offer);
	casts->is_dirty = true;
	casts_plan(casts);
	return ok;
}

void casts_take_reads(struct casts *casts, struct peer *peer, unsigned network,
		      uint64_t id)
{
	struct cast_ring *ring;
	struct cast_member *member;

	if (!casts || !cast_may_share(casts, peer, network))
		return;
	ring = cast_ring_find(casts, network, id);
	if (!ring) {
		cast_mention(casts, peer, network, id, true);
		casts_plan(casts);
		return;
	}
	member = cast_ring_member(ring, peer_id(peer), true);
	if (!member)
		return;
	member->reads = true;
	if (peer_link(peer, network))
		link_ring(casts, ring, peer);
}

void casts_take_want(struct casts *casts, struct peer *peer, unsigned network,
		     uint64_t id)
{
	struct cast_ring *ring = casts ? cast_ring_find(casts, network, id) : NULL;
	struct cast_member *member;

	if (!ring || ring->drained_ns)
		return;
	member = cast_ring_member(ring, peer_id(peer), true);
	if (!member)
		return;
	member->knows = false;
	casts->is_dirty = true;
	casts_plan(casts);
}
