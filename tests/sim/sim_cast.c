/*
 * Cast rings, and the workers that want them. See sim_internal.h.
 */
#include "sim_internal.h"

#include <errno.h>
#include <string.h>

#define CAST_NS (300 * SIM_MS) /* from cast to cast */

const uint8_t sim_broadcast[SHMNET_ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
const uint8_t sim_group[SHMNET_ETH_ALEN] = {0x33, 0x33, 0, 0, 0, 0xfb};

/* ---- casts ---- */

static struct world_cast *show_cast(struct sim_node *node, struct sim_cast_memory *memory,
				    const struct world_cast_spec *spec, bool is_ours)
{
	struct world_cast *cast = sim_alloc(node->sim, sizeof(*cast));

	cast->node = node;
	cast->memory = memory;
	cast->spec = *spec;
	cast->reads = !spec->lane || !is_ours;
	cast->writes = !spec->lane || is_ours;
	cast->fd = -1;
	cast->shown_ns = node->sim->now_ns;
	if (cast->writes) {
		cast->fd = sim_open_fd(node, NULL, NULL);
		sim_find_fd(node, cast->fd)->cast = memory;
	}
	cast->next = node->casts;
	node->casts = cast;
	if (node->sim->has_frames)
		sim_frames_show(cast);
	node->num_open++;
	node->sim->disturbed_ns = node->sim->now_ns;
	sim_note(node->sim, "%s: cast ring %llu of %u on %s%s", node->name,
		 (unsigned long long)spec->epoch, spec->maker,
		 node->networks[spec->network].name, is_ours ? ", ours" : "");
	return cast;
}

static void run_cast_fault(struct sim *sim, struct sim_node *node, void *arg,
			   uint64_t number)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		if (cast != arg)
			continue;
		/* That it is closed is said at its end. */
		if (sim->has_frames && (int)(int64_t)number == -ESHUTDOWN &&
		    !sim_frames_drain(cast)) {
			sim_at(sim, sim->now_ns + SIM_DELAY_MAX_NS, node, run_cast_fault,
			       cast, number);
			return;
		}
		cast->is_broken = (int)(int64_t)number == -EPROTO;
		sim_note(sim, "%s: fault of cast ring %llu", node->name,
			 (unsigned long long)cast->spec.epoch);
		node->world.handler->cast_fault(node->world.handler_arg, cast,
						(int)(int64_t)number);
		return;
	}
}

static void report_cast(struct world_cast *cast, int error)
{
	struct sim *sim = cast->node->sim;

	sim_at(sim, sim->now_ns + sim_random_delay(sim), cast->node, run_cast_fault, cast,
	       (uint64_t)(int64_t)error);
}

static int op_cast_new(struct world *world, struct world_cast_spec *spec,
		       struct world_cast **ret_cast, const char **ret_why)
{
	struct sim_node *node = sim_node_of(world);
	struct sim_cast_memory *memory;

	if (sim_fails(node->sim)) {
		*ret_why = "the simulator has no memory";
		return -ENOMEM;
	}
	do
		world->ops->random(world, &spec->id, sizeof(spec->id));
	while (spec->id == 0);
	memory = sim_alloc(node->sim, sizeof(*memory));
	memory->spec = *spec;
	*ret_cast = show_cast(node, memory, spec, true);
	return 0;
}

static int op_cast_accept(struct world *world, struct world_parcel *parcel,
			  const struct world_cast_spec *spec,
			  struct world_cast **ret_cast, const char **ret_why)
{
	struct sim_node *node = sim_node_of(world);
	struct sim_fd *fd = sim_find_fd(node, parcel->fd);
	struct sim_cast_memory *memory = fd ? fd->cast : NULL;

	sim_close_fd(node, parcel->fd);
	parcel->fd = -1;
	if (!memory || memory->spec.depth != spec->depth ||
	    memory->spec.network != spec->network) {
		*ret_why = "it is no memory of that size";
		return -EPROTO;
	}
	if (sim_fails(node->sim)) {
		*ret_why = "the simulator has no memory";
		return -ENOMEM;
	}
	memory->is_stuck[sim_find_index(node->sim, node->config.id)] = false;
	if (memory->was_left[sim_find_index(node->sim, node->config.id)] == node->life)
		sim_break(node->sim, "%s takes up a cast ring that it has left",
			  node->name);
	*ret_cast = show_cast(node, memory, spec, false);
	if (memory->is_closed) /* while it was under way */
		report_cast(*ret_cast, -ESHUTDOWN);
	return 0;
}

static int op_cast_fd(const struct world_cast *cast)
{
	return cast->fd;
}

