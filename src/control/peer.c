/*
 * See peer.h.
 *
 * Theory of operation
 * -------------------
 * The lower id dials. The dialler's HELLO is admitted by the membership, then both
 * sides offer at once: a ring for each common network, the dialler the doorbell, and
 * READY as the end of the offer. A session is complete when both halves are there and
 * the other one's incarnation is above what we last knew of an earlier life; then
 * the links are made, all in one step.
 *
 * Two links of one pair and network always belong to one session: a side makes its
 * link after the other one's READY, and that one had left the session before by then.
 *
 * When a session ends, links go first and the channel last. So a peer that sees the
 * end of the channel knows that nothing is stored into its rings any more, and may
 * deliver what was finished but not published [31].
 */
#include "control/peer.h"

#include "base/log.h"

#include <shmnet/wire.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_MAX	 (PEER_WORDS_MAX + 64)
#define STABLE_NS	 PEER_BACKOFF_MAX_NS /* up for so long, the past is forgiven */
#define REFUSED_SHOWN_NS (2 * PEER_BACKOFF_MAX_NS) /* of one that does not dial again */

/* What the pair has for one network of the config. */
struct peer_lane {
	bool is_common;
	struct world_ring *rx; /* ours; the link's once there is one */
	struct world_ring *tx; /* the peer's, likewise */
	uint64_t rx_salt;
	uint64_t tx_salt;
	struct world_link *link;
	char reason[160];
};

struct peer {
	struct peer_owner *owner;
	uint16_t id;
	char name[CONFIG_NAME_MAX];
	enum peer_state state;
	bool is_present; /* in the rendezvous */
	char reason[REASON_MAX];
	char logged[REASON_MAX]; /* the refusal that was logged last */

	/* The last life that we accepted, and how far it was. */
	bool is_known;
	uint64_t nonce;
	uint32_t incarnation;

	struct world_timer *timer;
	uint64_t retry_ns;
	uint64_t backoff_ns;
	uint64_t ring_retry_ns;
	uint64_t quarantine_until_ns;
	uint64_t quarantined_nonce;

	/* The session; all zero without a channel. */
	struct peer_session {
		struct world_channel *channel;
		struct world_credentials credentials;
		struct peer_hello hello;
		uint32_t floor;		   /* what we told it to be above */
		uint32_t claimed;	   /* where it says it is */
		bool is_ready;		   /* it sent READY */
		uint64_t up_since_ns;	   /* 0: not yet */
		struct peer_refuse refuse; /* what we'll say */
		struct world_conn *conn;
		struct peer_lane lanes[CONFIG_NETWORKS_MAX];
	} session;
};

/* ---- the machine ---- */

enum peer_event {
	EVENT_NONE,
	EVENT_APPEARED, /* in the rendezvous, and it dials */
	EVENT_CALLABLE, /* in the rendezvous, and we dial */
	EVENT_DISAPPEARED,
	EVENT_RETRY, /* we dial, but not at once */
	EVENT_TIMER,
	EVENT_NO_ANSWER,   /* dialling failed */
	EVENT_GREETED,	   /* its HELLO was admitted */
	EVENT_COMPLETE,	   /* both offers are there */
	EVENT_LOST,	   /* the doorbell died */
	EVENT_CLOSED,	   /* the peer closed the channel */
	EVENT_BROKEN,	   /* the channel is of no use any more */
	EVENT_REFUSE,	   /* we end it, for session.refuse */
	EVENT_REFUSED,	   /* it ended it */
	EVENT_TURNED_AWAY, /* it dialled us, and its HELLO was refused */
	EVENT_NUM_
};

static const char *const event_names[] = {
	[EVENT_NONE] = "none",
	[EVENT_APPEARED] = "appeared",
	[EVENT_CALLABLE] = "callable",
	[EVENT_DISAPPEARED] = "disappeared",
	[EVENT_RETRY] = "retry",
	[EVENT_TIMER] = "timer",
	[EVENT_NO_ANSWER] = "no answer",
	[EVENT_GREETED] = "greeted",
	[EVENT_COMPLETE] = "complete",
	[EVENT_LOST] = "lost",
	[EVENT_BROKEN] = "broken",
	[EVENT_CLOSED] = "closed",
	[EVENT_REFUSE] = "refuse",
	[EVENT_REFUSED] = "refused",
	[EVENT_TURNED_AWAY] = "turned away",
};
_Static_assert(sizeof(event_names) / sizeof(event_names[0]) == EVENT_NUM_, "a name each");

static const char *const state_names[] = {
	[PEER_ABSENT] = "absent",   [PEER_WAITING] = "waiting",
	[PEER_DIALLED] = "dialled", [PEER_OFFERING] = "offering",
	[PEER_UP] = "up",	    [PEER_FADING] = "fading",
	[PEER_REFUSED] = "refused",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == PEER_STATE_NUM_,
	       "a name each");

