/* See member.h. The table of peers, and what the world and they say. */
#include "control/member_internal.h"

#include "control/liveness.h"
#include "control/overlooked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_INCARNATION 1

/* ---- the table ---- */

/* The index of `id`, or where it would be. */
static unsigned find_index(const struct membership *membership, uint16_t id)
{
	unsigned low = 0, high = membership->num_peers;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (peer_id(membership->peers[middle]) < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct peer *find_peer(const struct membership *membership, uint16_t id)
{
	unsigned index = find_index(membership, id);

	if (index == membership->num_peers || peer_id(membership->peers[index]) != id)
		return NULL;
	return membership->peers[index];
}

static void say_forgotten(struct membership *membership, const struct peer *peer)
{
	struct world *world = membership->owner.world;
	char more[48] = "";
	unsigned held_back;

	if (!log_limit_pass(&membership->forget_limit, world->ops->now(world),
			    &held_back))
		return;
	if (held_back)
		snprintf(more, sizeof(more), ", as %u more were before", held_back);
	log_info(member_own_name(&membership->owner),
		 "%s (id %u) is forgotten%s: it is gone, and %u nodes are remembered",
		 peer_name(peer), peer_id(peer), more, membership->num_peers);
}

/* Of those who may be forgotten: one that never was more than a word, or the first that
 * went. num_peers: there is none. */
static unsigned find_forgettable(const struct membership *membership)
{
	unsigned found = membership->num_peers;

	for (unsigned i = 0; i < membership->num_peers; i++) {
		const struct peer *peer = membership->peers[i];

		if (peer_may_be_forgotten(peer) &&
		    (found == membership->num_peers ||
		     peer_down_ns(peer) < peer_down_ns(membership->peers[found])))
			found = i;
	}
	return found;
}

/*
 * Anybody can make us remember an id, by saying that it is theirs, or somebody's, and who
 * joins under one id after the other has all of them known. So when there is no room, who
 * is gone makes some; all that is lost is how far its incarnation was.
 */
static bool make_room(struct membership *membership)
{
	unsigned index = find_forgettable(membership);
	struct peer *peer;

	if (index == membership->num_peers)
		return false;
	peer = membership->peers[index];
	if (peer_is_known(peer))
		say_forgotten(membership, peer);
	membership->num_peers--;
	memmove(membership->peers + index, membership->peers + index + 1,
		(membership->num_peers - index) * sizeof(struct peer *));
	peer_free(peer);
	return true;
}

static int insert_peer(struct membership *membership, uint16_t id, struct peer **ret_peer)
{
	struct peer **peers, *peer;
	unsigned index;
	int ret;

	if (membership->num_peers == MEMBER_PEERS_MAX && !make_room(membership))
		return -ENOSPC;
	index = find_index(membership, id);
	peers = realloc(membership->peers, (membership->num_peers + 1) * sizeof(*peers));
	if (!peers)
		return -ENOMEM;
	membership->peers = peers;
	ret = peer_new(&membership->owner, id, &peer);
	if (ret < 0)
		return ret;
	memmove(peers + index + 1, peers + index,
		(membership->num_peers - index) * sizeof(*peers));
	peers[index] = peer;
	membership->num_peers++;
	*ret_peer = peer;
	return 0;
}

int member_need(struct membership *membership, uint16_t id, struct peer **ret_peer)
{
	struct peer *peer = find_peer(membership, id);

	if (!peer)
		return insert_peer(membership, id, ret_peer);
	*ret_peer = peer;
	return 0;
}

/* ---- what the world says ---- */

static void on_accepted(void *arg, struct world_channel *channel)
{
	member_accept(arg, channel);
}

/* Who makes up nodes can make us say this. */
static void pass_over(struct membership *membership, uint16_t node_id)
{
	struct world *world = membership->owner.world;
	char more[48] = "";
	unsigned held_back;

	if (!log_limit_pass(&membership->full_limit, world->ops->now(world), &held_back))
		return;
	if (held_back)
		snprintf(more, sizeof(more), ", as %u more were before", held_back);
	log_warn(member_own_name(&membership->owner),
		 "id %u is passed over%s: %u nodes are remembered already", node_id, more,
		 membership->num_peers);
}

static void on_appeared(void *arg, uint16_t node_id)
{
	struct membership *membership = arg;
	struct peer *peer;
	int ret;

	if (node_id == membership->owner.config->id)
		return;
	ret = member_need(membership, node_id, &peer);
	if (ret == 0)
		peer_appear(peer);
	else if (ret == -ENOMEM)
		overlooked_add(membership->overlooked, node_id);
	else
		pass_over(membership, node_id);
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	struct membership *membership = arg;
	struct peer *peer = find_peer(membership, node_id);

	overlooked_remove(membership->overlooked, node_id);
	if (peer)
		peer_disappear(peer);
}

static void on_conn_ready(void *arg, struct world_conn *conn)
{
	struct membership *membership = arg;

	for (unsigned i = 0; i < membership->num_peers; i++) {
		if (peer_conn_ready(membership->peers[i], conn))
			return;
	}
}

static void on_conn_lost(void *arg, struct world_conn *conn, const char *words)
{
	struct membership *membership = arg;

	for (unsigned i = 0; i < membership->num_peers; i++) {
		if (peer_conn_lost(membership->peers[i], conn, words))
			return;
	}
}

static void on_link_fault(void *arg, struct world_link *link, int error, const char *why)
{
	struct membership *membership = arg;

	for (unsigned i = 0; i < membership->num_peers; i++) {
		if (peer_link_fault(membership->peers[i], link, error, why))
			return;
	}
}

static void on_link_message(void *arg, struct world_link *link, const uint8_t *bytes,
			    size_t length)
{
	const struct membership *membership = arg;
	int network = -1;

	if (!membership->handler->message)
		return;
	for (unsigned i = 0; i < membership->num_peers && network < 0; i++) {
		network = peer_link_network(membership->peers[i], link);
		if (network >= 0)
			membership->handler->message(membership->arg, (unsigned)network,
						     peer_id(membership->peers[i]), bytes,
						     length);
	}
}

static void on_cast_wanted(void *arg, unsigned network,
			   const uint8_t label[SHMNET_ETH_ALEN])
{
	struct membership *membership = arg;

	casts_want(membership->owner.casts, network, label);
}

static void on_cast_fault(void *arg, struct world_cast *cast, int error)
{
	struct membership *membership = arg;

	casts_fault(membership->owner.casts, cast, error);
}

static const struct world_handler world_handler = {
	.accepted = on_accepted,
	.appeared = on_appeared,
	.disappeared = on_disappeared,
	.conn_ready = on_conn_ready,
	.conn_lost = on_conn_lost,
	.link_fault = on_link_fault,
	.link_message = on_link_message,
	.cast_wanted = on_cast_wanted,
	.cast_fault = on_cast_fault,
};

/* ---- what the peers say ---- */

static void raise_incarnation(struct peer_owner *owner, uint32_t floor)
{
	struct membership *membership = (struct membership *)owner;

	if (floor < owner->incarnation)
		return;
	owner->incarnation = floor + 1;
	log_debug(member_own_name(owner), "incarnation %u by a peer's word",
		  owner->incarnation);
	for (unsigned i = 0; i < membership->num_peers; i++)
		peer_send_incarnation(membership->peers[i]);
}

static void change_link(struct peer_owner *owner, struct peer *peer, unsigned network,
			bool is_up)
{
	struct membership *membership = (struct membership *)owner;
	const struct membership_handler *handler = membership->handler;
	unsigned before = membership->links[network];

	membership->links[network] += is_up ? 1u : -1u;
	if (before == 0 || membership->links[network] == 0)
		handler->network_carrier(membership->arg, network, is_up);
	if (is_up && handler->link_up)
		handler->link_up(membership->arg, network, peer_id(peer),
				 peer_name(peer));
	if (!is_up && handler->link_down)
		handler->link_down(membership->arg, network, peer_id(peer));
}

static void change_pause(struct peer_owner *owner, struct peer *peer, unsigned network,
			 bool is_paused)
{
	const struct membership *membership = (struct membership *)owner;

	if (membership->handler->peer_paused)
		membership->handler->peer_paused(membership->arg, network, peer_id(peer),
						 is_paused);
}

static void suspect_peer(struct peer_owner *owner, struct peer *peer, bool is_suspect)
{
	const struct membership *membership = (struct membership *)owner;

	if (membership->handler->peer_suspect)
		membership->handler->peer_suspect(membership->arg, peer_id(peer),
						  is_suspect);
}

static struct peer *peer_at(struct peer_owner *owner, unsigned index)
{
	const struct membership *membership = (struct membership *)owner;

	return index < membership->num_peers ? membership->peers[index] : NULL;
}

/* The memory that all write to is everybody's matter. */
static void end_peer(struct peer_owner *owner, struct peer *peer, enum peer_end end)
{
	if (peer_is_remote(peer))
		return;
	if (end == PEER_END_CLOSED)
		casts_end(owner->casts, peer);
	else if (end == PEER_END_SILENT)
		casts_silence(owner->casts, peer);
}

static void wake_guests(struct peer_owner *owner, struct peer *peer)
{
	member_wake_guests((struct membership *)owner, peer_id(peer));
}

/* ---- its own life ---- */

static void free_parts(struct membership *membership)
{
	casts_free(membership->owner.casts);
	membership->owner.casts = NULL;
	liveness_free(membership->liveness);
	overlooked_free(membership->overlooked);
}

static int make_parts(struct membership *membership)
{
	int ret = overlooked_new(membership->owner.world, on_appeared, membership,
				 &membership->overlooked);

	if (ret == 0)
		ret = liveness_new(&membership->owner, &membership->liveness);
	if (ret == 0)
		ret = casts_new(&membership->owner, &membership->owner.casts);
	return ret;
}

int membership_new(const struct node_config *config, struct world *world,
		   struct events *events, const struct membership_handler *handler,
		   void *arg, struct membership **ret_membership)
{
	struct membership *membership = calloc(1, sizeof(*membership));
	int ret;

	if (!membership)
		return -ENOMEM;
	membership->handler = handler;
	membership->arg = arg;
	membership->owner = (struct peer_owner){
		.world = world,
		.config = config,
		.events = events,
		.incarnation = FIRST_INCARNATION,
		.raise = raise_incarnation,
		.link_changed = change_link,
		.pause_changed = change_pause,
		.suspected = suspect_peer,
		.peer_at = peer_at,
		.hung_up = wake_guests,
		.ended = end_peer,
		.admit = member_admit_dialled,
	};
	for (unsigned i = 0; i < config->num_networks; i++)
		membership->owner.offloads[i] = config->networks[i].offloads;
	world->ops->random(world, &membership->owner.nonce,
			   sizeof(membership->owner.nonce));
	ret = make_parts(membership);
	if (ret < 0) {
		free_parts(membership);
		free(membership);
		return ret;
	}
	world->handler = &world_handler;
	world->handler_arg = membership;
	*ret_membership = membership;
	return 0;
}

void membership_set_offloads(struct membership *membership, unsigned network,
			     uint32_t offloads)
{
	membership->owner.offloads[network] = offloads;
}

void membership_pause(struct membership *membership, unsigned network, bool is_paused)
{
	if (membership->owner.paused[network] == is_paused)
		return;
	membership->owner.paused[network] = is_paused;
	for (unsigned i = 0; i < membership->num_peers; i++)
		peer_send_pause(membership->peers[i], network);
}

void membership_set_border(struct membership *membership,
			   const struct peer_border *border)
{
	membership->owner.border = *border;
	for (unsigned i = 0; i < membership->num_peers; i++)
		peer_send_border(membership->peers[i]);
}

void membership_free(struct membership *membership)
{
	if (!membership)
		return;
	free_parts(membership);
	member_free_guests(membership);
	/* Who is told of a link that goes may send to the others. */
	while (membership->num_peers)
		peer_free(membership->peers[--membership->num_peers]);
	membership->owner.world->handler = NULL;
	free(membership->peers);
	free(membership);
}

int membership_send(struct membership *membership, unsigned network, uint16_t peer_id,
		    const uint8_t *bytes, size_t length)
{
	const struct peer *peer = find_peer(membership, peer_id);

	return peer ? peer_write(peer, network, bytes, length) : -ENOTCONN;
}

void membership_add_network(struct membership *membership, unsigned network)
{
	casts_add_network(membership->owner.casts, network);
	for (unsigned i = 0; i < membership->num_peers; i++)
		peer_open_network(membership->peers[i], network);
}

void membership_remove_network(struct membership *membership, unsigned network)
{
	for (unsigned i = 0; i < membership->num_peers; i++)
		peer_close_network(membership->peers[i], network);
	membership->owner.paused[network] = false;
	casts_remove_network(membership->owner.casts, network);
}

void membership_tell_networks(struct membership *membership)
{
	membership->owner.generation++;
	for (unsigned i = 0; i < membership->num_peers; i++)
		peer_tell_networks(membership->peers[i]);
}

void membership_expel_strangers(struct membership *membership)
{
	for (unsigned i = 0; i < membership->num_peers; i++) {
		struct peer *peer = membership->peers[i];
		const struct world_credentials credentials = {
			.is_remote = peer_is_remote(peer),
			.pid = peer_pid(peer),
			.uid = peer_uid(peer),
		};
		struct peer_refuse refuse;

		if (peer_has_channel(peer) &&
		    !member_admit_user(&membership->owner, &credentials, &refuse))
			peer_expel(peer, &refuse);
	}
}
