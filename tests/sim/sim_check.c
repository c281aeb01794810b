/*
 * What must hold after every event; the list is in sim.h. See sim_internal.h.
 */
#include "sim_internal.h"

#include <string.h>

#define OPEN_MAX      150 /* what it has for itself, and for guests */
#define OPEN_PER_NODE 50
#define REST_NS	      (4 * SIM_S) /* after that, casts have settled */

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void check_pair(struct sim *sim, const struct world_link *a,
		       const struct world_link *b)
{
	if (a->spec.tx->memory != b->spec.rx->memory ||
	    a->spec.tx_salt != b->spec.rx_salt)
		sim_break(sim, "%s writes to %s what that one doesn't read",
			  a->node->name, b->node->name);
	if (a->spec.conn->rung != b->spec.conn->heard ||
	    a->spec.conn->heard != b->spec.conn->rung)
		sim_break(sim, "%s and %s don't ring each other", a->node->name,
			  b->node->name);
}

/* News of the other one's end takes a while, and a node that sleeps hears nothing. */
static void check_epoch(struct sim *sim, const struct world_link *link)
{
	const struct sim_memory *memory = link->spec.tx->memory;
	const struct sim_node *node = link->node;
	const struct sim_node *maker = sim_find_node(sim, memory->maker);
	uint64_t since = later(memory->died_ns, node->resumed_ns);

	since = later(since, sim_joined_ns(maker, node));
	if (memory->is_dead && !node->is_paused && !sim_is_parted(maker, node) &&
	    sim->now_ns > since + SIM_NEWS_NS)
		sim_break(sim, "%s keeps a link into memory that %u left", node->name,
			  memory->maker);
}

static void check_link(struct sim *sim, const struct world_link *link)
{
	const struct sim_node *peer = sim_find_node(sim, link->spec.peer_id);
	const struct world_link *other =
		sim_find_link(peer, link->node->config.id, link->spec.network);

	for (struct world_link *next = link->next; next; next = next->next) {
		if (next->spec.peer_id == link->spec.peer_id &&
		    next->spec.network == link->spec.network)
			sim_break(sim, "%s has two links to %s", link->node->name,
				  peer->name);
	}
	if (other)
		check_pair(sim, link, other);
	check_epoch(sim, link);
}

static void check_carrier(struct sim *sim, struct sim_node *node, unsigned network)
{
	unsigned count = 0;

	for (struct world_link *link = node->links; link; link = link->next)
		count += link->spec.network == network;
	if (membership_links_up(node->membership, network) != count ||
	    node->carrier[network] != (count > 0))
		sim_break(sim, "%s has %u links on %s, counts %u, carrier %d", node->name,
			  count, node->networks[network].name,
			  membership_links_up(node->membership, network),
			  node->carrier[network]);
}

/* What it was told of its links is what they are. */
static void check_talks(struct sim *sim, const struct sim_node *node)
{
	for (unsigned i = 0; i < sim->num_nodes * SIM_NETWORKS; i++) {
		const struct sim_node *peer = sim->nodes[i / SIM_NETWORKS];
		unsigned network = i % SIM_NETWORKS;

		if (node->talks[i / SIM_NETWORKS][network].is_up !=
		    (sim_find_link(node, peer->config.id, network) != NULL))
			sim_break(sim, "%s was not told of its link to %s", node->name,
				  peer->name);
		if (node->talks[i / SIM_NETWORKS][network].is_up &&
		    node->talks[i / SIM_NETWORKS][network].is_off !=
			    sim_knows_pause(node, peer, network))
			sim_break(sim, "%s was told otherwise of a pause of %s than acts",
				  node->name, peer->name);
	}
}

/*
 * An interval to show life, one to look for it, and the delay of news. Whose clock jumped
 * before each look by less than it notices can't know.
 */
static void check_suspect(const struct sim_node *node, unsigned index)
{
	const struct sim_node *suspect = node->sim->nodes[index];
	const uint64_t hurried_ns = node->stepped_ns[CONFIG_LIVENESS_MISSES_DEFAULT - 1];
	const uint64_t quiet_ns =
		later(later(suspect->quiet_ns, hurried_ns),
		      later(node->resumed_ns, sim_joined_ns(suspect, node)));
	const uint64_t interval_ns = node->config.liveness.interval_ms * SIM_MS;

	if (!suspect->is_paused && suspect->is_alive && !node->is_paused &&
	    !node->is_blind[index] && !sim_is_parted(suspect, node) &&
	    node->sim->now_ns > quiet_ns + 2 * interval_ns + SIM_NEWS_NS)
		sim_break(node->sim, "%s suspects %s, which shows life", node->name,
			  suspect->name);
}

