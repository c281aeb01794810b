/*
 * The dispatchers of the node's global networks and what they know of the world: misses
 * of the plane, messages of peers, sockets of the host, time. See dispatch.h.
 *
 * Of the host's sockets a dispatcher is told, and asks for single ones itself: listeners
 * are looked for every 200 ms and told when they changed; connections are walked through
 * at the start and every 10 s [46]. Control thread.
 */
#include "control/node_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/announce.h"
#include "control/dispatch.h"
#include "control/listeners.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const struct timeval poll_interval = {.tv_usec = 200000};
static const struct timeval walk_interval = {.tv_sec = 10};

/* Of a global network. */
struct node_dispatch {
	struct node *node;
	unsigned network; /* in the config */
	const char *name;
	struct dispatch *dispatch;
	struct event *timer;	   /* the dispatcher's */
	struct announce *announce; /* NULL: not by this node */
	uint8_t addresses[CONFIG_ADDRESSES_MAX][FLOW_ADDRESS_LEN];
	struct sockets_scope scope;
	bool is_drained;
	int error; /* of the last look at the sockets; said once */
	unsigned num_peers;
	uint16_t peers[MEMBER_PEERS_MAX]; /* that have a link */
};

/* ---- what a dispatcher may ask for ---- */

static uint64_t get_now(void *arg)
{
	(void)arg;
	return clock_now_ns();
}

static void get_random(void *arg, void *bytes, size_t length)
{
	(void)arg;
	while (getrandom(bytes, length, 0) != (ssize_t)length)
		;
}

static int send_message(void *arg, uint16_t peer_id, const uint8_t *bytes, size_t length)
{
	struct node_dispatch *self = arg;

	return membership_send(self->node->membership, self->network, peer_id, bytes,
			       length);
}

static int answer_plane(void *arg, const struct flow_key *key,
			const struct dispatch_verdict *verdict)
{
	static const enum plane_keep keeps[] = {
		[DISPATCH_KEEP_NOT] = PLANE_KEEP_NOT,
		[DISPATCH_KEEP_FLOW] = PLANE_KEEP_FLOW,
		[DISPATCH_KEEP_DATAGRAM] = PLANE_KEEP_DATAGRAM,
		[DISPATCH_KEEP_SHORT] = PLANE_KEEP_SHORT,
	};
	const struct plane_verdict answer = {
		.owner = verdict->owner,
		.reason = verdict->reason,
		.keep = keeps[verdict->keep],
	};
	struct node_dispatch *self = arg;
	struct node *node = self->node;

	return plane_answer_flow(node->plane, node->ports[self->network], key, &answer);
}

static void renew_datagrams(void *arg)
{
	struct node_dispatch *self = arg;
	struct node *node = self->node;

	plane_renew_datagrams(node->plane, node->ports[self->network]);
}

static int find_exact(void *arg, const struct flow_key *key, struct socket_match *ret)
{
	struct node_dispatch *self = arg;

	return sockets_find(self->node->sockets, &self->scope, key, ret);
}

/* Did it work? A failure is said once, until it works again. */
static bool check_error(struct node_dispatch *self, int error)
{
	if (error && error != self->error)
		log_err(self->name, "can't list the host's sockets: %s",
			strerror(-error));
	self->error = error;
	return error == 0;
}

static int read_listeners(void *arg, struct listener **ret_listeners, unsigned *ret_num)
{
	struct node_dispatch *self = arg;
	int ret =
		listeners_read(self->node->sockets, &self->scope, ret_listeners, ret_num);

	return check_error(self, ret) ? 0 : ret;
}

static void set_timer(void *arg, uint64_t delay_ns)
{
	const struct timeval delay = clock_timeval(delay_ns);
	struct node_dispatch *self = arg;

	event_add(self->timer, &delay);
}

static void set_announce(void *arg, bool on)
{
	struct node_dispatch *self = arg;

	if (self->announce)
		announce_set(self->announce, on);
}

