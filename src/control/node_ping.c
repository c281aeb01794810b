/*
 * Pings that clients wait for: who is meant, one token per network, and the answer
 * when all of them came back or the time is over.
 *
 * A ping belongs to a client of the control socket and is gone with it; there are
 * never more than clients. It keeps no pointer to a link, which may go while it
 * waits and is not waited for then: only tokens, which the plane knows or doesn't.
 * Control thread.
 */
#include "control/node_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

_Static_assert(NODE_PINGS_MAX <= PLANE_PINGS_MAX, "a link has room for everybody's");

/* ---- words ---- */

/* A list of names in the making; what doesn't fit is left out. */
struct names {
	char text[256];
	size_t length;
};

static void names_add(struct names *names, const char *name)
{
	if (names->length + 1 + strlen(name) >= sizeof(names->text))
		return;
	names->length +=
		(size_t)snprintf(names->text + names->length,
				 sizeof(names->text) - names->length, " %s", name);
}

static void add_member(const struct member_report *member, void *arg)
{
	names_add(arg, member->name);
}

/* " n2 n3", or words that there is nobody. */
static void list_others(const struct node *node, struct names *names)
{
	*names = (struct names){0};
	membership_each_peer(node->membership, add_member, names);
	if (names->length == 0)
		snprintf(names->text, sizeof(names->text), " none");
}

/* ---- who is meant ---- */

struct search {
	const char *name;
	bool found;
	bool is_up;
	char reason[MEMBER_REASON_MAX];
};

/* A node that came back under another id has two: the one that is up is meant. */
static void match_member(const struct member_report *member, void *arg)
{
	struct search *search = arg;

	if (search->is_up || strcmp(member->name, search->name) != 0)
		return;
	search->found = true;
	search->is_up = member->state != MEMBER_DOWN;
	snprintf(search->reason, sizeof(search->reason), "%s", member->reason);
}

static int find_peer(const struct node *node, const char *name,
		     struct report_refusal *refusal)
{
	struct search search = {.name = name};
	struct names others;

	list_others(node, &others);
	if (strcmp(name, node->config->name) == 0)
		return node_refuse(refusal, "self",
				   "%s is the node that you ask; the others are:%s", name,
				   others.text);
	membership_each_peer(node->membership, match_member, &search);
	if (!search.found)
		return node_refuse(refusal, "unknown-name",
				   "no node '%s' is known here; the others are:%s", name,
				   others.text);
	if (!search.is_up)
		return node_refuse(refusal, "node-down", "%s is down%s%s", name,
				   *search.reason ? ": " : "", search.reason);
	return 0;
}

static int find_network(const struct node *node, const char *name,
			struct report_refusal *refusal)
{
	struct names all = {0};

	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (!config_has_network(node->config, i))
			continue;
		if (!*name || strcmp(node->config->networks[i].name, name) == 0)
			return 0;
		names_add(&all, node->config->networks[i].name);
	}
	return node_refuse(refusal, "unknown-name", "no network '%s' here; there are:%s",
			   name, all.text);
}

/* ---- sending ---- */

/* One that is about to be sent on all links that match. */
struct send {
	struct node *node;
	const struct ctl_ping_request *request;
	struct node_ping *ping;
	char reason[MEMBER_REASON_MAX]; /* why a network has no link */
};

static void send_on_link(const struct member_link_report *link, void *arg)
{
	struct send *send = arg;
	struct node *node = send->node;
	struct node_ping *ping = send->ping;
	const char *network = node->config->networks[link->network].name;
	unsigned i = ping->report.num_answers;
	const char *wanted = send->request->network;

	if (strcmp(link->peer_name, send->request->node) != 0 ||
	    (*wanted && strcmp(wanted, network) != 0))
		return;
	if (!link->link) {
		snprintf(send->reason, sizeof(send->reason), "%s", link->reason);
		return;
	}
	ping->tokens[i] = ++node->last_token;
	ping->peer_id = link->peer_id;
	ping->networks[i] = link->network;
	REPORT_SET(ping->report.answers[i].network, network);
	REPORT_SET(ping->report.answers[i].fabric, link->fabric);
	ping->report.num_answers++;
	if (plane_ping_link(node->plane, world_event_link(link->link), ping->tokens[i]) <
	    0)
		ping->tokens[i] = 0;
	else
		ping->missing++;
}

static int send_pings(struct send *send, struct report_refusal *refusal)
{
	const struct ctl_ping_request *request = send->request;

	membership_each_link(send->node->membership, send_on_link, send);
	if (send->ping->report.num_answers)
		return 0;
	return node_refuse(refusal, "no-link", "%s is up and has no link%s%s%s%s",
			   request->node, *request->network ? " on " : "",
			   request->network, *send->reason ? ": " : "", send->reason);
}

