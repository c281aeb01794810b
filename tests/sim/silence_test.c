/*
 * Nodes that stop and go on, in a world made of a seed (sim.h): who is suspected, who is
 * asked, who is given up, and that nobody accuses for the time that it did not run
 * itself. The invariants of sim.h hold throughout.
 *
 * The default liveness: 200 ms, 3 of them; the limits below have a tick and the delays of
 * messages on top.
 */
#include "sim.h"

#include "shim.h"

#include <stdio.h>
#include <string.h>

#define SEEDS	      50
#define SHORT_NS      (250 * SIM_MS)  /* a pause that nobody notices */
#define SUSPECT_NS    (850 * SIM_MS)  /* suspected by then */
#define DOWN_NS	      (1100 * SIM_MS) /* and down by then, if nobody hears it */
#define FIRST_SIGN_NS SIM_S	      /* it has so long at the most */
#define BACK_NS	      (300 * SIM_MS)  /* after it goes on: up again by then */

static struct sim *nodes_started(uint64_t seed, unsigned count)
{
	struct sim *sim = sim_new(seed);

	for (unsigned i = 0; i < count; i++) {
		sim_start(sim_add_next(sim));
		sim_run(sim, sim_random(sim, 200 * SIM_MS)); /* so their ticks differ */
	}
	sim_run(sim, SIM_S + sim_random(sim, SIM_S));
	return sim;
}

static enum member_state view(struct sim *sim, unsigned from, unsigned of)
{
	return sim_view(sim_node_at(sim, from), sim_node_at(sim, of), NULL, NULL);
}

static const char *reason(struct sim *sim, unsigned from, unsigned of)
{
	const char *words;

	sim_view(sim_node_at(sim, from), sim_node_at(sim, of), NULL, &words);
	return words;
}

static bool all_up(struct sim *sim)
{
	bool ok = true;

	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		for (unsigned j = 0; j < sim_num_nodes(sim); j++)
			ok = ok && (i == j || (view(sim, i, j) == MEMBER_UP &&
					       sim_linked(sim_node_at(sim, i),
							  sim_node_at(sim, j), 0)));
	}
	return ok;
}

static const struct events_item *last_event(struct sim *sim, unsigned from)
{
	const struct events *events = sim_events(sim_node_at(sim, from));

	return events_get(events, events_kept(events) - 1);
}

static const char *last_cause(struct sim *sim, unsigned from)
{
	return last_event(sim, from)->cause;
}

/* Of its own accord: not because the others had hung up. */
static unsigned count_accusations(struct sim *sim, unsigned from)
{
	const struct events *events = sim_events(sim_node_at(sim, from));
	unsigned count = 0;

	for (unsigned i = 0; i < events_kept(events); i++) {
		const struct events_item *item = events_get(events, i);

		count += item->state == EVENTS_SUSPECT ||
			 strncmp(item->cause, "silent", strlen("silent")) == 0;
	}
	return count;
}

TEST_CASE(silence, a_stopped_node_is_suspected_then_down_and_back_when_it_goes_on)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 3);
		unsigned victim = (unsigned)seed % 3, other = (victim + 1) % 3;
		char name[16];

		snprintf(name, sizeof(name), "n%u", victim + 1);
		sim_pause(sim_node_at(sim, victim));
		sim_run(sim, DOWN_NS);
		for (unsigned i = 0; i < 3; i++) {
			if (i == victim)
				continue;
			CHECK_INT(view(sim, i, victim), MEMBER_DOWN);
			CHECK_INT(sim_count_events(sim_node_at(sim, i), EVENTS_SUSPECT,
						   name),
				  1);
			CHECK_INT(
				sim_count_events(sim_node_at(sim, i), EVENTS_DOWN, name),
				1);
			CHECK_CONTAINS(reason(sim, i, victim), "silent for ");
			CHECK_CONTAINS(reason(sim, i, victim), ": nobody heard it");
		}
		CHECK(sim_linked(sim_node_at(sim, other),
				 sim_node_at(sim, (victim + 2) % 3), 0));
		sim_run(sim, sim_random(sim, 100 * SIM_S));
		CHECK_INT(view(sim, other, victim), MEMBER_DOWN);
		CHECK_CONTAINS(reason(sim, other, victim), "silent for ");
		sim_resume(sim_node_at(sim, victim));
		sim_run(sim, BACK_NS);
		CHECK(all_up(sim));
		CHECK_INT(count_accusations(sim, victim), 0);
		CHECK_INT(sim_count_events(sim_node_at(sim, other), EVENTS_DOWN, NULL),
			  1);
		sim_finish(sim);
	}
}

