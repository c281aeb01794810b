/*
 * Cast rings in a world made of a seed (sim.h): who makes them, who reads them, what
 * becomes of them when somebody dies, sleeps, lies or has no memory.
 *
 *     SEEDS=N   so many random schedules instead of 300
 *     SEED=S    only that one, with everything that happens on stderr
 */
#include "sim.h"

#include "shim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS	   300
#define SETTLED_NS (150 * SIM_S) /* two of the longest backoff, and some */

/* Four nodes that are linked, and the broadcast ring that n1 made. */
static struct sim *four_with_ring(uint64_t seed)
{
	struct sim *sim = sim_new_nodes(seed, 4, 1);

	sim_start_all(sim);
	sim_run(sim, SIM_S);
	CHECK(sim_want_cast(sim_node_at(sim, 0), 0, sim_broadcast));
	sim_run(sim, SIM_S);
	return sim;
}

/*
 * All that live write to one ring of the label, of whose epoch they agree, and know that
 * the others read it.
 */
static bool all_in_one(struct sim *sim, unsigned network, const uint8_t *label)
{
	uint64_t id = 0, epoch = 0;

	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		struct sim_node *node = sim_node_at(sim, i);

		if (!sim_is_alive(node) || sim_is_paused(node))
			continue;
		if (!id) {
			id = sim_cast_id(node, network, label);
			epoch = sim_cast_epoch(node, network, label);
		}
		if (!id || sim_cast_id(node, network, label) != id ||
		    sim_cast_epoch(node, network, label) != epoch)
			return false;
		for (unsigned j = 0; j < sim_num_nodes(sim); j++) {
			struct sim_node *other = sim_node_at(sim, j);

			if (i != j && sim_linked(node, other, network) &&
			    !sim_casts_by_ring(node, other, network, label))
				return false;
		}
	}
	return true;
}

static void note_reason(const char *words, void *arg)
{
	char *all = arg;

	strncat(all, words, 4000 - strlen(all));
	strncat(all, "\n", 4000 - strlen(all));
}

static const char *reasons_of(struct sim_node *node)
{
	static char words[4096];

	words[0] = '\0';
	membership_each_reason(sim_membership(node), note_reason, words);
	return words;
}

/* ---- making and joining ---- */

TEST_CASE(casts, the_first_cast_makes_the_ring_for_all)
{
	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = four_with_ring(seed);

		CHECK(all_in_one(sim, 0, sim_broadcast));
		CHECK_INT(sim_count_casts(sim), 4);
		CHECK_U64(sim_cast_epoch(sim_node_at(sim, 3), 0, sim_broadcast), 1);
		CHECK_U64(sim_cast_id(sim_node_at(sim, 0), 1, sim_broadcast), 0);
		sim_finish(sim);
	}
}

TEST_CASE(casts, alone_nobody_makes_one)
{
	struct sim *sim = sim_new_nodes(2, 2, 1);
	struct sim_node *n1 = sim_node_at(sim, 0);

	sim_start(n1);
	sim_run(sim, SIM_S);
	CHECK(!sim_want_cast(n1, 0, sim_broadcast));
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_casts(sim), 0);
	sim_finish(sim);
}

TEST_CASE(casts, who_joins_is_told_of_the_ring)
{
	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = sim_new_nodes(seed, 5, 1);

		for (unsigned i = 0; i < 3; i++)
			sim_start(sim_node_at(sim, i));
		sim_run(sim, SIM_S);
		sim_want_cast(sim_node_at(sim, 2), 0, sim_broadcast);
		sim_want_cast(sim_node_at(sim, 1), 0, sim_group);
		sim_run(sim, sim_random(sim, 100 * SIM_MS));
		sim_start(sim_node_at(sim, 3));
		sim_run(sim, sim_random(sim, 100 * SIM_MS));
		sim_start(sim_node_at(sim, 4));
		sim_run(sim, SIM_S);
		CHECK(all_in_one(sim, 0, sim_broadcast));
		CHECK(all_in_one(sim, 0, sim_group));
		sim_finish(sim);
	}
}

