/*
 * Networks that come and go while the node runs, for node_reload.c. What a network is
 * made of is found by its place in the config, in every part of the node, so a place is
 * given away again only when all of them have let go of it.
 *
 * The order is that of the start and the end: TAP and port are there before the peers
 * hear of the network, and links and cast rings are gone before the port is. Peers learn
 * of it by NETWORKS. Another network is not touched: the worker gets a view with one port
 * more or less, and what the pairs have besides stays as it is.
 */
#include "control/node_internal.h"

#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which ---- */

/*
 * A ring between machines can't be given back while the other end may write to it. A
 * global network is woven into the host's packet filter and its rules, and a DHCP client
 * takes its time to release an address.
 */
bool node_can_change_network(const struct node *node,
			     const struct config_network *network)
{
	return network->kind == NETWORK_KIND_LOCAL && !network->dhcp &&
	       !config_find_fabric(node->config, FABRIC_KIND_RDMA);
}

/* ---- one that comes ---- */

static void close_adapter(struct node *node, unsigned index)
{
	adapter_close(&node->adapters[index], ADAPTER_REMOVE);
	if (node->holds[index])
		event_free(node->holds[index]);
	node->holds[index] = NULL;
	node->adapters[index].gone = false;
	node->adapters[index].paused_ns = 0;
	node->ports[index] = UINT_MAX;
}

static int open_adapter(struct node *node, unsigned index)
{
	struct adapter *adapter = &node->adapters[index];
	int ret = adapter_claim(adapter, node->kernel, node->mark, node->config,
				&node->config->networks[index], NULL);

	if (ret == 0)
		ret = adapter_open(adapter, node->kernel, node->mark);
	if (ret < 0)
		return ret;
	adapter->events = &node->events;
	ret = node_open_carrier(node, index);
	if (ret == 0)
		ret = node_open_port(node, index);
	if (ret < 0)
		close_adapter(node, index);
	return ret;
}

static int open_network(struct node *node, unsigned index)
{
	int ret = node_check_memory(node);

	if (ret == 0)
		ret = open_adapter(node, index);
	if (ret < 0)
		return ret;
	if (node->num_adapters < node->config->num_networks)
		node->num_adapters = node->config->num_networks;
	world_event_set_networks(node->world, node->config->num_networks);
	membership_set_offloads(node->membership, index,
				node->adapters[index].tap.offloads);
	membership_add_network(node->membership, index);
	node_check_global(node, NULL);
	return 0;
}

int node_add_network(struct node *node, struct config_network *fresh)
{
	unsigned index;
	int ret = config_take_network(node->config, fresh, &index);

	if (ret < 0)
		return ret;
	node->ports[index] = UINT_MAX;
	ret = open_network(node, index);
	if (ret < 0)
		config_leave_network(node->config, index);
	return ret;
}

/* ---- one that goes ---- */

static void forget_history(struct node *node, unsigned index)
{
	struct node_history **at = &node->history, *history;

	while ((history = *at)) {
		if (history->network != index) {
			at = &history->next;
			continue;
		}
		*at = history->next;
		free(history);
	}
}

void node_remove_network(struct node *node, unsigned index)
{
	membership_remove_network(node->membership, index);
	plane_remove_port(node->plane, node->ports[index]);
	close_adapter(node, index);
	forget_history(node, index);
	config_leave_network(node->config, index);
}
