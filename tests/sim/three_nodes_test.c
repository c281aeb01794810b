/*
 * Nodes that find each other, lose each other and refuse each other, in a world
 * made of a seed (sim.h).
 *
 *     SEEDS=N   so many random schedules instead of 500
 *     SEED=S    only that one, with everything that happens on stderr
 */
#include "sim.h"

#include "shim.h"

#include <shmnet/wire.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS	   500
#define SETTLED_NS (150 * SIM_S) /* two of the longest backoff, and some */

static struct sim *three_started(uint64_t seed)
{
	struct sim *sim = sim_new_nodes(seed, 3, 1);

	sim_start_all(sim);
	return sim;
}

static uint32_t incarnation(struct sim_node *node)
{
	return membership_incarnation(sim_membership(node));
}

TEST_CASE(three_nodes, find_each_other_in_any_order)
{
	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = sim_new_nodes(seed, 3, 1);
		unsigned first = (unsigned)sim_random(sim, 3);

		for (unsigned i = 0; i < 3; i++) {
			sim_start(sim_node_at(sim, (first + i * (1 + seed % 2)) % 3));
			sim_run(sim, sim_random(sim, 100 * SIM_MS));
		}
		sim_run(sim, SIM_S);
		CHECK(sim_all_linked(sim, 0));
		CHECK(sim_all_linked(sim, 1));
		for (unsigned i = 0; i < 3; i++) {
			CHECK(sim_has_carrier(sim_node_at(sim, i), 0));
			CHECK_INT(
				membership_peers_up(sim_membership(sim_node_at(sim, i))),
				2);
		}
		sim_finish(sim);
	}
}

TEST_CASE(three_nodes, a_killed_node_is_down_at_once_and_back_when_it_starts)
{
	struct sim *sim = three_started(7);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);

	sim_run(sim, SIM_S);
	sim_kill(n2);
	sim_run(sim, SIM_DELAY_MAX_NS + 1);
	CHECK_INT(sim_view(n1, n2, NULL, NULL), MEMBER_DOWN);
	CHECK_STR(sim_reason(n3, n2)[0] ? "says why" : "", "says why");
	CHECK(sim_linked(n1, n3, 0));
	sim_run(sim, SIM_S);
	sim_start(n2);
	sim_run(sim, 200 * SIM_MS);
	CHECK(sim_all_linked(sim, 0));
	sim_finish(sim);
}

TEST_CASE(three_nodes, a_restart_before_the_news_of_the_end_is_taken)
{
	for (uint64_t seed = 1; seed <= 100 && !test_failed(); seed++) {
		struct sim *sim = three_started(seed);

		sim_run(sim, SIM_S);
		sim_kill(sim_node_at(sim, (unsigned)(seed % 3)));
		sim_start(sim_node_at(sim, (unsigned)(seed % 3)));
		sim_run(sim, SIM_S);
		CHECK(sim_all_linked(sim, 1));
		sim_finish(sim);
	}
}

TEST_CASE(three_nodes, incarnations_rise_with_each_life)
{
	struct sim *sim = three_started(9);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	uint32_t seen;

	sim_run(sim, SIM_S);
	for (uint32_t life = 1; life <= 5; life++) {
		CHECK_INT(incarnation(n2), life);
		CHECK_INT(sim_view(n1, n2, &seen, NULL), MEMBER_UP);
		CHECK_INT(seen, life);
		if (life % 2)
			sim_kill(n2);
		else
			sim_stop(n2);
		sim_run(sim, 300 * SIM_MS);
		sim_start(n2);
		sim_run(sim, SIM_S);
	}
	CHECK_INT(incarnation(n1), 1);
	sim_finish(sim);
}

TEST_CASE(three_nodes, one_that_stops_is_forgotten_by_the_rendezvous)
{
	struct sim *sim = three_started(10);
	struct sim_node *n1 = sim_node_at(sim, 0), *n3 = sim_node_at(sim, 2);

	sim_run(sim, SIM_S);
	sim_stop(n3);
	sim_run(sim, SIM_S);
	CHECK_INT(sim_view(n1, n3, NULL, NULL), MEMBER_DOWN);
	CHECK_INT(membership_peers_up(sim_membership(n1)), 1);
	sim_finish(sim);
}