TEST_CASE(casts, all_want_one_at_once)
{
	for (uint64_t seed = 1; seed <= 100 && !test_failed(); seed++) {
		struct sim *sim = sim_new_nodes(seed, 4, 1);

		sim_start_all(sim);
		sim_run(sim, SIM_S);
		for (unsigned i = 0; i < 4; i++) {
			sim_want_cast(sim_node_at(sim, i), 0, sim_broadcast);
			sim_want_cast(sim_node_at(sim, i), 0, sim_group);
			sim_run(sim, sim_random(sim, 5 * SIM_MS));
		}
		sim_run(sim, 3 * SIM_S);
		CHECK(all_in_one(sim, 0, sim_broadcast));
		CHECK(all_in_one(sim, 0, sim_group));
		CHECK_INT(sim_count_casts(sim), 8);
		sim_finish(sim);
	}
}

/* Two that were apart had a ring each. */
TEST_CASE(casts, of_two_rings_the_later_one_stays)
{
	struct sim *sim = sim_new_nodes(3, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);
	uint64_t later;

	sim_start(n1);
	sim_start(n3);
	sim_run(sim, SIM_S);
	sim_want_cast(n1, 0, sim_broadcast);
	sim_run(sim, SIM_S);
	sim_kill(n3);
	sim_start(n2);
	sim_start(n3);
	sim_pause(n1);
	sim_run(sim, SIM_S);
	sim_want_cast(n2, 0, sim_broadcast);
	sim_run(sim, SIM_S);
	later = sim_cast_id(n2, 0, sim_broadcast);
	CHECK(later && later != sim_cast_id(n1, 0, sim_broadcast));
	sim_resume(n1);
	sim_run(sim, 10 * SIM_S);
	CHECK(all_in_one(sim, 0, sim_broadcast));
	CHECK_U64(sim_cast_id(n1, 0, sim_broadcast), later);
	CHECK_INT(sim_count_casts(sim), 3);
	sim_finish(sim);
}

/* n1 and n2 have no channel; n3 has one to both. */
TEST_CASE(casts, the_ring_goes_round_by_who_knows_both)
{
	struct sim *sim = sim_new_nodes(4, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);

	sim_config(n1)->cluster = (char *)"one";
	sim_config(n3)->cluster = (char *)"one";
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	CHECK(!sim_linked(n2, n3, 0));
	sim_config(n3)->cluster = (char *)"sim";
	sim_want_cast(n1, 0, sim_broadcast);
	sim_run(sim, SIM_S);
	sim_want_cast(n2, 0, sim_broadcast);
	sim_run(sim, 30 * SIM_S);
	CHECK(sim_linked(n1, n3, 0));
	sim_finish(sim);
}

TEST_CASE(casts, a_group_has_its_own_ring_until_nobody_uses_it)
{
	struct sim *sim = four_with_ring(5);

	sim_want_cast(sim_node_at(sim, 1), 0, sim_group);
	sim_run(sim, SIM_S);
	CHECK(all_in_one(sim, 0, sim_group));
	CHECK(sim_cast_id(sim_node_at(sim, 0), 0, sim_group) !=
	      sim_cast_id(sim_node_at(sim, 0), 0, sim_broadcast));
	sim_run(sim, 70 * SIM_S);
	CHECK_U64(sim_cast_id(sim_node_at(sim, 0), 0, sim_group), 0);
	CHECK_INT(sim_count_casts(sim), 4);
	CHECK(all_in_one(sim, 0, sim_broadcast));
	sim_finish(sim);
}

