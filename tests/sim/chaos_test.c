/*
 * The whole control plane under all faults at once, in a world made of a seed (sim.h):
 * nodes on one to three hosts that die, stop, start again, pause, sleep, find their
 * clocks ahead, can't allocate, are cut off from each other in one direction or both,
 * lose connections, channels and rings, die in the middle of a slot, and whose networks
 * are paused.
 *
 * The invariants of sim.h hold throughout. When the faults are over, all see each other
 * in their present lives, have all links, and one cast ring per host and group, within
 * SETTLED_NS; and from then on nothing changes any more, each frame arrives by every
 * way, one node announces the global addresses, and all know whose each connection is.
 *
 *     SEED=S    only that one, with everything that happens on stderr
 *     SEEDS=N   so many instead of 2,000 (or 50,000 with SHMNET_TEST_LONG=1); A-B: these
 */
#include "sim.h"

#include "shim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define NUM_SEEDS 200
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NUM_SEEDS 200
#endif
#endif
#ifndef NUM_SEEDS
#define NUM_SEEDS 2000
#endif
#define NUM_SEEDS_LONG 50000

#define SETTLED_NS (150 * SIM_S) /* two of the longest backoff, and some */
#define QUIET_NS   (6 * SIM_S)	 /* must be without a change */

/* ---- who is there ---- */

static void add_nodes(struct sim *sim)
{
	unsigned num_nodes = 3 + (unsigned)sim_random(sim, 3);
	unsigned num_hosts = 1 + (unsigned)sim_random(sim, 3);
	bool lanes = sim_random(sim, 4) == 0;

	for (unsigned i = 0; i < num_nodes; i++) {
		struct sim_node *node = sim_add_next(sim);

		sim_set_host(node, (unsigned)sim_random(sim, num_hosts));
		sim_config(node)->networks[1].cast =
			lanes ? CAST_MODE_LANES : CAST_MODE_SHARED;
		sim_flows_open_ports(node);
		sim_step_clock(node, sim_random(sim, 1000000 * SIM_S));
		sim_start(node);
	}
}

/* ---- faults ---- */

static void rouse(struct sim_node *node)
{
	sim_wake(node);
	if (sim_is_paused(node))
		sim_resume(node);
}

static void pause_or_rouse(struct sim *sim, struct sim_node *node)
{
	if (!sim_is_alive(node))
		return;
	if (sim_is_paused(node))
		rouse(node);
	else if (sim_random(sim, 2))
		sim_pause(node);
	else
		sim_sleep(node);
}

static void hurt_some_link(struct sim *sim, struct sim_node *node)
{
	int error = sim_random(sim, 2) ? -EPROTO : -ECONNRESET;
	unsigned network = (unsigned)sim_random(sim, SIM_NETWORKS);

	if (sim_is_alive(node))
		sim_fault_link(node, sim_some_node(sim), network, error);
}

static void hurt_some_cast(struct sim *sim, struct sim_node *node)
{
	unsigned network = (unsigned)sim_random(sim, SIM_NETWORKS);

	if (sim_is_alive(node))
		sim_fault_cast(node, network,
			       sim_random(sim, 2) ? sim_broadcast : sim_group, -EPROTO);
}

/* Those below `first` from the others, in one direction or in both. */
static void part(struct sim *sim, unsigned first, bool back)
{
	for (unsigned i = 0; i < first; i++) {
		for (unsigned j = first; j < sim_num_nodes(sim); j++) {
			sim_part(sim_node_at(sim, i), sim_node_at(sim, j), true);
			if (back)
				sim_part(sim_node_at(sim, j), sim_node_at(sim, i), true);
		}
	}
}

static void join(struct sim *sim)
{
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		for (unsigned j = 0; j < sim_num_nodes(sim); j++) {
			if (i != j)
				sim_part(sim_node_at(sim, i), sim_node_at(sim, j), false);
		}
	}
}

static void run_short(struct sim *sim)
{
	sim_set_failures(sim, (unsigned)sim_random(sim, 4) * 10);
	sim_set_shortage(sim, sim_random(sim, 3) ? 0 : 20);
}

