/*
 * A global network: a dispatcher on each node, over the links of SIM_FLOWS_NETWORK, and
 * connections of clients whose packets come in at any node. A node's kernel keeps its
 * connections when the node dies: it is the same machine. Every packet is a miss. See
 * sim_internal.h; dispatch_test.c looks at the dispatcher alone.
 */
#include "sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PORT	  80 /* the first */
#define PORTS	  3
#define NOBODY	  SIM_NODES_MAX
#define CLIENT_NS (120 * SIM_MS)
#define WALK_NS	  (10 * SIM_S)
#define LATE_NS	  (100 * SIM_MS) /* a packet waits no longer */
#define REUSE_NS  (64 * SIM_S)	 /* of a client's port */
#define LINKED_NS (300 * SIM_MS) /* a link is no news any more */
#define GRACE_NS  (30 * SIM_S)	 /* a node may come back, and is waited for */
#define HALF_NS	  (63 * SIM_S)	 /* an opener is answered for so long */
#define FRESH_NS  (11 * SIM_S)	 /* an entry is believed without a look */
#define ENTRY_NS  (61 * SIM_S)	 /* an entry that was not used is no proof any more */

/* ---- the kernels ---- */

static struct sim_flow *flow_of(struct sim *sim, const struct flow_key *key)
{
	struct sim_flow *flow = &sim->flows[key->foreign_port % SIM_FLOWS];

	return memcmp(&flow->key, key, sizeof(*key)) == 0 ? flow : NULL;
}

static bool listens(const struct sim_node *node, const struct sim_flow *flow)
{
	return node->ports & 1u << (flow->key.local_port - PORT);
}

static unsigned fill_listeners(const struct sim_node *node, struct listener *listeners)
{
	unsigned num = 0;

	for (unsigned i = 0; i < PORTS; i++) {
		if (node->ports & 1u << i)
			listeners[num++] = (struct listener){
				.local_port = (uint16_t)(PORT + i),
				.protocol = IPPROTO_TCP,
				.families = LISTENER_IPV4 | LISTENER_IPV6};
	}
	return num;
}

static void end_flow(struct sim *sim, struct sim_flow *flow)
{
	flow->owner = NOBODY;
	flow->ended_ns = sim->now_ns;
}

/* What the border may not know of yet, or wait for any more, it need not know. */
static bool is_out_of_reach(struct sim_node *border, const struct sim_node *owner)
{
	const struct sim_talk *talk =
		&border->talks[sim_index_of(owner)][SIM_FLOWS_NETWORK];
	uint64_t now_ns = border->world.ops->now(&border->world);

	if (border == owner)
		return false;
	return talk->is_up ? now_ns <= talk->changed_ns + LINKED_NS
			   : now_ns >= talk->changed_ns + GRACE_NS;
}

/* Both have their half of one link, and nothing is in the way. */
static bool reaches(const struct sim_node *border, const struct sim_node *to)
{
	const struct world_link *link =
		sim_find_link(border, to->config.id, SIM_FLOWS_NETWORK);
	const struct world_link *other =
		sim_find_link(to, border->config.id, SIM_FLOWS_NETWORK);

	return border == to ||
	       (to->is_alive && link && other && !sim_is_parted(border, to) &&
		link->spec.tx->memory == other->spec.rx->memory);
}

static void stray(struct sim_flow *flow, const struct sim_node *to)
{
	flow->strayed_ns[sim_index_of(to)] = to->sim->now_ns;
}

static void open_flow(struct sim_node *to, struct sim_flow *flow)
{
	struct sim *sim = to->sim;

	if (sim->is_calm && !listens(to, flow))
		sim_break(sim, "%s gets an opener, and does not listen", to->name);
	if (flow->owner != NOBODY) {
		stray(flow, to); /* the client has another one's answer */
		if (listens(to, flow))
			flow->half_until_ns[sim_index_of(to)] = sim->now_ns + HALF_NS;
	} else if (listens(to, flow)) {
		flow->owner = sim_index_of(to);
	} else {
		end_flow(sim, flow); /* refused */
	}
}

/* Who stood still reads its ring before it hears of anything. */
static void run_held_opener(struct sim *sim, struct sim_node *to, void *arg,
			    uint64_t number)
{
	struct sim_flow *flow = arg;

	(void)sim;
	if (!flow->ended_ns && flow->opened_ns == number &&
	    flow->owner != sim_index_of(to))
		open_flow(to, flow);
}