TEST_CASE(casts, more_groups_than_rings_use_the_broadcast)
{
	uint8_t label[SHMNET_ETH_ALEN] = {0x33, 0x33};
	struct sim *sim = four_with_ring(6);

	for (uint8_t i = 0; i < 7; i++) {
		label[5] = i;
		sim_want_cast(sim_node_at(sim, i % 4), 0, label);
		sim_run(sim, SIM_S);
		CHECK_INT(all_in_one(sim, 0, label), i < 4);
	}
	CHECK_INT(sim_count_casts(sim), 5 * 4);
	CHECK(all_in_one(sim, 0, sim_broadcast));
	sim_finish(sim);
}

/* ---- leaving ---- */

TEST_CASE(casts, a_dead_maker_leaves_its_ring_to_the_others)
{
	for (uint64_t seed = 1; seed <= 100 && !test_failed(); seed++) {
		struct sim *sim = four_with_ring(seed);
		struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
		uint64_t id = sim_cast_id(n2, 0, sim_broadcast);

		sim_die_in_slots(sim);
		sim_kill(n1);
		sim_run(sim, SIM_S);
		CHECK(all_in_one(sim, 0, sim_broadcast));
		CHECK_U64(sim_cast_id(n2, 0, sim_broadcast), id);
		CHECK_U64(sim_cast_epoch(n2, 0, sim_broadcast), 2);
		CHECK_U64(sim_cast_epoch(sim_node_at(sim, 3), 0, sim_broadcast), 2);
		CHECK(!sim_cast_is_stuck(n2, 0, sim_broadcast));
		sim_start(n1);
		sim_run(sim, SIM_S);
		CHECK(all_in_one(sim, 0, sim_broadcast));
		CHECK_U64(sim_cast_epoch(n1, 0, sim_broadcast), 2);
		sim_finish(sim);
	}
}

/* Its next life is faster than the news of its death, and clears its own slots. */
TEST_CASE(casts, a_maker_that_is_back_at_once_is_not_taken_for_dead)
{
	for (uint64_t seed = 1; seed <= 50 && !test_failed(); seed++) {
		struct sim *sim = four_with_ring(seed);
		uint64_t id = sim_cast_id(sim_node_at(sim, 1), 0, sim_broadcast);

		sim_die_in_slots(sim);
		sim_kill(sim_node_at(sim, 0));
		sim_start(sim_node_at(sim, 0));
		sim_run(sim, 3 * SIM_S);
		CHECK(all_in_one(sim, 0, sim_broadcast));
		CHECK_U64(sim_cast_id(sim_node_at(sim, 0), 0, sim_broadcast), id);
		CHECK(!sim_cast_is_stuck(sim_node_at(sim, 1), 0, sim_broadcast));
		sim_finish(sim);
	}
}

TEST_CASE(casts, a_dead_member_is_cleared_away)
{
	struct sim *sim = four_with_ring(7);

	sim_die_in_slots(sim);
	sim_kill(sim_node_at(sim, 2));
	sim_run(sim, SIM_S);
	CHECK(!sim_cast_is_stuck(sim_node_at(sim, 0), 0, sim_broadcast));
	CHECK_U64(sim_cast_epoch(sim_node_at(sim, 0), 0, sim_broadcast), 1);
	sim_finish(sim);
}

TEST_CASE(casts, the_maker_leaves_in_good_order)
{
	struct sim *sim = four_with_ring(8);

	sim_stop(sim_node_at(sim, 0));
	sim_run(sim, SIM_S);
	CHECK(all_in_one(sim, 0, sim_broadcast));
	CHECK_U64(sim_cast_epoch(sim_node_at(sim, 1), 0, sim_broadcast), 2);
	sim_finish(sim);
}

/* Each next one takes over, down to the last; all come back into the same ring. */
TEST_CASE(casts, makers_die_one_after_the_other)
{
	struct sim *sim = four_with_ring(9);
	uint64_t id = sim_cast_id(sim_node_at(sim, 3), 0, sim_broadcast);

	for (unsigned i = 0; i < 3; i++) {
		sim_kill(sim_node_at(sim, i));
		sim_run(sim, SIM_S);
		CHECK_U64(sim_cast_epoch(sim_node_at(sim, 3), 0, sim_broadcast), i + 2);
	}
	for (unsigned i = 0; i < 3; i++)
		sim_start(sim_node_at(sim, i));
	sim_run(sim, SIM_S);
	CHECK(all_in_one(sim, 0, sim_broadcast));
	CHECK_U64(sim_cast_id(sim_node_at(sim, 0), 0, sim_broadcast), id);
	sim_finish(sim);
}

