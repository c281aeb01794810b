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
 * that is what the fabric has told of. Not so if it was given up: what it had not read
 * then is counted as lost, so it is told first, and salvages nothing either.
 *
 * Who breaks the rules, in a message or in memory, is hung up on with the words of it,
 * and is in quarantine: for PEER_QUARANTINE_MIN_NS, twice as long each time up to
 * PEER_QUARANTINE_MAX_NS, and as at first again when it kept the rules for that long. It
 * is neither dialled nor listened to meanwhile. A node that was restarted may be another
 * program, so its next life is welcome at once; but a life costs a liar nothing, so that
 * ends with PEER_QUARANTINE_LIFE_NS, from which on the id is out, whoever has it.
 *
 * A session that ends at once costs who ends it nothing, so it takes a while until such
 * a peer is dialled as soon as it is gone again, whatever new socket it has; and if it
 * dials, it is told that it does so too often.
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

/* ---- the machine ---- */

static const char *const event_names[] = {
	[EVENT_NONE] = "none",
	[EVENT_APPEARED] = "appeared",
	[EVENT_CALLABLE] = "callable",
	[EVENT_DISAPPEARED] = "disappeared",
	[EVENT_RETRY] = "retry",
	[EVENT_TIMER] = "timer",
	[EVENT_NO_ANSWER] = "no answer",
	[EVENT_GREETED] = "greeted",
	[EVENT_CONNECTED] = "connected",
	[EVENT_COMPLETE] = "complete",
	[EVENT_SILENT] = "silent",
	[EVENT_HEARD] = "heard",
	[EVENT_UNHEARD] = "unheard",
	[EVENT_LOST] = "lost",
	[EVENT_BROKEN] = "broken",
	[EVENT_CLOSED] = "closed",
	[EVENT_GIVEN_UP] = "given up",
	[EVENT_REFUSE] = "refuse",
	[EVENT_REFUSED] = "refused",
	[EVENT_NETWORKS] = "networks",
	[EVENT_TURNED_AWAY] = "turned away",
};
_Static_assert(sizeof(event_names) / sizeof(event_names[0]) == EVENT_NUM_, "a name each");

#define SAME PEER_STATE_NUM_

typedef enum peer_event peer_action(struct peer *peer);

static peer_action act_none, act_forget, act_dial, act_retry, act_recall, act_offer,
	act_declare, act_attach, act_complete_rings, act_offer_rings, act_linger,
	act_give_up, act_end, act_time_out, act_refuse, act_back_off, act_show, act_wait,
	act_suspect, act_ask, act_trust, act_presume_dead, act_return;

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
	{ABSENT | WAITING | REFUSED,  EVENT_RETRY,         act_retry,          "dial later",          PEER_WAITING},
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
	{UP | SUSPECT,                EVENT_NETWORKS,      act_complete_rings, "make missing rings",  SAME},
	{OFFERING,                    EVENT_NETWORKS,      act_offer_rings,    "offer missing rings", SAME},
	{FADING,                      EVENT_NETWORKS,      act_none,           "none",                SAME},
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
	{ALIVE,                       EVENT_RETRY,         act_none,           "none",                SAME},
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
				event_names[event], peer_state_name(peer->state));
			return;
		}
		next = row->next == SAME ? peer->state : row->next;
		log_debug(peer_name(peer), "event %s, action %s, %s > %s",
			  event_names[event], row->name, peer_state_name(peer->state),
			  peer_state_name(next));
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

/* ---- the end of a session ---- */

/* The session is over, but for the channel, which goes last. */
static void end_session(struct peer *peer, enum peer_end end, bool peer_is_dead)
{
	struct peer_owner *owner = peer->owner;
	bool was_up = peer->session.up_since_ns != 0;

	if (was_up)
		peer_news_down(peer);
	peer_forgive(peer);
	peer_ops(peer)->timer_cancel(peer->timer);
	peer_detach(peer, peer_is_dead);
	if (was_up && owner->ended)
		owner->ended(owner, peer, end);
}

/* Where it goes from ABSENT, given what the rendezvous says. */
static enum peer_event settle(struct peer *peer)
{
	if (!peer->is_present)
		return EVENT_NONE;
	return peer_we_dial(peer) ? EVENT_RETRY : EVENT_APPEARED;
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
	peer_retry(peer);
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
	peer->due_ns = peer_now(peer) + peer_patience_ns(peer);
	peer_ops(peer)->timer_set(peer->timer, peer_patience_ns(peer));
}

static enum peer_event act_offer(struct peer *peer)
{
	enum peer_event event = EVENT_NONE;

	peer_count_session(peer);
	peer_compare_networks(peer);
	peer_set_floor(peer);
	set_patience(peer);
	if (!peer_we_dial(peer))
		event = peer_send_hello(peer);
	else if (peer->session.generation != peer->owner->generation &&
		 !peer->session.is_remote)
		event = peer_send_networks(peer);
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
	peer->ring_retry_ns = peer_doubled(peer->ring_retry_ns, PEER_BACKOFF_MAX_NS);
}

static enum peer_event act_attach(struct peer *peer)
{
	enum peer_event event = peer_attach_lanes(peer);

	if (event != EVENT_NONE)
		return event;
	peer->ring_retry_ns = PEER_BACKOFF_MIN_NS;
	plan_missing_rings(peer);
	peer->session.up_since_ns = peer_now(peer);
	peer_pulse_start(peer);
	peer->is_silent = false;
	peer->reason[0] = '\0';
	peer->logged[0] = '\0';
	peer_news_up(peer);
	peer_tell_pauses(peer);
	peer_tell_border(peer);
	return EVENT_NONE;
}

