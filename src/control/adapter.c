/* See adapter.h. */
#include "control/adapter.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/netns.h"
#include "control/service.h"

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

/* A TAP of ours that has it from an earlier life, or config, and loses it by this one. */
static bool is_given_up(const struct adapter *adapter, const struct kernel_owner *owner,
			const struct config_address *address)
{
	const struct node_config *config = adapter->config;

	if (strcmp(owner->alias, adapter->mark) != 0)
		return false;
	for (unsigned i = 0; i < config->num_networks; i++) {
		const struct config_network *network = &config->networks[i];

		if (strcmp(network->tap, owner->ifname) == 0)
			return !network->dhcp && !config_has_address(network, address);
	}
	return true;
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
	if (ret == 0 || strcmp(owner.ifname, network->tap) == 0 ||
	    is_given_up(adapter, &owner, address))
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

/* All queues that are open are those that were left to us. */
static bool is_left_to_us(const struct adapter *adapter, struct kernel *kernel)
{
	unsigned num = handover_count(adapter->left);
	struct kernel_link link;

	return num > 0 && kernel_get_link(kernel, adapter->network->tap, &link) == 0 &&
	       link.tap_queues == num;
}

/*
 * The queues tell nothing of the namespace that their interface is in. Another process
 * that has it there goes on; what the store had for a namespace before is given up.
 */
static int miss_interface(struct adapter *adapter)
{
	const struct config_network *network = adapter->network;

	if (!adapter->left->is_kept) {
		log_err(network->name,
			"interface %s is not there%s: the running node has it in another "
			"network namespace; start this one in that, or stop that one",
			network->tap, adapter->place);
		return -ENODEV;
	}
	log_warn(network->name,
		 "interface %s, which was kept, is not there%s: it is made anew",
		 network->tap, adapter->place);
	service_forget(network->tap);
	handover_drop(adapter->left);
	return 0;
}

static int claim(struct adapter *adapter, struct kernel *kernel, const char *mark)
{
	const struct config_network *network = adapter->network;
	struct kernel_link link;
	int ret = kernel_claim_port(kernel, network->tap, mark, &link);

	if (ret == -EBUSY && is_left_to_us(adapter, kernel))
		ret = 1;
	else if (ret == 0 && adapter->left && handover_count(adapter->left) > 0)
		return miss_interface(adapter);
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
unsigned adapter_queues_max(const struct config_network *network)
{
	return network->kind == NETWORK_KIND_GLOBAL ? 1 : TAP_QUEUES_MAX;
}

static int inherit_tap(struct adapter *adapter, enum tap_error *ret_why)
{
	const struct config_network *network = adapter->network;
	struct handover_tap *left = adapter->left;
	int ret = tap_inherit(&adapter->tap, network->tap, left->queues,
			      handover_count(left), adapter_queues_max(network), ret_why);

	if (ret == 0)
		handover_release(left);
	return ret;
}

static int open_tap_in(const struct netns *netns, struct adapter *adapter,
		       enum tap_error *ret_why)
{
	const struct config_network *network = adapter->network;
	int ret = netns_enter(netns);

	*ret_why = TAP_ERROR_OTHER;
	if (ret < 0)
		return ret;
	if (handover_count(adapter->left) > 0)
		ret = inherit_tap(adapter, ret_why);
	else
		ret = tap_open(&adapter->tap, network->tap, adapter_queues_max(network),
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
	adapter->index = link.index;
	adapter->has_carrier = adapter->left && link.has_carrier;
	if (link.tap_queues <= adapter->tap.num_queues)
		return 0;
	log_held(adapter);
	return -EBUSY;
}

/* One after the other, so that it would stay after each of them. */
static int keep_in_store(struct adapter *adapter)
{
	int ret = service_keep(&adapter->tap, adapter->num_kept);

	if (ret == 0)
		ret = tap_unpersist(&adapter->tap);
	adapter->num_kept = adapter->tap.num_queues;
	return ret;
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
	ret = service_has_store() ? keep_in_store(adapter) : tap_persist(&adapter->tap);
	if (ret < 0)
		log_err(network->name, "can't make TAP %s stay: %s", network->tap,
			strerror(-ret));
	return ret;
}

int adapter_claim(struct adapter *adapter, struct kernel *kernel, const char *mark,
		  const struct node_config *config, const struct config_network *network,
		  struct handover_tap *left)
{
	int ret;

	memset(adapter, 0, sizeof(*adapter));
	tap_init(&adapter->tap);
	adapter->config = config;
	adapter->network = network;
	adapter->kernel = kernel;
	adapter->mark = mark;
	adapter->left = left;
	adapter->num_kept = left && left->is_kept ? handover_count(left) : 0;
	adapter->place = netns_place(kernel_netns(kernel));
	shmnet_mac_make(adapter->mac, shmnet_network_tag(network->name), config->id);

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
		adapter_close(adapter, ADAPTER_RESTORE);
	return ret;
}

int adapter_set_addresses(struct adapter *adapter, struct kernel *kernel)
{
	const struct config_network *network = adapter->network;
	int ret = check_addresses(adapter, kernel);

	if (ret < 0)
		return ret;
	ret = kernel_set_addresses(kernel, network);
	if (ret < 0)
		log_err(network->name, "can't set the addresses of %s%s: %s",
			network->tap, adapter->place, kernel_last_error(kernel));
	return ret;
}

void adapter_restore_addresses(struct adapter *adapter, struct kernel *kernel)
{
	const struct config_network *network = adapter->network;

	if (kernel_set_addresses(kernel, network) < 0)
		log_warn(network->name,
			 "can't give %s%s the addresses back that it had: %s",
			 network->tap, adapter->place, kernel_last_error(kernel));
}

void adapter_drop_address(struct adapter *adapter, struct kernel *kernel,
			  const struct config_address *address)
{
	kernel_drop_address(kernel, adapter->network->tap, address);
}

/*
 * The service manager lets go of its queues when it comes to that, and whoever wants the
 * name next can't wait.
 */
static void take_from_store(struct adapter *adapter)
{
	const struct config_network *network = adapter->network;

	service_forget(network->tap);
	if (kernel_remove_port(adapter->kernel, network->tap, adapter->mark) < 0)
		log_warn(network->name, "can't remove interface %s%s at once: %s",
			 network->tap, adapter->place,
			 kernel_last_error(adapter->kernel));
}

void adapter_close(struct adapter *adapter, enum adapter_end end)
{
	if (!adapter->is_open)
		return;
	adapter->is_open = false;
	if (end == ADAPTER_LEAVE || (end == ADAPTER_RESTORE && adapter->adopted)) {
		tap_close(&adapter->tap);
		return;
	}
	if (adapter->num_kept > 0)
		take_from_store(adapter);
	tap_destroy(&adapter->tap);
}

static void tell(struct adapter *adapter, enum log_level level, enum events_state state,
		 const char *cause)
{
	uint64_t now_ns = clock_now_ns();
	const struct events_change change = {
		.level = level,
		.kind = EVENTS_NETWORK,
		.subject = adapter->network->name,
		.old = adapter->has_carrier ? EVENTS_ON : EVENTS_OFF,
		.state = state,
		.gap_ns = state == EVENTS_ON && adapter->off_ns ? now_ns - adapter->off_ns
								: 0,
	};

	if (state != EVENTS_ON)
		adapter->off_ns = now_ns;
	events_tell(adapter->events, now_ns, &change, "%s", cause);
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

/* The TAP's: the caller knows of a change. */
static bool switch_carrier(struct adapter *adapter, bool on)
{
	int ret = tap_set_carrier(&adapter->tap, on);

	if (ret < 0)
		log_warn(adapter->network->name, "can't set the carrier of %s: %s",
			 adapter->network->tap, strerror(-ret));
	return ret == 0;
}

void adapter_set_carrier(struct adapter *adapter, bool on)
{
	if (adapter->gone || adapter->paused_ns || adapter->has_carrier == on ||
	    !switch_carrier(adapter, on))
		return;
	tell(adapter, LOG_LEVEL_INFO, on ? EVENTS_ON : EVENTS_OFF,
	     !on					     ? "no live peer"
	     : adapter->network->kind == NETWORK_KIND_GLOBAL ? "with or without peers"
							     : "a peer is up");
	adapter->has_carrier = on;
}

void adapter_pause(struct adapter *adapter)
{
	if (adapter->paused_ns)
		return;
	tell(adapter, LOG_LEVEL_INFO, EVENTS_PAUSED, "no frames go in or out");
	adapter->paused_ns = clock_now_ns();
	if (adapter->has_carrier && switch_carrier(adapter, false))
		adapter->has_carrier = false;
}

void adapter_resume(struct adapter *adapter)
{
	uint64_t now_ns = clock_now_ns();
	const struct events_change change = {
		.level = LOG_LEVEL_INFO,
		.kind = EVENTS_NETWORK,
		.subject = adapter->network->name,
		.old = EVENTS_PAUSED,
		.state = EVENTS_RESUMED,
		.gap_ns = now_ns - adapter->paused_ns,
	};

	if (!adapter->paused_ns)
		return;
	adapter->paused_ns = 0;
	events_tell(adapter->events, now_ns, &change, "frames go in and out again");
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
	if (link->index && link->index != adapter->index)
		return; /* one of that name before it, or after */
	if (link->gone) {
		tell_gone(adapter);
		adapter->gone = true;
		adapter->has_carrier = false;
		return;
	}
	if (memcmp(link->mac, adapter->mac, sizeof(adapter->mac)) != 0)
		restore_mac(adapter, kernel, link);
}
