/*
 * What the node says of its global networks, and is told to do there: flows, listeners,
 * members, which of them are drained, and what is wrong with them. Who gets a packet is
 * node_explain.c's. Control thread.
 */
#include "control/node_internal.h"

#include "control/dispatch.h"
#include "control/flow_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which networks ---- */

int node_refuse(struct report_refusal *refusal, const char *code, const char *format, ...)
{
	va_list args;

	REPORT_SET(refusal->code, code);
	va_start(args, format);
	vsnprintf(refusal->message, sizeof(refusal->message), format, args);
	va_end(args);
	return -ENOENT;
}

/* The dispatcher of a network that `name` chooses, "" any; NULL if it is not chosen. */
static struct dispatch *choose(const struct node *node, unsigned network,
			       const char *name)
{
	if (*name && strcmp(node->config->networks[network].name, name) != 0)
		return NULL;
	return node_find_dispatch(node, network);
}

/* The words for a name that chose nothing. */
static int refuse_network(const struct node *node, const char *name,
			  struct report_refusal *refusal)
{
	char known[256] = "";
	size_t used = 0;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		const struct config_network *network = &node->config->networks[i];

		if (network->kind == NETWORK_KIND_GLOBAL &&
		    used + strlen(network->name) + 2 < sizeof(known))
			used += (size_t)snprintf(known + used, sizeof(known) - used,
						 " %s", network->name);
	}
	if (!*known)
		return node_refuse(refusal, "no-global-network",
				   "this node has no network of kind global");
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (strcmp(node->config->networks[i].name, name) == 0)
			return node_refuse(refusal, "not-global",
					   "network %s is local; global ones are:%s",
					   name, known);
	}
	return node_refuse(refusal, "unknown-name",
			   "no network '%s' here; global ones are:%s", name, known);
}

/* Does the name choose anything? */
static int check_network(const struct node *node, const char *name,
			 struct report_refusal *refusal)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (choose(node, i, name))
			return 0;
	}
	return refuse_network(node, name, refusal);
}

/* ---- flows ---- */

struct flow_list {
	struct report_flows *report;
	unsigned room;
	const char *network;
};

static bool add_flow(void *arg, const struct dispatch_flow *flow)
{
	struct flow_list *list = arg;
	struct report_flows *report = list->report;
	const bool has_ports = flow_has_ports(flow->key.protocol);
	char protocol[FLOW_PROTOCOL_MAX];
	struct report_flow *to;

	if (report->num_flows == list->room)
		return false;
	to = &report->flows[report->num_flows++];
	REPORT_SET(to->network, list->network);
	REPORT_SET(to->protocol, flow_protocol_text(flow->key.protocol, protocol));
	flow_end_text(flow->key.foreign, flow->key.foreign_port, has_ports, to->foreign);
	flow_end_text(flow->key.local, flow->key.local_port, has_ports, to->local);
	REPORT_SET(to->owner, flow->node);
	if (!*flow->node)
		snprintf(to->owner, sizeof(to->owner), "node %u", flow->owner);
	REPORT_SET(to->via, flow->via);
	to->age_ms = flow->age_ms;
	return true;
}

/* Their sum. */
static uint64_t fill_tables(const struct node *node, const char *name,
			    struct report_flows *report)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		const struct dispatch *dispatch = choose(node, i, name);
		struct report_flow_table *table = &report->tables[report->num_tables];

		if (!dispatch)
			continue;
		report->num_tables++;
		REPORT_SET(table->network, node->config->networks[i].name);
		dispatch_read_table(dispatch, &table->flows, &table->room);
		sum += table->flows;
	}
	return sum;
}

int node_flows(void *arg, const struct ctl_flows_request *request,
	       struct report_flows *report, struct report_refusal *ret_refusal)
{
	const struct node *node = arg;
	struct flow_list list = {.report = report};
	uint64_t sum;
	int ret = check_network(node, request->network, ret_refusal);

	if (ret < 0)
		return ret;
	REPORT_SET(report->node, node->config->name);
	report->tables = report_list_new(node->num_adapters, sizeof(*report->tables));
	if (!report->tables)
		return -ENOMEM;
	sum = fill_tables(node, request->network, report);
	list.room = sum < request->limit ? (unsigned)sum : request->limit;
	report->flows = report_list_new(list.room, sizeof(*report->flows));
	if (!report->flows)
		return -ENOMEM;
	for (unsigned i = 0; i < node->num_adapters; i++) {
		const struct dispatch *dispatch = choose(node, i, request->network);

		list.network = node->config->networks[i].name;
		if (dispatch)
			dispatch_each_flow(dispatch, add_flow, &list);
	}
	return 0;
}

/* ---- listeners ---- */

struct listener_list {
	struct report_listeners *report;
	unsigned room;
	const char *network;
	int error;
};

static bool is_any(const uint8_t address[FLOW_ADDRESS_LEN])
{
	static const uint8_t any[FLOW_ADDRESS_LEN];

	return memcmp(address, any, FLOW_ADDRESS_LEN) == 0;
}