#define ABSENT	 (1u << PEER_ABSENT)
#define WAITING	 (1u << PEER_WAITING)
#define DIALLED	 (1u << PEER_DIALLED)
#define OFFERING (1u << PEER_OFFERING)
#define UP	 (1u << PEER_UP)
#define FADING	 (1u << PEER_FADING)
#define REFUSED	 (1u << PEER_REFUSED)
#define ALIVE	 (DIALLED | OFFERING | UP | FADING) /* has a channel */
#define SAME	 PEER_STATE_NUM_

typedef enum peer_event peer_action(struct peer *peer);

static peer_action act_none, act_forget, act_dial, act_retry, act_recall, act_offer,
	act_attach, act_complete_rings, act_linger, act_give_up, act_end, act_time_out,
	act_refuse, act_back_off, act_show;

/* clang-format off */
static const struct peer_row {
	unsigned states;
	enum peer_event event;
	peer_action *action;
	const char *name;
	enum peer_state next;
} table[] = {
	/* current state              event that happened  action to take                              resulting state */
	{ABSENT,                      EVENT_APPEARED,      act_none,           "none",                PEER_WAITING},
	{ABSENT | WAITING | REFUSED,  EVENT_CALLABLE,      act_dial,           "dial",                PEER_DIALLED},
	{ABSENT,                      EVENT_RETRY,         act_retry,          "dial later",          PEER_WAITING},
	{ABSENT | WAITING | REFUSED,  EVENT_GREETED,       act_offer,          "offer",               PEER_OFFERING},

	{WAITING,                     EVENT_TIMER,         act_dial,           "dial",                PEER_DIALLED},
	{WAITING,                     EVENT_DISAPPEARED,   act_forget,         "forget",              PEER_ABSENT},

	{DIALLED,                     EVENT_NO_ANSWER,     act_retry,          "dial later",          PEER_WAITING},
	{DIALLED,                     EVENT_GREETED,       act_offer,          "offer",               PEER_OFFERING},
	{DIALLED | OFFERING,          EVENT_TIMER,         act_time_out,       "time out",            SAME},

	{OFFERING,                    EVENT_COMPLETE,      act_attach,         "attach",              PEER_UP},

	{UP,                          EVENT_TIMER,         act_complete_rings, "make missing rings",  PEER_UP},
	{UP,                          EVENT_LOST,          act_linger,         "linger",              PEER_FADING},
	{FADING,                      EVENT_TIMER,         act_give_up,        "give up",             PEER_ABSENT},

	{ALIVE,                       EVENT_BROKEN,        act_give_up,        "give up",             PEER_ABSENT},
	{ALIVE,                       EVENT_CLOSED,        act_end,            "end",                 PEER_ABSENT},
	{ALIVE,                       EVENT_REFUSE,        act_refuse,         "refuse",              PEER_REFUSED},
	{ALIVE,                       EVENT_REFUSED,       act_back_off,       "back off",            PEER_REFUSED},

	{ABSENT | WAITING | REFUSED,  EVENT_TURNED_AWAY,   act_show,           "show",                PEER_REFUSED},
	{REFUSED,                     EVENT_TIMER,         act_recall,         "recall",              PEER_ABSENT},
	{REFUSED,                     EVENT_DISAPPEARED,   act_forget,         "forget",              PEER_ABSENT},

	/* The rendezvous says what the channel knows better, or says it again. */
	{ALIVE | WAITING | REFUSED,   EVENT_APPEARED,      act_none,           "none",                SAME},
	{ALIVE,                       EVENT_CALLABLE,      act_none,           "none",                SAME},
	{ALIVE | ABSENT,              EVENT_DISAPPEARED,   act_none,           "none",                SAME},
	{FADING,                      EVENT_LOST,          act_none,           "none",                SAME},
};
/* clang-format on */

static const struct peer_row *find_row(enum peer_state state, enum peer_event event)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].event == event && table[i].states & (1u << state))
			return &table[i];
	}
	return NULL;
}

/* An action may name the event that follows at once; EVENT_NONE ends it. */
static void happen(struct peer *peer, enum peer_event event)
{
	while (event != EVENT_NONE) {
		const struct peer_row *row = find_row(peer->state, event);
		enum peer_event following;
		enum peer_state next;

		if (!row) {
			log_err(peer_name(peer), "event %s in state %s is ignored",
				event_names[event], state_names[peer->state]);
			return;
		}
		next = row->next == SAME ? peer->state : row->next;
		log_debug(peer_name(peer), "event %s, action %s, %s > %s",
			  event_names[event], row->name, state_names[peer->state],
			  state_names[next]);
		following = row->action(peer);
		peer->state = next;
		event = following;
	}
}

/* ---- words ---- */

static void __attribute__((format(printf, 3, 4)))
say(char *text, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, size, format, args);
	va_end(args);
}