TEST_CASE(silence, the_words_name_who_was_asked)
{
	struct sim *sim = nodes_started(3, 3);

	sim_pause(sim_node_at(sim, 2));
	while (view(sim, 0, 2) == MEMBER_UP && sim_now(sim) < 10 * SIM_S)
		sim_run(sim, SIM_MS);
	CHECK_INT(view(sim, 0, 2), MEMBER_SUSPECT);
	CHECK_CONTAINS(reason(sim, 0, 2), "; asked n2");
	CHECK_CONTAINS(last_cause(sim, 0), "; asked n2");
	CHECK(sim_has_carrier(sim_node_at(sim, 0), 0));
	sim_run(sim, SIM_S);
	CHECK_CONTAINS(last_cause(sim, 0), "; asked n2: nobody heard it");
	sim_resume(sim_node_at(sim, 2));
	sim_run(sim, BACK_NS);
	CHECK(all_up(sim));
	sim_finish(sim);
}

static bool is_last(struct sim *sim, unsigned from, enum events_state state,
		    uint64_t least_ns, uint64_t most_ns)
{
	const struct events_item *item = last_event(sim, from);

	if (item->state == state && item->gap_ns >= least_ns && item->gap_ns <= most_ns)
		return true;
	fprintf(stderr, "  state %d after %llu ns\n", item->state,
		(unsigned long long)item->gap_ns);
	return false;
}

TEST_CASE(silence, each_change_says_for_how_long)
{
	struct sim *sim = nodes_started(3, 3);
	uint64_t down_ns;

	for (unsigned i = 0; i < 3; i++) /* nobody was there before */
		CHECK_U64(last_event(sim, i)->gap_ns, 0);
	sim_pause(sim_node_at(sim, 2));
	while (view(sim, 0, 2) == MEMBER_UP && sim_now(sim) < 10 * SIM_S)
		sim_run(sim, SIM_MS);
	CHECK(is_last(sim, 0, EVENTS_SUSPECT, 500 * SIM_MS, SUSPECT_NS));
	while (view(sim, 0, 2) == MEMBER_SUSPECT && sim_now(sim) < 10 * SIM_S)
		sim_run(sim, SIM_MS);
	CHECK(is_last(sim, 0, EVENTS_DOWN, 700 * SIM_MS, DOWN_NS));
	down_ns = last_event(sim, 0)->time_ns;
	sim_run(sim, 5 * SIM_S);
	sim_resume(sim_node_at(sim, 2));
	sim_run(sim, BACK_NS);
	CHECK(all_up(sim));
	CHECK(is_last(sim, 0, EVENTS_UP, 5 * SIM_S, sim_now(sim) - down_ns));
	sim_finish(sim);
}

TEST_CASE(silence, of_a_pause_within_the_limit_nobody_hears)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 3);
		unsigned victim = (unsigned)seed % 3;
		uint64_t told[3];

		for (unsigned i = 0; i < 3; i++)
			told[i] = sim_events(sim_node_at(sim, i))->count;
		sim_pause(sim_node_at(sim, victim));
		sim_run(sim, SHORT_NS);
		sim_resume(sim_node_at(sim, victim));
		sim_run(sim, 5 * SIM_S);
		for (unsigned i = 0; i < 3; i++)
			CHECK_U64(sim_events(sim_node_at(sim, i))->count, told[i]);
		CHECK(all_up(sim));
		sim_finish(sim);
	}
}