static void deliver_opener(struct sim_node *border, struct sim_flow *flow,
			   struct sim_node *to)
{
	if (reaches(border, to) && !to->is_paused) {
		open_flow(to, flow);
		return;
	}
	stray(flow, to); /* or it is late; the client tries again */
	if (reaches(border, to))
		sim_at(border->sim, border->sim->now_ns, to, run_held_opener, flow,
		       flow->opened_ns);
}

/* ---- what may go wrong ---- */

struct remembered {
	const struct flow_key *key;
	uint16_t owner;
	bool is_placed;
};

static bool look_at(void *arg, const struct dispatch_flow *shown)
{
	struct remembered *remembered = arg;

	if (memcmp(&shown->key, remembered->key, sizeof(shown->key)) != 0)
		return true;
	remembered->is_placed = shown->owner == remembered->owner &&
				strcmp(shown->via, flow_via_name(FLOW_VIA_KERNEL)) != 0 &&
				strcmp(shown->via, flow_via_name(FLOW_VIA_ANSWER)) != 0;
	return false;
}

/* Does the border go by what it, or another one, gave out? Else it has asked. */
static bool goes_by_opener(const struct sim_node *border, const struct sim_flow *flow,
			   const struct sim_node *to)
{
	struct remembered remembered = {&flow->key, to->config.id, false};

	dispatch_each_flow(border->dispatch, look_at, &remembered);
	return remembered.is_placed;
}

/* It got its opener just now, and no link ended that would make it doubt that. */
static bool claims(const struct sim_node *node, const struct sim_flow *flow)
{
	uint64_t until_ns = flow->half_until_ns[sim_index_of(node)];

	return until_ns && node->sim->now_ns < until_ns - HALF_NS + FRESH_NS &&
	       node->unlinked_ns < until_ns - HALF_NS && goes_by_opener(node, flow, node);
}

/*
 * A connection is disputed at a border where the entry of an opener is left that went in
 * vain before another node got one: until a link ends by which it may have been lost, or
 * it was not used for a while. Who stood still gets the pin of it when it goes on. A
 * border that asks may be told so by who got that opener late, while it is news to it;
 * but what the kernels have is never wrong.
 */
static bool is_disputed(const struct sim_node *border, const struct sim_flow *flow,
			const struct sim_node *to)
{
	uint64_t since = flow->strayed_ns[sim_index_of(to)];

	if (!since || (!goes_by_opener(border, flow, to) && !claims(to, flow)))
		return false;
	if (since < border->resumed_ns)
		since = border->resumed_ns;
	return border->sim->now_ns <= since + ENTRY_NS;
}

static void deliver_segment(struct sim_node *border, struct sim_flow *flow,
			    struct sim_node *to)
{
	struct sim *sim = border->sim;
	struct sim_node *owner = sim->nodes[flow->owner];
	bool is_excused = is_disputed(border, flow, to) || is_out_of_reach(border, owner);

	if (!reaches(border, to) || to->is_paused) {
		if (owner != to && is_excused)
			stray(flow, to); /* the entry was used */
		return;
	}
	if (owner == to) {
		flow->got++;
		sim->num_moved += border != to;
		return;
	}
	if (!is_excused)
		sim_break(sim, "%s gives a packet of a connection of %s to %s",
			  border->name, owner->name, to->name);
	end_flow(sim, flow); /* reset */
}

/* ---- what a dispatcher may ask for ---- */

static uint64_t on_now(void *arg)
{
	struct sim_node *node = arg;

	return node->world.ops->now(&node->world);
}

static void on_random(void *arg, void *bytes, size_t length)
{
	struct sim_node *node = arg;

	node->world.ops->random(&node->world, bytes, length);
}

static int on_send(void *arg, uint16_t peer_id, const uint8_t *bytes, size_t length)
{
	struct sim_node *node = arg;

	return membership_send(node->membership, SIM_FLOWS_NETWORK, peer_id, bytes,
			       length);
}

static int on_answer(void *arg, const struct flow_key *key,
		     const struct dispatch_verdict *verdict)
{
	struct sim_node *border = arg;
	struct sim *sim = border->sim;
	struct sim_flow *flow = flow_of(sim, key);
	struct sim_node *to = sim_find_node(sim, verdict->owner);
	struct sim_wait *wait = flow ? &flow->waits[sim_index_of(border)] : NULL;

	sim_note(sim, "%s: a packet of %u goes to %u", border->name, key->foreign_port,
		 verdict->owner);
	if (!wait || !wait->is_open)
		return 0;
	wait->is_open = false;
	if (!to)
		return 0;
	if (sim->now_ns > wait->since_ns + LATE_NS) {
		if (wait->kind == FLOW_OPENER)
			stray(flow, to);
		return 0;
	}
	if (wait->kind == FLOW_OPENER)
		deliver_opener(border, flow, to);
	else if (flow->owner != NOBODY)
		deliver_segment(border, flow, to);
	return 0;
}

