/* Asking the members who has a connection [46], and answering them. See dispatch.h. */
#include "control/dispatch_internal.h"

#include <string.h>

/* A token names its query and which use of it is meant. */
_Static_assert((DISPATCH_ASKED_MAX & (DISPATCH_ASKED_MAX - 1)) == 0, "bits of a token");

void dispatch_init_queries(struct dispatch *dispatch)
{
	struct queries *queries = &dispatch->queries;

	dispatch->ops->random(dispatch->arg, &queries->secret, sizeof(queries->secret));
	dispatch->ops->random(dispatch->arg, &queries->serial, sizeof(queries->serial));
	for (unsigned i = DISPATCH_ASKED_MAX; i-- > 0;) {
		queries->pool[i].chain = queries->free;
		queries->free = &queries->pool[i];
	}
}

/* ---- which are under way ---- */

static struct query **bucket_of(struct queries *queries, const struct flow_key *key)
{
	return &queries->buckets[flow_hash(key, &queries->secret) % DISPATCH_ASKED_MAX];
}

/* That a packet waits for. */
static struct query *find_by_key(struct queries *queries, const struct flow_key *key)
{
	for (struct query *query = *bucket_of(queries, key); query;
	     query = query->chain) {
		if (!query->explain &&
		    memcmp(&query->resolve.key, key, sizeof(*key)) == 0)
			return query;
	}
	return NULL;
}

static struct query *find_by_token(struct queries *queries, uint64_t token)
{
	struct query *query = &queries->pool[token % DISPATCH_ASKED_MAX];

	return token && query->token == token ? query : NULL;
}

/* All wait equally long, so who asked last is last. */
static void add_newest(struct queries *queries, struct query *query)
{
	query->older = queries->newest;
	query->newer = NULL;
	if (queries->newest)
		queries->newest->newer = query;
	else
		queries->oldest = query;
	queries->newest = query;
}

static void remove_from_order(struct queries *queries, struct query *query)
{
	if (query->older)
		query->older->newer = query->newer;
	else
		queries->oldest = query->newer;
	if (query->newer)
		query->newer->older = query->older;
	else
		queries->newest = query->older;
}

static struct query *take_free(struct queries *queries, const struct flow_key *key)
{
	struct query *query = queries->free, **bucket = bucket_of(queries, key);

	if (!query)
		return NULL;
	queries->free = query->chain;
	memset(query, 0, sizeof(*query));
	queries->serial += DISPATCH_ASKED_MAX;
	query->token = (queries->serial & ~(uint64_t)(DISPATCH_ASKED_MAX - 1)) |
		       (uint64_t)(query - queries->pool);
	if (query->token == 0)
		query->token = DISPATCH_ASKED_MAX;
	query->chain = *bucket;
	*bucket = query;
	queries->count++;
	return query;
}

void dispatch_end_query(struct dispatch *dispatch, struct query *query)
{
	struct queries *queries = &dispatch->queries;
	struct query **at = bucket_of(queries, &query->resolve.key);

	while (*at != query)
		at = &(*at)->chain;
	*at = query->chain;
	remove_from_order(queries, query);
	query->token = 0;
	query->chain = queries->free;
	queries->free = query;
	queries->count--;
}

/* ---- asking ---- */

static bool is_pending(const struct query *query, unsigned slot)
{
	return query->pending[slot / 64] >> slot % 64 & 1;
}

static bool is_answered(const struct query *query)
{
	for (unsigned i = 0; i < DISPATCH_PENDING_WORDS; i++) {
		if (query->pending[i])
			return false;
	}
	return true;
}

static void send_query(struct dispatch *dispatch, struct query *query)
{
	query->deadline_ns = dispatch_now(dispatch) + DISPATCH_ANSWER_NS;
	add_newest(&dispatch->queries, query);
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		struct dispatch_message *message;

		if (!is_pending(query, slot))
			continue;
		message = dispatch_box(dispatch, dispatch->members[slot],
				       DISPATCH_BOX_QUERIES);
		message->queries[message->num++] = (struct dispatch_query){
			.token = query->token, .key = query->resolve.key};
	}
}