TEST_CASE(silence, one_that_goes_on_while_it_is_suspected_keeps_its_links)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 3);

		sim_pause(sim_node_at(sim, 1));
		while (view(sim, 0, 1) == MEMBER_UP && sim_now(sim) < 10 * SIM_S)
			sim_run(sim, SIM_MS);
		CHECK_INT(view(sim, 0, 1), MEMBER_SUSPECT);
		sim_resume(sim_node_at(sim, 1));
		sim_run(sim, 210 * SIM_MS);
		CHECK_INT(view(sim, 0, 1), MEMBER_UP);
		CHECK_STR(reason(sim, 0, 1), "");
		CHECK_CONTAINS(last_cause(sim, 0), "heard again after ");
		CHECK_INT(sim_count_events(sim_node_at(sim, 0), EVENTS_DOWN, NULL), 0);
		CHECK(all_up(sim));
		sim_finish(sim);
	}
}

TEST_CASE(silence, all_but_one_stop_and_go_on)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 5);

		for (unsigned i = 1; i < 5; i++)
			sim_pause(sim_node_at(sim, i));
		sim_run(sim, DOWN_NS + sim_random(sim, 20 * SIM_S));
		for (unsigned i = 1; i < 5; i++)
			CHECK_INT(view(sim, 0, i), MEMBER_DOWN);
		CHECK(!sim_has_carrier(sim_node_at(sim, 0), 0));
		for (unsigned i = 1; i < 5; i++) {
			sim_resume(sim_node_at(sim, i));
			sim_run(sim, sim_random(sim, 50 * SIM_MS));
		}
		sim_run(sim, BACK_NS);
		CHECK(all_up(sim));
		for (unsigned i = 1; i < 5; i++)
			CHECK_INT(count_accusations(sim, i), 0);
		sim_finish(sim);
	}
}

/* As when the whole machine is: nobody is accused of it. */
TEST_CASE(silence, all_stop_and_go_on_and_nothing_has_happened)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 4);
		uint64_t told = sim_events(sim_node_at(sim, 0))->count;

		for (unsigned i = 0; i < 4; i++)
			sim_pause(sim_node_at(sim, i));
		sim_run(sim, sim_random(sim, 10 * SIM_S));
		for (unsigned i = 0; i < 4; i++) {
			sim_resume(sim_node_at(sim, i));
			sim_run(sim, sim_random(sim, 50 * SIM_MS));
		}
		sim_run(sim, 3 * SIM_S);
		CHECK(all_up(sim));
		CHECK_U64(sim_events(sim_node_at(sim, 0))->count, told);
		sim_finish(sim);
	}
}

/* Wherever they were in it. */
TEST_CASE(silence, a_handshake_that_is_stopped_goes_on)
{
	for (uint64_t seed = 1; seed <= 4ull * SEEDS && !test_failed(); seed++) {
		struct sim *sim = sim_new(seed);

		sim_start(sim_add_node(sim, 1, "n1"));
		sim_start(sim_add_node(sim, 2, "n2"));
		sim_run(sim, sim_random(sim, 150 * SIM_MS));
		sim_pause(sim_node_at(sim, 0));
		sim_pause(sim_node_at(sim, 1));
		sim_run(sim, 60 * SIM_S);
		sim_resume(sim_node_at(sim, 0));
		sim_resume(sim_node_at(sim, 1));
		sim_run(sim, BACK_NS);
		CHECK(all_up(sim));
		CHECK_INT(sim_count_events(sim_node_at(sim, 0), EVENTS_REFUSED, NULL), 0);
		CHECK_INT(sim_count_events(sim_node_at(sim, 1), EVENTS_REFUSED, NULL), 0);
		sim_finish(sim);
	}
}

