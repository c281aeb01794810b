/* A newer process takes over from an older one: both sides of it. See takeover.h. */
#include "base/clock.h"
#include "base/log.h"
#include "control/node_internal.h"
#include "control/takeover.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SUCCESSOR_PATIENCE_MS 10000
#define SETTLE_MAX_NS	      (300 * NSEC_PER_MSEC)

static const struct timeval settle_period = {.tv_usec = 3000};

/* ---- the newer one ---- */

static int begin(struct node *node, char *error, size_t size)
{
	char path[NODE_CTLSOCK_MAX];
	int ret;

	node_ctlsock_path(node, path);
	ret = takeover_begin(path, &node->handover, &node->takeover, error, size);
	if (ret == -ENOENT)
		log_info(node->config->name,
			 "nobody answers at %s: there is nothing to take over", path);
	return ret;
}

/*
 * What may be wrong with a config or its surroundings: later there is nobody to go on.
 * Each of them says why.
 */
static int (*const checks[])(struct node *node) = {
	node_claim_adapters,
	node_check_world,
	node_check_prepare_global,
};

static int check_all(struct node *node)
{
	int ret = 0;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && ret == 0; i++)
		ret = checks[i](node);
	return ret;
}

int node_take_over(struct node *node)
{
	char error[512];
	int ret;

	if (!node->takes_over)
		return 0;
	ret = begin(node, error, sizeof(error));
	if (ret == -ENOENT)
		return 0;
	if (ret == 0) {
		ret = check_all(node);
		if (ret < 0)
			return ret;
		ret = takeover_commit(node->takeover, error, sizeof(error));
	}
	if (ret < 0)
		log_err(node->config->name, "can't take over from the running node: %s",
			error);
	else
		log_info(node->config->name, "took over from process %d",
			 (int)takeover_pid(node->takeover));
	return ret;
}

void node_end_takeover(struct node *node)
{
	if (node->settle)
		event_free(node->settle);
	node->settle = NULL;
	takeover_end(node->takeover);
	node->takeover = NULL;
}

/* ---- its first moments ---- */

/* A peer that is there is on its way to be up. */
static void count_coming(const struct member_report *report, void *arg)
{
	unsigned *coming = arg;

	*coming += report->peer_state == PEER_WAITING ||
		   report->peer_state == PEER_DIALLED ||
		   report->peer_state == PEER_OFFERING;
}

static bool has_settled(const struct node *node)
{
	unsigned coming = 0;

	if (clock_now_ns() - node->settling_ns >= SETTLE_MAX_NS)
		return true;
	membership_each_peer(node->membership, count_coming, &coming);
	return coming == 0 && membership_peers_up(node->membership) > 0;
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct node *node = arg;

	(void)fd;
	(void)what;
	if (!has_settled(node))
		return;
	plane_rest_taps(node->plane, false);
	if (node->takeover)
		node_hook_global(node);
	node_end_takeover(node);
}

static bool has_carriers(const struct node *node)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (node->adapters[i].left && node->adapters[i].has_carrier)
			return true;
	}
	return false;
}

void node_hold_taps(struct node *node)
{
	node->is_settling = has_carriers(node) || node->takeover;
	if (node->is_settling)
		plane_rest_taps(node->plane, true);
}

int node_start_settling(struct node *node)
{
	if (!node->is_settling)
		return 0;
	node->settling_ns = clock_now_ns();
	node->settle = event_new(node->base, -1, EV_PERSIST, on_settle, node);
	if (!node->settle || event_add(node->settle, &settle_period) < 0)
		return -ENOMEM;
	return 0;
}

/* ---- the older one ---- */

static void hand_over(struct node *node, struct client *client)
{
	const struct tap *taps[CONFIG_NETWORKS_MAX];
	const struct config_fabric *rdma =
		config_find_fabric(node->config, FABRIC_KIND_RDMA);
	struct report_takeover report = {.id = node->config->id};

	REPORT_SET(report.listen, rdma ? rdma->listen.text : NULL);
	for (unsigned i = 0; i < node->num_adapters; i++) {
		const struct adapter *adapter = &node->adapters[i];
		struct report_takeover_tap *tap = &report.taps[report.num_taps];

		if (!adapter->is_open || adapter->gone)
			continue;
		memcpy(tap->name, adapter->tap.name, sizeof(tap->name));
		tap->num_queues = adapter->tap.num_queues;
		taps[report.num_taps++] = &adapter->tap;
	}
	ctlsock_hand_over(client, &report, taps);
}

static int refuse(struct report_refusal *refusal, const char *code, const char *message)
{
	snprintf(refusal->code, sizeof(refusal->code), "%s", code);
	snprintf(refusal->message, sizeof(refusal->message), "%s", message);
	return -EPERM;
}

static void tell_taken(struct node *node)
{
	const struct events_change change = {
		.level = LOG_LEVEL_INFO,
		.kind = EVENTS_NODE,
		.subject = node->config->name,
		.old = EVENTS_READY,
		.state = EVENTS_TAKEN,
	};

	events_tell(&node->events, clock_now_ns(), &change,
		    "a newer process has the TAPs");
}

/* It waits for so long only, and we may have been slow. */
static bool has_given_up(int fd)
{
	struct pollfd end = {.fd = fd, .events = POLLRDHUP};

	return poll(&end, 1, 0) != 0;
}

int node_takeover(void *arg, const struct ctl_takeover_request *request,
		  struct client *client, struct report_refusal *ret_refusal)
{
	struct node *node = arg;
	int fd;

	if (!ctlsock_is_owner(client))
		return refuse(ret_refusal, "permission",
			      "only root and the node's own user may take it over");
	if (node->is_stopping)
		return refuse(ret_refusal, "stopping", "the node is stopping");
	if (!request->commit) {
		hand_over(node, client);
		return 0;
	}
	if (!ctlsock_has_taps(client) || node->successor >= 0)
		return refuse(ret_refusal, "bad-request",
			      "who takes over asks for the TAPs first, and is alone");
	fd = ctlsock_keep_open(client);
	if (fd < 0)
		return fd;
	if (has_given_up(fd)) {
		close(fd);
		return refuse(ret_refusal, "late", "it did not wait");
	}
	node->successor = fd;
	tell_taken(node);
	event_base_loopbreak(node->base);
	return 0;
}

void node_wait_for_successor(struct node *node)
{
	struct pollfd end = {.fd = node->successor, .events = POLLIN};

	if (node->successor < 0)
		return;
	if (send(node->successor, TAKEOVER_DONE, TAKEOVER_DONE_BYTES, MSG_NOSIGNAL) ==
	    TAKEOVER_DONE_BYTES) {
		while (poll(&end, 1, SUCCESSOR_PATIENCE_MS) < 0 && errno == EINTR)
			continue;
	}
	close(node->successor);
}
