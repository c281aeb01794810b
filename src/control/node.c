/* See node.h. From top to bottom: the parts, their order, clean-up. */
#include "control/node.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/directory.h"
#include "control/node_internal.h"
#include "control/offer.h"
#include "control/service.h"
#include "control/takeover.h"

#include <shmnet/cast.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const int stop_signals[] = {SIGINT, SIGTERM};
static const struct timeval carrier_hold = {.tv_sec = 1};

/* ---- callbacks ---- */

static void on_stop(evutil_socket_t signal, short what, void *arg)
{
	struct node *node = arg;

	(void)what;
	log_info(node->config->name, "stopping: signal %d (%s)", (int)signal,
		 strsignal((int)signal));
	node->is_for_good |= signal == SIGINT;
	service_tell_stopping();
	event_base_loopbreak(node->base);
}

static void on_hangup(evutil_socket_t signal, short what, void *arg)
{
	struct report_reload report = {0};
	struct node *node = arg;
	int ret;

	(void)signal;
	(void)what;
	ret = node_reload(node, &report);
	if (ret < 0)
		log_err(node->config->name, "can't reload: %s", strerror(-ret));
	else if (report.num_changes == 0 && report.num_errors == 0)
		log_info(node->config->name, "reload: nothing has changed in %s",
			 report.file);
	report_reload_free(&report);
}

static void check_adapter(struct node *node, unsigned index,
			  const struct kernel_link *link)
{
	adapter_check(&node->adapters[index], node->kernel, link);
	if (node->adapters[index].gone && node->dhcps[index])
		dhcp_stop(node->dhcps[index]);
}

static void on_link_changed(const struct kernel_link *link, void *arg)
{
	struct node *node = arg;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (strcmp(link->name, node->adapters[i].network->tap) == 0)
			check_adapter(node, i, link);
	}
	node_check_global(node, link);
	node_dispatch_link_changed(node, link);
	node_routing_link_changed(node, link);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;

	(void)fd;
	(void)what;
	kernel_read_watch(node->kernel, on_link_changed, node);
}

static void on_port_fault(void *arg, unsigned port, int error)
{
	struct node *node = arg;
	struct kernel_link link = {.gone = true};

	(void)error;
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (node->ports[i] == port)
			check_adapter(node, i, &link);
	}
}

static void on_hold_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	adapter_set_carrier(arg, false);
}

void node_give_carrier(struct node *node, unsigned network)
{
	struct adapter *adapter = &node->adapters[network];
	bool had_carrier = adapter->has_carrier;

	adapter_set_carrier(adapter, true);
	if (!adapter->has_carrier || !node->dhcps[network])
		return;
	if (!had_carrier || !dhcp_is_running(node->dhcps[network]))
		dhcp_carrier(node->dhcps[network]);
}

/*
 * A carrier that goes takes the host's neighbours with it, and an ARP request that
 * is lost is repeated only a second later. So that the only peer's restart, which takes
 * milliseconds, does not cost that, the carrier is held for a while.
 */
static void on_carrier(void *arg, unsigned network, bool has_carrier)
{
	struct node *node = arg;

	if (node->globals[network])
		return; /* has it always */
	if (!has_carrier) {
		event_add(node->holds[network], &carrier_hold);
		return;
	}
	event_del(node->holds[network]);
	node_give_carrier(node, network);
}

/* ---- what ended links leave to the statistics ---- */

const struct node_history *node_find_history(const struct node *node, unsigned network,
					     uint16_t peer_id)
{
	const struct node_history *at = node->history;

	while (at && (at->network != network || at->peer_id != peer_id))
		at = at->next;
	return at;
}

static struct node_history *history_get(struct node *node, unsigned network,
					uint16_t peer_id)
{
	struct node_history *found =
		(struct node_history *)node_find_history(node, network, peer_id);

	if (found)
		return found;
	found = calloc(1, sizeof(*found));
	if (!found)
		return NULL;
	found->network = network;
	found->peer_id = peer_id;
	found->next = node->history;
	node->history = found;
	return found;
}

