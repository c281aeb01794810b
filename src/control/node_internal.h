/* What node*.c share. */
#ifndef CONTROL_NODE_INTERNAL_H
#define CONTROL_NODE_INTERNAL_H

#include "base/flow.h"
#include "base/netns.h"
#include "control/adapter.h"
#include "control/ctlsock.h"
#include "control/dhcp.h"
#include "control/events.h"
#include "control/global.h"
#include "control/kernel.h"
#include "control/member.h"
#include "control/node.h"
#include "control/world_event.h"
#include "data/plane.h"

#include <event2/event.h>

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

struct node {
	const struct node_config *config;
	char mark[NODE_MARK_MAX];
	uint64_t started_ns;
	int error; /* what the clean-up could not do */

	struct event_base *base;
	struct event *signals[3];
	struct event *watch; /* of the kernel's links */
	struct netns *netns; /* of the adapters; NULL: the one that we run in */
	struct kernel *kernel;
	struct plane *plane;
	struct world *world;
	struct membership *membership;
	struct ctlsock *ctlsock;
	struct node_history *history;
	struct events events;
	unsigned num_adapters; /* that are open */
	struct adapter adapters[CONFIG_NETWORKS_MAX];
	struct event *holds[CONFIG_NETWORKS_MAX]; /* carriers that are about to go */
	struct dhcp_program dhcp_program;	  /* if a network needs it */
	struct dhcp *dhcps[CONFIG_NETWORKS_MAX];  /* by network; NULL: it needs none */
	unsigned ports[CONFIG_NETWORKS_MAX];	  /* of the plane, by network */
	struct sysctls *sysctls;
	struct global *globals[CONFIG_NETWORKS_MAX]; /* by network; NULL: a local one */
	struct event *global_timer;
	struct node_dispatch *dispatches[CONFIG_NETWORKS_MAX]; /* NULL: a local network */
	struct sockets *sockets;   /* if there is a global one */
	struct event *poll, *walk; /* of its sockets */
	bool has_guards;	   /* of this life or an earlier one */
	uint64_t last_token;	   /* of a ping */
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

/* ---- node_explain.c ---- */

/* As struct ctlsock_handler has it; `arg` is the node. */
int node_explain(void *arg, const struct ctl_explain_request *request,
		 struct client *client, struct report_refusal *ret_refusal);
/* Nothing if that client waits for none. */
void node_explain_cancel(struct node *node, const struct client *client);

/* Before the dispatchers end. */
void node_end_explains(struct node *node);

/* ---- node_fabrics.c ---- */

/* Fabrics and seeds. -ENOMEM. */
int node_fill_fabrics(const struct node *node, struct report_status *report);

/* What is wrong with the cluster as a whole; "": nothing. */
const char *node_cluster_words(const struct node *node);

/* By which fabric a peer is reached, and why by that. */
void node_fill_path(const struct node *node, const struct member_report *member,
		    struct report_node *report);

/* ---- node_global.c; these log what is wrong ---- */

bool node_has_global(const struct node_config *config);

/* Before the adapters have addresses, and when all are there. */
int node_prepare_global(struct node *node);
int node_open_global(struct node *node);

/* NULL: look at everything. */
void node_check_global(struct node *node, const struct kernel_link *link);

/* Before the adapters end, and after that. */
void node_close_global(struct node *node);
void node_free_global(struct node *node, bool keep_adopted);

/* Likewise of a killed node; what else it set back is done by node_close_global(). */
int node_clean_global(struct node *node);
int node_clean_guards(struct node *node);

/* ---- node_dispatch.c; logs what is wrong ---- */

int node_open_dispatch(struct node *node);
void node_close_dispatch(struct node *node);

/* The plane does not know a flow; `arg` is the node, also of the next four, which
 * are struct membership_handler's. */
void node_miss(void *arg, const struct plane_miss *miss);
void node_dispatch_link_up(void *arg, unsigned network, uint16_t peer_id,
			   const char *name);
void node_dispatch_link_down(void *arg, unsigned network, uint16_t peer_id);
void node_dispatch_suspect(void *arg, uint16_t peer_id, bool is_suspect);
void node_dispatch_message(void *arg, unsigned network, uint16_t peer_id,
			   const uint8_t *bytes, size_t length);

/* An interface of the host: it may be one that a network is announced on. */
void node_dispatch_link_changed(struct node *node, const struct kernel_link *link);

/* NULL: a local network. */
struct dispatch *node_find_dispatch(const struct node *node, unsigned network);

/* Of all global networks, in words. */
void node_each_global_reason(const struct node *node,
			     void (*each)(const char *words, void *arg), void *arg);

/* As the data plane and the dispatcher have them. */
void node_map_addresses(const struct config_network *network,
			uint8_t ret_addresses[CONFIG_ADDRESSES_MAX][FLOW_ADDRESS_LEN]);

/* ---- node.c ---- */

/* What ended links of this peer and network had counted; NULL if none did. */
const struct node_history *node_find_history(const struct node *node, unsigned network,
					     uint16_t peer_id);

/* These log what is wrong. */
int node_find_dhcp(struct node *node);
int node_open_dhcp(struct node *node);
void node_close_dhcp(struct node *node);
void node_clean_dhcp(const struct node_config *config);

#endif
