/*
 * Members that break no rule and do what they do for ever, in a world made of a seed
 * (sim.h): what that costs the others has a limit.
 */
#include "sim.h"

#include "shim.h"

#include <stdio.h>
#include <string.h>

/* n2 runs; a stranger plays n1, as "x". */
static struct sim *start(uint64_t seed)
{
	struct sim *sim = sim_new(seed);

	sim_add_node(sim, 1, "n1");
	sim_start(sim_add_node(sim, 2, "n2"));
	return sim;
}

/* HELLO of a node without a network; and the rest of its handshake. */
static struct world_channel *call(struct sim *sim, struct sim_node *node, uint16_t id)
{
	struct world_channel *channel = sim_dial_stranger(sim, node, 0);
	struct peer_message message = {
		.type = PEER_MESSAGE_HELLO,
		.hello = {.wire_version = SHMNET_WIRE_VERSION,
			  .cluster = "sim",
			  .id = id,
			  .nonce = id},
	};

	snprintf(message.hello.name, sizeof(message.hello.name), "x%u", id);
	sim_stranger_send(channel, &message);
	return channel;
}

static void complete(struct world_channel *channel)
{
	const struct peer_message bell = {.type = PEER_MESSAGE_BELL};
	const struct peer_message ready = {.type = PEER_MESSAGE_READY,
					   .ready = {0, 1, 200}};

	sim_stranger_send(channel, &bell);
	sim_stranger_send(channel, &ready);
}

/* ---- networks ---- */

static struct world_channel *join(struct sim *sim)
{
	struct world_channel *channel = sim_dial_member(sim, sim_node_at(sim, 1), 1, "x");

	sim_run(sim, 200 * SIM_MS);
	return channel;
}

/* "lan0" comes and goes. */
static void change_networks(struct sim *sim, struct world_channel *channel,
			    unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct peer_message message = {.type = PEER_MESSAGE_NETWORKS};
		struct peer_network *network = &message.hello.networks[0];

		snprintf(network->name, sizeof(network->name), "lan0");
		network->mtu = 1500;
		network->offloads = SHMNET_OFFLOADS;
		message.hello.num_networks = i % 2;
		sim_stranger_send(channel, &message);
	}
	sim_run(sim, SIM_S);
}

TEST_CASE(churn, networks_that_change_in_a_loop_end_the_session)
{
	struct sim *sim = start(1);
	struct world_channel *channel = join(sim);

	change_networks(sim, channel, 1000);
	CHECK_STR(sim_stranger_refusal(channel),
		  "x changed its networks more than 32 times in a row; once a second is "
		  "fine");
	CHECK(sim_stranger_is_closed(channel));
	channel = join(sim); /* the next session has no more of it */
	change_networks(sim, channel, 10);
	CHECK(sim_stranger_is_closed(channel));
	sim_finish(sim);
}

TEST_CASE(churn, networks_may_change_now_and_then)
{
	struct sim *sim = start(2);
	struct world_channel *channel = join(sim);

	for (unsigned i = 0; i < 200; i++)
		change_networks(sim, channel, 1);
	change_networks(sim, channel, 30);
	CHECK(!sim_stranger_is_closed(channel));
	sim_stranger_close(channel);
	sim_finish(sim);
}

/* ---- sessions ---- */

/* So many in one go, and four a second; each is up, down, and refused at most once. */
static void check_sessions(struct sim *sim, unsigned place, unsigned seconds)
{
	const uint64_t told = sim_events(sim_node_at(sim, place))->count;

	CHECK(told <= 3ull * (64 + 4 * seconds + 10));
}

/* Comes, is up, and goes, as fast as it can. */
TEST_CASE(churn, who_calls_in_a_loop_is_told_to_wait)
{
	struct sim *sim = start(3);
	struct world_channel *channel;
	unsigned refused = 0;

	for (unsigned i = 0; i < 1000; i++) {
		channel = sim_dial_member(sim, sim_node_at(sim, 1), 1, "x");
		sim_run(sim, 60 * SIM_MS);
		sim_stranger_close(channel);
		sim_run(sim, 40 * SIM_MS);
		refused += strcmp(sim_stranger_refusal(channel),
				  "x begins a session with n2 too often") == 0;
	}
	CHECK(refused > 500);
	check_sessions(sim, 1, 100);
	sim_run(sim, SIM_S);
	sim_start(sim_node_at(sim, 0)); /* whose id it was */
	sim_run(sim, 3 * SIM_S);
	CHECK(sim_linked(sim_node_at(sim, 0), sim_node_at(sim, 1), 0));
	sim_finish(sim);
}

/* And shows a new socket each time, which is a new life, as far as one can see. */
TEST_CASE(churn, who_is_called_in_a_loop_waits_longer)
{
	for (unsigned shows = 0; shows < 2; shows++) {
		struct sim *sim = start(4);
		struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
		uint64_t end_ns;

		sim_start(n1);
		sim_run(sim, SIM_S);
		end_ns = sim_now(sim) + 60 * SIM_S;
		while (sim_now(sim) < end_ns && !sim_error(sim)) {
			if (sim_linked(n1, n2, 0))
				sim_cut(n1, n2);
			if (shows)
				sim_show_again(n2);
			sim_run(sim, 5 * SIM_MS);
		}
		check_sessions(sim, 0, shows ? 60 : 0);
		sim_run(sim, 10 * SIM_S);
		CHECK(sim_linked(n1, n2, 0));
		sim_kill(n2); /* who was steady for a while is dialled at once again */
		sim_start(n2);
		sim_run(sim, 200 * SIM_MS);
		CHECK(sim_linked(n1, n2, 0));
		sim_finish(sim);
	}
}

