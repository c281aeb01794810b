/*
 * Who has called and has not said HELLO yet: up to MEMBER_GUESTS_MAX at a time, each for
 * as long as a handshake may take. See member_internal.h.
 *
 * The next life of a peer, or its next try, may call before all of the last session is
 * read, though its channel is at its end. It waits until it is: what was said last tells
 * whether the peer died, or gave us up and lives.
 *
 * Nothing is known of them but their credentials, so nothing of theirs is kept, and what
 * they can make us log has a limit of its own. Control thread.
 */
#include "control/member_internal.h"

#include <errno.h>
#include <stdlib.h>

struct guest {
	struct membership *membership;
	struct world_channel *channel;
	struct world_timer *timer;
	struct guest *next;
	bool is_waiting; /* for the end of an earlier session, having said: */
	struct peer_hello hello;
};

/* The channel goes on to somebody else, or was closed. */
static void forget_guest(struct guest *guest)
{
	struct membership *membership = guest->membership;
	const struct world_ops *ops = membership->owner.world->ops;
	struct guest **at = &membership->guests;

	while (*at != guest)
		at = &(*at)->next;
	*at = guest->next;
	membership->num_guests--;
	ops->timer_free(guest->timer);
	free(guest);
}

/* Anybody who may connect can make us say this, so the log has a limit. */
static void log_guest(struct membership *membership, const char *words)
{
	struct world *world = membership->owner.world;
	unsigned held_back;

	if (!log_limit_pass(&membership->guest_limit, world->ops->now(world), &held_back))
		return;
	if (held_back)
		log_warn("caller", "refused: %s (and %u more before)", words, held_back);
	else
		log_warn("caller", "refused: %s", words);
}

static void refuse_guest(struct guest *guest, const struct peer_refuse *refuse)
{
	struct membership *membership = guest->membership;

	peer_refuse_channel(membership->owner.world, guest->channel, refuse);
	forget_guest(guest);
}

/* True and the HELLO, or why it is none. */
static bool read_hello(const struct membership *membership, const uint8_t *bytes,
		       size_t length, const struct world_parcel *parcel,
		       struct peer_hello *ret_hello, struct peer_refuse *ret_refuse)
{
	unsigned num_fds = (parcel->fd >= 0) + parcel->surplus;
	struct peer_message message;
	const char *why;

	if (codec_peer_decode(bytes, length, &message, &why) < 0)
		return member_turn_away(ret_refuse, PEER_REFUSAL_PROTOCOL,
					"the first message to %s %s",
					member_own_name(&membership->owner), why);
	if (message.type != PEER_MESSAGE_HELLO)
		return member_turn_away(ret_refuse, PEER_REFUSAL_PROTOCOL,
					"the first message to %s is %s, HELLO is right",
					member_own_name(&membership->owner),
					peer_message_name(message.type));
	if (num_fds != 0)
		return member_turn_away(ret_refuse, PEER_REFUSAL_PROTOCOL,
					"HELLO came with %u descriptors, 0 is right",
					num_fds);
	*ret_hello = message.hello;
	return true;
}

/* NULL and a refusal if it may not come in; a peer that it is about may keep that. */
static struct peer *admit_guest(struct guest *guest, const struct peer_hello *hello,
				struct peer_refuse *ret_refuse)
{
	struct membership *membership = guest->membership;
	struct world_credentials credentials;
	struct peer *peer = NULL;
	bool ok, is_noted = false;

	membership->owner.world->ops->channel_credentials(guest->channel, &credentials);
	ok = member_admit_caller(membership, &credentials, hello, ret_refuse);
	if (hello->id == 0 || /* of another version, it says no more */
	    hello->id == membership->owner.config->id)
		peer = NULL;
	else if (member_need(membership, hello->id, &peer) < 0)
		ok = ok &&
		     member_turn_away(ret_refuse, PEER_REFUSAL_RESOURCE,
				      "%s remembers %u nodes and can't take id %u of %s",
				      member_own_name(&membership->owner),
				      membership->num_peers, hello->id, hello->name);
	else if (ok)
		ok = member_admit_again(membership, peer, hello, ret_refuse);
	else
		is_noted = peer_note_refusal(peer, ret_refuse);
	if (!ok && !is_noted)
		log_guest(membership, ret_refuse->words);
	return ok ? peer : NULL;
}

/* Its HELLO is there. */
static void receive_guest(struct guest *guest)
{
	struct world_channel *channel = guest->channel;
	const struct peer_hello hello = guest->hello;
	struct peer_refuse refuse = {0};
	struct peer *peer = admit_guest(guest, &hello, &refuse);

	if (!peer) {
		refuse_guest(guest, &refuse);
		return;
	}
	guest->is_waiting = peer_has_channel(peer); /* at its end, or it was refused */
	if (guest->is_waiting)
		return;
	forget_guest(guest);
	peer_accept(peer, channel, &hello);
}

