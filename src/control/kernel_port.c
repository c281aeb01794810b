/*
 * A port's interface: may we have it, and has it the state that the config asks
 * for? The decisions only; kernel.c talks to the kernel.
 */
#include "control/kernel_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a port's addresses are, and what they should be. */
struct addresses {
	int index;
	const struct config_network *network;
	struct kernel_held *held; /* of every interface */
	size_t num;
};

static int not_ours(struct kernel *kernel, const struct kernel_link *link)
{
	if (!link->is_tap)
		return kernel_fail_saying(kernel, -EEXIST, "%s exists and is not a TAP",
					  link->name);
	if (!link->alias[0])
		return kernel_fail_saying(kernel, -EEXIST,
					  "%s is a TAP that shmnet didn't make",
					  link->name);
	return kernel_fail_saying(kernel, -EEXIST, "%s belongs to \"%.128s\"", link->name,
				  link->alias);
}

int kernel_claim_port(struct kernel *kernel, const char *name, const char *mark,
		      struct kernel_link *ret_link)
{
	struct kernel_link link;
	int error = kernel_get_link(kernel, name, &link);

	if (error)
		return error == -ENODEV ? 0 : error;
	if (!link.is_tap || strcmp(link.alias, mark) != 0)
		return not_ours(kernel, &link);
	if (link.tap_queues)
		return kernel_fail_saying(kernel, -EBUSY,
					  "another program holds the TAP %s", name);
	*ret_link = link;
	return 1;
}

int kernel_remove_port(struct kernel *kernel, const char *name, const char *mark)
{
	struct kernel_link link;
	int error = kernel_get_link(kernel, name, &link);

	if (error)
		return error == -ENODEV ? 0 : error;
	if (!link.is_tap || strcmp(link.alias, mark) != 0)
		return not_ours(kernel, &link);
	return kernel_delete_link(kernel, link.index);
}

static bool is_link_local(const struct config_address *address)
{
	return address->family == AF_INET6 && address->bytes[0] == 0xfe &&
	       (address->bytes[1] & 0xc0) == 0x80;
}

/* As configured, for good: what expires is only a lease of it. */
static bool is_held(const struct addresses *addresses,
		    const struct config_address *address)
{
	for (size_t i = 0; i < addresses->num; i++) {
		const struct kernel_held *held = &addresses->held[i];

		if (held->index == addresses->index && held->is_permanent &&
		    held->address.prefix == address->prefix &&
		    kernel_same_address(&held->address, address))
			return true;
	}
	return false;
}

static bool is_wanted(const struct config_network *network,
		      const struct config_address *address, bool any_prefix)
{
	for (unsigned i = 0; i < network->num_addresses; i++) {
		const struct config_address *wanted = &network->addresses[i];

		if ((any_prefix || wanted->prefix == address->prefix) &&
		    kernel_same_address(wanted, address))
			return true;
	}
	return false;
}

/* Of a DHCP client of an earlier life: the next one decides. */
static bool is_clients(const struct config_network *network,
		       const struct config_address *address)
{
	return network->dhcp && address->family == AF_INET;
}

/* Ours to remove, and not in the config in this form. */
static bool is_stale(const struct addresses *addresses, const struct kernel_held *held)
{
	return held->index == addresses->index && held->is_permanent &&
	       !is_link_local(&held->address) &&
	       !is_clients(addresses->network, &held->address) &&
	       !is_wanted(addresses->network, &held->address, false);
}

static int remove_one(struct kernel *kernel, const struct kernel_held *held)
{
	int error = 0;

	if (held->address.family == AF_INET)
		error = kernel_promote_secondaries(kernel, held->index);
	if (!error)
		error = kernel_remove_address(kernel, held->index, &held->address);
	return error == -EADDRNOTAVAIL ? 0 : error;
}

