/* See member.h. */
#include "control/member.h"

#include "base/log.h"
#include "control/liveness.h"

#include <shmnet/wire.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_INCARNATION 1

/* Somebody who dialled us and has not said HELLO yet. */
struct guest {
	struct membership *membership;
	struct world_channel *channel;
	struct world_timer *timer;
	struct guest *next;
};

struct membership {
	struct peer_owner owner; /* first: the peers know this much of us */
	const struct membership_handler *handler;
	void *arg;
	struct peer **peers; /* in the order of their ids */
	unsigned num_peers;
	struct liveness *liveness;
	struct guest *guests;
	unsigned num_guests;
	unsigned links[CONFIG_NETWORKS_MAX]; /* live ones, of each network */
	struct log_limit guest_limit;
	struct log_limit full_limit;
};

static const char *own_name(const struct peer_owner *owner)
{
	return owner->config->name;
}

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

/*
 * Anybody can make us remember an id, by saying that it is theirs, or somebody's: one
 * that never was more than a word leaves when there is no room. Those who were there
 * stay.
 */
static bool forget_some_word(struct membership *membership)
{
	for (unsigned i = 0; i < membership->num_peers; i++) {
		struct peer *peer = membership->peers[i];

		if (peer_is_known(peer) || peer_is_present(peer) ||
		    peer_has_channel(peer))
			continue;
		membership->num_peers--;
		memmove(membership->peers + i, membership->peers + i + 1,
			(membership->num_peers - i) * sizeof(struct peer *));
		peer_free(peer);
		return true;
	}
	return false;
}

