/*
 * Nodes: what they are made of, their clocks and timers, their lives, and what happens to
 * them. See sim_internal.h.
 */
#include "sim_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- who is who ---- */

struct sim_node *sim_node_of(struct world *world)
{
	return (struct sim_node *)world;
}

struct sim_node *sim_find_node(struct sim *sim, uint16_t id)
{
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->config.id == id)
			return sim->nodes[i];
	}
	return NULL;
}

unsigned sim_find_index(const struct sim *sim, uint16_t id)
{
	unsigned index = 0;

	while (index < sim->num_nodes && sim->nodes[index]->config.id != id)
		index++;
	return index;
}

unsigned sim_index_of(const struct sim_node *node)
{
	unsigned i = 0;

	while (node->sim->nodes[i] != node)
		i++;
	return i;
}

pid_t sim_pid_of(const struct sim_node *node)
{
	return node ? node->config.id * 100 + (pid_t)node->life : 99;
}

/* ---- time ---- */

static uint64_t op_now(struct world *world)
{
	const struct sim_node *node = sim_node_of(world);

	return node->sim->now_ns + node->clock_ns;
}

static uint64_t op_suspended(struct world *world)
{
	return sim_node_of(world)->suspended_ns;
}

static void op_random(struct world *world, void *bytes, size_t length)
{
	uint8_t *to = bytes;

	for (size_t i = 0; i < length; i++)
		to[i] = (uint8_t)sim_next_random(sim_node_of(world)->sim);
}

static struct world_timer *op_timer_new(struct world *world, void (*fire)(void *arg),
					void *arg)
{
	struct sim_node *node = sim_node_of(world);
	struct world_timer *timer;

	if (sim_is_short())
		return NULL;
	timer = sim_alloc(node->sim, sizeof(*timer));
	timer->node = node;
	timer->fire = fire;
	timer->arg = arg;
	timer->next = node->timers;
	node->timers = timer;
	node->num_open++;
	return timer;
}

static void run_timer(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	struct world_timer *timer = arg;

	if (timer->is_freed || timer->shot != number)
		return;
	(void)sim;
	sim_note_step(node, "timer", "");
	timer->is_set = false;
	timer->fire(timer->arg);
}

static void arm(struct world_timer *timer)
{
	const struct sim_node *node = timer->node;
	struct sim *sim = node->sim;
	uint64_t left_ns = timer->due_ns - (sim->now_ns + node->clock_ns);

	if ((int64_t)left_ns < 0)
		left_ns = 0;
	sim_at(sim, sim->now_ns + left_ns, timer->node, run_timer, timer, ++timer->shot);
}

/* The clock has changed: what the timers were to fire by is another time now. */
static void arm_all(struct sim_node *node)
{
	for (struct world_timer *timer = node->timers; timer; timer = timer->next) {
		if (timer->is_set && !timer->is_freed)
			arm(timer);
	}
}

static void op_timer_set(struct world_timer *timer, uint64_t delay_ns)
{
	struct sim_node *node = timer->node;

	if (timer->is_freed)
		sim_break(node->sim, "%s sets a timer that is freed", node->name);
	timer->is_set = true;
	timer->due_ns = op_now(&node->world) + delay_ns;
	arm(timer);
}

static void op_timer_cancel(struct world_timer *timer)
{
	timer->shot++;
	timer->is_set = false;
}

static void op_timer_free(struct world_timer *timer)
{
	if (!timer)
		return;
	if (timer->is_freed)
		sim_break(timer->node->sim, "%s frees a timer twice", timer->node->name);
	timer->is_freed = true;
	timer->node->num_open--;
}

/* ---- nodes ---- */

static void run_appeared(struct sim *sim, struct sim_node *node, void *arg,
			 uint64_t number)
{
	(void)arg;
	sim_note(sim, "%s: sees %u", node->name, (unsigned)number);
	node->world.handler->appeared(node->world.handler_arg, (uint16_t)number);
}

static void run_disappeared(struct sim *sim, struct sim_node *node, void *arg,
			    uint64_t number)
{
	(void)arg;
	sim_note(sim, "%s: misses %u", node->name, (unsigned)number);
	node->world.handler->disappeared(node->world.handler_arg, (uint16_t)number);
}

