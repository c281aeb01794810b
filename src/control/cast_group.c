/*
 * See cast.h. The groups of each network: the table and its actions.
 *
 * Theory of operation
 * -------------------
 * Each group (a label; the broadcast is one, too) has at most one ring that is in use.
 * Which one, all nodes find out without asking anybody: of two rings the one with the
 * higher (epoch, id) counts. Epochs come from a locked file, so two that are made at
 * once differ; who has made the lower one, or knew it, takes the other one up, closes
 * the lower for everybody, and reads it to its end. A ring is left only after it was
 * closed, so nobody writes where somebody has ceased to read: a writer that finds its
 * ring closed copies to each peer until it knows the next one.
 *
 * News travel by two paths. Who has a ring tells each peer that it has a link to (CAST),
 * once. Who reads one says so (READS), also for the writer's sake; who hears of a ring
 * that it doesn't know asks for it (WANT). So also those who have no channel between
 * them end up in one ring, as long as there is a way round.
 *
 * All of this decides only how fast casts go: each reaches each peer by a ring or as a
 * copy in any case.
 *
 * When a member dies, what it was writing is cleared by whoever proves its death: by
 * holding the lock that a node keeps for its life (cast_reclaim). If it was the maker,
 * the ring stays and another node takes it over. A member that is silent may be stopped
 * in the middle of a slot, and the readers wait there: the ring is condemned, and a new
 * one made. So is one whose words are nonsense, each time a little later. The lowest id
 * acts first; the others, each a little later, only if nothing happened.
 *
 * A lane needs none of that: its maker is its only writer, and it goes with the session.
 */
#include "base/log.h"
#include "control/cast_internal.h"
#include "control/events.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN_NS  (50 * CAST_MSEC) /* somebody else has just made a ring */
#define RANK_NS	       (50 * CAST_MSEC)
#define BACKOFF_MIN_NS (100 * CAST_MSEC) /* of a broken ring, doubling */
#define BACKOFF_MAX_NS (60 * CAST_SEC)
#define STARVED_NS     CAST_SEC
#define IDLE_NS	       (60 * CAST_SEC)

/* ---- the machine ---- */

typedef enum cast_event group_action(struct cast_group *group);

static group_action act_none, act_claim, act_look_later, act_make, act_starve, act_hold,
	act_wait_turn, act_take_over, act_drop, act_lose, act_discard, act_look,
	act_close, act_ask, act_deny;

#define NONE	  (1u << GROUP_NONE)
#define CLAIMING  (1u << GROUP_CLAIMING)
#define HELD	  (1u << GROUP_HELD)
#define ORPHANED  (1u << GROUP_ORPHANED)
#define CONDEMNED (1u << GROUP_CONDEMNED)
#define STARVED	  (1u << GROUP_STARVED)
#define ANY	  (NONE | CLAIMING | HELD | ORPHANED | CONDEMNED | STARVED)
#define SAME	  GROUP_STATE_NUM_