static void do_something(struct sim *sim)
{
	struct sim_node *node = sim_some_node(sim), *other = sim_some_node(sim);

	switch (sim_random(sim, 17)) {
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
	case 5:
		pause_or_rouse(sim, node);
		break;
	case 6:
		sim_cut(node, other);
		break;
	case 7:
		hurt_some_link(sim, node);
		break;
	case 8:
		hurt_some_cast(sim, node);
		break;
	case 9:
		sim_show_again(node);
		break;
	case 10:
		sim_blind(node, other, sim_random(sim, 2));
		break;
	case 11:
		part(sim, 1 + (unsigned)sim_random(sim, sim_num_nodes(sim) - 1),
		     sim_random(sim, 2));
		break;
	case 12:
		join(sim);
		break;
	case 13:
		if (!sim_lose_conn(node, other))
			sim_set_fabric_down(node, sim_random(sim, 2));
		break;
	case 14:
		if (sim_is_alive(node))
			sim_step_clock(node, sim_random(sim, 5 * SIM_S));
		break;
	case 15:
		run_short(sim);
		break;
	case 16:
		if (sim_is_alive(node) && !sim_is_paused(node))
			sim_pause_network(node, (unsigned)sim_random(sim, SIM_NETWORKS),
					  sim_random(sim, 3) > 0);
		break;
	}
}

static void heal(struct sim *sim)
{
	sim_set_failures(sim, 0);
	sim_set_shortage(sim, 0);
	join(sim);
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		struct sim_node *node = sim_node_at(sim, i);

		for (unsigned j = 0; j < sim_num_nodes(sim); j++)
			sim_blind(node, sim_node_at(sim, j), false);
		sim_set_fabric_down(node, false);
		if (sim_is_alive(node))
			rouse(node);
		else
			sim_start(node);
		for (unsigned j = 0; j < SIM_NETWORKS; j++)
			sim_pause_network(node, j, false);
	}
}

/* ---- agreement ---- */

static bool see_each_other(struct sim_node *a, struct sim_node *b)
{
	uint32_t seen;

	return sim_view(a, b, &seen, NULL) == MEMBER_UP &&
	       seen == membership_incarnation(sim_membership(b)) && sim_linked(a, b, 0) &&
	       sim_linked(a, b, 1);
}

static bool agree(struct sim *sim)
{
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		struct sim_node *a = sim_node_at(sim, i);

		for (unsigned j = 0; j < sim_num_nodes(sim); j++) {
			if (i != j && !see_each_other(a, sim_node_at(sim, j)))
				return false;
		}
		if (sim_cast_is_stuck(a, 0, sim_broadcast))
			return false;
	}
	return true;
}

static void run_schedule(struct sim *sim)
{
	unsigned num_faults = 10 + (unsigned)sim_random(sim, 50);

	sim_frames_always(sim);
	if (sim_random(sim, 2))
		sim_flows_always(sim);
	add_nodes(sim);
	sim_cast_always(sim);
	sim_die_in_slots(sim);
	if (sim_random(sim, 2))
		sim_write_always(sim);
	sim_make_faults(sim, num_faults, do_something, 3 * SIM_S);
	heal(sim);
	for (uint64_t end_ns = sim_now(sim) + SETTLED_NS;
	     !agree(sim) && sim_now(sim) < end_ns && !sim_error(sim);)
		sim_run(sim, SIM_S);
}

/* Of all seeds, for the test of the test: each must have happened. */
static struct {
	uint64_t changes, frames, moved;
} total;

/* All of them, and they stay so. */
static bool is_settled(struct sim *sim)
{
	unsigned changes;

	total.changes += sim_count_changes(sim);
	total.frames += sim_count_frames(sim);
	total.moved += sim_count_moved(sim);
	if (!agree(sim))
		return false;
	sim_run(sim, QUIET_NS);
	changes = sim_count_changes(sim);
	sim_run(sim, QUIET_NS);
	return agree(sim) && sim_count_changes(sim) == changes && sim_flows_agree(sim) &&
	       sim_roll_call(sim);
}