static void on_link_ended(void *arg, unsigned network, uint16_t peer_id,
			  const struct link_counters *counters)
{
	struct node_history *history = history_get(arg, network, peer_id);

	if (history)
		link_counters_add(&history->counters, counters);
	node_link_lost_pings(arg, network, peer_id);
}

static void history_free(struct node *node)
{
	struct node_history *next;

	for (struct node_history *at = node->history; at; at = next) {
		next = at->next;
		free(at);
	}
}

/* ---- the parts, in the order in which they start ---- */

static int open_runtime_dir(struct node *node)
{
	char error[WORLD_EVENT_ERROR_MAX];
	int ret = directory_claim("runtime_dir", node->config->runtime_dir, error,
				  sizeof(error));

	if (ret < 0)
		log_err(NULL, "%s", error);
	return ret;
}

/* All that this network may have; of lanes there is one of our own. */
static uint64_t count_cast_bytes(const struct config_network *network)
{
	unsigned rings =
		network->cast == CAST_MODE_SHARED ? 1 + network->multicast_rings : 1;

	return rings * shmnet_cast_file_size(network->cast_depth, network->mtu);
}

/* Rings are made when a peer comes; without room for those of one, why start? */
int node_check_memory(struct node *node)
{
	const struct node_config *config = node->config;
	uint64_t bytes = 0, cast_bytes = 0;
	char why[256];
	int ret;

	for (unsigned i = 0; i < config->num_networks; i++) {
		bytes += config->networks[i].ring_size;
		cast_bytes += count_cast_bytes(&config->networks[i]);
	}
	/* A ring of our own and one of the peer's, each mapped twice. */
	ret = offer_check_memory(bytes, 4 * bytes, why, sizeof(why));
	if (ret < 0) {
		log_err(NULL,
			"the rings for one peer have no room: %s; lower 'ring_size' of "
			"the "
			"networks, or the number of networks",
			why);
		return ret;
	}
	ret = offer_check_memory(bytes + cast_bytes, 4 * bytes + cast_bytes, why,
				 sizeof(why));
	if (ret < 0)
		log_err(NULL,
			"the rings for one peer and for casts have no room: %s; lower "
			"'multicast_rings' or 'cast_depth' of the networks",
			why);
	return ret;
}

static void on_event_log(int severity, const char *message)
{
	static const enum log_level levels[] = {
		[EVENT_LOG_DEBUG] = LOG_LEVEL_DEBUG,
		[EVENT_LOG_MSG] = LOG_LEVEL_INFO,
		[EVENT_LOG_WARN] = LOG_LEVEL_WARNING,
		[EVENT_LOG_ERR] = LOG_LEVEL_ERROR,
	};

	log_write(levels[severity], "libevent", "%s", message);
}

