/*
 * The session of a peer as its channel has it: what we say, what it says and in
 * which states that is legal. See peer_internal.h.
 */
#include "control/peer_internal.h"
#include "control/wire_range.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <shmnet/wire.h>

/* ---- what we say ---- */

/* EVENT_NONE, or EVENT_REFUSE. */
enum peer_event peer_send(struct peer *peer, const struct peer_message *message, int fd)
{
	uint8_t bytes[PEER_BYTES_MAX];
	size_t length;
	int ret;

	ret = codec_peer_encode(message, bytes, sizeof(bytes), &length);
	if (ret == 0)
		ret = peer_ops(peer)->channel_send(peer->session.channel, bytes, length,
						   fd);
	if (ret == 0 || ret == -EPIPE) /* then REFUSE may be on its way, `closed` is */
		return EVENT_NONE;
	if (ret == -EAGAIN) /* it may just be stopped */
		return peer_complain(peer, PEER_REFUSAL_TIMEOUT,
				     "%s does not read its messages", peer_name(peer));
	return peer_complain(peer, PEER_REFUSAL_RESOURCE, "%s can't send %s: %s",
			     peer->owner->config->name, peer_message_name(message->type),
			     strerror(-ret));
}

static void describe_network(const struct peer_owner *owner, unsigned index,
			     struct peer_hello *hello)
{
	const struct config_network *network = &owner->config->networks[index];
	struct peer_network *ret_network = &hello->networks[hello->num_networks++];
	char members[CONFIG_MEMBER_BYTES_MAX];

	peer_say(ret_network->name, sizeof(ret_network->name), "%s", network->name);
	ret_network->kind = network->kind;
	ret_network->mtu = network->mtu;
	ret_network->cast = network->cast;
	ret_network->offloads = owner->offloads[index];
	ret_network->num_addresses = network->num_addresses;
	memcpy(ret_network->addresses, network->addresses,
	       sizeof(ret_network->addresses));
	peer_members_text(network, members);
	peer_hello_set_members(hello, ret_network, members);
}

static void describe_networks(const struct peer_owner *owner, struct peer_hello *hello)
{
	for (unsigned i = 0; i < owner->config->num_networks; i++) {
		if (config_has_network(owner->config, i))
			describe_network(owner, i, hello);
	}
}

enum peer_event peer_send_networks(struct peer *peer)
{
	struct peer_message message = {.type = PEER_MESSAGE_NETWORKS};

	describe_networks(peer->owner, &message.hello);
	peer->session.told++;
	return peer_send(peer, &message, -1);
}

enum peer_event peer_send_hello(struct peer *peer)
{
	const struct node_config *config = peer->owner->config;
	struct peer_message message = {.type = PEER_MESSAGE_HELLO};
	struct peer_hello *hello = &message.hello;

	hello->wire_version = wire_spoken.max;
	hello->wire_min = wire_spoken.min;
	hello->id = config->id;
	hello->nonce = peer->owner->nonce;
	peer_say(hello->cluster, sizeof(hello->cluster), "%s", config->cluster);
	peer_say(hello->name, sizeof(hello->name), "%s", config->name);
	describe_networks(peer->owner, hello);
	peer->session.generation = peer->owner->generation;
	return peer_send(peer, &message, -1);
}

/*
 * Above every earlier life of it; its own word counts within one life. There is
 * nothing above the last number, which a single peer's floor can drive a node to, so
 * that one is good for every life from then on.
 */
void peer_set_floor(struct peer *peer)
{
	peer->session.floor = 0;
	if (peer->is_known)
		peer->session.floor =
			peer->incarnation - (peer->nonce == peer->session.hello.nonce ||
					     peer->incarnation == UINT32_MAX);
}

static enum peer_event send_ready(struct peer *peer)
{
	struct peer_message message = {.type = PEER_MESSAGE_READY};

	message.ready.floor = peer->session.floor;
	message.ready.incarnation = peer->owner->incarnation;
	message.ready.beat_ms = peer->owner->config->liveness.interval_ms;
	peer->session.has_said_ready = true;
	return peer_send(peer, &message, -1);
}

/* Before READY it isn't told: READY has the value. */
void peer_send_incarnation(struct peer *peer)
{
	struct peer_message message = {.type = PEER_MESSAGE_INCARNATION};

	if (!peer->session.has_said_ready)
		return;
	message.incarnation.value = peer->owner->incarnation;
	peer_happen(peer, peer_send(peer, &message, -1));
}

