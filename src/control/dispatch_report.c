/* What a dispatcher tells: explanations, flows, listeners, members. See dispatch.h. */
#include "control/dispatch_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- explain ---- */

static const char *const by_itself[FLOW_KIND_NUM_] = {
	[FLOW_ECHO] = "the member that an echo request reaches answers it",
	[FLOW_REPLY] = "an answer of ICMP goes to every member: who asked is unknown",
	[FLOW_FRAGMENT] = "a later fragment goes where the first one went",
};

void dispatch_finish_explain(struct dispatch *dispatch, struct dispatch_explain *explain,
			     const struct resolve *resolve)
{
	const struct member *owner = dispatch_find(dispatch, resolve->verdict.owner);

	explain->explanation.verdict = resolve->verdict;
	if (owner)
		snprintf(explain->explanation.node, sizeof(explain->explanation.node),
			 "%s", owner->name);
	explain->done(explain->arg, &explain->explanation);
	dispatch->num_explains--;
	free(explain);
}

/* True: it is finished, and freed. */
static bool explain_run(struct dispatch *dispatch, struct dispatch_explain *explain,
			const struct flow_packet *packet, enum resolve_class class)
{
	struct resolve resolve;
	enum resolve_outcome outcome;

	resolve_start(&resolve, &dispatch_explain_ops, dispatch, dispatch->self->id,
		      &packet->key, class);
	dispatch->explaining = explain;
	outcome = resolve_run(&resolve);
	dispatch->explaining = NULL;
	if (outcome == RESOLVE_DECIDED) {
		dispatch_finish_explain(dispatch, explain, &resolve);
		return true;
	}
	explain->query = dispatch_ask(dispatch, &resolve, explain);
	return !explain->query;
}

static void explain_kind(struct dispatch *dispatch, struct dispatch_explain *explain,
			 enum flow_kind kind)
{
	struct dispatch_step *step = &explain->explanation.steps[0];
	const struct resolve resolve = {
		.verdict = {.owner = dispatch->self->id, .reason = DROP_NUM_}};

	explain->explanation.num_steps = 1;
	step->name = "kind of packet";
	snprintf(step->words, sizeof(step->words), "%s", by_itself[kind]);
	dispatch_finish_explain(dispatch, explain, &resolve);
}

int dispatch_explain(struct dispatch *dispatch, const struct flow_packet *packet,
		     void (*done)(void *arg, const struct dispatch_explanation *),
		     void *arg, struct dispatch_explain **ret_explain)
{
	struct dispatch_explain *explain;
	enum resolve_class class;
	bool is_done = true;

	if (dispatch->num_explains == DISPATCH_EXPLAINS_MAX)
		return -EAGAIN;
	explain = calloc(1, sizeof(*explain));
	if (!explain)
		return -ENOMEM;
	dispatch->num_explains++;
	explain->done = done;
	explain->arg = arg;
	if (resolve_class_of(packet, &class))
		is_done = explain_run(dispatch, explain, packet, class);
	else
		explain_kind(dispatch, explain, packet->kind);
	*ret_explain = is_done ? NULL : explain;
	dispatch_arm(dispatch);
	return 0;
}

void dispatch_explain_cancel(struct dispatch *dispatch, struct dispatch_explain *explain)
{
	dispatch_end_query(dispatch, explain->query);
	dispatch->num_explains--;
	free(explain);
}

/* ---- flows ---- */

struct flows {
	const struct dispatch *dispatch;
	bool (*each)(void *arg, const struct dispatch_flow *);
	void *arg;
};

static bool tell_flow(void *arg, const struct flowtable_entry *entry)
{
	const struct flows *flows = arg;
	const struct member *owner = dispatch_find(flows->dispatch, entry->owner);
	const struct dispatch_flow flow = {
		.key = entry->key,
		.owner = entry->owner,
		.node = owner ? owner->name : "",
		.age_ms = entry->made_s * 1000ull,
		.via = flow_via_name(entry->via),
	};

	return flows->each(flows->arg, &flow);
}

void dispatch_each_flow(const struct dispatch *dispatch,
			bool (*each)(void *arg, const struct dispatch_flow *), void *arg)
{
	struct flows flows = {dispatch, each, arg};

	flowtable_each(dispatch->table, dispatch_now(dispatch), tell_flow, &flows);
}

/* ---- listeners ---- */

/* Where the walk through the members' lists is, which are sorted alike. */
struct cursors {
	unsigned at[DISPATCH_MEMBERS_MAX];
};

