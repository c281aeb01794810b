/*
 * What the members listen for: our list told to the others, theirs heard, and who of
 * them would take something new [47][48]. See dispatch.h.
 *
 * A list goes in parts, in order; the next ones when those before were heard
 * (dispatch_member.c repeats them). A list counts when it is complete, until then the
 * former one does.
 */
#include "control/dispatch_internal.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t any_address[FLOW_ADDRESS_LEN];

/* ---- lists ---- */

static int compare_ports(const struct listener *a, uint8_t protocol, uint16_t port)
{
	if (a->protocol != protocol)
		return a->protocol < protocol ? -1 : 1;
	return a->local_port < port ? -1 : a->local_port > port;
}

int dispatch_compare_listeners(const struct listener *a, const struct listener *b)
{
	int order = compare_ports(a, b->protocol, b->local_port);

	return order ? order : memcmp(a, b, sizeof(*a));
}

static int compare(const void *one, const void *other)
{
	return dispatch_compare_listeners(one, other);
}

static void list_clear(struct listener_list *list)
{
	free(list->items);
	*list = (struct listener_list){.num = 0};
}

/* The first one of this port, or where it would be. */
static unsigned list_search(const struct listener_list *list, uint8_t protocol,
			    uint16_t port)
{
	unsigned low = 0, high = list->num;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (compare_ports(&list->items[middle], protocol, port) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool list_append(struct listener_list *list, const struct listener *items,
			unsigned num)
{
	struct listener *grown;

	if (num == 0)
		return true;
	grown = realloc(list->items, (list->num + num) * sizeof(*grown));
	if (!grown)
		return false;
	memcpy(grown + list->num, items, num * sizeof(*grown));
	list->items = grown;
	list->num += num;
	return true;
}

static bool list_equals(const struct listener_list *a, const struct listener_list *b)
{
	return a->num == b->num &&
	       (a->num == 0 ||
		memcmp(a->items, b->items, a->num * sizeof(*a->items)) == 0);
}

/* `next` takes the place of `list`; false if that changes nothing. */
static bool list_replace(struct listener_list *list, struct listener_list *next)
{
	bool is_same;

	if (next->num)
		qsort(next->items, next->num, sizeof(*next->items), compare);
	is_same = list_equals(list, next);
	list_clear(list);
	*list = *next;
	*next = (struct listener_list){.num = 0};
	return !is_same;
}

void dispatch_drop_listeners(struct member *member)
{
	list_clear(&member->listeners);
	list_clear(&member->coming);
}

/* ---- telling ---- */

static uint32_t push_part(struct dispatch *dispatch, const struct member *member,
			  uint32_t first)
{
	const struct listener_list *list = &dispatch->self->listeners;
	struct dispatch_message message = {.type = DISPATCH_MESSAGE_LISTENERS};
	uint32_t left = list->num - first;

	message.part.generation = dispatch->generation;
	message.part.first = first;
	message.part.total = list->num;
	message.part.num = left < DISPATCH_PART_MAX ? left : DISPATCH_PART_MAX;
	for (unsigned i = 0; i < message.part.num; i++)
		message.part.items[i] = list->items[first + i];
	dispatch_send(dispatch, member, &message);
	return first + message.part.num;
}

void dispatch_push_listeners(struct dispatch *dispatch, struct member *member)
{
	const struct listener_list *list = &dispatch->self->listeners;
	uint32_t limit = member->heard_count + DISPATCH_WINDOW * DISPATCH_PART_MAX;

	if (list->num == 0)
		push_part(dispatch, member, 0);
	while (member->sent_count < list->num && member->sent_count < limit)
		member->sent_count = push_part(dispatch, member, member->sent_count);
}

void dispatch_set_listeners(struct dispatch *dispatch, const struct listener *listeners,
			    unsigned num)
{
	unsigned room = num < DISPATCH_LISTENERS_MAX ? num : DISPATCH_LISTENERS_MAX;
	struct listener_list next = {.num = 0};

	dispatch->unlisted = num - room;
	if (!list_append(&next, listeners, room))
		dispatch->unlisted = num;
	if (!list_replace(&dispatch->self->listeners, &next))
		return;
	dispatch->must_renew = true;
	dispatch->generation++;
	for (unsigned slot = 1; slot < DISPATCH_MEMBERS_MAX; slot++) {
		struct member *member = dispatch->members[slot];

		if (!member || !member->is_up)
			continue;
		member->heard_listeners = false;
		member->heard_count = member->sent_count = 0;
		dispatch_push_listeners(dispatch, member);
	}
	dispatch_arm(dispatch);
}

bool dispatch_look(struct dispatch *dispatch)
{
	uint64_t now = dispatch_now(dispatch);
	struct listener *listeners;
	unsigned num;

	if (dispatch->looked_ns && now < dispatch->looked_ns + DISPATCH_LOOK_NS)
		return false;
	dispatch->looked_ns = now;
	if (dispatch->ops->listen(dispatch->arg, &listeners, &num) == 0) {
		dispatch_set_listeners(dispatch, listeners, num);
		free(listeners);
	}
	return true;
}

/* ---- hearing ---- */

void dispatch_tell_heard(struct dispatch *dispatch, const struct member *member)
{
	const struct dispatch_message message = {
		.type = DISPATCH_MESSAGE_HEARD,
		.heard = {.listeners = member->generation,
			  .count = member->is_complete ? member->listeners.num
						       : member->coming.num,
			  .state = member->state.generation,
			  .drain = member->drain_serial}};

	dispatch_send(dispatch, member, &message);
}

static void start_list(struct member *member, const struct dispatch_part *part)
{
	list_clear(&member->coming);
	member->generation = part->generation;
	member->coming_total = part->total;
	member->is_complete = false;
}

void dispatch_take_part(struct dispatch *dispatch, struct member *member,
			const struct dispatch_part *part)
{
	if (part->generation > member->generation)
		start_list(member, part);
	if (part->generation == member->generation && !member->is_complete &&
	    part->total == member->coming_total && part->first == member->coming.num &&
	    list_append(&member->coming, part->items, part->num) &&
	    member->coming.num == member->coming_total) {
		member->is_complete = true;
		if (list_replace(&member->listeners, &member->coming))
			dispatch->must_renew = true;
	}
	dispatch_tell_heard(dispatch, member);
}

/* ---- who would take it ---- */

static bool is_taken_by(const struct listener *listener, const struct flow_key *key,
			enum resolve_match match)
{
	unsigned family =
		flow_address_is_ipv4(key->local) ? LISTENER_IPV4 : LISTENER_IPV6;
	bool is_local_any = memcmp(listener->local, any_address, FLOW_ADDRESS_LEN) == 0;
	bool is_foreign_any =
		memcmp(listener->foreign, any_address, FLOW_ADDRESS_LEN) == 0;

	if (!(listener->families & family))
		return false;
	if (match == RESOLVE_MATCH_PEER)
		return is_local_any && !is_foreign_any &&
		       listener->foreign_port == key->foreign_port &&
		       memcmp(listener->foreign, key->foreign, FLOW_ADDRESS_LEN) == 0;
	return is_foreign_any && (is_local_any || memcmp(listener->local, key->local,
							 FLOW_ADDRESS_LEN) == 0);
}

static bool takes(const struct member *member, const struct flow_key *key,
		  enum resolve_match match)
{
	const struct listener_list *list = &member->listeners;
	unsigned i = list_search(list, key->protocol, key->local_port);

	if (match == RESOLVE_MATCH_NODE)
		return true;
	for (; i < list->num && list->items[i].protocol == key->protocol &&
	       list->items[i].local_port == key->local_port;
	     i++) {
		if (is_taken_by(&list->items[i], key, match))
			return true;
	}
	return false;
}

unsigned dispatch_candidates(void *arg, const struct flow_key *key,
			     enum resolve_match match,
			     struct balance_node nodes[BALANCE_NODES_MAX])
{
	const struct dispatch *dispatch = arg;
	unsigned num = 0;

	for (unsigned slot = 0; slot < DISPATCH_MEMBERS_MAX; slot++) {
		const struct member *member = dispatch->members[slot];

		if (!member || !member->is_up || member->is_suspect ||
		    member->is_paused || member->state.generation == 0 ||
		    member->state.is_drained || member->state.weight == 0 ||
		    !takes(member, key, match))
			continue;
		nodes[num++] = (struct balance_node){
			.id = member->id,
			.weight = member->state.weight,
			.load = member->state.connections + member->placed,
		};
	}
	return num;
}