void peer_say_refuse(struct world *world, struct world_channel *channel,
		     const struct peer_refuse *refuse)
{
	struct peer_message message = {.type = PEER_MESSAGE_REFUSE, .refuse = *refuse};
	uint8_t bytes[1024];
	size_t length;

	/* Who doesn't read it has only itself to blame. */
	if (codec_peer_encode(&message, bytes, sizeof(bytes), &length) == 0)
		(void)world->ops->channel_send(channel, bytes, length, -1);
}

void peer_refuse_channel(struct world *world, struct world_channel *channel,
			 const struct peer_refuse *refuse)
{
	peer_say_refuse(world, channel, refuse);
	world->ops->channel_close(channel);
}

/* ---- what it says ---- */

enum peer_event peer_greet(struct peer *peer, const struct peer_hello *hello)
{
	peer_ops(peer)->channel_credentials(peer->session.channel,
					    &peer->session.credentials);
	peer->session.hello = *hello;
	memcpy(peer->name, hello->name, sizeof(peer->name));
	return EVENT_GREETED;
}

static enum peer_event take_hello(struct peer *peer, const struct peer_message *message,
				  struct world_parcel *parcel)
{
	struct world_credentials credentials;
	struct peer_refuse refuse;

	(void)parcel;
	peer_ops(peer)->channel_credentials(peer->session.channel, &credentials);
	if (!peer->owner->admit(peer->owner, peer, &credentials, &message->hello,
				&refuse))
		return peer_complain(peer, refuse.code, "%s", refuse.words);
	return peer_greet(peer, &message->hello);
}

/* Half of completeness is the peer's doing, so this is asked after each message. */
static enum peer_event check_complete(const struct peer *peer)
{
	const struct peer_session *session = &peer->session;

	if (peer->state != PEER_OFFERING || !session->is_ready ||
	    !session->has_said_ready || session->claimed <= session->floor)
		return EVENT_NONE;
	return EVENT_COMPLETE;
}

enum peer_event peer_declare(struct peer *peer)
{
	enum peer_event event;

	if (!peer_ops(peer)->conn_is_ready(peer->session.conn))
		return EVENT_NONE; /* EVENT_CONNECTED follows, or EVENT_LOST */
	event = peer_send_pauses(peer);
	if (event == EVENT_NONE)
		event = send_ready(peer);
	if (event == EVENT_NONE)
		event = peer_say_border(peer);
	return event == EVENT_NONE ? check_complete(peer) : event;
}

static enum peer_event take_claim(struct peer *peer, uint32_t claimed)
{
	if (claimed < peer->session.claimed)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "the incarnation of %s went back from %u to %u",
				     peer->name, peer->session.claimed, claimed);
	peer->session.claimed = claimed;
	if (claimed > peer->session.floor) {
		peer->is_known = true;
		peer->nonce = peer->session.hello.nonce;
		peer->incarnation = claimed;
	}
	return check_complete(peer);
}

static enum peer_event take_ready(struct peer *peer, const struct peer_message *message,
				  struct world_parcel *parcel)
{
	(void)parcel;
	if (peer->session.is_ready)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL, "%s sent READY twice",
				     peer->name);
	if (!peer->session.has_bell)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent READY before BELL", peer->name);
	peer->session.is_ready = true;
	peer->session.beat_ns = message->ready.beat_ms * 1000000ull;
	peer->owner->raise(peer->owner, message->ready.floor);
	if (peer->state != PEER_OFFERING) /* telling it of ours failed */
		return EVENT_NONE;
	return take_claim(peer, message->ready.incarnation);
}

static enum peer_event take_incarnation(struct peer *peer,
					const struct peer_message *message,
					struct world_parcel *parcel)
{
	(void)parcel;
	if (!peer->session.is_ready)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent INCARNATION before READY", peer->name);
	return take_claim(peer, message->incarnation.value);
}

static enum peer_event take_refuse(struct peer *peer, const struct peer_message *message,
				   struct world_parcel *parcel)
{
	(void)parcel;
	if (message->refuse.code == PEER_REFUSAL_GIVEN_UP) {
		peer_say(peer->reason, sizeof(peer->reason), "it gave %s up: %s",
			 peer->owner->config->name, message->refuse.words);
		return EVENT_GIVEN_UP;
	}
	peer_say(peer->reason, sizeof(peer->reason), "%s refused: %s", peer_name(peer),
		 message->refuse.words);
	return EVENT_REFUSED;
}

