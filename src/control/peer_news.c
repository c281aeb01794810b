/*
 * What is told of a peer, as events with their lines of the log: that it is up, down,
 * silent, refused or quarantined. See peer_internal.h. Control thread.
 */
#include "control/peer_internal.h"
#include "control/wire_range.h"

#include <stdio.h>
#include <string.h>

/* Refusals that are told of one peer, and of all: who is refused chooses the words. */
static const struct budget_rule refusals = {.interval_ns = 10000000000, .burst = 8};
static const struct budget_rule all_refusals = {.interval_ns = 1000000000, .burst = 64};
/* Changes: who makes them at will would fill the log with them. */
static const struct budget_rule told_changes = {.interval_ns = 1000000000, .burst = 32};

static void tell(struct peer *peer, enum log_level level, enum events_state state,
		 const char *cause, uint64_t gap_ns)
{
	const struct events_change change = {
		.level = level,
		.kind = EVENTS_NODE,
		.subject = peer_name(peer),
		.old = peer->told,
		.state = state,
		.gap_ns = gap_ns,
	};

	events_tell(peer->owner->events, peer_now(peer), &change, "%s", cause);
	peer->told = state;
}

/* Each time: how often that can be is what the quarantine bounds. */
void peer_news_quarantine(struct peer *peer)
{
	peer_say(peer->reason, sizeof(peer->reason), "quarantined for %u s: %s",
		 (unsigned)(peer->quarantine_ns / 1000000000),
		 peer->session.refuse.words);
	peer->logged[0] = '\0';
	tell(peer, LOG_LEVEL_WARNING, EVENTS_QUARANTINED, peer->reason, 0);
}

static bool may_tell_refusal(struct peer *peer)
{
	uint64_t now = peer_now(peer);

	if (budget_wait_ns(&peer->refusals, &refusals, now) ||
	    !budget_spend(&peer->owner->refusals, &all_refusals, now))
		return false;
	budget_take(&peer->refusals, &refusals, now);
	return true;
}

/* A refusal that repeats is one event, however often the peer comes again. */
void peer_news_refusal(struct peer *peer)
{
	char words[PEER_REASON_MAX + 40];

	if (strcmp(peer->logged, peer->reason) == 0) {
		log_debug(peer_name(peer), "%s", peer->reason);
		return;
	}
	if (!may_tell_refusal(peer)) {
		peer->refusals_held++;
		return;
	}
	memcpy(peer->logged, peer->reason, sizeof(peer->logged));
	peer_say(words, sizeof(words), "%s", peer->reason);
	if (peer->refusals_held)
		peer_say(words, sizeof(words), "%s (and %u others before)", peer->reason,
			 peer->refusals_held);
	peer->refusals_held = 0;
	tell(peer, LOG_LEVEL_WARNING, EVENTS_REFUSED, words, 0);
}

/* Another machine that is not reached is said once, however often it is tried. */
void peer_news_unreached(struct peer *peer)
{
	if (!peer->session.is_remote || peer->session.up_since_ns ||
	    strcmp(peer->logged, peer->reason) == 0)
		return;
	memcpy(peer->logged, peer->reason, sizeof(peer->logged));
	log_warn(peer_name(peer), "%s", peer->reason);
}

/* Worth a word while a cluster is upgraded. */
static const char *print_version(const struct peer *peer, char text[40])
{
	text[0] = '\0';
	if (peer->session.hello.wire_version != wire_spoken.max)
		snprintf(text, 40, ", wire version %u", peer_wire_version(peer));
	return text;
}

void peer_news_up(struct peer *peer)
{
	char cause[EVENTS_CAUSE_MAX], place[PEER_FABRIC_MAX + 8], version[40];

	if (peer->session.is_remote)
		peer_say(place, sizeof(place), "by %s", peer->fabric);
	else
		peer_say(place, sizeof(place), "pid %ld",
			 (long)peer->session.credentials.pid);
	peer_say(cause, sizeof(cause), "id %u, incarnation %u, %s, networks %u%s",
		 peer->id, peer->incarnation, place, peer_count_links(peer),
		 print_version(peer, version));
	tell(peer, LOG_LEVEL_INFO, EVENTS_UP, cause,
	     peer->down_ns ? peer_now(peer) - peer->down_ns : 0);
}

void peer_news_down(struct peer *peer)
{
	tell(peer, LOG_LEVEL_INFO, EVENTS_DOWN, peer->reason, peer_silence_ns(peer));
	peer->down_ns = peer_now(peer);
}

void peer_news_suspect(struct peer *peer)
{
	tell(peer, LOG_LEVEL_INFO, EVENTS_SUSPECT, peer->reason, peer_silence_ns(peer));
}

void peer_news_trust(struct peer *peer)
{
	char cause[EVENTS_CAUSE_MAX];

	peer_say(cause, sizeof(cause), "heard again after %llu ms",
		 (unsigned long long)peer->session.pulse.gap_ns / 1000000);
	tell(peer, LOG_LEVEL_INFO, EVENTS_UP, cause, peer->session.pulse.gap_ns);
}

void peer_news_change(struct peer *peer, struct peer_changes *changes,
		      struct events_change change, const char *cause)
{
	const uint64_t now_ns = peer_now(peer);
	char held[64] = "";

	if (!budget_spend(&changes->budget, &told_changes, now_ns)) {
		changes->held++;
		return;
	}
	if (changes->held)
		snprintf(held, sizeof(held), " (and %u changes before)", changes->held);
	changes->held = 0;
	change.level = LOG_LEVEL_INFO;
	change.kind = EVENTS_NODE;
	change.subject = peer_name(peer);
	events_tell(peer->owner->events, now_ns, &change, "%s%s", cause, held);
}
