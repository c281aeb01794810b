/*
 * See liveness.h.
 *
 * Theory of operation
 * -------------------
 * A pair of nodes has one liveness, whatever networks it shares. Life is what the other
 * side changes in the memory of the pair's rings: its beat, its W, its R. Nothing of
 * that is believed; all that counts is whether it changed between two of our ticks. A
 * pair without a common network has no memory, and ends with its channel only.
 *
 * Who has not changed anything for `misses` intervals (the longer one of the two nodes'
 * intervals) is suspected: its links stay, and up to PEER_ASKED_MAX other members are
 * asked by PROBE whether they hear it. If none has said so an interval later, it is
 * taken for dead; else it stays suspected and they are asked again.
 *
 * The accuser may be the sick one. A tick that comes late by more than an interval says
 * that this process, or the machine, did not run: then nobody is accused for that time,
 * and the counting starts anew. The same goes for a node that was stopped, and for a
 * machine that was suspended, where others may wake up later: the monotonic clock stands
 * still meanwhile, so the world is asked. Ticks that are late by less add up to as much:
 * so nobody is suspected who was not looked for at `misses` ticks, whatever time it is.
 *
 * A first sign may take longer, since the peer makes its half of the links when our last
 * message has reached it: FIRST_SIGN_NS on one machine, and a handshake's patience where
 * the message may have to be repeated.
 */
#include "control/liveness.h"

#include "base/log.h"
#include "control/peer_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NSEC_PER_MSEC 1000000ull
#define FIRST_SIGN_NS (1000 * NSEC_PER_MSEC)
#define WATCHED	      (UP | SUSPECT)

struct liveness {
	struct peer_owner *owner;
	struct world_timer *timer;
	uint64_t ticked_ns;
	uint64_t suspended_ns; /* the machine, until then */
};

/* ---- time ---- */

static uint64_t now(const struct peer_owner *owner)
{
	return owner->world->ops->now(owner->world);
}

uint64_t peer_interval_ns(const struct peer_owner *owner)
{
	return owner->config->liveness.interval_ms * NSEC_PER_MSEC;
}

/* In which the peer shows life once, and we look once. */
static uint64_t common_interval(const struct peer *peer)
{
	uint64_t ours = peer_interval_ns(peer->owner);

	return peer->session.beat_ns > ours ? peer->session.beat_ns : ours;
}

/* The timer's jitter must not make one more tick of it: rounds to the nearest. */
static bool has_passed(const struct peer *peer, uint64_t since_ns, uint64_t duration_ns)
{
	return now(peer->owner) - since_ns + peer_interval_ns(peer->owner) / 2 >=
	       duration_ns;
}

/* ---- what is heard ---- */

static bool is_watched(struct peer *peer)
{
	return WATCHED & (1u << peer->state) && peer_count_links(peer) > 0;
}

static void hear(struct peer *peer)
{
	struct peer_pulse *pulse = &peer->session.pulse;
	uint64_t value = peer_ops(peer)->conn_pulse(peer->session.conn);

	if (value == pulse->value)
		return;
	pulse->value = value;
	pulse->gap_ns = now(peer->owner) - pulse->heard_ns;
	pulse->heard_ns = now(peer->owner);
	pulse->num_looks = 0;
	pulse->has_changed = true;
}

void peer_pulse_start(struct peer *peer)
{
	struct peer_pulse *pulse = &peer->session.pulse;

	pulse->value = peer_ops(peer)->conn_pulse(peer->session.conn);
	pulse->heard_ns = now(peer->owner);
	pulse->num_looks = 0;
	pulse->has_changed = false;
}

uint64_t peer_silence_ns(struct peer *peer)
{
	if (!peer->session.up_since_ns || !peer_count_links(peer))
		return 0;
	return now(peer->owner) - peer->session.pulse.heard_ns;
}

/* Lately: what we would tell others. */
static bool is_heard(struct peer *peer)
{
	uint64_t interval = common_interval(peer);

	if (!is_watched(peer))
		return false;
	hear(peer);
	return peer->session.pulse.has_changed &&
	       now(peer->owner) - peer->session.pulse.heard_ns < interval + interval / 2;
}

/* ---- words ---- */

static unsigned long long gap_ms(const struct peer *peer)
{
	return (now(peer->owner) - peer->session.pulse.heard_ns) / NSEC_PER_MSEC;
}

static struct peer *find_peer(struct peer_owner *owner, uint16_t id)
{
	struct peer *peer;

