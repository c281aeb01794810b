/* Life of a dispatcher, packets without a verdict, pins, and time. See dispatch.h. */
#include "control/dispatch_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_ROUND_S 60  /* the table is looked through so often */
#define SWEEP_FLOOD_S 16  /* and so often when it is nearly full */
#define IDLE_S	      600 /* of what others own: they can be asked */
#define OWN_IDLE_S    25  /* of our own: walks see what lives */

/* ---- what resolve.c asks ---- */

/*
 * The opener of a connection, or the pin of it, may be lost with what was under way to or
 * from a member whose link ended just then. Whoever has the connection now, the entry is
 * no proof of it. What was given to ourselves may have been lost with any link: who stood
 * still finds the pin of it later than the others have placed it anew.
 */
bool dispatch_is_doubtful(const struct dispatch *dispatch,
			  const struct flowtable_entry *entry)
{
	const struct member *owner = dispatch_find(dispatch, entry->owner);
	uint64_t lost_s;

	if (!owner || !owner->lost_ns || entry->via < FLOW_VIA_ONLY)
		return false;
	lost_s = (dispatch_now(dispatch) - owner->lost_ns) / NSEC_PER_SEC;
	return entry->made_s >= lost_s && entry->made_s - lost_s <= RESOLVE_FRESH_S;
}

/* A doubtful one counts as old: it is asked for. */
static bool find_entry(void *arg, const struct flow_key *key,
		       struct flowtable_entry *ret_entry)
{
	const struct dispatch *dispatch = arg;

	if (!flowtable_find(dispatch->table, key, dispatch_now(dispatch), ret_entry))
		return false;
	if (dispatch_is_doubtful(dispatch, ret_entry) &&
	    ret_entry->made_s < RESOLVE_USED_S)
		ret_entry->made_s = ret_entry->heard_s = RESOLVE_USED_S;
	return true;
}

static int find_in_kernel(void *arg, const struct flow_key *key,
			  struct socket_match *ret_match)
{
	struct dispatch *dispatch = arg;
	int found = dispatch->ops->exact(dispatch->arg, key, ret_match);

	dispatch->kernel_error = found < 0 ? found : 0;
	return found;
}

static unsigned count_others(void *arg)
{
	const struct dispatch *dispatch = arg;
	unsigned count = 0;

	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		const struct member *member = dispatch->members[slot];

		count += member && member->is_up && !member->is_suspect;
	}
	return count;
}

static enum resolve_member member_state(void *arg, uint16_t node_id)
{
	const struct dispatch *dispatch = arg;

	return dispatch_member_state(dispatch, dispatch_find(dispatch, node_id));
}

static bool is_unsure(void *arg)
{
	return dispatch_is_unsure(arg);
}

static uint16_t choose(void *arg, const struct flow_key *key,
		       const struct balance_node *nodes, unsigned num)
{
	const struct dispatch *dispatch = arg;

	return balance_choose(dispatch->balance, key, nodes, num);
}

static bool is_flooded(void *arg)
{
	const struct dispatch *dispatch = arg;

	return flowtable_count(dispatch->table) >=
	       DISPATCH_FLOOD(flowtable_cap(dispatch->table));
}

static bool look(void *arg)
{
	return dispatch_look(arg);
}

static const char *name(void *arg, uint16_t node_id)
{
	const struct member *member = dispatch_find(arg, node_id);

	return member ? member->name : "a node that is gone";
}

static void note(void *arg, const char *step, const char *words)
{
	const struct dispatch *dispatch = arg;
	struct dispatch_explanation *to = &dispatch->explaining->explanation;
	struct dispatch_step *line;

	if (to->num_steps == RESOLVE_STEPS_MAX)
		return;
	line = &to->steps[to->num_steps++];
	line->name = step;
	strncpy(line->words, words, sizeof(line->words) - 1);
}

#define RESOLVE_OPS                                                                      \
	.table = find_entry, .kernel = find_in_kernel, .count_others = count_others,     \
	.member = member_state, .is_unsure = is_unsure,                                  \
	.candidates = dispatch_candidates, .choose = choose, .is_flooded = is_flooded,   \
	.look = look, .name = name

const struct resolve_ops dispatch_resolve_ops = {RESOLVE_OPS};
const struct resolve_ops dispatch_explain_ops = {RESOLVE_OPS, .note = note};

