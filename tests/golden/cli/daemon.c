/*
 * A node for the CLI's tests: the real control socket, reports made up.
 *
 *     cli-daemon SOCKET MODE
 *
 * MODE says what it is: ready, degraded, empty (no network, no node), starting
 * (ready from its third answer to "status" on), hostile (strings as a bad peer
 * would choose them), paused (lan0 here and svc0 at n2), mute (accepts, never answers),
 * failing (every handler fails). Prints "listening" when it does; SIGTERM ends it.
 */
#include "control/ctlsock.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <event2/event.h>

enum mode { READY, DEGRADED, EMPTY, STARTING, HOSTILE, PAUSED, MUTE, FAILING, MODE_NUM_ };

static const char *const mode_names[] = {"ready",   "degraded", "empty", "starting",
					 "hostile", "paused",	"mute",	 "failing"};
_Static_assert(sizeof(mode_names) / sizeof(mode_names[0]) == MODE_NUM_,
	       "a name per mode");

struct fake {
	enum mode mode;
	unsigned asked;
};

/* One that is down has told nothing. */
static int members_fill(const struct fake *fake, struct report_network *network)
{
	struct report_member *members = report_list_new(3, sizeof(*members));

	if (!members)
		return -ENOMEM;
	network->members = members;
	network->num_members = 3;
	for (unsigned i = 0; i < 3; i++) {
		snprintf(members[i].name, sizeof(members[i].name), "n%u", i + 1);
		members[i].state = REPORT_STATE_UP;
		members[i].is_known = true;
		members[i].weight = i ? 1 : 256;
		members[i].connections = i * 12345;
	}
	members[1].is_paused = fake->mode == PAUSED;
	if (fake->mode != DEGRADED)
		return 0;
	members[0].announces = true;
	members[1].drained = true;
	members[1].state = REPORT_STATE_SUSPECT;
	members[2].state = REPORT_STATE_DOWN;
	members[2].is_known = false;
	return 0;
}

static int networks_fill(const struct fake *fake, unsigned *count,
			 struct report_network **list)
{
	struct report_network *networks;

	if (fake->mode == EMPTY)
		return 0;
	networks = report_list_new(2, sizeof(*networks));
	if (!networks)
		return -ENOMEM;
	REPORT_SET(networks[0].name, "lan0");
	REPORT_SET(networks[0].tap, "shm0");
	networks[0].kind = NETWORK_KIND_LOCAL;
	networks[0].mtu = 9000;
	networks[0].dhcp = true;
	networks[0].num_addresses = 1;
	REPORT_SET(networks[0].addresses[0], "fd77::1/64");
	if (fake->mode != DEGRADED) {
		networks[0].num_addresses = 2;
		REPORT_SET(networks[0].addresses[1], "10.77.0.1/24");
	}
	networks[0].state = REPORT_STATE_UP;
	networks[0].queues = 4;
	networks[0].num_offloads = 2;
	REPORT_SET(networks[0].offloads[0], "tso4");
	REPORT_SET(networks[0].offloads[1], "uso");
	networks[0].links_up = fake->mode == DEGRADED ? 1 : 2;
	REPORT_SET(networks[1].name, "svc0");
	REPORT_SET(networks[1].tap, "shmg0");
	networks[1].kind = NETWORK_KIND_GLOBAL;
	networks[1].mtu = 65521;
	networks[1].state = fake->mode == DEGRADED ? REPORT_STATE_DOWN : REPORT_STATE_UP;
	networks[1].queues = 1;
	networks[1].num_addresses = 1;
	REPORT_SET(networks[1].addresses[0], "10.99.0.1/32");
	networks[1].links_up = fake->mode == DEGRADED ? 0 : 2;
	if (fake->mode == PAUSED) {
		networks[0].state = REPORT_STATE_PAUSED;
		networks[0].is_paused = true;
		networks[0].paused_ms = 12345;
	}
	*count = 2;
	*list = networks;
	return members_fill(fake, &networks[1]);
}