static void notify(struct sim_node *node, const struct sim_node *about,
		   void (*run)(struct sim *sim, struct sim_node *node, void *arg,
			       uint64_t number))
{
	struct sim *sim = node->sim;
	uint64_t time_ns = sim->now_ns + sim_random_delay(sim);

	if (node == about || !node->is_alive || sim_are_parted(node, about))
		return;
	if (time_ns < node->last_notice_ns)
		time_ns = node->last_notice_ns;
	node->last_notice_ns = time_ns;
	sim_at(sim, time_ns, node, run, NULL, about->config.id);
}

void sim_show_again(struct sim_node *node)
{
	for (unsigned i = 0; i < node->sim->num_nodes && node->is_visible; i++)
		notify(node->sim->nodes[i], node, run_appeared);
}

static void make_config(struct sim_node *node, uint16_t id)
{
	static const struct config_network networks[SIM_NETWORKS] = {
		{.name = (char *)"lan0",
		 .mtu = 1500,
		 .ring_size = 1u << 20,
		 .multicast_rings = 4,
		 .cast_depth = 256,
		 .offloads = SHMNET_OFFLOADS},
		{.name = (char *)"big0",
		 .mtu = 9000,
		 .ring_size = 1u << 20,
		 .multicast_rings = 1,
		 .cast_depth = 16,
		 .offloads = SHMNET_OFFLOAD_TSO6},
	};

	memcpy(node->networks, networks, sizeof(networks));
	node->config = (struct node_config){
		.name = node->name,
		.id = id,
		.cluster = (char *)"sim",
		.liveness = {CONFIG_LIVENESS_INTERVAL_MS_DEFAULT,
			     CONFIG_LIVENESS_MISSES_DEFAULT},
		.num_networks = SIM_NETWORKS,
		.networks = node->networks,
	};
}

static const struct world_ops *all_ops(void)
{
	static struct world_ops ops;

	sim_fill_time_ops(&ops);
	sim_fill_channel_ops(&ops);
	sim_fill_ring_ops(&ops);
	sim_fill_cast_ops(&ops);
	return &ops;
}

struct sim_node *sim_add_node(struct sim *sim, uint16_t id, const char *name)
{
	struct sim_node *node = sim_grow(NULL, 1, sizeof(*node));

	if (sim->num_nodes == SIM_NODES_MAX)
		abort();
	memset(node, 0, sizeof(*node));
	snprintf(node->name, sizeof(node->name), "%s", name);
	snprintf(node->certificate, sizeof(node->certificate), "%s", name);
	node->sim = sim;
	node->world.ops = all_ops();
	make_config(node, id);
	sim->nodes[sim->num_nodes++] = node;
	return node;
}

/* False: memory is short, and it has let go of what it had. */
static bool make_membership(struct sim_node *node)
{
	int ret = membership_new(&node->config, &node->world, &node->events,
				 &sim_talk_handler, node, &node->membership);

	if (ret == 0)
		return true;
	if (ret != -ENOMEM || !node->sim->shortage)
		abort();
	if (node->num_open)
		sim_break(node->sim, "%s did not start, and left %u things open",
			  node->name, node->num_open);
	node->is_alive = false;
	node->membership = NULL;
	return false;
}