/* ---- memory that is no good ---- */

TEST_CASE(casts, a_ring_of_nonsense_is_made_anew)
{
	struct sim *sim = four_with_ring(10);
	struct sim_node *n2 = sim_node_at(sim, 1);
	uint64_t id = sim_cast_id(n2, 0, sim_broadcast);

	CHECK(sim_fault_cast(n2, 0, sim_broadcast, -EPROTO));
	sim_run(sim, 3 * SIM_S);
	CHECK(all_in_one(sim, 0, sim_broadcast));
	CHECK(sim_cast_id(n2, 0, sim_broadcast) != id);
	CHECK_INT(sim_count_casts(sim), 4);
	sim_finish(sim);
}

/* Whoever spoils them again and again slows nobody down but the rings. */
/* n2 made the ring; those of another uid have used an epoch since. */
static struct sim *three_behind_others(void)
{
	struct sim *sim = sim_new_nodes(1, 5, 1);

	for (unsigned i = 3; i < 5; i++)
		sim_set_uid(sim_node_at(sim, i), 1000);
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	CHECK(sim_want_cast(sim_node_at(sim, 1), 0, sim_broadcast));
	sim_run(sim, SIM_S);
	CHECK(sim_want_cast(sim_node_at(sim, 3), 0, sim_broadcast));
	sim_run(sim, SIM_S);
	return sim;
}

/* Also in the 50 ms that n3 waits, when it finds that somebody has made one just now. */
TEST_CASE(casts, a_condemned_ring_of_nonsense_is_closed)
{
	for (unsigned ms = 0; ms < 120 && !test_failed(); ms += 5) {
		struct sim *sim = three_behind_others();
		struct sim_node *n2 = sim_node_at(sim, 1), *n3 = sim_node_at(sim, 2);

		sim_pause(n2);
		while (sim_view(n3, n2, NULL, NULL) != MEMBER_DOWN && !sim_error(sim))
			sim_run(sim, SIM_MS);
		sim_run(sim, ms * SIM_MS);
		CHECK(sim_fault_cast(n3, 0, sim_broadcast, -EPROTO));
		sim_run(sim, SIM_S);
		sim_resume(n2);
		sim_run(sim, 5 * SIM_S);
		sim_finish(sim);
	}
}

TEST_CASE(casts, rings_that_are_spoilt_again_are_made_later_each_time)
{
	struct sim *sim = four_with_ring(11);
	struct sim_node *n1 = sim_node_at(sim, 0);
	unsigned made = 0;
	uint64_t id = 0;

	for (unsigned i = 0; i < 600; i++) {
		for (unsigned j = 0; j < 4; j++)
			sim_fault_cast(sim_node_at(sim, j), 0, sim_broadcast, -EPROTO);
		sim_run(sim, 100 * SIM_MS);
		made += sim_cast_id(n1, 0, sim_broadcast) &&
			sim_cast_id(n1, 0, sim_broadcast) != id;
		id = sim_cast_id(n1, 0, sim_broadcast);
	}
	CHECK(made < 40);
	sim_run(sim, 130 * SIM_S);
	CHECK(all_in_one(sim, 0, sim_broadcast));
	sim_finish(sim);
}