static void local_text(const struct listener *listener, char text[FLOW_END_MAX])
{
	const char *any = listener->families == LISTENER_IPV4	? "0.0.0.0"
			  : listener->families == LISTENER_IPV6 ? "[::]"
								: "*";

	if (is_any(listener->local))
		snprintf(text, FLOW_END_MAX, "%s:%u", any, listener->local_port);
	else
		flow_end_text(listener->local, listener->local_port, true, text);
}

/* Names, and structs that begin with one. */
static int compare_names(const void *left, const void *right)
{
	return strcmp(left, right);
}

static bool fill_nodes(const struct dispatch_service *service,
		       struct report_listener *report)
{
	report->nodes = report_list_new(service->num_nodes, sizeof(*report->nodes));
	if (!report->nodes)
		return false;
	report->num_nodes = service->num_nodes;
	for (unsigned i = 0; i < service->num_nodes; i++)
		REPORT_SET(report->nodes[i], service->nodes[i]);
	qsort(report->nodes, report->num_nodes, sizeof(*report->nodes), compare_names);
	return true;
}

static bool add_listener(void *arg, const struct dispatch_service *service)
{
	const struct listener *listener = &service->listener;
	struct listener_list *list = arg;
	struct report_listeners *report = list->report;
	char protocol[FLOW_PROTOCOL_MAX];
	struct report_listener *to;

	if (report->num_listeners == list->room)
		return false;
	to = &report->listeners[report->num_listeners++];
	REPORT_SET(to->network, list->network);
	REPORT_SET(to->protocol, flow_protocol_text(listener->protocol, protocol));
	local_text(listener, to->local);
	if (!is_any(listener->foreign))
		flow_end_text(listener->foreign, listener->foreign_port, true,
			      to->foreign);
	if (fill_nodes(service, to))
		return true;
	list->error = -ENOMEM;
	return false;
}

static bool count_listener(void *arg, const struct dispatch_service *service)
{
	(void)service;
	++*(unsigned *)arg;
	return true;
}

int node_listeners(void *arg, const struct ctl_listeners_request *request,
		   struct report_listeners *report, struct report_refusal *ret_refusal)
{
	const struct node *node = arg;
	struct listener_list list = {.report = report};
	int ret = check_network(node, request->network, ret_refusal);

	if (ret < 0)
		return ret;
	REPORT_SET(report->node, node->config->name);
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (choose(node, i, request->network))
			dispatch_each_listener(node_find_dispatch(node, i),
					       count_listener, &list.room);
	}
	report->listeners = report_list_new(list.room, sizeof(*report->listeners));
	if (!report->listeners)
		return -ENOMEM;
	for (unsigned i = 0; i < node->num_adapters; i++) {
		list.network = node->config->networks[i].name;
		if (choose(node, i, request->network))
			dispatch_each_listener(node_find_dispatch(node, i), add_listener,
					       &list);
	}
	return list.error;
}

/* ---- drain ---- */

struct count_connections {
	const char *name;
	uint64_t connections;
};

static bool match_connections(void *arg, const struct dispatch_member *member)
{
	struct count_connections *count = arg;

	if (strcmp(member->name, count->name) != 0)
		return true;
	count->connections = member->connections;
	return false;
}

static void add_drained(const struct node *node, unsigned network, const char *member,
			bool drained, struct report_drain *report)
{
	struct report_drained *to = &report->networks[report->num_networks++];
	struct count_connections count = {.name = member};

	dispatch_each_member(node_find_dispatch(node, network), match_connections,
			     &count);
	REPORT_SET(to->network, node->config->networks[network].name);
	REPORT_SET(to->member, member);
	to->drained = drained;
	to->connections = count.connections;
}

/* A node that is no member of one of several networks is drained on the others. */
int node_drain(void *arg, const struct ctl_drain_request *request,
	       struct report_drain *report, struct report_refusal *ret_refusal)
{
	const struct node *node = arg;
	const char *member = *request->node ? request->node : node->config->name;
	char words[DISPATCH_WORDS_MAX] = "";
	int error = 0, ret = check_network(node, request->network, ret_refusal);

	if (ret < 0)
		return ret;
	REPORT_SET(report->node, node->config->name);
	for (unsigned i = 0; i < node->num_adapters; i++) {
		struct dispatch *dispatch = choose(node, i, request->network);

		if (!dispatch)
			continue;
		ret = dispatch_drain(dispatch, member, !request->undo, words);
		if (ret == 0)
			add_drained(node, i, member, !request->undo, report);
		else
			error = ret;
	}
	if (report->num_networks)
		return 0;
	return node_refuse(ret_refusal, error == -ENOENT ? "unknown-name" : "node-down",
			   "%s", words);
}

/* ---- members ---- */

struct member_list {
	struct report_member *members;
	unsigned count;
	unsigned room;
};

static bool add_member(void *arg, const struct dispatch_member *member)
{
	struct member_list *list = arg;
	struct report_member *to;

	if (list->count == list->room)
		return false;
	to = &list->members[list->count++];
	REPORT_SET(to->name, member->name);
	to->state = member->is_suspect ? REPORT_STATE_SUSPECT : REPORT_STATE_UP;
	to->is_known = member->is_known;
	to->is_paused = member->is_paused;
	to->drained = member->is_drained;
	to->announces = member->is_announcing;
	to->weight = member->weight;
	to->connections = member->connections;
	return true;
}

