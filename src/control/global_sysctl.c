/* The settings of the kernel that a global network needs. See sysctl.h. */
#include "control/global_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTING_PORTS "net/ipv4/ip_local_port_range"

/* Nodes that do not name the members divide the ports by this. */
#define SLOTS_DEFAULT 8

/* Of the port; they go with it. */
static const struct {
	int family;
	const char *name, *value;
} port_settings[] = {
	/* Packets come by the port whatever way leads back to their sender. */
	{AF_INET, "net/ipv4/conf/%s/rp_filter", "0"},
	/* A program of this host may be the sender. */
	{AF_INET, "net/ipv4/conf/%s/accept_local", "1"},
	/* Otherwise 'ip link set down' takes the addresses. */
	{AF_INET6, "net/ipv6/conf/%s/keep_addr_on_down", "1"},
};

static int set(struct global *global, bool is_own, const char *format,
	       const char *interface, const char *value)
{
	char name[SYSCTL_NAME_MAX];
	int error;

	snprintf(name, sizeof(name), format, interface);
	error = is_own ? sysctls_set_own(global->sysctls, name, value)
		       : sysctls_set(global->sysctls, name, value);
	if (error)
		global_fail(global, error, "%s", sysctls_last_error(global->sysctls));
	return error;
}

/* The stricter one of "all" and the interface counts. */
int global_check_settings(struct global *global)
{
	char value[SYSCTL_VALUE_MAX];
	int error;

	if (!global_has(global->network, AF_INET))
		return 0;
	error = sysctls_get(global->sysctls, "net/ipv4/conf/all/rp_filter", value);
	if (error)
		return global_fail(global, error, "%s",
				   sysctls_last_error(global->sysctls));
	if (strcmp(value, "1") == 0)
		return global_fail(global, -EINVAL,
				   "net.ipv4.conf.all.rp_filter is 1: packets that come "
				   "by the port, whose senders are elsewhere, would be "
				   "dropped; set it to 0 or 2 ('sysctl -w "
				   "net.ipv4.conf.all.rp_filter=2') and each interface "
				   "by itself to 1 if you want that");
	return 0;
}

/*
 * Answers of other members come by a local network, to be forwarded to a client: their
 * sender is our address, and the way to the client another one than they came by.
 */
static int set_local(struct global *global, const struct config_network *local)
{
	char name[SYSCTL_NAME_MAX], value[SYSCTL_VALUE_MAX];
	int error = set(global, true, "net/ipv4/conf/%s/accept_local", local->tap, "1");

	if (error)
		return error;
	snprintf(name, sizeof(name), "net/ipv4/conf/%s/rp_filter", local->tap);
	if (sysctls_get(global->sysctls, name, value) < 0 || strcmp(value, "1") != 0)
		return 0;
	return set(global, true, "net/ipv4/conf/%s/rp_filter", local->tap, "0");
}

/*
 * A request of ARP for a client, that names a global address as the sender's, would lead
 * that client's packets to us.
 */
int global_set_announce(struct global *global)
{
	const char *nic = config_announce_nic(global->network);
	struct kernel_link link;

	if (!nic || !global_has(global->network, AF_INET))
		return 0;
	if (kernel_get_link(global->kernel, nic, &link) == -ENODEV)
		return global_fail(global, -ENODEV,
				   "there is no interface %s, which 'announce' names: "
				   "nobody is told there where the addresses are",
				   nic);
	return set(global, false, "net/ipv4/conf/%s/arp_announce", nic, "2");
}

int global_set_settings(struct global *global)
{
	const struct node_config *config = global->config;
	int error = 0;

	for (size_t i = 0; i < sizeof(port_settings) / sizeof(port_settings[0]); i++) {
		if (error == 0 && global_has(global->network, port_settings[i].family))
			error = set(global, true, port_settings[i].name,
				    global->network->tap, port_settings[i].value);
	}
	for (unsigned i = 0; i < config->num_networks && error == 0; i++) {
		if (config_has_network(config, i) &&
		    config->networks[i].kind == NETWORK_KIND_LOCAL &&
		    global_has(global->network, AF_INET))
			error = set_local(global, &config->networks[i]);
	}
	return error;
}

/* --- ports --- */

int global_slice(unsigned first, unsigned last, unsigned slots, unsigned slot,
		 unsigned *ret_first, unsigned *ret_last)
{
	/* Even: the kernel wants the ends of a range to differ in that. */
	unsigned size = last < first ? 0 : (last - first + 1) / slots & ~1u;

	if (size == 0 || slot >= slots)
		return -ERANGE;
	*ret_first = first + slot * size;
	*ret_last = *ret_first + size - 1;
	return 0;
}

/* By name, so that all members come to the same whatever the order in their files. */
static void find_slot(const struct node_config *config,
		      const struct config_network *network, unsigned *ret_slots,
		      unsigned *ret_slot)
{
	*ret_slots = network->num_members ? network->num_members : SLOTS_DEFAULT;
	*ret_slot = 0;
	if (!network->num_members)
		*ret_slot = (config->id - 1u) % SLOTS_DEFAULT;
	for (unsigned i = 0; i < network->num_members; i++)
		*ret_slot += strcmp(network->members[i], config->name) < 0;
}

