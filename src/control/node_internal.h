/* What node*.c share. */
#ifndef CONTROL_NODE_INTERNAL_H
#define CONTROL_NODE_INTERNAL_H

#include "base/flow.h"
#include "base/netns.h"
#include "control/adapter.h"
#include "control/ctlsock.h"
#include "control/dhcp.h"
#include "control/dispatch.h"
#include "control/events.h"
#include "control/global.h"
#include "control/handover.h"
#include "control/kernel.h"
#include "control/member.h"
#include "control/node.h"
#include "control/world_event.h"
#include "data/plane.h"

#include <event2/event.h>
#include <sys/un.h>

#define NODE_MARK_MAX (sizeof(KERNEL_MARK_PREFIX) + CONFIG_NAME_MAX)

/* What the links to a peer that ended have counted, per network. */
struct node_history {
	struct node_history *next;
	unsigned network;
	uint16_t peer_id;
	struct link_counters counters;
};

#define NODE_PINGS_MAX CTLSOCK_CLIENTS_MAX

/* What a client waits for; free if there is no client. */
struct node_ping {
	struct node *node;
	struct client *client;
	struct event *timer;
	unsigned missing; /* answers */
	uint16_t peer_id;
	unsigned networks[CONFIG_NETWORKS_MAX]; /* in the config, by answer */
	uint64_t tokens[CONFIG_NETWORKS_MAX];	/* by answer; 0: it came, or none will */
	struct report_ping report;
};

#define NODE_EXPLAINS_MAX CTLSOCK_CLIENTS_MAX

/* Likewise. */
struct node_explain {
	struct node *node;
	struct client *client;
	unsigned network; /* in the config */
	struct dispatch_explain *running;
	char flow[FLOW_TEXT_MAX];
};

struct border;
struct takeover;

struct node {
	struct node_config *config; /* node_reload.c changes it */
	bool takes_over;	    /* if it can */
	char mark[NODE_MARK_MAX];
	uint64_t started_ns;
	bool is_stopping;
	bool is_for_good; /* and nothing is to be kept for a next life */
	int error;	  /* what the clean-up could not do */

	struct event_base *base;
	struct event *signals[2]; /* to stop */
	struct event *hangup;	  /* SIGHUP */
	struct event *watch;	  /* of the kernel's links */
	struct event *pulse;	  /* for the worker */
	uint64_t pulsed_ns;
	unsigned pulse_turns; /* to be taken before the worker may go on */
	struct netns *netns;  /* of the adapters; NULL: the one that we run in */
	struct kernel *kernel;
	struct plane *plane;
	struct world *world;
	struct membership *membership;
	struct ctlsock *ctlsock;
	struct node_history *history;
	struct events events;
	struct handover handover;  /* queues that an earlier life left open */
	struct takeover *takeover; /* the process that we take over from */
	bool is_settling;	   /* its first moments, in which TAPs rest */
	uint64_t settling_ns;	   /* since when */
	struct event *settle;
	int successor;		/* a connection to the one that takes over; -1 */
	struct event *watchdog; /* of the service manager, if it wants signs of life */
	unsigned num_adapters;	/* that are open */
	struct adapter adapters[CONFIG_NETWORKS_MAX];
	struct event *holds[CONFIG_NETWORKS_MAX]; /* carriers that are about to go */
	struct dhcp_program dhcp_program;	  /* if a network needs it */
	struct dhcp *dhcps[CONFIG_NETWORKS_MAX];  /* by network; NULL: it needs none */
	unsigned ports[CONFIG_NETWORKS_MAX];	  /* of the plane, by network */
	struct sysctls *sysctls;
	struct global *globals[CONFIG_NETWORKS_MAX]; /* by network; NULL: a local one */
	struct event *global_timer;
	struct node_dispatch *dispatches[CONFIG_NETWORKS_MAX]; /* NULL: a local network */
	struct border *border;
	struct peer_border bordering; /* what was told last */
	struct event *routing;	      /* to look again */
	struct sockets *sockets;      /* if there is a global one */
	struct event *poll, *walk;    /* of its sockets */
	bool has_guards;	      /* of this life or an earlier one */
	uint64_t last_token;	      /* of a ping */
	struct node_ping pings[NODE_PINGS_MAX];
	struct node_explain explains[NODE_EXPLAINS_MAX];
};

extern const struct ctlsock_handler node_report_handler; /* its arg is the node */

/* ---- node_ping.c ---- */

/* As struct ctlsock_handler has them; `arg` is the node. */
int node_ping(void *arg, const struct ctl_ping_request *request, struct client *client,
	      struct report_refusal *ret_refusal);
void node_ping_cancel(void *arg, struct client *client);