/*
 * Both stop; the one that goes on first finds the other one silent for seconds, all of
 * which it did not run itself. It counts from now on.
 */
TEST_CASE(silence, a_late_loop_accuses_nobody_of_the_time_it_was_late)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 2);

		sim_pause(sim_node_at(sim, 0));
		sim_pause(sim_node_at(sim, 1));
		sim_run(sim, 3 * SIM_S);
		sim_resume(sim_node_at(sim, 0));
		sim_run(sim, 400 * SIM_MS);
		CHECK_INT(view(sim, 0, 1), MEMBER_UP);
		CHECK_INT(count_accusations(sim, 0), 0);
		if (seed % 2) {
			sim_resume(sim_node_at(sim, 1));
			sim_run(sim, 3 * SIM_S);
			CHECK_INT(count_accusations(sim, 0), 0);
			CHECK_INT(count_accusations(sim, 1), 0);
			CHECK(all_up(sim));
		} else {
			sim_run(sim, DOWN_NS); /* but from then on it does */
			CHECK_INT(view(sim, 0, 1), MEMBER_DOWN);
			CHECK_CONTAINS(reason(sim, 0, 1), "; nobody to ask");
		}
		sim_finish(sim);
	}
}

/* Neither is it long, but the other one has not shown life again when both are over. */
TEST_CASE(silence, two_stalls_below_the_limit_accuse_nobody)
{
	for (uint64_t seed = 1; seed <= 10ull * SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 2);
		struct sim_node *stalled = sim_node_at(sim, 0);

		sim_step_clock(stalled, sim_random(sim, 400 * SIM_MS));
		sim_run(sim, sim_random(sim, 150 * SIM_MS));
		sim_step_clock(stalled, sim_random(sim, 400 * SIM_MS));
		sim_run(sim, 3 * SIM_S);
		CHECK_INT(count_accusations(sim, 0), 0);
		CHECK(all_up(sim));
		sim_finish(sim);
	}
}

/* The other one's machine was, too, and wakes up a little later. */
TEST_CASE(silence, a_machine_that_was_suspended_accuses_nobody)
{
	struct sim *sim = nodes_started(9, 2);

	sim_pause(sim_node_at(sim, 1));
	sim_run(sim, 400 * SIM_MS);
	sim_suspend(sim_node_at(sim, 0), 30 * SIM_S);
	sim_run(sim, 400 * SIM_MS);
	sim_resume(sim_node_at(sim, 1));
	sim_run(sim, SIM_S);
	CHECK_INT(count_accusations(sim, 0), 0);
	CHECK_INT(count_accusations(sim, 1), 0);
	CHECK(all_up(sim));
	sim_pause(sim_node_at(sim, 1)); /* who is silent for longer is accused as ever */
	sim_run(sim, 2 * SIM_S);
	CHECK_INT(view(sim, 0, 1), MEMBER_DOWN);
	sim_finish(sim);
}

TEST_CASE(silence, one_that_only_one_node_does_not_hear_stays_suspected)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 3);
		struct sim_node *blind = sim_node_at(sim, 0);

		sim_blind(blind, sim_node_at(sim, 2), true);
		sim_run(sim, SUSPECT_NS);
		for (unsigned i = 0; i < 50; i++) {
			CHECK_INT(view(sim, 0, 2), MEMBER_SUSPECT);
			sim_run(sim, 100 * SIM_MS);
		}
		CHECK(sim_linked(blind, sim_node_at(sim, 2), 0));
		CHECK_INT(view(sim, 2, 0), MEMBER_UP);
		CHECK_INT(sim_count_events(sim_node_at(sim, 0), EVENTS_SUSPECT, NULL), 1);
		sim_pause(sim_node_at(sim, 2)); /* now nobody hears it */
		sim_run(sim, DOWN_NS + 200 * SIM_MS);
		CHECK_INT(view(sim, 0, 2), MEMBER_DOWN);
		CHECK_INT(view(sim, 1, 2), MEMBER_DOWN);
		sim_blind(blind, sim_node_at(sim, 2), false);
		sim_resume(sim_node_at(sim, 2));
		sim_run(sim, BACK_NS);
		CHECK(all_up(sim));
		sim_finish(sim);
	}
}

