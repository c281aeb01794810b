/* See adapter.h. */
#include "control/adapter.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/netns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void log_tap_error(const struct adapter *adapter, enum tap_error why, int error)
{
	const char *text = tap_error_text(why);

	log_err(adapter->network->name, "can't open TAP %s%s: %s", adapter->network->tap,
		adapter->place, text ? text : strerror(-error));
}

static void log_no_look(const struct adapter *adapter, const struct kernel *kernel)
{
	log_err(adapter->network->name, "can't look at interface %s%s: %s",
		adapter->network->tap, adapter->place, kernel_last_error(kernel));
}

/* The address must not be on another interface: the host would answer for both. */
static int check_address(const struct adapter *adapter, struct kernel *kernel,
			 const struct config_address *address)
{
	const struct config_network *network = adapter->network;
	char text[CONFIG_ADDRESS_TEXT_MAX];
	struct kernel_owner owner;
	int ret = kernel_find_address(kernel, address, &owner);

	if (ret < 0) {
		log_err(network->name, "can't list the host's addresses%s: %s",
			adapter->place, kernel_last_error(kernel));
		return ret;
	}
	if (ret == 0 || strcmp(owner.ifname, network->tap) == 0)
		return 0;
	config_address_text(address, text);
	log_err(network->name,
		"address %s is on interface %s%s already; remove it there ('ip addr "
		"del') or give the network another one",
		text, owner.ifname, *adapter->place ? adapter->place : " of this host");
	return -EADDRINUSE;
}

static int check_addresses(const struct adapter *adapter, struct kernel *kernel)
{
	const struct config_network *network = adapter->network;
	int ret = 0;

	for (unsigned i = 0; i < network->num_addresses && ret == 0; i++)
		ret = check_address(adapter, kernel, &network->addresses[i]);
	return ret;
}

static void log_held(const struct adapter *adapter)
{
	log_err(adapter->network->name,
		"TAP %s%s is held by another process; stop that, or give the network "
		"another 'tap' name",
		adapter->network->tap, adapter->place);
}

static int claim(struct adapter *adapter, struct kernel *kernel, const char *mark)
{
	const struct config_network *network = adapter->network;
	struct kernel_link link;
	int ret = kernel_claim_port(kernel, network->tap, mark, &link);

	if (ret == -EBUSY)
		log_held(adapter);
	else if (ret == -EEXIST)
		log_err(network->name,
			"can't have interface %s%s: %s; give the network another 'tap' "
			"name",
			network->tap, adapter->place, kernel_last_error(kernel));
	else if (ret < 0)
		log_no_look(adapter, kernel);
	adapter->adopted = ret == 1;
	return ret < 0 ? ret : 0;
}

/*
 * Frames are steered by the receiver's MAC address. Those for a global address come with
 * whatever the NIC received, and who gets them is decided here.
 */
static unsigned count_queues(const struct config_network *network)
{
	return network->kind == NETWORK_KIND_GLOBAL ? 1 : TAP_QUEUES_MAX;
}

static int open_tap_in(const struct netns *netns, struct adapter *adapter,
		       enum tap_error *ret_why)
{
	const struct config_network *network = adapter->network;
	int ret = netns_enter(netns);

	*ret_why = TAP_ERROR_OTHER;
	if (ret < 0)
		return ret;
	ret = tap_open(&adapter->tap, network->tap, count_queues(network),
		       adapter->adopted ? TAP_ADOPT : TAP_CREATE, ret_why);
	netns_leave(netns);
	return ret;
}

static int open_tap(struct adapter *adapter, const struct kernel *kernel)
{
	const struct config_network *network = adapter->network;
	enum tap_error why;
	int ret = open_tap_in(kernel_netns(kernel), adapter, &why);

	if (ret < 0) {
		log_tap_error(adapter, why, ret);
		return ret;
	}
	adapter->is_open = true;
	ret = tap_set_offloads(&adapter->tap, adapter->tap.offloads & network->offloads);
	if (ret < 0) {
		log_err(network->name, "can't set the offloads of TAP %s: %s",
			network->tap, strerror(-ret));
		return ret;
	}
	if (adapter->tap.steering_refused)
		log_info(network->name,
			 "TAP %s works with one queue, frames are copied: steering was "
			 "refused (%s)",
			 network->tap, strerror(adapter->tap.steering_errno));
	return 0;
}