/* What we'll tell the peer, and remember as the reason; returns the event. */
static enum peer_event __attribute__((format(printf, 3, 4)))
complain(struct peer *peer, enum peer_refusal code, const char *format, ...)
{
	struct peer_refuse *refuse = &peer->session.refuse;
	va_list args;

	refuse->code = code;
	va_start(args, format);
	vsnprintf(refuse->words, sizeof(refuse->words), format, args);
	va_end(args);
	say(peer->reason, sizeof(peer->reason), "refused: %s", refuse->words);
	return EVENT_REFUSE;
}

/* A refusal that repeats is one line, however often the peer comes again. */
static void log_refusal(struct peer *peer)
{
	if (strcmp(peer->logged, peer->reason) == 0) {
		log_debug(peer_name(peer), "%s", peer->reason);
		return;
	}
	memcpy(peer->logged, peer->reason, sizeof(peer->logged));
	log_warn(peer_name(peer), "%s", peer->reason);
}

static void log_down(struct peer *peer)
{
	if (peer->session.up_since_ns)
		log_info(peer_name(peer), "down: %s", peer->reason);
}

/* ---- small helpers ---- */

static const struct world_ops *ops(const struct peer *peer)
{
	return peer->owner->world->ops;
}

static uint64_t now(const struct peer *peer)
{
	return ops(peer)->now(peer->owner->world);
}

static bool we_dial(const struct peer *peer)
{
	return peer->owner->config->id < peer->id;
}

static uint64_t doubled(uint64_t value, uint64_t limit)
{
	return value * 2 < limit ? value * 2 : limit;
}

static struct peer_lane *lane_of(struct peer *peer, unsigned network)
{
	return &peer->session.lanes[network];
}

static unsigned num_networks(const struct peer *peer)
{
	return peer->owner->config->num_networks;
}

static const char *network_name(const struct peer *peer, unsigned network)
{
	return peer->owner->config->networks[network].name;
}

/* EVENT_NONE, or EVENT_REFUSE. */
static enum peer_event send_message(struct peer *peer, const struct peer_message *message,
				    int fd)
{
	uint8_t bytes[4096];
	size_t length;
	int ret;

	ret = codec_peer_encode(message, bytes, sizeof(bytes), &length);
	if (ret == 0)
		ret = ops(peer)->channel_send(peer->session.channel, bytes, length, fd);
	if (ret == 0 || ret == -EPIPE) /* then REFUSE may be on its way, `closed` is */
		return EVENT_NONE;
	if (ret == -EAGAIN)
		return complain(peer, PEER_REFUSAL_PROTOCOL,
				"%s does not read its messages", peer_name(peer));
	return complain(peer, PEER_REFUSAL_RESOURCE, "%s can't send %s: %s",
			peer->owner->config->name, peer_message_name(message->type),
			strerror(-ret));
}

/* ---- the end of a session ---- */

static void detach_lane(struct peer *peer, unsigned network, bool peer_is_dead)
{
	struct peer_lane *lane = lane_of(peer, network);

	if (lane->link) {
		ops(peer)->link_free(lane->link, peer_is_dead);
		peer->owner->link_changed(peer->owner, network, false);
	} else {
		ops(peer)->ring_free(lane->rx);
		ops(peer)->ring_free(lane->tx);
	}
}

/* From here on we store nothing into the peer's memory. */
static void detach(struct peer *peer, bool peer_is_dead)
{
	for (unsigned i = 0; i < num_networks(peer); i++)
		detach_lane(peer, i, peer_is_dead);
	memset(peer->session.lanes, 0, sizeof(peer->session.lanes));
	ops(peer)->conn_free(peer->session.conn);
	peer->session.conn = NULL;
}

static void hang_up(struct peer *peer)
{
	if (peer->session.channel)
		ops(peer)->channel_close(peer->session.channel);
	memset(&peer->session, 0, sizeof(peer->session));
}

/* Where it goes from ABSENT, given what the rendezvous says. */
static enum peer_event settle(struct peer *peer)
{
	if (!peer->is_present || peer->owner->closing)
		return EVENT_NONE;
	return we_dial(peer) ? EVENT_RETRY : EVENT_APPEARED;
}

static void forgive(struct peer *peer)
{
	uint64_t since = peer->session.up_since_ns;

	if (since && now(peer) - since >= STABLE_NS)
		peer->backoff_ns = PEER_BACKOFF_MIN_NS;
}

/*
 * The dialler comes again after the backoff; who is dialled just shows the refusal
 * for a while, and takes any HELLO that comes meanwhile.
 */
static void back_off(struct peer *peer)
{
	uint64_t delay = peer->backoff_ns;

	peer->backoff_ns = doubled(delay, PEER_BACKOFF_MAX_NS);
	ops(peer)->timer_set(peer->timer, we_dial(peer) ? delay : REFUSED_SHOWN_NS);
}

/* Who broke the rules is not even listened to until the backoff is over. */
static void quarantine(struct peer *peer)
{
	peer->quarantine_until_ns = now(peer) + peer->backoff_ns;
	peer->quarantined_nonce = peer->session.hello.nonce;
}

