/* What the node tells its clients: fills control/report.h from the live parts. */
#include "base/clock.h"
#include "control/node_internal.h"
#include "control/wire_range.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const enum report_state state_of_member[] = {
	[MEMBER_DOWN] = REPORT_STATE_DOWN,
	[MEMBER_UP] = REPORT_STATE_UP,
	[MEMBER_SUSPECT] = REPORT_STATE_SUSPECT,
};

/* ---- networks and nodes ---- */

static void fill_address(char *text, size_t size, const struct config_address *address)
{
	char host[CONFIG_ADDRESS_TEXT_MAX];

	config_address_text(address, host);
	snprintf(text, size, "%s/%u", host, address->prefix);
}

static void add_address(struct report_network *report,
			const struct config_address *address)
{
	unsigned index = report->num_addresses;

	if (index == CONFIG_ADDRESSES_MAX)
		return;
	fill_address(report->addresses[index], sizeof(report->addresses[index]), address);
	report->num_addresses++;
}

static void fill_offloads(struct report_network *report, uint32_t offloads)
{
	for (unsigned i = 0; i < CONFIG_OFFLOADS; i++) {
		if (!(offloads & 1u << i))
			continue;
		REPORT_SET(report->offloads[report->num_offloads],
			   config_offload_name(i));
		report->num_offloads++;
	}
}

/* Those of a DHCP client as the kernel has them; none if the interface is gone. */
static int find_leased(const struct node *node, const struct config_network *network,
		       struct config_address leased[CONFIG_ADDRESSES_MAX])
{
	if (!network->dhcp)
		return 0;
	return kernel_get_addresses(node->kernel, network->tap, AF_INET, leased,
				    CONFIG_ADDRESSES_MAX);
}

static void fill_network(const struct node *node, unsigned index,
			 struct report_network *report)
{
	const struct adapter *adapter = &node->adapters[index];
	const struct config_network *network = adapter->network;
	struct config_address leased[CONFIG_ADDRESSES_MAX];
	int num_leased = find_leased(node, network, leased);

	REPORT_SET(report->name, network->name);
	REPORT_SET(report->tap, network->tap);
	report->kind = network->kind;
	report->mtu = network->mtu;
	report->state = adapter->has_carrier ? REPORT_STATE_UP : REPORT_STATE_DOWN;
	report->queues = adapter->tap.num_queues;
	report->links_up = membership_links_up(node->membership, index);
	report->dhcp = network->dhcp;
	fill_offloads(report, adapter->tap.offloads);
	for (int i = 0; i < num_leased; i++)
		add_address(report, &leased[i]);
	for (unsigned i = 0; i < network->num_addresses; i++)
		add_address(report, &network->addresses[i]);
	node_fill_members(node, index, report);
	node_fill_pause(node, index, report);
}

static struct report_network *fill_networks(const struct node *node, unsigned *ret_count)
{
	struct report_network *networks =
		report_list_new(node->num_adapters, sizeof(*networks));

	if (!networks)
		return NULL;
	*ret_count = 0;
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (config_has_network(node->config, i))
			fill_network(node, i, &networks[(*ret_count)++]);
	}
	return networks;
}

static void fill_self(const struct node *node, struct report_node *report)
{
	REPORT_SET(report->name, node->config->name);
	REPORT_SET(report->fabric, "self");
	report->id = node->config->id;
	report->state = REPORT_STATE_UP;
	report->incarnation = membership_incarnation(node->membership);
	report->pid = (uint32_t)getpid();
	node_fill_pauses(node, report);
}

/* A list under construction; `at` stops where the room ends. */
struct node_list {
	const struct node *node;
	struct report_node *nodes;
	unsigned count;
	unsigned room;
};