/* n1 does not hear n3; n2 does, until it stops itself. */
TEST_CASE(silence, of_the_one_that_others_ask_through)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 4);

		sim_blind(sim_node_at(sim, 0), sim_node_at(sim, 2), true);
		sim_blind(sim_node_at(sim, 3), sim_node_at(sim, 2), true);
		sim_run(sim, 2 * SIM_S);
		CHECK_INT(view(sim, 0, 2), MEMBER_SUSPECT);
		CHECK_CONTAINS(reason(sim, 0, 2), "heard by n2");
		CHECK_INT(view(sim, 3, 2), MEMBER_SUSPECT);
		sim_pause(sim_node_at(sim, 1));
		sim_run(sim, 500 * SIM_MS);
		CHECK_INT(sim_count_events(sim_node_at(sim, 0), EVENTS_DOWN, "n3"), 1);
		sim_blind(sim_node_at(sim, 0), sim_node_at(sim, 2), false);
		sim_blind(sim_node_at(sim, 3), sim_node_at(sim, 2), false);
		sim_run(sim, 5 * SIM_S);
		CHECK_INT(view(sim, 0, 1), MEMBER_DOWN);
		CHECK_INT(view(sim, 2, 1), MEMBER_DOWN);
		sim_resume(sim_node_at(sim, 1));
		sim_run(sim, SIM_S);
		CHECK(all_up(sim));
		sim_finish(sim);
	}
}

TEST_CASE(silence, a_stopped_node_that_is_killed_comes_back_as_its_next_life)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 3);
		struct sim_node *victim = sim_node_at(sim, (unsigned)seed % 3);
		struct sim_node *observer = sim_node_at(sim, (unsigned)(seed + 1) % 3);
		uint32_t first, next;

		sim_view(observer, victim, &first, NULL);
		sim_pause(victim);
		sim_run(sim, sim_random(sim, 3 * SIM_S)); /* up, suspected or down */
		sim_kill(victim);
		sim_run(sim, sim_random(sim, 500 * SIM_MS));
		CHECK_INT(sim_view(observer, victim, NULL, NULL), MEMBER_DOWN);
		sim_start(victim);
		sim_run(sim, 1500 * SIM_MS);
		CHECK(all_up(sim));
		sim_view(observer, victim, &next, NULL);
		CHECK_INT(next, first + 1);
		sim_finish(sim);
	}
}

TEST_CASE(silence, a_node_that_starts_while_another_is_stopped_waits_for_it)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = nodes_started(seed, 3);
		struct sim_node *victim = sim_node_at(sim, (unsigned)seed % 3);
		struct sim_node *late = sim_node_at(sim, (unsigned)(seed + 1) % 3);

		sim_pause(victim);
		sim_run(sim, sim_random(sim, 2 * SIM_S));
		sim_kill(late);
		sim_start(late);
		sim_run(sim, sim_random(sim, 200 * SIM_S));
		CHECK(sim_view(late, victim, NULL, NULL) != MEMBER_UP);
		sim_resume(victim);
		sim_run(sim, SIM_S);
		CHECK(all_up(sim));
		sim_finish(sim);
	}
}