static bool is_quarantined(const struct peer *peer, uint64_t nonce)
{
	return peer->quarantined_nonce == nonce && now(peer) < peer->quarantine_until_ns;
}

/* ---- offering ---- */

static const struct peer_network *find_network(const struct peer_hello *hello,
					       const char *name)
{
	for (unsigned i = 0; i < hello->num_networks; i++) {
		if (strcmp(hello->networks[i].name, name) == 0)
			return &hello->networks[i];
	}
	return NULL;
}

static const char *kind_name(enum network_kind kind)
{
	return kind == NETWORK_KIND_GLOBAL ? "global" : "local";
}

static void compare_network(struct peer *peer, unsigned network)
{
	const struct config_network *ours = &peer->owner->config->networks[network];
	const struct peer_network *theirs =
		find_network(&peer->session.hello, ours->name);
	struct peer_lane *lane = lane_of(peer, network);

	if (!theirs)
		return;
	if (theirs->kind != ours->kind)
		say(lane->reason, sizeof(lane->reason),
		    "network %s is %s on %s and %s on %s", ours->name,
		    kind_name(ours->kind), peer->owner->config->name,
		    kind_name(theirs->kind), peer->name);
	else if (theirs->mtu != ours->mtu)
		say(lane->reason, sizeof(lane->reason),
		    "network %s has MTU %u on %s and MTU %u on %s", ours->name, ours->mtu,
		    peer->owner->config->name, theirs->mtu, peer->name);
	else
		lane->is_common = true;
	if (!lane->is_common)
		log_warn(peer->name, "%s: not connected", lane->reason);
}

static enum peer_event send_hello(struct peer *peer)
{
	const struct node_config *config = peer->owner->config;
	struct peer_message message = {.type = PEER_MESSAGE_HELLO};
	struct peer_hello *hello = &message.hello;

	hello->wire_version = SHMNET_WIRE_VERSION;
	hello->id = config->id;
	hello->nonce = peer->owner->nonce;
	say(hello->cluster, sizeof(hello->cluster), "%s", config->cluster);
	say(hello->name, sizeof(hello->name), "%s", config->name);
	hello->num_networks = config->num_networks;
	for (unsigned i = 0; i < config->num_networks; i++) {
		say(hello->networks[i].name, sizeof(hello->networks[i].name), "%s",
		    config->networks[i].name);
		hello->networks[i].kind = config->networks[i].kind;
		hello->networks[i].mtu = config->networks[i].mtu;
	}
	return send_message(peer, &message, -1);
}

static enum peer_event send_ring(struct peer *peer, unsigned network)
{
	struct peer_message message = {.type = PEER_MESSAGE_RING};
	struct peer_lane *lane = lane_of(peer, network);

	ops(peer)->random(peer->owner->world, &lane->rx_salt, sizeof(lane->rx_salt));
	say(message.ring.network, sizeof(message.ring.network), "%s",
	    network_name(peer, network));
	message.ring.size = peer->owner->config->networks[network].ring_size;
	message.ring.salt = lane->rx_salt;
	message.ring.epoch = ++peer->owner->last_epoch;
	return send_message(peer, &message, ops(peer)->ring_fd(lane->rx));
}

/* Without memory the network is left out for now, the others go on. */
static enum peer_event offer_ring(struct peer *peer, unsigned network)
{
	const struct config_network *config = &peer->owner->config->networks[network];
	struct peer_lane *lane = lane_of(peer, network);
	const char *why;

	if (!lane->is_common || lane->rx || lane->link)
		return EVENT_NONE;
	if (ops(peer)->ring_new(peer->owner->world, config->ring_size, &lane->rx, &why) <
	    0) {
		say(lane->reason, sizeof(lane->reason), "no ring for network %s: %s",
		    config->name, why);
		log_warn(peer->name, "%s", lane->reason);
		return EVENT_NONE;
	}
	return send_ring(peer, network);
}

static enum peer_event offer_rings(struct peer *peer)
{
	for (unsigned i = 0; i < num_networks(peer); i++) {
		enum peer_event event = offer_ring(peer, i);

		if (event != EVENT_NONE)
			return event;
	}
	return EVENT_NONE;
}

static enum peer_event offer_bell(struct peer *peer)
{
	const struct peer_message message = {.type = PEER_MESSAGE_BELL};
	struct world *world = peer->owner->world;
	struct world_bell *ours;
	enum peer_event event;
	int ret, theirs;

	ret = ops(peer)->bell_new(world, &ours, &theirs);
	if (ret == 0) {
		event = send_message(peer, &message, theirs);
		ops(peer)->fd_close(world, theirs);
		if (event != EVENT_NONE) {
			ops(peer)->bell_free(ours);
			return event;
		}
		ret = ops(peer)->conn_new(world, ours, &peer->session.conn);
	}
	if (ret < 0)
		return complain(peer, PEER_REFUSAL_RESOURCE, "no doorbell on %s: %s",
				peer->owner->config->name, strerror(-ret));
	return EVENT_NONE;
}

