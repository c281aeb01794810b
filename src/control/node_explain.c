/*
 * Explanations that clients wait for: which member gets a packet, and why. See
 * dispatch_explain().
 *
 * One belongs to a client of the control socket and is gone with it, so there are never
 * more than clients. Control thread.
 */
#include "control/node_internal.h"

#include "control/dispatch.h"
#include "control/flow_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

_Static_assert(REPORT_STEPS_MAX >= RESOLVE_STEPS_MAX, "all steps can be told");
_Static_assert(NODE_EXPLAINS_MAX <= DISPATCH_EXPLAINS_MAX, "one per client");

/* ---- which network ---- */

static bool has_address(const struct config_network *network,
			const uint8_t address[FLOW_ADDRESS_LEN])
{
	uint8_t addresses[CONFIG_ADDRESSES_MAX][FLOW_ADDRESS_LEN];

	node_map_addresses(network, addresses);
	for (unsigned i = 0; i < network->num_addresses; i++) {
		if (memcmp(addresses[i], address, FLOW_ADDRESS_LEN) == 0)
			return true;
	}
	return false;
}

/* The words for an address that is no global one; with all that are. */
static int refuse_address(const struct node *node,
			  const uint8_t address[FLOW_ADDRESS_LEN],
			  struct report_refusal *refusal)
{
	char known[256] = "", text[CONFIG_ADDRESS_TEXT_MAX], end[FLOW_END_MAX];
	size_t used = 0;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		const struct config_network *network = &node->config->networks[i];

		if (network->kind != NETWORK_KIND_GLOBAL)
			continue;
		for (unsigned j = 0; j < network->num_addresses; j++) {
			config_address_text(&network->addresses[j], text);
			if (used + strlen(text) + 2 < sizeof(known))
				used += (size_t)snprintf(
					known + used, sizeof(known) - used, " %s", text);
		}
	}
	if (!used)
		return node_refuse(refusal, "no-global-network",
				   "this node has no network of kind global");
	return node_refuse(refusal, "not-global",
			   "%s is no global address of this node; there are:%s",
			   flow_end_text(address, 0, false, end), known);
}

static int find_network(const struct node *node, const uint8_t address[FLOW_ADDRESS_LEN],
			struct report_refusal *refusal)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (node_find_dispatch(node, i) &&
		    has_address(&node->config->networks[i], address))
			return (int)i;
	}
	return refuse_address(node, address, refusal);
}

/* ---- the answer ---- */

struct find_fabric {
	unsigned network;
	uint16_t peer_id;
	const char *fabric;
};

static void match_link(const struct member_link_report *link, void *arg)
{
	struct find_fabric *find = arg;

	if (link->network == find->network && link->peer_id == find->peer_id)
		find->fabric = link->fabric;
}

static void fill_verdict(const struct node_explain *explain,
			 const struct dispatch_explanation *explanation,
			 struct report_explain *report)
{
	struct find_fabric find = {explain->network, explanation->verdict.owner, ""};
	const struct node *node = explain->node;

	if (explanation->verdict.owner == 0) {
		report->verdict = REPORT_VERDICT_DROP;
		report->reason = explanation->verdict.reason;
		return;
	}
	REPORT_SET(report->owner, explanation->node);
	if (explanation->verdict.owner == node->config->id) {
		report->verdict = REPORT_VERDICT_LOCAL;
		return;
	}
	report->verdict = REPORT_VERDICT_FORWARD;
	membership_each_link(node->membership, match_link, &find);
	REPORT_SET(report->fabric, find.fabric);
}

static void on_explained(void *arg, const struct dispatch_explanation *explanation)
{
	struct node_explain *explain = arg;
	const struct node *node = explain->node;
	struct client *client = explain->client;
	struct report_explain report = {.num_steps = explanation->num_steps};

	REPORT_SET(report.node, node->config->name);
	REPORT_SET(report.network, node->config->networks[explain->network].name);
	REPORT_SET(report.flow, explain->flow);
	for (unsigned i = 0; i < explanation->num_steps; i++) {
		REPORT_SET(report.steps[i].step, explanation->steps[i].name);
		REPORT_SET(report.steps[i].result, explanation->steps[i].words);
	}
	fill_verdict(explain, explanation, &report);
	memset(explain, 0, sizeof(*explain));
	ctlsock_answer_explain(client, &report);
}

/* ---- life ---- */

static struct node_explain *find_slot(struct node *node, const struct client *client)
{
	for (unsigned i = 0; i < NODE_EXPLAINS_MAX; i++) {
		if (node->explains[i].client == client)
			return &node->explains[i];
	}
	return NULL;
}

static int start(struct node *node, unsigned network, const struct flow_packet *packet,
		 struct client *client)
{
	struct node_explain *explain = find_slot(node, NULL);
	struct dispatch_explain *running;
	int ret;

	if (!explain)
		return -EAGAIN; /* never, as long as a client asks one thing at a time */
	explain->node = node;
	explain->network = network;
	explain->client = client;
	flow_key_text(&packet->key, explain->flow);
	ret = dispatch_explain(node_find_dispatch(node, network), packet, on_explained,
			       explain, &running);
	if (ret < 0)
		memset(explain, 0, sizeof(*explain));
	else if (running) /* else it is explained, and the slot free */
		explain->running = running;
	return ret;
}

int node_explain(void *arg, const struct ctl_explain_request *request,
		 struct client *client, struct report_refusal *ret_refusal)
{
	const struct flow_text text = {
		.protocol = request->protocol,
		.source = request->source,
		.destination = request->destination,
		.established = request->established,
	};
	struct flow_packet packet;
	struct node *node = arg;
	struct flow_why why;
	int network, ret;

	if (flow_text_parse(&text, &packet, &why) < 0)
		return node_refuse(ret_refusal, "bad-flow", "%s", why.text);
	network = find_network(node, packet.key.local, ret_refusal);
	if (network < 0)
		return network;
	ret = start(node, (unsigned)network, &packet, client);
	if (ret == -EAGAIN)
		return node_refuse(ret_refusal, "busy",
				   "too many explanations at once; try again");
	return ret;
}

void node_explain_cancel(struct node *node, const struct client *client)
{
	struct node_explain *explain = find_slot(node, client);

	if (!explain)
		return;
	dispatch_explain_cancel(node_find_dispatch(node, explain->network),
				explain->running);
	memset(explain, 0, sizeof(*explain));
}

void node_end_explains(struct node *node)
{
	for (unsigned i = 0; i < NODE_EXPLAINS_MAX; i++) {
		if (node->explains[i].client)
			node_explain_cancel(node, node->explains[i].client);
	}
}