static void node_set(struct report_node *node, const char *name, uint32_t id,
		     const char *fabric, uint32_t incarnation)
{
	REPORT_SET(node->name, name);
	node->id = id;
	node->state = REPORT_STATE_UP;
	REPORT_SET(node->fabric, fabric);
	node->incarnation = incarnation;
}

static void node_pause(struct report_node *node, const char *network)
{
	REPORT_SET(node->paused[node->num_paused], network);
	node->num_paused++;
}

/* Itself last, so that "status" can leave it out. */
static int nodes_fill(const struct fake *fake, bool with_self, unsigned *count,
		      struct report_node **list)
{
	struct report_node *nodes = report_list_new(3, sizeof(*nodes));
	unsigned others = fake->mode == EMPTY ? 0 : 2;

	if (!nodes)
		return -ENOMEM;
	*list = nodes;
	*count = others + with_self;
	if (with_self)
		node_set(&nodes[others], "n1", 1, "self", 5);
	if (fake->mode == EMPTY)
		return 0;
	node_set(&nodes[0], "n2", 2, "shm", 3);
	nodes[0].pid = 812;
	nodes[0].wire_version = 2;
	nodes[1].wire_version = fake->mode == DEGRADED ? 1 : 2;
	REPORT_SET(nodes[0].fabric_reason, "same rendezvous directory");
	node_set(&nodes[1], fake->mode == HOSTILE ? "n\033[31m\"3\\\nx" : "n3", 65534,
		 fake->mode == HOSTILE ? "sh\xff\xfem" : "rdma/rxe0", 1);
	if (fake->mode != HOSTILE)
		REPORT_SET(nodes[1].fabric_reason,
			   "not in the rendezvous directory here");
	if (fake->mode == DEGRADED) {
		nodes[0].state = REPORT_STATE_SUSPECT;
		nodes[1].state = REPORT_STATE_DOWN;
		nodes[1].incarnation = 0;
		REPORT_SET(nodes[1].reason, "socket closed 12 s ago");
	}
	if (fake->mode == PAUSED) {
		node_pause(&nodes[0], "lan0");
		node_pause(&nodes[0], "svc0");
		node_pause(&nodes[others], "lan0"); /* of status nobody's */
	}
	return 0;
}

/* Both kinds, and of the seeds one of each state. */
static int fabrics_fill(const struct fake *fake, struct report_status *report)
{
	static const struct report_seed seeds[] = {
		{"192.0.2.1:7471", REPORT_SEED_SELF, "", "", 11520000},
		{"192.0.2.2:7471", REPORT_SEED_UP, "n2", "", 61000},
		{"[fd77::3]:7471", REPORT_SEED_WAITING, "n3",
		 "[fd77::3]:7471: Connection refused", 12000},
		{"192.0.2.4:7471", REPORT_SEED_CONNECTING, "", "", 400},
	};

	if (fake->mode == EMPTY)
		return 0;
	report->fabrics = report_list_new(2, sizeof(*report->fabrics));
	report->seeds = report_list_new(4, sizeof(*report->seeds));
	if (!report->fabrics || !report->seeds)
		return -ENOMEM;
	report->num_fabrics = fake->mode == STARTING ? 1 : 2;
	REPORT_SET(report->fabrics[0].name, "local");
	REPORT_SET(report->fabrics[0].path, "/run/shmnet/fabric");
	report->fabrics[0].state = REPORT_STATE_UP;
	REPORT_SET(report->fabrics[1].name, "roce");
	report->fabrics[1].kind = FABRIC_KIND_RDMA;
	report->fabrics[1].state = REPORT_STATE_UP;
	REPORT_SET(report->fabrics[1].device, "rxe0");
	REPORT_SET(report->fabrics[1].listen, "192.0.2.1:7471");
	report->num_seeds = fake->mode == STARTING ? 0 : 4;
	memcpy(report->seeds, seeds, sizeof(seeds));
	if (fake->mode != DEGRADED)
		return 0;
	report->fabrics[1].state = REPORT_STATE_DOWN;
	report->fabrics[1].security = FABRIC_SECURITY_NONE;
	REPORT_SET(report->fabrics[1].reason, "rxe0: port 1 is down");
	return 0;
}

