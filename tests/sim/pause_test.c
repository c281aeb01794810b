/*
 * Networks that are paused and go on, in a world made of a seed (sim.h): who knows of it,
 * and since when, whatever happens to the two besides. The invariants of sim.h hold
 * throughout.
 *
 *     SEEDS=N   so many random schedules instead of 200
 *     SEED=S    only that one, with everything that happens on stderr
 */
#include "sim.h"

#include "shim.h"

#include <stdio.h>

#define SEEDS	   200
#define SETTLED_NS (240 * SIM_S)

/* Of the node at `place`, on network 0. */
static unsigned count_who_know(struct sim *sim, unsigned place)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sim_num_nodes(sim); i++)
		count += sim_knows_pause(sim_node_at(sim, i), sim_node_at(sim, place), 0);
	return count;
}

/* By the last event. */
static uint64_t told_gap(const struct sim_node *node)
{
	const struct events *events = sim_events(node);

	return events_get(events, events_kept(events) - 1)->gap_ns;
}

static void check_told(unsigned hosts)
{
	struct sim *sim = sim_new_started(1, 3, hosts);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_pause_network(n1, 0, true);
	sim_pause_network(n1, 0, true);
	sim_run(sim, SIM_S);
	CHECK_INT(count_who_know(sim, 0), 2);
	CHECK(!sim_knows_pause(n2, n1, 1));
	CHECK(!sim_knows_pause(n1, n2, 0));
	CHECK(sim_linked(n1, n2, 0));
	CHECK(sim_has_carrier(n2, 0));
	CHECK(sim_write(n2, n1, 0));
	CHECK_INT(sim_count_events(n2, EVENTS_PAUSED, "n1"), 1);
	sim_pause_network(n1, 0, false);
	sim_run(sim, SIM_S);
	CHECK_INT(count_who_know(sim, 0), 0);
	CHECK_INT(sim_count_events(n2, EVENTS_RESUMED, "n1"), 1);
	CHECK(told_gap(n2) >= SIM_S - SIM_DELAY_MAX_NS);
	CHECK(told_gap(n2) <= SIM_S + SIM_DELAY_MAX_NS);
	CHECK_INT(sim_count_heard(n1, n2, 0), 1);
	sim_finish(sim);
}

TEST_CASE(pause, all_peers_are_told)
{
	check_told(1);
	check_told(3);
}

/* Whoever comes later, or again, is told before the first frame could go there. */
TEST_CASE(pause, outlives_the_peer)
{
	for (unsigned hosts = 1; hosts <= 3; hosts += 2) {
		struct sim *sim = sim_new_started(2, 3, hosts);
		struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

		sim_pause_network(n2, 0, true);
		sim_kill(n1);
		sim_run(sim, SIM_S);
		sim_start(n1);
		while (!sim_linked(n1, n2, 0) && !sim_error(sim))
			sim_run(sim, SIM_MS);
		CHECK(sim_knows_pause(n1, n2, 0));
		CHECK_INT(sim_count_events(n1, EVENTS_PAUSED, "n2"), 1);
		sim_cut(n1, n2);
		sim_run(sim, 5 * SIM_S);
		CHECK_INT(count_who_know(sim, 1), 2);
		sim_finish(sim);
	}
}

TEST_CASE(pause, ends_with_the_node)
{
	struct sim *sim = sim_new_started(3, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0);

	sim_pause_network(n1, 0, true);
	sim_run(sim, SIM_S);
	sim_kill(n1);
	sim_start(n1);
	sim_run(sim, 5 * SIM_S);
	CHECK(sim_linked(n1, sim_node_at(sim, 1), 0));
	CHECK_INT(count_who_know(sim, 0), 0);
	sim_finish(sim);
}

