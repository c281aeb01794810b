/*
 * What a pair of nodes has together: a connection, rings, links and what is sent
 * through them. See sim_internal.h.
 */
#include "sim_internal.h"

#include <errno.h>
#include <string.h>

#define GIVE_UP_NS (3 * SIM_S)	  /* without an answer */
#define CONNECT_NS (400 * SIM_MS) /* between machines it takes so long */

static struct world_ring *show_ring(struct world_conn *conn, struct sim_memory *memory)
{
	struct sim_node *node = conn->node;
	struct world_ring *ring = sim_alloc(node->sim, sizeof(*ring));

	ring->node = node;
	ring->conn = conn;
	ring->memory = memory;
	ring->fd = -1;
	ring->next = node->sim->rings;
	node->sim->rings = ring;
	node->num_open++;
	conn->num_rings++;
	return ring;
}

static int op_ring_new(struct world_conn *conn, unsigned network, uint64_t size,
		       struct world_ring **ret_ring, const char **ret_why)
{
	struct sim_node *node = conn->node;
	struct sim_memory *memory;

	(void)network;
	if (sim_fails(node->sim)) {
		*ret_why = "the simulator has no memory";
		return -ENOMEM;
	}
	memory = sim_alloc(node->sim, sizeof(*memory));
	memory->maker = node->config.id;
	memory->life = node->life;
	memory->size = size;
	*ret_ring = show_ring(conn, memory);
	(*ret_ring)->is_ours = true;
	if (!conn->channel->is_remote)
		(*ret_ring)->fd = sim_open_fd(node, memory, NULL);
	return 0;
}

/* What comes from another machine is the place of an object, which must be one. */
static void *find_object(struct sim *sim, const uint8_t *bytes, size_t length)
{
	struct sim_object *object = sim->objects;
	void *wanted;

	if (length != sizeof(wanted))
		return NULL;
	memcpy(&wanted, bytes, sizeof(wanted));
	while (object && object != wanted)
		object = object->next;
	return object;
}

static void offer_object(const void *object, struct world_offer *ret)
{
	ret->fd = -1;
	ret->length = sizeof(object);
	memcpy(ret->bytes, &object, sizeof(object));
}

static struct sim_memory *take_memory(struct world_conn *conn,
				      struct world_parcel *parcel, const uint8_t *bytes,
				      size_t length)
{
	struct sim_node *node = conn->node;
	struct sim_fd *fd;

	if (conn->channel->is_remote)
		return find_object(node->sim, bytes, length);
	fd = sim_find_fd(node, parcel->fd);
	sim_close_fd(node, parcel->fd);
	parcel->fd = -1;
	return fd ? fd->memory : NULL;
}

static int op_ring_accept(struct world_conn *conn, struct world_parcel *parcel,
			  const uint8_t *bytes, size_t length, uint64_t size,
			  struct world_ring **ret_ring, const char **ret_why)
{
	struct sim_memory *memory = take_memory(conn, parcel, bytes, length);

	if (!conn->rung || conn->is_lost)
		sim_break(conn->node->sim, "%s accepts a ring of a connection that %s",
			  conn->node->name, conn->rung ? "is lost" : "is not accepted");
	if (!memory || memory->size != size) {
		*ret_why = "it is no memory of that size";
		return -EPROTO;
	}
	*ret_ring = show_ring(conn, memory);
	return 0;
}

static void op_ring_offer(const struct world_ring *ring, struct world_offer *ret)
{
	ret->fd = ring->fd;
	ret->length = 0;
	if (ring->conn->channel->is_remote)
		offer_object(ring->memory, ret);
}

void sim_leave_memory(struct world_ring *ring)
{
	if (!ring->memory->is_dead)
		ring->memory->died_ns = ring->node->sim->now_ns;
	ring->memory->is_dead = true;
}