/* What it said last, and its next call, may come in either order. */
TEST_CASE(churn, who_calls_again_is_taken_when_its_last_word_was_read)
{
	const struct peer_message word = {
		.type = PEER_MESSAGE_REFUSE,
		.refuse = {.code = PEER_REFUSAL_GIVEN_UP, .words = "silent"},
	};

	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = start(seed);
		struct sim_node *n2 = sim_node_at(sim, 1);
		struct world_channel *channel = call(sim, n2, 1);

		complete(channel);
		sim_run(sim, 100 * SIM_MS);
		sim_stranger_send(channel, &word);
		sim_stranger_close(channel);
		channel = call(sim, n2, 1);
		sim_run(sim, 100 * SIM_MS);
		complete(channel);
		sim_run(sim, 100 * SIM_MS);
		CHECK_STR(sim_stranger_refusal(channel), "");
		CHECK_INT(membership_peers_up(sim_membership(n2)), 1);
		CHECK_STR(events_get(sim_events(n2), 1)->cause, "it gave n2 up: silent");
		sim_stranger_close(channel);
		sim_finish(sim);
	}
}

/* ---- refusals ---- */

/* Of another cluster, and under another name each time. */
static void call_in_vain(struct sim *sim, struct sim_node *node, uint16_t id,
			 unsigned number)
{
	struct peer_message message = {
		.type = PEER_MESSAGE_HELLO,
		.hello = {.wire_version = SHMNET_WIRE_VERSION, .id = id, .nonce = 1},
	};
	struct world_channel *channel = sim_dial_stranger(sim, node, 0);

	snprintf(message.hello.name, sizeof(message.hello.name), "x%u", number);
	snprintf(message.hello.cluster, sizeof(message.hello.cluster), "y%u", number);
	sim_stranger_send(channel, &message);
	sim_run(sim, 10 * SIM_MS);
	sim_stranger_close(channel);
}

TEST_CASE(churn, refusals_in_ever_other_words_are_not_all_told)
{
	struct sim *sim = sim_new(5);
	struct sim_node *n9 = sim_add_node(sim, 900, "n9");
	uint64_t told;

	sim_start(n9);
	for (unsigned i = 0; i < 1000; i++) /* 10 s */
		call_in_vain(sim, n9, 1, i);
	told = sim_events(n9)->count;
	CHECK(told >= 8 && told <= 8 + 2);
	for (unsigned i = 0; i < 2000; i++) /* 20 s, and of 400 nodes, as they say */
		call_in_vain(sim, n9, (uint16_t)(2 + i % 400), i);
	CHECK(sim_events(n9)->count - told <= 64 + 20 + 2);
	sim_run(sim, 100 * SIM_S);
	told = sim_events(n9)->count;
	call_in_vain(sim, n9, 1, 0);
	sim_run(sim, SIM_S);
	CHECK_U64(sim_events(n9)->count, told + 1);
	CHECK(strstr(events_get(sim_events(n9), events_kept(sim_events(n9)) - 1)->cause,
		     " others before)"));
	sim_finish(sim);
}

/* ---- names ---- */

static unsigned count_known(struct sim_node *node)
{
	return membership_peers_known(sim_membership(node));
}

static void join_and_leave(struct sim *sim, struct sim_node *node, uint16_t id)
{
	struct world_channel *channel = call(sim, node, id);

	complete(channel);
	sim_run(sim, 100 * SIM_MS);
	sim_stranger_close(channel);
	sim_run(sim, 30 * SIM_MS);
}

/* Each is up for a while. Who was there first, and is, stays. */
TEST_CASE(churn, a_node_is_forgotten_if_there_is_no_room)
{
	struct sim *sim = sim_new(6);
	struct sim_node *n1 = sim_add_node(sim, 1, "n1");
	struct sim_node *n2 = sim_add_node(sim, 2, "n2");
	struct sim_node *n9 = sim_add_node(sim, 9000, "n9");
	uint32_t incarnation;

	sim_start(n1);
	sim_start(n9);
	sim_run(sim, SIM_S);
	for (unsigned i = 0; i < MEMBER_PEERS_MAX + 100; i++)
		join_and_leave(sim, n9, (uint16_t)(1000 + i));
	CHECK_INT(count_known(n9), MEMBER_PEERS_MAX);
	CHECK(sim_linked(n1, n9, 0));
	sim_start(n2);
	sim_run(sim, 2 * SIM_S);
	CHECK(sim_linked(n2, n9, 0));
	CHECK_INT(count_known(n9), MEMBER_PEERS_MAX);
	sim_kill(n1); /* and is known as the one that it was */
	sim_run(sim, SIM_S);
	sim_start(n1);
	sim_run(sim, 2 * SIM_S);
	CHECK_INT(sim_view(n9, n1, &incarnation, NULL), MEMBER_UP);
	CHECK_INT(incarnation, 2);
	sim_finish(sim);
}