/* ---- life ---- */

static int make_table(struct dispatch *dispatch)
{
	const struct config_network *config = dispatch->config;
	uint8_t addresses[FLOWTABLE_ADDRESSES_MAX][FLOW_ADDRESS_LEN];
	struct flow_secret secret;

	_Static_assert(CONFIG_ADDRESSES_MAX <= FLOWTABLE_ADDRESSES_MAX, "room for all");
	for (unsigned i = 0; i < config->num_addresses; i++) {
		if (config->addresses[i].family == AF_INET)
			flow_address_map_ipv4(addresses[i], config->addresses[i].bytes);
		else
			memcpy(addresses[i], config->addresses[i].bytes,
			       FLOW_ADDRESS_LEN);
	}
	dispatch->ops->random(dispatch->arg, &secret, sizeof(secret));
	return flowtable_new(config->flows, (const uint8_t(*)[FLOW_ADDRESS_LEN])addresses,
			     config->num_addresses, &secret, &dispatch->table);
}

int dispatch_new(const struct config_network *config, uint16_t self_id,
		 const char *self_name, const struct dispatch_ops *ops, void *arg,
		 struct dispatch **ret_dispatch)
{
	struct dispatch *dispatch = calloc(1, sizeof(*dispatch));
	int ret;

	if (!dispatch)
		return -ENOMEM;
	dispatch->config = config;
	dispatch->ops = ops;
	dispatch->arg = arg;
	dispatch->generation = 1;
	dispatch->started_ns = dispatch_now(dispatch);
	dispatch->hold_ns = dispatch->started_ns + DISPATCH_HOLD_NS;
	dispatch->tick_ns = dispatch_now(dispatch) + DISPATCH_TICK_NS;
	dispatch_init_queries(dispatch);
	ret = make_table(dispatch);
	if (ret < 0)
		goto err;
	ret = balance_new(config->balance, &dispatch->balance);
	if (ret < 0)
		goto err;
	dispatch_add_self(dispatch, self_id, self_name);
	dispatch_arm(dispatch);
	*ret_dispatch = dispatch;
	return 0;
err:
	dispatch_free(dispatch);
	return ret;
}

void dispatch_free(struct dispatch *dispatch)
{
	if (!dispatch)
		return;
	for (struct query *query = dispatch->queries.oldest; query; query = query->newer)
		free(query->explain);
	dispatch_free_members(dispatch);
	balance_free(dispatch->balance);
	flowtable_free(dispatch->table);
	free(dispatch);
}

/* ---- decisions ---- */

static void answer(struct dispatch *dispatch, const struct flow_key *key,
		   const struct dispatch_verdict *verdict)
{
	if (dispatch->ops->answer(dispatch->arg, key, verdict) < 0)
		dispatch->counters.not_answered++;
}

static void enter(struct dispatch *dispatch, const struct flow_key *key, uint16_t owner,
		  enum flow_via via)
{
	int ret = flowtable_put(dispatch->table, key, owner, via, dispatch_now(dispatch));

	if (ret == -ENOSPC)
		dispatch->counters.full++;
	dispatch_learn(dispatch, key);
}

static void pin_to(struct dispatch *dispatch, struct member *member,
		   const struct flow_key *key, uint16_t owner)
{
	struct dispatch_message *box = dispatch_box(dispatch, member, DISPATCH_BOX_PINS);

	box->pins[box->num++] = (struct dispatch_pin){.key = *key, .owner = owner};
}

static void pin_to_all(struct dispatch *dispatch, const struct flow_key *key,
		       uint16_t owner)
{
	dispatch->counters.pins_sent++;
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		struct member *member = dispatch->members[slot];

		if (member && member->is_up)
			pin_to(dispatch, member, key, owner);
	}
}

/* The policy's memory, and how many the member has. */
static void count_placed(struct dispatch *dispatch, const struct resolve *resolve)
{
	uint16_t owner = resolve->verdict.owner;
	struct balance_node nodes[BALANCE_NODES_MAX];
	unsigned num =
		dispatch_candidates(dispatch, &resolve->key, resolve->match, nodes);

	balance_placed(dispatch->balance, &resolve->key, nodes, num, owner);
	dispatch_find(dispatch, owner)->placed++;
}