static void op_ring_free(struct world_ring *ring)
{
	struct sim_node *node;

	if (!ring)
		return;
	node = ring->node;
	if (ring->is_freed)
		sim_break(node->sim, "%s frees a ring twice", node->name);
	if (ring->conn->is_freed)
		sim_break(node->sim, "%s frees a ring after its connection", node->name);
	ring->is_freed = true;
	ring->conn->num_rings--;
	node->num_open--;
	if (!ring->is_ours)
		return;
	if (ring->fd >= 0)
		sim_close_fd(node, ring->fd);
	sim_leave_memory(ring);
}

static int op_conn_new(struct world *world, struct world_channel *channel,
		       uint16_t peer_id, bool active, struct world_conn **ret_conn,
		       const char **ret_why)
{
	struct sim_node *node = sim_node_of(world);
	struct world_conn *conn;

	if (channel->is_closed || active != (node->config.id < peer_id))
		sim_break(node->sim, "%s connects to %u in the wrong way", node->name,
			  peer_id);
	if (channel->is_remote && node->is_fabric_down) {
		*ret_why = "the simulator has no device";
		return -ENETDOWN;
	}
	if (sim_fails(node->sim)) {
		*ret_why = "the simulator has no connections";
		return -EMFILE;
	}
	conn = sim_alloc(node->sim, sizeof(*conn));
	conn->node = node;
	conn->channel = channel;
	channel->conn = conn;
	conn->heard = sim_alloc(node->sim, sizeof(*conn->heard));
	conn->heard->conn = conn;
	conn->is_ready = !channel->is_remote;
	conn->fd = channel->is_remote ? -1 : sim_open_fd(node, NULL, conn->heard);
	node->num_open++;
	*ret_conn = conn;
	return 0;
}

static void op_conn_offer(const struct world_conn *conn, struct world_offer *ret)
{
	ret->fd = conn->fd;
	ret->length = 0;
	if (conn->channel->is_remote)
		offer_object(conn->heard, ret);
}

static void stop_offering(struct world_conn *conn)
{
	if (conn->fd >= 0)
		sim_close_fd(conn->node, conn->fd);
	conn->fd = -1;
}

static void run_conn_ready(struct sim *sim, struct sim_node *node, void *arg,
			   uint64_t number)
{
	struct world_conn *conn = arg;

	(void)number;
	if (conn->is_freed || conn->is_lost)
		return;
	sim_note(sim, "%s: connected to %s", node->name,
		 sim_end_name(conn->channel->other));
	conn->is_ready = true;
	node->world.handler->conn_ready(node->world.handler_arg, conn);
}

static void run_conn_lost(struct sim *sim, struct sim_node *node, void *arg,
			  uint64_t number)
{
	struct world_conn *conn = arg;

	(void)number;
	if (conn->is_freed || conn->is_lost)
		return;
	sim_note(sim, "%s: loses its connection to %s", node->name,
		 sim_end_name(conn->channel->other));
	conn->is_lost = true;
	node->world.handler->conn_lost(node->world.handler_arg, conn,
				       "the wire was cut in the simulator");
}

/* It is not answered, and gives up in a while. */
static void run_give_up(struct sim *sim, struct sim_node *node, void *arg,
			uint64_t number)
{
	const struct world_conn *conn = arg;
	const struct world_channel *far = conn->channel->other;

	if (!conn->is_freed && far->node && sim_are_parted(node, far->node))
		run_conn_lost(sim, node, arg, number);
}

void sim_lose_parted(struct sim_node *a, struct sim_node *b)
{
	struct sim *sim = a->sim;

	for (struct world_channel *end = sim->channels; end; end = end->next) {
		const struct sim_node *far = end->other->node;

		if (end->conn &&
		    ((end->node == a && far == b) || (end->node == b && far == a)))
			sim_at(sim, sim->now_ns + sim_random(sim, GIVE_UP_NS), end->node,
			       run_give_up, end->conn, 0);
	}
}