	for (unsigned i = 0; (peer = owner->peer_at(owner, i)); i++) {
		if (peer->id == id)
			return peer;
	}
	return NULL;
}

/* It may be gone since, and forgotten. */
static const char *witness_name(const struct peer *peer, uint16_t id)
{
	const struct peer *witness = find_peer(peer->owner, id);

	return witness ? peer_name(witness) : "one that is gone";
}

/* "n2, n4": all that were asked, or those that hear it. */
static const char *list_asked(const struct peer *peer, bool only_who_hears, char *text,
			      size_t size)
{
	const struct peer_pulse *pulse = &peer->session.pulse;
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < pulse->num_asked && used < size; i++) {
		if (only_who_hears && !pulse->asked[i].hears)
			continue;
		peer_say(text + used, size - used, "%s%s", used ? ", " : "",
			 witness_name(peer, pulse->asked[i].id));
		used = strlen(text);
	}
	return text;
}

static void describe(struct peer *peer, const char *verdict)
{
	char names[PEER_ASKED_MAX * CONFIG_NAME_MAX];

	if (peer->session.pulse.num_asked)
		peer_say(peer->reason, sizeof(peer->reason),
			 "silent for %llu ms; asked %s%s", gap_ms(peer),
			 list_asked(peer, false, names, sizeof(names)), verdict);
	else
		peer_say(peer->reason, sizeof(peer->reason),
			 "silent for %llu ms; nobody to ask", gap_ms(peer));
}

/* ---- asking others ---- */

static bool has_witness(const struct peer_pulse *pulse)
{
	for (unsigned i = 0; i < pulse->num_asked; i++) {
		if (pulse->asked[i].hears)
			return true;
	}
	return false;
}

/* Who is suspicious itself, or was silent for a while, is no witness. */
static bool can_be_asked(struct peer *peer)
{
	return peer->state == PEER_UP && (!is_watched(peer) || is_heard(peer));
}

static void ask(struct peer *peer, struct peer *other)
{
	const struct peer_message message = {
		.type = PEER_MESSAGE_PROBE,
		.probe = {.node = peer->id},
	};
	struct peer_pulse *pulse = &peer->session.pulse;

	pulse->asked[pulse->num_asked].id = other->id;
	pulse->asked[pulse->num_asked++].hears = false;
	peer_happen(other, peer_send(other, &message, -1));
}

static unsigned count_peers(struct peer_owner *owner)
{
	unsigned count = 0;

	while (owner->peer_at(owner, count))
		count++;
	return count;
}

/* From somewhere in the table on, so that not all ask the same ones. */
void peer_ask_others(struct peer *peer)
{
	struct peer_owner *owner = peer->owner;
	struct peer_pulse *pulse = &peer->session.pulse;
	unsigned count = count_peers(owner);
	bool had_witness = has_witness(pulse);
	uint32_t first;

	peer_ops(peer)->random(owner->world, &first, sizeof(first));
	pulse->num_asked = 0;
	pulse->asked_ns = now(owner);
	for (unsigned i = 0; i < count && pulse->num_asked < PEER_ASKED_MAX; i++) {
		struct peer *other = owner->peer_at(owner, (first % count + i) % count);

		if (other != peer && can_be_asked(other))
			ask(peer, other);
	}
	if (!had_witness) /* else it says who that was */
		describe(peer, "");
}

enum peer_event peer_take_probe(struct peer *peer, const struct peer_message *message,
				struct world_parcel *parcel)
{
	struct peer *other = find_peer(peer->owner, message->probe.node);
	const struct peer_message answer = {
		.type = PEER_MESSAGE_PROBED,
		.probed = {.node = message->probe.node,
			   .heard = other && is_heard(other)},
	};

	(void)parcel;
	if (!peer->session.is_ready)
		return peer_complain(peer, PEER_REFUSAL_PROTOCOL,
				     "%s sent PROBE before READY", peer->name);
	return peer_send(peer, &answer, -1);
}

/* One that we didn't ask, or asked a while ago, may say what it likes. */
enum peer_event peer_take_probed(struct peer *peer, const struct peer_message *message,
				 struct world_parcel *parcel)
{
	struct peer *other = find_peer(peer->owner, message->probed.node);
	char names[PEER_ASKED_MAX * CONFIG_NAME_MAX];
	struct peer_pulse *pulse;