static const struct sim_schedule schedule = {
	.run = run_schedule,
	.agree = is_settled,
	.complaint = "the nodes did not find each other again, or not for good",
};

/* ---- what it has found ---- */

static struct sim *pair_started(void)
{
	struct sim *sim = sim_new(1);

	sim_start(sim_add_node(sim, 1, "n1"));
	sim_start(sim_add_node(sim, 2, "n2"));
	return sim;
}

/* The world shows a node once, and n1 had no memory for it then. */
TEST_CASE(chaos, who_appears_when_memory_is_short_is_found_later)
{
	struct sim *sim = pair_started();

	sim_set_shortage(sim, 1000);
	sim_run(sim, 100 * SIM_MS);
	sim_set_shortage(sim, 0);
	CHECK(!sim_linked(sim_node_at(sim, 0), sim_node_at(sim, 1), 0));
	sim_run(sim, 3 * SIM_S);
	CHECK(sim_linked(sim_node_at(sim, 0), sim_node_at(sim, 1), 0));
	sim_finish(sim);
}

/* n2 can't keep the ring that it is offered: it must not have taken it up. */
TEST_CASE(chaos, a_cast_ring_is_not_taken_up_without_memory_for_it)
{
	struct sim *sim = pair_started();
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_run(sim, 2 * SIM_S);
	sim_want_cast(n1, 0, sim_broadcast);
	while (!sim_cast_id(n1, 0, sim_broadcast) && !sim_error(sim))
		sim_run(sim, SIM_MS);
	sim_set_shortage(sim, 1000);
	sim_run(sim, 100 * SIM_MS);
	CHECK_U64(sim_cast_id(n2, 0, sim_broadcast), 0);
	sim_set_shortage(sim, 0);
	sim_want_cast(n2, 0, sim_broadcast);
	sim_run(sim, 5 * SIM_S);
	CHECK(sim_cast_id(n1, 0, sim_broadcast) != 0);
	CHECK_U64(sim_cast_id(n2, 0, sim_broadcast), sim_cast_id(n1, 0, sim_broadcast));
	sim_finish(sim);
}

/*
 * 10 ms without memory, at any time of a handshake: whatever is told once is not lost by
 * it. A dispatcher used to leave out who came up then.
 */
TEST_CASE(chaos, a_handshake_survives_a_moment_without_memory)
{
	for (unsigned ms = 0; ms < 120 && !test_failed(); ms++) {
		struct sim *sim = sim_new(1);

		sim_flows_always(sim);
		sim_start(sim_add_node(sim, 1, "n1"));
		sim_start(sim_add_node(sim, 2, "n2"));
		sim_run(sim, ms * SIM_MS);
		sim_set_shortage(sim, 1000);
		sim_run(sim, 10 * SIM_MS);
		sim_set_shortage(sim, 0);
		sim_run(sim, 15 * SIM_S);
		CHECK(sim_linked(sim_node_at(sim, 0), sim_node_at(sim, 1), 1));
		CHECK(sim_flows_agree(sim));
		sim_stop_all(sim);
		if (!CHECK_STR(sim_error(sim), NULL))
			fprintf(stderr, "without memory from %u ms on\n", ms);
		sim_free(sim);
	}
}

TEST_CASE(chaos, all_faults_at_once_break_nothing)
{
	bool is_long = getenv("SHMNET_TEST_LONG");

	CHECK_INT(sim_try_seeds(&schedule, is_long ? NUM_SEEDS_LONG : NUM_SEEDS), 0);
	CHECK(getenv("SEED") || (total.changes && total.frames && total.moved));
	printf("links and suspicions %llu, frames %llu, packets of connections from node "
	       "to node %llu\n",
	       (unsigned long long)total.changes, (unsigned long long)total.frames,
	       (unsigned long long)total.moved);
}

TEST_CASE(chaos, a_seed_replays_exactly)
{
	uint64_t first = sim_try_seed(&schedule, 42, false);

	CHECK(first != 0);
	CHECK_U64(sim_try_seed(&schedule, 42, false), first);
	CHECK(sim_try_seed(&schedule, 43, false) != first);
}