/* The slower one's interval counts; else the fast one would never trust it. */
TEST_CASE(silence, nodes_of_different_intervals_understand_each_other)
{
	struct sim *sim = sim_new(5);
	struct sim_node *fast = sim_add_node(sim, 1, "n1");
	struct sim_node *slow = sim_add_node(sim, 2, "n2");

	sim_config(fast)->liveness = (struct config_liveness){20, 2};
	sim_config(slow)->liveness = (struct config_liveness){1000, 3};
	sim_start(fast);
	sim_start(slow);
	sim_run(sim, 60 * SIM_S);
	CHECK(all_up(sim));
	CHECK_INT(count_accusations(sim, 0), 0);
	CHECK_INT(count_accusations(sim, 1), 0);
	sim_pause(slow);
	sim_run(sim, 1900 * SIM_MS);
	CHECK_INT(view(sim, 0, 1), MEMBER_UP);
	sim_run(sim, 1200 * SIM_MS);
	CHECK_INT(view(sim, 0, 1), MEMBER_DOWN);
	sim_finish(sim);
}

/* The first sign comes only when the peer has its half of the links, too. */
TEST_CASE(silence, the_fastest_nodes_give_a_handshake_its_time)
{
	for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
		struct sim *sim = sim_new(seed);
		struct sim_node *n1 = sim_add_node(sim, 1, "n1");
		struct sim_node *n2 = sim_add_node(sim, 2, "n2");

		sim_config(n1)->liveness = (struct config_liveness){20, 2};
		sim_config(n2)->liveness = (struct config_liveness){20, 2};
		sim_start(n1);
		sim_run(sim, sim_random(sim, 20 * SIM_MS));
		for (unsigned life = 1; life <= 3; life++) {
			struct sim_node *next = seed % 2 ? n1 : n2;

			if (sim_is_alive(next))
				sim_kill(next);
			sim_start(next);
			if (!sim_is_alive(n2))
				sim_start(n2);
			sim_run(sim, 2 * SIM_S);
			CHECK(all_up(sim));
			CHECK_INT(count_accusations(sim, 0), 0);
			CHECK_INT(count_accusations(sim, 1), 0);
		}
		sim_pause(n2);
		sim_run(sim, 100 * SIM_MS);
		CHECK_INT(view(sim, 0, 1), MEMBER_DOWN);
		sim_finish(sim);
	}
}

/* Nothing of it was ever heard, but its last word of the handshake. */
TEST_CASE(silence, a_node_that_stops_before_its_first_sign)
{
	unsigned silent = 0;

	for (uint64_t seed = 1; seed <= 10ull * SEEDS && !test_failed(); seed++) {
		struct sim *sim = sim_new(seed);
		struct sim_node *n1 = sim_add_node(sim, 1, "n1");
		struct sim_node *n2 = sim_add_node(sim, 2, "n2");

		sim_start(n1);
		sim_run(sim, sim_random(sim, 200 * SIM_MS));
		sim_start(n2);
		sim_run(sim, sim_random(sim, 200 * SIM_MS));
		sim_pause(n2);
		silent += view(sim, 0, 1) == MEMBER_UP;
		sim_run(sim, FIRST_SIGN_NS + DOWN_NS - SUSPECT_NS + 250 * SIM_MS);
		CHECK_INT(view(sim, 0, 1), MEMBER_DOWN);
		sim_resume(n2);
		sim_run(sim, SIM_S);
		CHECK(all_up(sim));
		sim_finish(sim);
	}
	CHECK(silent > 0);
}

TEST_CASE(silence, a_pair_without_a_common_network_has_only_its_channel)
{
	struct sim *sim = sim_new(6);
	struct sim_node *n1 = sim_add_node(sim, 1, "n1");
	struct sim_node *n2 = sim_add_node(sim, 2, "n2");

	sim_config(n1)->num_networks = 1;
	sim_config(n2)->networks[0].name = (char *)"mine";
	sim_start(n1);
	sim_start(n2);
	sim_run(sim, SIM_S);
	CHECK_INT(view(sim, 0, 1), MEMBER_UP);
	sim_pause(n2);
	sim_run(sim, 60 * SIM_S);
	CHECK_INT(view(sim, 0, 1), MEMBER_UP);
	sim_kill(n2);
	sim_run(sim, 50 * SIM_MS);
	CHECK_INT(view(sim, 0, 1), MEMBER_DOWN);
	sim_finish(sim);
}