/* clang-format off */
static const struct group_row {
	unsigned states;
	enum cast_event event;
	group_action *action;
	enum group_state next;
} table[] = {
	/* current state              event that happened  action          resulting state */
	{NONE,                        EVENT_WANTED,        act_claim,      GROUP_CLAIMING},
	{STARVED,                     EVENT_WANTED,        act_deny,       SAME},
	{HELD,                        EVENT_WANTED,        act_hold,       SAME},
	{CLAIMING | ORPHANED | CONDEMNED, EVENT_WANTED,    act_none,       SAME},

	{CLAIMING,                    EVENT_BEHIND,        act_look_later, SAME},
	{CLAIMING,                    EVENT_TIMER,         act_claim,      SAME},
	{CLAIMING,                    EVENT_CLAIMED,       act_make,       SAME},
	{CLAIMING,                    EVENT_MADE,          act_hold,       GROUP_HELD},
	{CLAIMING | ORPHANED,         EVENT_SHORT,         act_starve,     GROUP_STARVED},
	{STARVED,                     EVENT_TIMER,         act_ask,        GROUP_NONE},

	{ANY,                         EVENT_OFFERED,       act_hold,       GROUP_HELD},
	{NONE,                        EVENT_UNFIT,         act_starve,     GROUP_STARVED},
	{ANY & ~NONE,                 EVENT_UNFIT,         act_none,       SAME},
	{HELD | ORPHANED,             EVENT_RENEWED,       act_hold,       GROUP_HELD},
	{CLAIMING | CONDEMNED,        EVENT_RENEWED,       act_none,       SAME},

	{HELD,                        EVENT_MAKER_DIED,    act_wait_turn,  GROUP_ORPHANED},
	{ORPHANED,                    EVENT_TIMER,         act_claim,      SAME},
	{ORPHANED,                    EVENT_BEHIND,        act_look_later, SAME},
	{ORPHANED,                    EVENT_CLAIMED,       act_take_over,  GROUP_HELD},

	{HELD | ORPHANED,             EVENT_SUSPECT,       act_wait_turn,  GROUP_CONDEMNED},
	{HELD | ORPHANED | CONDEMNED, EVENT_BROKEN,        act_drop,       GROUP_CONDEMNED},
	{CLAIMING,                    EVENT_BROKEN,        act_discard,    SAME},
	{CONDEMNED,                   EVENT_TIMER,         act_claim,      GROUP_CLAIMING},

	{HELD | ORPHANED | CONDEMNED, EVENT_CLOSED,        act_lose,       GROUP_NONE},
	{CLAIMING,                    EVENT_CLOSED,        act_lose,       SAME},

	{HELD,                        EVENT_TIMER,         act_look,       SAME},
	{HELD,                        EVENT_IDLE,          act_close,      GROUP_NONE},

	/* It is being looked after already. */
	{ANY & ~HELD,                 EVENT_MAKER_DIED,    act_none,       SAME},
	{ANY & ~(HELD | ORPHANED),    EVENT_SUSPECT,       act_none,       SAME},
};
/* clang-format on */

static const struct group_row *find_row(enum group_state state, enum cast_event event)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].event == event && table[i].states & (1u << state))
			return &table[i];
	}
	return NULL;
}

/* An action may name the event that follows at once; EVENT_NONE ends it. */
void cast_happen(struct cast_group *group, enum cast_event event)
{
	while (event != EVENT_NONE) {
		const struct group_row *row = find_row(group->state, event);
		enum cast_event following;

		if (!row) {
			log_err(cast_config(group->casts, group->network)->name,
				"casts: event %d in state %d is ignored", event,
				group->state);
			return;
		}
		group->due_ns = event == EVENT_TIMER ? 0 : group->due_ns;
		following = row->action(group);
		group->state = row->next == SAME ? group->state : row->next;
		event = following;
	}
}

/* ---- words ---- */

void __attribute__((format(printf, 3, 4)))
cast_warn(struct cast_group *group, struct log_limit *limit, const char *format, ...)
{
	char words[2 * CAST_WORDS_MAX];
	unsigned held_back;
	va_list args;

	if (!log_limit_pass(limit, cast_now(group->casts), &held_back))
		return;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	if (held_back)
		log_warn(cast_network_name(group), "%s (and %u more before)", words,
			 held_back);
	else
		log_warn(cast_network_name(group), "%s", words);
}