	(void)parcel;
	if (!other || other->state != PEER_SUSPECT || !message->probed.heard)
		return EVENT_NONE;
	pulse = &other->session.pulse;
	for (unsigned i = 0; i < pulse->num_asked; i++)
		pulse->asked[i].hears |= pulse->asked[i].id == peer->id;
	peer_say(other->reason, sizeof(other->reason), "silent for %llu ms; heard by %s",
		 gap_ms(other), list_asked(other, true, names, sizeof(names)));
	return EVENT_NONE;
}

/* ---- the tick ---- */

static uint64_t first_sign_limit(const struct peer *peer, uint64_t limit)
{
	if (peer->session.is_remote)
		return limit + peer_patience_ns(peer);
	return limit > FIRST_SIGN_NS ? limit : FIRST_SIGN_NS;
}

static enum peer_event judge_up(struct peer *peer, bool is_late)
{
	struct peer_pulse *pulse = &peer->session.pulse;
	const unsigned misses = peer->owner->config->liveness.misses;
	uint64_t limit = common_interval(peer) * misses;

	if (!pulse->has_changed)
		limit = first_sign_limit(peer, limit);
	if (is_late) {
		pulse->heard_ns = now(peer->owner);
		pulse->num_looks = 0;
	}
	return pulse->num_looks >= misses && has_passed(peer, pulse->heard_ns, limit)
		       ? EVENT_SILENT
		       : EVENT_NONE;
}

static enum peer_event judge_suspect(struct peer *peer, bool is_late)
{
	struct peer_pulse *pulse = &peer->session.pulse;

	if (pulse->heard_ns >= pulse->asked_ns) {
		pulse->num_asked = 0;
		return EVENT_HEARD;
	}
	if (is_late)
		return EVENT_SILENT;
	if (!has_passed(peer, pulse->asked_ns, peer_interval_ns(peer->owner)))
		return EVENT_NONE;
	if (has_witness(pulse))
		return EVENT_SILENT;
	describe(peer, ": nobody heard it");
	return EVENT_UNHEARD;
}

static void judge(struct peer *peer, bool is_late)
{
	if (!is_watched(peer)) {
		if (peer->session.conn)
			peer_pulse_start(peer);
		return;
	}
	peer->session.pulse.num_looks++;
	hear(peer);
	peer_happen(peer, peer->state == PEER_UP ? judge_up(peer, is_late)
						 : judge_suspect(peer, is_late));
}

static uint64_t suspended(const struct peer_owner *owner)
{
	return owner->world->ops->suspended(owner->world);
}

static bool check_own_pace(struct liveness *liveness)
{
	const struct peer_owner *owner = liveness->owner;
	uint64_t interval = peer_interval_ns(owner);
	uint64_t passed = now(owner) - liveness->ticked_ns + suspended(owner) -
			  liveness->suspended_ns;

	liveness->ticked_ns = now(owner);
	liveness->suspended_ns = suspended(owner);
	if (passed <= 2 * interval)
		return false;
	log_info(owner->config->name,
		 "did not run for %llu ms: nobody is accused for that time",
		 (unsigned long long)((passed - interval) / NSEC_PER_MSEC));
	return true;
}

/* First our own life: others wait for it. */
static void on_tick(void *arg)
{
	struct liveness *liveness = arg;
	struct peer_owner *owner = liveness->owner;
	bool is_late = check_own_pace(liveness);
	struct peer *peer;

	owner->world->ops->timer_set(liveness->timer, peer_interval_ns(owner));
	for (unsigned i = 0; (peer = owner->peer_at(owner, i)); i++) {
		if (peer->session.conn)
			peer_ops(peer)->conn_beat(peer->session.conn);
	}
	for (unsigned i = 0; (peer = owner->peer_at(owner, i)); i++)
		judge(peer, is_late);
}

int liveness_new(struct peer_owner *owner, struct liveness **ret_liveness)
{
	struct liveness *liveness = calloc(1, sizeof(*liveness));

	if (!liveness)
		return -ENOMEM;
	liveness->owner = owner;
	liveness->ticked_ns = now(owner);
	liveness->suspended_ns = suspended(owner);
	liveness->timer = owner->world->ops->timer_new(owner->world, on_tick, liveness);
	if (!liveness->timer) {
		free(liveness);
		return -ENOMEM;
	}
	owner->world->ops->timer_set(liveness->timer, peer_interval_ns(owner));
	*ret_liveness = liveness;
	return 0;
}

void liveness_free(struct liveness *liveness)
{
	if (!liveness)
		return;
	liveness->owner->world->ops->timer_free(liveness->timer);
	free(liveness);
}
