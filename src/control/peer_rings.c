/*
 * What a pair has together: the doorbells, and for each common network two rings and a
 * link. See peer_internal.h.
 */
#include "base/log.h"
#include "control/cast.h"
#include "control/peer_internal.h"

#include <errno.h>
#include <string.h>

/* ---- what we offer ---- */

static void take_offer(const struct world_offer *offer, struct peer_wire *ret_wire)
{
	_Static_assert(WORLD_OFFER_MAX == PEER_WIRE_MAX, "what is offered is sent");
	ret_wire->length = offer->length;
	memcpy(ret_wire->bytes, offer->bytes, offer->length);
}

static enum peer_event send_ring(struct peer *peer, unsigned network)
{
	struct peer_message message = {.type = PEER_MESSAGE_RING};
	struct peer_lane *lane = peer_lane(peer, network);
	struct world_offer offer;

	peer_ops(peer)->random(peer->owner->world, &lane->rx_salt, sizeof(lane->rx_salt));
	peer_say(message.ring.network, sizeof(message.ring.network), "%s",
		 peer_network_name(peer, network));
	message.ring.size = peer->owner->config->networks[network].ring_size;
	message.ring.salt = lane->rx_salt;
	message.ring.epoch = ++peer->owner->last_epoch;
	message.ring.heard = peer->session.heard;
	peer_ops(peer)->ring_offer(lane->rx, &offer);
	take_offer(&offer, &message.ring.wire);
	return peer_send(peer, &message, offer.fd);
}

/* Without memory the network is left out for now, the others go on. */
static enum peer_event offer_ring(struct peer *peer, unsigned network)
{
	const struct config_network *config = &peer->owner->config->networks[network];
	struct peer_lane *lane = peer_lane(peer, network);
	const char *why;

	if (!lane->is_common || lane->rx || lane->link)
		return EVENT_NONE;
	if (peer_ops(peer)->ring_new(peer->session.conn, network, config->ring_size,
				     &lane->rx, &why) < 0) {
		peer_say(lane->reason, sizeof(lane->reason), "no ring for network %s: %s",
			 config->name, why);
		log_warn(peer->name, "%s", lane->reason);
		return EVENT_NONE;
	}
	return send_ring(peer, network);
}

enum peer_event peer_offer_rings(struct peer *peer)
{
	for (unsigned i = 0; i < peer_num_networks(peer); i++) {
		enum peer_event event = offer_ring(peer, i);

		if (event != EVENT_NONE)
			return event;
	}
	return EVENT_NONE;
}

/* True if each common network has a ring of ours; else they are made later. */
bool peer_has_all_rings(struct peer *peer)
{
	for (unsigned i = 0; i < peer_num_networks(peer); i++) {
		const struct peer_lane *lane = peer_lane(peer, i);

		if (lane->is_common && !lane->rx && !lane->link)
			return false;
	}
	return true;
}

static enum peer_event refuse_conn(struct peer *peer, int error, const char *why)
{
	if (error != -ENETDOWN)
		return peer_complain(peer, PEER_REFUSAL_RESOURCE,
				     "no connection from %s to %s: %s",
				     peer->owner->config->name, peer->name, why);
	/* For now: it is tried again at the pace of dialling. */
	peer_say(peer->reason, sizeof(peer->reason), "%s", why);
	return EVENT_BROKEN;
}

/* Who dials connects, too. */
enum peer_event peer_offer_bell(struct peer *peer)
{
	struct peer_message message = {.type = PEER_MESSAGE_BELL};
	struct world_offer offer;
	const char *why;
	int ret;

	ret = peer_ops(peer)->conn_new(peer->owner->world, peer->session.channel,
				       peer->id, peer_we_dial(peer), &peer->session.conn,
				       &why);
	if (ret < 0)
		return refuse_conn(peer, ret, why);
	peer_say(peer->fabric, sizeof(peer->fabric), "%s",
		 peer_ops(peer)->conn_fabric(peer->session.conn));
	peer_ops(peer)->conn_offer(peer->session.conn, &offer);
	take_offer(&offer, &message.bell.wire);
	return peer_send(peer, &message, offer.fd);
}

/* ---- links ---- */

static enum peer_event attach_lane(struct peer *peer, unsigned network)
{
	struct peer_lane *lane = peer_lane(peer, network);
	struct world_link_spec spec = {
		.network = network,
		.peer_id = peer->id,
		.conn = peer->session.conn,
		.rx = lane->rx,
		.tx = lane->tx,
		.rx_salt = lane->rx_salt,
		.tx_salt = lane->tx_salt,
		.offloads = peer_offloads(peer, network),
		.is_trusted = !peer_is_remote(peer) &&
			      peer_uid(peer) == peer->owner->world->uid,
	};
	int ret;

	if (lane->link || !lane->rx || !lane->tx)
		return EVENT_NONE;
	ret = peer_ops(peer)->link_new(peer->owner->world, &spec, &lane->link);
	if (ret < 0)
		return peer_complain(peer, PEER_REFUSAL_RESOURCE,
				     "no link on %s for network %s: %s",
				     peer->owner->config->name,
				     peer_network_name(peer, network), strerror(-ret));
	lane->rx = NULL;
	lane->tx = NULL;
	lane->reason[0] = '\0';
	peer->owner->link_changed(peer->owner, peer, network, true);
	peer_attach_pause(peer, network);
	casts_link(peer->owner->casts, peer, network);
	return EVENT_NONE;
}

enum peer_event peer_attach_lanes(struct peer *peer)
{
	for (unsigned i = 0; i < peer_num_networks(peer); i++) {
		enum peer_event event = attach_lane(peer, i);

		if (event != EVENT_NONE)
			return event;
	}
	return EVENT_NONE;
}