static void set_drained(void *arg, bool on)
{
	struct node_dispatch *self = arg;

	self->is_drained = on;
	node_want_routing(self->node);
}

static const struct dispatch_ops ops = {
	.now = get_now,
	.random = get_random,
	.send = send_message,
	.answer = answer_plane,
	.renew_datagrams = renew_datagrams,
	.exact = find_exact,
	.listen = read_listeners,
	.set_timer = set_timer,
	.announce = set_announce,
	.drained = set_drained,
};

/* ---- what it is told: sockets ---- */

static void poll_listeners(struct node_dispatch *self)
{
	struct listener *listeners;
	unsigned num;

	if (read_listeners(self, &listeners, &num) < 0)
		return;
	dispatch_set_listeners(self->dispatch, listeners, num);
	free(listeners);
}

static void walk_connections(struct node_dispatch *self)
{
	struct flow_key *keys;
	unsigned num;
	int error =
		sockets_read_connections(self->node->sockets, &self->scope, &keys, &num);

	if (!check_error(self, error))
		return;
	dispatch_set_connections(self->dispatch, keys, num);
	free(keys);
}

static void for_each(struct node *node, void (*each)(struct node_dispatch *self))
{
	for (unsigned i = 0; i < node->config->num_networks; i++) {
		if (node->dispatches[i])
			each(node->dispatches[i]);
	}
}

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	for_each(arg, poll_listeners);
}

static void on_walk(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	for_each(arg, walk_connections);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct node_dispatch *self = arg;

	(void)fd;
	(void)what;
	dispatch_timer(self->dispatch);
}

/* ---- what it is told: packets, peers, NICs ---- */

void node_miss(void *arg, const struct plane_miss *miss)
{
	struct node *node = arg;

	for (unsigned i = 0; i < node->num_adapters; i++) {
		if (!node->dispatches[i] || node->ports[i] != miss->port)
			continue;
		if (miss->is_old)
			dispatch_miss_of_old(node->dispatches[i]->dispatch,
					     &miss->packet);
		else
			dispatch_miss(node->dispatches[i]->dispatch, &miss->packet);
	}
}

static void tell_peers(struct node_dispatch *self)
{
	global_set_peers(self->node->globals[self->network], self->peers,
			 self->num_peers);
}

static void remove_peer(struct node_dispatch *self, uint16_t peer_id)
{
	for (unsigned i = 0; i < self->num_peers; i++) {
		if (self->peers[i] == peer_id)
			self->peers[i--] = self->peers[--self->num_peers];
	}
}

void node_dispatch_link_up(void *arg, unsigned network, uint16_t peer_id,
			   const char *name)
{
	struct node *node = arg;
	struct node_dispatch *self = node->dispatches[network];

	if (!self)
		return;
	remove_peer(self, peer_id);
	if (self->num_peers < MEMBER_PEERS_MAX)
		self->peers[self->num_peers++] = peer_id;
	tell_peers(self);
	dispatch_peer_up(self->dispatch, peer_id, name);
}

void node_dispatch_link_down(void *arg, unsigned network, uint16_t peer_id)
{
	struct node *node = arg;
	struct node_dispatch *self = node->dispatches[network];

	if (!self)
		return;
	remove_peer(self, peer_id);
	tell_peers(self);
	dispatch_peer_down(self->dispatch, peer_id);
}

void node_dispatch_suspect(void *arg, uint16_t peer_id, bool is_suspect)
{
	struct node *node = arg;

	for (unsigned i = 0; i < node->config->num_networks; i++) {
		if (node->dispatches[i])
			dispatch_peer_suspect(node->dispatches[i]->dispatch, peer_id,
					      is_suspect);
	}
}

void node_dispatch_pause(struct node *node, unsigned network, uint16_t node_id,
			 bool is_paused)
{
	struct node_dispatch *self = node->dispatches[network];

	if (self)
		dispatch_set_paused(self->dispatch, node_id, is_paused);
}

