/*
 * The rules, routes and neighbours of a global network.
 *
 * Theory of operation. A global address is local to the host, and so the table "local"
 * says that what a program of this host sends to it goes to this host. A rule that is
 * asked earlier must send it to the port instead; what comes from the port is to find
 * the table "local". The kernel asks that table by a rule of priority 0, and puts new
 * rules behind those of their priority. To get in front of it without it ever being
 * absent: ours is added, then a second rule "lookup local", then the first one like it
 * is removed, and the kernel removes the one that it finds first:
 *
 *	0: local               0: local        0: local        0: iif lo to G lookup 83
 *	               ->      0: G      ->    0: G       ->   0: local
 *	                                       0: local
 *
 * Whoever is killed in between leaves one of these, and each leads on to the last by
 * looking and doing the next thing that is missing. The way back is to remove ours.
 * Two nodes in one namespace that did this at once could each remove a "local"; so
 * there is a lock per namespace.
 */
#include "base/log.h"
#include "control/global_internal.h"

#include "base/netns.h"

#include <shmnet/wire.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLE_LOCAL	255
#define PROTOCOL_KERNEL 2

static const int families[] = {AF_INET, AF_INET6};
#define NUM_FAMILIES (sizeof(families) / sizeof(families[0]))

static const char *family_name(int family)
{
	return family == AF_INET ? "IPv4" : "IPv6";
}

