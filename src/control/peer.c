/*
 * See peer.h. The table of a peer's life, its actions, and what others call.
 *
 * Theory of operation
 * -------------------
 * The lower id dials. The dialler's HELLO is admitted by the membership, then both
 * sides offer at once: their half of a connection, a ring for each common network, and
 * READY as the end of the offer. A session is complete when both halves are there and
 * the other one's incarnation is above what we last knew of an earlier life; then
 * the links are made, all in one step.
 *
 * On one machine a connection is ready as soon as it is begun, and READY follows at once.
 * Between two it is made by the fabric from what both have offered, and each side says
 * READY when its own is; so who has heard it may send. That connection has a life of its
 * own beside the channel: if it can't be made, or breaks, the channel's end may be on its
 * way, or a refusal that says why, so these are waited for. If none comes the session is
 * given up, with a word, and begun again at the pace of dialling.
 *
 * Two links of one pair and network always belong to one session: a side makes its
 * link after the other one's READY, and that one had left the session before by then.
 *
 * A peer that shows no life is suspected, and given up if nobody else hears it either
 * (liveness.c). It may just be stopped: nothing is salvaged, and its id is called again
 * at once, or its call is taken. A call is answered when the peer's process runs, so the
 * one that waits for an answer waits without a limit, and makes no second call meanwhile:
 * the peer's queue of calls is short. Another machine is called anew after a while: it
 * may have moved.
 *
 * When a session ends, links go first and the channel last. So a peer that sees the
 * end of the channel knows that nothing is stored into its rings any more, and may
 * deliver what was finished but not published [31]. Where nothing is stored directly,
 * that is what the fabric has told of.
 *
 * Another machine that can't be reached ends a channel as soon as it was dialled. That is
 * tried again for as long as the peer is known to be there, and said once.
 */
#include "base/log.h"
#include "control/peer_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STABLE_NS	 PEER_BACKOFF_MAX_NS /* up for so long, the past is forgiven */
#define REFUSED_SHOWN_NS (2 * PEER_BACKOFF_MAX_NS) /* of one that does not dial again */

/* ---- the machine ---- */

static const char *const event_names[] = {
	[EVENT_NONE] = "none",		 [EVENT_APPEARED] = "appeared",
	[EVENT_CALLABLE] = "callable",	 [EVENT_DISAPPEARED] = "disappeared",
	[EVENT_RETRY] = "retry",	 [EVENT_TIMER] = "timer",
	[EVENT_NO_ANSWER] = "no answer", [EVENT_GREETED] = "greeted",
	[EVENT_CONNECTED] = "connected", [EVENT_COMPLETE] = "complete",
	[EVENT_SILENT] = "silent",	 [EVENT_HEARD] = "heard",
	[EVENT_UNHEARD] = "unheard",	 [EVENT_LOST] = "lost",
	[EVENT_BROKEN] = "broken",	 [EVENT_CLOSED] = "closed",
	[EVENT_GIVEN_UP] = "given up",	 [EVENT_REFUSE] = "refuse",
	[EVENT_REFUSED] = "refused",	 [EVENT_TURNED_AWAY] = "turned away",
};
_Static_assert(sizeof(event_names) / sizeof(event_names[0]) == EVENT_NUM_, "a name each");

static const char *const state_names[] = {
	[PEER_ABSENT] = "absent",   [PEER_WAITING] = "waiting",
	[PEER_DIALLED] = "dialled", [PEER_OFFERING] = "offering",
	[PEER_UP] = "up",	    [PEER_SUSPECT] = "suspect",
	[PEER_FADING] = "fading",   [PEER_REFUSED] = "refused",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == PEER_STATE_NUM_,
	       "a name each");

#define SAME PEER_STATE_NUM_

typedef enum peer_event peer_action(struct peer *peer);