/* Of another machine it isn't told: then the world knows. */
static pid_t pid_seen(const struct sim_node *node, const struct member_report *report)
{
	const struct world_channel *end = node->sim->channels;

	if (report->pid)
		return report->pid;
	while (end && (end->node != node || !end->conn || !end->other->node ||
		       end->other->node->config.id != report->id))
		end = end->next;
	return end ? end->peer_pid : 0;
}

static void check_report(const struct member_report *report, void *arg)
{
	struct sim_node *node = arg;
	struct sim *sim = node->sim;

	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->config.id == report->id &&
		    report->peer_state == PEER_SUSPECT)
			check_suspect(node, i);
		if (sim->nodes[i]->config.id == report->id &&
		    node->suspects[i] != (report->state == MEMBER_SUSPECT))
			sim_break(sim, "%s was not told what to think of %s", node->name,
				  report->name);
	}
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->config.id != report->id || report->state != MEMBER_UP)
			continue;
		if (report->incarnation < node->seen[i] ||
		    (report->incarnation == node->seen[i] &&
		     report->incarnation != UINT32_MAX &&
		     pid_seen(node, report) != node->seen_pid[i]))
			sim_break(sim, "%s has not risen in the eyes of %s",
				  sim->nodes[i]->name, node->name);
		node->seen[i] = report->incarnation;
		node->seen_pid[i] = pid_seen(node, report);
	}
	if (report->state == MEMBER_DOWN && !*report->reason)
		sim_break(sim, "%s does not say why %s is down", node->name,
			  report->name);
}

static bool reads_memory(const struct sim_node *node,
			 const struct sim_cast_memory *memory)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		if (cast->reads && cast->memory == memory)
			return true;
	}
	return false;
}

/* No copies go to who reads: so it has to, as long as the two have a session. */
static void check_reader(struct sim *sim, const struct world_cast *cast,
			 const struct world_link *link)
{
	const struct sim_node *peer = sim_find_node(sim, link->spec.peer_id);
	const struct world_link *other =
		sim_find_link(peer, cast->node->config.id, cast->spec.network);

	if (cast->writes && !cast->memory->is_closed && peer->is_alive && other &&
	    other->spec.rx->memory == link->spec.tx->memory &&
	    !reads_memory(peer, cast->memory))
		sim_break(sim, "%s casts to %s by a ring that it does not read",
			  cast->node->name, peer->name);
}

/* Who reads frames waits a while for each that is still being written. */
static uint64_t closing_ns(const struct sim *sim)
{
	return SIM_NEWS_NS +
	       (sim->has_frames ? sim->num_nodes * (SIM_PATIENCE_NS + SIM_NEWS_NS) : 0);
}

static void check_cast(struct sim *sim, const struct world_cast *cast)
{
	const struct sim_node *node = cast->node;
	const struct sim_cast_memory *memory = cast->memory;
	uint64_t since = memory->closed_ns > node->resumed_ns ? memory->closed_ns
							      : node->resumed_ns;

	if (since < cast->shown_ns)
		since = cast->shown_ns;
	for (const struct world_cast *next = cast->next; next; next = next->next) {
		if (cast->writes && next->writes &&
		    next->spec.network == cast->spec.network &&
		    memcmp(next->spec.label, cast->spec.label, SHMNET_ETH_ALEN) == 0)
			sim_break(sim, "%s writes to two rings of one group", node->name);
	}
	if (cast->writes && memory->is_closed && !node->is_paused &&
	    sim->now_ns > since + closing_ns(sim))
		sim_break(sim, "%s writes to a cast ring that was closed", node->name);
	for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
		if (cast->readers[i])
			check_reader(sim, cast, cast->readers[i]);
	}
}

static bool may_share(const struct sim_node *a, const struct sim_node *b,
		      unsigned network)
{
	enum cast_mode mode = a->networks[network].cast;

	return a->host == b->host && mode == b->networks[network].cast &&
	       (mode == CAST_MODE_LANES || a->world.uid == b->world.uid);
}

/*
 * What holds of a pair on one network, once it had the time. Who was short of memory may
 * have forgotten who reads its rings: that one gets copies for ever, which is not wrong.
 */
