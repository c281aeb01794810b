/*
 * What tests of a world do again and again: nodes in a row, faults that happen to any
 * logic, the end of them, and of the world. Knows of it what sim.h says.
 */
#include "sim.h"

#include "shim.h"

#include <stdio.h>
#include <string.h>

/* ---- nodes ---- */

struct sim_node *sim_add_next(struct sim *sim)
{
	unsigned number = sim_num_nodes(sim) + 1;
	char name[16];

	snprintf(name, sizeof(name), "n%u", number);
	return sim_add_node(sim, (uint16_t)number, name);
}

void sim_add_nodes(struct sim *sim, unsigned count, unsigned hosts)
{
	for (unsigned i = 0; i < count; i++)
		sim_set_host(sim_add_next(sim), i % hosts);
}

struct sim *sim_new_nodes(uint64_t seed, unsigned count, unsigned hosts)
{
	struct sim *sim = sim_new(seed);

	sim_add_nodes(sim, count, hosts);
	return sim;
}

void sim_start_all(struct sim *sim)
{
	for (unsigned i = 0; i < sim_num_nodes(sim); i++)
		sim_start(sim_node_at(sim, i));
}

struct sim *sim_new_started(uint64_t seed, unsigned count, unsigned hosts)
{
	struct sim *sim = sim_new_nodes(seed, count, hosts);

	sim_start_all(sim);
	sim_run(sim, SIM_S);
	return sim;
}

void sim_finish(struct sim *sim)
{
	sim_stop_all(sim);
	CHECK_STR(sim_error(sim), NULL);
	CHECK_INT(sim_count_casts(sim), 0);
	sim_free(sim);
}

/* ---- what they know ---- */

bool sim_all_linked(struct sim *sim, unsigned network)
{
	bool ok = true;

	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		for (unsigned j = 0; j < i; j++)
			ok = ok && sim_linked(sim_node_at(sim, i), sim_node_at(sim, j),
					      network);
	}
	return ok;
}

const char *sim_reason(struct sim_node *node, const struct sim_node *other)
{
	const char *words;

	sim_view(node, other, NULL, &words);
	return words;
}

unsigned sim_count_events(const struct sim_node *node, enum events_state state,
			  const char *about)
{
	const struct events *events = sim_events(node);
	unsigned count = 0;

	for (unsigned i = 0; i < events_kept(events); i++) {
		const struct events_item *item = events_get(events, i);

		count += item->state == state &&
			 (!about || strcmp(item->subject, about) == 0);
	}
	return count;
}

/* ---- faults ---- */

struct sim_node *sim_some_node(struct sim *sim)
{
	return sim_node_at(sim, (unsigned)sim_random(sim, sim_num_nodes(sim)));
}

void sim_end_some_life(struct sim *sim, struct sim_node *node)
{
	if (!sim_is_alive(node))
		return;
	if (sim_random(sim, 4))
		sim_kill(node);
	else
		sim_stop(node);
	if (sim_random(sim, 2))
		sim_start(node);
}

void sim_end_or_start(struct sim *sim, struct sim_node *node)
{
	if (sim_is_alive(node))
		sim_end_some_life(sim, node);
	else
		sim_start(node);
}

void sim_pause_or_resume(struct sim_node *node)
{
	if (!sim_is_alive(node))
		return;
	if (sim_is_paused(node))
		sim_resume(node);
	else
		sim_pause(node);
}

void sim_make_fault(struct sim *sim, struct sim_node *node)
{
	struct sim_node *peer = sim_some_node(sim);

	switch (sim_random(sim, 4)) {
	case 0:
		if (sim_is_alive(node))
			sim_kill(node);
		else
			sim_start(node);
		break;
	case 1:
		sim_pause_or_resume(node);
		break;
	case 2:
		sim_cut(node, peer);
		break;
	case 3:
		sim_lose_conn(node, peer);
		break;
	}
}

void sim_make_faults(struct sim *sim, unsigned count, void (*make_one)(struct sim *sim),
		     uint64_t pause_max_ns)
{
	for (unsigned i = 0; i < count && !sim_error(sim); i++) {
		make_one(sim);
		sim_run(sim,
			sim_random(sim, sim_random(sim, 3) ? 60 * SIM_MS : pause_max_ns));
	}
}

void sim_heal(struct sim *sim)
{
	sim_set_failures(sim, 0);
	for (unsigned i = 0; i < sim_num_nodes(sim); i++) {
		struct sim_node *node = sim_node_at(sim, i);

		for (unsigned j = 0; j < sim_num_nodes(sim); j++)
			sim_blind(node, sim_node_at(sim, j), false);
		if (!sim_is_alive(node))
			sim_start(node);
		else if (sim_is_paused(node))
			sim_resume(node);
	}
}