/* The walk goes on to its end: an answer was given. */
static void finish(struct dispatch *dispatch, struct resolve *resolve,
		   struct dispatch_explain *explain, enum resolve_answer answer,
		   uint16_t node_id)
{
	dispatch->explaining = explain;
	resolve_answered(resolve, answer, node_id);
	resolve_run(resolve);
	dispatch->explaining = NULL;
	if (explain)
		dispatch_finish_explain(dispatch, explain, resolve);
	else
		dispatch_settle(dispatch, resolve);
}

static void finish_query(struct dispatch *dispatch, struct query *query,
			 enum resolve_answer answer, uint16_t node_id)
{
	struct resolve resolve = query->resolve;
	struct dispatch_explain *explain = query->explain;

	dispatch_end_query(dispatch, query);
	if (answer == RESOLVE_ANSWER_NO && query->over &&
	    resolve.class != RESOLVE_OPENER && !resolve.was_unsure &&
	    !dispatch_is_unsure(dispatch)) {
		answer = RESOLVE_ANSWER_YES;
		node_id = query->over;
	}
	finish(dispatch, &resolve, explain, answer, node_id);
}

/* Those that are up and not suspect. What a suspect has is found out when it is sure
 * again: the last step drops until then. */
static void mark_pending(const struct dispatch *dispatch, struct query *query)
{
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		const struct member *member = dispatch->members[slot];

		if (member && member->is_up && !member->is_suspect)
			query->pending[slot / 64] |= 1ull << slot % 64;
	}
}

/* Packets of no connection, which cost nothing to send, leave some for what opens one. */
static bool has_room(const struct dispatch *dispatch, enum resolve_class class)
{
	bool opens = class == RESOLVE_OPENER || class == RESOLVE_DATAGRAM;

	return dispatch->queries.count <
	       (opens ? DISPATCH_ASKED_MAX : DISPATCH_ASKED_MAX / 4 * 3);
}

struct query *dispatch_ask(struct dispatch *dispatch, const struct resolve *resolve,
			   struct dispatch_explain *explain)
{
	struct query *query = NULL;
	struct resolve busy = *resolve;

	if (has_room(dispatch, resolve->class))
		query = take_free(&dispatch->queries, &resolve->key);
	if (!query) {
		dispatch->counters.busy++;
		finish(dispatch, &busy, explain, RESOLVE_ANSWER_BUSY, 0);
		return NULL;
	}
	query->resolve = *resolve;
	query->explain = explain;
	mark_pending(dispatch, query);
	dispatch->counters.asked++;
	send_query(dispatch, query);
	return query;
}

/*
 * A packet that may open something is no worse off for waiting, and what the members
 * say is right for it, too.
 */
bool dispatch_join(struct dispatch *dispatch, const struct flow_key *key,
		   enum resolve_class class)
{
	struct query *query = find_by_key(&dispatch->queries, key);

	if (!query)
		return false;
	dispatch->counters.joined++;
	if (class == RESOLVE_OPENER || class == RESOLVE_DATAGRAM) {
		query->resolve.class = class;
		query->resolve.is_stale = true;
	}
	return true;
}

void dispatch_stop_asking(struct dispatch *dispatch, const struct flow_key *key)
{
	struct query *query = find_by_key(&dispatch->queries, key);

	if (query)
		dispatch_end_query(dispatch, query);
}

void dispatch_query_timer(struct dispatch *dispatch)
{
	uint64_t now = dispatch_now(dispatch);
	struct query *query;

	while ((query = dispatch->queries.oldest) && query->deadline_ns <= now) {
		if (query->is_second) {
			dispatch->counters.silent++;
			if (!query->explain)
				dispatch_remember(dispatch, query);
			finish_query(dispatch, query, RESOLVE_ANSWER_SILENT, 0);
			continue;
		}
		query->is_second = true;
		dispatch->counters.asked_again++;
		remove_from_order(&dispatch->queries, query);
		send_query(dispatch, query);
	}
}