static void on_renew(void *arg)
{
	(void)arg;
}

static int on_exact(void *arg, const struct flow_key *key, struct socket_match *ret_match)
{
	struct sim_node *node = arg;
	const struct sim_flow *flow = flow_of(node->sim, key);

	*ret_match = (struct socket_match){.is_over = false};
	if (!flow || flow->owner == sim_index_of(node))
		return flow != NULL;
	ret_match->is_half = node->sim->now_ns < flow->half_until_ns[sim_index_of(node)];
	return ret_match->is_half;
}

static int on_listen(void *arg, struct listener **ret_listeners, unsigned *ret_num)
{
	*ret_listeners = calloc(PORTS, sizeof(**ret_listeners));
	if (!*ret_listeners)
		return -ENOMEM;
	*ret_num = fill_listeners(arg, *ret_listeners);
	return 0;
}

static void on_set_timer(void *arg, uint64_t delay_ns)
{
	struct sim_node *node = arg;

	node->world.ops->timer_set(node->flow_timer, delay_ns);
}

static void on_announce(void *arg, bool on)
{
	struct sim_node *node = arg;

	sim_note(node->sim, "%s: %s", node->name, on ? "announces" : "does not announce");
	node->is_announcing = on;
}

static const struct dispatch_ops ops = {
	.now = on_now,
	.random = on_random,
	.send = on_send,
	.answer = on_answer,
	.renew_datagrams = on_renew,
	.exact = on_exact,
	.listen = on_listen,
	.set_timer = on_set_timer,
	.announce = on_announce,
};

/* ---- lives ---- */

static void on_timer(void *arg)
{
	struct sim_node *node = arg;

	dispatch_timer(node->dispatch);
}

static void run_walk(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	struct flow_key keys[SIM_FLOWS];
	unsigned num = 0;

	(void)arg;
	(void)number;
	for (unsigned i = 0; i < SIM_FLOWS; i++) {
		if (sim->flows[i].owner == sim_index_of(node))
			keys[num++] = sim->flows[i].key;
	}
	dispatch_set_connections(node->dispatch, keys, num);
	sim_at(sim, sim->now_ns + WALK_NS, node, run_walk, NULL, 0);
}

static int make_dispatch(struct sim_node *node)
{
	int ret;

	node->flow_timer = node->world.ops->timer_new(&node->world, on_timer, node);
	if (!node->flow_timer)
		return -ENOMEM;
	ret = dispatch_new(&node->flow_config, node->config.id, node->name, &ops, node,
			   &node->dispatch);
	if (ret < 0)
		node->world.ops->timer_free(node->flow_timer);
	return ret;
}

void sim_flows_start(struct sim_node *node)
{
	struct listener listeners[PORTS];

	node->flow_config = (struct config_network){
		.name = (char *)"web0",
		.kind = NETWORK_KIND_GLOBAL,
		.weight = 1,
		.flows = 1024,
		.announce = (char *)"eth0",
		.num_addresses = 1,
		.addresses = {{.family = AF_INET, .bytes = {10, 99, 0, 1}}},
	};
	node->is_announcing = false;
	while (make_dispatch(node) < 0)
		sim_note(node->sim, "%s: no dispatcher", node->name);
	dispatch_set_nic(node->dispatch, true);
	dispatch_set_listeners(node->dispatch, listeners,
			       fill_listeners(node, listeners));
	run_walk(node->sim, node, NULL, 0);
}

void sim_flows_end(struct sim_node *node)
{
	struct sim *sim = node->sim;

	if (!node->dispatch)
		return;
	dispatch_free(node->dispatch);
	node->dispatch = NULL;
	node->is_announcing = false;
	node->world.ops->timer_free(node->flow_timer);
	for (unsigned i = 0; i < SIM_FLOWS; i++)
		sim->flows[i].waits[sim_index_of(node)].is_open = false;
}

/* ---- clients ---- */