static bool is_sliced(const struct config_network *network)
{
	return network->kind == NETWORK_KIND_GLOBAL &&
	       network->ephemeral == CONFIG_EPHEMERAL_SLICE;
}

static int find_slice(struct global *global, const struct config_network *network,
		      const unsigned all[2], unsigned slice[2])
{
	unsigned slots, slot;
	int error;

	find_slot(global->config, network, &slots, &slot);
	error = global_slice(all[0], all[1], slots, slot, &slice[0], &slice[1]);
	if (error)
		global_fail(global, error,
			    "the ports %u to %u of " SETTING_PORTS
			    " can't be divided among %u nodes: make it larger, or "
			    "set 'ephemeral: shared' on network %s",
			    all[0], all[1], slots, network->name);
	return error;
}

static bool have_common(const unsigned one[2], const unsigned other[2])
{
	return one[0] <= other[1] && other[0] <= one[1];
}

/*
 * The range is one for the whole host, and suits as many of the node's networks as can
 * be, in the order of the config. Where all members of a later one have the first one,
 * too, their ports differ nevertheless.
 */
static int cut_all(struct global *global, const unsigned all[2], unsigned range[2])
{
	const struct node_config *config = global->config;
	unsigned slice[2];
	int error = 0;

	for (unsigned i = 0; i < config->num_networks && error == 0; i++) {
		if (!is_sliced(&config->networks[i]))
			continue;
		error = find_slice(global, &config->networks[i], all, slice);
		if (error || !have_common(slice, range))
			continue;
		range[0] = slice[0] > range[0] ? slice[0] : range[0];
		range[1] = slice[1] < range[1] ? slice[1] : range[1];
	}
	return error;
}

/* Once: the config says so, and nothing that happens changes it. */
static void warn_of_others(struct global *global, const unsigned all[2],
			   const unsigned range[2])
{
	unsigned slice[2];

	if (global->ports[1] != 0 ||
	    find_slice(global, global->network, all, slice) < 0 ||
	    have_common(slice, range))
		return;
	log_warn(global->network->name,
		 "connections from its addresses get ports %u to %u, which are this "
		 "node's slice of a network before it in the config: one may be refused "
		 "because of that of a member which doesn't have that network; name the "
		 "same 'members' in both, or set 'ephemeral: shared'",
		 range[0], range[1]);
}

/*
 * Two nodes on one host that each took a slice of what the other one has left would go
 * on until nothing is left.
 */
static int check_divided(struct global *global, const unsigned all[2])
{
	const unsigned *divided = global->ports;

	if (divided[1] == 0 || (all[0] == divided[0] && all[1] == divided[1]) ||
	    all[0] < divided[0] || all[1] > divided[1])
		return 0;
	return global_fail(global, -EBUSY,
			   "another program, perhaps another node, has set " SETTING_PORTS
			   " to '%u %u', some of the ports %u to %u that the members of "
			   "network %s divide: a connection of this host may be refused "
			   "because of another member's; one node with such networks "
			   "fits on a host",
			   all[0], all[1], divided[0], divided[1], global->network->name);
}

/* What the host has when nobody divides it, and what of it is ours. */
static int find_range(struct global *global, unsigned ret_all[2], unsigned ret_range[2])
{
	char value[SYSCTL_VALUE_MAX];
	int error = sysctls_get_original(global->sysctls, SETTING_PORTS, value);

	if (error)
		return global_fail(global, error, "%s",
				   sysctls_last_error(global->sysctls));
	if (sscanf(value, "%u %u", &ret_all[0], &ret_all[1]) != 2)
		return global_fail(global, -EINVAL, SETTING_PORTS " is '%s'", value);
	error = check_divided(global, ret_all);
	if (error)
		return error;
	ret_range[0] = 0;
	ret_range[1] = UINT16_MAX;
	return cut_all(global, ret_all, ret_range);
}

int global_check_ports(struct global *global)
{
	unsigned all[2], range[2];

	return is_sliced(global->network) ? find_range(global, all, range) : 0;
}

int global_set_ports(struct global *global)
{
	unsigned all[2] = {0}, range[2] = {0};
	char value[SYSCTL_VALUE_MAX];
	int error;

	if (!is_sliced(global->network))
		return 0;
	error = find_range(global, all, range);
	if (error)
		return error;
	warn_of_others(global, all, range);
	memcpy(global->ports, all, sizeof(all));
	snprintf(value, sizeof(value), "%u %u", range[0], range[1]);
	return set(global, false, "%s", SETTING_PORTS, value);
}

void global_set_peers(struct global *global, const uint16_t *ids, unsigned num)
{
	const struct config_network *network = global->network;
	unsigned slot = (global->config->id - 1u) % SLOTS_DEFAULT;

	global->clash[0] = '\0';
	if (network->ephemeral != CONFIG_EPHEMERAL_SLICE || network->num_members)
		return;
	for (unsigned i = 0; i < num; i++) {
		if ((ids[i] - 1u) % SLOTS_DEFAULT == slot)
			snprintf(global->clash, sizeof(global->clash),
				 "this node and the node with id %u have the same slice "
				 "of ports: a connection of one may be refused because "
				 "of the other's; name the 'members' of the network",
				 ids[i]);
	}
}
