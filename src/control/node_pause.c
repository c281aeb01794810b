/*
 * Networks that are paused: the order in which all parts hear of it [24]. Control thread.
 *
 * At first a border withdraws the addresses, new connections go elsewhere and the peers
 * stop sending, then frames are dropped here, and the host sees it by the carrier at
 * last; the way back is the reverse one. Rings, sessions and the kernel's other tables
 * stay as they are.
 */
#include "control/node_internal.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

static void pause_network(struct node *node, unsigned network)
{
	node_withdraw_routing(node, network);
	node_dispatch_pause(node, network, node->config->id, true);
	membership_pause(node->membership, network, true);
	plane_pause_port(node->plane, node->ports[network], true);
	adapter_pause(&node->adapters[network]);
}

static void resume_network(struct node *node, unsigned network)
{
	adapter_resume(&node->adapters[network]);
	if (node->globals[network] || membership_links_up(node->membership, network))
		node_give_carrier(node, network);
	plane_pause_port(node->plane, node->ports[network], false);
	membership_pause(node->membership, network, false);
	node_dispatch_pause(node, network, node->config->id, false);
	node_check_routing(node);
}

static uint64_t paused_ms(const struct node *node, unsigned network)
{
	const struct adapter *adapter = &node->adapters[network];

	return adapter->paused_ns ? (clock_now_ns() - adapter->paused_ns) / NSEC_PER_MSEC
				  : 0;
}

static void set_pause(struct node *node, unsigned network, bool is_paused,
		      struct report_paused *report)
{
	const struct adapter *adapter = &node->adapters[network];

	REPORT_SET(report->network, adapter->network->name);
	report->is_paused = is_paused;
	report->has_changed = (adapter->paused_ns != 0) != is_paused;
	report->paused_ms = paused_ms(node, network);
	if (!report->has_changed)
		return;
	if (is_paused)
		pause_network(node, network);
	else
		resume_network(node, network);
}

static int refuse_name(const struct node *node, const char *name,
		       struct report_refusal *refusal)
{
	char known[256] = "";
	size_t used = 0;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		const char *network = node->config->networks[i].name;

		if (config_has_network(node->config, i) &&
		    used + strlen(network) + 2 < sizeof(known))
			used += (size_t)snprintf(known + used, sizeof(known) - used,
						 " %s", network);
	}
	return node_refuse(refusal, "unknown-name", "no network '%s' here; there are:%s",
			   name, known);
}

int node_pause(void *arg, const struct ctl_pause_request *request,
	       struct report_pause *report, struct report_refusal *ret_refusal)
{
	struct node *node = arg;

	REPORT_SET(report->node, node->config->name);
	report->is_resume = request->is_resume;
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (config_has_network(node->config, i) &&
		    (!*request->network ||
		     strcmp(node->config->networks[i].name, request->network) == 0))
			set_pause(node, i, !request->is_resume,
				  &report->networks[report->num_networks++]);
	}
	return report->num_networks ? 0
				    : refuse_name(node, request->network, ret_refusal);
}

void node_fill_pause(const struct node *node, unsigned network,
		     struct report_network *report)
{
	const struct adapter *adapter = &node->adapters[network];

	if (!adapter->paused_ns)
		return;
	report->is_paused = true;
	report->paused_ms = paused_ms(node, network);
	if (!adapter->gone)
		report->state = REPORT_STATE_PAUSED;
}

void node_fill_pauses(const struct node *node, struct report_node *report)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (!node->adapters[i].paused_ns)
			continue;
		REPORT_SET(report->paused[report->num_paused],
			   node->config->networks[i].name);
		report->num_paused++;
	}
}