static int insert_peer(struct membership *membership, uint16_t id, struct peer **ret_peer)
{
	struct peer **peers, *peer;
	unsigned index;
	int ret;

	if (membership->num_peers == MEMBER_PEERS_MAX && !forget_some_word(membership))
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

static int need_peer(struct membership *membership, uint16_t id, struct peer **ret_peer)
{
	struct peer *peer = find_peer(membership, id);

	if (!peer)
		return insert_peer(membership, id, ret_peer);
	*ret_peer = peer;
	return 0;
}

/* ---- who may come in ---- */

static bool __attribute__((format(printf, 3, 4)))
turn_away(struct peer_refuse *refuse, enum peer_refusal code, const char *format, ...)
{
	va_list args;

	refuse->code = code;
	va_start(args, format);
	vsnprintf(refuse->words, sizeof(refuse->words), format, args);
	va_end(args);
	return false;
}

static bool is_listed(const struct node_config *config, uid_t uid)
{
	for (unsigned i = 0; i < config->num_fabrics; i++) {
		for (unsigned j = 0; j < config->fabrics[i].num_uids; j++) {
			if (config->fabrics[i].uids[j] == uid)
				return true;
		}
	}
	return false;
}

/* Of another machine there is no user, but a certificate. */
static bool admit_user(const struct peer_owner *owner,
		       const struct world_credentials *credentials,
		       struct peer_refuse *ret_refuse)
{
	if (credentials->is_remote || credentials->uid == 0 ||
	    credentials->uid == owner->world->uid ||
	    is_listed(owner->config, credentials->uid))
		return true;
	return turn_away(ret_refuse, PEER_REFUSAL_UID,
			 "uid %lu of pid %ld is neither root nor uid %lu of %s, nor in "
			 "'uids' of its fabric",
			 (unsigned long)credentials->uid, (long)credentials->pid,
			 (unsigned long)owner->world->uid, own_name(owner));
}

static bool admit_certificate(const struct world_credentials *credentials,
			      const struct peer_hello *hello,
			      struct peer_refuse *ret_refuse)
{
	if (!credentials->name[0] || strcmp(credentials->name, hello->name) == 0)
		return true;
	return turn_away(ret_refuse, PEER_REFUSAL_IDENTITY,
			 "certificate of %s presented by node %s", credentials->name,
			 hello->name);
}

static bool admit_version(const struct peer_owner *owner, const struct peer_hello *hello,
			  struct peer_refuse *ret_refuse)
{
	if (hello->wire_version == SHMNET_WIRE_VERSION)
		return true;
	return turn_away(ret_refuse, PEER_REFUSAL_VERSION,
			 "wire version %u of the peer and wire version %d of %s differ",
			 hello->wire_version, SHMNET_WIRE_VERSION, own_name(owner));
}

static bool admit_cluster(const struct peer_owner *owner, const struct peer_hello *hello,
			  struct peer_refuse *ret_refuse)
{
	if (strcmp(hello->cluster, owner->config->cluster) == 0)
		return true;
	return turn_away(ret_refuse, PEER_REFUSAL_CLUSTER,
			 "cluster %s of %s (id %u) and cluster %s of %s (id %u) differ",
			 hello->cluster, hello->name, hello->id, owner->config->cluster,
			 own_name(owner), owner->config->id);
}

/* A name belongs to who has a channel; a node may come back under another id. */
static bool admit_name(const struct membership *membership,
		       const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	const struct node_config *config = membership->owner.config;

	if (strcmp(hello->name, config->name) == 0)
		return turn_away(ret_refuse, PEER_REFUSAL_DUPLICATE,
				 "name %s is that of id %u and of id %u", hello->name,
				 hello->id, config->id);
	for (unsigned i = 0; i < membership->num_peers; i++) {
		struct peer *peer = membership->peers[i];

		if (peer_id(peer) != hello->id && peer_has_channel(peer) &&
		    !peer_is_gone(peer) && strcmp(peer_name(peer), hello->name) == 0)
			return turn_away(ret_refuse, PEER_REFUSAL_DUPLICATE,
					 "name %s is that of id %u and of id %u, "
					 "which is connected to %s",
					 hello->name, hello->id, peer_id(peer),
					 config->name);
	}
	return true;
}

static bool admit_id(const struct peer_owner *owner, const struct peer_hello *hello,
		     struct peer_refuse *ret_refuse)
{
	if (hello->id != owner->config->id)
		return true;
	return turn_away(ret_refuse, PEER_REFUSAL_DUPLICATE,
			 "id %u is that of %s and of %s", hello->id, hello->name,
			 own_name(owner));
}

/* Whoever dialled whom. */
static bool admit_anybody(const struct membership *membership,
			  const struct world_credentials *credentials,
			  const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	const struct peer_owner *owner = &membership->owner;

	return admit_user(owner, credentials, ret_refuse) &&
	       admit_version(owner, hello, ret_refuse) &&
	       admit_certificate(credentials, hello, ret_refuse) &&
	       admit_cluster(owner, hello, ret_refuse) &&
	       admit_id(owner, hello, ret_refuse) &&
	       admit_name(membership, hello, ret_refuse);
}

static bool admit_dialled(struct peer_owner *owner, struct peer *peer,
			  const struct world_credentials *credentials,
			  const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	struct membership *membership = (struct membership *)owner;

	if (!admit_anybody(membership, credentials, hello, ret_refuse))
		return false;
	if (hello->id == peer_id(peer))
		return true;
	return turn_away(ret_refuse, PEER_REFUSAL_IDENTITY,
			 "%s found id %u %s and %s there says it is id %u",
			 own_name(owner), peer_id(peer),
			 credentials->is_remote ? "at that address" : "in the rendezvous",
			 hello->name, hello->id);
}

static bool admit_caller(const struct membership *membership,
			 const struct world_credentials *credentials,
			 const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	const struct node_config *config = membership->owner.config;

	if (!admit_anybody(membership, credentials, hello, ret_refuse))
		return false;
	if (hello->id < config->id)
		return true;
	return turn_away(ret_refuse, PEER_REFUSAL_IDENTITY,
			 "the lower id dials: id %u of %s must not dial id %u of %s",
			 hello->id, hello->name, config->id, config->name);
}

static const char *describe_place(const struct peer *peer, char *text, size_t size)
{
	if (peer_is_remote(peer))
		snprintf(text, size, "on another machine");
	else
		snprintf(text, size, "pid %ld", (long)peer_pid(peer));
	return text;
}

/*
 * The peer has a channel already. At its end: this is the next life, or the next
 * try, and the end is just not reported yet. Else the id is taken.
 */
static bool admit_again(const struct membership *membership, struct peer *peer,
			const struct peer_hello *hello, struct peer_refuse *ret_refuse)
{
	char place[32];

	if (!peer_has_channel(peer))
		return true;
	if (peer_is_gone(peer)) {
		peer_bury(peer);
		return true;
	}
	return turn_away(ret_refuse, PEER_REFUSAL_DUPLICATE,
			 "id %u of %s is that of %s (%s), which is connected to %s",
			 hello->id, hello->name, peer_name(peer),
			 describe_place(peer, place, sizeof(place)),
			 own_name(&membership->owner));
}

/* ---- guests ---- */

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
		return turn_away(ret_refuse, PEER_REFUSAL_PROTOCOL,
				 "the first message to %s %s",
				 own_name(&membership->owner), why);
	if (message.type != PEER_MESSAGE_HELLO)
		return turn_away(ret_refuse, PEER_REFUSAL_PROTOCOL,
				 "the first message to %s is %s, HELLO is right",
				 own_name(&membership->owner),
				 peer_message_name(message.type));
	if (num_fds != 0)
		return turn_away(ret_refuse, PEER_REFUSAL_PROTOCOL,
				 "HELLO came with %u descriptors, 0 is right", num_fds);
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
	ok = admit_caller(membership, &credentials, hello, ret_refuse);
	if (hello->wire_version != SHMNET_WIRE_VERSION ||
	    hello->id == membership->owner.config->id)
		peer = NULL;
	else if (need_peer(membership, hello->id, &peer) < 0)
		ok = ok && turn_away(ret_refuse, PEER_REFUSAL_RESOURCE,
				     "%s remembers %u nodes and can't take id %u of %s",
				     own_name(&membership->owner), membership->num_peers,
				     hello->id, hello->name);
	else if (ok)
		ok = admit_again(membership, peer, hello, ret_refuse);
	else
		is_noted = peer_note_refusal(peer, ret_refuse);
	if (!ok && !is_noted)
		log_guest(membership, ret_refuse->words);
	return ok ? peer : NULL;
}