/* Who waits for an answer may give it up, with a word. */
static bool is_refusal(const uint8_t *bytes, size_t length)
{
	struct peer_message message;
	const char *why;

	return codec_peer_decode(bytes, length, &message, &why) == 0 &&
	       message.type == PEER_MESSAGE_REFUSE;
}

static void close_guest(struct guest *guest)
{
	guest->membership->owner.world->ops->channel_close(guest->channel);
	forget_guest(guest);
}

static void on_guest_message(void *arg, const uint8_t *bytes, size_t length,
			     struct world_parcel *parcel)
{
	struct guest *guest = arg;
	struct membership *membership = guest->membership;
	struct peer_refuse refuse = {0};
	bool ok;

	if (guest->is_waiting && is_refusal(bytes, length)) {
		close_guest(guest);
		return;
	}
	if (guest->is_waiting)
		ok = member_turn_away(&refuse, PEER_REFUSAL_PROTOCOL,
				      "%s said more than HELLO before %s answered",
				      guest->hello.name,
				      member_own_name(&membership->owner));
	else
		ok = read_hello(membership, bytes, length, parcel, &guest->hello,
				&refuse);
	if (ok) {
		receive_guest(guest);
		return;
	}
	log_guest(membership, refuse.words);
	refuse_guest(guest, &refuse);
}

void member_wake_guests(struct membership *membership, uint16_t id)
{
	const struct world_ops *ops = membership->owner.world->ops;

	for (struct guest *guest = membership->guests; guest; guest = guest->next) {
		if (guest->is_waiting && guest->hello.id == id)
			ops->timer_set(guest->timer, 0);
	}
}

static void on_guest_closed(void *arg, int error)
{
	struct guest *guest = arg;
	struct peer_refuse refuse;

	if (error == -EMSGSIZE) {
		member_turn_away(&refuse, PEER_REFUSAL_PROTOCOL,
				 "the first message to %s has more than %d bytes",
				 member_own_name(&guest->membership->owner),
				 WORLD_MESSAGE_MAX);
		log_guest(guest->membership, refuse.words);
		refuse_guest(guest, &refuse);
		return;
	}
	close_guest(guest);
}

static uint64_t guest_patience(const struct guest *guest)
{
	const struct world_ops *ops = guest->membership->owner.world->ops;

	return ops->channel_is_remote(guest->channel) ? PEER_PATIENCE_REMOTE_NS
						      : PEER_PATIENCE_NS;
}

static void on_guest_timer(void *arg)
{
	struct guest *guest = arg;
	struct peer_refuse refuse;

	if (guest->is_waiting) {
		receive_guest(guest);
		return;
	}
	member_turn_away(&refuse, PEER_REFUSAL_TIMEOUT, "no HELLO reached %s within %u s",
			 member_own_name(&guest->membership->owner),
			 (unsigned)(guest_patience(guest) / 1000000000));
	log_guest(guest->membership, refuse.words);
	refuse_guest(guest, &refuse);
}

static const struct world_channel_handler guest_handler = {
	.message = on_guest_message,
	.closed = on_guest_closed,
};

static int guest_new(struct membership *membership, struct world_channel *channel)
{
	struct world *world = membership->owner.world;
	struct guest *guest = calloc(1, sizeof(*guest));

	if (!guest)
		return -ENOMEM;
	guest->membership = membership;
	guest->channel = channel;
	guest->timer = world->ops->timer_new(world, on_guest_timer, guest);
	if (!guest->timer) {
		free(guest);
		return -ENOMEM;
	}
	guest->next = membership->guests;
	membership->guests = guest;
	membership->num_guests++;
	world->ops->timer_set(guest->timer, guest_patience(guest));
	world->ops->channel_set_handler(channel, &guest_handler, guest);
	return 0;
}

static bool admit_channel(const struct membership *membership,
			  struct world_channel *channel, struct peer_refuse *ret_refuse)
{
	const struct peer_owner *owner = &membership->owner;
	struct world_credentials credentials;

	owner->world->ops->channel_credentials(channel, &credentials);
	if (membership->num_guests >= MEMBER_GUESTS_MAX)
		return member_turn_away(ret_refuse, PEER_REFUSAL_BUSY,
					"%d callers of %s have not said HELLO yet",
					MEMBER_GUESTS_MAX, member_own_name(owner));
	return member_admit_user(owner, &credentials, ret_refuse);
}

void member_accept(struct membership *membership, struct world_channel *channel)
{
	struct peer_refuse refuse;
	bool ok = admit_channel(membership, channel, &refuse);

	if (ok && guest_new(membership, channel) < 0)
		ok = member_turn_away(&refuse, PEER_REFUSAL_RESOURCE, "no memory on %s",
				      member_own_name(&membership->owner));
	if (ok)
		return;
	log_guest(membership, refuse.words);
	peer_refuse_channel(membership->owner.world, channel, &refuse);
}

void member_free_guests(struct membership *membership)
{
	const struct world_ops *ops = membership->owner.world->ops;

	while (membership->guests) {
		struct guest *guest = membership->guests;

		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlinked when freed */
		ops->channel_close(guest->channel);
		forget_guest(guest);
	}
}