void dispatch_query_lost(struct dispatch *dispatch, const struct member *member)
{
	struct query *query, *newer;

	dispatch_late_lost(dispatch, member);
	for (query = dispatch->queries.oldest; query; query = newer) {
		newer = query->newer;
		if (!is_pending(query, member->slot))
			continue;
		query->pending[member->slot / 64] &= ~(1ull << member->slot % 64);
		if (is_answered(query))
			finish_query(dispatch, query, RESOLVE_ANSWER_NO, 0);
	}
}

static void take_answer(struct dispatch *dispatch, const struct member *member,
			const struct dispatch_answer *answer)
{
	struct query *query = find_by_token(&dispatch->queries, answer->token);

	if (!query || !is_pending(query, member->slot)) {
		if (!dispatch_take_late(dispatch, member, answer))
			dispatch->counters.odd_messages++; /* not needed, mostly */
		return;
	}
	query->pending[member->slot / 64] &= ~(1ull << member->slot % 64);
	if (answer->have == DISPATCH_HAVE_LIVE) {
		finish_query(dispatch, query, RESOLVE_ANSWER_YES, member->id);
		return;
	}
	if (answer->have == DISPATCH_HAVE_OVER)
		query->over = member->id;
	if (is_answered(query))
		finish_query(dispatch, query, RESOLVE_ANSWER_NO, 0);
}

bool dispatch_answer_next(struct dispatch *dispatch, const struct member *member,
			  const struct flow_key *key)
{
	struct query *query = find_by_key(&dispatch->queries, key);

	if (!query)
		return false;
	if (is_pending(query, member->slot))
		finish_query(dispatch, query, RESOLVE_ANSWER_YES, member->id);
	return true;
}

void dispatch_take_answers(struct dispatch *dispatch, const struct member *member,
			   const struct dispatch_message *message)
{
	for (unsigned i = 0; i < message->num; i++)
		take_answer(dispatch, member, &message->answers[i]);
}

/* ---- answering ---- */

/*
 * One that was placed here just now is ours before there is a socket. And if the last
 * walk has seen it, that will do: a border that is new asks for all connections at once,
 * and a look into the kernel takes 10 to 40 us. The answer of one whose opener may be
 * lost is that we remember it: with SYN cookies there is no socket either.
 */
static enum dispatch_have have_in_table(const struct dispatch *dispatch,
					const struct flow_key *key)
{
	struct flowtable_entry entry;

	if (!flowtable_find(dispatch->table, key, dispatch_now(dispatch), &entry) ||
	    entry.owner != dispatch->self->id || entry.heard_s >= RESOLVE_FRESH_S)
		return DISPATCH_HAVE_NONE;
	return dispatch_is_doubtful(dispatch, &entry) ? DISPATCH_HAVE_OVER
						      : DISPATCH_HAVE_LIVE;
}

static enum dispatch_have have(struct dispatch *dispatch, const struct flow_key *key)
{
	enum dispatch_have in_table = have_in_table(dispatch, key);
	struct socket_match match = {.is_over = false};
	int found;

	if (in_table == DISPATCH_HAVE_LIVE)
		return in_table;
	found = dispatch->ops->exact(dispatch->arg, key, &match);
	dispatch->kernel_error = found < 0 ? found : 0;
	if (found != 1) {
		dispatch_look(dispatch); /* it may be for one that has just begun */
		return in_table;
	}
	return match.is_over || match.is_half ? DISPATCH_HAVE_OVER : DISPATCH_HAVE_LIVE;
}

void dispatch_take_queries(struct dispatch *dispatch, struct member *member,
			   const struct dispatch_message *message)
{
	for (unsigned i = 0; i < message->num; i++) {
		const struct dispatch_query *query = &message->queries[i];
		struct dispatch_message *box =
			dispatch_box(dispatch, member, DISPATCH_BOX_ANSWERS);

		dispatch->counters.queries++;
		box->answers[box->num++] = (struct dispatch_answer){
			.token = query->token, .have = have(dispatch, &query->key)};
	}
}