void sim_start(struct sim_node *node)
{
	struct sim *sim = node->sim;

	sim_enter(sim);
	sim_note(sim, "%s: starts", node->name);
	node->life++;
	node->is_alive = true;
	node->is_paused = false;
	node->asleep_ns = 0;
	node->timers = NULL;
	node->was_short = false;
	sim->running = node;
	node->quiet_ns = sim->now_ns;
	memset(&node->events, 0, sizeof(node->events));
	node->last_notice_ns = sim->now_ns;
	memset(node->seen, 0, sizeof(node->seen));
	memset(node->seen_pid, 0, sizeof(node->seen_pid));
	memset(node->carrier, 0, sizeof(node->carrier));
	memset(node->is_off, 0, sizeof(node->is_off));
	memset(node->wants, 0, sizeof(node->wants));
	sim_talks_start(node);
	memset(node->suspects, 0, sizeof(node->suspects));
	memset(node->heard, 0, sizeof(node->heard));
	node->last_frame = 0;
	node->is_leaving = false;
	sim->disturbed_ns = sim->now_ns;
	if (!make_membership(node))
		return;
	if (sim->has_flows)
		sim_flows_start(node);
	node->is_visible = true;
	if (sim->casts_always)
		sim_at(sim, sim->now_ns + sim_random_delay(sim), node, sim_run_casts,
		       NULL, 0);
	if (sim->has_frames)
		sim_at(sim, sim->now_ns + sim_random_delay(sim), node, sim_run_frames,
		       NULL, 0);
	if (sim->writes_always)
		sim_at(sim, sim->now_ns + sim_random_delay(sim), node, sim_run_writes,
		       NULL, 0);
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->is_visible)
			notify(node, sim->nodes[i], run_appeared);
	}
	sim_show_again(node);
}

/* The end of a process takes its memory and sockets before it can say anything. */
static void take_everything(struct sim_node *node)
{
	struct sim *sim = node->sim;

	if (sim->dies_in_slots && sim->has_frames)
		sim_frames_die(node);
	for (struct world_ring *ring = sim->rings; ring; ring = ring->next) {
		if (ring->node == node && ring->is_ours)
			sim_leave_memory(ring);
	}
	for (struct world_channel *end = sim->channels; end; end = end->next) {
		if (end->node == node)
			sim_end_channel(sim, end, sim_random(sim, 2) ? -ECONNRESET : 0);
	}
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		if (cast->writes && sim->dies_in_slots)
			cast->memory->is_stuck[sim_find_index(sim, node->config.id)] =
				true;
	}
}

/* A life that ended has let go of everything. */
static void end_life(struct sim_node *node)
{
	node->is_leaving = true;
	node->sim->disturbed_ns = node->sim->now_ns;
	membership_free(node->membership);
	sim_close_backlog(node);
	sim_flows_end(node);
	node->membership = NULL;
	node->is_alive = false;
	node->num_held = 0;
	if (node->num_open)
		sim_break(node->sim, "%s left %u things open", node->name,
			  node->num_open);
}

void sim_kill(struct sim_node *node)
{
	sim_enter(node->sim);
	sim_note(node->sim, "%s: is killed", node->name);
	node->is_alive = false;
	take_everything(node);
	end_life(node);
}

void sim_stop(struct sim_node *node)
{
	sim_enter(node->sim);
	sim_note(node->sim, "%s: stops", node->name);
	node->is_visible = false;
	for (unsigned i = 0; i < node->sim->num_nodes; i++)
		notify(node->sim->nodes[i], node, run_disappeared);
	end_life(node);
}

void sim_pause(struct sim_node *node)
{
	sim_note(node->sim, "%s: pauses", node->name);
	node->is_paused = true;
	if (node->sim->has_frames)
		sim_frames_pause(node);
	node->sim->disturbed_ns = node->sim->now_ns;
}

void sim_resume(struct sim_node *node)
{
	struct sim *sim = node->sim;

	sim_note(sim, "%s: goes on", node->name);
	node->is_paused = false;
	node->asleep_ns = 0;
	if (sim->has_frames)
		sim_frames_resume(node);
	node->resumed_ns = sim->now_ns;
	node->quiet_ns = sim->now_ns;
	sim->disturbed_ns = sim->now_ns;
	for (size_t i = 0; i < node->num_held; i++) {
		node->held[i].time_ns = sim->now_ns;
		sim_push(sim, &node->held[i]);
	}
	node->num_held = 0;
}

void sim_suspend(struct sim_node *node, uint64_t duration_ns)
{
	node->suspended_ns += duration_ns;
}

void sim_pause_network(struct sim_node *node, unsigned network, bool is_paused)
{
	if (!node->is_alive)
		return;
	sim_enter(node->sim);
	sim_note(node->sim, "%s: %s is %s", node->name, node->networks[network].name,
		 is_paused ? "paused" : "resumed");
	node->is_off[network] = is_paused;
	node->sim->disturbed_ns = node->sim->now_ns;
	membership_pause(node->membership, network, is_paused);
	if (node->dispatch && network == SIM_FLOWS_NETWORK)
		dispatch_set_paused(node->dispatch, node->config.id, is_paused);
}