/* One that the config names; it is down if the dispatcher has not got it. */
static void add_named(struct member_list *list, const char *name)
{
	for (unsigned i = 0; i < list->count; i++) {
		if (strcmp(list->members[i].name, name) == 0)
			return;
	}
	if (list->count == list->room)
		return;
	REPORT_SET(list->members[list->count].name, name);
	list->count++;
}

void node_fill_members(const struct node *node, unsigned network,
		       struct report_network *report)
{
	const struct config_network *config = &node->config->networks[network];
	const struct dispatch *dispatch = node_find_dispatch(node, network);
	struct member_list list = {.room = DISPATCH_MEMBERS_MAX + CONFIG_MEMBERS_MAX};

	if (!dispatch)
		return;
	list.members = report_list_new(list.room, sizeof(*list.members));
	if (!list.members)
		return; /* a report without them is better than none */
	dispatch_each_member(dispatch, add_member, &list);
	for (unsigned i = 0; i < config->num_members; i++)
		add_named(&list, config->members[i]);
	qsort(list.members, list.count, sizeof(*list.members), compare_names);
	report->members = list.members;
	report->num_members = list.count;
}

/* ---- members that are missing ---- */

/* One that the config of a network names. */
struct missing {
	unsigned network;
	const char *name;
	bool was_seen;
	bool is_up;
	bool has_network;
};

static void match_peer(const struct member_report *peer, void *arg)
{
	struct missing *missing = arg;

	if (strcmp(peer->name, missing->name) != 0)
		return;
	missing->was_seen = true;
	missing->is_up |= peer->state != MEMBER_DOWN;
}

static void match_link(const struct member_link_report *link, void *arg)
{
	struct missing *missing = arg;

	missing->has_network |= link->network == missing->network &&
				strcmp(link->peer_name, missing->name) == 0;
}

/* "" if it is there, or if the membership says why it is not. */
static const char *why_missing(const struct node *node, struct missing *missing)
{
	if (strcmp(missing->name, node->config->name) == 0)
		return "";
	membership_each_peer(node->membership, match_peer, missing);
	if (!missing->was_seen)
		return "was never seen by this node; is it running?";
	if (!missing->is_up)
		return "is down";
	membership_each_link(node->membership, match_link, missing);
	return missing->has_network ? "" : "does not have this network in its config";
}

void node_each_missing_member(const struct node *node,
			      void (*each)(const char *words, void *arg), void *arg)
{
	char words[REPORT_REASON_MAX];

	for (unsigned i = 0; i < node->num_adapters; i++) {
		const struct config_network *network = &node->config->networks[i];

		for (unsigned j = 0; j < network->num_members; j++) {
			struct missing missing = {i, network->members[j], false, false,
						  false};
			const char *why = why_missing(node, &missing);

			if (!*why)
				continue;
			snprintf(words, sizeof(words), "network %s: its member %s %s",
				 network->name, missing.name, why);
			each(words, arg);
		}
	}
}

/* ---- counters ---- */

static void fill_decisions(const struct dispatch_totals *totals,
			   struct report_decisions *report)
{
	*report = (struct report_decisions){
		.misses = totals->misses,
		.by_table = totals->by_table,
		.by_kernel = totals->by_kernel,
		.by_answer = totals->by_answer,
		.by_wildcard = totals->by_wildcard,
		.by_listener = totals->by_listener,
		.by_flood = totals->by_flood,
		.by_pair = totals->by_pair,
		.reset = totals->reset,
		.no_listener = totals->no_listener,
		.no_owner = totals->no_owner,
		.joined = totals->joined,
		.hashed = totals->hashed,
		.asked = totals->asked,
		.asked_again = totals->asked_again,
		.silent = totals->silent,
		.busy = totals->busy,
		.queries = totals->queries,
		.pins_sent = totals->pins_sent,
		.pins_received = totals->pins_got,
		.pins_refused = totals->pins_refused,
		.bad_messages = totals->bad_messages,
		.odd_messages = totals->odd_messages,
		.not_sent = totals->not_sent,
		.not_answered = totals->not_answered,
		.full = totals->full,
		.late = totals->late,
	};
}

void node_fill_dispatch_stats(const struct node *node, unsigned network,
			      const struct dispatch_counters *counters,
			      struct report_network_stats *report)
{
	const struct dispatch *dispatch = node_find_dispatch(node, network);
	struct dispatch_totals totals;

	report->dispatch = (struct report_dispatch_stats){
		.packets = counters->packets,
		.local = counters->local,
		.forwarded = counters->forwarded,
		.copied = counters->copied,
		.dropped = counters->dropped,
		.parked = counters->parked,
		.hits = counters->hits,
		.waited = counters->waited,
		.asked = counters->asked,
		.answers = counters->answers,
		.cached = counters->cached,
		.evicted = counters->evicted,
	};
	if (!dispatch)
		return;
	dispatch_read_counters(dispatch, &totals);
	fill_decisions(&totals, &report->decisions);
}