TEST_CASE(three_nodes, another_cluster_is_refused_by_both_in_words)
{
	struct sim *sim = sim_new_nodes(11, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);

	sim_config(n3)->cluster = (char *)"other";
	sim_start_all(sim);
	sim_run(sim, 30 * SIM_S);
	CHECK(sim_linked(n1, n2, 0));
	CHECK(!sim_linked(n1, n3, 0));
	CHECK_CONTAINS(sim_reason(n1, n3), "node-3 refused: cluster sim of n1 (id 1) and "
					   "cluster other of n3 (id 3) differ");
	CHECK_CONTAINS(sim_reason(n3, n1), "refused: cluster sim of n1 (id 1) and "
					   "cluster other of n3 (id 3) differ");
	sim_finish(sim);
}

TEST_CASE(three_nodes, another_cluster_that_mends_its_ways_is_taken_at_once)
{
	struct sim *sim = sim_new_nodes(12, 3, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);

	sim_config(n3)->cluster = (char *)"other";
	sim_start_all(sim);
	sim_run(sim, 100 * SIM_S);
	sim_stop(n3);
	sim_config(n3)->cluster = (char *)"sim";
	sim_start(n3);
	sim_run(sim, 200 * SIM_MS);
	CHECK(sim_all_linked(sim, 0));
	sim_finish(sim);
}

TEST_CASE(three_nodes, a_foreign_uid_is_refused_and_root_is_not)
{
	struct sim *sim = sim_new_nodes(13, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);

	sim_set_uid(n1, 1000);
	sim_set_uid(n2, 1000);
	sim_set_uid(n3, 1001);
	sim_start_all(sim);
	sim_run(sim, 10 * SIM_S);
	CHECK(sim_linked(n1, n2, 0));
	CHECK(!sim_linked(n1, n3, 0));
	CHECK_CONTAINS(sim_reason(n2, n3), "uid 1000 of pid");
	CHECK_CONTAINS(sim_reason(n2, n3), "is neither root nor uid 1001 of n3");
	sim_finish(sim);
}

static void note_reason(const char *words, void *arg)
{
	char *all = arg;

	strncat(all, words, 2000 - strlen(all));
	strncat(all, "\n", 2000 - strlen(all));
}

TEST_CASE(three_nodes, another_mtu_refuses_that_network_only)
{
	struct sim *sim = sim_new_nodes(14, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);
	char words[2048] = "";

	sim_config(n2)->networks[1].mtu = 4000;
	sim_config(n3)->networks[1].kind = NETWORK_KIND_GLOBAL;
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	CHECK(sim_all_linked(sim, 0));
	CHECK(!sim_linked(n1, n2, 1));
	CHECK(!sim_has_carrier(n1, 1));
	CHECK_INT(sim_view(n1, n2, NULL, NULL), MEMBER_UP);
	CHECK_INT(membership_each_reason(sim_membership(n1), note_reason, words), 3);
	CHECK_CONTAINS(words, "node n2 (id 2): network big0 has MTU 9000 on n1 and MTU "
			      "4000 on n2");
	CHECK_CONTAINS(words, "node n3 (id 3): network big0 is local on n1 and global on "
			      "n3");
	CHECK_CONTAINS(words, "network big0: no node is linked to it");
	sim_finish(sim);
}

static void give_address(struct sim_node *node, unsigned network, const char *text)
{
	struct config_network *config = &sim_config(node)->networks[network];
	struct config_address *address = &config->addresses[config->num_addresses++];

	memset(address, 0, sizeof(*address));
	address->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	address->prefix = 24;
	inet_pton(address->family, text, address->bytes);
}