/* An answer came; `arg` is the node. */
void node_pong(void *arg, uint64_t token, uint64_t time_ns);

/* The link to this peer on this network is gone, and what was under way with it. */
void node_link_lost_pings(struct node *node, unsigned network, uint16_t peer_id);

/* Before the plane ends. */
void node_end_pings(struct node *node);

/* ---- node_flows.c ---- */

/* As struct ctlsock_handler has them; `arg` is the node. */
int node_flows(void *arg, const struct ctl_flows_request *request,
	       struct report_flows *report, struct report_refusal *ret_refusal);
int node_listeners(void *arg, const struct ctl_listeners_request *request,
		   struct report_listeners *report, struct report_refusal *ret_refusal);
int node_drain(void *arg, const struct ctl_drain_request *request,
	       struct report_drain *report, struct report_refusal *ret_refusal);

/* -ENOENT. */
int node_refuse(struct report_refusal *refusal, const char *code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Of a global network; nothing for a local one. */
void node_fill_members(const struct node *node, unsigned network,
		       struct report_network *report);
void node_fill_dispatch_stats(const struct node *node, unsigned network,
			      const struct dispatch_counters *counters,
			      struct report_network_stats *report);

/* Nodes that a config names as members, and that are not there: in words. */
void node_each_missing_member(const struct node *node,
			      void (*each)(const char *words, void *arg), void *arg);

/* ---- node_pause.c ---- */

/* As struct ctlsock_handler has it; `arg` is the node. */
int node_pause(void *arg, const struct ctl_pause_request *request,
	       struct report_pause *report, struct report_refusal *ret_refusal);

/* Of a network, and of this node all that are. */
void node_fill_pause(const struct node *node, unsigned network,
		     struct report_network *report);
void node_fill_pauses(const struct node *node, struct report_node *report);

/* ---- node_explain.c ---- */

/* As struct ctlsock_handler has it; `arg` is the node. */
int node_explain(void *arg, const struct ctl_explain_request *request,
		 struct client *client, struct report_refusal *ret_refusal);
/* Nothing if that client waits for none. */
void node_explain_cancel(struct node *node, const struct client *client);

/* Before the dispatchers end. */
void node_end_explains(struct node *node);

/* ---- node_networks.c; logs what is wrong ---- */

/* May it be added, or removed, while the node runs? */
bool node_can_change_network(const struct node *node,
			     const struct config_network *network);

/* The peers are told by membership_tell_networks(). */
int node_add_network(struct node *node, struct config_network *fresh);
void node_remove_network(struct node *node, unsigned index);

/* ---- node_reload.c ---- */

/* As struct ctlsock_handler has it; `arg` is the node. Logs what became of it. */
int node_reload(void *arg, struct report_reload *report);

/* ---- node_pulse.c ---- */

/* See plane_tick(). */
uint64_t node_stall_ns(const struct node *node);
int node_open_pulse(struct node *node);
void node_close_pulse(struct node *node);

/* ---- node_fabrics.c ---- */

/* Fabrics and seeds. -ENOMEM. */
int node_fill_fabrics(const struct node *node, struct report_status *report);

/* What is wrong with the cluster as a whole; "": nothing. */
const char *node_cluster_words(const struct node *node);

/* By which fabric a peer is reached, and why by that. */
void node_fill_path(const struct node *node, const struct member_report *member,
		    struct report_node *report);

/* ---- node_global.c; these log what is wrong ---- */

/* Would the next one be refused? Changes nothing. */
int node_check_prepare_global(struct node *node);

/* Before the adapters have addresses, and when all are there. */
int node_prepare_global(struct node *node);
int node_open_global(struct node *node);

/* If we take over: what the process that we take over from does until now. */
void node_hook_global(struct node *node);

/* The config has changed: what it does not ask for any more goes. */
void node_renew_global(struct node *node);

/* NULL: look at everything. */
void node_check_global(struct node *node, const struct kernel_link *link);

/* Before the adapters end, and after that. */
void node_close_global(struct node *node, enum adapter_end end);
void node_free_global(struct node *node);

/* Likewise of a killed node; what else it set back is done by node_close_global(). */
int node_clean_global(struct node *node);
int node_clean_guards(struct node *node);

/* ---- node_dispatch.c; logs what is wrong ---- */

int node_open_sockets(struct node *node);
int node_open_dispatch(struct node *node);
void node_close_dispatch(struct node *node);

/* The plane does not know a flow; `arg` is the node, also of the next five, which
 * are struct membership_handler's. */
void node_miss(void *arg, const struct plane_miss *miss);
void node_dispatch_link_up(void *arg, unsigned network, uint16_t peer_id,
			   const char *name);
void node_dispatch_link_down(void *arg, unsigned network, uint16_t peer_id);
void node_dispatch_suspect(void *arg, uint16_t peer_id, bool is_suspect);
void node_dispatch_peer_paused(void *arg, unsigned network, uint16_t peer_id,
			       bool is_paused);
void node_dispatch_message(void *arg, unsigned network, uint16_t peer_id,
			   const uint8_t *bytes, size_t length);

/* The same of any node, this one, too. */
void node_dispatch_pause(struct node *node, unsigned network, uint16_t node_id,
			 bool is_paused);

/* An interface of the host: it may be one that a network is announced on. */
void node_dispatch_link_changed(struct node *node, const struct kernel_link *link);

/* The network's `announce` is another now; on failure it is announced where it was. */
int node_renew_announce(struct node *node, unsigned network);

/* This node; false of a local network. */
bool node_is_drained(const struct node *node, unsigned network);

/* NULL: a local network. */
struct dispatch *node_find_dispatch(const struct node *node, unsigned network);

/* Of all global networks, in words. */
void node_each_global_reason(const struct node *node,
			     void (*each)(const char *words, void *arg), void *arg);

/* As the data plane and the dispatcher have them. */
void node_map_addresses(const struct config_network *network,
			uint8_t ret_addresses[CONFIG_ADDRESSES_MAX][FLOW_ADDRESS_LEN]);

/* ---- node_routing.c: what this node announces as a border ---- */

int node_open_routing(struct node *node);

/* Something that it depends on is another; at once, and when the callers are done. */
void node_check_routing(struct node *node);
void node_want_routing(struct node *node);
void node_routing_link_changed(struct node *node, const struct kernel_link *link);

/* The network is about to be paused. */
void node_withdraw_routing(struct node *node, unsigned network);

/* The NICs of the config are others. */
void node_renew_routing(struct node *node);

/* Before anything else goes: nobody is to come here any more. */
void node_close_routing(struct node *node, enum adapter_end end);

/* ---- node_borders.c: all borders, this one, too ---- */

/* In words. */
void node_each_border_reason(const struct node *node,
			     void (*each)(const char *words, void *arg), void *arg);

/* -ENOMEM */
int node_fill_borders(const struct node *node, struct report_topology *report);

/* ---- node_service.c ---- */

/* What the service manager's store has of an earlier life; what this config has no use
 * for is given up. */
int node_take_store(struct node *node);

int node_start_watchdog(struct node *node);
void node_stop_watchdog(struct node *node);

/* ---- node_takeover.c; logs what is wrong ---- */

/* If asked to take over, and if there is somebody: with its TAPs, when it has ended. */
int node_take_over(struct node *node);

/*
 * If TAPs came with their carriers, frames may wait in them: for a moment they do so
 * until there are links. Around the start of the data plane and of the world.
 */
void node_hold_taps(struct node *node);
int node_start_settling(struct node *node);

/* What the older one kept for us may go. */
void node_end_takeover(struct node *node);

/* As struct ctlsock_handler has it; `arg` is the node. */
int node_takeover(void *arg, const struct ctl_takeover_request *request,
		  struct client *client, struct report_refusal *ret_refusal);

/* All but the tables of nftables is given up: so long until the successor has its own. */
void node_wait_for_successor(struct node *node);

/* ---- node.c ---- */

/* The network of this TAP; NULL: the config has none. */
const struct config_network *node_find_tap(const struct node *node, const char *name);

/* To a network that isn't paused; its DHCP client is told. */
void node_give_carrier(struct node *node, unsigned network);

/* Whether this config may have its adapters; changes nothing. */
int node_claim_adapters(struct node *node);

/* Whether it may have its fabrics, once who runs has given up its own. */
int node_check_world(struct node *node);

/* "RUNTIME_DIR/NAME.sock" */
#define NODE_CTLSOCK_MAX sizeof(((struct sockaddr_un *)NULL)->sun_path)
void node_ctlsock_path(const struct node *node, char path[NODE_CTLSOCK_MAX]);
/* Room for the rings of one peer. */
int node_check_memory(struct node *node);
int node_open_port(struct node *node, unsigned index);
int node_open_carrier(struct node *node, unsigned index);

/* What ended links of this peer and network had counted; NULL if none did. */
const struct node_history *node_find_history(const struct node *node, unsigned network,
					     uint16_t peer_id);

/* These log what is wrong. */
int node_find_dhcp(struct node *node);
int node_open_dhcp(struct node *node);
void node_close_dhcp(struct node *node, enum adapter_end end);
void node_clean_dhcp(const struct node_config *config);

#endif