static void add_node(const struct member_report *member, void *arg)
{
	struct node_list *list = arg;
	struct report_node *report = &list->nodes[list->count];

	if (list->count == list->room)
		return;
	list->count++;
	REPORT_SET(report->name, member->name);
	node_fill_path(list->node, member, report);
	REPORT_SET(report->reason, member->reason);
	report->id = member->id;
	report->state = state_of_member[member->state];
	report->incarnation = member->incarnation;
	report->pid = (uint32_t)member->pid;
	report->wire_version = member->wire_version;
}

static void add_pause(const struct member_link_report *link, void *arg)
{
	struct node_list *list = arg;

	for (unsigned i = 0; i < list->count && link->is_paused; i++) {
		struct report_node *report = &list->nodes[i];

		if (report->id != link->peer_id)
			continue;
		REPORT_SET(report->paused[report->num_paused],
			   list->node->config->networks[link->network].name);
		report->num_paused++;
	}
}

static void count_member(const struct member_report *member, void *arg)
{
	(void)member;
	++*(unsigned *)arg;
}

static struct report_node *fill_nodes(const struct node *node, bool with_self,
				      unsigned *ret_count)
{
	struct node_list list = {.node = node, .count = with_self};

	list.room = with_self;
	membership_each_peer(node->membership, count_member, &list.room);
	list.nodes = report_list_new(list.room, sizeof(*list.nodes));
	if (!list.nodes)
		return NULL;
	if (with_self)
		fill_self(node, &list.nodes[0]);
	membership_each_peer(node->membership, add_node, &list);
	membership_each_link(node->membership, add_pause, &list);
	*ret_count = list.count;
	return list.nodes;
}

/* ---- links ---- */

typedef void fill_link_t(const struct node *node, const struct member_link_report *link,
			 void *element);

struct link_list {
	const struct node *node;
	fill_link_t *fill;
	uint8_t *elements;
	size_t size; /* of one */
	unsigned count;
	unsigned room;
};

static void count_link(const struct member_link_report *link, void *arg)
{
	(void)link;
	++*(unsigned *)arg;
}

static void add_link(const struct member_link_report *link, void *arg)
{
	struct link_list *list = arg;

	if (list->count < list->room)
		list->fill(list->node, link, list->elements + list->size * list->count++);
}

/* One element per network and peer, made by `fill`. NULL if memory is short. */
static void *fill_links(const struct node *node, fill_link_t *fill, size_t size,
			unsigned *ret_count)
{
	struct link_list list = {.node = node, .fill = fill, .size = size};

	membership_each_link(node->membership, count_link, &list.room);
	list.elements = report_list_new(list.room, size);
	if (!list.elements)
		return NULL;
	membership_each_link(node->membership, add_link, &list);
	*ret_count = list.count;
	return list.elements;
}

static void fill_topology_link(const struct node *node,
			       const struct member_link_report *link, void *element)
{
	struct report_link *report = element;

	REPORT_SET(report->network, node->config->networks[link->network].name);
	REPORT_SET(report->from, node->config->name);
	REPORT_SET(report->to, link->peer_name);
	REPORT_SET(report->fabric, link->fabric);
	report->state = link->link ? REPORT_STATE_UP : REPORT_STATE_DOWN;
	if (link->link && (link->is_paused || node->adapters[link->network].paused_ns))
		report->state = REPORT_STATE_PAUSED;
}

/* A reason is counted at one end only, so the reason says which; but for one. */
static void split_drops(const struct link_counters *counters,
			struct report_link_stats *report)
{
	for (unsigned reason = 0; reason < DROP_NUM_; reason++) {
		struct report_drops *drops = drop_reason_is_sent(reason)
						     ? &report->sent_drops
						     : &report->received_drops;

		drops->frames[reason] = counters->drops[reason];
	}
	report->received_drops.frames[DROP_PAUSED] = counters->received_paused;
}