static void count(struct dispatch *dispatch, const struct resolve *resolve)
{
	struct dispatch_totals *counters = &dispatch->counters;
	uint64_t *const of_step[] = {
		[RESOLVE_STEP_TABLE] = &counters->by_table,
		[RESOLVE_STEP_KERNEL] = &counters->by_kernel,
		[RESOLVE_STEP_MEMBERS] = &counters->by_answer,
		[RESOLVE_STEP_WILDCARD] = &counters->by_wildcard,
		[RESOLVE_STEP_LISTENER] = &counters->by_listener,
		[RESOLVE_STEP_AGAIN] = &counters->by_listener,
		[RESOLVE_STEP_FLOOD] = &counters->by_flood,
		[RESOLVE_STEP_PAIR] = &counters->by_pair,
		[RESOLVE_STEP_NONE] = &counters->reset,
	};

	if (resolve->verdict.owner)
		(*of_step[resolve->step])++;
	else if (resolve->verdict.reason == DROP_NO_LISTENER)
		counters->no_listener++;
	else
		counters->no_owner++;
}

void dispatch_settle(struct dispatch *dispatch, const struct resolve *resolve)
{
	const struct flow_key *key = &resolve->key;
	uint16_t owner = resolve->verdict.owner;

	count(dispatch, resolve);
	if (resolve->enters)
		enter(dispatch, key, owner, resolve->via);
	else if (resolve->hears)
		flowtable_hear(dispatch->table, key, dispatch_now(dispatch));
	if (resolve->is_placed) {
		count_placed(dispatch, resolve);
		pin_to_all(dispatch, key, owner);
	} else if (resolve->is_hashed) {
		dispatch->counters.hashed++;
		flowtable_remove(dispatch->table, key); /* of the former one */
		dispatch_learn(dispatch, key);
	}
	answer(dispatch, key, &resolve->verdict);
}

static bool is_in_kernel(struct dispatch *dispatch, const struct flow_key *key)
{
	struct socket_match match = {.is_over = false};

	return find_in_kernel(dispatch, key, &match) == 1 && !match.is_over &&
	       !match.is_half;
}

void dispatch_settle_late(struct dispatch *dispatch, const struct flow_key *key,
			  enum resolve_class class, uint16_t owner)
{
	const struct dispatch_verdict verdict = {
		.owner = owner, .reason = DROP_NUM_, .keep = resolve_keep(class)};

	if (is_in_kernel(dispatch, key)) {
		dispatch_learn(dispatch, key);
		return;
	}
	enter(dispatch, key, owner, FLOW_VIA_ANSWER);
	answer(dispatch, key, &verdict);
}

/* Kinds that the data plane decides by itself. */
static void refuse_kind(struct dispatch *dispatch, const struct flow_packet *packet)
{
	const struct dispatch_verdict verdict = {.reason = DROP_NO_OWNER,
						 .keep = DISPATCH_KEEP_NOT};

	dispatch->counters.no_owner++;
	answer(dispatch, &packet->key, &verdict);
}

static void miss(struct dispatch *dispatch, const struct flow_packet *packet, bool is_old)
{
	enum resolve_class class;
	struct resolve resolve;

	dispatch->counters.misses++;
	if (!resolve_class_of(packet, &class)) {
		refuse_kind(dispatch, packet);
		return;
	}
	if (!dispatch_join(dispatch, &packet->key, class)) {
		resolve_start(&resolve, &dispatch_resolve_ops, dispatch,
			      dispatch->self->id, &packet->key, class);
		resolve.is_stale = is_old;
		if (resolve_run(&resolve) == RESOLVE_DECIDED)
			dispatch_settle(dispatch, &resolve);
		else
			dispatch_ask(dispatch, &resolve, NULL);
	}
	dispatch_arm(dispatch);
}

void dispatch_miss(struct dispatch *dispatch, const struct flow_packet *packet)
{
	miss(dispatch, packet, false);
}

void dispatch_miss_of_old(struct dispatch *dispatch, const struct flow_packet *packet)
{
	miss(dispatch, packet, true);
}

/* ---- pins ---- */

static bool wins(const struct flow_key *key, uint16_t one, uint16_t other)
{
	uint64_t score = flow_score(key, one, 1), against = flow_score(key, other, 1);

	return score > against || (score == against && one < other);
}