void sim_lose_half(struct world_conn *conn)
{
	struct sim *sim = conn->node->sim;

	sim_at(sim, sim->now_ns + sim_random_delay(sim), conn->node, run_conn_lost, conn,
	       0);
}

struct world_conn *sim_other_conn(const struct world_conn *conn)
{
	return conn->rung ? conn->rung->conn : NULL;
}

static bool has_both_halves(const struct world_conn *conn)
{
	const struct world_conn *other = sim_other_conn(conn);

	return other && other->rung == conn->heard;
}

/* Either may be first, by far. A request that gets lost is found by the handshake's end.
 */
static void connect_half(struct world_conn *conn)
{
	struct sim *sim = conn->node->sim;

	if (sim_fails(sim) || sim_are_parted(conn->node, sim_other_conn(conn)->node))
		sim_lose_half(conn);
	else if (!sim_fails(sim))
		sim_at(sim,
		       sim->now_ns + sim_random_delay(sim) + sim_random(sim, CONNECT_NS),
		       conn->node, run_conn_ready, conn, 0);
}

static void connect_halves(struct world_conn *conn)
{
	if (!conn->channel->is_remote || !has_both_halves(conn))
		return;
	connect_half(conn);
	connect_half(sim_other_conn(conn));
}

static struct sim_socketpair *take_doorbell(struct world_conn *conn,
					    struct world_parcel *parcel,
					    const uint8_t *bytes, size_t length)
{
	struct sim_node *node = conn->node;
	struct sim_fd *fd;

	if (conn->channel->is_remote)
		return find_object(node->sim, bytes, length);
	fd = sim_find_fd(node, parcel->fd);
	sim_close_fd(node, parcel->fd);
	parcel->fd = -1;
	stop_offering(conn);
	return fd ? fd->doorbell : NULL;
}

static int op_conn_accept(struct world_conn *conn, struct world_parcel *parcel,
			  const uint8_t *bytes, size_t length, const char **ret_why)
{
	struct sim_node *node = conn->node;
	struct sim_socketpair *doorbell = take_doorbell(conn, parcel, bytes, length);

	if (conn->is_freed || conn->is_lost || conn->rung || doorbell == conn->heard)
		sim_break(node->sim, "%s mixes up the doorbells", node->name);
	if (!doorbell) {
		*ret_why = "is no doorbell";
		return -EPROTO;
	}
	if (sim_fails(node->sim)) {
		*ret_why = "the simulator has no connections";
		return -ENOMEM;
	}
	conn->rung = doorbell;
	connect_halves(conn);
	return 0;
}

static bool op_conn_is_ready(const struct world_conn *conn)
{
	return conn->is_ready;
}

static const char *op_conn_fabric(const struct world_conn *conn)
{
	return conn->channel->is_remote ? "rdma/sim" : "shm";
}

/* Its other half is gone: it hears so, or hears nothing any more. */
static void tell_other_half(struct world_conn *conn)
{
	struct sim *sim = conn->node->sim;

	if (!sim_are_parted(conn->node, sim_other_conn(conn)->node))
		sim_lose_half(conn);
	else
		sim_at(sim, sim->now_ns + GIVE_UP_NS, conn->node, run_conn_lost, conn, 0);
}

static void op_conn_free(struct world_conn *conn)
{
	if (!conn)
		return;
	if (conn->is_freed || conn->num_links || conn->num_rings)
		sim_break(conn->node->sim, "%s frees a connection %s", conn->node->name,
			  conn->is_freed ? "twice" : "before its links");
	stop_offering(conn);
	conn->is_freed = true;
	conn->node->num_open--;
	conn->channel->conn = NULL;
	if (conn->channel->is_remote && has_both_halves(conn))
		tell_other_half(sim_other_conn(conn));
}