static int open_events(struct node *node)
{
	struct event_config *config;

	event_set_log_callback(on_event_log);
	config = event_config_new();
	if (!config)
		return -ENOMEM;
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	node->base = event_base_new_with_config(config);
	event_config_free(config);
	if (!node->base)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(stop_signals) / sizeof(stop_signals[0]); i++) {
		node->signals[i] =
			evsignal_new(node->base, stop_signals[i], on_stop, node);
		if (!node->signals[i] || event_add(node->signals[i], NULL) < 0)
			return -ENOMEM;
	}
	node->hangup = evsignal_new(node->base, SIGHUP, on_hangup, node);
	if (!node->hangup || event_add(node->hangup, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static int open_netns(struct node *node)
{
	char error[NETNS_ERROR_MAX];
	int ret;

	if (!node->config->netns)
		return 0;
	ret = netns_open(node->config->netns, &node->netns, error, sizeof(error));
	if (ret < 0)
		log_err(NULL, "node.netns: %s", error);
	return ret;
}

static int open_kernel(struct node *node)
{
	int ret = kernel_open(node->netns, &node->kernel);

	if (ret < 0) {
		log_err(NULL, "can't talk to the kernel by netlink: %s", strerror(-ret));
		return ret;
	}
	node->watch = event_new(node->base, kernel_watch_fd(node->kernel),
				EV_READ | EV_PERSIST, on_watch, node);
	if (!node->watch || event_add(node->watch, NULL) < 0) {
		log_err(NULL, "can't watch the host's interfaces: out of memory");
		return -ENOMEM;
	}
	return 0;
}

static int open_plane(struct node *node)
{
	const struct plane_options options = {
		.spin_us = node->config->spin_us,
		.stall_ns = node_stall_ns(node),
	};

	return plane_new(&options, &node->plane);
}

static struct world_event_options world_options(struct node *node,
						const struct config_fabric *rdma)
{
	return (struct world_event_options){
		.shm = config_find_fabric(node->config, FABRIC_KIND_SHM),
		.rdma = rdma,
		.cluster = node->config->cluster,
		.name = node->config->name,
		.node_id = node->config->id,
		.plane = node->plane,
		.networks = node->config->networks,
		.num_networks = node->config->num_networks,
		.ports = node->ports,
		.port_fault = on_port_fault,
		.link_ended = on_link_ended,
		.pong = node_pong,
		.miss = node_miss,
		.arg = node,
	};
}

static int make_world(struct node *node, const struct config_fabric *rdma)
{
	const struct world_event_options options = world_options(node, rdma);
	char error[WORLD_EVENT_ERROR_MAX];
	int ret =
		world_event_new(node->base, &options, &node->world, error, sizeof(error));

	if (ret < 0)
		log_err(NULL, "%s", error);
	return ret;
}

/* Claims the node's id, before anything of the host is touched. */
static int open_world(struct node *node)
{
	return make_world(node, config_find_fabric(node->config, FABRIC_KIND_RDMA));
}

int node_check_world(struct node *node)
{
	const struct world_event_options options =
		world_options(node, config_find_fabric(node->config, FABRIC_KIND_RDMA));
	const struct report_takeover *running = takeover_report(node->takeover);
	char error[WORLD_EVENT_ERROR_MAX];
	int ret = world_event_check(node->base, &options, running->id, running->listen,
				    error, sizeof(error));

	if (ret < 0)
		log_err(NULL, "%s", error);
	return ret;
}

const struct config_network *node_find_tap(const struct node *node, const char *name)
{
	for (unsigned i = 0; i < node->config->num_networks; i++) {
		if (strcmp(node->config->networks[i].tap, name) == 0)
			return &node->config->networks[i];
	}
	return NULL;
}

static int remove_link(struct node *node, const struct kernel_link *link)
{
	int ret =
		link->tap_queues ? -EBUSY : kernel_delete_link(node->kernel, link->index);

	if (ret == 0)
		log_info(NULL, "removed interface %s%s, left by an earlier run",
			 link->name, netns_place(node->netns));
	else
		log_err(NULL, "can't remove interface %s%s: %s", link->name,
			netns_place(node->netns),
			ret == -EBUSY ? "a process holds it; stop that first"
				      : kernel_last_error(node->kernel));
	return ret;
}

/* A TAP of an earlier config under this node's name. */
static void remove_stale(const struct kernel_link *link, void *arg)
{
	struct node *node = arg;

	if (strcmp(link->alias, node->mark) == 0 && !node_find_tap(node, link->name))
		remove_link(node, link);
}

static int each_marked_link(struct node *node,
			    void (*each)(const struct kernel_link *link, void *arg))
{
	int ret = kernel_each_link(node->kernel, node->mark, each, node);

	if (ret < 0)
		log_err(NULL, "can't list the host's interfaces%s: %s",
			netns_place(node->netns), kernel_last_error(node->kernel));
	return ret;
}

/* Before anything of the host is changed, which another node may have set up. */
int node_claim_adapters(struct node *node)
{
	const struct node_config *config = node->config;
	int ret = 0;

	for (unsigned i = 0; i < config->num_networks && ret == 0; i++)
		ret = adapter_claim(
			&node->adapters[i], node->kernel, node->mark, config,
			&config->networks[i],
			handover_find(&node->handover, config->networks[i].tap));
	return ret;
}

static int open_adapters(struct node *node)
{
	for (unsigned i = 0; i < node->config->num_networks; i++) {
		int ret = adapter_open(&node->adapters[i], node->kernel, node->mark);

		if (ret < 0)
			return ret;
		node->adapters[i].events = &node->events;
		node->num_adapters++;
	}
	return each_marked_link(node, remove_stale);
}

int node_open_port(struct node *node, unsigned index)
{
	struct adapter *adapter = &node->adapters[index];
	const struct config_network *network = adapter->network;
	uint8_t addresses[CONFIG_ADDRESSES_MAX][FLOW_ADDRESS_LEN];
	const struct plane_global global = {
		.addresses = (const uint8_t(*)[FLOW_ADDRESS_LEN])(void *)addresses,
		.num_addresses = network->num_addresses,
		.flows = network->flows,
	};
	const bool is_global = network->kind == NETWORK_KIND_GLOBAL;
	const struct plane_port port = {
		.tap = &adapter->tap,
		.node_id = node->config->id,
		.tag = shmnet_network_tag(network->name),
		.mtu = network->mtu,
		.global = is_global ? &global : NULL,
	};

	node_map_addresses(network, addresses);
	return plane_add_port(node->plane, &port, &node->ports[index]);
}

static int open_ports(struct node *node)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		int ret = node_open_port(node, i);

		if (ret < 0)
			return ret;
	}
	node_hold_taps(node);
	return plane_start(node->plane);
}

