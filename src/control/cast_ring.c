/*
 * The cast rings that this node has, and what others are told of them. See
 * cast_internal.h.
 *
 * Telling is by state, not by event: each ring has a list of who knows it, who was told
 * that we read it, and who reads it. Whatever happens only changes these; the timer
 * sends what is missing. So a message that could not be sent, a peer that came back, or
 * a ring that changed its maker need no rules of their own.
 */
#include "base/log.h"
#include "control/cast_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- members of a ring ---- */

static unsigned find_index(const struct cast_ring *ring, uint16_t id)
{
	unsigned low = 0, high = ring->num_members;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (ring->members[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct cast_member *add_member(struct cast_ring *ring, unsigned index, uint16_t id)
{
	struct cast_member *grown =
		realloc(ring->members, (ring->num_members + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	ring->members = grown;
	memmove(grown + index + 1, grown + index,
		(ring->num_members - index) * sizeof(*grown));
	grown[index] = (struct cast_member){.id = id};
	ring->num_members++;
	return &grown[index];
}

struct cast_member *cast_ring_member(struct cast_ring *ring, uint16_t id, bool create)
{
	unsigned index = find_index(ring, id);

	if (index < ring->num_members && ring->members[index].id == id)
		return &ring->members[index];
	return create ? add_member(ring, index, id) : NULL;
}

void cast_ring_remove_member(struct cast_ring *ring, uint16_t id)
{
	unsigned index = find_index(ring, id);

	if (index == ring->num_members || ring->members[index].id != id)
		return;
	ring->num_members--;
	memmove(ring->members + index, ring->members + index + 1,
		(ring->num_members - index) * sizeof(*ring->members));
}

void cast_ring_renew(struct cast_ring *ring)
{
	for (unsigned i = 0; i < ring->num_members; i++)
		ring->members[i].knows = false;
}

/* ---- rings ---- */

struct cast_ring *cast_ring_new(const struct world_cast_spec *spec)
{
	struct cast_ring *ring = calloc(1, sizeof(*ring));

	if (ring)
		ring->spec = *spec;
	return ring;
}

void cast_ring_add(struct casts *casts, struct cast_ring *ring, struct world_cast *cast)
{
	struct cast_network *network = &casts->networks[ring->spec.network];

	ring->cast = cast;
	ring->next = network->rings;
	network->rings = ring;
}

bool cast_ring_was_left(const struct casts *casts, unsigned network, uint64_t id)
{
	for (unsigned i = 0; i < CAST_LEFT_MAX; i++) {
		if (casts->networks[network].left[i] == id)
			return true;
	}
	return false;
}

void cast_ring_free(struct casts *casts, struct cast_ring *ring)
{
	struct cast_network *network = &casts->networks[ring->spec.network];
	struct cast_ring **at = &network->rings;

	while (*at != ring)
		at = &(*at)->next;
	*at = ring->next;
	network->left[network->num_left++ % CAST_LEFT_MAX] = ring->spec.id;
	if (ring->group)
		ring->group->ring = NULL;
	cast_ops(casts)->cast_free(ring->cast);
	free(ring->members);
	free(ring);
}

struct cast_ring *cast_ring_find(const struct casts *casts, unsigned network, uint64_t id)
{
	struct cast_ring *at = casts->networks[network].rings;

	while (at && at->spec.id != id)
		at = at->next;
	return at;
}

void cast_ring_retire(struct casts *casts, struct cast_ring *ring)
{
	const struct world_ops *ops = cast_ops(casts);

	ring->group->ring = NULL;
	ring->group = NULL;
	ops->cast_stop_writing(ring->cast);
	ops->cast_close(ring->cast);
	ring->drained_ns = ops->now(casts->owner->world) + CAST_DRAIN_NS;
}

/* ---- readers of rings that are not here ---- */

static void drop_mention(struct cast_network *network, unsigned index)
{
	network->num_mentions--;
	memmove(network->mentions + index, network->mentions + index + 1,
		(network->num_mentions - index) * sizeof(*network->mentions));
}

/* The oldest of too many goes: who sends so many has no use for all of them. */
static void make_room(struct cast_network *network, uint16_t peer_id)
{
	unsigned count = 0, oldest = 0;

	for (unsigned i = network->num_mentions; i-- > 0;) {
		if (network->mentions[i].peer_id != peer_id)
			continue;
		oldest = i;
		count++;
	}
	if (count >= CAST_MENTIONS_MAX)
		drop_mention(network, oldest);
}

static struct cast_mention *find_mention(struct cast_network *network, uint16_t peer_id,
					 uint64_t ring_id)
{
	for (unsigned i = 0; i < network->num_mentions; i++) {
		if (network->mentions[i].peer_id == peer_id &&
		    network->mentions[i].ring_id == ring_id)
			return &network->mentions[i];
	}
	return NULL;
}

/* Without memory for it the peer gets copies for ever, which is not wrong. */
void cast_mention(struct casts *casts, const struct peer *peer, unsigned network,
		  uint64_t ring_id, bool reads)
{
	struct cast_network *at = &casts->networks[network];
	struct cast_mention *grown, *found = find_mention(at, peer_id(peer), ring_id);

	if (found) {
		found->reads |= reads;
		return;
	}
	make_room(at, peer_id(peer));
	grown = realloc(at->mentions, (at->num_mentions + 1) * sizeof(*grown));
	if (!grown)
		return;
	at->mentions = grown;
	grown[at->num_mentions++] = (struct cast_mention){
		.peer_id = peer_id(peer),
		.ring_id = ring_id,
		.reads = reads,
		.ask_ns = cast_ops(casts)->now(casts->owner->world) + CAST_ASK_NS,
	};
}

void cast_ring_recall(struct casts *casts, struct cast_ring *ring)
{
	struct cast_network *network = &casts->networks[ring->spec.network];
	struct cast_member *member;

	for (unsigned i = network->num_mentions; i-- > 0;) {
		if (network->mentions[i].ring_id != ring->spec.id)
			continue;
		member = cast_ring_member(ring, network->mentions[i].peer_id, true);
		if (!member)
			continue;
		member->reads |= network->mentions[i].reads;
		drop_mention(network, i);
	}
}

void cast_ask_again(struct casts *casts, unsigned network)
{
	struct cast_network *at = &casts->networks[network];

	for (unsigned i = 0; i < at->num_mentions; i++)
		at->mentions[i].ask_ns = cast_ops(casts)->now(casts->owner->world);
}

void cast_forget_mentions(struct cast_network *network, uint16_t peer_id)
{
	for (unsigned i = network->num_mentions; i-- > 0;) {
		if (network->mentions[i].peer_id == peer_id)
			drop_mention(network, i);
	}
}

uint64_t cast_ask_next(const struct casts *casts, uint64_t due_ns)
{
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++) {
		const struct cast_network *network = &casts->networks[i];

		for (unsigned j = 0; j < network->num_mentions; j++)
			due_ns = cast_earlier(due_ns, network->mentions[j].ask_ns);
	}
	return due_ns;
}

/* ---- what is said ---- */

bool cast_may_share(const struct casts *casts, const struct peer *peer, unsigned network)
{
	enum cast_mode mode = cast_config(casts, network)->cast;

	if (peer_is_remote(peer) || peer_cast_mode(peer, network) != mode)
		return false;
	return mode == CAST_MODE_LANES || peer_uid(peer) == casts->owner->world->uid;
}

bool cast_is_sharer(const struct casts *casts, const struct peer *peer, unsigned network)
{
	return peer_link(peer, network) && cast_may_share(casts, peer, network);
}

static bool send_cast(const struct casts *casts, struct peer *peer,
		      const struct cast_ring *ring)
{
	const struct world_cast_spec *spec = &ring->spec;
	struct peer_message message = {.type = PEER_MESSAGE_CAST};

	snprintf(message.cast.network, sizeof(message.cast.network), "%s",
		 cast_config(casts, spec->network)->name);
	message.cast.id = spec->id;
	message.cast.depth = spec->depth;
	message.cast.epoch = spec->epoch;
	message.cast.maker = spec->maker;
	message.cast.lane = spec->lane;
	memcpy(message.cast.label, spec->label, sizeof(spec->label));
	return peer_tell(peer, &message, cast_ops(casts)->cast_fd(ring->cast));
}

static bool send_name(const struct casts *casts, struct peer *peer,
		      enum peer_message_type type, unsigned network, uint64_t id)
{
	struct peer_message message = {.type = type};
	struct peer_cast_name *name =
		type == PEER_MESSAGE_READS ? &message.reads : &message.want;

	snprintf(name->network, sizeof(name->network), "%s",
		 cast_config(casts, network)->name);
	name->id = id;
	return peer_tell(peer, &message, -1);
}

/* Of a lane its maker tells, and its readers tell its maker. */
static bool tell_member(struct casts *casts, struct peer *peer, struct cast_ring *ring)
{
	bool is_ours = ring->spec.maker == casts->owner->config->id;
	struct cast_member *member = cast_ring_member(ring, peer_id(peer), true);

	if (!member)
		return true;
	if (!member->knows && (!ring->spec.lane || is_ours)) {
		member->knows = true;
		if (!send_cast(casts, peer, ring))
			return false;
		member = cast_ring_member(ring, peer_id(peer), true);
	}
	if (!member || member->told ||
	    (ring->spec.lane && ring->spec.maker != peer_id(peer)))
		return true;
	member->told = true;
	return send_name(casts, peer, PEER_MESSAGE_READS, ring->spec.network,
			 ring->spec.id);
}

static bool tell_ring(struct casts *casts, struct cast_ring *ring)
{
	struct peer_owner *owner = casts->owner;
	struct peer *peer;

	for (unsigned i = 0; (peer = owner->peer_at(owner, i)); i++) {
		if (cast_is_sharer(casts, peer, ring->spec.network) &&
		    !tell_member(casts, peer, ring))
			return false;
	}
	return true;
}

/* A session that ends by it takes rings and members along: the rest is told later. */
void cast_tell_all(struct casts *casts)
{
	if (!casts->is_dirty)
		return;
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++) {
		for (struct cast_ring *ring = casts->networks[i].rings; ring;
		     ring = ring->next) {
			if (!ring->drained_ns && !tell_ring(casts, ring))
				return;
		}
	}
	casts->is_dirty = false;
}

struct peer *cast_find_peer(const struct casts *casts, uint16_t id)
{
	struct peer *peer;
	unsigned i = 0;

	while ((peer = casts->owner->peer_at(casts->owner, i)) && peer_id(peer) != id)
		i++;
	return peer;
}

static bool ask(struct casts *casts, unsigned network, struct cast_mention *mention)
{
	struct peer *peer = cast_find_peer(casts, mention->peer_id);

	mention->ask_ns = 0;
	if (!peer || !cast_is_sharer(casts, peer, network))
		return true;
	return send_name(casts, peer, PEER_MESSAGE_WANT, network, mention->ring_id);
}

void cast_ask_due(struct casts *casts, uint64_t now_ns)
{
	for (unsigned i = 0; i < casts->owner->config->num_networks; i++) {
		struct cast_network *network = &casts->networks[i];

		for (unsigned j = 0; j < network->num_mentions; j++) {
			struct cast_mention *mention = &network->mentions[j];

			if (mention->ask_ns && mention->ask_ns <= now_ns &&
			    !ask(casts, i, mention))
				return;
		}
	}
}