/* ---- life ---- */

static void ping_end(struct node *node, struct node_ping *ping)
{
	for (unsigned i = 0; i < ping->report.num_answers; i++) {
		if (ping->tokens[i])
			plane_forget_ping(node->plane, ping->tokens[i]);
	}
	event_free(ping->timer);
	memset(ping, 0, sizeof(*ping));
}

static void ping_finish(struct node *node, struct node_ping *ping)
{
	ctlsock_answer_ping(ping->client, &ping->report);
	ping_end(node, ping);
}

static void on_time_over(evutil_socket_t fd, short what, void *arg)
{
	struct node_ping *ping = arg;

	(void)fd;
	(void)what;
	ping_finish(ping->node, ping);
}

static struct node_ping *find_slot(struct node *node, const struct client *client)
{
	for (unsigned i = 0; i < NODE_PINGS_MAX; i++) {
		if (node->pings[i].client == client)
			return &node->pings[i];
	}
	return NULL;
}

/* -EBUSY never happens as long as a client asks one thing at a time. */
static int ping_open(struct node *node, struct client *client, unsigned timeout_ms,
		     struct node_ping **ret_ping)
{
	const struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000L};
	struct node_ping *ping = find_slot(node, NULL);

	if (!ping)
		return -EBUSY;
	ping->timer = evtimer_new(node->base, on_time_over, ping);
	if (!ping->timer)
		return -ENOMEM;
	evtimer_add(ping->timer, &timeout);
	ping->node = node;
	ping->client = client;
	*ret_ping = ping;
	return 0;
}

int node_ping(void *arg, const struct ctl_ping_request *request, struct client *client,
	      struct report_refusal *ret_refusal)
{
	struct send send = {.node = arg, .request = request};
	struct node *node = arg;
	int ret;

	ret = find_peer(node, request->node, ret_refusal);
	if (ret < 0)
		return ret;
	ret = find_network(node, request->network, ret_refusal);
	if (ret < 0)
		return ret;
	ret = ping_open(node, client, request->timeout_ms, &send.ping);
	if (ret < 0)
		return node_refuse(ret_refusal, "internal", "the node can't ping: %s",
				   strerror(-ret));
	REPORT_SET(send.ping->report.node, node->config->name);
	REPORT_SET(send.ping->report.peer, request->node);
	ret = send_pings(&send, ret_refusal);
	if (ret < 0)
		ping_end(node, send.ping);
	return ret;
}

void node_ping_cancel(void *arg, struct client *client)
{
	struct node *node = arg;
	struct node_ping *ping = find_slot(node, client);

	if (ping)
		ping_end(node, ping);
}

static bool ping_take(struct node_ping *ping, uint64_t token, uint64_t time_ns)
{
	for (unsigned i = 0; i < ping->report.num_answers; i++) {
		if (ping->tokens[i] != token)
			continue;
		ping->tokens[i] = 0;
		ping->report.answers[i].time_ns = time_ns ? time_ns : 1;
		ping->missing--;
		return true;
	}
	return false;
}

void node_pong(void *arg, uint64_t token, uint64_t time_ns)
{
	struct node *node = arg;

	for (unsigned i = 0; i < NODE_PINGS_MAX; i++) {
		struct node_ping *ping = &node->pings[i];

		if (!ping->client || !ping_take(ping, token, time_ns))
			continue;
		if (ping->missing == 0)
			ping_finish(node, ping);
		return;
	}
}

static void lose_link(struct node_ping *ping, unsigned network)
{
	for (unsigned i = 0; i < ping->report.num_answers; i++) {
		if (ping->networks[i] != network || !ping->tokens[i])
			continue;
		ping->tokens[i] = 0;
		ping->report.answers[i].link_ended = true;
		ping->missing--;
	}
}

/* No pong of this link is still to come: the plane has forgotten it. */
void node_link_lost_pings(struct node *node, unsigned network, uint16_t peer_id)
{
	for (unsigned i = 0; i < NODE_PINGS_MAX; i++) {
		struct node_ping *ping = &node->pings[i];

		if (!ping->client || ping->peer_id != peer_id)
			continue;
		lose_link(ping, network);
		if (ping->missing == 0)
			ping_finish(node, ping);
	}
}

void node_end_pings(struct node *node)
{
	for (unsigned i = 0; i < NODE_PINGS_MAX; i++) {
		if (node->pings[i].client)
			ping_end(node, &node->pings[i]);
	}
}