static void send_packet(struct sim_node *border, struct sim_flow *flow,
			enum flow_kind kind)
{
	struct sim *sim = border->sim;
	struct sim_wait *wait = &flow->waits[sim_index_of(border)];
	struct flow_packet packet = {.kind = kind, .key = flow->key};

	if (!border->dispatch || border->is_paused ||
	    (wait->is_open && sim->now_ns <= wait->since_ns + LATE_NS))
		return;
	*wait = (struct sim_wait){true, kind, sim->now_ns};
	sim->running = border;
	dispatch_miss(border->dispatch, &packet);
}

static bool may_open(const struct sim *sim, const struct sim_flow *flow)
{
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (flow->waits[i].is_open &&
		    sim->now_ns <= flow->waits[i].since_ns + LATE_NS)
			return false;
	}
	return flow->owner == NOBODY &&
	       (!flow->ended_ns || sim->now_ns > flow->ended_ns + REUSE_NS);
}

static void run_clients(struct sim *sim, struct sim_node *node, void *arg,
			uint64_t number)
{
	struct sim_flow *flow = &sim->flows[sim_random(sim, SIM_FLOWS)];
	struct sim_node *border = sim->nodes[sim_random(sim, sim->num_nodes)];

	(void)node;
	(void)arg;
	(void)number;
	if (flow->owner != NOBODY && sim_random(sim, 20) == 0) {
		end_flow(sim, flow);
	} else if (flow->owner != NOBODY) {
		send_packet(border, flow, FLOW_SEGMENT);
	} else if (may_open(sim, flow)) {
		if (flow->ended_ns || !flow->opened_ns) {
			/* Nobody remembers the last one. */
			memset(flow->strayed_ns, 0, sizeof(flow->strayed_ns));
			flow->opened_ns = sim->now_ns;
		}
		flow->ended_ns = 0;
		send_packet(border, flow, FLOW_OPENER);
	}
	sim_at(sim, sim->now_ns + CLIENT_NS, NULL, run_clients, NULL, 0);
}

void sim_flows_always(struct sim *sim)
{
	static const uint8_t local[4] = {10, 99, 0, 1};

	sim->has_flows = true;
	for (unsigned i = 0; i < SIM_FLOWS; i++) {
		const uint8_t foreign[4] = {198, 51, 100, (uint8_t)(i + 1)};
		struct sim_flow *flow = &sim->flows[i];

		flow_address_map_ipv4(flow->key.foreign, foreign);
		flow_address_map_ipv4(flow->key.local, local);
		flow->key.foreign_port = (uint16_t)(i + SIM_FLOWS * 100);
		flow->key.local_port = (uint16_t)(PORT + i % PORTS);
		flow->key.protocol = IPPROTO_TCP;
		flow->owner = NOBODY;
	}
	sim_at(sim, sim->now_ns + CLIENT_NS, NULL, run_clients, NULL, 0);
}

void sim_flows_open_ports(struct sim_node *node)
{
	node->ports = 1 + (unsigned)sim_random(node->sim, (1u << PORTS) - 1);
}

uint64_t sim_count_moved(const struct sim *sim)
{
	return sim->num_moved;
}

/* ---- what must hold ---- */

void sim_flows_check(struct sim_node *node)
{
	uint32_t count, cap;

	dispatch_read_table(node->dispatch, &count, &cap);
	if (count > cap)
		sim_break(node->sim, "%s has %u of %u flows", node->name, count, cap);
}

static bool knows(struct sim_node *border, struct sim_flow *flow)
{
	unsigned got = flow->got;

	if (flow->owner == NOBODY)
		return true;
	send_packet(border, flow, FLOW_SEGMENT);
	sim_run(border->sim, LATE_NS);
	return flow->owner == NOBODY || flow->got > got;
}

bool sim_flows_agree(struct sim *sim)
{
	unsigned announcers = 0;

	if (!sim->has_flows)
		return true;
	sim->is_calm = true;
	for (unsigned i = 0; i < sim->num_nodes; i++)
		announcers += sim->nodes[i]->is_announcing;
	if (announcers != 1) {
		sim_break(sim, "%u nodes announce the global addresses", announcers);
		return false;
	}
	for (unsigned i = 0; i < sim->num_nodes * SIM_FLOWS; i++) {
		struct sim_node *border = sim->nodes[i / SIM_FLOWS];

		if (!knows(border, &sim->flows[i % SIM_FLOWS]))
			sim_break(sim, "%s does not know whose a connection is",
				  border->name);
	}
	return true;
}
