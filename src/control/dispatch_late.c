/*
 * Questions that have run out, and the answers that come late. See dispatch.h.
 *
 * Theory of operation
 * -------------------
 * The answer of a busy member comes when the question has run out, and its packet was
 * dropped, or placed by its hash. To ask again is no use: that answer is as late. So a
 * question that ran out is remembered for DISPATCH_LATE_NS, and a "yes" to it is taken as
 * if it had come in time, provided that
 *
 *  - it comes from a member that was asked this very question, in the same life, and had
 *    not answered it: nobody speaks about what it wasn't asked;
 *  - nothing was learned of the flow since. Whoever got an opener since, from us or from
 *    another border, may have answered it, and the client may talk to it by now, while
 *    what the late member has may be of before. This includes the opener that asked. So
 *    nobody gets a connection from another one by being late; what was placed is sure for
 *    RESOLVE_FRESH_S as always, and found out by asking if it was wrong. The same holds
 *    if another member has said since that it has the flow;
 *  - our own kernel doesn't have it now.
 *
 * A datagram that was placed by its hash teaches nothing: it is gone, and what follows it
 * goes to the member. A late "no" doesn't help: some other answer is still missing, or
 * the flow will be asked for again.
 *
 * What is remembered are our own questions only, so members can't fill this with theirs.
 * The serial in its token is a question's place: it makes way for the one that is asked
 * DISPATCH_LATE_MAX questions later. Those that are too old are noticed by who looks.
 */
#include "control/dispatch_internal.h"

#include <string.h>

_Static_assert((DISPATCH_LATE_MAX & (DISPATCH_LATE_MAX - 1)) == 0,
	       "places follow each other round the end of the serials");

static struct late *place_of(struct late_ones *all, uint64_t token)
{
	return &all->places[token / DISPATCH_ASKED_MAX % DISPATCH_LATE_MAX];
}

static struct late **bucket_of(struct dispatch *dispatch, const struct flow_key *key)
{
	uint64_t hash = flow_hash(key, &dispatch->queries.secret);

	return &dispatch->late.buckets[hash % DISPATCH_LATE_MAX];
}

static bool is_over(const struct dispatch *dispatch, const struct late *late)
{
	return late->until_ns <= dispatch_now(dispatch);
}

static void forget(struct dispatch *dispatch, struct late *late)
{
	struct late **at = bucket_of(dispatch, &late->key);

	while (*at != late)
		at = &(*at)->chain;
	*at = late->chain;
	late->token = 0;
}

/* Or a chain would grow as long as its flow is asked for. */
static void forget_old(struct dispatch *dispatch, struct late **bucket)
{
	struct late *late, *next;

	for (late = *bucket; late; late = next) {
		next = late->chain;
		if (is_over(dispatch, late))
			forget(dispatch, late);
	}
}

void dispatch_remember(struct dispatch *dispatch, const struct query *query)
{
	struct late *late = place_of(&dispatch->late, query->token);
	struct late **bucket = bucket_of(dispatch, &query->resolve.key);

	if (late->token)
		forget(dispatch, late);
	forget_old(dispatch, bucket);
	late->token = query->token;
	late->until_ns = dispatch_now(dispatch) + DISPATCH_LATE_NS;
	memcpy(late->pending, query->pending, sizeof(late->pending));
	late->key = query->resolve.key;
	late->class = query->resolve.class;
	late->is_known = false;
	late->chain = *bucket;
	*bucket = late;
}

void dispatch_learn(struct dispatch *dispatch, const struct flow_key *key)
{
	for (struct late *late = *bucket_of(dispatch, key); late; late = late->chain) {
		if (memcmp(&late->key, key, sizeof(*key)) == 0)
			late->is_known = true;
	}
}

void dispatch_late_lost(struct dispatch *dispatch, const struct member *member)
{
	for (unsigned i = 0; i < DISPATCH_LATE_MAX; i++) {
		struct late *late = &dispatch->late.places[i];

		if (late->token)
			late->pending[member->slot / 64] &= ~(1ull << member->slot % 64);
	}
}

bool dispatch_take_late(struct dispatch *dispatch, const struct member *member,
			const struct dispatch_answer *answer)
{
	const struct late *late = place_of(&dispatch->late, answer->token);

	if (!late->token || late->token != answer->token || is_over(dispatch, late) ||
	    !(late->pending[member->slot / 64] >> member->slot % 64 & 1))
		return false;
	dispatch->counters.late++;
	if (answer->have == DISPATCH_HAVE_LIVE && !late->is_known &&
	    !dispatch_answer_next(dispatch, member, &late->key))
		dispatch_settle_late(dispatch, &late->key, late->class, member->id);
	return true;
}