TEST_CASE(three_nodes, an_address_of_two_is_named_by_both)
{
	struct sim *sim = sim_new_nodes(14, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);
	char words[2048] = "";

	give_address(n1, 0, "10.77.0.1");
	give_address(n1, 0, "fd77::1");
	give_address(n1, 1, "10.78.0.1");
	give_address(n2, 0, "10.77.0.2");
	give_address(n2, 0, "fd77::1");
	give_address(n2, 1, "10.77.0.1"); /* another network */
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	CHECK(sim_all_linked(sim, 0));
	CHECK_INT(membership_each_reason(sim_membership(n1), note_reason, words), 1);
	CHECK_CONTAINS(words, "address fd77::1 of network lan0 is that of n1 and of n2");
	words[0] = '\0';
	CHECK_INT(membership_each_reason(sim_membership(n2), note_reason, words), 1);
	CHECK_CONTAINS(words, "address fd77::1 of network lan0 is that of n2 and of n1");
	CHECK_INT(membership_each_reason(sim_membership(n3), note_reason, words), 0);
	sim_finish(sim);
}

/* Network 1 of a node: the same on all of them, so far. */
static struct config_network *make_global(struct sim_node *node)
{
	struct config_network *config = &sim_config(node)->networks[1];

	config->kind = NETWORK_KIND_GLOBAL;
	give_address(node, 1, "10.99.0.1");
	give_address(node, 1, "fd99::1");
	return config;
}

static void name_members(struct config_network *network, const char *first,
			 const char *second)
{
	network->num_members = 2;
	network->members[0] = (char *)(uintptr_t)first;
	network->members[1] = (char *)(uintptr_t)second;
}

TEST_CASE(three_nodes, a_global_network_has_one_set_of_addresses)
{
	struct sim *sim = sim_new_nodes(17, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);
	struct config_network *there = make_global(n2);
	char words[2048] = "";

	make_global(n1);
	there->num_addresses = 0; /* the other way round */
	give_address(n2, 1, "fd99::1");
	give_address(n2, 1, "10.99.0.1");
	make_global(n3)->num_addresses = 1;
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	CHECK(sim_all_linked(sim, 0));
	CHECK(sim_linked(n1, n2, 1));
	CHECK(!sim_linked(n1, n3, 1));
	CHECK_INT(membership_each_reason(sim_membership(n1), note_reason, words), 1);
	CHECK_CONTAINS(words, "node n3 (id 3): global network big0 has address "
			      "10.99.0.1, fd99::1 on n1 and 10.99.0.1 on n3");
	words[0] = '\0';
	CHECK_INT(membership_each_reason(sim_membership(n3), note_reason, words), 3);
	CHECK_CONTAINS(words, "node n1 (id 1): global network big0 has address "
			      "10.99.0.1 on n3 and 10.99.0.1, fd99::1 on n1");
	sim_finish(sim);
}

TEST_CASE(three_nodes, a_global_network_has_one_set_of_members)
{
	struct sim *sim = sim_new_nodes(18, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);
	char words[2048] = "";

	name_members(make_global(n1), "n1", "n2");
	name_members(make_global(n2), "n2", "n1");
	make_global(n3);
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	CHECK(sim_linked(n1, n2, 1));
	CHECK(!sim_linked(n1, n3, 1) && !sim_linked(n2, n3, 1));
	CHECK_INT(membership_each_reason(sim_membership(n1), note_reason, words), 1);
	CHECK_CONTAINS(words, "node n3 (id 3): global network big0 has members n1, n2 on "
			      "n1 and all nodes on n3");
	sim_finish(sim);
}