static peer_action act_none, act_forget, act_dial, act_retry, act_recall, act_offer,
	act_declare, act_attach, act_complete_rings, act_linger, act_give_up, act_end,
	act_time_out, act_refuse, act_back_off, act_show, act_wait, act_suspect, act_ask,
	act_trust, act_presume_dead, act_return;

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
	{DIALLED,                     EVENT_TIMER,         act_wait,           "wait",                PEER_DIALLED},

	{OFFERING,                    EVENT_TIMER,         act_time_out,       "time out",            SAME},
	{OFFERING,                    EVENT_CONNECTED,     act_declare,        "declare",             SAME},
	{OFFERING,                    EVENT_COMPLETE,      act_attach,         "attach",              PEER_UP},

	{UP | SUSPECT,                EVENT_TIMER,         act_complete_rings, "make missing rings",  SAME},
	{OFFERING | UP | SUSPECT,     EVENT_LOST,          act_linger,         "linger",              PEER_FADING},
	{UP,                          EVENT_SILENT,        act_suspect,        "suspect",             PEER_SUSPECT},
	{SUSPECT,                     EVENT_SILENT,        act_ask,            "ask again",           PEER_SUSPECT},
	{SUSPECT,                     EVENT_HEARD,         act_trust,          "trust",               PEER_UP},
	{SUSPECT,                     EVENT_UNHEARD,       act_presume_dead,   "presume dead",        PEER_ABSENT},
	{FADING,                      EVENT_TIMER,         act_give_up,        "give up",             PEER_ABSENT},

	{ALIVE,                       EVENT_BROKEN,        act_give_up,        "give up",             PEER_ABSENT},
	{ALIVE,                       EVENT_CLOSED,        act_end,            "end",                 PEER_ABSENT},
	{ALIVE,                       EVENT_GIVEN_UP,      act_return,         "return",              PEER_ABSENT},
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

static void set_state(struct peer *peer, enum peer_state state)
{
	bool was = SUSPECTED & (1u << peer->state), is = SUSPECTED & (1u << state);

	peer->state = state;
	if (is != was)
		peer->owner->suspected(peer->owner, peer, is);
}

/* An action may name the event that follows at once; EVENT_NONE ends it. */
void peer_happen(struct peer *peer, enum peer_event event)
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
		set_state(peer, next);
		event = following;
	}
}

/* ---- words ---- */

void peer_say(char *text, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, size, format, args);
	va_end(args);
}

enum peer_event peer_complain(struct peer *peer, enum peer_refusal code,
			      const char *format, ...)
{
	struct peer_refuse *refuse = &peer->session.refuse;
	va_list args;

	refuse->code = code;
	va_start(args, format);
	vsnprintf(refuse->words, sizeof(refuse->words), format, args);
	va_end(args);
	peer_say(peer->reason, sizeof(peer->reason), "refused: %s", refuse->words);
	return EVENT_REFUSE;
}

/* ---- time ---- */

static uint64_t now(const struct peer *peer)
{
	return peer_ops(peer)->now(peer->owner->world);
}

static uint64_t doubled(uint64_t value, uint64_t limit)
{
	return value * 2 < limit ? value * 2 : limit;
}

/* ---- what is told ---- */

static void tell(struct peer *peer, enum log_level level, enum events_state state,
		 const char *cause)
{
	const struct events_change change = {level, EVENTS_NODE, peer_name(peer),
					     peer->told, state};

	events_tell(peer->owner->events, now(peer), &change, "%s", cause);
	peer->told = state;
}

/* A refusal that repeats is one event, however often the peer comes again. */
static void tell_refusal(struct peer *peer)
{
	if (strcmp(peer->logged, peer->reason) == 0) {
		log_debug(peer_name(peer), "%s", peer->reason);
		return;
	}
	memcpy(peer->logged, peer->reason, sizeof(peer->logged));
	tell(peer, LOG_LEVEL_WARNING, EVENTS_REFUSED, peer->reason);
}

/* Another machine that is not reached is said once, however often it is tried. */
static void tell_unreached(struct peer *peer)
{
	if (!peer->session.is_remote || peer->session.up_since_ns ||
	    strcmp(peer->logged, peer->reason) == 0)
		return;
	memcpy(peer->logged, peer->reason, sizeof(peer->logged));
	log_warn(peer_name(peer), "%s", peer->reason);
}

static void tell_up(struct peer *peer)
{
	char cause[EVENTS_CAUSE_MAX], place[PEER_FABRIC_MAX + 8];

	if (peer->session.is_remote)
		peer_say(place, sizeof(place), "by %s", peer->fabric);
	else
		peer_say(place, sizeof(place), "pid %ld",
			 (long)peer->session.credentials.pid);
	peer_say(cause, sizeof(cause), "id %u, incarnation %u, %s, networks %u", peer->id,
		 peer->incarnation, place, peer_count_links(peer));
	tell(peer, LOG_LEVEL_INFO, EVENTS_UP, cause);
}

