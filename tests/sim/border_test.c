/*
 * What nodes know of each other as borders, in a world made of a seed (sim.h), whatever
 * happens to the two besides; and that a peer of the version before hears nothing of it.
 *
 *     SEEDS=N   so many random schedules instead of 100
 *     SEED=S    only that one, with everything that happens on stderr
 */
#include "sim.h"

#include "shim.h"

#include <stdio.h>
#include <string.h>

#define SEEDS	   100
#define SETTLED_NS (240 * SIM_S)

static const struct peer_border nothing;

/* NICs with this MTU, and a network if the last of them is up. */
static struct peer_border make_border(unsigned num_nics, uint32_t mtu, bool is_up)
{
	struct peer_border border;

	memset(&border, 0, sizeof(border));
	border.num_nics = num_nics;
	for (unsigned i = 0; i < num_nics; i++) {
		snprintf(border.nics[i].name, PEER_NIC_MAX, "nic%u", i);
		border.nics[i].mtu = mtu;
	}
	if (!is_up)
		return border;
	border.nics[num_nics - 1].is_up = true;
	border.num_announces = 1;
	snprintf(border.announces[0], CONFIG_NAME_MAX, "web");
	return border;
}

static bool knows(const struct sim_node *node, const struct sim_node *other,
		  const struct peer_border *border)
{
	const struct peer_border known = sim_border_of(node, other);

	return peer_border_is_same(&known, border);
}

static void check_told(unsigned hosts)
{
	const struct peer_border up = make_border(2, 1500, true);
	const struct peer_border down = make_border(2, 1500, false);
	struct sim *sim = sim_new_started(1, 3, hosts);
	struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);
	struct sim_node *n3 = sim_node_at(sim, 2);

	CHECK(knows(n2, n1, &nothing));
	sim_set_border(n1, &up);
	sim_run(sim, SIM_S);
	CHECK(knows(n2, n1, &up) && knows(n3, n1, &up));
	CHECK(knows(n1, n2, &nothing));
	CHECK_INT(sim_count_events(n2, EVENTS_ANNOUNCING, "n1"), 1);
	sim_set_border(n1, &up);
	sim_run(sim, SIM_S);
	CHECK_INT(sim_count_events(n2, EVENTS_ANNOUNCING, "n1"), 1);
	sim_set_border(n1, &down);
	sim_run(sim, SIM_S);
	CHECK(knows(n2, n1, &down) && knows(n3, n1, &down));
	CHECK_INT(sim_count_events(n2, EVENTS_WITHDRAWN, "n1"), 1);
	sim_set_border(n1, &nothing);
	sim_run(sim, SIM_S);
	CHECK(knows(n2, n1, &nothing));
	sim_finish(sim);
}

TEST_CASE(border, all_peers_are_told)
{
	check_told(1);
	check_told(3);
}

/* Who comes later, or again, is told; what a dead one said is nothing. */
TEST_CASE(border, lives_as_long_as_the_session)
{
	for (unsigned hosts = 1; hosts <= 3; hosts += 2) {
		const struct peer_border up = make_border(1, 9000, true);
		struct sim *sim = sim_new_started(2, 2, hosts);
		struct sim_node *n1 = sim_node_at(sim, 0), *n2 = sim_node_at(sim, 1);

		sim_set_border(n2, &up);
		sim_kill(n1);
		sim_run(sim, SIM_S);
		sim_start(n1);
		sim_run(sim, 5 * SIM_S);
		CHECK(knows(n1, n2, &up));
		CHECK_INT(sim_count_events(n1, EVENTS_ANNOUNCING, "n2"), 1);
		sim_cut(n1, n2);
		sim_run(sim, 5 * SIM_S);
		CHECK(knows(n1, n2, &up));
		sim_kill(n2);
		sim_run(sim, 5 * SIM_S);
		CHECK(knows(n1, n2, &nothing));
		sim_start(n2);
		sim_run(sim, 5 * SIM_S);
		CHECK(sim_linked(n1, n2, 0));
		CHECK(knows(n1, n2, &nothing));
		sim_finish(sim);
	}
}

/* ---- the version before, and liars ---- */

/* n2 as a border, and the stranger that plays n1, which speaks this version only. */
static struct world_channel *dial(struct sim *sim, uint32_t version,
				  struct sim_node **ret_node)
{
	const struct peer_border up = make_border(1, 1500, true);
	struct world_channel *channel;

	sim_add_node(sim, 1, "n1");
	*ret_node = sim_add_node(sim, 2, "n2");
	sim_start(*ret_node);
	sim_set_border(*ret_node, &up);
	channel = sim_dial_member_of(sim, *ret_node, 1, "x", version);
	sim_run(sim, 200 * SIM_MS);
	return channel;
}