int node_open_carrier(struct node *node, unsigned index)
{
	node->holds[index] =
		evtimer_new(node->base, on_hold_over, &node->adapters[index]);
	return node->holds[index] ? 0 : -ENOMEM;
}

static int open_membership(struct node *node)
{
	static const struct membership_handler handler = {
		.network_carrier = on_carrier,
		.link_up = node_dispatch_link_up,
		.link_down = node_dispatch_link_down,
		.peer_suspect = node_dispatch_suspect,
		.peer_paused = node_dispatch_peer_paused,
		.message = node_dispatch_message,
	};
	int ret;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		ret = node_open_carrier(node, i);
		if (ret < 0)
			return ret;
		if (node->adapters[i].has_carrier && !node->globals[i])
			event_add(node->holds[i], &carrier_hold);
	}
	ret = membership_new(node->config, node->world, &node->events, &handler, node,
			     &node->membership);
	for (unsigned i = 0; i < node->num_adapters && ret == 0; i++)
		membership_set_offloads(node->membership, i,
					node->adapters[i].tap.offloads);
	return ret;
}

void node_ctlsock_path(const struct node *node, char path[NODE_CTLSOCK_MAX])
{
	snprintf(path, NODE_CTLSOCK_MAX, "%s/%s.sock", node->config->runtime_dir,
		 node->config->name);
}

static int open_ctlsock(struct node *node)
{
	char path[NODE_CTLSOCK_MAX];
	const struct ctlsock_options options = {
		.path = path,
		.handler = &node_report_handler,
		.arg = node,
	};
	pid_t pid;
	int ret;

	node_ctlsock_path(node, path);
	ret = ctlsock_new(node->base, &options, &pid, &node->ctlsock);
	if (ret == -EADDRINUSE)
		log_err(NULL,
			"control socket %s belongs to a running node (pid %d); stop it, "
			"or give "
			"this one another name or runtime_dir",
			path, (int)pid);
	else if (ret < 0)
		log_err(NULL, "can't make the control socket %s: %s", path,
			strerror(-ret));
	return ret;
}

static int start_world(struct node *node)
{
	char error[WORLD_EVENT_ERROR_MAX];
	int ret = world_event_start(node->world, error, sizeof(error));

	if (ret < 0)
		log_err(NULL, "%s", error);
	return ret;
}

/*
 * A part of the node, or a step of the clean-up. It says itself what is wrong; `what`
 * is for those that can only run out of something.
 */
struct part {
	int (*open)(struct node *node);
	const char *what;
};