void node_dispatch_peer_paused(void *arg, unsigned network, uint16_t peer_id,
			       bool is_paused)
{
	node_dispatch_pause(arg, network, peer_id, is_paused);
}

void node_dispatch_message(void *arg, unsigned network, uint16_t peer_id,
			   const uint8_t *bytes, size_t length)
{
	struct node *node = arg;
	struct node_dispatch *self = node->dispatches[network];

	if (self)
		dispatch_message(self->dispatch, peer_id, bytes, length);
}

static void check_nic(struct node_dispatch *self, const struct kernel_link *link)
{
	announce_link(self->announce, link);
	dispatch_set_nic(self->dispatch, announce_is_usable(self->announce));
}

void node_dispatch_link_changed(struct node *node, const struct kernel_link *link)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		const char *nic = config_announce_nic(&node->config->networks[i]);

		if (node->dispatches[i] && nic && strcmp(nic, link->name) == 0)
			check_nic(node->dispatches[i], link);
	}
}

bool node_is_drained(const struct node *node, unsigned network)
{
	return node->dispatches[network] && node->dispatches[network]->is_drained;
}

struct dispatch *node_find_dispatch(const struct node *node, unsigned network)
{
	return node->dispatches[network] ? node->dispatches[network]->dispatch : NULL;
}

/* ---- what is wrong ---- */

struct each_reason {
	const char *network;
	void (*each)(const char *words, void *arg);
	void *arg;
};

static void pass_reason(const char *words, void *arg)
{
	const struct each_reason *to = arg;
	char line[640];

	snprintf(line, sizeof(line), "network %s: %s", to->network, words);
	to->each(line, to->arg);
}

static void pass_dispatch_reason(void *arg, const char *words)
{
	pass_reason(words, arg);
}

static void each_reason(const struct node_dispatch *self, struct each_reason *to)
{
	const char *words = self->announce ? announce_reason(self->announce) : NULL;
	char line[128];

	global_each_reason(self->node->globals[self->network], pass_reason, to);
	dispatch_each_reason(self->dispatch, pass_dispatch_reason, to);
	if (words)
		pass_reason(words, to);
	if (!self->error)
		return;
	snprintf(line, sizeof(line), "can't list the host's sockets: %s",
		 strerror(-self->error));
	pass_reason(line, to);
}

void node_each_global_reason(const struct node *node,
			     void (*each)(const char *words, void *arg), void *arg)
{
	for (unsigned i = 0; i < node->num_adapters; i++) {
		struct each_reason to = {node->config->networks[i].name, each, arg};

		if (node->dispatches[i])
			each_reason(node->dispatches[i], &to);
	}
}

/* ---- life ---- */

void node_map_addresses(const struct config_network *network,
			uint8_t ret_addresses[CONFIG_ADDRESSES_MAX][FLOW_ADDRESS_LEN])
{
	for (unsigned i = 0; i < network->num_addresses; i++) {
		const struct config_address *address = &network->addresses[i];

		if (address->family == AF_INET)
			flow_address_map_ipv4(ret_addresses[i], address->bytes);
		else
			memcpy(ret_addresses[i], address->bytes, FLOW_ADDRESS_LEN);
	}
}

static int set_scope(struct node_dispatch *self, const struct config_network *network)
{
	struct kernel_link link;
	int ret = kernel_get_link(self->node->kernel, network->tap, &link);

	if (ret < 0)
		return ret;
	node_map_addresses(network, self->addresses);
	self->scope.addresses =
		(const uint8_t(*)[FLOW_ADDRESS_LEN])(void *)self->addresses;
	self->scope.num_addresses = network->num_addresses;
	self->scope.ifindex = (unsigned)link.index;
	return 0;
}

