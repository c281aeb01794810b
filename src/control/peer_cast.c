/*
 * What a pair tells each other of cast rings: from the channel to cast.c and back. See
 * peer_internal.h.
 */
#include "control/cast.h"
#include "control/peer_internal.h"

static int find_network(struct peer *peer, const char *name, const char *what,
			enum peer_event *ret_event)
{
	int network = peer_find_lane(peer, name);

	if (network < 0 && peer->session.told > 0) /* perhaps it has not heard yet */
		*ret_event = EVENT_NONE;
	else if (network < 0)
		*ret_event = peer_complain(peer, PEER_REFUSAL_PROTOCOL,
					   "%s sent %s for network %s, which is not "
					   "common",
					   peer->name, what, name);
	return network;
}

enum peer_event peer_take_cast(struct peer *peer, const struct peer_message *message,
			       struct world_parcel *parcel)
{
	const struct peer_cast *cast = &message->cast;
	enum peer_event event;
	char why[PEER_WORDS_MAX];
	int network = find_network(peer, cast->network, "CAST", &event);

	if (network < 0)
		return event;
	if (casts_take_offer(peer->owner->casts, peer, (unsigned)network, cast, parcel,
			     why, sizeof(why)))
		return EVENT_NONE;
	return peer_complain(peer, PEER_REFUSAL_PROTOCOL, "%s", why);
}

enum peer_event peer_take_reads(struct peer *peer, const struct peer_message *message,
				struct world_parcel *parcel)
{
	enum peer_event event;
	int network = find_network(peer, message->reads.network, "READS", &event);

	(void)parcel;
	if (network < 0)
		return event;
	casts_take_reads(peer->owner->casts, peer, (unsigned)network, message->reads.id);
	return EVENT_NONE;
}

enum peer_event peer_take_want(struct peer *peer, const struct peer_message *message,
			       struct world_parcel *parcel)
{
	enum peer_event event;
	int network = find_network(peer, message->want.network, "WANT", &event);

	(void)parcel;
	if (network < 0)
		return event;
	casts_take_want(peer->owner->casts, peer, (unsigned)network, message->want.id);
	return EVENT_NONE;
}

bool peer_tell(struct peer *peer, const struct peer_message *message, int fd)
{
	enum peer_event event;

	if (!(OFFERED & (1u << peer->state)))
		return true;
	event = peer_send(peer, message, fd);
	peer_happen(peer, event);
	return event == EVENT_NONE;
}

void peer_expel(struct peer *peer, const struct peer_refuse *refuse)
{
	peer_happen(peer, peer_complain(peer, refuse->code, "%s", refuse->words));
}

void peer_blame(struct peer *peer, const char *words)
{
	peer_happen(peer, peer_complain(peer, PEER_REFUSAL_PROTOCOL, "%s", words));
}