/* Above every earlier life of it; its own word counts within one life. */
static enum peer_event send_ready(struct peer *peer)
{
	struct peer_message message = {.type = PEER_MESSAGE_READY};

	peer->session.floor = 0;
	if (peer->is_known)
		peer->session.floor =
			peer->incarnation - (peer->nonce == peer->session.hello.nonce);
	message.ready.floor = peer->session.floor;
	message.ready.incarnation = peer->owner->incarnation;
	return send_message(peer, &message, -1);
}

static enum peer_event act_offer(struct peer *peer)
{
	enum peer_event event = EVENT_NONE;

	for (unsigned i = 0; i < num_networks(peer); i++)
		compare_network(peer, i);
	if (!we_dial(peer)) {
		ops(peer)->timer_set(peer->timer, PEER_PATIENCE_NS);
		event = send_hello(peer);
	} else {
		event = offer_bell(peer);
	}
	if (event == EVENT_NONE)
		event = offer_rings(peer);
	if (event == EVENT_NONE)
		event = send_ready(peer);
	return event;
}

/* ---- links ---- */

static enum peer_event attach_lane(struct peer *peer, unsigned network)
{
	struct peer_lane *lane = lane_of(peer, network);
	struct world_link_spec spec = {
		.network = network,
		.peer_id = peer->id,
		.conn = peer->session.conn,
		.rx = lane->rx,
		.tx = lane->tx,
		.rx_salt = lane->rx_salt,
		.tx_salt = lane->tx_salt,
	};
	int ret;

	if (lane->link || !lane->rx || !lane->tx)
		return EVENT_NONE;
	ret = ops(peer)->link_new(peer->owner->world, &spec, &lane->link);
	if (ret < 0)
		return complain(peer, PEER_REFUSAL_RESOURCE,
				"no link on %s for network %s: %s",
				peer->owner->config->name, network_name(peer, network),
				strerror(-ret));
	lane->rx = NULL;
	lane->tx = NULL;
	lane->reason[0] = '\0';
	peer->owner->link_changed(peer->owner, network, true);
	return EVENT_NONE;
}

/* True if each common network has a ring of ours; else they are made later. */
static bool rings_are_made(struct peer *peer)
{
	for (unsigned i = 0; i < num_networks(peer); i++) {
		const struct peer_lane *lane = lane_of(peer, i);

		if (lane->is_common && !lane->rx && !lane->link)
			return false;
	}
	return true;
}

static void plan_missing_rings(struct peer *peer)
{
	if (rings_are_made(peer)) {
		ops(peer)->timer_cancel(peer->timer);
		return;
	}
	ops(peer)->timer_set(peer->timer, peer->ring_retry_ns);
	peer->ring_retry_ns = doubled(peer->ring_retry_ns, PEER_BACKOFF_MAX_NS);
}

static unsigned count_links(struct peer *peer)
{
	unsigned count = 0;

	for (unsigned i = 0; i < num_networks(peer); i++)
		count += lane_of(peer, i)->link != NULL;
	return count;
}

static enum peer_event attach_lanes(struct peer *peer)
{
	for (unsigned i = 0; i < num_networks(peer); i++) {
		enum peer_event event = attach_lane(peer, i);

		if (event != EVENT_NONE)
			return event;
	}
	return EVENT_NONE;
}

static enum peer_event act_attach(struct peer *peer)
{
	enum peer_event event = attach_lanes(peer);

	if (event != EVENT_NONE)
		return event;
	peer->ring_retry_ns = PEER_BACKOFF_MIN_NS;
	plan_missing_rings(peer);
	peer->session.up_since_ns = now(peer);
	peer->retry_ns = PEER_RETRY_MIN_NS;
	peer->reason[0] = '\0';
	peer->logged[0] = '\0';
	log_info(peer->name, "up: id %u, incarnation %u, pid %ld, networks %u", peer->id,
		 peer->incarnation, (long)peer->session.credentials.pid,
		 count_links(peer));
	return EVENT_NONE;
}

static enum peer_event act_complete_rings(struct peer *peer)
{
	enum peer_event event = offer_rings(peer);

	if (event == EVENT_NONE)
		event = attach_lanes(peer);
	if (event == EVENT_NONE)
		plan_missing_rings(peer);
	return event;
}

/* ---- the other actions ---- */

static enum peer_event act_none(struct peer *peer)
{
	(void)peer;
	return EVENT_NONE;
}

static enum peer_event act_forget(struct peer *peer)
{
	ops(peer)->timer_cancel(peer->timer);
	say(peer->reason, sizeof(peer->reason), "it left");
	return EVENT_NONE;
}

static enum peer_event act_retry(struct peer *peer)
{
	ops(peer)->timer_set(peer->timer, peer->retry_ns);
	peer->retry_ns = doubled(peer->retry_ns, PEER_RETRY_MAX_NS);
	return EVENT_NONE;
}