static bool same_address(const struct config_address *a, const struct config_address *b)
{
	return a->family == b->family && a->prefix == b->prefix &&
	       memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static bool has_address(const struct config_network *network,
			const struct config_address *address)
{
	for (unsigned i = 0; i < network->num_addresses; i++) {
		if (same_address(&network->addresses[i], address))
			return true;
	}
	return false;
}

bool global_wants(const struct node_config *config, const struct config_address *address)
{
	for (unsigned i = 0; i < config->num_networks; i++) {
		const struct config_network *network = &config->networks[i];

		if (network->kind == NETWORK_KIND_GLOBAL && has_address(network, address))
			return true;
	}
	return false;
}

bool global_has(const struct config_network *network, int family)
{
	for (unsigned i = 0; i < network->num_addresses; i++) {
		if (network->addresses[i].family == family)
			return true;
	}
	return false;
}

/* --- rules --- */

static struct kernel_rule our_rule(const struct config_address *to)
{
	return (struct kernel_rule){
		.family = to->family,
		.table = GLOBAL_TABLE,
		.protocol = GLOBAL_PROTOCOL,
		.to = *to,
		.iifname = "lo",
	};
}

static bool is_ours(const struct kernel_rule *rule)
{
	return rule->priority == 0 && rule->table == GLOBAL_TABLE &&
	       rule->protocol == GLOBAL_PROTOCOL && rule->to.family && !rule->has_more &&
	       strcmp(rule->iifname, "lo") == 0;
}

/* What the rules of priority 0 are now. */
struct order {
	struct kernel_rule *rules;
	size_t num;
	unsigned num_locals;
	size_t first_local;   /* of num_locals */
	bool local_is_hidden; /* removing one would remove somebody else's narrower rule
			       */
};

static void look_at_local(struct order *order, size_t i)
{
	const struct kernel_rule *rule = &order->rules[i];

	if (rule->priority != 0 || rule->table != TABLE_LOCAL)
		return;
	if (rule->has_more || rule->to.family || rule->iifname[0])
		order->local_is_hidden |= order->num_locals == 0;
	else if (order->num_locals++ == 0)
		order->first_local = i;
}

static int read_order(struct kernel *kernel, int family, struct order *ret_order)
{
	struct order order = {.rules = NULL};
	int error = kernel_dump_rules(kernel, family, &order.rules, &order.num);

	if (error)
		return error;
	for (size_t i = 0; i < order.num; i++)
		look_at_local(&order, i);
	*ret_order = order;
	return 0;
}

/* order->num if it isn't among them. */
static size_t find_ours(const struct order *order, const struct config_address *to)
{
	size_t i = 0;

	while (i < order->num &&
	       !(is_ours(&order->rules[i]) && same_address(&order->rules[i].to, to)))
		i++;
	return i;
}

static int add_local(struct kernel *kernel, int family)
{
	const struct kernel_rule rule = {
		.family = family, .table = TABLE_LOCAL, .protocol = PROTOCOL_KERNEL};

	return kernel_add_rule(kernel, &rule);
}

static int remove_first_local(struct kernel *kernel, const struct order *order)
{
	const struct kernel_rule rule = {
		.family = order->rules[order->first_local].family, .table = TABLE_LOCAL};

	return order->local_is_hidden ? -EBUSY : kernel_remove_rule(kernel, &rule);
}

/*
 * One thing that is missing: 1 if it was done, 0 if nothing is. `network` NULL: none
 * of ours are wanted in particular.
 */
static int do_next(struct kernel *kernel, const struct config_network *network,
		   int family, const struct order *order)
{
	bool is_behind = false;
	int error;

	for (unsigned i = 0; network && i < network->num_addresses; i++) {
		const struct config_address *to = &network->addresses[i];
		const struct kernel_rule rule = our_rule(to);
		size_t at = find_ours(order, to);

		if (to->family == family && at == order->num) {
			error = kernel_add_rule(kernel, &rule);
			return error ? error : 1;
		}
		if (to->family == family && at > order->first_local)
			is_behind = true;
	}
	if (order->num_locals > 1)
		error = remove_first_local(kernel, order);
	else if (order->num_locals == 1 && is_behind)
		error = add_local(kernel, family);
	else
		return 0;
	return error ? error : 1;
}

static int arrange(struct kernel *kernel, const struct config_network *network,
		   int family)
{
	int done = 1;

	for (int i = 0; done == 1 && i < 2 * CONFIG_ADDRESSES_MAX; i++) {
		struct order order;

		done = read_order(kernel, family, &order);
		if (done == 0) {
			done = do_next(kernel, network, family, &order);
			free(order.rules);
		}
	}
	return done == 1 ? -EAGAIN : done;
}

/* What was half done, a second "local", must not stay. */
static void give_up(struct global *global, int family, int error)
{
	global_fail(global, error,
		    "can't set the %s rules that lead this host's own packets to the "
		    "port: %s",
		    family_name(family),
		    error == -EBUSY ? "another program has a rule of priority 0 that "
				      "looks up the table 'local'; remove that"
				    : kernel_last_error(global->kernel));
	arrange(global->kernel, NULL, family);
}

int global_set_rules(struct global *global)
{
	int lock = netns_lock(kernel_netns(global->kernel)), error = lock < 0 ? lock : 0;

	for (size_t i = 0; error == 0 && i < NUM_FAMILIES; i++) {
		if (!global_has(global->network, families[i]))
			continue;
		error = arrange(global->kernel, global->network, families[i]);
		if (error)
			give_up(global, families[i], error);
	}
	if (lock < 0)
		return global_fail(global, lock, "can't lock the rules of the host: %s",
				   strerror(-lock));
	close(lock);
	return error;
}

void global_remove_rules(struct global *global)
{
	const struct config_network *network = global->network;

	for (unsigned i = 0; i < network->num_addresses; i++) {
		const struct kernel_rule rule = our_rule(&network->addresses[i]);
		int error = kernel_remove_rule(global->kernel, &rule);

		if (error && error != -ENOENT)
			log_err(network->name, "can't remove a rule: %s",
				kernel_last_error(global->kernel));
	}
}

/* --- routes and neighbours --- */

static bool is_link_local(const struct config_address *address)
{
	return address->family == AF_INET6 && address->bytes[0] == 0xfe &&
	       (address->bytes[1] & 0xc0) == 0x80;
}

/* [11] The first local network that has an address of the family; 0: none has. */
static int find_source(struct global *global, int family,
		       struct config_address *ret_source)
{
	const struct node_config *config = global->config;
	struct config_address held[CONFIG_ADDRESSES_MAX];

	for (unsigned i = 0; i < config->num_networks; i++) {
		const struct config_network *network = &config->networks[i];
		int num = 0;

		if (network->kind == NETWORK_KIND_LOCAL)
			num = kernel_get_addresses(global->kernel, network->tap, family,
						   held, CONFIG_ADDRESSES_MAX);
		for (int k = 0; k < num; k++) {
			if (is_link_local(&held[k]))
				continue;
			*ret_source = held[k];
			return 1;
		}
	}
	return 0;
}

/* An IPv6 address is no source before the kernel has asked whether others have it. */
static int set_route(struct global *global, int index, const struct config_address *to)
{
	struct kernel_route route = {
		.to = *to,
		.index = index,
		.table = GLOBAL_TABLE,
		.protocol = GLOBAL_PROTOCOL,
	};
	int error = -EINVAL;

	if (find_source(global, to->family, &route.source))
		error = kernel_set_route(global->kernel, &route);
	if (error == -EINVAL) {
		route.source.family = 0;
		error = kernel_set_route(global->kernel, &route);
	}
	return error;
}

static int set_routes(struct global *global, int index)
{
	const struct config_network *network = global->network;
	char text[CONFIG_ADDRESS_TEXT_MAX];

	for (unsigned i = 0; i < network->num_addresses; i++) {
		const struct config_address *to = &network->addresses[i];
		int error = set_route(global, index, to);

		config_address_text(to, text);
		if (error)
			return global_fail(global, error,
					   "can't set the route to %s in table %d: %s",
					   text, GLOBAL_TABLE,
					   kernel_last_error(global->kernel));
	}
	return 0;
}

static int set_neighbours(struct global *global, int index)
{
	const struct config_network *network = global->network;
	struct kernel_neighbour neighbour = {.index = index, .protocol = GLOBAL_PROTOCOL};
	int error = 0;

	/* Nobody's MAC: that of a node id which no node has. */
	shmnet_mac_make(neighbour.mac, shmnet_network_tag(network->name), UINT16_MAX);
	for (unsigned i = 0; i < network->num_addresses && error == 0; i++) {
		neighbour.address = network->addresses[i];
		error = kernel_set_neighbour(global->kernel, &neighbour);
	}
	if (error)
		global_fail(global, error, "can't set the neighbours of interface %s: %s",
			    network->tap, kernel_last_error(global->kernel));
	return error;
}

int global_set_routes(struct global *global)
{
	const char *tap = global->network->tap;
	struct kernel_link link;
	int error = kernel_get_link(global->kernel, tap, &link);

	if (error)
		return global_fail(global, error, "interface %s: %s", tap,
				   kernel_last_error(global->kernel));
	if (!link.is_up)
		return global_fail(global, -ENETDOWN,
				   "interface %s is down: set it up with 'ip link set %s "
				   "up'",
				   tap, tap);
	error = set_neighbours(global, link.index);
	return error ? error : set_routes(global, link.index);
}

/* What is gone already went with the interface. */
void global_remove_routes(struct global *global)
{
	const struct config_network *network = global->network;
	struct kernel_link link;

	if (kernel_get_link(global->kernel, network->tap, &link) < 0)
		return;
	for (unsigned i = 0; i < network->num_addresses; i++) {
		const struct kernel_route route = {
			.to = network->addresses[i],
			.index = link.index,
			.table = GLOBAL_TABLE,
			.protocol = GLOBAL_PROTOCOL,
		};
		const struct kernel_neighbour neighbour = {
			.address = network->addresses[i],
			.index = link.index,
		};

		kernel_remove_route(global->kernel, &route);
		kernel_remove_neighbour(global->kernel, &neighbour);
	}
}

static int check_routes(struct global *global, int family)
{
	struct kernel_route *routes;
	size_t num;
	int error = kernel_dump_routes(global->kernel, family, GLOBAL_TABLE, 0, &routes,
				       &num);

	if (error)
		return global_fail(global, error, "can't list the host's routes: %s",
				   kernel_last_error(global->kernel));
	for (size_t i = 0; error == 0 && i < num; i++) {
		if (routes[i].protocol != GLOBAL_PROTOCOL)
			error = global_fail(
				global, -EBUSY,
				"another program (protocol %u) has %s routes in table "
				"%d, which shmnet needs: see 'ip %s route show table "
				"%d', and move them to another one",
				routes[i].protocol, family_name(family), GLOBAL_TABLE,
				family == AF_INET ? "-4" : "-6", GLOBAL_TABLE);
	}
	free(routes);
	return error;
}

int global_check_table(struct global *global)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < NUM_FAMILIES; i++) {
		if (global_has(global->network, families[i]))
			error = check_routes(global, families[i]);
	}
	return error;
}

