/*
 * What a pair tells each other of networks that are paused. See peer_internal.h.
 *
 * PAUSE comes before READY for each network that is paused already, so that no link is
 * made that doesn't know it, and then whenever a pause begins or ends. So a pause
 * outlives the restart of whoever was told of it. It is a hint, and nobody's loss but the
 * sender's: a network that is not common, or not any more, is passed over.
 *
 * Control thread.
 */
#include "control/peer_internal.h"

/* ---- ours ---- */

enum peer_event peer_say_pause(struct peer *peer, unsigned network)
{
	struct peer_message message = {.type = PEER_MESSAGE_PAUSE};

	peer_say(message.pause.network, sizeof(message.pause.network), "%s",
		 peer_network_name(peer, network));
	message.pause.paused = peer->owner->paused[network];
	return peer_send(peer, &message, -1);
}

enum peer_event peer_send_pauses(struct peer *peer)
{
	enum peer_event event = EVENT_NONE;

	for (unsigned i = 0; i < peer_num_networks(peer) && event == EVENT_NONE; i++) {
		if (peer->owner->paused[i] && peer_lane(peer, i)->is_common)
			event = peer_say_pause(peer, i);
	}
	return event;
}

/* Before READY it isn't told: that comes with the others. */
void peer_send_pause(struct peer *peer, unsigned network)
{
	if (peer->session.has_said_ready && peer_lane(peer, network)->is_common)
		peer_happen(peer, peer_say_pause(peer, network));
}

/* ---- the peer's ---- */

static void show(struct peer *peer, unsigned network)
{
	const struct peer_lane *lane = peer_lane(peer, network);

	peer_ops(peer)->link_pause(lane->link, lane->is_paused);
	peer->owner->pause_changed(peer->owner, peer, network, lane->is_paused);
}

void peer_attach_pause(struct peer *peer, unsigned network)
{
	if (peer_lane(peer, network)->is_paused)
		show(peer, network);
}

static void tell(struct peer *peer, unsigned network, bool is_paused)
{
	const uint64_t paused_ns = peer_lane(peer, network)->paused_ns;
	const struct events_change change = {
		.old = is_paused ? peer->told : EVENTS_PAUSED,
		.state = is_paused ? EVENTS_PAUSED : EVENTS_RESUMED,
		.gap_ns = is_paused ? 0 : peer_now(peer) - paused_ns,
	};
	char cause[CONFIG_NAME_MAX + 16];

	peer_say(cause, sizeof(cause), "network %s", peer_network_name(peer, network));
	peer_news_change(peer, &peer->pauses, change, cause);
}

void peer_tell_pauses(struct peer *peer)
{
	for (unsigned i = 0; i < peer_num_networks(peer); i++) {
		if (peer_lane(peer, i)->is_paused)
			tell(peer, i, true);
	}
}

enum peer_event peer_take_pause(struct peer *peer, const struct peer_message *message,
				struct world_parcel *parcel)
{
	int found = peer_find_lane(peer, message->pause.network);
	unsigned network = (unsigned)found;
	struct peer_lane *lane;

	(void)parcel;
	if (found < 0)
		return EVENT_NONE;
	lane = peer_lane(peer, network);
	if (lane->is_paused == message->pause.paused)
		return EVENT_NONE;
	lane->is_paused = message->pause.paused;
	if (lane->is_paused)
		lane->paused_ns = peer_now(peer);
	if (lane->link)
		show(peer, network);
	if (peer->session.up_since_ns)
		tell(peer, network, lane->is_paused);
	return EVENT_NONE;
}