static enum peer_event act_offer_rings(struct peer *peer)
{
	return peer_offer_rings(peer);
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
	peer_news_suspect(peer);
	return EVENT_NONE;
}

static enum peer_event act_trust(struct peer *peer)
{
	peer_news_trust(peer);
	peer->reason[0] = '\0';
	return EVENT_NONE;
}

/*
 * With a word, so that the peer does not take us for dead; it may just be stopped. Before
 * anything else: what it reads of our rings from now on is counted as lost.
 */
static void say_given_up(struct peer *peer)
{
	struct peer_refuse refuse = {.code = PEER_REFUSAL_GIVEN_UP};

	peer_say(refuse.words, sizeof(refuse.words), "%.*s", PEER_WORDS_MAX - 1,
		 peer->reason);
	peer_say_refuse(peer->owner->world, peer->session.channel, &refuse);
}

static enum peer_event act_presume_dead(struct peer *peer)
{
	say_given_up(peer);
	end_session(peer, PEER_END_SILENT, false);
	peer->is_silent = true;
	peer_hang_up(peer);
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
	say_given_up(peer);
	peer_news_unreached(peer);
	end_session(peer, PEER_END_OTHER, false);
	peer_hang_up(peer);
	return settle(peer);
}

/*
 * The peer has ended it, by a word. What we had not read then it counts as lost, or sends
 * by another way, so no ring is salvaged, even if it still stores into some. It may have
 * died since it spoke, so what it was writing to the cast rings is cleared if it has.
 */
static void end_by_its_word(struct peer *peer)
{
	peer->session.is_given_up = true;
	end_session(peer, PEER_END_OTHER, true);
}

static enum peer_event act_return(struct peer *peer)
{
	peer_news_unreached(peer);
	end_by_its_word(peer);
	peer_hang_up(peer);
	return settle(peer);
}

static enum peer_event act_end(struct peer *peer)
{
	peer_news_unreached(peer);
	end_session(peer, PEER_END_CLOSED, true);
	peer_hang_up(peer);
	return settle(peer);
}

/* If we did not run ourselves its answer may be there, unread. */
static enum peer_event act_time_out(struct peer *peer)
{
	if (peer_now(peer) > peer->due_ns + peer_interval_ns(peer->owner)) {
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
	if (message.refuse.code == PEER_REFUSAL_PROTOCOL) {
		peer_quarantine(peer);
	} else {
		peer_news_refusal(peer);
		peer_back_off(peer);
	}
	peer_refuse_channel(peer->owner->world, peer->session.channel, &message.refuse);
	peer->session.channel = NULL;
	peer_hang_up(peer);
	return EVENT_NONE;
}

static enum peer_event act_back_off(struct peer *peer)
{
	end_by_its_word(peer);
	peer_news_refusal(peer);
	peer_hang_up(peer);
	peer_back_off(peer);
	return EVENT_NONE;
}

static enum peer_event act_show(struct peer *peer)
{
	peer_news_refusal(peer);
	peer_ops(peer)->timer_set(peer->timer, PEER_REFUSED_SHOWN_NS);
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

static enum peer_event appear(const struct peer *peer)
{
	if (!peer_we_dial(peer))
		return EVENT_APPEARED;
	return peer_session_wait_ns(peer) ? EVENT_RETRY : EVENT_CALLABLE;
}

/*
 * A new socket is a new life, or a new beginning: nothing is held against it, unless it
 * broke the rules again and again, or began a session too often.
 */
void peer_appear(struct peer *peer)
{
	peer->is_present = true;
	if (peer->state == PEER_REFUSED && peer_is_shut_out(peer))
		return; /* the timer that runs will see that it is there */
	peer->retry_ns = PEER_RETRY_MIN_NS;
	peer->backoff_ns = PEER_BACKOFF_MIN_NS;
	peer_happen(peer, appear(peer));
}

void peer_disappear(struct peer *peer)
{
	peer->is_present = false;
	if (peer->state == PEER_REFUSED && peer_is_shut_out(peer))
		return; /* or it would come back as if nothing had happened */
	peer_happen(peer, EVENT_DISAPPEARED);
}

static bool is_welcome(struct peer *peer, const struct peer_hello *hello,
		       struct peer_refuse *ret_refuse)
{
	const char *self = peer->owner->config->name;

	ret_refuse->code = PEER_REFUSAL_BUSY;
	if (peer_is_quarantined(peer, hello->nonce))
		peer_say(ret_refuse->words, sizeof(ret_refuse->words), "%s has %s %.400s",
			 self, peer->name, peer->reason);
	else if (peer_session_wait_ns(peer))
		peer_say(ret_refuse->words, sizeof(ret_refuse->words),
			 "%s begins a session with %s too often", hello->name, self);
	else
		return true;
	return false;
}

void peer_accept(struct peer *peer, struct world_channel *channel,
		 const struct peer_hello *hello)
{
	struct peer_refuse refuse;

	if (is_welcome(peer, hello, &refuse)) {
		peer_take_channel(peer, channel);
		peer_happen(peer, peer_greet(peer, hello));
		return;
	}
	peer_refuse_channel(peer->owner->world, channel, &refuse);
	if (!peer_is_quarantined(peer, hello->nonce)) /* then it has its reason */
		peer_note_refusal(peer, &refuse);
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
