/*
 * What a peer is like, for who asks: see peer.h. Changes nothing. Control thread.
 */
#include "control/peer_internal.h"

static const char *const state_names[] = {
	[PEER_ABSENT] = "absent",   [PEER_WAITING] = "waiting",
	[PEER_DIALLED] = "dialled", [PEER_OFFERING] = "offering",
	[PEER_UP] = "up",	    [PEER_SUSPECT] = "suspect",
	[PEER_FADING] = "fading",   [PEER_REFUSED] = "refused",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == PEER_STATE_NUM_,
	       "a name each");

enum peer_state peer_state(const struct peer *peer)
{
	return peer->state;
}

const char *peer_state_name(enum peer_state state)
{
	return (unsigned)state < PEER_STATE_NUM_ ? state_names[state] : "?";
}

bool peer_has_channel(const struct peer *peer)
{
	return peer->session.channel != NULL;
}

uint16_t peer_id(const struct peer *peer)
{
	return peer->id;
}

const char *peer_name(const struct peer *peer)
{
	return peer->name;
}

const char *peer_reason(const struct peer *peer)
{
	return peer->reason;
}

const char *peer_fabric(const struct peer *peer)
{
	return peer->fabric;
}

bool peer_is_remote(const struct peer *peer)
{
	return peer->session.is_remote;
}

uint32_t peer_incarnation(const struct peer *peer)
{
	return peer->incarnation;
}

pid_t peer_pid(const struct peer *peer)
{
	return peer->session.credentials.pid;
}

uint32_t peer_spoken(const struct peer *peer)
{
	return peer->session.hello.wire_version;
}

uid_t peer_uid(const struct peer *peer)
{
	return peer->session.credentials.uid;
}

bool peer_is_known(const struct peer *peer)
{
	return peer->is_known;
}

bool peer_is_present(const struct peer *peer)
{
	return peer->is_present;
}

bool peer_may_be_forgotten(const struct peer *peer)
{
	return !peer->is_present && !peer->session.channel && !peer_is_shut_out(peer);
}

uint64_t peer_down_ns(const struct peer *peer)
{
	return peer->down_ns;
}

struct world_link *peer_link(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].link;
}

bool peer_is_paused(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].is_paused;
}

const char *peer_network_reason(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].reason;
}

const char *peer_network_clash(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].clash;
}