static void tell_ring_event(struct cast_group *group, enum events_state state)
{
	const struct world_cast_spec *spec = &group->ring->spec;
	struct casts *casts = group->casts;
	char subject[EVENTS_SUBJECT_MAX];
	struct cast_label_text name;
	const struct events_change change = {
		.level = LOG_LEVEL_INFO,
		.kind = EVENTS_RING,
		.subject = subject,
		.old = state == EVENTS_MADE ? EVENTS_DOWN : EVENTS_MADE,
		.state = state,
		.gap_ns = group->lost_ns ? cast_now(casts) - group->lost_ns : 0,
	};

	cast_say(subject, sizeof(subject), "%s %s", cast_network_name(group),
		 cast_label_text(group->label, &name));
	if (spec->lane)
		events_tell(casts->owner->events, cast_now(casts), &change,
			    "a lane of %u slots: %s", spec->depth, group->cause);
	else
		events_tell(casts->owner->events, cast_now(casts), &change,
			    "epoch %llu, maker %u, %u slots: %s",
			    (unsigned long long)spec->epoch, spec->maker, spec->depth,
			    group->cause);
}

/* ---- making one ---- */

static enum cast_event act_none(struct cast_group *group)
{
	(void)group;
	return EVENT_NONE;
}

static void answer(struct cast_group *group)
{
	struct casts *casts = group->casts;

	if (group->is_wanted)
		cast_ops(casts)->cast_answered(casts->owner->world, group->network,
					       group->label);
	group->is_wanted = false;
}

static enum cast_event act_claim(struct cast_group *group)
{
	struct casts *casts = group->casts;
	struct cast_network *network = &casts->networks[group->network];
	uint64_t epoch;
	int ret;

	if (cast_has_lanes(casts, group->network))
		return EVENT_CLAIMED;
	ret = cast_ops(casts)->claim_epoch(casts->owner->world, group->network,
					   network->epoch, group->anyway, PEER_EPOCH_MAX,
					   &epoch);
	if (ret == -EAGAIN)
		return EVENT_BEHIND;
	group->anyway = false;
	if (ret < 0) {
		cast_say(group->reason, sizeof(group->reason), "it has no epoch: %s",
			 strerror(-ret));
		return EVENT_SHORT;
	}
	network->epoch = epoch;
	return EVENT_CLAIMED;
}

static enum cast_event act_look_later(struct cast_group *group)
{
	group->anyway = true;
	group->due_ns = cast_now(group->casts) + LOOK_AGAIN_NS;
	return EVENT_NONE;
}

static void retire_ring(struct cast_group *group)
{
	if (group->ring)
		cast_ring_retire(group->casts, group->ring);
}

/* The links whose peers read it already. */
static void set_readers(struct casts *casts, struct cast_ring *ring)
{
	struct peer_owner *owner = casts->owner;
	struct peer *peer;
	struct cast_member *member;

	for (unsigned i = 0; (peer = owner->peer_at(owner, i)); i++) {
		member = cast_ring_member(ring, peer_id(peer), false);
		if (member && member->reads && peer_link(peer, ring->spec.network))
			cast_ops(casts)->cast_set_reader(
				ring->cast, peer_link(peer, ring->spec.network));
	}
}

/* The new one is there before the old one goes. */
void cast_group_use(struct cast_group *group, struct cast_ring *ring,
		    struct world_cast *cast)
{
	struct casts *casts = group->casts;

	cast_ring_add(casts, ring, cast);
	retire_ring(group);
	group->ring = ring;
	ring->group = group;
	cast_ring_recall(casts, ring);
	set_readers(casts, ring);
	casts->is_dirty = true;
}

static bool make_ring(struct cast_group *group, struct world_cast_spec *spec)
{
	struct casts *casts = group->casts;
	struct cast_ring *ring = cast_ring_new(spec);
	const char *why = "out of memory";
	struct world_cast *cast;

	if (!ring ||
	    cast_ops(casts)->cast_new(casts->owner->world, spec, &cast, &why) < 0) {
		cast_say(group->reason, sizeof(group->reason), "%s", why);
		free(ring);
		return false;
	}
	ring->spec.id = spec->id;
	cast_group_use(group, ring, cast);
	return true;
}