static int fake_status(void *arg, struct report_status *report)
{
	struct fake *fake = arg;
	int rc;

	if (fake->mode == FAILING)
		return -ENOMEM;
	REPORT_SET(report->node, "n1");
	report->id = 1;
	REPORT_SET(report->cluster, "demo");
	report->pid = 4711;
	report->state = REPORT_HEALTH_READY;
	report->uptime_ms = 11520000;
	report->incarnation = 5;
	if (fake->mode == DEGRADED)
		REPORT_SET(report->netns, "blue");
	report->nodes_known = fake->mode == EMPTY ? 0 : 2;
	report->nodes_up = report->nodes_known;
	if (fake->mode == PAUSED)
		report->state = REPORT_HEALTH_PAUSED;
	if (fake->mode == STARTING && ++fake->asked < 3)
		report->state = REPORT_HEALTH_STARTING;
	if (fake->mode == DEGRADED) {
		report->state = REPORT_HEALTH_DEGRADED;
		report->nodes_up = 0;
		report->num_reasons = 3;
		REPORT_SET(report->reasons[0], "n3 is down: socket closed 12 s ago");
		REPORT_SET(report->reasons[1], "svc0 has no carrier");
		REPORT_SET(report->reasons[2], "fabric roce: rxe0: port 1 is down");
		report->drops = 1234567;
	}
	rc = networks_fill(fake, &report->num_networks, &report->networks);
	if (!rc)
		rc = fabrics_fill(fake, report);
	return rc ? rc : nodes_fill(fake, false, &report->num_nodes, &report->nodes);
}

static void link_set(struct report_link *link, const char *network, const char *from,
		     const char *to)
{
	REPORT_SET(link->network, network);
	REPORT_SET(link->from, from);
	REPORT_SET(link->to, to);
	REPORT_SET(link->fabric, "shm");
	link->state = REPORT_STATE_UP;
}

static int links_fill(const struct fake *fake, unsigned *count, struct report_link **list)
{
	struct report_link *links = report_list_new(6, sizeof(*links));

	if (!links)
		return -ENOMEM;
	*list = links;
	if (fake->mode == EMPTY)
		return 0;
	link_set(&links[0], "lan0", "n1", "n2");
	link_set(&links[1], "lan0", "n2", "n1");
	*count = 2;
	if (fake->mode == DEGRADED) {
		links[1].state = REPORT_STATE_DOWN;
		return 0;
	}
	link_set(&links[2], "lan0", "n1", "n3");
	link_set(&links[3], "lan0", "n3", "n1");
	REPORT_SET(links[2].fabric, "rdma/rxe0");
	REPORT_SET(links[3].fabric, "rdma/rxe0");
	link_set(&links[4], "svc0", "n1", "n2");
	link_set(&links[5], "svc0", "n2", "n1");
	links[4].state = links[5].state = REPORT_STATE_DOWN;
	for (unsigned i = 0; i < 6 && fake->mode == PAUSED; i++)
		links[i].state = REPORT_STATE_PAUSED;
	*count = 6;
	return 0;
}

/* A border that announces all, and one that announces nothing. */
static int borders_fill(const struct fake *fake, struct report_topology *report)
{
	struct report_border *borders = report_list_new(2, sizeof(*borders));

	if (!borders)
		return -ENOMEM;
	report->borders = borders;
	if (fake->mode == EMPTY || fake->mode == PAUSED)
		return 0;
	report->num_borders = 2;
	for (unsigned i = 0; i < 2; i++) {
		borders[i].num_nics = 1;
		REPORT_SET(borders[i].nics[0].name, "eth0");
		borders[i].nics[0].mtu = 1500;
	}
	REPORT_SET(borders[0].node, fake->mode == HOSTILE ? "e\033[31mvil\"\\\n" : "n1");
	REPORT_SET(borders[1].node, "n2");
	borders[0].nics[0].is_up = true;
	borders[0].num_announces = 2;
	REPORT_SET(borders[0].announces[0].network, "svc0");
	borders[0].announces[0].num_addresses = 2;
	REPORT_SET(borders[0].announces[0].addresses[0], "10.99.0.1");
	REPORT_SET(borders[0].announces[0].addresses[1], "fd99::1");
	REPORT_SET(borders[0].announces[1].network, "elsewhere");
	borders[1].num_nics = 2;
	REPORT_SET(borders[1].nics[1].name, "eth1");
	return 0;
}