int kernel_drop_address(struct kernel *kernel, const char *name,
			const struct config_address *address)
{
	struct kernel_held held = {.address = *address};
	struct kernel_link link;
	int error = kernel_get_link(kernel, name, &link);

	if (error)
		return error;
	held.index = link.index;
	return remove_one(kernel, &held);
}

/* Before the new ones come, only those go that stand in their way. */
static int remove_stale(struct kernel *kernel, const struct addresses *addresses,
			bool in_the_way)
{
	int error = 0;

	for (size_t i = 0; !error && i < addresses->num; i++) {
		const struct kernel_held *held = &addresses->held[i];
		bool blocks = held->address.family == AF_INET6 &&
			      is_wanted(addresses->network, &held->address, true);

		if (is_stale(addresses, held) && blocks == in_the_way)
			error = remove_one(kernel, held);
	}
	return error;
}

static int add_missing(struct kernel *kernel, const struct addresses *addresses)
{
	const struct config_network *network = addresses->network;
	int error = 0;

	for (unsigned i = 0; !error && i < network->num_addresses; i++) {
		const struct config_address *address = &network->addresses[i];

		if (!is_held(addresses, address))
			error = kernel_keep_address(kernel, addresses->index, address,
						    network->kind == NETWORK_KIND_GLOBAL);
	}
	return error;
}

static int setup_addresses(struct kernel *kernel, int index,
			   const struct config_network *network)
{
	struct addresses addresses = {.index = index, .network = network};
	int error =
		kernel_dump_addresses(kernel, AF_UNSPEC, &addresses.held, &addresses.num);

	if (error)
		return error;
	error = remove_stale(kernel, &addresses, true);
	if (!error)
		error = add_missing(kernel, &addresses);
	if (!error)
		error = remove_stale(kernel, &addresses, false);
	free(addresses.held);
	return error;
}

int kernel_get_addresses(struct kernel *kernel, const char *name, int family,
			 struct config_address *ret_addresses, unsigned room)
{
	struct kernel_held *held;
	struct kernel_link link;
	unsigned found = 0;
	size_t num;
	int error = kernel_get_link(kernel, name, &link);

	if (!error)
		error = kernel_dump_addresses(kernel, family, &held, &num);
	if (error)
		return error;
	for (size_t i = 0; i < num && found < room; i++) {
		if (held[i].index == link.index)
			ret_addresses[found++] = held[i].address;
	}
	free(held);
	return (int)found;
}

int kernel_set_addresses(struct kernel *kernel, const struct config_network *network)
{
	struct kernel_link link;
	int error = kernel_get_link(kernel, network->tap, &link);

	return error ? error : setup_addresses(kernel, link.index, network);
}

static int setup_link(struct kernel *kernel, struct kernel_link *link, const char *mark,
		      uint32_t mtu, const uint8_t mac[6])
{
	int error = 0;

	if (strcmp(link->alias, mark) != 0)
		error = kernel_set_alias(kernel, link->index, mark);
	if (!error && memcmp(link->mac, mac, sizeof(link->mac)) != 0) {
		if (link->is_up)
			error = kernel_set_up(kernel, link->index, false);
		if (!error)
			error = kernel_set_mac(kernel, link->index, mac);
		link->is_up = false;
	}
	if (!error && link->mtu != mtu)
		error = kernel_set_mtu(kernel, link->index, mtu);
	return error;
}

int kernel_setup_port(struct kernel *kernel, const char *mark,
		      const struct config_network *network, const uint8_t mac[6])
{
	struct kernel_link link;
	int error = kernel_get_link(kernel, network->tap, &link);

	if (error)
		return error;
	if (!link.is_tap)
		return kernel_fail_saying(kernel, -EINVAL, "%s is not a TAP", link.name);
	if (link.alias[0] && strcmp(link.alias, mark) != 0)
		return not_ours(kernel, &link);
	error = setup_link(kernel, &link, mark, network->mtu, mac);
	if (!error)
		error = setup_addresses(kernel, link.index, network);
	if (!error && !link.is_up)
		error = kernel_set_up(kernel, link.index, true);
	return error;
}