static enum peer_event act_recall(struct peer *peer)
{
	if (peer->is_present && we_dial(peer))
		return EVENT_CALLABLE;
	return settle(peer);
}

static enum peer_event act_linger(struct peer *peer)
{
	ops(peer)->timer_set(peer->timer, PEER_LINGER_NS);
	return EVENT_NONE;
}

/* The peer may live and store: nothing is salvaged. */
static enum peer_event act_give_up(struct peer *peer)
{
	log_down(peer);
	ops(peer)->timer_cancel(peer->timer);
	detach(peer, false);
	hang_up(peer);
	return settle(peer);
}

static enum peer_event act_end(struct peer *peer)
{
	log_down(peer);
	ops(peer)->timer_cancel(peer->timer);
	detach(peer, true);
	hang_up(peer);
	return settle(peer);
}

static enum peer_event act_time_out(struct peer *peer)
{
	return complain(peer, PEER_REFUSAL_TIMEOUT,
			"the handshake of %s and %s took more than 3 s",
			peer->owner->config->name, peer_name(peer));
}

static enum peer_event act_refuse(struct peer *peer)
{
	struct peer_message message = {
		.type = PEER_MESSAGE_REFUSE,
		.refuse = peer->session.refuse,
	};

	log_down(peer);
	log_refusal(peer);
	forgive(peer);
	if (message.refuse.code == PEER_REFUSAL_PROTOCOL)
		quarantine(peer);
	detach(peer, false);
	peer_refuse_channel(peer->owner->world, peer->session.channel, &message.refuse);
	peer->session.channel = NULL;
	hang_up(peer);
	back_off(peer);
	return EVENT_NONE;
}

static enum peer_event act_back_off(struct peer *peer)
{
	log_down(peer);
	log_refusal(peer);
	forgive(peer);
	detach(peer, true);
	hang_up(peer);
	back_off(peer);
	return EVENT_NONE;
}

static enum peer_event act_show(struct peer *peer)
{
	log_refusal(peer);
	ops(peer)->timer_set(peer->timer, REFUSED_SHOWN_NS);
	return EVENT_NONE;
}

/* ---- what comes over the channel ---- */

static enum peer_event greet(struct peer *peer, const struct peer_hello *hello)
{
	ops(peer)->channel_credentials(peer->session.channel, &peer->session.credentials);
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
	ops(peer)->channel_credentials(peer->session.channel, &credentials);
	if (!peer->owner->admit(peer->owner, peer, &credentials, &message->hello,
				&refuse))
		return complain(peer, refuse.code, "%s", refuse.words);
	return greet(peer, &message->hello);
}

/* Half of completeness is the peer's doing, so this is asked after each message. */
static enum peer_event check_complete(const struct peer *peer)
{
	const struct peer_session *session = &peer->session;

	if (peer->state != PEER_OFFERING || !session->is_ready ||
	    session->claimed <= session->floor)
		return EVENT_NONE;
	return EVENT_COMPLETE;
}

static enum peer_event take_claim(struct peer *peer, uint32_t claimed)
{
	if (claimed < peer->session.claimed)
		return complain(peer, PEER_REFUSAL_PROTOCOL,
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
		return complain(peer, PEER_REFUSAL_PROTOCOL, "%s sent READY twice",
				peer->name);
	if (!peer->session.conn)
		return complain(peer, PEER_REFUSAL_PROTOCOL, "%s sent READY before BELL",
				peer->name);
	peer->session.is_ready = true;
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
		return complain(peer, PEER_REFUSAL_PROTOCOL,
				"%s sent INCARNATION before READY", peer->name);
	return take_claim(peer, message->incarnation.value);
}

static int find_lane(struct peer *peer, const char *name)
{
	for (unsigned i = 0; i < num_networks(peer); i++) {
		if (lane_of(peer, i)->is_common &&
		    strcmp(network_name(peer, i), name) == 0)
			return (int)i;
	}
	return -1;
}

static enum peer_event take_ring(struct peer *peer, const struct peer_message *message,
				 struct world_parcel *parcel)
{
	const struct peer_ring *ring = &message->ring;
	int ret, network = find_lane(peer, ring->network);
	struct peer_lane *lane = lane_of(peer, network < 0 ? 0 : (unsigned)network);
	const char *why;

	if (network < 0)
		return complain(peer, PEER_REFUSAL_PROTOCOL,
				"%s sent a ring for network %s, which is not common",
				peer->name, ring->network);
	if (lane->tx || lane->link)
		return complain(peer, PEER_REFUSAL_PROTOCOL,
				"%s sent a second ring for network %s", peer->name,
				ring->network);
	ret = ops(peer)->ring_accept(peer->owner->world, parcel, ring->size, &lane->tx,
				     &why);
	if (ret < 0)
		return complain(peer,
				ret == -EPROTO ? PEER_REFUSAL_PROTOCOL
					       : PEER_REFUSAL_RESOURCE,
				"the ring of %s for network %s: %s", peer->name,
				ring->network, why);
	lane->tx_salt = ring->salt;
	return peer->state == PEER_UP ? attach_lane(peer, (unsigned)network) : EVENT_NONE;
}

static enum peer_event take_bell(struct peer *peer, const struct peer_message *message,
				 struct world_parcel *parcel)
{
	struct world *world = peer->owner->world;
	struct world_bell *bell;
	const char *why;
	int ret;