/* We gave it to another member just now, and all are to choose alike. */
static bool is_contested(struct dispatch *dispatch, const struct dispatch_pin *pin,
			 struct flowtable_entry *ret_entry)
{
	return find_entry(dispatch, &pin->key, ret_entry) &&
	       ret_entry->made_s < RESOLVE_FRESH_S && ret_entry->owner != pin->owner &&
	       member_state(dispatch, ret_entry->owner) == RESOLVE_MEMBER_UP &&
	       wins(&pin->key, ret_entry->owner, pin->owner);
}

/* What our kernel has is not for others to give away. Nothing is said back: who placed a
 * first packet just now would insist. */
static bool is_our_connection(struct dispatch *dispatch, const struct dispatch_pin *pin)
{
	struct flowtable_entry entry;

	return pin->owner != dispatch->self->id &&
	       find_entry(dispatch, &pin->key, &entry) &&
	       entry.owner == dispatch->self->id && is_in_kernel(dispatch, &pin->key);
}

static void take_pin(struct dispatch *dispatch, struct member *from,
		     const struct dispatch_pin *pin)
{
	const struct dispatch_verdict verdict = {
		.owner = pin->owner, .reason = DROP_NUM_, .keep = DISPATCH_KEEP_FLOW};
	struct member *owner = dispatch_find(dispatch, pin->owner);
	struct flowtable_entry entry;

	if (!owner || !owner->is_up || is_our_connection(dispatch, pin)) {
		dispatch->counters.pins_refused++;
		return;
	}
	if (is_contested(dispatch, pin, &entry)) {
		dispatch->counters.pins_refused++;
		pin_to(dispatch, from, &pin->key, entry.owner); /* ours may be lost */
		return;
	}
	dispatch->counters.pins_got++;
	owner->placed++;
	if (!is_flooded(dispatch) || find_entry(dispatch, &pin->key, &entry))
		enter(dispatch, &pin->key, pin->owner, FLOW_VIA_PIN);
	else
		dispatch_learn(dispatch, &pin->key);
	dispatch_stop_asking(dispatch, &pin->key);
	answer(dispatch, &pin->key, &verdict);
}

static void take_pins(struct dispatch *dispatch, struct member *from,
		      const struct dispatch_message *message)
{
	for (unsigned i = 0; i < message->num; i++)
		take_pin(dispatch, from, &message->pins[i]);
}

/* ---- messages ---- */

static void take(struct dispatch *dispatch, struct member *member,
		 const struct dispatch_message *message)
{
	switch (message->type) {
	case DISPATCH_MESSAGE_QUERY:
		dispatch_take_queries(dispatch, member, message);
		break;
	case DISPATCH_MESSAGE_ANSWER:
		dispatch_take_answers(dispatch, member, message);
		break;
	case DISPATCH_MESSAGE_PIN:
		take_pins(dispatch, member, message);
		break;
	case DISPATCH_MESSAGE_LISTENERS:
		dispatch_take_part(dispatch, member, &message->part);
		break;
	case DISPATCH_MESSAGE_STATE:
		dispatch_take_state(dispatch, member, &message->state);
		break;
	case DISPATCH_MESSAGE_HEARD:
		dispatch_take_heard(dispatch, member, &message->heard);
		break;
	case DISPATCH_MESSAGE_DRAIN:
		dispatch_take_drain(dispatch, member, &message->drain);
		break;
	case DISPATCH_MESSAGE_NUM_:
		break;
	}
}

void dispatch_message(struct dispatch *dispatch, uint16_t peer_id, const uint8_t *bytes,
		      size_t length)
{
	struct member *member = dispatch_find(dispatch, peer_id);
	struct dispatch_message message;
	const char *why;

	if (!member || member == dispatch->self || !member->is_up) {
		dispatch->counters.odd_messages++;
		return;
	}
	if (codec_dispatch_decode(bytes, length, &message, &why) < 0) {
		dispatch->counters.bad_messages++;
		return;
	}
	take(dispatch, member, &message);
	dispatch_arm(dispatch);
}

/* ---- our own connections ---- */

/*
 * What our kernel has is ours: the pin of it was lost, or another one forged. But a
 * fresh entry may be of the next connection, and ours about to end.
 */
static bool is_disproved(struct dispatch *dispatch, const struct flowtable_entry *entry)
{
	return entry->made_s >= RESOLVE_FRESH_S ||
	       member_state(dispatch, entry->owner) != RESOLVE_MEMBER_UP;
}