TEST_CASE(casts, without_memory_for_the_ring_there_are_copies)
{
	struct sim *sim = sim_new_nodes(12, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0);

	sim_start_all(sim);
	sim_run(sim, SIM_S);
	sim_set_failures(sim, 1000);
	sim_want_cast(n1, 0, sim_broadcast);
	sim_run(sim, 500 * SIM_MS);
	sim_set_failures(sim, 0);
	CHECK_U64(sim_cast_id(n1, 0, sim_broadcast), 0);
	CHECK_CONTAINS(reasons_of(n1), "network lan0: no ring for broadcast: it has no "
				       "epoch");
	sim_run(sim, 2 * SIM_S);
	CHECK_STR(reasons_of(n1), "");
	CHECK(sim_want_cast(n1, 0, sim_broadcast));
	sim_run(sim, SIM_S);
	CHECK(all_in_one(sim, 0, sim_broadcast));
	sim_finish(sim);
}

/* ---- who may not share ---- */

TEST_CASE(casts, another_uid_gets_copies)
{
	struct config_fabric fabric = {.num_uids = 1, .uids = {1000}};
	struct sim *sim = sim_new_nodes(13, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);

	for (unsigned i = 0; i < 3; i++) {
		sim_config(sim_node_at(sim, i))->num_fabrics = 1;
		sim_config(sim_node_at(sim, i))->fabrics = &fabric;
	}
	sim_set_uid(n3, 1000);
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	CHECK(sim_linked(n1, n3, 0));
	sim_want_cast(n1, 0, sim_broadcast);
	CHECK(sim_want_cast(n3, 0, sim_broadcast));
	sim_run(sim, 3 * SIM_S);
	CHECK(sim_casts_by_ring(n1, n2, 0, sim_broadcast));
	CHECK(sim_casts_by_ring(n2, n1, 0, sim_broadcast));
	CHECK(!sim_casts_by_ring(n1, n3, 0, sim_broadcast));
	CHECK(!sim_casts_by_ring(n3, n1, 0, sim_broadcast));
	CHECK_U64(sim_cast_id(n3, 0, sim_broadcast), 0);
	CHECK_CONTAINS(reasons_of(n1),
		       "network lan0: n3 is of uid 1000 and n1 of uid 0, and a shared "
		       "cast ring is for one: it gets a copy of each cast; set cast: "
		       "lanes on all nodes");
	sim_finish(sim);
}

TEST_CASE(casts, in_lanes_each_has_its_own)
{
	struct config_fabric fabric = {.num_uids = 1, .uids = {1000}};
	struct sim *sim = sim_new_nodes(14, 3, 1);

	for (unsigned i = 0; i < 3; i++) {
		sim_config(sim_node_at(sim, i))->num_fabrics = 1;
		sim_config(sim_node_at(sim, i))->fabrics = &fabric;
		sim_config(sim_node_at(sim, i))->networks[0].cast = CAST_MODE_LANES;
		sim_config(sim_node_at(sim, i))->networks[1].cast = CAST_MODE_LANES;
	}
	sim_set_uid(sim_node_at(sim, 2), 1000);
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	for (unsigned i = 0; i < 3; i++)
		sim_want_cast(sim_node_at(sim, i), 0, sim_broadcast);
	sim_want_cast(sim_node_at(sim, 0), 0, sim_group);
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_casts(sim), 9);
	for (unsigned i = 0; i < 9; i++)
		CHECK(i / 3 == i % 3 ||
		      sim_casts_by_ring(sim_node_at(sim, i / 3), sim_node_at(sim, i % 3),
					0, sim_broadcast));
	CHECK_STR(reasons_of(sim_node_at(sim, 0)), "");
	sim_kill(sim_node_at(sim, 1));
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_casts(sim), 4);
	sim_start(sim_node_at(sim, 1));
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_casts(sim), 6);
	sim_finish(sim);
}

TEST_CASE(casts, another_mode_gets_copies_and_both_values_in_words)
{
	struct sim *sim = sim_new_nodes(15, 3, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);

	sim_config(n3)->networks[0].cast = CAST_MODE_LANES;
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	for (unsigned i = 0; i < 3; i++)
		sim_want_cast(sim_node_at(sim, i), 0, sim_broadcast);
	sim_run(sim, SIM_S);
	CHECK(sim_casts_by_ring(n1, n2, 0, sim_broadcast));
	CHECK(!sim_casts_by_ring(n1, n3, 0, sim_broadcast));
	CHECK(!sim_casts_by_ring(n3, n1, 0, sim_broadcast));
	CHECK_CONTAINS(reasons_of(n1), "network lan0 has cast: shared on n1 and cast: "
				       "lanes on n3: it gets a copy of each cast");
	sim_finish(sim);
}