	(void)message;
	if (we_dial(peer) || peer->session.conn)
		return complain(peer, PEER_REFUSAL_PROTOCOL, "%s sent %s", peer->name,
				we_dial(peer) ? "BELL though it was dialled"
					      : "BELL twice");
	ret = ops(peer)->bell_accept(world, parcel, &bell, &why);
	if (ret < 0)
		return complain(peer, PEER_REFUSAL_PROTOCOL, "the doorbell of %s %s",
				peer->name, why);
	ret = ops(peer)->conn_new(world, bell, &peer->session.conn);
	if (ret < 0)
		return complain(peer, PEER_REFUSAL_RESOURCE, "no doorbell on %s: %s",
				peer->owner->config->name, strerror(-ret));
	return EVENT_NONE;
}

static enum peer_event take_refuse(struct peer *peer, const struct peer_message *message,
				   struct world_parcel *parcel)
{
	(void)parcel;
	say(peer->reason, sizeof(peer->reason), "%s refused: %s", peer_name(peer),
	    message->refuse.words);
	return EVENT_REFUSED;
}

/* clang-format off */
static const struct message_row {
	unsigned states; /* where it is legal */
	enum peer_event (*take)(struct peer *peer, const struct peer_message *message,
				struct world_parcel *parcel);
} messages[] = {
	[PEER_MESSAGE_HELLO]       = {DIALLED,                take_hello},
	[PEER_MESSAGE_READY]       = {OFFERING,               take_ready},
	[PEER_MESSAGE_RING]        = {OFFERING | UP | FADING, take_ring},
	[PEER_MESSAGE_BELL]        = {OFFERING,               take_bell},
	[PEER_MESSAGE_INCARNATION] = {OFFERING | UP | FADING, take_incarnation},
	[PEER_MESSAGE_REFUSE]      = {ALIVE,                  take_refuse},
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
	unsigned num_fds;

	if (codec_peer_decode(bytes, length, &message, &why) < 0)
		return complain(peer, PEER_REFUSAL_PROTOCOL, "a message of %s %s",
				peer_name(peer), why);
	num_fds = (parcel->fd >= 0) + parcel->surplus;
	if (num_fds != peer_message_fds(message.type))
		return complain(peer, PEER_REFUSAL_PROTOCOL,
				"%s sent %s with %u descriptors, %u is right",
				peer_name(peer), peer_message_name(message.type), num_fds,
				peer_message_fds(message.type));
	row = &messages[message.type];
	if (!(row->states & (1u << peer->state)))
		return complain(peer, PEER_REFUSAL_PROTOCOL,
				"%s sent %s out of turn (state %s)", peer_name(peer),
				peer_message_name(message.type),
				state_names[peer->state]);
	return row->take(peer, &message, parcel);
}

static void on_message(void *arg, const uint8_t *bytes, size_t length,
		       struct world_parcel *parcel)
{
	struct peer *peer = arg;

	happen(peer, take_message(peer, bytes, length, parcel));
}

static void on_closed(void *arg, int error)
{
	struct peer *peer = arg;

	if (error == -EMSGSIZE) {
		happen(peer, complain(peer, PEER_REFUSAL_PROTOCOL,
				      "%s sent a message of more than %d bytes",
				      peer_name(peer), WORLD_MESSAGE_MAX));
		return;
	}
	say(peer->reason, sizeof(peer->reason), "its connection ended%s%s",
	    error ? ": " : "", error ? strerror(-error) : "");
	happen(peer, error == 0 || error == -ECONNRESET ? EVENT_CLOSED : EVENT_BROKEN);
}

static const struct world_channel_handler channel_handler = {
	.message = on_message,
	.closed = on_closed,
};

static enum peer_event act_dial(struct peer *peer)
{
	struct world *world = peer->owner->world;
	int ret;

