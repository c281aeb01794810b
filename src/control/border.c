/* See border.h. */
#include "control/border.h"

#include "base/netns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 256

struct nic {
	char name[IF_NAMESIZE];
	struct kernel_link link; /* index 0: there is none of that name */
};

struct route_state {
	enum border_bar bar;
	bool may_be_set;       /* some or all of them */
	char words[WORDS_MAX]; /* of the kernel's refusal */
};

struct border {
	struct kernel *kernel;
	const struct node_config *config;
	unsigned num_nics;
	struct nic nics[CONFIG_NICS_MAX];
	struct route_state networks[CONFIG_NETWORKS_MAX];
};

static const char *const bar_words[] = {
	[BORDER_BAR_NONE] = "announces it",
	[BORDER_BAR_INSIDE] = "is no border",
	[BORDER_BAR_NIC] = "has no NIC with carrier",
	[BORDER_BAR_PAUSED] = "has paused it",
	[BORDER_BAR_DRAINED] = "is drained",
	[BORDER_BAR_PORT] = "has no interface for it, or none with carrier",
	[BORDER_BAR_ROUTE] = "can't set the route",
};
_Static_assert(sizeof(bar_words) / sizeof(bar_words[0]) == BORDER_BAR_NUM_, "words each");

const char *border_bar_words(enum border_bar bar)
{
	return (unsigned)bar < BORDER_BAR_NUM_ ? bar_words[bar] : "?";
}

/* ---- NICs ---- */

static bool is_usable(const struct nic *nic)
{
	return nic->link.index && nic->link.is_up && nic->link.running;
}

static bool has_usable_nic(const struct border *border)
{
	for (unsigned i = 0; i < border->num_nics; i++) {
		if (is_usable(&border->nics[i]))
			return true;
	}
	return false;
}

void border_look(struct border *border)
{
	const struct config_routing *routing = &border->config->routing;

	border->num_nics = routing->num_nics;
	for (unsigned i = 0; i < routing->num_nics; i++) {
		struct nic *nic = &border->nics[i];

		memset(nic, 0, sizeof(*nic));
		snprintf(nic->name, sizeof(nic->name), "%s", routing->nics[i]);
		if (kernel_get_link(border->kernel, nic->name, &nic->link) < 0)
			nic->link.index = 0;
	}
}

/* By its index, too: one that got another name is gone. */
bool border_take_link(struct border *border, const struct kernel_link *link)
{
	bool is_ours = false;

	for (unsigned i = 0; i < border->num_nics; i++) {
		struct nic *nic = &border->nics[i];
		const bool is_named = strcmp(nic->name, link->name) == 0;

		if (!is_named && nic->link.index != link->index)
			continue;
		is_ours = true;
		nic->link = *link;
		if (!is_named || link->gone)
			nic->link.index = 0;
	}
	return is_ours;
}

/* ---- routes ---- */

static bool is_wanted(const struct node_config *config,
		      const struct config_network *network,
		      const struct config_address *to)
{
	return config->routing.num_nics && config_is_routed(network) &&
	       config_has_address(network, to);
}

/* The network whose port it leads to; NULL: another node's, or nobody's. */
static const struct config_network *find_network(const struct border *border,
						 const struct kernel_route *route)
{
	for (unsigned i = 0; i < border->config->num_networks; i++) {
		const struct config_network *network = &border->config->networks[i];
		struct kernel_link link;

		if (kernel_get_link(border->kernel, network->tap, &link) == 0 &&
		    link.index == route->index)
			return network;
	}
	return NULL;
}

static int sweep(const struct border *border, int family)
{
	struct kernel_route *routes = NULL;
	size_t num = 0;
	int error = kernel_dump_routes(border->kernel, family, BORDER_TABLE,
				       BORDER_PROTOCOL, &routes, &num);

	for (size_t i = 0; i < num && error == 0; i++) {
		const struct config_network *network = find_network(border, &routes[i]);

		if (network && !is_wanted(border->config, network, &routes[i].to))
			error = kernel_remove_route(border->kernel, &routes[i]);
		if (error == -ESRCH)
			error = 0;
	}
	free(routes);
	return error;
}

static struct kernel_route make_route(const struct kernel_link *link,
				      const struct config_address *to)
{
	return (struct kernel_route){
		.to = *to,
		.index = link->index,
		.table = BORDER_TABLE,
		.protocol = BORDER_PROTOCOL,
	};
}

/* One that is there already is as good, whose ever it is. */
static int add_routes(const struct border *border, const struct config_network *network,
		      const struct kernel_link *link)
{
	int error = 0;

	for (unsigned i = 0; i < network->num_addresses && error == 0; i++) {
		const struct kernel_route route =
			make_route(link, &network->addresses[i]);

		error = kernel_add_route(border->kernel, &route);
		if (error == -EEXIST)
			error = 0;
	}
	return error;
}

/* What is gone already went with the interface, or with its being up. */
static void remove_routes(const struct border *border,
			  const struct config_network *network,
			  const struct kernel_link *link)
{
	for (unsigned i = 0; i < network->num_addresses; i++) {
		const struct kernel_route route =
			make_route(link, &network->addresses[i]);

		kernel_remove_route(border->kernel, &route);
	}
}