static void op_conn_beat(struct world_conn *conn)
{
	struct sim_node *node = conn->node;

	for (struct world_link *link = node->links; link; link = link->next) {
		const struct sim_node *peer =
			sim_find_node(node->sim, link->spec.peer_id);

		if (link->spec.conn == conn && !peer->is_blind[sim_index_of(node)] &&
		    !sim_is_parted(node, peer))
			link->spec.tx->memory->beat++;
	}
}

static uint64_t op_conn_pulse(const struct world_conn *conn)
{
	uint64_t pulse = 0;

	for (const struct world_link *link = conn->node->links; link; link = link->next) {
		if (link->spec.conn == conn)
			pulse += link->spec.rx->memory->beat;
	}
	return pulse;
}

struct world_link *sim_find_link(const struct sim_node *node, uint16_t peer_id,
				 unsigned network)
{
	for (struct world_link *link = node->links; link; link = link->next) {
		if (link->spec.peer_id == peer_id && link->spec.network == network)
			return link;
	}
	return NULL;
}

static void check_spec(struct sim_node *node, const struct world_link_spec *spec)
{
	if (spec->rx->is_freed || spec->tx->is_freed || spec->conn->is_freed)
		sim_break(node->sim, "%s links what is freed", node->name);
	if (!spec->rx->is_ours || spec->tx->is_ours)
		sim_break(node->sim, "%s mixes up the rings of a link", node->name);
	if (spec->offloads != node->networks[spec->network].offloads)
		sim_break(node->sim, "%s links offloads that the peer didn't tell",
			  node->name);
	if (!spec->conn->is_ready ||
	    (sim_other_conn(spec->conn) && !sim_other_conn(spec->conn)->is_ready))
		sim_break(node->sim, "%s links to %u before both sides are connected",
			  node->name, spec->peer_id);
	if (spec->tx->memory->maker != spec->peer_id)
		sim_break(node->sim, "%s links a ring of %u as that of %u", node->name,
			  spec->tx->memory->maker, spec->peer_id);
}

static struct sim_letter *take_letter(struct sim *sim, struct sim_memory *memory)
{
	struct sim_letter *letter = memory->letters;

	if (!letter || letter->time_ns > sim->now_ns)
		return NULL;
	memory->letters = letter->next;
	return letter;
}

/* Control looks after each whether the link is still there, as it does in the daemon. */
static void run_letters(struct sim *sim, struct sim_node *node, void *arg,
			uint64_t number)
{
	struct sim_memory *memory = arg;
	struct world_link *link = NULL;
	struct sim_letter *letter;

	(void)number;
	for (;;) {
		for (link = node->links; link && link->spec.rx->memory != memory;)
			link = link->next;
		letter = link ? take_letter(sim, memory) : NULL;
		if (!letter)
			return;
		sim_note_step(node, "letter of ",
			      sim_find_node(sim, link->spec.peer_id)->name);
		node->world.handler->link_message(node->world.handler_arg, link,
						  letter->bytes, letter->length);
	}
}

static void check_sender(const struct world_link *link)
{
	const struct world_link *open = link->node->links;

	while (open && open != link)
		open = open->next;
	if (!open)
		sim_break(link->node->sim, "%s sends by a link that is freed",
			  link->node->name);
}

/* It lies in the reader's memory, and may be there before the reader has its link. */
static void op_link_pause(struct world_link *link, bool is_paused)
{
	if (link->is_off == is_paused)
		sim_break(link->node->sim, "%s pauses a link twice", link->node->name);
	link->is_off = is_paused;
}