/* The session is over, but for the channel, which goes last. */
static void end_session(struct peer *peer, enum peer_end end, bool peer_is_dead)
{
	struct peer_owner *owner = peer->owner;
	bool was_up = peer->session.up_since_ns != 0;

	if (was_up)
		tell(peer, LOG_LEVEL_INFO, EVENTS_DOWN, peer->reason);
	peer_ops(peer)->timer_cancel(peer->timer);
	peer_detach(peer, peer_is_dead);
	if (was_up && owner->ended)
		owner->ended(owner, peer, end);
}

/* ---- how long, and where to ---- */

/* Where it goes from ABSENT, given what the rendezvous says. */
static enum peer_event settle(struct peer *peer)
{
	if (!peer->is_present)
		return EVENT_NONE;
	return peer_we_dial(peer) ? EVENT_RETRY : EVENT_APPEARED;
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
	peer_ops(peer)->timer_set(peer->timer,
				  peer_we_dial(peer) ? delay : REFUSED_SHOWN_NS);
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

/* ---- from absent to up ---- */

static enum peer_event act_none(struct peer *peer)
{
	(void)peer;
	return EVENT_NONE;
}

static enum peer_event act_forget(struct peer *peer)
{
	peer_ops(peer)->timer_cancel(peer->timer);
	peer_say(peer->reason, sizeof(peer->reason), "it left");
	return EVENT_NONE;
}

static enum peer_event act_retry(struct peer *peer)
{
	peer_ops(peer)->timer_set(peer->timer, peer->retry_ns);
	peer->retry_ns = doubled(peer->retry_ns, PEER_RETRY_MAX_NS);
	return EVENT_NONE;
}

static enum peer_event act_dial(struct peer *peer)
{
	struct world *world = peer->owner->world;
	struct world_channel *channel;
	int ret;

	ret = world->ops->dial(world, peer->id, &channel);
	if (ret < 0) {
		peer_say(peer->reason, sizeof(peer->reason), "it can't be reached: %s",
			 strerror(-ret));
		return EVENT_NO_ANSWER;
	}
	peer_take_channel(peer, channel);
	world->ops->timer_set(peer->timer, peer_patience_ns(peer)); /* says so then */
	return peer_send_hello(peer);
}

/*
 * Stopped, or busy: when it runs again it will answer. But of another machine it is
 * hearsay where it is, and whoever is there instead may wait longer than we.
 */
static enum peer_event act_wait(struct peer *peer)
{
	if (!peer->is_silent)
		peer_say(peer->reason, sizeof(peer->reason),
			 "it takes the call and does not answer: stopped?");
	return peer->session.is_remote ? EVENT_BROKEN : EVENT_NONE;
}

static void set_patience(struct peer *peer)
{
	peer->due_ns = now(peer) + peer_patience_ns(peer);
	peer_ops(peer)->timer_set(peer->timer, peer_patience_ns(peer));
}

static enum peer_event act_offer(struct peer *peer)
{
	enum peer_event event = EVENT_NONE;

	peer_compare_networks(peer);
	peer_set_floor(peer);
	set_patience(peer);
	if (!peer_we_dial(peer))
		event = peer_send_hello(peer);
	if (event == EVENT_NONE)
		event = peer_offer_bell(peer);
	if (event == EVENT_NONE)
		event = peer_offer_rings(peer);
	if (event == EVENT_NONE)
		event = peer_declare(peer);
	return event;
}

static enum peer_event act_declare(struct peer *peer)
{
	return peer_declare(peer);
}

static void plan_missing_rings(struct peer *peer)
{
	if (peer_has_all_rings(peer)) {
		peer_ops(peer)->timer_cancel(peer->timer);
		return;
	}
	peer_ops(peer)->timer_set(peer->timer, peer->ring_retry_ns);
	peer->ring_retry_ns = doubled(peer->ring_retry_ns, PEER_BACKOFF_MAX_NS);
}

static enum peer_event act_attach(struct peer *peer)
{
	enum peer_event event = peer_attach_lanes(peer);

	if (event != EVENT_NONE)
		return event;
	peer->ring_retry_ns = PEER_BACKOFF_MIN_NS;
	plan_missing_rings(peer);
	peer->session.up_since_ns = now(peer);
	peer_pulse_start(peer);
	peer->is_silent = false;
	peer->retry_ns = PEER_RETRY_MIN_NS;
	peer->reason[0] = '\0';
	peer->logged[0] = '\0';
	tell_up(peer);
	return EVENT_NONE;
}

static enum peer_event act_complete_rings(struct peer *peer)
{
	enum peer_event event = peer_offer_rings(peer);