/* What is checked by making it comes before what the host can see. */
static const struct part parts[] = {
	{node_find_dhcp, NULL},
	{node_check_memory, NULL},
	{open_runtime_dir, NULL},
	{open_events, "event loop"},
	{open_netns, NULL},
	{open_kernel, NULL},
	{open_plane, "data plane"},
	{node_open_sockets, NULL},
	{node_take_over, NULL},
	{open_world, NULL},
	{open_ctlsock, NULL},
	{node_take_store, NULL},
	{node_claim_adapters, NULL},
	{node_prepare_global, "global networks"},
	{open_adapters, NULL},
	{open_ports, "worker"},
	{node_open_pulse, "worker's timer"},
	{node_open_global, "global networks"},
	{node_open_dhcp, "DHCP clients"},
	{open_membership, "membership"},
	{node_open_dispatch, "dispatcher"},
	{node_open_routing, "routes of a border"},
	{start_world, NULL},
	{node_start_settling, "timer"},
	{node_start_watchdog, "watchdog"},
	{NULL, NULL},
};

static int open_parts(struct node *node, const struct part *part)
{
	int ret = 0;

	for (; part->open && ret == 0; part++) {
		ret = part->open(node);
		if (ret < 0 && part->what)
			log_err(node->config->name, "can't start the %s: %s", part->what,
				strerror(-ret));
	}
	return ret;
}

static struct node *node_alloc(struct node_config *config)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node) {
		log_err(config->name, "out of memory");
		return NULL;
	}
	node->config = config;
	node->successor = -1;
	snprintf(node->mark, sizeof(node->mark), "%s%s", KERNEL_MARK_PREFIX,
		 config->name);
	return node;
}

static void node_close(struct node *node, enum adapter_end end)
{
	node->is_stopping = true;
	if (end == ADAPTER_LEAVE)
		plane_rest_taps(node->plane, true);
	node_stop_watchdog(node);
	node_close_routing(node, end);
	node_close_dhcp(node, end); /* while there are still peers: it sends */
	node_end_pings(node);
	node_end_explains(node);
	node_close_dispatch(node);
	membership_free(node->membership);
	world_event_free(node->world);
	node_close_global(node, end);
	plane_free(node->plane);
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (node->holds[i])
			event_free(node->holds[i]);
		adapter_close(&node->adapters[i], end);
	}
	handover_close(&node->handover);
	ctlsock_free(node->ctlsock);
	node_wait_for_successor(node);
	node_free_global(node);
	node_end_takeover(node);
	node_close_pulse(node);
	if (node->watch)
		event_free(node->watch);
	kernel_close(node->kernel);
	netns_close(node->netns);
	for (size_t i = 0; i < sizeof(stop_signals) / sizeof(stop_signals[0]); i++) {
		if (node->signals[i])
			event_free(node->signals[i]);
	}
	if (node->hangup)
		event_free(node->hangup);
	if (node->base)
		event_base_free(node->base);
	history_free(node);
	free(node);
}

static void tell_ready(struct node *node)
{
	const struct node_config *config = node->config;
	const struct events_change change = {
		.level = LOG_LEVEL_INFO,
		.kind = EVENTS_NODE,
		.subject = config->name,
		.old = EVENTS_STARTING,
		.state = EVENTS_READY,
	};

	events_tell(&node->events, clock_now_ns(), &change,
		    "node %u of cluster %s, %u network%s", config->id, config->cluster,
		    config->num_networks, config->num_networks == 1 ? "" : "s");
}

/*
 * A library without memory may call exit(3), as libnftables does. At the start that is a
 * start that failed. Later all stays as it is after a SIGKILL: who has connections
 * through this node would lose them with its interfaces.
 */
static struct node *alive;
static bool is_starting;

static void on_exit_by_others(void)
{
	struct node *node = alive;

	if (!node)
		return;
	alive = NULL;
	log_err(node->config->name,
		"a library has ended this process, which it does when "
		"memory runs out%s",
		is_starting ? "" : "; what it had set up stays for its next start");
	if (is_starting)
		node_close(node, ADAPTER_RESTORE);
	_exit(EXIT_FAILURE);
}

