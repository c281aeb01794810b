/* The DHCP clients of the node's networks: found, opened, told, ended. See dhcp.h. */
#include "base/log.h"
#include "control/node_internal.h"

#include <string.h>

/* For all clients together, when the node ends: to release their addresses. */
static const struct timeval release_patience = {.tv_sec = 2};

static const struct config_network *first_with_dhcp(const struct node_config *config)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (config->networks[i].dhcp)
			return &config->networks[i];
	}
	return NULL;
}

int node_find_dhcp(struct node *node)
{
	const struct config_network *network = first_with_dhcp(node->config);
	char error[256];
	int ret = 0;

	if (network)
		ret = dhcp_find_program(node->config, &node->dhcp_program, error,
					sizeof(error));
	if (ret < 0)
		log_err(network->name, "its address is to come by DHCP: %s", error);
	return ret;
}

int node_open_dhcp(struct node *node)
{
	int ret = 0;

	for (unsigned i = 0; i < node->num_adapters && ret == 0; i++) {
		const struct config_network *network = node->adapters[i].network;
		const struct dhcp_options options = {
			.base = node->base,
			.program = &node->dhcp_program,
			.network = network->name,
			.interface = network->tap,
			.netns = node->netns,
			.directory = node->config->runtime_dir,
			.node = node->config->name,
		};

		if (network->dhcp)
			ret = dhcp_new(&options, &node->dhcps[i]);
	}
	return ret;
}

static bool dhcp_is_left(const struct node *node)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (node->dhcps[i] && dhcp_is_running(node->dhcps[i]))
			return true;
	}
	return false;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	bool *is_over = arg;

	(void)fd;
	(void)what;
	*is_over = true;
}

/* The loop goes on meanwhile: a node that falls silent is given up by its peers. */
static void wait_for_release(struct node *node)
{
	bool is_over = false;
	struct event *deadline;

	if (!dhcp_is_left(node))
		return;
	deadline = evtimer_new(node->base, on_deadline, &is_over);
	if (!deadline)
		return;
	event_add(deadline, &release_patience);
	while (!is_over && dhcp_is_left(node))
		event_base_loop(node->base, EVLOOP_ONCE);
	event_free(deadline);
}

void node_close_dhcp(struct node *node, enum adapter_end end)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (!node->dhcps[i])
			continue;
		if (end == ADAPTER_LEAVE)
			dhcp_leave(node->dhcps[i]);
		else
			dhcp_stop(node->dhcps[i]);
	}
	if (end != ADAPTER_LEAVE)
		wait_for_release(node);
	for (unsigned i = 0; i < node->num_adapters; i++)
		dhcp_free(node->dhcps[i]);
}

void node_clean_dhcp(const struct node_config *config)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (config->networks[i].dhcp)
			dhcp_remove_state(config->runtime_dir, config->name,
					  config->networks[i].tap);
	}
}