	if (event == EVENT_NONE)
		event = peer_attach_lanes(peer);
	if (event == EVENT_NONE)
		plan_missing_rings(peer);
	return event;
}

/* ---- silence ---- */

static enum peer_event act_ask(struct peer *peer)
{
	peer_ask_others(peer);
	return EVENT_NONE;
}

static enum peer_event act_suspect(struct peer *peer)
{
	peer_ask_others(peer);
	tell(peer, LOG_LEVEL_INFO, EVENTS_SUSPECT, peer->reason);
	return EVENT_NONE;
}

static enum peer_event act_trust(struct peer *peer)
{
	char cause[EVENTS_CAUSE_MAX];

	peer_say(cause, sizeof(cause), "heard again after %llu ms",
		 (unsigned long long)peer->session.pulse.gap_ns / 1000000);
	tell(peer, LOG_LEVEL_INFO, EVENTS_UP, cause);
	peer->reason[0] = '\0';
	return EVENT_NONE;
}

/* With a word, so that the peer does not take us for dead; it may just be stopped. */
static void leave(struct peer *peer)
{
	struct peer_refuse refuse = {.code = PEER_REFUSAL_GIVEN_UP};

	peer_say(refuse.words, sizeof(refuse.words), "%.*s", PEER_WORDS_MAX - 1,
		 peer->reason);
	peer_refuse_channel(peer->owner->world, peer->session.channel, &refuse);
	peer->session.channel = NULL;
	peer_hang_up(peer);
}

static enum peer_event act_presume_dead(struct peer *peer)
{
	end_session(peer, PEER_END_SILENT, false);
	peer->is_silent = true;
	leave(peer);
	return settle(peer);
}

/* ---- and back ---- */

static enum peer_event act_linger(struct peer *peer)
{
	peer_ops(peer)->timer_set(peer->timer, PEER_LINGER_NS);
	return EVENT_NONE;
}

/* The peer may live and store: nothing is salvaged. */
static enum peer_event act_give_up(struct peer *peer)
{
	tell_unreached(peer);
	end_session(peer, PEER_END_OTHER, false);
	leave(peer);
	return settle(peer);
}

/* The peer has left our memory before it said so. */
static enum peer_event act_return(struct peer *peer)
{
	tell_unreached(peer);
	end_session(peer, PEER_END_OTHER, true);
	peer_hang_up(peer);
	return settle(peer);
}

static enum peer_event act_end(struct peer *peer)
{
	tell_unreached(peer);
	end_session(peer, PEER_END_CLOSED, true);
	peer_hang_up(peer);
	return settle(peer);
}

/* If we did not run ourselves its answer may be there, unread. */
static enum peer_event act_time_out(struct peer *peer)
{
	if (now(peer) > peer->due_ns + peer_interval_ns(peer->owner)) {
		set_patience(peer);
		return EVENT_NONE;
	}
	return peer_complain(peer, PEER_REFUSAL_TIMEOUT,
			     "the handshake of %s and %s took more than %u s",
			     peer->owner->config->name, peer_name(peer),
			     (unsigned)(peer_patience_ns(peer) / 1000000000));
}

static enum peer_event act_refuse(struct peer *peer)
{
	struct peer_message message = {
		.type = PEER_MESSAGE_REFUSE,
		.refuse = peer->session.refuse,
	};

	end_session(peer, PEER_END_OTHER, false);
	tell_refusal(peer);
	forgive(peer);
	if (message.refuse.code == PEER_REFUSAL_PROTOCOL)
		quarantine(peer);
	peer_refuse_channel(peer->owner->world, peer->session.channel, &message.refuse);
	peer->session.channel = NULL;
	peer_hang_up(peer);
	back_off(peer);
	return EVENT_NONE;
}

static enum peer_event act_back_off(struct peer *peer)
{
	end_session(peer, PEER_END_OTHER, true);
	tell_refusal(peer);
	forgive(peer);
	peer_hang_up(peer);
	back_off(peer);
	return EVENT_NONE;
}

static enum peer_event act_show(struct peer *peer)
{
	tell_refusal(peer);
	peer_ops(peer)->timer_set(peer->timer, REFUSED_SHOWN_NS);
	return EVENT_NONE;
}

static enum peer_event act_recall(struct peer *peer)
{
	if (peer->is_present && peer_we_dial(peer))
		return EVENT_CALLABLE;
	return settle(peer);
}

/* ---- what others call ---- */

static void on_timer(void *arg)
{
	peer_happen(arg, EVENT_TIMER);
}

int peer_new(struct peer_owner *owner, uint16_t id, struct peer **ret_peer)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return -ENOMEM;
	peer->owner = owner;
	peer->id = id;
	peer->told = EVENTS_DOWN;
	peer->retry_ns = PEER_RETRY_MIN_NS;
	peer->backoff_ns = PEER_BACKOFF_MIN_NS;
	peer_say(peer->name, sizeof(peer->name), "node-%u", id);
	peer_say(peer->reason, sizeof(peer->reason), "it has not been heard of yet");
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
	peer_detach(peer, false);
	peer_hang_up(peer);
	peer_ops(peer)->timer_free(peer->timer);
	free(peer);
}