static void on_guest_message(void *arg, const uint8_t *bytes, size_t length,
			     struct world_parcel *parcel)
{
	struct guest *guest = arg;
	struct membership *membership = guest->membership;
	struct world_channel *channel = guest->channel;
	struct peer_refuse refuse = {0};
	struct peer_hello hello = {0};
	struct peer *peer;

	if (!read_hello(membership, bytes, length, parcel, &hello, &refuse)) {
		log_guest(membership, refuse.words);
		refuse_guest(guest, &refuse);
		return;
	}
	peer = admit_guest(guest, &hello, &refuse);
	if (!peer) {
		refuse_guest(guest, &refuse);
		return;
	}
	forget_guest(guest);
	peer_accept(peer, channel, &hello);
}

static void on_guest_closed(void *arg, int error)
{
	struct guest *guest = arg;
	struct peer_refuse refuse;

	if (error == -EMSGSIZE) {
		turn_away(&refuse, PEER_REFUSAL_PROTOCOL,
			  "the first message to %s has more than %d bytes",
			  own_name(&guest->membership->owner), WORLD_MESSAGE_MAX);
		log_guest(guest->membership, refuse.words);
		refuse_guest(guest, &refuse);
		return;
	}
	guest->membership->owner.world->ops->channel_close(guest->channel);
	forget_guest(guest);
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

	turn_away(&refuse, PEER_REFUSAL_TIMEOUT, "no HELLO reached %s within %u s",
		  own_name(&guest->membership->owner),
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
		return turn_away(ret_refuse, PEER_REFUSAL_BUSY,
				 "%d callers of %s have not said HELLO yet",
				 MEMBER_GUESTS_MAX, own_name(owner));
	return admit_user(owner, &credentials, ret_refuse);
}

/* ---- what the world says ---- */

static void on_accepted(void *arg, struct world_channel *channel)
{
	struct membership *membership = arg;
	struct peer_refuse refuse;
	bool ok = admit_channel(membership, channel, &refuse);

	if (ok && guest_new(membership, channel) < 0)
		ok = turn_away(&refuse, PEER_REFUSAL_RESOURCE, "no memory on %s",
			       own_name(&membership->owner));
	if (ok)
		return;
	log_guest(membership, refuse.words);
	peer_refuse_channel(membership->owner.world, channel, &refuse);
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
	log_warn(own_name(&membership->owner),
		 "id %u is passed over%s: %u nodes are remembered already", node_id, more,
		 membership->num_peers);
}

static void on_appeared(void *arg, uint16_t node_id)
{
	struct membership *membership = arg;
	struct peer *peer;

	if (node_id == membership->owner.config->id)
		return;
	if (need_peer(membership, node_id, &peer) < 0)
		pass_over(membership, node_id);
	else
		peer_appear(peer);
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	struct peer *peer = find_peer(arg, node_id);

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
	log_debug(own_name(owner), "incarnation %u by a peer's word", owner->incarnation);
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

/* ---- its own life ---- */

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
		.suspected = suspect_peer,
		.peer_at = peer_at,
		.ended = end_peer,
		.admit = admit_dialled,
	};
	for (unsigned i = 0; i < config->num_networks; i++)
		membership->owner.offloads[i] = config->networks[i].offloads;
	if (liveness_new(&membership->owner, &membership->liveness) < 0) {
		free(membership);
		return -ENOMEM;
	}
	world->ops->random(world, &membership->owner.nonce,
			   sizeof(membership->owner.nonce));
	ret = casts_new(&membership->owner, &membership->owner.casts);
	if (ret < 0) {
		liveness_free(membership->liveness);
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

void membership_free(struct membership *membership)
{
	const struct world_ops *ops;

	if (!membership)
		return;
	ops = membership->owner.world->ops;
	casts_free(membership->owner.casts);
	membership->owner.casts = NULL;
	liveness_free(membership->liveness);
	while (membership->guests) {
		struct guest *guest = membership->guests;

		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlinked when freed */
		ops->channel_close(guest->channel);
		forget_guest(guest);
	}
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

/* ---- reports ---- */

uint32_t membership_incarnation(const struct membership *membership)
{
	return membership->owner.incarnation;
}

static enum member_state report_state(enum peer_state state)
{
	switch (state) {
	case PEER_UP:
		return MEMBER_UP;
	case PEER_SUSPECT:
	case PEER_FADING:
		return MEMBER_SUSPECT;
	default:
		return MEMBER_DOWN;
	}
}

static bool is_worth_a_report(const struct peer *peer)
{
	return peer_is_known(peer) || peer_is_present(peer) || peer_has_channel(peer) ||
	       peer_state(peer) == PEER_REFUSED;
}

void membership_each_peer(const struct membership *membership,
			  void (*each)(const struct member_report *report, void *arg),
			  void *arg)
{
	for (unsigned i = 0; i < membership->num_peers; i++) {
		const struct peer *peer = membership->peers[i];
		const struct member_report report = {
			.id = peer_id(peer),
			.name = peer_name(peer),
			.state = report_state(peer_state(peer)),
			.peer_state = peer_state(peer),
			.fabric = peer_fabric(peer),
			.incarnation = peer_incarnation(peer),
			.reason = peer_reason(peer),
			.pid = peer_pid(peer),
		};

		if (is_worth_a_report(peer))
			each(&report, arg);
	}
}

static void report_link(const struct peer *peer, unsigned network,
			void (*each)(const struct member_link_report *report, void *arg),
			void *arg)
{
	const struct member_link_report report = {
		.network = network,
		.peer_id = peer_id(peer),
		.peer_name = peer_name(peer),
		.fabric = peer_fabric(peer),
		.link = peer_link(peer, network),
		.reason = peer_network_reason(peer, network),
	};

	if (report.link || peer_has_network(peer, network))
		each(&report, arg);
}

void membership_each_link(const struct membership *membership,
			  void (*each)(const struct member_link_report *report,
				       void *arg),
			  void *arg)
{
	for (unsigned network = 0; network < membership->owner.config->num_networks;
	     network++) {
		for (unsigned i = 0; i < membership->num_peers; i++) {
			const struct peer *peer = membership->peers[i];

			if (report_state(peer_state(peer)) != MEMBER_DOWN)
				report_link(peer, network, each, arg);
		}
	}
}

void membership_each_cast(const struct membership *membership,
			  void (*each)(const struct cast_report *report, void *arg),
			  void *arg)
{
	casts_each(membership->owner.casts, each, arg);
}

unsigned membership_links_up(const struct membership *membership, unsigned network)
{
	return membership->links[network];
}

unsigned membership_peers_up(const struct membership *membership)
{
	unsigned count = 0;

	for (unsigned i = 0; i < membership->num_peers; i++)
		count += peer_state(membership->peers[i]) == PEER_UP;
	return count;
}

unsigned membership_peers_known(const struct membership *membership)
{
	unsigned count = 0;

	for (unsigned i = 0; i < membership->num_peers; i++)
		count += is_worth_a_report(membership->peers[i]);
	return count;
}

struct reasons {
	void (*each)(const char *words, void *arg);
	void *arg;
	unsigned count;
};

static void __attribute__((format(printf, 2, 3)))
add_reason(struct reasons *reasons, const char *format, ...)
{
	char words[MEMBER_REASON_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	reasons->each(words, reasons->arg);
	reasons->count++;
}

static void add_peer_reasons(struct reasons *reasons, const struct peer *peer,
			     unsigned num_networks)
{
	if (peer_state(peer) == PEER_REFUSED ||
	    report_state(peer_state(peer)) == MEMBER_SUSPECT)
		add_reason(reasons, "node %s (id %u): %s", peer_name(peer), peer_id(peer),
			   peer_reason(peer));
	for (unsigned i = 0; i < num_networks; i++) {
		if (*peer_network_reason(peer, i))
			add_reason(reasons, "node %s (id %u): %s", peer_name(peer),
				   peer_id(peer), peer_network_reason(peer, i));
		if (*peer_network_clash(peer, i))
			add_reason(reasons, "%s", peer_network_clash(peer, i));
	}
}

unsigned membership_each_reason(const struct membership *membership,
				void (*each)(const char *words, void *arg), void *arg)
{
	const struct node_config *config = membership->owner.config;
	struct reasons reasons = {.each = each, .arg = arg};

	for (unsigned i = 0; i < membership->num_peers; i++)
		add_peer_reasons(&reasons, membership->peers[i], config->num_networks);
	reasons.count += casts_each_reason(membership->owner.casts, each, arg);
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (!membership->links[i])
			add_reason(&reasons, "network %s: no node is linked to it",
				   config->networks[i].name);
	}
	return reasons.count;
}
