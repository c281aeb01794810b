/* The policies: how flows spread, and how few of them move. */
#include "control/balance.h"
#include "shim.h"

#include <stdlib.h>
#include <string.h>

#define NODES 4
#define FLOWS 12000

static struct balance *open_balance(enum config_balance policy)
{
	struct balance *balance;

	if (balance_new(policy, &balance) < 0)
		abort();
	return balance;
}

static struct flow_key key_of(unsigned n, uint16_t port)
{
	const uint8_t foreign[4] = {198, 51, (uint8_t)(n >> 16), (uint8_t)(n >> 8)};
	static const uint8_t local[4] = {10, 99, 0, 1};
	struct flow_key key = {.protocol = IPPROTO_TCP, .local_port = port};

	flow_address_map_ipv4(key.foreign, foreign);
	flow_address_map_ipv4(key.local, local);
	key.foreign_port = (uint16_t)(1024 + (n & 0xff));
	return key;
}

/* Nodes 1, 2 ... with these weights. */
static void set_nodes(struct balance_node *nodes, const uint32_t *weights, unsigned num)
{
	for (unsigned i = 0; i < num; i++)
		nodes[i] = (struct balance_node){.id = (uint16_t)(i + 1),
						 .weight = weights[i]};
}

static uint16_t place(struct balance *balance, struct balance_node *nodes, unsigned num,
		      unsigned n, uint16_t port)
{
	const struct flow_key key = key_of(n, port);
	uint16_t id = balance_choose(balance, &key, nodes, num);

	balance_placed(balance, &key, nodes, num, id);
	for (unsigned i = 0; i < num; i++)
		nodes[i].load += nodes[i].id == id;
	return id;
}

TEST_CASE(balance, in_turn_each_gets_as_many)
{
	struct balance *balance = open_balance(CONFIG_BALANCE_ROUND_ROBIN);
	const uint32_t weights[] = {1, 1, 1};
	struct balance_node nodes[3];

	set_nodes(nodes, weights, 3);
	for (unsigned i = 0; i < 300; i++) {
		place(balance, nodes, 3, i, 80);
		/* At no time is one ahead of another by more than one. */
		for (unsigned j = 0; j < 3; j++)
			CHECK(nodes[j].load >= i / 3 && nodes[j].load <= i / 3 + 1);
	}
	balance_free(balance);
}

TEST_CASE(balance, in_turn_by_weight)
{
	struct balance *balance = open_balance(CONFIG_BALANCE_ROUND_ROBIN);
	const uint32_t weights[] = {1, 2, 5};
	struct balance_node nodes[3];

	set_nodes(nodes, weights, 3);
	for (unsigned i = 0; i < 800; i++)
		place(balance, nodes, 3, i, 80);
	CHECK(nodes[0].load >= 99 && nodes[0].load <= 101);
	CHECK(nodes[1].load >= 199 && nodes[1].load <= 201);
	CHECK(nodes[2].load >= 499 && nodes[2].load <= 501);
	balance_free(balance);
}

/* Connections to two ports that come in pairs: both ports go to both nodes. */
TEST_CASE(balance, services_have_turns_of_their_own)
{
	struct balance *balance = open_balance(CONFIG_BALANCE_ROUND_ROBIN);
	const uint32_t weights[] = {1, 1};
	struct balance_node web[2], tls[2];

	set_nodes(web, weights, 2);
	set_nodes(tls, weights, 2);
	for (unsigned i = 0; i < 100; i++) {
		place(balance, web, 2, i, 80);
		place(balance, tls, 2, i, 443);
	}
	CHECK_INT(web[0].load, 50);
	CHECK_INT(tls[0].load, 50);
	balance_free(balance);
}

/* A member that comes gets its turn, not all that it missed. */
TEST_CASE(balance, who_comes_later_is_not_flooded)
{
	struct balance *balance = open_balance(CONFIG_BALANCE_ROUND_ROBIN);
	const uint32_t weights[] = {1, 1, 1};
	struct balance_node nodes[3];

	set_nodes(nodes, weights, 3);
	for (unsigned i = 0; i < 1000; i++)
		place(balance, nodes, 2, i, 80);
	set_nodes(nodes, weights, 3);
	for (unsigned i = 0; i < 30; i++)
		place(balance, nodes, 3, i, 80);
	CHECK(nodes[2].load >= 9 && nodes[2].load <= 11);
	/* And who was away comes back the same way. */
	for (unsigned i = 0; i < 1000; i++)
		place(balance, nodes + 1, 2, i, 80);
	set_nodes(nodes, weights, 3);
	for (unsigned i = 0; i < 30; i++)
		place(balance, nodes, 3, i, 80);
	CHECK(nodes[0].load >= 9 && nodes[0].load <= 11);
	balance_free(balance);
}