/* A new socket is a new life, or a new beginning: nothing is held against it. */
void peer_appear(struct peer *peer)
{
	peer->is_present = true;
	peer->retry_ns = PEER_RETRY_MIN_NS;
	peer->backoff_ns = PEER_BACKOFF_MIN_NS;
	peer_happen(peer, peer_we_dial(peer) ? EVENT_CALLABLE : EVENT_APPEARED);
}

void peer_disappear(struct peer *peer)
{
	peer->is_present = false;
	peer_happen(peer, EVENT_DISAPPEARED);
}

void peer_accept(struct peer *peer, struct world_channel *channel,
		 const struct peer_hello *hello)
{
	struct peer_refuse refuse = {.code = PEER_REFUSAL_BUSY};

	if (is_quarantined(peer, hello->nonce)) {
		peer_say(refuse.words, sizeof(refuse.words),
			 "%s is in quarantine on %s: %.400s", peer->name,
			 peer->owner->config->name, peer->reason);
		peer_refuse_channel(peer->owner->world, channel, &refuse);
		return;
	}
	peer_take_channel(peer, channel);
	peer_happen(peer, peer_greet(peer, hello));
}

/* Of one that we dial it proves nothing, and it must not keep us from dialling. */
bool peer_note_refusal(struct peer *peer, const struct peer_refuse *refuse)
{
	if (peer->session.channel || peer_we_dial(peer))
		return false;
	peer_say(peer->reason, sizeof(peer->reason), "refused: %s", refuse->words);
	peer_happen(peer, EVENT_TURNED_AWAY);
	return true;
}

bool peer_link_fault(struct peer *peer, const struct world_link *link, int error,
		     const char *why)
{
	int network = peer_link_network(peer, link);

	if (network < 0)
		return false;
	if (error == -EPROTO) {
		peer_happen(peer,
			    peer_complain(peer, PEER_REFUSAL_PROTOCOL,
					  "%s broke the rules of the ring of network "
					  "%s%s%s",
					  peer->name,
					  peer_network_name(peer, (unsigned)network),
					  *why ? ": " : "", why));
		return true;
	}
	peer_say(peer->reason, sizeof(peer->reason), "its %s died: %s",
		 peer->session.is_remote ? "connection" : "doorbell",
		 *why ? why : strerror(-error));
	peer_happen(peer, EVENT_LOST);
	return true;
}

bool peer_conn_ready(struct peer *peer, const struct world_conn *conn)
{
	if (peer->session.conn != conn)
		return false;
	peer_happen(peer, EVENT_CONNECTED);
	return true;
}

bool peer_conn_lost(struct peer *peer, const struct world_conn *conn, const char *words)
{
	if (peer->session.conn != conn)
		return false;
	peer_say(peer->reason, sizeof(peer->reason), "its connection died: %s", words);
	peer_happen(peer, EVENT_LOST);
	return true;
}

bool peer_is_gone(struct peer *peer)
{
	return peer->session.channel &&
	       peer_ops(peer)->channel_at_end(peer->session.channel);
}

void peer_bury(struct peer *peer)
{
	peer_say(peer->reason, sizeof(peer->reason), "its connection ended");
	peer_happen(peer, EVENT_CLOSED);
}

/* ---- what it is like ---- */

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

struct world_link *peer_link(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].link;
}

const char *peer_network_reason(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].reason;
}

const char *peer_network_clash(const struct peer *peer, unsigned network)
{
	return peer->session.lanes[network].clash;
}