TEST_CASE(three_nodes, who_is_no_member_is_not_linked)
{
	struct sim *sim = sim_new_nodes(19, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n3 = sim_node_at(sim, 2);
	char words[2048] = "";

	name_members(make_global(n1), "n1", "n2");
	name_members(make_global(n3), "n1", "n2"); /* its own check would refuse that */
	sim_start(n1);
	sim_start(n3);
	sim_run(sim, SIM_S);
	CHECK(!sim_linked(n1, n3, 1));
	CHECK_INT(membership_each_reason(sim_membership(n1), note_reason, words), 2);
	CHECK_CONTAINS(words, "node n3 (id 3): global network big0 is for its members "
			      "only: n1, n2");
	sim_finish(sim);
}

TEST_CASE(three_nodes, a_global_address_is_no_nodes_own)
{
	struct sim *sim = sim_new_nodes(20, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	char words[2048] = "";

	make_global(n1);
	make_global(n2);
	give_address(n2, 0, "fd99::1");
	sim_start(n1);
	sim_start(n2);
	sim_run(sim, SIM_S);
	CHECK(sim_linked(n1, n2, 0) && sim_linked(n1, n2, 1));
	CHECK_INT(membership_each_reason(sim_membership(n1), note_reason, words), 1);
	CHECK_CONTAINS(words, "address fd99::1 is that of the global network big0 of n1 "
			      "and of the local network lan0 of n2; give one of them "
			      "another");
	words[0] = '\0';
	CHECK_INT(membership_each_reason(sim_membership(n2), note_reason, words), 1);
	CHECK_CONTAINS(words, "address fd99::1 is that of the local network lan0 of n2 "
			      "and of the global network big0 of n1");
	sim_finish(sim);
}

TEST_CASE(three_nodes, without_a_common_network_a_peer_is_up)
{
	struct sim *sim = sim_new_nodes(15, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_config(n1)->num_networks = 1;
	sim_config(n2)->networks[0].name = (char *)"mine";
	sim_start(n1);
	sim_start(n2);
	sim_run(sim, SIM_S);
	CHECK_INT(sim_view(n1, n2, NULL, NULL), MEMBER_UP);
	CHECK(!sim_linked(n1, n2, 0));
	sim_finish(sim);
}

TEST_CASE(three_nodes, who_breaks_the_rules_is_quarantined_longer_each_time)
{
	struct sim *sim = sim_new_nodes(16, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_start(n1);
	sim_start(n2);
	sim_run(sim, SIM_S);
	for (unsigned backoff_s = 1; backoff_s <= 8; backoff_s *= 2) {
		CHECK(sim_linked(n1, n2, 0));
		CHECK(sim_fault_link(n1, n2, 0, -EPROTO));
		sim_run(sim, backoff_s * SIM_S - 100 * SIM_MS);
		CHECK_INT(sim_view(n1, n2, NULL, NULL), MEMBER_DOWN);
		CHECK_CONTAINS(sim_reason(n1, n2), "n2 broke the rules of the ring of "
						   "network lan0");
		CHECK_CONTAINS(sim_reason(n2, n1), "n1 refused: n2 broke the rules");
		sim_run(sim, SIM_S);
	}
	sim_finish(sim);
}

TEST_CASE(three_nodes, the_dialled_one_keeps_its_quarantine_too)
{
	struct sim *sim = sim_new_nodes(17, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_start(n1);
	sim_start(n2);
	sim_run(sim, SIM_S);
	sim_fault_link(n2, n1, 1, -EPROTO);
	sim_run(sim, 900 * SIM_MS);
	CHECK(!sim_linked(n1, n2, 0));
	sim_run(sim, 5 * SIM_S);
	CHECK(sim_linked(n1, n2, 0));
	sim_fault_link(n2, n1, 1, -EPROTO);
	sim_run(sim, 500 * SIM_MS);
	sim_kill(n1);
	sim_start(n1);
	sim_run(sim, 200 * SIM_MS); /* another life: nothing is held against it */
	CHECK(sim_linked(n1, n2, 0));
	sim_finish(sim);
}

/* Lives are cheap, and so are sockets in the rendezvous. */
static void check_lives_are_counted(unsigned liar_index)
{
	struct sim *sim = sim_new_nodes(20 + liar_index, 3, 1);
	struct sim_node *liar = sim_node_at(sim, liar_index);
	struct sim_node *witness = sim_node_at(sim, 1 - liar_index);

	sim_start(liar);
	sim_start(witness);
	sim_run(sim, SIM_S);
	for (unsigned i = 0; i < 2; i++) {
		CHECK(sim_fault_link(witness, liar, 0, -EPROTO));
		sim_run(sim, 200 * SIM_MS);
		sim_kill(liar);
		sim_start(liar);
		sim_run(sim, 400 * SIM_MS);
		CHECK(sim_linked(witness, liar, 0));
	}
	CHECK(sim_fault_link(witness, liar, 0, -EPROTO));
	for (unsigned i = 0; i < 5; i++) {
		sim_run(sim, 600 * SIM_MS);
		sim_kill(liar);
		sim_start(liar);
		CHECK_CONTAINS(sim_reason(witness, liar), "quarantined for 4 s: ");
	}
	sim_run(sim, 700 * SIM_MS);
	CHECK(!sim_linked(witness, liar, 0));
	sim_run(sim, 70 * SIM_S);
	CHECK(sim_linked(witness, liar, 0));
	sim_finish(sim);
}

TEST_CASE(three_nodes, a_liars_next_lives_are_welcome_twice)
{
	check_lives_are_counted(0);
	check_lives_are_counted(1);
}

TEST_CASE(three_nodes, a_dead_doorbell_ends_the_session_and_it_comes_back)
{
	struct sim *sim = three_started(18);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_run(sim, SIM_S);
	sim_fault_link(n1, n2, 0, -ECONNRESET);
	sim_run(sim, SIM_DELAY_MAX_NS + 1);
	CHECK_INT(sim_view(n1, n2, NULL, NULL), MEMBER_SUSPECT);
	sim_run(sim, 100 * SIM_MS);
	sim_run(sim, SIM_S);
	CHECK(sim_all_linked(sim, 0));
	sim_finish(sim);
}

TEST_CASE(three_nodes, a_second_node_of_the_same_name_is_refused)
{
	struct sim *sim = sim_new_nodes(19, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *twin = sim_add_node(sim, 4, "n2");

	sim_start(n1);
	sim_start(n2);
	sim_run(sim, SIM_S);
	sim_start(twin);
	sim_run(sim, SIM_S);
	CHECK(sim_linked(n1, n2, 0));
	CHECK(!sim_linked(n1, twin, 0));
	CHECK(!sim_linked(n2, twin, 0));
	CHECK_CONTAINS(sim_reason(n1, twin),
		       "name n2 is that of id 4 and of id 2, which is "
		       "connected to n1");
	CHECK_CONTAINS(sim_reason(n2, twin), "name n2 is that of id 2 and of id 4");
	sim_finish(sim);
}

/* ---- strangers: bytes that no node would send ---- */

static struct peer_message hello_of(uint16_t id, const char *name)
{
	struct peer_message message = {
		.type = PEER_MESSAGE_HELLO,
		.hello = {.wire_version = SHMNET_WIRE_VERSION,
			  .cluster = "sim",
			  .id = id,
			  .nonce = 77},
	};

	snprintf(message.hello.name, sizeof(message.hello.name), "%s", name);
	return message;
}

static void check_stranger(const struct peer_message *message, uid_t uid,
			   const char *words)
{
	struct sim *sim = three_started(20);
	struct world_channel *channel;

	sim_run(sim, SIM_S);
	channel = sim_dial_stranger(sim, sim_node_at(sim, 1), uid);
	sim_stranger_send(channel, message);
	sim_run(sim, 4 * SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), words);
	CHECK(sim_stranger_is_closed(channel));
	CHECK(sim_all_linked(sim, 0));
	sim_finish(sim);
}

TEST_CASE(stranger, is_refused_in_words)
{
	struct peer_message message = hello_of(1, "n1");

	check_stranger(&message, 0,
		       "id 1 of n1 is that of n1 (pid 101), which is connected to n2");
	message = hello_of(2, "x");
	check_stranger(&message, 0, "id 2 is that of x and of n2");
	message = hello_of(9, "x");
	check_stranger(&message, 0,
		       "the lower id dials: id 9 of x must not dial id 2 of n2");
	check_stranger(&message, 55,
		       "uid 55 of pid 99 is neither root nor uid 0 of n2, nor in "
		       "'uids' of its fabric");
	message.hello.wire_version = 1;
	check_stranger(&message, 0,
		       "wire version 1 of the peer and wire version 5 to 6 of n2 differ");
	message = (struct peer_message){.type = PEER_MESSAGE_READY, .ready = {0, 1, 200}};
	check_stranger(&message, 0, "the first message to n2 is READY, HELLO is right");
}

static void check_stranger_bytes(const void *bytes, size_t length, bool with_fd,
				 unsigned surplus, const char *words)
{
	struct sim *sim = three_started(21);
	struct world_channel *channel;

	sim_run(sim, SIM_S);
	channel = sim_dial_stranger(sim, sim_node_at(sim, 1), 0);
	if (bytes)
		sim_stranger_send_bytes(channel, bytes, length, with_fd, surplus);
	sim_run(sim, 4 * SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), words);
	CHECK(sim_stranger_is_closed(channel));
	CHECK(sim_all_linked(sim, 0));
	sim_finish(sim);
}

TEST_CASE(stranger, sends_nonsense_nothing_or_descriptors)
{
	struct peer_message message = hello_of(1, "x");
	uint8_t bytes[256];
	size_t length;

	check_stranger_bytes(NULL, 0, false, 0, "no HELLO reached n2 within 3 s");
	check_stranger_bytes("\xff\xff", 2, false, 0,
			     "the first message to n2 is malformed");
	check_stranger_bytes("", 0, false, 0,
			     "the first message to n2 is of an unknown type");
	REQUIRE(codec_peer_encode(&message, bytes, sizeof(bytes), &length) == 0);
	check_stranger_bytes(bytes, length, true, 0,
			     "HELLO came with 1 descriptors, 0 is right");
	check_stranger_bytes(bytes, length, true, 63,
			     "HELLO came with 64 descriptors, 0 is right");
}

/* Says HELLO as id 1, then sends `message` where an offer is expected. */
static void check_offer(const struct peer_message *message, unsigned surplus,
			const char *words)
{
	struct peer_message hello = hello_of(1, "x");
	struct sim *sim = sim_new_nodes(22, 3, 1);
	struct world_channel *channel;
	uint8_t bytes[4096];
	size_t length;

	snprintf(hello.hello.networks[0].name, CONFIG_NAME_MAX, "lan0");
	hello.hello.networks[0].mtu = 1500;
	hello.hello.num_networks = 1;
	sim_start(sim_node_at(sim, 1));
	channel = sim_dial_stranger(sim, sim_node_at(sim, 1), 0);
	sim_stranger_send(channel, &hello);
	REQUIRE(codec_peer_encode(message, bytes, sizeof(bytes), &length) == 0);
	sim_stranger_send_bytes(channel, bytes, length,
				peer_message_fds(message->type, false), surplus);
	sim_run(sim, 4 * SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), words);
	CHECK(sim_stranger_is_closed(channel));
	sim_finish(sim);
}

TEST_CASE(stranger, breaks_the_order_of_an_offer)
{
	struct peer_message message = {.type = PEER_MESSAGE_READY, .ready = {0, 1, 200}};

	check_offer(&message, 0, "x sent READY before BELL");
	check_offer(&message, 1, "x sent READY with 1 descriptors, 0 is right");
	message = hello_of(1, "x");
	check_offer(&message, 0, "x sent HELLO out of turn (state offering)");
	message = (struct peer_message){.type = PEER_MESSAGE_INCARNATION,
					.incarnation = {5}};
	check_offer(&message, 0, "x sent INCARNATION before READY");
	message = (struct peer_message){.type = PEER_MESSAGE_PROBE, .probe = {2}};
	check_offer(&message, 0, "x sent PROBE before READY");
	check_offer(&message, 1, "x sent PROBE with 1 descriptors, 0 is right");
	message = (struct peer_message){.type = PEER_MESSAGE_RING,
					.ring = {.network = "lan0", .size = 1u << 20}};
	check_offer(&message, 0, "x sent RING before BELL");
	memcpy(message.ring.network, "big0", 5);
	check_offer(&message, 0, "x sent a ring for network big0, which is not common");
	message = (struct peer_message){.type = PEER_MESSAGE_BELL};
	check_offer(&message, 0, "the handshake of n2 and x took more than 3 s");
}

/* One peer may drive the number to its end, and hurts nobody else by it. */
TEST_CASE(stranger, leaves_no_incarnation_to_rise_to)
{
	struct peer_message ready = {.type = PEER_MESSAGE_READY,
				     .ready = {UINT32_MAX - 1, 1, 200}};
	struct peer_message bell = {.type = PEER_MESSAGE_BELL};
	struct peer_message hello = hello_of(1, "x");
	struct sim *sim = sim_new_nodes(24, 3, 1);
	struct sim_node *n2 = sim_node_at(sim, 1), *n3 = sim_node_at(sim, 2);
	struct world_channel *channel;

	sim_start(n2);
	sim_start(n3);
	sim_run(sim, SIM_S);
	channel = sim_dial_stranger(sim, n2, 0);
	sim_stranger_send(channel, &hello);
	sim_stranger_send(channel, &bell);
	sim_stranger_send(channel, &ready);
	sim_run(sim, SIM_S);
	sim_stranger_close(channel);
	for (unsigned life = 0; life < 3; life++) {
		CHECK_U64(incarnation(n2), UINT32_MAX);
		CHECK(sim_linked(n2, n3, 0));
		sim_kill(n2);
		sim_run(sim, SIM_S);
		sim_start(n2);
		sim_run(sim, SIM_S);
	}
	sim_finish(sim);
}

TEST_CASE(stranger, too_many_of_them_do_not_keep_a_node_out)
{
	struct sim *sim = sim_new_nodes(23, 3, 1);
	struct world_channel *last = NULL;

	sim_start(sim_node_at(sim, 1));
	sim_run(sim, SIM_S);
	for (unsigned i = 0; i <= MEMBER_GUESTS_MAX; i++) {
		last = sim_dial_stranger(sim, sim_node_at(sim, 1), 0);
		sim_run(sim, 50 * SIM_MS);
	}
	CHECK_STR(sim_stranger_refusal(last), "32 callers of n2 have not said HELLO yet");
	sim_start(sim_node_at(sim, 0));
	sim_run(sim, 10 * SIM_S);
	CHECK(sim_linked(sim_node_at(sim, 0), sim_node_at(sim, 1), 0));
	sim_finish(sim);
}

/* Each is refused: the lower id dials. */
TEST_CASE(stranger, many_names_do_not_keep_a_node_out)
{
	struct sim *sim = sim_new_nodes(24, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct world_channel *last = NULL;

	sim_start(n2);
	sim_run(sim, SIM_S);
	for (unsigned i = 0; i <= MEMBER_PEERS_MAX; i++) {
		struct peer_message hello = hello_of((uint16_t)(1000 + i), "x");

		last = sim_dial_stranger(sim, n2, 0);
		sim_stranger_send(last, &hello);
		sim_run(sim, 50 * SIM_MS);
	}
	CHECK(strstr(sim_stranger_refusal(last), "the lower id dials"));
	sim_start(n1);
	sim_run(sim, 2 * SIM_S);
	CHECK(sim_linked(n1, n2, 0));
	sim_finish(sim);
}

/* ---- random schedules ---- */

static void hurt_some_link(struct sim *sim, struct sim_node *node)
{
	struct sim_node *peer = sim_some_node(sim);

	if (sim_is_alive(node))
		sim_fault_link(node, peer, (unsigned)sim_random(sim, SIM_NETWORKS),
			       sim_random(sim, 2) ? -EPROTO : -ECONNRESET);
}

/*
 * Somebody who pretends to be a node, up to a point: with READY it would be one, and
 * members of one uid trust each other.
 */
static void send_stranger(struct sim *sim, struct sim_node *node)
{
	static const enum peer_message_type types[] = {
		PEER_MESSAGE_HELLO, PEER_MESSAGE_RING,	      PEER_MESSAGE_BELL,
		PEER_MESSAGE_BELL,  PEER_MESSAGE_INCARNATION, PEER_MESSAGE_REFUSE,
		PEER_MESSAGE_PROBE, PEER_MESSAGE_PROBED};
	struct peer_message message = hello_of((uint16_t)(1 + sim_random(sim, 6)), "x");
	struct world_channel *channel;

	if (!sim_is_alive(node))
		return;
	if (sim_random(sim, 4) == 0)
		snprintf(message.hello.cluster, CONFIG_NAME_MAX, "other");
	channel = sim_dial_stranger(sim, node, sim_random(sim, 10) ? 0 : 55);
	if (sim_random(sim, 4))
		sim_stranger_send(channel, &message);
	memset(&message, 0, sizeof(message));
	message.type = types[sim_random(sim, sizeof(types) / sizeof(types[0]))];
	if (message.type != PEER_MESSAGE_BELL)
		snprintf(message.ring.network, CONFIG_NAME_MAX, "lan0");
	if (message.type == PEER_MESSAGE_PROBE || message.type == PEER_MESSAGE_PROBED)
		message.probed = (struct peer_probed){(uint16_t)sim_random(sim, 7), true};
	sim_stranger_send(channel, &message);
	if (sim_random(sim, 2))
		sim_stranger_close(channel);
}

static void do_something(struct sim *sim)
{
	struct sim_node *node = sim_some_node(sim);

	switch (sim_random(sim, 10)) {
	case 0:
	case 1:
		sim_end_some_life(sim, node);
		break;
	case 2:
	case 3:
		if (!sim_is_alive(node))
			sim_start(node);
		break;
	case 4:
		sim_pause_or_resume(node);
		break;
	case 5:
		sim_cut(node, sim_some_node(sim));
		break;
	case 6:
		hurt_some_link(sim, node);
		break;
	case 7:
		sim_show_again(node);
		break;
	case 8:
		send_stranger(sim, node);
		break;
	case 9:
		sim_blind(node, sim_some_node(sim), sim_random(sim, 2));
		break;
	}
}

/* Everybody sees everybody else as it sees itself. */
static bool agree(struct sim *sim)
{
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		for (unsigned j = 0; j < sim_num_nodes(sim); j++) {
			struct sim_node *a = sim_node_at(sim, i);
			struct sim_node *b = sim_node_at(sim, j);
			uint32_t seen;

			if (i != j && (sim_view(a, b, &seen, NULL) != MEMBER_UP ||
				       seen != incarnation(b)))
				return false;
		}
	}
	return sim_all_linked(sim, 0) && sim_all_linked(sim, 1);
}

static void run_schedule(struct sim *sim)
{
	unsigned num_nodes = 3 + (unsigned)sim_random(sim, 3);
	unsigned num_faults = 10 + (unsigned)sim_random(sim, 50);

	for (unsigned i = 0; i < num_nodes; i++)
		sim_start(sim_add_next(sim));
	sim_set_failures(sim, (unsigned)sim_random(sim, 4) * 10);
	sim_make_faults(sim, num_faults, do_something, 3 * SIM_S);
	sim_heal(sim);
	sim_run(sim, SETTLED_NS);
}

static const struct sim_schedule schedule = {
	.run = run_schedule,
	.agree = agree,
	.complaint = "the nodes did not find each other again",
};

TEST_CASE(schedule, random_faults_break_nothing)
{
	CHECK_INT(sim_try_seeds(&schedule, SEEDS), 0);
}

TEST_CASE(schedule, a_seed_replays_exactly)
{
	uint64_t first = sim_try_seed(&schedule, 42, false);

	CHECK(first != 0);
	CHECK_U64(sim_try_seed(&schedule, 42, false), first);
	CHECK(sim_try_seed(&schedule, 43, false) != first);
}