/* clang-format off */
static const struct message_row {
	unsigned states; /* where it is legal */
	bool is_local;	 /* it is about memory that both can map */
	enum peer_event (*take)(struct peer *peer, const struct peer_message *message,
				struct world_parcel *parcel);
} messages[] = {
	[PEER_MESSAGE_HELLO]       = {DIALLED,           false, take_hello},
	[PEER_MESSAGE_READY]       = {OFFERING | FADING, false, take_ready},
	[PEER_MESSAGE_RING]        = {OFFERED,           false, peer_take_ring},
	[PEER_MESSAGE_BELL]        = {OFFERING | FADING, false, peer_take_bell},
	[PEER_MESSAGE_INCARNATION] = {OFFERED,           false, take_incarnation},
	[PEER_MESSAGE_REFUSE]      = {ALIVE,             false, take_refuse},
	[PEER_MESSAGE_PROBE]       = {OFFERED,           false, peer_take_probe},
	[PEER_MESSAGE_PROBED]      = {OFFERED,           false, peer_take_probed},
	[PEER_MESSAGE_CAST]        = {OFFERED,           true,  peer_take_cast},
	[PEER_MESSAGE_READS]       = {OFFERED,           true,  peer_take_reads},
	[PEER_MESSAGE_WANT]        = {OFFERED,           true,  peer_take_want},
	[PEER_MESSAGE_NETWORKS]    = {OFFERED,           true,  peer_take_networks},
	[PEER_MESSAGE_LOOK]        = {0,                 false, NULL}, /* seeds.c: on channels of its own */
	[PEER_MESSAGE_PAUSE]       = {OFFERED,           false, peer_take_pause},
	[PEER_MESSAGE_BORDER]      = {OFFERED,           false, peer_take_border},
};
/* clang-format on */
_Static_assert(sizeof(messages) / sizeof(messages[0]) == PEER_MESSAGE_NUM_,
	       "a row per type");

static enum peer_event take_message(struct peer *peer, const uint8_t *bytes,
				    size_t length, struct world_parcel *parcel)
{
	struct peer_message message;
	const struct message_row *row;
	const char *why;
	unsigned num_fds, right;

	if (codec_peer_decode(bytes, length, &message, &why) < 0)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL, "a message of %s %s",
				     peer_name(peer), why);
	num_fds = (parcel->fd >= 0) + parcel->surplus;
	right = peer_message_fds(message.type, peer->session.is_remote);
	if (num_fds != right)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent %s with %u descriptors, %u is right",
				     peer_name(peer), peer_message_name(message.type),
				     num_fds, right);
	row = &messages[message.type];
	if (row->is_local && peer->session.is_remote)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent %s from another machine", peer_name(peer),
				     peer_message_name(message.type));
	if (!(row->states & (1u << peer->state)))
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent %s out of turn (state %s)", peer_name(peer),
				     peer_message_name(message.type),
				     peer_state_name(peer->state));
	return row->take(peer, &message, parcel);
}

/* ---- the channel ---- */

static void on_message(void *arg, const uint8_t *bytes, size_t length,
		       struct world_parcel *parcel)
{
	struct peer *peer = arg;

	peer_happen(peer, take_message(peer, bytes, length, parcel));
}

static void describe_end(struct peer *peer, int error)
{
	const char *why = peer_ops(peer)->channel_why(peer->session.channel);

	if (!*why && error)
		why = strerror(-error);
	peer_say(peer->reason, sizeof(peer->reason), "%s%s%s",
		 peer->state == PEER_DIALLED && peer->session.is_remote
			 ? "it can't be reached"
			 : "its connection ended",
		 *why ? ": " : "", why);
}

static void on_closed(void *arg, int error)
{
	struct peer *peer = arg;

	if (error == -EMSGSIZE) {
		peer_happen(peer, peer_complain(peer, PEER_REFUSAL_PROTOCOL,
						"%s sent a message of more than %d bytes",
						peer_name(peer), WORLD_MESSAGE_MAX));
		return;
	}
	describe_end(peer, error);
	peer_happen(peer,
		    error == 0 || error == -ECONNRESET ? EVENT_CLOSED : EVENT_BROKEN);
}

static const struct world_channel_handler channel_handler = {
	.message = on_message,
	.closed = on_closed,
};

void peer_take_channel(struct peer *peer, struct world_channel *channel)
{
	peer->session.channel = channel;
	peer->session.is_remote = peer_ops(peer)->channel_is_remote(channel);
	peer_ops(peer)->channel_set_handler(channel, &channel_handler, peer);
}

void peer_hang_up(struct peer *peer)
{
	if (peer->session.channel)
		peer_ops(peer)->channel_close(peer->session.channel);
	memset(&peer->session, 0, sizeof(peer->session));
	peer->owner->hung_up(peer->owner, peer);
}