unsigned peer_count_links(struct peer *peer)
{
	unsigned count = 0;

	for (unsigned i = 0; i < peer_num_networks(peer); i++)
		count += peer_lane(peer, i)->link != NULL;
	return count;
}

int peer_link_network(const struct peer *peer, const struct world_link *link)
{
	for (unsigned i = 0; i < peer_num_networks(peer); i++) {
		if (link && peer_link(peer, i) == link)
			return (int)i;
	}
	return -1;
}

int peer_write(const struct peer *peer, unsigned network, const uint8_t *bytes,
	       size_t length)
{
	struct world_link *link = peer_link(peer, network);

	return link ? peer_ops(peer)->link_send(link, bytes, length) : -ENOTCONN;
}

static void detach_lane(struct peer *peer, unsigned network, bool peer_is_dead)
{
	struct peer_lane *lane = peer_lane(peer, network);

	if (lane->link) {
		peer_ops(peer)->link_free(lane->link,
					  peer_is_dead && !peer->session.is_given_up);
		lane->link = NULL;
		peer->owner->link_changed(peer->owner, peer, network, false);
	} else {
		peer_ops(peer)->ring_free(lane->rx);
		peer_ops(peer)->ring_free(lane->tx);
	}
}

void peer_leave_lane(struct peer *peer, unsigned network, bool peer_is_done)
{
	struct peer_lane *lane = peer_lane(peer, network);

	casts_part(peer->owner->casts, peer, network);
	detach_lane(peer, network, peer_is_done);
	lane->is_common = false;
	lane->is_paused = false;
	lane->rx = NULL;
	lane->tx = NULL;
}

/* From here on we store nothing into the peer's memory. */
void peer_detach(struct peer *peer, bool peer_is_dead)
{
	casts_forget(peer->owner->casts, peer, peer_is_dead);
	for (unsigned i = 0; i < peer_num_networks(peer); i++)
		detach_lane(peer, i, peer_is_dead);
	memset(peer->session.lanes, 0, sizeof(peer->session.lanes));
	peer_ops(peer)->conn_free(peer->session.conn);
	peer->session.conn = NULL;
}

/* ---- what it offers ---- */

int peer_find_lane(struct peer *peer, const char *name)
{
	for (unsigned i = 0; i < peer_num_networks(peer); i++) {
		if (peer_lane(peer, i)->is_common &&
		    strcmp(peer_network_name(peer, i), name) == 0)
			return (int)i;
	}
	return -1;
}

/*
 * Between machines both rings of a network take our memory, locked: as much as our config
 * says, not as the peer does. The network is left out, the others go on.
 */
static bool is_too_different(struct peer *peer, unsigned network, uint64_t size)
{
	const struct config_network *ours = &peer->owner->config->networks[network];
	struct peer_lane *lane = peer_lane(peer, network);

	if (!peer->session.is_remote || size == ours->ring_size)
		return false;
	peer_say(lane->reason, sizeof(lane->reason),
		 "network %s has rings of %u KiB on %s and of %u KiB on %s", ours->name,
		 ours->ring_size >> 10, peer->owner->config->name, (unsigned)(size >> 10),
		 peer->name);
	log_warn(peer->name, "%s: not connected", lane->reason);
	lane->is_common = false;
	return true;
}

enum peer_event peer_take_ring(struct peer *peer, const struct peer_message *message,
			       struct world_parcel *parcel)
{
	const struct peer_ring *ring = &message->ring;
	int ret, network = peer_find_lane(peer, ring->network);
	struct peer_lane *lane = peer_lane(peer, network < 0 ? 0 : (unsigned)network);
	const char *why;

	if (peer->state == PEER_FADING) /* it is of no use any more */
		return EVENT_NONE;
	if (ring->heard > peer->session.told)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent a ring for NETWORKS that it was not sent",
				     peer->name);
	/* Our networks have changed since: it is for one that is gone. */
	if (ring->heard < (network < 0 ? peer->session.told : lane->since))
		return EVENT_NONE;
	if (network < 0)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent a ring for network %s, which is not common",
				     peer->name, ring->network);
	if (lane->tx || lane->link)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent a second ring for network %s", peer->name,
				     ring->network);
	if (!peer->session.has_bell)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent RING before BELL", peer->name);
	if (is_too_different(peer, (unsigned)network, ring->size))
		return EVENT_NONE;
	ret = peer_ops(peer)->ring_accept(peer->session.conn, parcel, ring->wire.bytes,
					  ring->wire.length, ring->size, &lane->tx, &why);
	if (ret < 0)
		return peer_complain(peer,
				     ret == -EPROTO ? PEER_REFUSAL_PROTOCOL
						    : PEER_REFUSAL_RESOURCE,
				     "the ring of %s for network %s: %s", peer->name,
				     ring->network, why);
	lane->tx_salt = ring->salt;
	if (!((UP | SUSPECT) & (1u << peer->state)))
		return EVENT_NONE;
	return attach_lane(peer, (unsigned)network);
}

enum peer_event peer_take_bell(struct peer *peer, const struct peer_message *message,
			       struct world_parcel *parcel)
{
	const struct peer_wire *wire = &message->bell.wire;
	const char *why;
	int ret;

	if (peer->session.has_bell)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL, "%s sent BELL twice",
				     peer->name);
	peer->session.has_bell = true;
	if (peer->state == PEER_FADING)
		return EVENT_NONE;
	ret = peer_ops(peer)->conn_accept(peer->session.conn, parcel, wire->bytes,
					  wire->length, &why);
	if (ret == 0)
		return EVENT_NONE;
	return peer_complain(
		peer, ret == -EPROTO ? PEER_REFUSAL_PROTOCOL : PEER_REFUSAL_RESOURCE,
		"the doorbell of %s: %s", peer->name, why);
}