static void op_cast_free(struct world_cast *cast)
{
	struct sim_node *node = cast->node;
	struct world_cast **at_cast = &node->casts;

	while (*at_cast && *at_cast != cast)
		at_cast = &(*at_cast)->next;
	if (!*at_cast) {
		sim_break(node->sim, "%s frees a cast ring twice", node->name);
		return;
	}
	if (!cast->spec.lane && !cast->memory->is_closed && node->is_alive &&
	    !node->is_leaving)
		sim_break(node->sim, "%s leaves a cast ring that others write to",
			  node->name);
	if (node->sim->has_frames)
		sim_frames_hide(cast);
	*at_cast = cast->next;
	if (!cast->spec.lane)
		cast->memory->was_left[sim_find_index(node->sim, node->config.id)] =
			node->life;
	if (cast->fd >= 0)
		sim_close_fd(node, cast->fd);
	node->num_open--;
	node->sim->disturbed_ns = node->sim->now_ns;
}

static void op_cast_stop_writing(struct world_cast *cast)
{
	cast->writes = false;
}

static void op_cast_set_reader(struct world_cast *cast, struct world_link *link)
{
	struct sim_node *node = cast->node;
	const struct world_link *at_link = node->links;

	while (at_link && at_link != link)
		at_link = at_link->next;
	if (!at_link || link->spec.network != cast->spec.network)
		sim_break(node->sim, "%s has a reader without a link", node->name);
	else if (link->spec.conn->channel->is_remote)
		sim_break(node->sim, "%s has a reader on another machine", node->name);
	else
		cast->readers[sim_find_index(node->sim, link->spec.peer_id)] = link;
}

/* Each reader comes to the end of it. */
static void op_cast_close(struct world_cast *cast)
{
	struct sim *sim = cast->node->sim;

	if (cast->memory->is_closed)
		return;
	cast->memory->is_closed = true;
	if (sim->has_frames)
		sim_frames_close(cast);
	cast->memory->closed_ns = sim->now_ns;
	sim->disturbed_ns = sim->now_ns;
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		for (struct world_cast *view = sim->nodes[i]->casts; view;
		     view = view->next) {
			if (view->memory == cast->memory)
				report_cast(view, -ESHUTDOWN);
		}
	}
}

/* As long as all nodes cast it moves. */
static uint64_t op_cast_position(const struct world_cast *cast)
{
	const struct sim *sim = cast->node->sim;

	return sim->casts_always ? sim->now_ns / SIM_S : 0;
}

static int op_cast_reclaim(struct world *world, struct world_cast *cast, uint16_t node_id)
{
	struct sim *sim = sim_node_of(world)->sim;
	unsigned index = sim_find_index(sim, node_id);

	if (index == sim->num_nodes || sim->nodes[index]->is_alive || sim_fails(sim))
		return -EBUSY;
	cast->memory->is_stuck[index] = false;
	if (sim->has_frames)
		sim_frames_reclaim(cast, node_id);
	return 0;
}

static void op_cast_answered(struct world *world, unsigned network,
			     const uint8_t label[SHMNET_ETH_ALEN])
{
	struct sim_node *node = sim_node_of(world);

	for (unsigned i = 0; i < SIM_WANTS; i++) {
		if (node->wants[i].network == network &&
		    memcmp(node->wants[i].label, label, SHMNET_ETH_ALEN) == 0)
			node->wants[i].is_open = false;
	}
}

static int op_claim_epoch(struct world *world, unsigned network, uint64_t known,
			  bool anyway, uint64_t limit, uint64_t *ret_epoch)
{
	struct sim *sim = sim_node_of(world)->sim;
	uint64_t *last = &sim->epochs[sim_node_of(world)->host][network];
	uint64_t epoch = *last;

	if (epoch > known && !anyway)
		return -EAGAIN;
	if (sim_fails(sim))
		return -EIO;
	epoch = epoch > known ? epoch : known;
	if (epoch >= limit)
		return -EOVERFLOW;
	*ret_epoch = *last = epoch + 1;
	return 0;
}
/* ---- what is cast ---- */

struct world_cast *sim_find_cast(const struct sim_node *node, unsigned network,
				 const uint8_t *label)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		if (cast->writes && cast->spec.network == network &&
		    memcmp(cast->spec.label, label, SHMNET_ETH_ALEN) == 0)
			return cast;
	}
	return NULL;
}

/* One that waits already, or another one's place; a worker doesn't ask twice a second. */
static struct sim_want *find_want(struct sim_node *node, unsigned network,
				  const uint8_t *label)
{
	struct sim_want *place = NULL;

	for (unsigned i = 0; i < SIM_WANTS; i++) {
		struct sim_want *want = &node->wants[i];

		if (want->network == network &&
		    memcmp(want->label, label, SHMNET_ETH_ALEN) == 0)
			return want;
		if (!want->is_open)
			place = want;
	}
	return place;
}

static bool has_links(const struct sim_node *node, unsigned network)
{
	const struct world_link *link = node->links;

	while (link && link->spec.network != network)
		link = link->next;
	return link != NULL;
}