/* Another program may have attached between claim() and open_tap(). */
static int check_sole_holder(struct adapter *adapter, struct kernel *kernel)
{
	struct kernel_link link;
	const struct config_network *network = adapter->network;
	int ret = kernel_get_link(kernel, network->tap, &link);

	if (ret < 0) {
		log_no_look(adapter, kernel);
		return ret;
	}
	if (link.tap_queues <= adapter->tap.num_queues)
		return 0;
	log_held(adapter);
	return -EBUSY;
}

static int set_up(struct adapter *adapter, struct kernel *kernel, const char *mark)
{
	const struct config_network *network = adapter->network;
	int ret = kernel_setup_port(kernel, mark, network, adapter->mac);

	if (ret < 0) {
		log_err(network->name, "can't set up interface %s%s: %s", network->tap,
			adapter->place, kernel_last_error(kernel));
		return ret;
	}
	ret = tap_persist(&adapter->tap);
	if (ret < 0)
		log_err(network->name, "can't make TAP %s stay: %s", network->tap,
			strerror(-ret));
	return ret;
}

int adapter_claim(struct adapter *adapter, struct kernel *kernel, const char *mark,
		  const struct config_network *network, uint16_t node_id)
{
	int ret;

	memset(adapter, 0, sizeof(*adapter));
	tap_init(&adapter->tap);
	adapter->network = network;
	adapter->place = netns_place(kernel_netns(kernel));
	shmnet_mac_make(adapter->mac, shmnet_network_tag(network->name), node_id);

	ret = claim(adapter, kernel, mark);
	return ret < 0 ? ret : check_addresses(adapter, kernel);
}

int adapter_open(struct adapter *adapter, struct kernel *kernel, const char *mark)
{
	int ret = open_tap(adapter, kernel);

	if (ret == 0)
		ret = check_sole_holder(adapter, kernel);
	if (ret == 0)
		ret = set_up(adapter, kernel, mark);
	if (ret < 0)
		adapter_close(adapter, true);
	return ret;
}

void adapter_close(struct adapter *adapter, bool keep_adopted)
{
	if (!adapter->is_open)
		return;
	adapter->is_open = false;
	if (keep_adopted && adapter->adopted)
		tap_close(&adapter->tap);
	else
		tap_destroy(&adapter->tap);
}

static void tell(struct adapter *adapter, enum log_level level, enum events_state state,
		 const char *cause)
{
	const struct events_change change = {
		level, EVENTS_NETWORK, adapter->network->name,
		adapter->has_carrier ? EVENTS_ON : EVENTS_OFF, state};

	events_tell(adapter->events, clock_now_ns(), &change, "%s", cause);
}

static void tell_gone(struct adapter *adapter)
{
	char cause[EVENTS_CAUSE_MAX];

	snprintf(cause, sizeof(cause),
		 "interface %s%s was removed; the network is down until the node is "
		 "restarted",
		 adapter->network->tap, adapter->place);
	tell(adapter, LOG_LEVEL_ERROR, EVENTS_REMOVED, cause);
}

void adapter_set_carrier(struct adapter *adapter, bool on)
{
	int ret;

	if (adapter->gone || adapter->has_carrier == on)
		return;
	ret = tap_set_carrier(&adapter->tap, on);
	if (ret < 0) {
		log_warn(adapter->network->name, "can't set the carrier of %s: %s",
			 adapter->network->tap, strerror(-ret));
		return;
	}
	tell(adapter, LOG_LEVEL_INFO, on ? EVENTS_ON : EVENTS_OFF,
	     !on					     ? "no live peer"
	     : adapter->network->kind == NETWORK_KIND_GLOBAL ? "with or without peers"
							     : "a peer is up");
	adapter->has_carrier = on;
}

static void restore_mac(struct adapter *adapter, struct kernel *kernel,
			const struct kernel_link *link)
{
	int ret;

	log_warn(adapter->network->name,
		 "somebody changed the MAC address of %s, setting it back (udev? see "
		 "MACAddressPolicy in systemd.link(5))",
		 link->name);
	ret = kernel_set_mac(kernel, link->index, adapter->mac);
	if (ret < 0)
		log_err(adapter->network->name, "can't set the MAC address of %s: %s",
			link->name, kernel_last_error(kernel));
}

void adapter_check(struct adapter *adapter, struct kernel *kernel,
		   const struct kernel_link *link)
{
	if (!adapter->is_open || adapter->gone)
		return;
	if (link->gone) {
		tell_gone(adapter);
		adapter->gone = true;
		adapter->has_carrier = false;
		return;
	}
	if (memcmp(link->mac, adapter->mac, sizeof(adapter->mac)) != 0)
		restore_mac(adapter, kernel, link);
}