static int fake_topology(void *arg, struct report_topology *report)
{
	struct fake *fake = arg;
	int rc;

	if (fake->mode == FAILING)
		return -EIO;
	REPORT_SET(report->node, "n1");
	rc = networks_fill(fake, &report->num_networks, &report->networks);
	if (!rc)
		rc = nodes_fill(fake, true, &report->num_nodes, &report->nodes);
	if (!rc)
		rc = borders_fill(fake, report);
	return rc ? rc : links_fill(fake, &report->num_links, &report->links);
}

static void link_stats_set(struct report_link_stats *link, const char *network,
			   const char *peer, uint64_t scale)
{
	REPORT_SET(link->network, network);
	REPORT_SET(link->peer, peer);
	link->sent_frames = 12 * scale;
	link->sent_bytes = 12 * 1448 * scale;
	link->received_frames = 9 * scale;
	link->delivered_frames = 9 * scale;
	link->delivered_bytes = 9 * 66 * scale;
	link->doorbells_rung = 3 * scale;
	link->ring_used = 65536;
	link->ring_size = 1 << 20;
	link->received_ring_used = 262144;
	link->received_ring_size = 512 << 10;
	link->messages_sent = 2 * scale;
	link->messages_received = 3 * scale;
	link->messages_lost = 1;
}

static void casts_set(struct report_cast *casts)
{
	REPORT_SET(casts[0].network, "lan0");
	REPORT_SET(casts[0].label, "broadcast");
	casts[0].epoch = 7;
	casts[0].maker = 1;
	casts[0].depth = 256;
	casts[0].readers = 2;
	casts[0].counts.written = 40;
	casts[0].counts.received = 1234567;
	REPORT_SET(casts[1].network, "svc0");
	REPORT_SET(casts[1].label, "broadcast");
	casts[1].lane = true;
	casts[1].maker = 3;
	casts[1].depth = 65536;
	casts[1].is_draining = true;
	casts[1].counts.lapped = 12345;
	casts[1].counts.holes = 2;
	casts[1].counts.corrupt = 1;
}

static int fake_stats(void *arg, struct report_stats *report)
{
	struct fake *fake = arg;

	if (fake->mode == FAILING)
		return -EIO;
	REPORT_SET(report->node, "n1");
	if (fake->mode == EMPTY)
		return 0;
	report->networks = report_list_new(2, sizeof(*report->networks));
	report->links = report_list_new(2, sizeof(*report->links));
	report->casts = report_list_new(2, sizeof(*report->casts));
	if (!report->networks || !report->links || !report->casts)
		return -ENOMEM;
	report->num_networks = report->num_links = report->num_casts = 2;
	casts_set(report->casts);
	REPORT_SET(report->networks[0].network, "lan0");
	REPORT_SET(report->networks[1].network, "svc0");
	report->networks[1].kind = NETWORK_KIND_GLOBAL;
	report->networks[1].dispatch = (struct report_dispatch_stats){
		.packets = 123456789,
		.local = 400,
		.forwarded = 123456000,
		.copied = 3,
		.dropped = 380,
		.parked = 6,
		.hits = 123450000,
		.waited = 6789,
		.asked = 6000,
		.answers = 5999,
		.cached = 4321,
		.evicted = 17,
	};
	link_stats_set(&report->links[0], "lan0", "n2", 1000000);
	link_stats_set(&report->links[1], "svc0", "n3", 1);
	if (fake->mode == DEGRADED) {
		report->networks[0].unrouted_frames = 5;
		report->networks[0].drops.frames[DROP_FOREIGN_SOURCE] = 3;
		report->networks[0].drops.frames[DROP_NO_PEER] = 2;
		report->networks[0].kernel_tx_dropped = 4;
		report->networks[0].casts = (struct report_cast_stats){
			.written = 10,
			.skipped = 1,
			.received = 20000,
			.own = 9,
			.passed = 2,
			.lapped = 3000,
			.holes = 4,
			.corrupt = 5,
		};
		report->links[0].received_drops.frames[DROP_CAST_LOST] = 2999;
		report->links[0].sent_drops.frames[DROP_RING_FULL] = 123456;
		report->links[0].received_drops.frames[DROP_BAD_LENGTH] = 1;
		report->links[0].received_drops.frames[DROP_TAP_ERROR] = 7;
	}
	return 0;
}