TEST_CASE(balance, more_services_than_are_remembered)
{
	struct balance *balance = open_balance(CONFIG_BALANCE_ROUND_ROBIN);
	const uint32_t weights[] = {1, 1};
	struct balance_node nodes[2];

	set_nodes(nodes, weights, 2);
	for (unsigned i = 0; i < 5000; i++)
		place(balance, nodes, 2, i,
		      (uint16_t)(1 + i % (3 * BALANCE_SERVICES_MAX)));
	/* By the hash then, which is fair to a few in a hundred. */
	CHECK(nodes[0].load > 2300 && nodes[0].load < 2700);
	balance_free(balance);
}

TEST_CASE(balance, the_fewest_connections_for_its_weight)
{
	struct balance *balance = open_balance(CONFIG_BALANCE_LEAST_CONNECTIONS);
	const uint32_t weights[] = {1, 1, 2};
	struct balance_node nodes[3];

	set_nodes(nodes, weights, 3);
	nodes[0].load = 100;
	for (unsigned i = 0; i < 90; i++)
		CHECK(place(balance, nodes, 3, i, 80) != 1);
	for (unsigned i = 0; i < 310; i++)
		place(balance, nodes, 3, i, 80);
	CHECK(nodes[0].load >= 124 && nodes[0].load <= 126);
	CHECK(nodes[1].load >= 124 && nodes[1].load <= 126);
	CHECK(nodes[2].load >= 249 && nodes[2].load <= 251);
	balance_free(balance);
}

/* Nobody has any: they take turns. */
TEST_CASE(balance, idle_ones_take_turns)
{
	struct balance *balance = open_balance(CONFIG_BALANCE_LEAST_CONNECTIONS);
	const uint32_t weights[] = {1, 1};
	unsigned of_one = 0;

	for (unsigned i = 0; i < 100; i++) {
		struct balance_node nodes[2];

		set_nodes(nodes, weights, 2);
		of_one += place(balance, nodes, 2, i, 80) == 1;
	}
	CHECK_INT(of_one, 50);
	balance_free(balance);
}

static uint16_t hash(unsigned n, const struct balance_node *nodes, unsigned num)
{
	const struct flow_key key = key_of(n, 80);

	return balance_hash(&key, nodes, num);
}

TEST_CASE(balance, a_hash_moves_only_the_flows_of_who_leaves)
{
	const uint32_t weights[NODES] = {1, 1, 2, 1};
	struct balance_node nodes[NODES];
	unsigned count[NODES + 1] = {0};

	set_nodes(nodes, weights, NODES);
	for (unsigned i = 0; i < FLOWS; i++) {
		uint16_t with = hash(i, nodes, NODES),
			 without = hash(i, nodes, NODES - 1);

		count[with]++;
		CHECK(with == without || with == NODES);
		CHECK(without != NODES);
	}
	for (unsigned id = 1; id <= NODES; id++) {
		unsigned fair = FLOWS * weights[id - 1] / 5;

		CHECK(count[id] > fair * 95 / 100 && count[id] < fair * 105 / 100);
	}
}

TEST_CASE(balance, a_hash_does_not_care_for_the_order)
{
	const uint32_t weights[NODES] = {1, 3, 2, 1};
	struct balance *balance = open_balance(CONFIG_BALANCE_CONSISTENT_HASH);
	struct balance_node nodes[NODES], turned[NODES];

	set_nodes(nodes, weights, NODES);
	for (unsigned i = 0; i < NODES; i++)
		turned[i] = nodes[NODES - 1 - i];
	for (unsigned i = 0; i < 1000; i++) {
		CHECK_INT(place(balance, nodes, NODES, i, 80), hash(i, turned, NODES));
	}
	balance_free(balance);
}

TEST_CASE(balance, choosing_changes_nothing)
{
	const uint32_t weights[] = {1, 1, 1};
	struct balance_node nodes[3];

	for (unsigned policy = 0; policy < 3; policy++) {
		struct balance *balance = open_balance((enum config_balance)policy);
		const struct flow_key key = key_of(1, 80);

		set_nodes(nodes, weights, 3);
		place(balance, nodes, 3, 7, 80);
		for (unsigned i = 0; i < 5; i++)
			CHECK_INT(balance_choose(balance, &key, nodes, 3),
				  balance_choose(balance, &key, nodes, 3));
		balance_free(balance);
	}
	balance_free(NULL);
}

TEST_CASE(balance, a_great_many_nodes)
{
	struct balance *balance = open_balance(CONFIG_BALANCE_ROUND_ROBIN);
	struct balance_node nodes[BALANCE_NODES_MAX];

	for (unsigned i = 0; i < BALANCE_NODES_MAX; i++)
		nodes[i] = (struct balance_node){.id = (uint16_t)(65534 - i),
						 .weight = CONFIG_WEIGHT_MAX};
	for (unsigned i = 0; i < 2 * BALANCE_NODES_MAX; i++)
		place(balance, nodes, BALANCE_NODES_MAX, i, 80);
	for (unsigned i = 0; i < BALANCE_NODES_MAX; i++)
		CHECK_INT(nodes[i].load, 2);
	balance_free(balance);
}