static int op_link_send(struct world_link *link, const uint8_t *bytes, size_t length)
{
	struct sim *sim = link->node->sim;
	struct sim_memory *memory = link->spec.tx->memory;
	struct sim_node *to = sim_find_node(sim, memory->maker);
	struct sim_letter *letter, **at_end = &memory->letters;

	check_sender(link);
	if (length == 0 || length > WORLD_WORD_MAX)
		return -EMSGSIZE;
	if (sim_random(sim, 1000) < sim->failures)
		return -EAGAIN;
	if (!to || !to->is_alive || !link->node->is_alive ||
	    sim_is_parted(link->node, to) || sim_random(sim, 1000) < sim->failures)
		return 0;
	letter = sim_alloc(sim, sizeof(*letter));
	letter->length = length;
	memcpy(letter->bytes, bytes, length);
	letter->time_ns = sim->now_ns + sim_random_delay(sim);
	if (letter->time_ns < memory->last_letter_ns)
		letter->time_ns = memory->last_letter_ns;
	memory->last_letter_ns = letter->time_ns;
	while (*at_end)
		at_end = &(*at_end)->next;
	*at_end = letter;
	sim_at(sim, letter->time_ns, to, run_letters, memory, 0);
	return 0;
}

static int op_link_new(struct world *world, const struct world_link_spec *spec,
		       struct world_link **ret_link)
{
	struct sim_node *node = sim_node_of(world);
	struct world_link *link;

	check_spec(node, spec);
	if (sim_fails(node->sim))
		return -ENOMEM;
	link = sim_alloc(node->sim, sizeof(*link));
	link->node = node;
	link->spec = *spec;
	link->next = node->links;
	node->links = link;
	node->num_open++;
	spec->conn->num_links++;
	sim_note(node->sim, "%s: link to %u on %s", node->name, spec->peer_id,
		 node->networks[spec->network].name);
	node->sim->disturbed_ns = node->sim->now_ns;
	if (node->sim->has_frames)
		sim_frames_link(link);
	if (spec->rx->memory->letters)
		sim_at(node->sim, node->sim->now_ns + sim_random_delay(node->sim), node,
		       run_letters, spec->rx->memory, 0);
	*ret_link = link;
	return 0;
}

/* A link that goes reads nothing any more. */
static void forget_reader(struct sim_node *node, const struct world_link *link)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
			if (cast->readers[i] == link)
				cast->readers[i] = cast->announced[i] = NULL;
		}
	}
	node->sim->disturbed_ns = node->sim->now_ns;
}

static void op_link_free(struct world_link *link, bool peer_is_dead)
{
	struct sim_node *node = link->node;
	struct world_link **at_link = &node->links;

	while (*at_link && *at_link != link)
		at_link = &(*at_link)->next;
	if (!*at_link) {
		sim_break(node->sim, "%s frees a link twice", node->name);
		return;
	}
	if (node->sim->has_frames)
		sim_frames_unlink(link, peer_is_dead);
	*at_link = link->next;
	forget_reader(node, link);
	if (peer_is_dead && node->is_alive && !link->spec.tx->memory->is_dead)
		sim_break(node->sim, "%s salvages from %u, which can still store",
			  node->name, link->spec.peer_id);
	sim_note(node->sim, "%s: no link to %u on %s", node->name, link->spec.peer_id,
		 node->networks[link->spec.network].name);
	link->spec.conn->num_links--;
	op_ring_free(link->spec.rx);
	op_ring_free(link->spec.tx);
	node->num_open--;
}

void sim_fill_ring_ops(struct world_ops *ops)
{
	ops->conn_new = op_conn_new;
	ops->conn_offer = op_conn_offer;
	ops->conn_accept = op_conn_accept;
	ops->conn_is_ready = op_conn_is_ready;
	ops->conn_fabric = op_conn_fabric;
	ops->conn_beat = op_conn_beat;
	ops->conn_pulse = op_conn_pulse;
	ops->conn_free = op_conn_free;
	ops->ring_new = op_ring_new;
	ops->ring_offer = op_ring_offer;
	ops->ring_accept = op_ring_accept;
	ops->ring_free = op_ring_free;
	ops->link_new = op_link_new;
	ops->link_free = op_link_free;
	ops->link_pause = op_link_pause;
	ops->link_send = op_link_send;
}