static int fake_version(void *arg, struct report_version *report)
{
	struct fake *fake = arg;

	if (fake->mode == FAILING)
		return -EIO;
	REPORT_SET(report->node, "n1");
	REPORT_SET(report->version, "0.1.0-test");
	report->wire_version = 2;
	return 0;
}

static void event_set(struct report_events *report, enum events_kind kind,
		      const char *name, enum events_state old, enum events_state state,
		      const char *cause)
{
	struct report_event *event = &report->events[report->num_events++];

	event->sequence = report->num_events;
	event->monotonic_ms = 5000 + 1500 * report->num_events;
	event->wall_ms = 1700000000000 + event->monotonic_ms;
	event->kind = kind;
	REPORT_SET(event->name, name);
	event->old = old;
	event->state = state;
	REPORT_SET(event->cause, cause);
}

static void event_set_gap(struct report_events *report, uint64_t gap_ms)
{
	struct report_event *event = &report->events[report->num_events - 1];

	event->has_gap = true;
	event->gap_ms = gap_ms;
}

static int fake_events(void *arg, struct report_events *report)
{
	struct fake *fake = arg;

	if (fake->mode == FAILING)
		return -EIO;
	REPORT_SET(report->node, "n1");
	report->pid = 4711;
	if (fake->mode == EMPTY)
		return 0;
	report->events = report_list_new(7, sizeof(*report->events));
	if (!report->events)
		return -ENOMEM;
	event_set(report, EVENTS_NODE, "n1", EVENTS_STARTING, EVENTS_READY,
		  "node 1 of cluster demo, 2 networks");
	event_set(report, EVENTS_NODE, "n2", EVENTS_DOWN, EVENTS_UP,
		  "id 2, incarnation 3, pid 812, networks 1");
	event_set(report, EVENTS_NETWORK, "lan0", EVENTS_OFF, EVENTS_ON, "a peer is up");
	if (fake->mode == READY)
		return 0;
	event_set(report, EVENTS_NODE, "n2", EVENTS_UP, EVENTS_DOWN,
		  "its connection ended");
	event_set_gap(report, 112);
	event_set(report, EVENTS_NETWORK, "lan0", EVENTS_ON, EVENTS_OFF, "no live peer");
	event_set(report, EVENTS_NODE, fake->mode == HOSTILE ? "n\033[31m\"3\\\nx" : "n3",
		  EVENTS_DOWN, EVENTS_REFUSED,
		  "refused: cluster of n3 is prod, ours is demo");
	event_set(report, EVENTS_NETWORK, "lan0", EVENTS_OFF, EVENTS_REMOVED,
		  "interface shm0 was removed");
	return 0;
}

static int refuse(struct report_refusal *refusal, const char *code, const char *message)
{
	REPORT_SET(refusal->code, code);
	REPORT_SET(refusal->message, message);
	return -ENOENT;
}

/* By how often it was asked: n3 is gone at times, svc0 loses every other one. */
static int fake_ping(void *arg, const struct ctl_ping_request *request,
		     struct client *client, struct report_refusal *ret_refusal)
{
	static const uint64_t times_ns[] = {12345, 8000, 1234567, 2500000000};
	struct fake *fake = arg;
	struct report_ping report = {0};
	unsigned sequence = fake->asked++;