/* A broken lane has only one who can have broken it. */
TEST_CASE(casts, who_spoils_its_lane_is_quarantined)
{
	struct sim *sim = sim_new_nodes(16, 2, 1);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

	sim_config(n1)->networks[0].cast = CAST_MODE_LANES;
	sim_config(n2)->networks[0].cast = CAST_MODE_LANES;
	sim_start_all(sim);
	sim_run(sim, SIM_S);
	sim_want_cast(n2, 0, sim_broadcast);
	sim_run(sim, SIM_S);
	CHECK(sim_fault_lane(n1, n2, 0, -EPROTO));
	sim_run(sim, 500 * SIM_MS);
	CHECK_CONTAINS(sim_reason(n1, n2),
		       "n2 broke the rules of its cast lane of network "
		       "lan0");
	sim_run(sim, 5 * SIM_S);
	CHECK(sim_linked(n1, n2, 0));
	sim_finish(sim);
}

/* ---- who lies ---- */

static struct peer_message cast_of(uint64_t id, uint64_t epoch)
{
	struct peer_message message = {
		.type = PEER_MESSAGE_CAST,
		.cast = {.network = "lan0",
			 .id = id,
			 .depth = 256,
			 .label = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
			 .epoch = epoch,
			 .maker = 1},
	};

	return message;
}

/* A member of our uid that is up as id 1 "x" says this to n2, beside n3. */
static void check_lie(const struct peer_message *message, const char *words)
{
	struct sim *sim = sim_new_nodes(17, 3, 1);
	struct sim_node *n2 = sim_node_at(sim, 1), *n3 = sim_node_at(sim, 2);
	struct world_channel *channel;

	sim_start(n2);
	sim_start(n3);
	sim_run(sim, SIM_S);
	sim_want_cast(n3, 0, sim_broadcast);
	sim_run(sim, SIM_S);
	channel = sim_dial_member(sim, n2, 1, "x");
	sim_run(sim, 200 * SIM_MS);
	sim_stranger_send_cast(channel, message, 256);
	sim_run(sim, 10 * SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), words);
	CHECK(sim_casts_by_ring(n2, n3, 0, sim_broadcast));
	CHECK(sim_casts_by_ring(n3, n2, 0, sim_broadcast));
	sim_stranger_close(channel);
	sim_finish(sim);
}

TEST_CASE(casts, a_liar_is_refused_in_words)
{
	struct peer_message message = cast_of(7, UINT64_MAX);

	check_lie(&message, "a message of x has an epoch out of range");
	message = cast_of(7, 5);
	message.cast.depth = 300;
	check_lie(&message, "a message of x has a depth that no cast ring has");
	message.cast.depth = 512;
	check_lie(&message, "the cast ring of x for network lan0: it is no memory of "
			    "that size");
	message = cast_of(7, 0);
	message.cast.lane = true;
	check_lie(&message, "x (uid 0) sent a cast lane for network lan0, which has no "
			    "such with n2 (uid 0)");
	message = cast_of(7, 5);
	snprintf(message.cast.network, CONFIG_NAME_MAX, "lan7");
	check_lie(&message, "x sent CAST for network lan7, which is not common");
	message = (struct peer_message){.type = PEER_MESSAGE_READS,
					.reads = {.network = "big0", .id = 9}};
	check_lie(&message, "x sent READS for network big0, which is not common");
}