/* --- what a killed node left --- */

struct sweep {
	struct kernel *kernel;
	const struct node_config *config;
	bool keep;
	unsigned num_taps;
	int taps[4 * CONFIG_NETWORKS_MAX]; /* that bear the node's mark */
	const char *mark;
	int num_removed;
};

static void add_tap(const struct kernel_link *link, void *arg)
{
	struct sweep *sweep = arg;

	if (strcmp(link->alias, sweep->mark) == 0 &&
	    sweep->num_taps < sizeof(sweep->taps) / sizeof(sweep->taps[0]))
		sweep->taps[sweep->num_taps++] = link->index;
}

static bool is_tap_of_ours(const struct sweep *sweep, int index)
{
	for (unsigned i = 0; i < sweep->num_taps; i++) {
		if (sweep->taps[i] == index)
			return true;
	}
	return false;
}

/* A rule is that of the port which its route leads to; one without is a remnant. */
static bool is_ours_to_remove(const struct sweep *sweep, const struct config_address *to,
			      const struct kernel_route *routes, size_t num)
{
	if (global_wants(sweep->config, to))
		return !sweep->keep;
	for (size_t i = 0; i < num; i++) {
		if (same_address(&routes[i].to, to) &&
		    !is_tap_of_ours(sweep, routes[i].index))
			return false;
	}
	return true;
}