	if (strcmp(request->node, "n1") == 0)
		return refuse(ret_refusal, "self",
			      "n1 is the node that you ask; the others are: n2 n3");
	if (fake->mode == DEGRADED)
		return refuse(ret_refusal, "node-down",
			      "n3 is down: socket closed 12 s ago");
	if (strcmp(request->node, "n3") == 0 && sequence % 3 == 2)
		return refuse(ret_refusal, "node-down", "n3 is down: it left");
	REPORT_SET(report.node, "n1");
	REPORT_SET(report.peer, request->node);
	REPORT_SET(report.answers[0].network, "lan0");
	REPORT_SET(report.answers[0].fabric,
		   fake->mode == HOSTILE ? "sh\xff\xfe\033m" : "shm");
	report.answers[0].time_ns = times_ns[sequence % 4];
	REPORT_SET(report.answers[1].network, "svc0");
	REPORT_SET(report.answers[1].fabric, "shm");
	report.answers[1].time_ns = sequence % 2 ? 0 : 9999;
	report.num_answers = *request->network ? 1 : 2;
	ctlsock_answer_ping(client, &report);
	return 0;
}

static void flow_set(struct report_flow *flow, const char *protocol, const char *foreign,
		     const char *local, const char *owner, const char *via)
{
	REPORT_SET(flow->network, "svc0");
	REPORT_SET(flow->protocol, protocol);
	REPORT_SET(flow->foreign, foreign);
	REPORT_SET(flow->local, local);
	REPORT_SET(flow->owner, owner);
	REPORT_SET(flow->via, via);
}

static int check_network(const struct fake *fake, const char *name,
			 struct report_refusal *refusal)
{
	if (fake->mode == EMPTY)
		return refuse(refusal, "no-global-network",
			      "this node has no network of kind global");
	if (*name && strcmp(name, "svc0") != 0)
		return refuse(refusal, "unknown-name",
			      "no such network here; global ones are: svc0");
	return fake->mode == FAILING ? -EIO : 0;
}

static int fake_flows(void *arg, const struct ctl_flows_request *request,
		      struct report_flows *report, struct report_refusal *ret_refusal)
{
	const struct fake *fake = arg;
	int rc = check_network(fake, request->network, ret_refusal);

	if (rc)
		return rc;
	REPORT_SET(report->node, "n1");
	report->tables = report_list_new(1, sizeof(*report->tables));
	report->flows = report_list_new(4, sizeof(*report->flows));
	if (!report->tables || !report->flows)
		return -ENOMEM;
	report->num_tables = 1;
	REPORT_SET(report->tables[0].network, "svc0");
	report->tables[0].room = 65536;
	if (fake->mode == DEGRADED)
		return 0;
	report->tables[0].flows = 4;
	report->num_flows = request->limit < 4 ? request->limit : 4;
	flow_set(&report->flows[0], "tcp", "198.51.100.7:40112", "10.99.0.1:80", "n3",
		 "policy");
	report->flows[0].age_ms = 4000;
	flow_set(&report->flows[1], "tcp", "203.0.113.250:65535", "10.99.0.1:443",
		 fake->mode == HOSTILE ? "n\033[31m\"3\\\nx" : "n2", "pin");
	report->flows[1].age_ms = 86400000;
	flow_set(&report->flows[2], "udp", "[2001:db8::7]:53", "[fd99::1]:53", "n1",
		 "kernel");
	flow_set(&report->flows[3], "50", "198.51.100.7", "10.99.0.1", "n1", "only");
	return 0;
}

static void listener_set(struct report_listener *listener, const char *protocol,
			 const char *local, const char *foreign, unsigned num_nodes)
{
	REPORT_SET(listener->network, "svc0");
	REPORT_SET(listener->protocol, protocol);
	REPORT_SET(listener->local, local);
	REPORT_SET(listener->foreign, foreign);
	listener->nodes = report_list_new(num_nodes, REPORT_NAME_MAX);
	for (unsigned i = 0; listener->nodes && i < num_nodes; i++)
		snprintf(listener->nodes[i], REPORT_NAME_MAX, "n%u", i + 1);
	listener->num_nodes = listener->nodes ? num_nodes : 0;
}

static int fake_listeners(void *arg, const struct ctl_listeners_request *request,
			  struct report_listeners *report,
			  struct report_refusal *ret_refusal)
{
	const struct fake *fake = arg;
	int rc = check_network(fake, request->network, ret_refusal);