void sim_set_border(struct sim_node *node, const struct peer_border *border)
{
	if (!node->is_alive)
		return;
	sim_enter(node->sim);
	sim_note(node->sim, "%s: another border", node->name);
	membership_set_border(node->membership, border);
}

struct border_search {
	uint16_t id;
	struct peer_border border;
};

static void match_border(const struct member_border_report *report, void *arg)
{
	struct border_search *search = arg;

	if (report->id == search->id)
		search->border = *report->border;
}

struct peer_border sim_border_of(const struct sim_node *node,
				 const struct sim_node *other)
{
	struct border_search search = {.id = other->config.id};

	if (node->is_alive)
		membership_each_border(node->membership, match_border, &search);
	return search.border;
}

bool sim_knows_pause(const struct sim_node *node, const struct sim_node *other,
		     unsigned network)
{
	const struct world_link *link = sim_find_link(node, other->config.id, network);

	return link && link->is_off;
}

void sim_sleep(struct sim_node *node)
{
	sim_pause(node);
	node->asleep_ns = node->sim->now_ns;
}

void sim_wake(struct sim_node *node)
{
	if (!node->asleep_ns)
		return;
	node->clock_ns -= node->sim->now_ns - node->asleep_ns;
	node->suspended_ns += node->sim->now_ns - node->asleep_ns;
	node->asleep_ns = 0;
	arm_all(node);
	sim_resume(node);
}

void sim_step_clock(struct sim_node *node, uint64_t by_ns)
{
	sim_note(node->sim, "%s: its clock jumps %llu ms", node->name,
		 (unsigned long long)(by_ns / SIM_MS));
	node->clock_ns += by_ns;
	memmove(node->stepped_ns + 1, node->stepped_ns,
		sizeof(node->stepped_ns) - sizeof(node->stepped_ns[0]));
	node->stepped_ns[0] = node->sim->now_ns;
	arm_all(node);
}

/* ---- partitions ---- */

bool sim_is_parted(const struct sim_node *from, const struct sim_node *to)
{
	return from->host != to->host &&
	       from->sim->is_parted[sim_index_of(from)][sim_index_of(to)];
}

bool sim_are_parted(const struct sim_node *a, const struct sim_node *b)
{
	return sim_is_parted(a, b) || sim_is_parted(b, a);
}

uint64_t sim_joined_ns(const struct sim_node *from, const struct sim_node *to)
{
	return from->sim->joined_ns[sim_index_of(from)][sim_index_of(to)];
}

/* What the seeds would find out. */
static void meet(struct sim_node *a, struct sim_node *b)
{
	notify(a, b, b->is_visible ? run_appeared : run_disappeared);
	notify(b, a, a->is_visible ? run_appeared : run_disappeared);
}

void sim_part(struct sim_node *from, struct sim_node *to, bool is_parted)
{
	struct sim *sim = from->sim;
	bool *place = &sim->is_parted[sim_index_of(from)][sim_index_of(to)];

	if (from->host == to->host || *place == is_parted)
		return;
	sim_note(sim, "from %s to %s %s", from->name, to->name,
		 is_parted ? "nothing gets through" : "it gets through again");
	*place = is_parted;
	sim->joined_ns[sim_index_of(from)][sim_index_of(to)] = sim->now_ns;
	if (is_parted) {
		sim_lose_parted(from, to);
	} else {
		sim_flush(from, to);
		if (!sim_are_parted(from, to))
			meet(from, to);
	}
}

/* ---- other faults ---- */

void sim_blind(struct sim_node *node, const struct sim_node *other, bool is_blind)
{
	struct sim_node *seen = node->sim->nodes[sim_index_of(other)];

	if (node->is_blind[sim_index_of(other)])
		seen->quiet_ns = node->sim->now_ns; /* shown life to `node` since then */
	node->is_blind[sim_index_of(other)] = is_blind;
}