static int expect_exit(struct node *node)
{
	static bool is_expected;

	if (!is_expected && atexit(on_exit_by_others) != 0)
		return -ENOMEM;
	is_expected = true;
	is_starting = true;
	alive = node;
	return 0;
}

static int node_start(struct node_config *config, bool takes_over, struct node **ret_node)
{
	struct node *node = node_alloc(config);
	int ret;

	if (!node)
		return -ENOMEM;
	node->started_ns = clock_now_ns();
	node->takes_over = takes_over;
	ret = expect_exit(node);
	if (ret == 0)
		ret = open_parts(node, parts);
	is_starting = false;
	if (ret < 0) {
		alive = NULL;
		node_close(node, ADAPTER_RESTORE);
		return ret;
	}
	tell_ready(node);
	service_tell_ready();
	*ret_node = node;
	return 0;
}

int node_new(struct node_config *config, struct node **ret_node)
{
	return node_start(config, false, ret_node);
}

int node_succeed(struct node_config *config, struct node **ret_node)
{
	return node_start(config, true, ret_node);
}

int node_run(struct node *node)
{
	return event_base_dispatch(node->base) < 0 ? -EIO : 0;
}

/*
 * Who sends SIGTERM may mean a restart: what the service manager keeps stays, and goes
 * with the store. SIGINT is the end.
 */
static bool has_next_life(const struct node *node)
{
	return node->successor >= 0 || (service_has_store() && !node->is_for_good);
}

void node_free(struct node *node)
{
	if (!node)
		return;
	node_close(node, has_next_life(node) ? ADAPTER_LEAVE : ADAPTER_REMOVE);
	alive = NULL;
}

/* ---- clean-up after a killed node ---- */

static void remove_leftover(const struct kernel_link *link, void *arg)
{
	struct node *node = arg;

	if (strcmp(link->alias, node->mark) == 0 && remove_link(node, link) < 0)
		node->error = -EBUSY;
}

/* Claiming the files proves that the node is dead. */
static int claim_rendezvous(struct node *node)
{
	const struct config_fabric *shm =
		config_find_fabric(node->config, FABRIC_KIND_SHM);

	if (!shm || access(shm->path, F_OK) < 0)
		return 0;
	return make_world(node, NULL);
}

static int claim_ctlsock(struct node *node)
{
	if (access(node->config->runtime_dir, F_OK) < 0)
		return 0;
	return open_ctlsock(node);
}

/* A namespace that is gone has taken its interfaces along. */
static int open_kernel_if_any(struct node *node)
{
	const char *name = node->config->netns;
	char error[NETNS_ERROR_MAX];
	int ret = name ? netns_open(name, &node->netns, error, sizeof(error)) : 0;

	if (ret == -ENOENT) {
		log_info(NULL,
			 "there is no network namespace %s, nor anything left in it",
			 name);
		return 0;
	}
	if (ret < 0) {
		log_err(NULL, "node.netns: %s", error);
		return ret;
	}
	return open_kernel(node);
}

static int remove_leftovers(struct node *node)
{
	int ret = node_clean_global(node);

	if (ret == 0 && node->kernel)
		ret = each_marked_link(node, remove_leftover);
	if (ret == 0 && node->kernel && node->error == 0)
		ret = node_clean_guards(node);
	node_clean_dhcp(node->config);
	return ret < 0 ? ret : node->error;
}

static const struct part cleanup_parts[] = {
	{open_events, "event loop"},
	{open_plane, "data plane"},
	{claim_rendezvous, NULL},
	{claim_ctlsock, NULL},
	{open_kernel_if_any, NULL},
	{remove_leftovers, NULL},
	{NULL, NULL},
};

int node_cleanup(struct node_config *config)
{
	struct node *node = node_alloc(config);
	int ret;

	if (!node)
		return -ENOMEM;
	ret = open_parts(node, cleanup_parts);
	node_close(node, ADAPTER_REMOVE);
	return ret;
}