	if (rc)
		return rc;
	REPORT_SET(report->node, "n1");
	if (fake->mode == DEGRADED)
		return 0;
	report->listeners = report_list_new(3, sizeof(*report->listeners));
	if (!report->listeners)
		return -ENOMEM;
	report->num_listeners = 3;
	listener_set(&report->listeners[0], "tcp", "*:80", "", 3);
	listener_set(&report->listeners[1], "tcp", "10.99.0.1:22", "", 1);
	listener_set(&report->listeners[2], "udp", "0.0.0.0:123", "198.51.100.7:123", 2);
	return 0;
}

static int fake_drain(void *arg, const struct ctl_drain_request *request,
		      struct report_drain *report, struct report_refusal *ret_refusal)
{
	const struct fake *fake = arg;
	int rc = check_network(fake, request->network, ret_refusal);

	if (rc)
		return rc;
	if (strcmp(request->node, "n4") == 0)
		return refuse(ret_refusal, "unknown-name",
			      "n4 is no member of network svc0; there are: n1 n2 n3");
	REPORT_SET(report->node, "n1");
	report->num_networks = 1;
	REPORT_SET(report->networks[0].network, "svc0");
	REPORT_SET(report->networks[0].member, *request->node ? request->node : "n1");
	report->networks[0].drained = !request->undo;
	report->networks[0].connections = 41;
	return 0;
}

static void change_set(struct report_reload *report, const char *key,
		       enum report_change_state state, const char *reason)
{
	struct report_change *to = &report->changes[report->num_changes++];

	REPORT_SET(to->key, key);
	REPORT_SET(to->reason, reason);
	to->state = state;
}

/* Of a bad file, of one that is as it was, and of one with all kinds of changes. */
static int fake_reload(void *arg, struct report_reload *report)
{
	const struct fake *fake = arg;

	if (fake->mode == FAILING)
		return -EIO;
	REPORT_SET(report->node, "n1");
	REPORT_SET(report->file, "/etc/shmnet/n1.yaml");
	report->errors = report_list_new(2, REPORT_ERROR_MAX);
	report->changes = report_list_new(4, sizeof(*report->changes));
	if (!report->errors || !report->changes)
		return -ENOMEM;
	if (fake->mode == EMPTY)
		return 0;
	if (fake->mode == DEGRADED) {
		report->num_errors = 2;
		REPORT_SET(report->errors[0], "/etc/shmnet/n1.yaml:1:7: error: no");
		REPORT_SET(report->errors[1], "/etc/shmnet/n1.yaml:3:9: error: nor this");
		return 0;
	}
	change_set(report, "networks.lan0.mtu", REPORT_CHANGE_NEEDS_RESTART, NULL);
	change_set(report, "networks.svc0.weight", REPORT_CHANGE_DONE, NULL);
	if (fake->mode == HOSTILE)
		change_set(report, "networks.lan1", REPORT_CHANGE_FAILED,
			   "interface \033[31mshm1 is held");
	return 0;
}

/* In mode paused lan0 is already. */
static int fake_pause(void *arg, const struct ctl_pause_request *request,
		      struct report_pause *report, struct report_refusal *ret_refusal)
{
	static const char *const names[] = {"lan0", "svc0"};
	const struct fake *fake = arg;

	REPORT_SET(report->node, "n1");
	report->is_resume = request->is_resume;
	for (unsigned i = 0; i < 2; i++) {
		struct report_paused *network = &report->networks[report->num_networks];
		bool was = fake->mode == PAUSED && i == 0;

		if (*request->network && strcmp(request->network, names[i]) != 0)
			continue;
		report->num_networks++;
		REPORT_SET(network->network, names[i]);
		network->is_paused = !request->is_resume;
		network->has_changed = network->is_paused != was;
		network->paused_ms = was ? 12345 : 0;
	}
	if (report->num_networks)
		return 0;
	return refuse(ret_refusal, "unknown-name",
		      "no network 'svc1' here; there are: lan0 svc0");
}