static enum cast_event act_make(struct cast_group *group)
{
	struct casts *casts = group->casts;
	bool is_first = !group->ring && !group->remade_ns;
	struct world_cast_spec spec = {
		.network = group->network,
		.epoch = casts->networks[group->network].epoch,
		.depth = cast_config(casts, group->network)->cast_depth,
		.lane = cast_has_lanes(casts, group->network),
		.maker = casts->owner->config->id,
	};

	memcpy(spec.label, group->label, sizeof(spec.label));
	if (spec.lane)
		spec.epoch = 0;
	if (!make_ring(group, &spec))
		return EVENT_SHORT;
	tell_ring_event(group, is_first ? EVENTS_MADE : EVENTS_REMADE);
	return EVENT_MADE;
}

static enum cast_event act_hold(struct cast_group *group)
{
	struct casts *casts = group->casts;

	group->reason[0] = '\0';
	group->anyway = false;
	group->is_starving = false;
	group->lost_ns = 0;
	group->due_ns = 0;
	if (group != &casts->networks[group->network].groups[0]) {
		group->position = cast_ops(casts)->cast_position(group->ring->cast);
		group->due_ns = cast_now(casts) + IDLE_NS;
	}
	answer(group);
	return EVENT_NONE;
}

/*
 * A ring that is no good any more goes, though there is no other one. Said once: it is
 * tried again each second.
 */
static enum cast_event act_starve(struct cast_group *group)
{
	struct cast_label_text name;

	if (!group->is_starving)
		cast_warn(group, &group->casts->starved_limit,
			  "no ring for %s: %s; each node gets copies",
			  cast_label_text(group->label, &name), group->reason);
	group->is_starving = true;
	retire_ring(group);
	group->due_ns = cast_now(group->casts) + STARVED_NS;
	answer(group);
	return EVENT_NONE;
}

static enum cast_event act_deny(struct cast_group *group)
{
	answer(group);
	return EVENT_NONE;
}

/* ---- when somebody dies, or something breaks ---- */

/* How many live sharers have a lower id. */
static unsigned find_rank(const struct cast_group *group)
{
	const struct casts *casts = group->casts;
	struct peer_owner *owner = casts->owner;
	struct peer *peer;
	unsigned rank = 0;

	for (unsigned i = 0; (peer = owner->peer_at(owner, i)); i++)
		rank += peer_id(peer) < owner->config->id &&
			cast_is_sharer(casts, peer, group->network);
	return rank;
}

static enum cast_event act_wait_turn(struct cast_group *group)
{
	uint64_t time_ns = cast_now(group->casts);

	group->anyway = false;
	group->lost_ns = group->lost_ns ? group->lost_ns : time_ns;
	group->due_ns = time_ns + 1 + find_rank(group) * RANK_NS;
	return EVENT_NONE;
}

static enum cast_event act_take_over(struct cast_group *group)
{
	struct casts *casts = group->casts;
	struct cast_ring *ring = group->ring;

	ring->spec.epoch = casts->networks[group->network].epoch;
	ring->spec.maker = casts->owner->config->id;
	cast_ring_renew(ring);
	casts->is_dirty = true;
	tell_ring_event(group, EVENTS_TAKEN_OVER);
	return act_hold(group);
}

/* Whoever spoils rings again and again makes us work less and less. */
static enum cast_event act_drop(struct cast_group *group)
{
	uint64_t time_ns = cast_now(group->casts);

	if (group->remade_ns && time_ns - group->remade_ns > 2 * BACKOFF_MAX_NS)
		group->backoff_ns = 0;
	group->remade_ns = time_ns;
	group->backoff_ns = group->backoff_ns ? 2 * group->backoff_ns : BACKOFF_MIN_NS;
	if (group->backoff_ns > BACKOFF_MAX_NS)
		group->backoff_ns = BACKOFF_MAX_NS;
	cast_ops(group->casts)->cast_close(group->ring->cast);
	cast_ring_free(group->casts, group->ring);
	cast_ask_again(group->casts, group->network);
	act_wait_turn(group);
	group->due_ns += group->backoff_ns;
	return EVENT_NONE;
}

