/*
 * What a pair tells each other of being borders: the NICs, and which global networks each
 * leads to from the outside. See peer_internal.h.
 *
 * BORDER follows READY if there is something to say, and then each change. It is a hint,
 * for people: nothing of the pair depends on it. A peer that speaks version 5 is not told
 * and must not tell.
 *
 * Control thread.
 */
#include "control/peer_internal.h"

/* ---- ours ---- */

static enum peer_event send_border(struct peer *peer)
{
	struct peer_message message = {.type = PEER_MESSAGE_BORDER};

	message.border = peer->owner->border;
	return peer_send(peer, &message, -1);
}

bool peer_says_border(const struct peer *peer)
{
	return peer_wire_version(peer) >= peer_message_version(PEER_MESSAGE_BORDER);
}

enum peer_event peer_say_border(struct peer *peer)
{
	const struct peer_border *border = &peer->owner->border;

	if (!peer_says_border(peer) || peer_border_is_none(border))
		return EVENT_NONE;
	return send_border(peer);
}

/* Before READY it isn't told: that comes then. */
void peer_send_border(struct peer *peer)
{
	if (peer->session.has_said_ready && peer_says_border(peer))
		peer_happen(peer, send_border(peer));
}

/* ---- the peer's ---- */

const struct peer_border *peer_get_border(const struct peer *peer)
{
	return &peer->session.border;
}

static void tell(struct peer *peer, enum events_state old)
{
	const struct peer_border *border = &peer->session.border;
	const struct events_change change = {
		.old = old,
		.state = peer_border_state(border),
	};
	char text[PEER_BORDER_TEXT_MAX];

	peer_border_text(border, text);
	peer_news_change(peer, &peer->borders, change, text);
}

void peer_tell_border(struct peer *peer)
{
	const struct peer_border *border = &peer->session.border;

	if (!peer_border_is_none(border))
		tell(peer, EVENTS_WITHDRAWN);
}

enum peer_event peer_take_border(struct peer *peer, const struct peer_message *message,
				 struct world_parcel *parcel)
{
	const struct peer_border former = peer->session.border;

	(void)parcel;
	if (!peer_says_border(peer))
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent BORDER in wire version %u", peer->name,
				     peer_wire_version(peer));
	if (!peer->session.is_ready)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent BORDER before READY", peer->name);
	peer->session.border = message->border;
	if (peer->session.up_since_ns && !peer_border_is_same(&former, &message->border))
		tell(peer, peer_border_state(&former));
	return EVENT_NONE;
}