	ret = world->ops->dial(world, peer->id, &peer->session.channel);
	if (ret < 0) {
		say(peer->reason, sizeof(peer->reason), "it can't be reached: %s",
		    strerror(-ret));
		return EVENT_NO_ANSWER;
	}
	world->ops->channel_set_handler(peer->session.channel, &channel_handler, peer);
	world->ops->timer_set(peer->timer, PEER_PATIENCE_NS);
	return send_hello(peer);
}

/* ---- what others call ---- */

static void on_timer(void *arg)
{
	happen(arg, EVENT_TIMER);
}

int peer_new(struct peer_owner *owner, uint16_t id, struct peer **ret_peer)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return -ENOMEM;
	peer->owner = owner;
	peer->id = id;
	peer->retry_ns = PEER_RETRY_MIN_NS;
	peer->backoff_ns = PEER_BACKOFF_MIN_NS;
	say(peer->name, sizeof(peer->name), "node-%u", id);
	say(peer->reason, sizeof(peer->reason), "it has not been heard of yet");
	peer->timer = owner->world->ops->timer_new(owner->world, on_timer, peer);
	if (!peer->timer) {
		free(peer);
		return -ENOMEM;
	}
	*ret_peer = peer;
	return 0;
}

void peer_free(struct peer *peer)
{
	if (!peer)
		return;
	detach(peer, false);
	hang_up(peer);
	ops(peer)->timer_free(peer->timer);
	free(peer);
}

/* A new socket is a new life, or a new beginning: nothing is held against it. */
void peer_appear(struct peer *peer)
{
	peer->is_present = true;
	peer->retry_ns = PEER_RETRY_MIN_NS;
	peer->backoff_ns = PEER_BACKOFF_MIN_NS;
	happen(peer, we_dial(peer) ? EVENT_CALLABLE : EVENT_APPEARED);
}

void peer_disappear(struct peer *peer)
{
	peer->is_present = false;
	happen(peer, EVENT_DISAPPEARED);
}

void peer_accept(struct peer *peer, struct world_channel *channel,
		 const struct peer_hello *hello)
{
	struct peer_refuse refuse = {.code = PEER_REFUSAL_BUSY};

	if (is_quarantined(peer, hello->nonce)) {
		say(refuse.words, sizeof(refuse.words),
		    "%s is in quarantine on %s: %.400s", peer->name,
		    peer->owner->config->name, peer->reason);
		peer_refuse_channel(peer->owner->world, channel, &refuse);
		return;
	}
	peer->session.channel = channel;
	ops(peer)->channel_set_handler(channel, &channel_handler, peer);
	happen(peer, greet(peer, hello));
}

/* Of one that we dial it proves nothing, and it must not keep us from dialling. */
bool peer_note_refusal(struct peer *peer, const struct peer_refuse *refuse)
{
	if (peer->session.channel || we_dial(peer))
		return false;
	say(peer->reason, sizeof(peer->reason), "refused: %s", refuse->words);
	happen(peer, EVENT_TURNED_AWAY);
	return true;
}

bool peer_link_fault(struct peer *peer, const struct world_link *link, int error)
{
	for (unsigned i = 0; i < num_networks(peer); i++) {
		if (!link || lane_of(peer, i)->link != link)
			continue;
		if (error == -EPROTO) {
			happen(peer, complain(peer, PEER_REFUSAL_PROTOCOL,
					      "%s broke the rules of the ring of network "
					      "%s",
					      peer->name, network_name(peer, i)));
			return true;
		}
		say(peer->reason, sizeof(peer->reason), "its doorbell died: %s",
		    strerror(-error));
		happen(peer, EVENT_LOST);
		return true;
	}
	return false;
}

bool peer_is_gone(struct peer *peer)
{
	return peer->session.channel && ops(peer)->channel_at_end(peer->session.channel);
}

void peer_bury(struct peer *peer)
{
	say(peer->reason, sizeof(peer->reason), "its connection ended");
	happen(peer, EVENT_CLOSED);
}

/* Before READY it isn't told: READY has the value. */
void peer_send_incarnation(struct peer *peer)
{
	struct peer_message message = {.type = PEER_MESSAGE_INCARNATION};

	if (!((OFFERING | UP | FADING) & (1u << peer->state)))
		return;
	message.incarnation.value = peer->owner->incarnation;
	happen(peer, send_message(peer, &message, -1));
}

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

uint32_t peer_incarnation(const struct peer *peer)
{
	return peer->incarnation;
}

pid_t peer_pid(const struct peer *peer)
{
	return peer->session.credentials.pid;
}

bool peer_is_known(const struct peer *peer)
{
	return peer->is_known;
}

bool peer_is_present(const struct peer *peer)
{
	return peer->is_present;
}

struct world_link *peer_link(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].link;
}

bool peer_has_network(const struct peer *peer, unsigned network)
{
	return find_network(&peer->session.hello, network_name(peer, network)) != NULL;
}

const char *peer_network_reason(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].reason;
}

void peer_refuse_channel(struct world *world, struct world_channel *channel,
			 const struct peer_refuse *refuse)
{
	struct peer_message message = {.type = PEER_MESSAGE_REFUSE, .refuse = *refuse};
	uint8_t bytes[1024];
	size_t length;

	/* Who doesn't read it has only itself to blame. */
	if (codec_peer_encode(&message, bytes, sizeof(bytes), &length) == 0)
		(void)world->ops->channel_send(channel, bytes, length, -1);
	world->ops->channel_close(channel);
}