static int open_announce(struct node_dispatch *self, const struct config_network *network)
{
	struct node *node = self->node;
	const struct announce_options options = {
		.base = node->base,
		.netns = node->netns,
		.network = network,
	};
	const char *nic = config_announce_nic(network);
	struct kernel_link link;
	int ret;

	if (!nic)
		return 0;
	ret = announce_new(&options, &self->announce);
	if (ret < 0)
		return ret;
	ret = kernel_get_link(node->kernel, nic, &link);
	check_nic(self, ret == 0 ? &link : NULL);
	return 0;
}

int node_renew_announce(struct node *node, unsigned network)
{
	struct node_dispatch *self = node->dispatches[network];
	struct announce *former = self->announce;
	int ret;

	self->announce = NULL;
	ret = open_announce(self, &node->config->networks[network]);
	if (ret < 0) {
		announce_free(self->announce);
		self->announce = former;
		return ret;
	}
	announce_free(former);
	if (!self->announce)
		dispatch_set_nic(self->dispatch, false);
	dispatch_reconfigure(self->dispatch);
	if (self->announce && dispatch_is_announcing(self->dispatch))
		announce_set(self->announce, true);
	node_renew_global(node);
	node_want_routing(node);
	return 0;
}

static int fill_one(struct node_dispatch *self, const struct config_network *network)
{
	const struct node_config *config = self->node->config;
	int ret;

	self->timer = evtimer_new(self->node->base, on_timer, self);
	if (!self->timer)
		return -ENOMEM;
	ret = set_scope(self, network);
	if (ret == 0)
		ret = dispatch_new(network, config->id, config->name, &ops, self,
				   &self->dispatch);
	if (ret == 0)
		ret = open_announce(self, network);
	if (ret < 0)
		return ret;
	poll_listeners(self);
	if (self->error == 0)
		walk_connections(self);
	return self->error;
}

static int open_one(struct node *node, unsigned index)
{
	struct node_dispatch *self = calloc(1, sizeof(*self));

	if (!self)
		return -ENOMEM;
	node->dispatches[index] = self;
	self->node = node;
	self->network = index;
	self->name = node->config->networks[index].name;
	return fill_one(self, &node->config->networks[index]);
}

int node_open_sockets(struct node *node)
{
	int ret;

	if (!config_has_global(node->config))
		return 0;
	ret = sockets_open(node->netns, &node->sockets);
	if (ret == -EPROTONOSUPPORT)
		log_err(NULL, "the kernel can't list the host's sockets: load its "
			      "modules tcp_diag and udp_diag, or use a kernel with "
			      "CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG");
	else if (ret < 0)
		log_err(NULL, "can't ask the kernel for the host's sockets: %s",
			strerror(-ret));
	return ret;
}

static int start_event(struct node *node, event_callback_fn call,
		       const struct timeval *interval, struct event **ret_event)
{
	*ret_event = event_new(node->base, -1, EV_PERSIST, call, node);
	return *ret_event && event_add(*ret_event, interval) == 0 ? 0 : -ENOMEM;
}

int node_open_dispatch(struct node *node)
{
	int ret = 0;

	if (!config_has_global(node->config))
		return 0;
	for (unsigned i = 0; i < node->num_adapters && ret == 0; i++) {
		if (node->config->networks[i].kind == NETWORK_KIND_GLOBAL)
			ret = open_one(node, i);
	}
	if (ret == 0)
		ret = start_event(node, on_poll, &poll_interval, &node->poll);
	if (ret == 0)
		ret = start_event(node, on_walk, &walk_interval, &node->walk);
	return ret;
}

static void close_one(struct node_dispatch *self)
{
	self->node->dispatches[self->network] = NULL;
	dispatch_free(self->dispatch);
	announce_free(self->announce);
	if (self->timer)
		event_free(self->timer);
	free(self);
}

void node_close_dispatch(struct node *node)
{
	for_each(node, close_one);
	if (node->poll)
		event_free(node->poll);
	if (node->walk)
		event_free(node->walk);
	sockets_close(node->sockets);
}