static int sweep_rules(struct sweep *sweep, int family, const struct kernel_route *routes,
		       size_t num_routes)
{
	struct kernel_rule *rules;
	size_t num;
	int error = kernel_dump_rules(sweep->kernel, family, &rules, &num);

	if (error)
		return error;
	for (size_t i = 0; i < num && error == 0; i++) {
		if (!is_ours(&rules[i]) ||
		    !is_ours_to_remove(sweep, &rules[i].to, routes, num_routes))
			continue;
		error = kernel_remove_rule(sweep->kernel, &rules[i]);
		sweep->num_removed++;
	}
	free(rules);
	return error;
}

static int sweep_routes(const struct sweep *sweep, const struct kernel_route *routes,
			size_t num)
{
	int error = 0;

	for (size_t i = 0; i < num && error == 0; i++) {
		if (routes[i].protocol == GLOBAL_PROTOCOL &&
		    is_tap_of_ours(sweep, routes[i].index) &&
		    is_ours_to_remove(sweep, &routes[i].to, NULL, 0))
			error = kernel_remove_route(sweep->kernel, &routes[i]);
	}
	return error == -ESRCH ? 0 : error;
}

static int sweep_family(struct sweep *sweep, int family)
{
	struct kernel_route *routes;
	size_t num;
	int error =
		kernel_dump_routes(sweep->kernel, family, GLOBAL_TABLE, 0, &routes, &num);

	if (error)
		return error;
	error = sweep_rules(sweep, family, routes, num);
	if (error == 0)
		error = sweep_routes(sweep, routes, num);
	if (error == 0)
		error = arrange(sweep->kernel, NULL, family);
	free(routes);
	return error == -EBUSY ? 0 : error; /* somebody else's order is no leftover */
}

int global_sweep_rules(struct kernel *kernel, const struct node_config *config,
		       const char *mark, bool keep)
{
	struct sweep sweep = {
		.kernel = kernel, .config = config, .keep = keep, .mark = mark};
	int lock, error = kernel_each_link(kernel, mark, add_tap, &sweep);

	if (error)
		return error;
	lock = netns_lock(kernel_netns(kernel));
	if (lock < 0)
		return lock;
	for (size_t i = 0; error == 0 && i < NUM_FAMILIES; i++)
		error = sweep_family(&sweep, families[i]);
	close(lock);
	return error ? error : sweep.num_removed;
}