static void fill_link_stats(const struct node *node,
			    const struct member_link_report *link, void *element)
{
	const struct node_history *history =
		node_find_history(node, link->network, link->peer_id);
	struct report_link_stats *report = element;
	struct link_counters counters = {0};
	struct link_usage usage = {0};

	if (link->link)
		plane_read_link(world_event_link(link->link), &counters, &usage);
	if (history)
		link_counters_add(&counters, &history->counters);
	REPORT_SET(report->network, node->config->networks[link->network].name);
	REPORT_SET(report->peer, link->peer_name);
	report->sent_frames = counters.sent_frames;
	report->sent_bytes = counters.sent_bytes;
	report->received_frames = counters.received_frames;
	report->delivered_frames = counters.delivered_frames;
	report->delivered_bytes = counters.delivered_bytes;
	report->doorbells_rung = usage.bells_rung;
	report->ring_used = usage.ring_used;
	report->ring_size = usage.ring_size;
	report->received_ring_used = usage.received_ring_used;
	report->received_ring_size = usage.received_ring_size;
	report->pings_answered = counters.pings_answered;
	report->pings_unanswered = counters.pings_unanswered;
	report->pongs_ignored = counters.pongs_ignored;
	report->messages_sent = counters.messages_sent;
	report->messages_received = counters.messages_received;
	report->messages_lost = counters.messages_lost;
	split_drops(&counters, report);
}

/* ---- statistics of a network ---- */

static void fill_cast_stats(const struct cast_counters *counters,
			    struct report_cast_stats *report)
{
	*report = (struct report_cast_stats){
		.written = counters->written,
		.skipped = counters->skipped,
		.received = counters->received,
		.own = counters->own,
		.passed = counters->passed,
		.lapped = counters->lapped,
		.holes = counters->holes,
		.corrupt = counters->corrupt,
	};
}

static void fill_network_stats(const struct node *node, unsigned index,
			       struct report_network_stats *report)
{
	const struct config_network *network = &node->config->networks[index];
	struct kernel_drops drops = {0};
	struct port_counters counters;

	plane_read_port(node->plane, node->ports[index], &counters);
	if (kernel_get_drops(node->kernel, network->tap, &drops) < 0)
		drops = (struct kernel_drops){
			0}; /* the interface is gone: so is its count */
	REPORT_SET(report->network, network->name);
	report->kind = network->kind;
	report->unrouted_frames = counters.unrouted_frames;
	memcpy(report->drops.frames, counters.drops, sizeof(report->drops.frames));
	report->kernel_tx_dropped = drops.tx_dropped;
	report->kernel_rx_dropped = drops.rx_dropped;
	fill_cast_stats(&counters.casts, &report->casts);
	node_fill_dispatch_stats(node, index, &counters.dispatch, report);
}

/* A list under construction; `at` stops where the room ends. */
struct cast_list {
	const struct node *node;
	struct report_cast *casts;
	unsigned count;
	unsigned room;
};

static void add_cast(const struct cast_report *cast, void *arg)
{
	struct cast_list *list = arg;
	struct report_cast *report = &list->casts[list->count];
	struct cast_counters counters;
	struct cast_usage usage;

	if (list->count == list->room)
		return;
	list->count++;
	plane_read_cast(world_event_cast(cast->cast), &counters, &usage);
	REPORT_SET(report->network, list->node->config->networks[cast->network].name);
	REPORT_SET(report->label, cast->label);
	report->lane = cast->lane;
	report->epoch = cast->epoch;
	report->maker = cast->maker;
	report->depth = cast->depth;
	report->readers = cast->readers;
	report->is_draining = cast->is_draining;
	fill_cast_stats(&counters, &report->counts);
}

static void count_cast(const struct cast_report *cast, void *arg)
{
	(void)cast;
	++*(unsigned *)arg;
}

static struct report_cast *fill_casts(const struct node *node, unsigned *ret_count)
{
	struct cast_list list = {.node = node};

	membership_each_cast(node->membership, count_cast, &list.room);
	list.casts = report_list_new(list.room, sizeof(*list.casts));
	if (!list.casts)
		return NULL;
	membership_each_cast(node->membership, add_cast, &list);
	*ret_count = list.count;
	return list.casts;
}

