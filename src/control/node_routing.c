/*
 * What this node leads to from the outside, as a border: when its routes are there, and
 * who is told. See border.h.
 *
 * Looked at again at each change that says so: of a NIC or a TAP, a pause, a drain, the
 * config; and now and then, as routes that others remove are no news. Control thread.
 */
#include "control/node_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/border.h"

#include <errno.h>

static enum border_bar find_bar(const struct node *node, unsigned network)
{
	const struct adapter *adapter = &node->adapters[network];

	if (adapter->paused_ns)
		return BORDER_BAR_PAUSED;
	if (node_is_drained(node, network))
		return BORDER_BAR_DRAINED;
	if (adapter->gone || !adapter->has_carrier)
		return BORDER_BAR_PORT;
	return BORDER_BAR_NONE;
}

static void tell(struct node *node)
{
	struct events_change change = {
		.level = LOG_LEVEL_INFO,
		.kind = EVENTS_NODE,
		.subject = node->config->name,
		.old = peer_border_state(&node->bordering),
	};
	char text[PEER_BORDER_TEXT_MAX];
	struct peer_border border;

	border_describe(node->border, &border);
	if (peer_border_is_same(&border, &node->bordering))
		return;
	change.state = peer_border_state(&border);
	node->bordering = border;
	peer_border_text(&border, text);
	events_tell(&node->events, clock_now_ns(), &change, "%s", text);
	membership_set_border(node->membership, &border);
}

void node_check_routing(struct node *node)
{
	if (!node->border)
		return;
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (config_has_network(node->config, i))
			border_set(node->border, i, find_bar(node, i));
	}
	tell(node);
}

void node_want_routing(struct node *node)
{
	if (node->routing)
		event_active(node->routing, EV_TIMEOUT, 0);
}

static void on_wanted(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	node_check_routing(arg);
}

void node_routing_link_changed(struct node *node, const struct kernel_link *link)
{
	if (node->border &&
	    (border_take_link(node->border, link) || node_find_tap(node, link->name)))
		node_check_routing(node);
}

void node_withdraw_routing(struct node *node, unsigned network)
{
	if (!node->border)
		return;
	border_set(node->border, network, BORDER_BAR_PAUSED);
	tell(node);
}

void node_renew_routing(struct node *node)
{
	border_look(node->border);
	node_check_routing(node);
}

int node_open_routing(struct node *node)
{
	int ret = border_new(node->kernel, node->config, &node->border);

	if (ret < 0)
		return ret;
	node->routing = event_new(node->base, -1, 0, on_wanted, node);
	if (!node->routing)
		return -ENOMEM;
	node_check_routing(node);
	return 0;
}

void node_close_routing(struct node *node, enum adapter_end end)
{
	for (unsigned i = 0; node->border && i < node->num_adapters; i++) {
		if (end != ADAPTER_LEAVE && config_has_network(node->config, i))
			border_set(node->border, i, BORDER_BAR_PORT);
	}
	border_free(node->border);
	node->border = NULL;
	if (node->routing)
		event_free(node->routing);
	node->routing = NULL;
}
