/*
 * See balance.h.
 *
 * Theory of operation of taking turns: each node of a service has a pass, a number that
 * grows by STRIDE / weight with each flow that it gets. The lowest pass is next; equal
 * ones are told apart by the flow's hash, so that several borders don't walk in step. The
 * service's time is the pass of who was chosen last. A node that was away has a pass from
 * long ago: it counts as the time, so it doesn't get all that it missed.
 */
#include "control/balance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STRIDE (1ull << 20)

struct turn {
	uint16_t id;
	uint64_t pass;
};

/* Who gets what of one port. */
struct service {
	uint64_t used; /* 0: never */
	uint8_t protocol;
	uint16_t port;
	uint64_t time;
	unsigned num;
	struct turn turns[BALANCE_NODES_MAX];
};

struct balance {
	enum config_balance policy;
	uint64_t used;
	struct service services[BALANCE_SERVICES_MAX];
};

/* What nodes are compared by, in this order: the first two low, the last one high. */
struct rank {
	uint64_t load, weight; /* (load + 1) / weight */
	uint64_t pass;
	uint64_t score;
};

int balance_new(enum config_balance policy, struct balance **ret_balance)
{
	struct balance *balance = calloc(1, sizeof(*balance));

	if (!balance)
		return -ENOMEM;
	balance->policy = policy;
	*ret_balance = balance;
	return 0;
}

void balance_set_policy(struct balance *balance, enum config_balance policy)
{
	balance->policy = policy;
}

void balance_free(struct balance *balance)
{
	free(balance);
}

uint16_t balance_hash(const struct flow_key *key, const struct balance_node *nodes,
		      unsigned num)
{
	uint64_t best_score = 0;
	uint16_t best = 0;

	for (unsigned i = 0; i < num; i++) {
		uint64_t score = flow_score(key, nodes[i].id, nodes[i].weight);

		if (best &&
		    (score < best_score || (score == best_score && nodes[i].id > best)))
			continue;
		best_score = score;
		best = nodes[i].id;
	}
	return best;
}

static const struct service *find_service(const struct balance *balance,
					  const struct flow_key *key)
{
	for (unsigned i = 0; i < BALANCE_SERVICES_MAX; i++) {
		const struct service *service = &balance->services[i];

		if (service->used && service->protocol == key->protocol &&
		    service->port == key->local_port)
			return service;
	}
	return NULL;
}

static uint64_t pass_of(const struct service *service, uint16_t id)
{
	for (unsigned i = 0; service && i < service->num; i++) {
		if (service->turns[i].id == id && service->turns[i].pass > service->time)
			return service->turns[i].pass;
	}
	return service ? service->time : 0;
}

static bool is_better(const struct rank *a, const struct rank *b)
{
	uint64_t a_load = (a->load + 1) * b->weight, b_load = (b->load + 1) * a->weight;

	if (a_load != b_load)
		return a_load < b_load;
	if (a->pass != b->pass)
		return a->pass < b->pass;
	return a->score > b->score;
}

static uint16_t choose_by_rank(const struct balance *balance, const struct flow_key *key,
			       const struct balance_node *nodes, unsigned num)
{
	const struct service *service = find_service(balance, key);
	bool by_load = balance->policy == CONFIG_BALANCE_LEAST_CONNECTIONS;
	struct rank best = {0};
	uint16_t id = 0;

	for (unsigned i = 0; i < num; i++) {
		struct rank rank = {
			.load = by_load ? nodes[i].load & UINT32_MAX : 0,
			.weight = by_load ? nodes[i].weight : 1,
			.pass = pass_of(service, nodes[i].id),
			.score = flow_score(key, nodes[i].id, nodes[i].weight),
		};

		if (id && !is_better(&rank, &best))
			continue;
		best = rank;
		id = nodes[i].id;
	}
	return id;
}

uint16_t balance_choose(const struct balance *balance, const struct flow_key *key,
			const struct balance_node *nodes, unsigned num)
{
	if (balance->policy == CONFIG_BALANCE_CONSISTENT_HASH)
		return balance_hash(key, nodes, num);
	return choose_by_rank(balance, key, nodes, num);
}

/* ---- what was chosen ---- */

static struct service *make_service(struct balance *balance, const struct flow_key *key)
{
	struct service *oldest = &balance->services[0];

	for (unsigned i = 1; i < BALANCE_SERVICES_MAX; i++) {
		if (balance->services[i].used < oldest->used)
			oldest = &balance->services[i];
	}
	memset(oldest, 0, sizeof(*oldest));
	oldest->protocol = key->protocol;
	oldest->port = key->local_port;
	return oldest;
}

static bool is_among(uint16_t id, const struct balance_node *nodes, unsigned num)
{
	for (unsigned i = 0; i < num; i++) {
		if (nodes[i].id == id)
			return true;
	}
	return false;
}

/* The turns of those that are there, and of no others. */
static void keep_turns(struct service *service, const struct balance_node *nodes,
		       unsigned num)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < service->num; i++) {
		if (is_among(service->turns[i].id, nodes, num))
			service->turns[kept++] = service->turns[i];
	}
	service->num = kept;
}

static struct turn *turn_of(struct service *service, uint16_t id)
{
	for (unsigned i = 0; i < service->num; i++) {
		if (service->turns[i].id == id)
			return &service->turns[i];
	}
	service->turns[service->num] = (struct turn){.id = id};
	return &service->turns[service->num++];
}

static uint32_t weight_of(uint16_t id, const struct balance_node *nodes, unsigned num)
{
	for (unsigned i = 0; i < num; i++) {
		if (nodes[i].id == id)
			return nodes[i].weight;
	}
	return 1;
}

void balance_placed(struct balance *balance, const struct flow_key *key,
		    const struct balance_node *nodes, unsigned num, uint16_t node_id)
{
	struct service *service = (struct service *)find_service(balance, key);
	uint64_t pass;

	if (!service)
		service = make_service(balance, key);
	service->used = ++balance->used;
	keep_turns(service, nodes, num);
	pass = pass_of(service, node_id);
	service->time = pass;
	turn_of(service, node_id)->pass = pass + STRIDE / weight_of(node_id, nodes, num);
}