bool sim_want_cast(struct sim_node *node, unsigned network, const uint8_t *label)
{
	struct sim *sim = node->sim;
	struct sim_want *want = find_want(node, network, label);
	bool is_same = want && memcmp(want->label, label, SHMNET_ETH_ALEN) == 0 &&
		       want->network == network;

	sim_enter(sim);
	if (!want || sim_find_cast(node, network, label) || !has_links(node, network) ||
	    (is_same && (want->is_open || sim->now_ns < want->asked_ns + SIM_S)))
		return false;
	*want = (struct sim_want){
		.network = network, .is_open = true, .asked_ns = sim->now_ns};
	memcpy(want->label, label, SHMNET_ETH_ALEN);
	sim->disturbed_ns = sim->now_ns;
	sim_note(sim, "%s: wants a ring for %02x:..:%02x on %s", node->name, label[0],
		 label[5], node->networks[network].name);
	node->world.handler->cast_wanted(node->world.handler_arg, network, label);
	return true;
}

void sim_run_casts(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	(void)arg;
	(void)number;
	for (unsigned i = 0; i < node->config.num_networks; i++) {
		sim_want_cast(node, i, sim_broadcast);
		sim_want_cast(node, i, sim_group);
	}
	sim_at(sim, sim->now_ns + CAST_NS, node, sim_run_casts, NULL, 0);
}

void sim_cast_always(struct sim *sim)
{
	sim->casts_always = true;
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->is_alive)
			sim_at(sim, sim->now_ns + sim_random_delay(sim), sim->nodes[i],
			       sim_run_casts, NULL, 0);
	}
}

void sim_die_in_slots(struct sim *sim)
{
	sim->dies_in_slots = true;
}

unsigned sim_count_changes(const struct sim *sim)
{
	return sim->num_changes;
}

unsigned sim_count_warnings(const struct sim *sim)
{
	return sim->num_warnings;
}

bool sim_fault_cast(struct sim_node *node, unsigned network, const uint8_t *label,
		    int error)
{
	struct world_cast *cast = sim_find_cast(node, network, label);

	if (cast)
		report_cast(cast, error);
	node->sim->disturbed_ns = node->sim->now_ns + SIM_DELAY_MAX_NS;
	return cast != NULL;
}

bool sim_fault_lane(struct sim_node *node, const struct sim_node *peer, unsigned network,
		    int error)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		if (cast->spec.lane && cast->spec.network == network &&
		    cast->spec.maker == peer->config.id) {
			report_cast(cast, error);
			return true;
		}
	}
	return false;
}

uint64_t sim_cast_id(const struct sim_node *node, unsigned network, const uint8_t *label)
{
	const struct world_cast *cast = sim_find_cast(node, network, label);

	return cast ? cast->memory->spec.id : 0;
}

static void find_epoch(const struct cast_report *report, void *arg)
{
	struct cast_report *wanted = arg;

	if (report->cast == wanted->cast)
		*wanted = *report;
}

uint64_t sim_cast_epoch(const struct sim_node *node, unsigned network,
			const uint8_t *label)
{
	struct cast_report report = {.cast = sim_find_cast(node, network, label)};

	if (report.cast)
		membership_each_cast(node->membership, find_epoch, &report);
	return report.epoch;
}

bool sim_cast_is_stuck(const struct sim_node *node, unsigned network,
		       const uint8_t *label)
{
	const struct world_cast *cast = sim_find_cast(node, network, label);

	for (unsigned i = 0; cast && i < SIM_NODES_MAX; i++) {
		if (cast->memory->is_stuck[i])
			return true;
	}
	return false;
}

unsigned sim_count_casts(const struct sim *sim)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sim->num_nodes; i++) {
		for (struct world_cast *cast = sim->nodes[i]->casts; cast;
		     cast = cast->next)
			count++;
	}
	return count;
}

bool sim_casts_by_ring(const struct sim_node *a, const struct sim_node *b,
		       unsigned network, const uint8_t *label)
{
	const struct world_cast *cast = sim_find_cast(a, network, label);

	return cast && cast->readers[sim_find_index(a->sim, b->config.id)];
}

void sim_fill_cast_ops(struct world_ops *ops)
{
	ops->cast_new = op_cast_new;
	ops->cast_accept = op_cast_accept;
	ops->cast_free = op_cast_free;
	ops->cast_fd = op_cast_fd;
	ops->cast_stop_writing = op_cast_stop_writing;
	ops->cast_set_reader = op_cast_set_reader;
	ops->cast_close = op_cast_close;
	ops->cast_position = op_cast_position;
	ops->cast_reclaim = op_cast_reclaim;
	ops->cast_answered = op_cast_answered;
	ops->claim_epoch = op_claim_epoch;
}