TEST_CASE(casts, the_same_id_is_the_same_ring)
{
	struct sim *sim = sim_new_nodes(18, 3, 1);
	struct sim_node *n2 = sim_node_at(sim, 1), *n3 = sim_node_at(sim, 2);
	struct peer_message message;
	struct world_channel *channel;

	sim_start(n2);
	sim_start(n3);
	sim_run(sim, SIM_S);
	sim_want_cast(n3, 0, sim_broadcast);
	sim_run(sim, SIM_S);
	channel = sim_dial_member(sim, n2, 1, "x");
	sim_run(sim, 200 * SIM_MS);
	message = cast_of(sim_cast_id(n2, 0, sim_broadcast), 5);
	message.cast.depth = 16;
	sim_stranger_send_cast(channel, &message, 16);
	sim_run(sim, SIM_S);
	CHECK_CONTAINS(sim_stranger_refusal(channel), "x gave cast ring ");
	CHECK_CONTAINS(sim_stranger_refusal(channel),
		       " of network lan0 with 16 slots another shape than n2 knows (256 "
		       "slots)");
	sim_stranger_close(channel);
	sim_finish(sim);
}

/* The last epoch that there can be: no ring can follow it, casts go on as copies. */
TEST_CASE(casts, a_liar_ends_the_epochs_and_not_the_casts)
{
	struct peer_message message = cast_of(7, PEER_EPOCH_MAX);
	struct sim *sim = sim_new_nodes(19, 3, 1);
	struct sim_node *n2 = sim_node_at(sim, 1), *n3 = sim_node_at(sim, 2);
	struct world_channel *channel;

	sim_start(n2);
	sim_start(n3);
	sim_run(sim, SIM_S);
	channel = sim_dial_member(sim, n2, 1, "x");
	sim_run(sim, 200 * SIM_MS);
	sim_stranger_send_cast(channel, &message, 256);
	sim_run(sim, SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), "");
	CHECK_U64(sim_cast_id(n3, 0, sim_broadcast), 7);
	CHECK(sim_fault_cast(n3, 0, sim_broadcast, -EPROTO));
	sim_run(sim, 900 * SIM_MS);
	CHECK_CONTAINS(reasons_of(n3), "it has no epoch: ");
	sim_stranger_close(channel);
	sim_run(sim, 5 * SIM_S);
	CHECK(sim_linked(n2, n3, 0));
	sim_finish(sim);
}

/* More rings than the network may have: the others are passed over. */
TEST_CASE(casts, a_liar_makes_no_more_rings_than_there_may_be)
{
	struct sim *sim = sim_new_nodes(20, 3, 1);
	struct sim_node *n2 = sim_node_at(sim, 1);
	struct world_channel *channel;

	sim_start(n2);
	channel = sim_dial_member(sim, n2, 1, "x");
	sim_run(sim, 200 * SIM_MS);
	for (unsigned i = 1; i <= 200; i++) {
		struct peer_message message = cast_of(i, i);

		message.cast.label[5] = (uint8_t)i;
		sim_stranger_send_cast(channel, &message, 256);
		message = (struct peer_message){
			.type = PEER_MESSAGE_READS,
			.reads = {.network = "lan0", .id = 1000 + i}};
		sim_stranger_send_cast(channel, &message, 0);
	}
	sim_run(sim, 5 * SIM_S);
	CHECK_STR(sim_stranger_refusal(channel), "");
	CHECK_INT(sim_count_casts(sim), 4);
	sim_stranger_close(channel);
	sim_finish(sim);
}

/* It spoils what it offers, faster than any backoff. */
TEST_CASE(casts, a_liar_does_not_fill_the_log)
{
	struct sim *sim = sim_new_nodes(21, 3, 1);
	struct sim_node *n2 = sim_node_at(sim, 1);
	struct world_channel *channel;
	struct peer_message message;
	unsigned before, spoilt = 0;

	sim_start(n2);
	channel = sim_dial_member(sim, n2, 1, "x");
	sim_run(sim, 200 * SIM_MS);
	before = sim_count_warnings(sim);
	for (unsigned i = 1; i <= 200; i++) {
		message = cast_of(i, i);
		sim_stranger_send_cast(channel, &message, 256);
		sim_run(sim, 25 * SIM_MS);
		spoilt += sim_fault_cast(n2, 0, sim_broadcast, -EPROTO);
		sim_run(sim, 25 * SIM_MS);
	}
	CHECK(spoilt > 100);
	CHECK(sim_count_warnings(sim) - before <= 12);
	sim_stranger_close(channel);
	sim_finish(sim);
}