static struct peer_message word_of(const struct peer_border *border)
{
	struct peer_message message;

	memset(&message, 0, sizeof(message));
	message.type = PEER_MESSAGE_BORDER;
	message.border = *border;
	return message;
}

TEST_CASE(border, is_told_from_version_6_on)
{
	for (uint32_t version = 5; version <= 6; version++) {
		const struct peer_border down = make_border(1, 1500, false);
		struct sim *sim = sim_new(4);
		struct sim_node *n2;
		struct world_channel *channel = dial(sim, version, &n2);

		CHECK(!sim_stranger_is_closed(channel));
		CHECK_INT(sim_stranger_borders(channel), version - 5);
		sim_set_border(n2, &down);
		sim_run(sim, 200 * SIM_MS);
		CHECK_INT(sim_stranger_borders(channel), 2 * (version - 5));
		sim_stranger_close(channel);
		sim_finish(sim);
	}
}

TEST_CASE(border, of_the_version_before_is_against_the_rules)
{
	const struct peer_border up = make_border(1, 1500, true);
	struct peer_message message = word_of(&up);
	struct sim *sim = sim_new(5);
	struct sim_node *n2;
	struct world_channel *channel = dial(sim, 5, &n2);

	sim_stranger_send(channel, &message);
	sim_run(sim, 200 * SIM_MS);
	CHECK_STR(sim_stranger_refusal(channel), "x sent BORDER in wire version 5");
	sim_stranger_close(channel);
	sim_finish(sim);
}

TEST_CASE(border, before_the_handshake_is_out_of_turn)
{
	struct peer_message message = word_of(&nothing);
	struct sim *sim = sim_new_started(6, 1, 1);
	struct world_channel *channel = sim_dial_stranger(sim, sim_node_at(sim, 0), 0);

	sim_stranger_send(channel, &message);
	sim_run(sim, SIM_S);
	CHECK_STR(sim_stranger_refusal(channel),
		  "the first message to n1 is BORDER, HELLO is right");
	sim_stranger_close(channel);
	sim_finish(sim);
}

/* The last word counts; of what it makes at will not all is told. */
TEST_CASE(border, changes_in_a_flood)
{
	struct peer_border border = make_border(16, 1, true);
	struct peer_message message;
	struct sim *sim = sim_new(7);
	struct sim_node *n2;
	struct world_channel *channel = dial(sim, 6, &n2);

	for (unsigned i = 0; i <= 200; i++) {
		border = make_border(1 + i % 16, 1 + i, i % 2);
		message = word_of(&border);
		sim_stranger_send(channel, &message);
	}
	sim_run(sim, 200 * SIM_MS);
	CHECK(!sim_stranger_is_closed(channel));
	CHECK(knows(n2, sim_node_at(sim, 0), &border));
	CHECK_INT(sim_count_events(n2, EVENTS_ANNOUNCING, "x"), 16);
	CHECK_INT(sim_count_events(n2, EVENTS_WITHDRAWN, "x"), 16);
	sim_stranger_close(channel);
	sim_run(sim, SIM_S);
	sim_finish(sim);
}

/* ---- random schedules ---- */

static void become_some_border(struct sim *sim, struct sim_node *node)
{
	const struct peer_border border =
		make_border(1 + (unsigned)sim_random(sim, CONFIG_NICS_MAX),
			    1 + (uint32_t)sim_random(sim, 9000), sim_random(sim, 2));

	if (!sim_is_paused(node))
		sim_set_border(node, sim_random(sim, 4) ? &border : &nothing);
}

static void do_something(struct sim *sim)
{
	struct sim_node *node = sim_some_node(sim);

	if (sim_random(sim, 2))
		sim_make_fault(sim, node);
	else
		become_some_border(sim, node);
}

static struct peer_border border_of_place(unsigned place)
{
	return make_border(1 + place, 1500 + place, place % 2);
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
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		const struct peer_border border = border_of_place(i);

		sim_set_border(sim_node_at(sim, i), &border);
	}
	sim_run(sim, SETTLED_NS);
}

static bool agree(struct sim *sim)
{
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		const struct peer_border border = border_of_place(i);

		for (unsigned j = 0; j < sim_num_nodes(sim); j++) {
			if (i != j &&
			    !knows(sim_node_at(sim, j), sim_node_at(sim, i), &border))
				return false;
		}
	}
	return true;
}

static const struct sim_schedule schedule = {
	.run = run_schedule,
	.agree = agree,
	.complaint = "some nodes don't know what others are as borders",
};

TEST_CASE(border, random_faults_break_nothing)
{
	CHECK_INT(sim_try_seeds(&schedule, SEEDS), 0);
}