static void step_add(struct report_explain *report, const char *step, const char *result)
{
	REPORT_SET(report->steps[report->num_steps].step, step);
	REPORT_SET(report->steps[report->num_steps].result, result);
	report->num_steps++;
}

/* Dropped, forwarded or taken, by the state of the node and what is asked. */
static int fake_explain(void *arg, const struct ctl_explain_request *request,
			struct client *client, struct report_refusal *ret_refusal)
{
	const struct fake *fake = arg;
	struct report_explain report = {.verdict = REPORT_VERDICT_FORWARD};
	int rc = check_network(fake, "", ret_refusal);

	if (rc)
		return rc;
	if (!strchr(request->source, ':'))
		return refuse(ret_refusal, "bad-flow", "'10.0.0.1' has no port");
	REPORT_SET(report.node, "n1");
	REPORT_SET(report.network, "svc0");
	snprintf(report.flow, sizeof(report.flow), "%.8s %.50s > %.50s",
		 request->protocol, request->source, request->destination);
	step_add(&report, "exact match here", "none");
	REPORT_SET(report.owner, "n3");
	REPORT_SET(report.fabric, "rdma/rxe0");
	if (request->established) {
		report.verdict = REPORT_VERDICT_LOCAL;
		REPORT_SET(report.owner, "n1");
		REPORT_SET(report.fabric, "");
	} else if (fake->mode == DEGRADED) {
		step_add(&report, "foreign part dropped", "nobody listens");
		report.verdict = REPORT_VERDICT_DROP;
		report.reason = DROP_NO_LISTENER;
		REPORT_SET(report.owner, "");
		REPORT_SET(report.fabric, "");
	} else {
		step_add(&report, "foreign part dropped",
			 "n1, n2, n3 listen: round-robin takes n3");
	}
	ctlsock_answer_explain(client, &report);
	return 0;
}

static void fake_cancel(void *arg, struct client *client)
{
	(void)arg;
	(void)client;
}

static const struct ctlsock_handler handler = {
	.status = fake_status,
	.topology = fake_topology,
	.stats = fake_stats,
	.version = fake_version,
	.events = fake_events,
	.flows = fake_flows,
	.listeners = fake_listeners,
	.drain = fake_drain,
	.reload = fake_reload,
	.pause = fake_pause,
	.ping = fake_ping,
	.explain = fake_explain,
	.cancel = fake_cancel,
};

static void stop(evutil_socket_t signal, short events, void *arg)
{
	(void)signal;
	(void)events;
	event_base_loopexit(arg, NULL);
}

/* Waits for the signal by itself: the socket's events are never looked at. */
static void stay_mute(void)
{
	sigset_t signals;
	int signal;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	puts("listening");
	fflush(stdout);
	sigwait(&signals, &signal);
}

static int run(struct event_base *base, struct fake *fake, const char *path)
{
	struct ctlsock_options options = {.path = path, .handler = &handler, .arg = fake};
	struct event *term;
	struct ctlsock *ctlsock;
	pid_t pid;
	int rc = ctlsock_new(base, &options, &pid, &ctlsock);

	if (rc) {
		fprintf(stderr, "%s: %s (pid %d)\n", path, strerror(-rc), (int)pid);
		return 1;
	}
	if (fake->mode == MUTE) {
		stay_mute();
	} else {
		term = evsignal_new(base, SIGTERM, stop, base);
		event_add(term, NULL);
		puts("listening");
		fflush(stdout);
		event_base_dispatch(base);
		event_free(term);
	}
	ctlsock_free(ctlsock);
	return 0;
}

int main(int argc, char **argv)
{
	struct event_base *base;
	struct fake fake = {READY, 0};
	int rc;

	if (argc != 3)
		return 2;
	while (fake.mode < MODE_NUM_ && strcmp(mode_names[fake.mode], argv[2]) != 0)
		fake.mode++;
	if (fake.mode == MODE_NUM_)
		return 2;
	base = event_base_new();
	if (!base)
		return 1;
	rc = run(base, &fake, argv[1]);
	event_base_free(base);
	return rc;
}
