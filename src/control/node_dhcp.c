/* The DHCP clients of the node's networks: found, opened, told, ended. See dhcp.h. */
#include "base/clock.h"
#include "base/log.h"
#include "control/node_internal.h"

#include <string.h>

/* For all clients together, when the node ends: to release their addresses. */
#define RELEASE_NS (2 * NSEC_PER_SEC)

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
			.directory = node->config->runtime_dir,
			.node = node->config->name,
		};

		if (network->dhcp)
			ret = dhcp_new(&options, &node->dhcps[i]);
	}
	return ret;
}

void node_close_dhcp(struct node *node)
{
	uint64_t deadline_ns = clock_now_ns() + RELEASE_NS;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (node->dhcps[i])
			dhcp_stop(node->dhcps[i]);
	}
	for (unsigned i = 0; i < node->num_adapters; i++)
		dhcp_free(node->dhcps[i], deadline_ns);
}

void node_clean_dhcp(const struct node_config *config)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		if (config->networks[i].dhcp)
			dhcp_remove_state(config->runtime_dir, config->name,
					  config->networks[i].tap);
	}
}