static uint64_t count_drops(const struct report_stats *stats)
{
	uint64_t sum = 0;

	for (unsigned reason = 0; reason < DROP_NUM_; reason++) {
		for (unsigned i = 0; i < stats->num_networks; i++)
			sum += stats->networks[i].drops.frames[reason];
		for (unsigned i = 0; i < stats->num_links; i++)
			sum += stats->links[i].sent_drops.frames[reason] +
			       stats->links[i].received_drops.frames[reason];
	}
	return sum;
}

/* ---- the verbs ---- */

static int report_stats(void *arg, struct report_stats *report)
{
	const struct node *node = arg;

	REPORT_SET(report->node, node->config->name);
	report->networks = report_list_new(node->num_adapters, sizeof(*report->networks));
	if (!report->networks)
		return -ENOMEM;
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (config_has_network(node->config, i))
			fill_network_stats(node, i,
					   &report->networks[report->num_networks++]);
	}
	report->links = fill_links(node, fill_link_stats, sizeof(*report->links),
				   &report->num_links);
	report->casts = fill_casts(node, &report->num_casts);
	return report->links && report->casts ? 0 : -ENOMEM;
}

static int report_topology(void *arg, struct report_topology *report)
{
	const struct node *node = arg;

	REPORT_SET(report->node, node->config->name);
	report->networks = fill_networks(node, &report->num_networks);
	report->nodes = fill_nodes(node, true, &report->num_nodes);
	report->links = fill_links(node, fill_topology_link, sizeof(*report->links),
				   &report->num_links);
	if (node_fill_borders(node, report) < 0)
		return -ENOMEM;
	return report->networks && report->nodes && report->links ? 0 : -ENOMEM;
}

static void add_reason(const char *words, void *arg)
{
	struct report_status *report = arg;

	if (report->num_reasons == REPORT_REASONS_MAX)
		return;
	REPORT_SET(report->reasons[report->num_reasons], words);
	report->num_reasons++;
}

static void add_adapter_reason(const struct node *node, const struct adapter *adapter,
			       struct report_status *report)
{
	struct config_address leased[CONFIG_ADDRESSES_MAX];
	char words[REPORT_REASON_MAX];

	if (adapter->gone)
		snprintf(words, sizeof(words), "network %s: interface %s was removed",
			 adapter->network->name, adapter->network->tap);
	else if (adapter->network->dhcp &&
		 find_leased(node, adapter->network, leased) <= 0)
		snprintf(words, sizeof(words),
			 "network %s: no address by DHCP yet (client: %s)",
			 adapter->network->name, dhcp_program_name(&node->dhcp_program));
	else
		return;
	add_reason(words, report);
}

/* While we hold it, nothing in it goes: the TAPs are there, and nobody finds them. */
static void add_netns_reason(const struct node *node, struct report_status *report)
{
	char words[REPORT_REASON_MAX];

	if (netns_is_current(node->netns))
		return;
	snprintf(words, sizeof(words),
		 "network namespace %.50s was deleted or replaced, the TAPs are in the "
		 "old "
		 "one; restart the node",
		 node->config->netns);
	add_reason(words, report);
}

static void add_fabric_reasons(const struct node *node, struct report_status *report)
{
	char words[REPORT_REASON_MAX];

	for (unsigned i = 0; i < report->num_fabrics; i++) {
		const struct report_fabric *fabric = &report->fabrics[i];

		if (fabric->state == REPORT_STATE_UP)
			continue;
		snprintf(words, sizeof(words), "fabric %.31s: %.270s", fabric->name,
			 fabric->reason);
		add_reason(words, report);
	}
	if (*node_cluster_words(node))
		add_reason(node_cluster_words(node), report);
}