static void see_connection(struct dispatch *dispatch, const struct flow_key *key)
{
	struct flowtable_entry entry;
	bool is_there = find_entry(dispatch, key, &entry);

	if (is_there && entry.owner == dispatch->self->id)
		flowtable_hear(dispatch->table, key, dispatch_now(dispatch));
	else if (is_there ? is_disproved(dispatch, &entry) : !is_flooded(dispatch))
		enter(dispatch, key, dispatch->self->id, FLOW_VIA_KERNEL);
}

void dispatch_set_connections(struct dispatch *dispatch, const struct flow_key *keys,
			      unsigned num)
{
	for (unsigned i = 0; i < num; i++)
		see_connection(dispatch, &keys[i]);
	dispatch->self->placed = 0;
	if (dispatch->self->state.connections == num)
		return;
	dispatch->self->state.connections = num;
	dispatch_publish(dispatch);
	dispatch_arm(dispatch);
}

/* ---- time ---- */

/*
 * Placed, and not seen since: during a flood most of them never are. Afterwards they go
 * on leaving until half of the table is free, or the next few openers would make it a
 * flood.
 */
static bool is_shed(struct dispatch *dispatch, const struct flowtable_entry *entry)
{
	uint32_t half = flowtable_cap(dispatch->table) / 2;
	uint32_t limit_s = is_flooded(dispatch) ? RESOLVE_FRESH_S : RESOLVE_USED_S;

	return flowtable_count(dispatch->table) > half && entry->via >= FLOW_VIA_ONLY &&
	       entry->heard_s == entry->made_s && entry->made_s >= limit_s;
}

static bool is_over(void *arg, const struct flowtable_entry *entry)
{
	struct dispatch *dispatch = arg;
	bool is_own = entry->owner == dispatch->self->id;

	return entry->heard_s >= (is_own ? OWN_IDLE_S : IDLE_S) ||
	       is_shed(dispatch, entry) ||
	       member_state(dispatch, entry->owner) == RESOLVE_MEMBER_GONE;
}

static void tick(struct dispatch *dispatch)
{
	uint64_t now = dispatch_now(dispatch);
	uint32_t round = is_flooded(dispatch) ? SWEEP_FLOOD_S : SWEEP_ROUND_S;

	if (now < dispatch->tick_ns)
		return;
	dispatch->tick_ns = now + DISPATCH_TICK_NS;
	dispatch_forget_members(dispatch);
	flowtable_sweep(dispatch->table, now,
			flowtable_places(dispatch->table) / round + 1, is_over, dispatch);
	dispatch_elect(dispatch);
}

static uint64_t due_at(const struct dispatch *dispatch)
{
	uint64_t due = dispatch->tick_ns;

	if (dispatch->must_renew && dispatch->renew_ns < due)
		due = dispatch->renew_ns;
	if (dispatch->mail_ns && dispatch->mail_ns < due)
		due = dispatch->mail_ns;
	if (dispatch->queries.oldest && dispatch->queries.oldest->deadline_ns < due)
		due = dispatch->queries.oldest->deadline_ns;
	if (dispatch->repeat_ns && dispatch->repeat_ns < due)
		due = dispatch->repeat_ns;
	return due;
}

void dispatch_arm(struct dispatch *dispatch)
{
	uint64_t now = dispatch_now(dispatch), due;

	dispatch_repeat(dispatch);
	due = due_at(dispatch);
	if (due < now)
		due = now;
	if (dispatch->armed_ns && dispatch->armed_ns <= due)
		return;
	dispatch->armed_ns = due ? due : 1;
	dispatch->ops->set_timer(dispatch->arg, due - now);
}

static void renew(struct dispatch *dispatch)
{
	uint64_t now = dispatch_now(dispatch);

	if (!dispatch->must_renew || now < dispatch->renew_ns)
		return;
	dispatch->must_renew = false;
	dispatch->renew_ns = now + DISPATCH_RENEW_NS;
	dispatch->ops->renew_datagrams(dispatch->arg);
}

void dispatch_timer(struct dispatch *dispatch)
{
	dispatch->armed_ns = 0;
	dispatch_query_timer(dispatch);
	tick(dispatch);
	renew(dispatch);
	if (dispatch->mail_ns && dispatch->mail_ns <= dispatch_now(dispatch))
		dispatch_send_boxes(dispatch);
	dispatch_arm(dispatch);
}
