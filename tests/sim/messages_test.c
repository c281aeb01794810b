/*
 * What nodes send each other through their links: all of it arrives, in order, as long
 * as nothing fails; and whatever fails, nothing comes but between the news of a link and
 * that of its end (sim.h has the invariants).
 */
#include "sim.h"

#include "shim.h"

#include <errno.h>

#define SEEDS	   100
#define SETTLED_NS (240 * SIM_S)

static void check_all_arrive(unsigned hosts)
{
	struct sim *sim = sim_new_started(1, 3, hosts);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	for (unsigned i = 0; i < 1000; i++) {
		CHECK(sim_write(n1, n2, 0));
		CHECK(sim_write(n2, n1, 0));
		CHECK(sim_write(n2, n1, 1));
		sim_run(sim, sim_random(sim, 2 * SIM_MS));
	}
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_heard(n2, n1, 0), 1000);
	CHECK_INT(sim_count_heard(n1, n2, 0), 1000);
	CHECK_INT(sim_count_heard(n1, n2, 1), 1000);
	CHECK_INT(sim_count_heard(n2, n1, 1), 0);
	CHECK_INT(sim_count_heard(n2, sim_node_at(sim, 2), 0), 0);
	sim_finish(sim);
}

TEST_CASE(messages, all_arrive_in_order)
{
	check_all_arrive(1);
	check_all_arrive(2);
}

/* Neither of a node that is dead nor to one that is; the next life hears the next one. */
TEST_CASE(messages, end_with_the_link)
{
	struct sim *sim = sim_new_started(2, 2, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	for (unsigned i = 0; i < 10; i++)
		CHECK(sim_write(n1, n2, 0));
	sim_kill(n2);
	sim_run(sim, SIM_S);
	CHECK(!sim_write(n1, n2, 0));
	sim_start(n2);
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_heard(n2, n1, 0), 0);
	CHECK(sim_write(n1, n2, 0));
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_heard(n2, n1, 0), 1);
	sim_finish(sim);
}

/* Who just looks dead to one node hears it, and is heard. */
TEST_CASE(messages, wait_for_one_that_is_suspected)
{
	struct sim *sim = sim_new_started(3, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_blind(n1, n2, true); /* n3 hears it: it stays suspected */
	sim_run(sim, 5 * SIM_S);
	CHECK_INT(sim_view(n1, n2, NULL, NULL), MEMBER_SUSPECT);
	CHECK(sim_write(n1, n2, 0));
	CHECK(sim_write(n2, n1, 0));
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_heard(n2, n1, 0), 1);
	CHECK_INT(sim_count_heard(n1, n2, 0), 1);
	sim_blind(n1, n2, false);
	sim_run(sim, SIM_S);
	CHECK_INT(sim_view(n1, n2, NULL, NULL), MEMBER_UP);
	sim_finish(sim);
}

TEST_CASE(messages, of_no_length_or_too_long_or_to_nobody)
{
	static const uint8_t bytes[WORLD_WORD_MAX + 1];
	struct sim *sim = sim_new_started(4, 2, 1);
	struct membership *membership = sim_membership(sim_node_at(sim, 0));

	CHECK_INT(membership_send(membership, 0, 2, bytes, 0), -EMSGSIZE);
	CHECK_INT(membership_send(membership, 0, 2, bytes, sizeof(bytes)), -EMSGSIZE);
	CHECK_INT(membership_send(membership, 0, 1, bytes, 1), -ENOTCONN);
	CHECK_INT(membership_send(membership, 0, 9, bytes, 1), -ENOTCONN);
	sim_finish(sim);
}

/* ---- random schedules ---- */

static void end_or_start(struct sim *sim, struct sim_node *node)
{
	if (!sim_is_alive(node))
		sim_start(node);
	else if (sim_random(sim, 3))
		sim_kill(node);
	else
		sim_stop(node);
}

static void do_something(struct sim *sim)
{
	struct sim_node *node = sim_some_node(sim), *peer = sim_some_node(sim);

	switch (sim_random(sim, 6)) {
	case 0:
		end_or_start(sim, node);
		break;
	case 1:
		sim_pause_or_resume(node);
		break;
	case 2:
		sim_cut(node, peer);
		break;
	case 3:
		if (sim_is_alive(node))
			sim_fault_link(node, peer,
				       (unsigned)sim_random(sim, SIM_NETWORKS),
				       sim_random(sim, 4) ? -ECONNRESET : -EPROTO);
		break;
	case 4:
		sim_blind(node, peer, sim_random(sim, 2));
		break;
	case 5:
		sim_lose_conn(node, peer);
		break;
	}
}

static void run_schedule(struct sim *sim)
{
	unsigned num_nodes = 3 + (unsigned)sim_random(sim, 2);
	unsigned num_faults = 10 + (unsigned)sim_random(sim, 30);

	sim_write_always(sim);
	for (unsigned i = 0; i < num_nodes; i++) {
		struct sim_node *node = sim_add_next(sim);

		sim_set_host(node, (unsigned)sim_random(sim, 2));
		sim_start(node);
	}
	sim_set_failures(sim, (unsigned)sim_random(sim, 4) * 10);
	sim_make_faults(sim, num_faults, do_something, 3 * SIM_S);
	sim_heal(sim);
	sim_run(sim, SETTLED_NS);
}

/* Everybody has heard of everybody else since it could. */
static bool agree(struct sim *sim)
{
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		for (unsigned j = 0; j < sim_num_nodes(sim); j++) {
			struct sim_node *a = sim_node_at(sim, i);
			struct sim_node *b = sim_node_at(sim, j);

			if (i != j &&
			    (!sim_linked(a, b, 0) || !sim_linked(a, b, 1) ||
			     !sim_count_heard(a, b, 0) || !sim_count_heard(a, b, 1)))
				return false;
		}
	}
	return true;
}

static const struct sim_schedule schedule = {
	.run = run_schedule,
	.agree = agree,
	.complaint = "some nodes are not linked, or have not heard of each other",
};

TEST_CASE(messages, random_faults_break_nothing)
{
	CHECK_INT(sim_try_seeds(&schedule, SEEDS), 0);
}