TEST_CASE(casts, a_shortage_that_lasts_is_said_once)
{
	struct peer_message message = cast_of(7, PEER_EPOCH_MAX);
	struct sim *sim = sim_new_nodes(22, 3, 1);
	struct sim_node *n2 = sim_node_at(sim, 1);
	struct world_channel *channel;
	unsigned before;

	sim_start(n2);
	channel = sim_dial_member(sim, n2, 1, "x");
	sim_run(sim, 200 * SIM_MS);
	sim_stranger_send_cast(channel, &message, 256);
	sim_run(sim, 100 * SIM_MS);
	before = sim_count_warnings(sim);
	CHECK(sim_fault_cast(n2, 0, sim_broadcast, -EPROTO));
	for (unsigned i = 0; i < 20; i++) {
		sim_run(sim, SIM_S);
		sim_want_cast(n2, 0, sim_broadcast);
	}
	CHECK_CONTAINS(reasons_of(n2), "it has no epoch: ");
	CHECK(sim_count_warnings(sim) - before <= 2);
	sim_stranger_close(channel);
	sim_finish(sim);
}

/* ---- random schedules ---- */

static void do_something(struct sim *sim)
{
	unsigned network = (unsigned)sim_random(sim, SIM_NETWORKS);
	struct sim_node *node = sim_some_node(sim);

	switch (sim_random(sim, 6)) {
	case 0:
	case 1:
		sim_end_or_start(sim, node);
		break;
	case 2:
		sim_pause_or_resume(node);
		break;
	case 3:
		sim_cut(node, sim_some_node(sim));
		break;
	case 4:
		if (sim_is_alive(node))
			sim_fault_cast(node, network,
				       sim_random(sim, 2) ? sim_broadcast : sim_group,
				       -EPROTO);
		break;
	case 5:
		if (sim_is_alive(node))
			sim_fault_link(node, sim_some_node(sim), network,
				       sim_random(sim, 2) ? -EPROTO : -ECONNRESET);
		break;
	}
}

static void run_schedule(struct sim *sim)
{
	unsigned num_nodes = 3 + (unsigned)sim_random(sim, 4);
	unsigned num_faults = 10 + (unsigned)sim_random(sim, 50);
	bool lanes = sim_random(sim, 4) == 0;

	for (unsigned i = 0; i < num_nodes; i++) {
		struct sim_node *node = sim_add_next(sim);

		sim_config(node)->networks[1].cast =
			lanes ? CAST_MODE_LANES : CAST_MODE_SHARED;
		sim_start(node);
	}
	sim_cast_always(sim);
	sim_die_in_slots(sim);
	sim_set_failures(sim, (unsigned)sim_random(sim, 4) * 10);
	sim_make_faults(sim, num_faults, do_something, 6 * SIM_S);
	sim_heal(sim);
	sim_run(sim, SETTLED_NS);
}

static bool agree(struct sim *sim)
{
	bool ok = all_in_one(sim, 0, sim_broadcast) && all_in_one(sim, 0, sim_group);

	for (unsigned i = 0; i < sim_num_nodes(sim); i++)
		ok = ok && !sim_cast_is_stuck(sim_node_at(sim, i), 0, sim_broadcast);
	return ok;
}

static const struct sim_schedule schedule = {
	.run = run_schedule,
	.agree = agree,
	.complaint = "the nodes did not come to one ring",
};

TEST_CASE(cast_schedule, random_faults_break_nothing)
{
	CHECK_INT(sim_try_seeds(&schedule, SEEDS), 0);
}