/* A network that the two don't have in common, and one that nobody has. */
TEST_CASE(pause, of_a_network_that_is_not_common)
{
	struct peer_message message = {.type = PEER_MESSAGE_PAUSE};
	struct sim *sim = sim_new(4);
	struct world_channel *channel;
	struct sim_node *n2;

	sim_add_node(sim, 1, "n1"); /* whom the stranger plays */
	n2 = sim_add_node(sim, 2, "n2");
	sim_start(n2);
	channel = sim_dial_member(sim, n2, 1, "x");
	sim_run(sim, 200 * SIM_MS);
	CHECK(!sim_stranger_is_closed(channel));
	snprintf(message.pause.network, sizeof(message.pause.network), "big0");
	message.pause.paused = true;
	sim_stranger_send(channel, &message);
	snprintf(message.pause.network, sizeof(message.pause.network), "nobodys");
	sim_stranger_send(channel, &message);
	sim_run(sim, 200 * SIM_MS);
	CHECK(!sim_stranger_is_closed(channel));
	CHECK_INT(sim_count_events(n2, EVENTS_PAUSED, "x"), 0);
	snprintf(message.pause.network, sizeof(message.pause.network), "lan0");
	sim_stranger_send(channel, &message);
	sim_stranger_send(channel, &message);
	sim_run(sim, 200 * SIM_MS);
	CHECK(!sim_stranger_is_closed(channel));
	CHECK_INT(sim_count_events(n2, EVENTS_PAUSED, "x"), 1);
	sim_stranger_close(channel);
	sim_finish(sim);
}

/* All of it is acted on; of what it makes at will not all is told. */
TEST_CASE(pause, changes_in_a_flood)
{
	struct peer_message message = {.type = PEER_MESSAGE_PAUSE};
	struct sim *sim = sim_new(6);
	struct world_channel *channel;
	struct sim_node *n1, *n2;

	n1 = sim_add_node(sim, 1, "n1"); /* whom the stranger plays */
	n2 = sim_add_node(sim, 2, "n2");
	sim_start(n2);
	channel = sim_dial_member(sim, n2, 1, "x");
	sim_run(sim, 200 * SIM_MS);
	snprintf(message.pause.network, sizeof(message.pause.network), "lan0");
	for (unsigned i = 0; i <= 200; i++) {
		message.pause.paused = i % 2 == 0;
		sim_stranger_send(channel, &message);
	}
	sim_run(sim, 200 * SIM_MS);
	CHECK(!sim_stranger_is_closed(channel));
	CHECK_INT(sim_count_events(n2, EVENTS_PAUSED, "x"), 16);
	CHECK_INT(sim_count_events(n2, EVENTS_RESUMED, "x"), 16);
	CHECK(sim_knows_pause(n2, n1, 0));
	sim_stranger_close(channel);
	sim_run(sim, SIM_S);
	sim_finish(sim);
}

TEST_CASE(pause, before_the_handshake_is_out_of_turn)
{
	struct peer_message message = {.type = PEER_MESSAGE_PAUSE};
	struct sim *sim = sim_new_started(5, 1, 1);
	struct world_channel *channel = sim_dial_stranger(sim, sim_node_at(sim, 0), 0);

	snprintf(message.pause.network, sizeof(message.pause.network), "lan0");
	sim_stranger_send(channel, &message);
	sim_run(sim, SIM_S);
	CHECK_STR(sim_stranger_refusal(channel),
		  "the first message to n1 is PAUSE, HELLO is right");
	sim_stranger_close(channel);
	sim_finish(sim);
}

/* ---- random schedules ---- */

static void do_something(struct sim *sim)
{
	struct sim_node *node = sim_some_node(sim);

	if (sim_random(sim, 2))
		sim_make_fault(sim, node);
	else if (!sim_is_paused(node))
		sim_pause_network(node, (unsigned)sim_random(sim, SIM_NETWORKS),
				  sim_random(sim, 2));
}

static void run_schedule(struct sim *sim)
{
	unsigned num_faults = 20 + (unsigned)sim_random(sim, 40);

	sim_add_nodes(sim, 3 + (unsigned)sim_random(sim, 2),
		      1 + (unsigned)sim_random(sim, 2));
	sim_start_all(sim);
	sim_set_failures(sim, (unsigned)sim_random(sim, 4) * 10);
	sim_make_faults(sim, num_faults, do_something, 3 * SIM_S);
	sim_heal(sim);
	sim_run(sim, SETTLED_NS);
	/* Who is linked knows what is paused by the invariants: now something new. */
	for (unsigned i = 0; i < sim_num_nodes(sim); i++)
		sim_pause_network(sim_node_at(sim, i), 0, i % 2);
	sim_run(sim, 10 * SIM_S);
}

static bool agree(struct sim *sim)
{
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		if (count_who_know(sim, i) != (i % 2 ? sim_num_nodes(sim) - 1 : 0))
			return false;
	}
	return true;
}

static const struct sim_schedule schedule = {
	.run = run_schedule,
	.agree = agree,
	.complaint = "some nodes don't know what others have paused",
};

TEST_CASE(pause, random_faults_break_nothing)
{
	CHECK_INT(sim_try_seeds(&schedule, SEEDS), 0);
}
