/*
 * What nodes write to each other through their links, and what they are told of these.
 * See sim_internal.h.
 */
#include "sim_internal.h"

#include <errno.h>
#include <string.h>

#define WRITE_NS (500 * SIM_MS)

/* ---- what nodes write to each other ---- */

/* NULL: a stranger's id. */
static struct sim_talk *find_talk(struct sim_node *node, uint16_t id, unsigned network)
{
	unsigned index = sim_find_index(node->sim, id);

	return index < node->sim->num_nodes ? &node->talks[index][network] : NULL;
}

void sim_talks_start(struct sim_node *node)
{
	memset(node->talks, 0, sizeof(node->talks));
	for (unsigned i = 0; i < SIM_NODES_MAX * SIM_NETWORKS; i++)
		node->talks[i / SIM_NETWORKS][i % SIM_NETWORKS].changed_ns =
			node->world.ops->now(&node->world);
}

/* There the dispatchers talk, and nobody else. */
static bool is_for_flows(const struct sim_node *node, unsigned network)
{
	return node->sim->has_flows && network == SIM_FLOWS_NETWORK;
}

static bool write_text(struct sim_node *node, uint16_t id, unsigned network,
		       uint32_t answers)
{
	struct sim_talk *talk = find_talk(node, id, network);
	const struct sim_text text = {node->life, talk->link, talk->said, answers};
	int ret;

	if (is_for_flows(node, network))
		return false;
	ret = membership_send(node->membership, network, id, (const uint8_t *)&text,
			      sizeof(text));
	if (ret != (talk->is_up ? 0 : -ENOTCONN) && ret != -EAGAIN)
		sim_break(node->sim, "%s writes to %u, and is told %d", node->name, id,
			  ret);
	talk->said += ret == 0;
	return ret == 0;
}

bool sim_write(struct sim_node *node, const struct sim_node *to, unsigned network)
{
	return node->is_alive && write_text(node, to->config.id, network, 0);
}

unsigned sim_count_heard(struct sim_node *node, const struct sim_node *from,
			 unsigned network)
{
	return find_talk(node, from->config.id, network)->heard;
}

void sim_run_writes(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	(void)arg;
	(void)number;
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		unsigned network = (unsigned)sim_random(sim, SIM_NETWORKS);

		if (sim->nodes[i] != node)
			write_text(node, sim->nodes[i]->config.id, network, 3);
	}
	sim_at(sim, sim->now_ns + WRITE_NS, node, sim_run_writes, NULL, 0);
}

void sim_write_always(struct sim *sim)
{
	sim->writes_always = true;
}

static void on_carrier(void *arg, unsigned network, bool has_carrier)
{
	struct sim_node *node = arg;

	if (node->carrier[network] == has_carrier)
		sim_break(node->sim, "%s is told of its carrier twice", node->name);
	node->carrier[network] = has_carrier;
	sim_note(node->sim, "%s: %s %s", node->name, node->networks[network].name,
		 has_carrier ? "has carrier" : "has no carrier");
}

static void on_link_up(void *arg, unsigned network, uint16_t id, const char *name)
{
	struct sim_node *node = arg;
	struct sim_talk *talk = find_talk(node, id, network);

	if (!*name || !sim_find_link(node, id, network))
		sim_break(node->sim, "%s is told of a link to %u that is not there",
			  node->name, id);
	if (!talk)
		return;
	if (talk->is_up)
		sim_break(node->sim, "%s is told of its link to %u twice", node->name,
			  id);
	talk->is_up = true;
	talk->changed_ns = node->world.ops->now(&node->world);
	node->sim->num_changes++;
	talk->is_off = false;
	talk->link++;
	talk->said = 0;
	if (is_for_flows(node, network))
		dispatch_peer_up(node->dispatch, id, name);
	for (unsigned i = 0; i < 3 && node->sim->writes_always; i++)
		write_text(node, id, network, 0);
}

static void on_link_down(void *arg, unsigned network, uint16_t id)
{
	struct sim_node *node = arg;
	struct sim_talk *talk = find_talk(node, id, network);

	if (!talk)
		return;
	if (!talk->is_up || sim_find_link(node, id, network))
		sim_break(node->sim, "%s is told that a link to %u went which is %s",
			  node->name, id, talk->is_up ? "there" : "gone");
	talk->is_up = false;
	talk->changed_ns = node->world.ops->now(&node->world);
	node->sim->num_changes++;
	if (is_for_flows(node, network)) {
		node->unlinked_ns = node->sim->now_ns;
		dispatch_peer_down(node->dispatch, id);
	}
	write_text(node, id, network, 0); /* in vain */
}

static void on_pause(void *arg, unsigned network, uint16_t id, bool is_paused)
{
	struct sim_node *node = arg;
	struct sim_talk *talk = find_talk(node, id, network);

	if (!talk)
		return;
	if (!talk->is_up || talk->is_off == is_paused)
		sim_break(node->sim, "%s is told of a pause of %u %s", node->name, id,
			  talk->is_up ? "twice" : "without a link");
	talk->is_off = is_paused;
	if (is_for_flows(node, network))
		dispatch_set_paused(node->dispatch, id, is_paused);
}

static void on_suspect(void *arg, uint16_t id, bool is_suspect)
{
	struct sim_node *node = arg;
	unsigned index = sim_find_index(node->sim, id);

	if (index == node->sim->num_nodes)
		return;
	if (node->sim->has_flows)
		dispatch_peer_suspect(node->dispatch, id, is_suspect);
	if (node->suspects[index] == is_suspect)
		sim_break(node->sim, "%s is told twice what to think of %u", node->name,
			  id);
	node->suspects[index] = is_suspect;
	node->sim->num_changes++;
}

static bool is_later(const struct sim_text *text, const struct sim_text *last)
{
	if (text->life != last->life)
		return text->life > last->life;
	if (text->link != last->link)
		return text->link > last->link;
	return text->number > last->number;
}

static void on_message(void *arg, unsigned network, uint16_t id, const uint8_t *bytes,
		       size_t length)
{
	struct sim_node *node = arg;
	struct sim_talk *talk = find_talk(node, id, network);
	struct sim_text text;

	if (is_for_flows(node, network)) {
		dispatch_message(node->dispatch, id, bytes, length);
		return;
	}
	if (!talk || !talk->is_up || length != sizeof(text)) {
		sim_break(node->sim, "%s hears %u without a link", node->name, id);
		return;
	}
	memcpy(&text, bytes, sizeof(text));
	if (talk->heard && !is_later(&text, &talk->last))
		sim_break(node->sim, "%s hears %u in another order than it spoke",
			  node->name, id);
	talk->last = text;
	talk->heard++;
	if (text.answers)
		write_text(node, id, network, text.answers - 1);
}

const struct membership_handler sim_talk_handler = {
	.network_carrier = on_carrier,
	.link_up = on_link_up,
	.link_down = on_link_down,
	.peer_suspect = on_suspect,
	.peer_paused = on_pause,
	.message = on_message,
};