static const struct listener *item_of(const struct dispatch *dispatch,
				      const struct cursors *cursors, unsigned slot)
{
	const struct member *member = dispatch->members[slot];

	if (!member || !member->is_up || cursors->at[slot] == member->listeners.num)
		return NULL;
	return &member->listeners.items[cursors->at[slot]];
}

static const struct listener *lowest_item(const struct dispatch *dispatch,
					  const struct cursors *cursors)
{
	const struct listener *lowest = NULL;

	for (unsigned slot = 0; slot < DISPATCH_MEMBERS_MAX; slot++) {
		const struct listener *item = item_of(dispatch, cursors, slot);

		if (item && (!lowest || dispatch_compare_listeners(item, lowest) < 0))
			lowest = item;
	}
	return lowest;
}

void dispatch_each_listener(const struct dispatch *dispatch,
			    bool (*each)(void *arg, const struct dispatch_service *),
			    void *arg)
{
	struct cursors cursors = {.at = {0}};
	const struct listener *lowest;

	while ((lowest = lowest_item(dispatch, &cursors))) {
		struct dispatch_service service = {.listener = *lowest};

		for (unsigned slot = 0; slot < DISPATCH_MEMBERS_MAX; slot++) {
			const struct listener *item = item_of(dispatch, &cursors, slot);

			if (!item || dispatch_compare_listeners(item, lowest) != 0)
				continue;
			service.nodes[service.num_nodes++] =
				dispatch->members[slot]->name;
			cursors.at[slot]++;
		}
		if (!each(arg, &service))
			return;
	}
}

/* ---- members and the rest ---- */

void dispatch_each_member(const struct dispatch *dispatch,
			  bool (*each)(void *arg, const struct dispatch_member *),
			  void *arg)
{
	for (unsigned slot = 0; slot < DISPATCH_MEMBERS_MAX; slot++) {
		const struct member *member = dispatch->members[slot];
		struct dispatch_member shown;

		if (!member || !member->is_up)
			continue;
		shown = (struct dispatch_member){
			.id = member->id,
			.name = member->name,
			.is_self = member == dispatch->self,
			.is_suspect = member->is_suspect,
			.is_paused = member->is_paused,
			.is_known = member->state.generation > 0,
			.is_drained = member->state.is_drained,
			.announces = member->state.announces,
			.is_announcing = member->state.is_announcing,
			.weight = member->state.weight,
			.connections = member->state.connections + member->placed,
			.num_listeners = member->listeners.num,
		};
		if (!each(arg, &shown))
			return;
	}
}

void dispatch_read_counters(const struct dispatch *dispatch, struct dispatch_totals *ret)
{
	*ret = dispatch->counters;
}

void dispatch_read_table(const struct dispatch *dispatch, uint32_t *ret_count,
			 uint32_t *ret_cap)
{
	*ret_count = flowtable_count(dispatch->table);
	*ret_cap = flowtable_cap(dispatch->table);
}

bool dispatch_is_drained(const struct dispatch *dispatch)
{
	return dispatch->self->state.is_drained;
}

bool dispatch_is_announcing(const struct dispatch *dispatch)
{
	return dispatch->is_announcing;
}

void dispatch_each_reason(const struct dispatch *dispatch,
			  void (*each)(void *arg, const char *words), void *arg)
{
	uint32_t count = flowtable_count(dispatch->table);
	uint32_t cap = flowtable_cap(dispatch->table);
	char words[DISPATCH_WORDS_MAX];

	if (count >= DISPATCH_FLOOD(cap)) {
		snprintf(words, sizeof(words),
			 "the connection table has %u of %u flows: new connections are "
			 "placed by hash, whatever `balance` says; raise `flows` if "
			 "they are wanted",
			 count, cap);
		each(arg, words);
	}
	if (dispatch->unlisted) {
		snprintf(words, sizeof(words),
			 "%u listening sockets are above the limit of %u: nothing is "
			 "sent to them",
			 dispatch->unlisted, DISPATCH_LISTENERS_MAX);
		each(arg, words);
	}
	if (dispatch->kernel_error) {
		snprintf(words, sizeof(words),
			 "the kernel does not say which connections there are: %s",
			 strerror(-dispatch->kernel_error));
		each(arg, words);
	}
	if (dispatch->surplus) {
		snprintf(words, sizeof(words),
			 "there are more than %u members: the others get nothing",
			 DISPATCH_MEMBERS_MAX);
		each(arg, words);
	}
}