const struct events *sim_events(const struct sim_node *node)
{
	return &node->events;
}

bool sim_is_alive(const struct sim_node *node)
{
	return node->is_alive;
}

bool sim_is_paused(const struct sim_node *node)
{
	return node->is_paused;
}

void sim_cut(struct sim_node *a, struct sim_node *b)
{
	for (struct world_channel *end = a->sim->channels; end; end = end->next) {
		if (end->node != a || end->other->node != b || end->is_dead)
			continue;
		sim_note(a->sim, "%s and %s are cut", a->name, b->name);
		end->is_cut = true;
		end->other->is_cut = true;
		sim_end_channel(a->sim, end, -EIO);
		sim_end_channel(a->sim, end->other, -EIO);
	}
}

void sim_set_fabric_down(struct sim_node *node, bool is_down)
{
	node->is_fabric_down = is_down;
}

bool sim_lose_conn(struct sim_node *node, struct sim_node *peer)
{
	for (struct world_channel *end = node->sim->channels; end; end = end->next) {
		if (end->node == node && end->other->node == peer && end->is_remote &&
		    end->conn) {
			sim_lose_half(end->conn);
			return true;
		}
	}
	return false;
}

static void run_fault(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	struct world_link *fault = arg;

	for (struct world_link *link = node->links; link; link = link->next) {
		if (link != fault)
			continue;
		sim_note(sim, "%s: fault of its link to %u", node->name,
			 link->spec.peer_id);
		node->world.handler->link_fault(node->world.handler_arg, link,
						(int)(int64_t)number, "");
		return;
	}
}

bool sim_fault_link(struct sim_node *node, struct sim_node *peer, unsigned network,
		    int error)
{
	for (struct world_link *link = node->links; link; link = link->next) {
		if (link->spec.peer_id != peer->config.id ||
		    link->spec.network != network)
			continue;
		sim_at(node->sim, node->sim->now_ns + sim_random_delay(node->sim), node,
		       run_fault, link, (uint64_t)(int64_t)error);
		return true;
	}
	return false;
}

struct node_config *sim_config(struct sim_node *node)
{
	return &node->config;
}

void sim_set_host(struct sim_node *node, unsigned host)
{
	node->host = host;
}

void sim_set_certificate(struct sim_node *node, const char *name)
{
	snprintf(node->certificate, sizeof(node->certificate), "%s", name);
}

void sim_set_uid(struct sim_node *node, uid_t uid)
{
	node->world.uid = uid;
}

struct membership *sim_membership(struct sim_node *node)
{
	return node->membership;
}

struct sim_node *sim_node_at(struct sim *sim, unsigned index)
{
	return sim->nodes[index];
}

unsigned sim_num_nodes(const struct sim *sim)
{
	return sim->num_nodes;
}

bool sim_linked(const struct sim_node *a, const struct sim_node *b, unsigned network)
{
	return sim_find_link(a, b->config.id, network) &&
	       sim_find_link(b, a->config.id, network);
}

bool sim_has_carrier(const struct sim_node *node, unsigned network)
{
	return node->carrier[network];
}

struct view {
	uint16_t id;
	struct member_report report;
};

static void find_view(const struct member_report *report, void *arg)
{
	struct view *view = arg;

	if (report->id == view->id)
		view->report = *report;
}

enum member_state sim_view(struct sim_node *node, const struct sim_node *other,
			   uint32_t *ret_incarnation, const char **ret_reason)
{
	struct view view = {.id = other->config.id, .report = {.reason = ""}};

	if (node->membership)
		membership_each_peer(node->membership, find_view, &view);
	if (ret_incarnation)
		*ret_incarnation = view.report.incarnation;
	if (ret_reason)
		*ret_reason = view.report.reason;
	return view.report.state;
}

void sim_fill_time_ops(struct world_ops *ops)
{
	ops->now = op_now;
	ops->suspended = op_suspended;
	ops->random = op_random;
	ops->timer_new = op_timer_new;
	ops->timer_set = op_timer_set;
	ops->timer_cancel = op_timer_cancel;
	ops->timer_free = op_timer_free;
}