static void fill_health(const struct node *node, struct report_status *report)
{
	add_netns_reason(node, report);
	add_fabric_reasons(node, report);
	for (unsigned i = 0; i < node->num_adapters; i++)
		add_adapter_reason(node, &node->adapters[i], report);
	node_each_global_reason(node, add_reason, report);
	node_each_border_reason(node, add_reason, report);
	membership_each_reason(node->membership, add_reason, report);
	node_each_missing_member(node, add_reason, report);
	report->state =
		report->num_reasons ? REPORT_HEALTH_DEGRADED : REPORT_HEALTH_READY;
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (!report->num_reasons && node->adapters[i].paused_ns)
			report->state = REPORT_HEALTH_PAUSED;
	}
}

static int report_status(void *arg, struct report_status *report)
{
	const struct node *node = arg;
	struct report_stats stats = {0};
	int ret = report_stats(arg, &stats);

	report->drops = count_drops(&stats);
	report_stats_free(&stats);
	if (ret < 0)
		return ret;
	REPORT_SET(report->node, node->config->name);
	REPORT_SET(report->cluster, node->config->cluster);
	REPORT_SET(report->netns, node->config->netns);
	report->id = node->config->id;
	report->pid = (uint32_t)getpid();
	report->uptime_ms = (clock_now_ns() - node->started_ns) / NSEC_PER_MSEC;
	report->incarnation = membership_incarnation(node->membership);
	report->nodes_up = membership_peers_up(node->membership);
	report->nodes_known = membership_peers_known(node->membership);
	report->networks = fill_networks(node, &report->num_networks);
	report->nodes = fill_nodes(node, false, &report->num_nodes);
	ret = node_fill_fabrics(node, report);
	if (ret < 0)
		return ret;
	fill_health(node, report);
	return report->networks && report->nodes ? 0 : -ENOMEM;
}

static int report_version(void *arg, struct report_version *report)
{
	const struct node *node = arg;

	REPORT_SET(report->node, node->config->name);
	REPORT_SET(report->version, SHMNET_VERSION);
	report->wire_version = wire_spoken.max;
	return 0;
}

/*
 * The wall's time is made up when asked: a clock that was set since then, as it is by
 * NTP after a boot, does not leave an event in another year.
 */
static int report_events(void *arg, struct report_events *report)
{
	const struct node *node = arg;
	const unsigned count = events_kept(&node->events);
	struct timespec wall;
	uint64_t wall_ms, now_ms;

	clock_gettime(CLOCK_REALTIME, &wall);
	wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / NSEC_PER_MSEC;
	now_ms = clock_now_ns() / NSEC_PER_MSEC;
	REPORT_SET(report->node, node->config->name);
	report->pid = (uint32_t)getpid();
	report->events = report_list_new(count, sizeof(*report->events));
	if (!report->events)
		return -ENOMEM;
	report->num_events = count;
	for (unsigned i = 0; i < count; i++) {
		const struct events_item *from = events_get(&node->events, i);
		struct report_event *to = &report->events[i];

		to->sequence = from->sequence;
		to->monotonic_ms = from->time_ns / NSEC_PER_MSEC;
		to->wall_ms = wall_ms - (now_ms - to->monotonic_ms);
		to->kind = from->kind;
		to->old = from->old;
		to->state = from->state;
		to->has_gap = from->gap_ns != 0;
		to->gap_ms = from->gap_ns / NSEC_PER_MSEC;
		REPORT_SET(to->name, from->subject);
		REPORT_SET(to->cause, from->cause);
	}
	return 0;
}

/* It waits for one of the two. */
static void cancel(void *arg, struct client *client)
{
	node_ping_cancel(arg, client);
	node_explain_cancel(arg, client);
}

const struct ctlsock_handler node_report_handler = {
	.status = report_status,
	.topology = report_topology,
	.stats = report_stats,
	.version = report_version,
	.events = report_events,
	.flows = node_flows,
	.listeners = node_listeners,
	.takeover = node_takeover,
	.drain = node_drain,
	.reload = node_reload,
	.pause = node_pause,
	.ping = node_ping,
	.explain = node_explain,
	.cancel = cancel,
};