/* Whoever closed it knows another one, or that nobody needs one. */
static enum cast_event act_lose(struct cast_group *group)
{
	cast_ring_free(group->casts, group->ring);
	cast_ask_again(group->casts, group->network);
	if (group->state == GROUP_CLAIMING)
		return EVENT_NONE;
	group->due_ns = 0;
	answer(group); /* nobody makes one for who asked meanwhile: it asks again */
	return EVENT_NONE;
}

/* A new one is on its way already; who still writes to this one has to be told. */
static enum cast_event act_discard(struct cast_group *group)
{
	cast_ops(group->casts)->cast_close(group->ring->cast);
	return act_lose(group);
}

static enum cast_event act_ask(struct cast_group *group)
{
	cast_ask_again(group->casts, group->network);
	return EVENT_NONE;
}

/* ---- a group that nobody sends to ---- */

static enum cast_event act_look(struct cast_group *group)
{
	struct casts *casts = group->casts;
	uint64_t position = cast_ops(casts)->cast_position(group->ring->cast);
	bool is_ours = group->ring->spec.maker == casts->owner->config->id;

	if (is_ours && position == group->position)
		return EVENT_IDLE;
	group->position = position;
	group->due_ns = cast_now(casts) + IDLE_NS;
	return EVENT_NONE;
}

static enum cast_event act_close(struct cast_group *group)
{
	struct cast_label_text name;

	log_debug(cast_network_name(group), "the ring of %s was not used and is closed",
		  cast_label_text(group->label, &name));
	retire_ring(group);
	return EVENT_NONE;
}

/* ---- groups ---- */

static struct cast_group *find_group(struct casts *casts, unsigned network,
				     const uint8_t label[SHMNET_ETH_ALEN])
{
	struct cast_group *groups = casts->networks[network].groups;
	unsigned limit = 1 + cast_config(casts, network)->multicast_rings;

	for (unsigned i = 0; i < limit; i++) {
		if (groups[i].is_used &&
		    memcmp(groups[i].label, label, SHMNET_ETH_ALEN) == 0)
			return &groups[i];
	}
	return NULL;
}

void cast_group_init(struct casts *casts, unsigned network, struct cast_group *group,
		     const uint8_t label[SHMNET_ETH_ALEN])
{
	memset(group, 0, sizeof(*group));
	group->casts = casts;
	group->network = network;
	group->is_used = true;
	memcpy(group->label, label, SHMNET_ETH_ALEN);
}

/* Said once: a group that is used asks again and again. */
static void tell_crowded(struct casts *casts, unsigned network,
			 const uint8_t label[SHMNET_ETH_ALEN])
{
	unsigned limit = cast_config(casts, network)->multicast_rings;
	struct cast_label_text name;

	if (casts->networks[network].is_crowded || limit == 0)
		return;
	casts->networks[network].is_crowded = true;
	log_info(cast_config(casts, network)->name,
		 "no ring for %s: all %u are in use ('multicast_rings'); it and other "
		 "groups go by the broadcast ring",
		 cast_label_text(label, &name), limit);
}

/* NULL if all are taken. */
struct cast_group *cast_group_need(struct casts *casts, unsigned network,
				   const uint8_t label[SHMNET_ETH_ALEN])
{
	struct cast_group *group = find_group(casts, network, label);
	unsigned limit = 1 + cast_config(casts, network)->multicast_rings;

	if (group)
		return group;
	for (unsigned i = 1; i < limit; i++) {
		group = &casts->networks[network].groups[i];
		if (group->is_used && group->state != GROUP_NONE)
			continue;
		cast_group_init(casts, network, group, label);
		return group;
	}
	tell_crowded(casts, network, label);
	return NULL;
}