static void check_rest(struct sim *sim, const struct world_link *link)
{
	const struct sim_node *node = link->node;
	const struct sim_node *peer = sim_find_node(sim, link->spec.peer_id);
	unsigned network = link->spec.network;

	if (!peer->is_alive || peer->is_paused || node->is_paused || node->was_short ||
	    peer->was_short || !may_share(node, peer, network) ||
	    !sim_find_link(peer, node->config.id, network))
		return;
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		const struct world_cast *other =
			sim_find_cast(peer, network, cast->spec.label);

		if (!cast->writes || cast->spec.network != network)
			continue;
		if (!cast->spec.lane && (!other || other->memory != cast->memory))
			sim_break(sim,
				  "%s and %s did not come to one ring of %02x:..:%02x",
				  node->name, peer->name, cast->spec.label[0],
				  cast->spec.label[5]);
		if (!cast->readers[sim_find_index(sim, peer->config.id)])
			sim_break(sim, "%s does not know that %s reads its ring",
				  node->name, peer->name);
	}
}

/*
 * An epoch is given out once, so what two nodes call by it is one ring, with one maker.
 * Lanes have no owner but their maker.
 */
static void check_claim(const struct cast_report *report, void *arg)
{
	struct sim_node *node = arg;
	struct sim *sim = node->sim;
	struct sim_claim **claims = &sim->claims[node->host][report->network];
	uint64_t *num = &sim->num_claims[node->host][report->network];
	struct sim_claim *claim;

	if (report->lane || !report->epoch)
		return;
	if (report->epoch > sim->epochs[node->host][report->network]) {
		sim_break(sim, "%s has epoch %llu, which was not given out", node->name,
			  (unsigned long long)report->epoch);
		return;
	}
	if (report->epoch >= *num) {
		*claims = sim_grow(*claims, report->epoch + 1, sizeof(**claims));
		memset(*claims + *num, 0, (report->epoch + 1 - *num) * sizeof(**claims));
		*num = report->epoch + 1;
	}
	claim = *claims + report->epoch;
	if (!claim->ring_id)
		*claim = (struct sim_claim){report->id, report->maker};
	if (claim->ring_id != report->id || claim->maker != report->maker)
		sim_break(sim, "epoch %llu on %s is that of two rings, or of %u and %u",
			  (unsigned long long)report->epoch,
			  node->networks[report->network].name, claim->maker,
			  report->maker);
}

/* What a node has open is no more than that many others can make it open. */
static void check_bounds(struct sim *sim, const struct sim_node *node)
{
	if (!sim->has_strangers &&
	    node->num_open > OPEN_MAX + sim->num_nodes * OPEN_PER_NODE)
		sim_break(sim, "%s has %u things open", node->name, node->num_open);
	if (membership_peers_known(node->membership) > MEMBER_PEERS_MAX)
		sim_break(sim, "%s knows too many peers", node->name);
}

static void check_pause(struct sim *sim, const struct world_link *link)
{
	const struct sim_node *node = link->node;
	const struct sim_node *peer = sim_find_node(sim, link->spec.peer_id);
	unsigned network = link->spec.network;

	if (!peer->is_alive || peer->is_paused || node->is_paused ||
	    sim_is_parted(peer, node) || !sim_find_link(peer, node->config.id, network))
		return;
	if (link->is_off != peer->is_off[network])
		sim_break(sim, "%s does not know whether %s has paused %s", node->name,
			  peer->name, node->networks[network].name);
}

static void check_casts(struct sim *sim, struct sim_node *node)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next)
		check_cast(sim, cast);
	if (sim->now_ns < sim->disturbed_ns + REST_NS)
		return;
	for (struct world_link *link = node->links; link; link = link->next) {
		check_rest(sim, link);
		check_pause(sim, link);
	}
}

void sim_check(struct sim *sim)
{
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		struct sim_node *node = sim->nodes[i];

		if (!node->is_alive)
			continue;
		for (struct world_link *link = node->links; link; link = link->next)
			check_link(sim, link);
		for (unsigned network = 0; network < node->config.num_networks; network++)
			check_carrier(sim, node, network);
		check_talks(sim, node);
		check_casts(sim, node);
		check_bounds(sim, node);
		if (node->dispatch)
			sim_flows_check(node);
		if (!sim->has_liars)
			membership_each_cast(node->membership, check_claim, node);
		membership_each_peer(node->membership, check_report, node);
	}
}