static int set_dormant(const struct border *border, const struct kernel_link *link,
		       bool dormant)
{
	if (link->is_dormant == dormant)
		return 0;
	return kernel_set_dormant(border->kernel, link->index, dormant);
}

static enum border_bar find_bar(const struct border *border,
				const struct config_network *network, enum border_bar bar)
{
	if (!border->num_nics || !config_is_routed(network))
		return BORDER_BAR_INSIDE;
	return has_usable_nic(border) ? bar : BORDER_BAR_NIC;
}

void border_set(struct border *border, unsigned network, enum border_bar bar)
{
	const struct config_network *config = &border->config->networks[network];
	struct route_state *state = &border->networks[network];
	struct kernel_link link;
	bool is_there;
	int error;

	state->bar = find_bar(border, config, bar);
	if (config->kind != NETWORK_KIND_GLOBAL ||
	    (state->bar == BORDER_BAR_INSIDE && !state->may_be_set))
		return;
	error = kernel_get_link(border->kernel, config->tap, &link);
	is_there = error == 0;
	if (is_there)
		error = set_dormant(border, &link, state->bar == BORDER_BAR_DRAINED);
	else if (error == -ENODEV && state->bar != BORDER_BAR_NONE)
		error = 0; /* it needs nothing */
	if (state->bar == BORDER_BAR_NONE && error == 0)
		error = add_routes(border, config, &link);
	if (error) {
		state->bar = BORDER_BAR_ROUTE;
		snprintf(state->words, sizeof(state->words), "%s",
			 kernel_last_error(border->kernel));
	}
	if (is_there && state->bar != BORDER_BAR_NONE && (state->may_be_set || error))
		remove_routes(border, config, &link);
	state->may_be_set = state->bar == BORDER_BAR_NONE;
}

enum border_bar border_bar(const struct border *border, unsigned network)
{
	return border->networks[network].bar;
}

/* ---- what it is like ---- */

void border_describe(const struct border *border, struct peer_border *ret_border)
{
	memset(ret_border, 0, sizeof(*ret_border));
	for (unsigned i = 0; i < border->num_nics; i++) {
		const struct nic *nic = &border->nics[i];
		struct peer_nic *to = &ret_border->nics[ret_border->num_nics++];

		snprintf(to->name, sizeof(to->name), "%s", nic->name);
		to->mtu = nic->link.index ? nic->link.mtu : 0;
		to->is_up = is_usable(nic);
	}
	for (unsigned i = 0; i < border->config->num_networks; i++) {
		if (border->networks[i].bar == BORDER_BAR_NONE)
			snprintf(ret_border->announces[ret_border->num_announces++],
				 CONFIG_NAME_MAX, "%s", border->config->networks[i].name);
	}
}

static bool describe_nic(const struct border *border, const struct nic *nic,
			 char words[WORDS_MAX])
{
	const char *place = netns_place(kernel_netns(border->kernel));

	if (is_usable(nic))
		return false;
	if (!nic->link.index)
		snprintf(words, WORDS_MAX,
			 "border without its NIC: there is no interface %s%s; make it, "
			 "or change routing.nics",
			 nic->name, place);
	else if (!nic->link.is_up)
		snprintf(words, WORDS_MAX,
			 "routing.nics: %s%s is down; ip link set %s up", nic->name,
			 place, nic->name);
	else
		snprintf(words, WORDS_MAX, "routing.nics: %s%s has no carrier", nic->name,
			 place);
	return true;
}

void border_each_reason(const struct border *border,
			void (*each)(const char *words, void *arg), void *arg)
{
	char words[WORDS_MAX + CONFIG_NAME_MAX + 64];

	for (unsigned i = 0; i < border->num_nics; i++) {
		if (describe_nic(border, &border->nics[i], words))
			each(words, arg);
	}
	for (unsigned i = 0; i < border->config->num_networks; i++) {
		const struct route_state *state = &border->networks[i];

		if (state->bar != BORDER_BAR_ROUTE)
			continue;
		snprintf(words, sizeof(words),
			 "network %s: the route that announces it can't be set: %s",
			 border->config->networks[i].name, state->words);
		each(words, arg);
	}
}

/* ---- life ---- */

int border_new(struct kernel *kernel, const struct node_config *config,
	       struct border **ret_border)
{
	struct border *border = calloc(1, sizeof(*border));
	int error;

	if (!border)
		return -ENOMEM;
	border->kernel = kernel;
	border->config = config;
	for (unsigned i = 0; i < CONFIG_NETWORKS_MAX; i++) {
		border->networks[i].bar = BORDER_BAR_INSIDE;
		border->networks[i].may_be_set = i < config->num_networks;
	}
	border_look(border);
	error = sweep(border, AF_INET);
	if (error == 0)
		error = sweep(border, AF_INET6);
	if (error) {
		free(border);
		return error;
	}
	*ret_border = border;
	return 0;
}

void border_free(struct border *border)
{
	free(border);
}
