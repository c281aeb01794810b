/*
 * What nodes say to each other: descriptors, channels, and strangers that dial without
 * being nodes. See sim_internal.h.
 */
#include "sim_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FD_FIRST   1000
#define TIMEOUT_NS (3 * SIM_S) /* of a call that gets no answer */

/* ---- descriptors ---- */

int sim_open_fd(struct sim_node *node, struct sim_memory *memory,
		struct sim_socketpair *doorbell)
{
	struct sim *sim = node->sim;

	if (sim->num_fds == SIM_FDS_MAX)
		abort();
	sim->fds[sim->num_fds] = (struct sim_fd){node, memory, doorbell, NULL, true};
	node->num_open++;
	return FD_FIRST + (int)sim->num_fds++;
}

struct sim_fd *sim_find_fd(struct sim_node *node, int fd)
{
	struct sim *sim = node->sim;
	struct sim_fd *found;

	if (fd < FD_FIRST || fd >= FD_FIRST + (int)sim->num_fds)
		return NULL;
	found = &sim->fds[fd - FD_FIRST];
	return found->is_open && found->node == node ? found : NULL;
}

void sim_close_fd(struct sim_node *node, int fd)
{
	struct sim_fd *found = sim_find_fd(node, fd);

	if (!found) {
		sim_break(node->sim, "%s closes descriptor %d, which is not open",
			  node->name, fd);
		return;
	}
	found->is_open = false;
	node->num_open--;
}

/* ---- channels ---- */

const char *sim_end_name(const struct world_channel *channel)
{
	return channel->node ? channel->node->name : "stranger";
}

/* What travels on one channel keeps its order. */
static uint64_t arrival(struct sim *sim, struct world_channel *to)
{
	uint64_t time_ns = sim->now_ns + sim_random_delay(sim);

	if (time_ns < to->last_ns)
		time_ns = to->last_ns;
	to->last_ns = time_ns;
	return time_ns;
}

static void keep_word(struct world_channel *channel, const struct sim_message *message)
{
	struct peer_message decoded;
	const char *why;

	if (!message->bytes)
		channel->had_end = true;
	else if (codec_peer_decode(message->bytes, message->length, &decoded, &why) < 0)
		return;
	else if (decoded.type == PEER_MESSAGE_REFUSE)
		memcpy(channel->refusal, decoded.refuse.words, sizeof(channel->refusal));
	else if (decoded.type == PEER_MESSAGE_BORDER)
		channel->borders++;
}

static void deliver_bytes(struct world_channel *to, const struct sim_message *message)
{
	struct world_parcel parcel = {.fd = -1, .surplus = message->surplus};

	if (message->memory || message->doorbell || message->cast) {
		parcel.fd = sim_open_fd(to->node, message->memory, message->doorbell);
		sim_find_fd(to->node, parcel.fd)->cast = message->cast;
	}
	to->handler->message(to->arg, message->bytes, message->length, &parcel);
	if (parcel.fd >= 0)
		sim_close_fd(to->node, parcel.fd);
}

static void deliver(struct sim *sim, const struct sim_message *message)
{
	struct world_channel *to = message->to;

	if (to->is_closed || to->had_end)
		return;
	if (!to->node) {
		keep_word(to, message);
		return;
	}
	sim_note_step(to->node, message->bytes ? "message from " : "end of channel from ",
		      sim_end_name(to->other));
	if (!to->handler) {
		sim_break(sim, "%s has a channel without a handler", to->node->name);
	} else if (message->bytes) {
		deliver_bytes(to, message);
	} else {
		to->had_end = true;
		to->handler->closed(to->arg, message->error);
	}
}

/* It is sent again until it gets there, and so is all that comes after it. */
static bool is_held(struct sim_message *message)
{
	const struct world_channel *to = message->to;
	struct sim_message **at_end = &message->to->held;

	if (!to->node || !to->other->node ||
	    (!to->held && !sim_is_parted(to->other->node, to->node)))
		return false;
	while (*at_end)
		at_end = &(*at_end)->next;
	*at_end = message;
	return true;
}

static void run_delivery(struct sim *sim, struct sim_node *node, void *arg,
			 uint64_t number)
{
	(void)node;
	(void)number;
	if (!is_held(arg))
		deliver(sim, arg);
}

static void run_flush(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	struct world_channel *to = arg;

	(void)number;
	while (to->held && !sim_is_parted(to->other->node, node)) {
		const struct sim_message *message = to->held;

		to->held = message->next;
		deliver(sim, message);
	}
}

void sim_flush(struct sim_node *from, struct sim_node *to)
{
	struct sim *sim = from->sim;

	for (struct world_channel *end = sim->channels; end; end = end->next) {
		if (end->node == to && end->other->node == from && end->held)
			sim_at(sim, sim->now_ns + sim_random_delay(sim), to, run_flush,
			       end, 0);
	}
}

static void send_to(struct sim *sim, struct world_channel *to, const void *bytes,
		    size_t length, const struct sim_fd *fd, unsigned surplus, int error)
{
	struct sim_message *message = sim_alloc(sim, sizeof(*message) + length);

	message->to = to;
	message->error = error;
	message->surplus = surplus;
	if (bytes) {
		message->bytes = (uint8_t *)(message + 1);
		message->length = length;
		memcpy(message->bytes, bytes, length);
	}
	if (fd) {
		message->memory = fd->memory;
		message->doorbell = fd->doorbell;
		message->cast = fd->cast;
	}
	sim_at(sim, arrival(sim, to), to->node, run_delivery, message, 0);
}

/* This end is gone: the other one will hear of it. */
void sim_end_channel(struct sim *sim, struct world_channel *channel, int error)
{
	if (channel->is_dead)
		return;
	channel->is_dead = true;
	send_to(sim, channel->other, NULL, 0, NULL, 0, error);
}

static struct world_channel *new_end(struct sim *sim, struct sim_node *node)
{
	struct world_channel *channel = sim_alloc(sim, sizeof(*channel));

	channel->node = node;
	channel->next = sim->channels;
	sim->channels = channel;
	if (node)
		node->num_open++;
	return channel;
}

static void run_accept(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	struct world_channel *channel = arg;

	(void)number;
	sim_note(sim, "%s: accepts %s", node->name, sim_end_name(channel->other));
	node->world.handler->accepted(node->world.handler_arg, channel);
	if (!channel->handler && !channel->is_closed)
		sim_break(sim, "%s has set no handler for what it accepted", node->name);
}

static struct world_channel *connect_to(struct sim *sim, struct sim_node *from,
					struct sim_node *to)
{
	struct world_channel *near = new_end(sim, from);
	struct world_channel *far = new_end(sim, to);

	near->other = far;
	far->other = near;
	near->is_remote = far->is_remote = from && from->host != to->host;
	memcpy(near->certificate, to->certificate, sizeof(near->certificate));
	if (from)
		memcpy(far->certificate, from->certificate, sizeof(far->certificate));
	near->peer_uid = to->world.uid;
	near->peer_pid = sim_pid_of(to);
	far->peer_uid = from ? from->world.uid : 0;
	far->peer_pid = sim_pid_of(from);
	sim_at(sim, arrival(sim, far), to, run_accept, far, 0);
	return near;
}

/* A call to another machine, which turns out to reach nobody. */
static struct world_channel *call_nobody(struct sim_node *node, int error,
					 uint64_t delay_ns)
{
	struct world_channel *near = new_end(node->sim, node);
	struct world_channel *far = new_end(node->sim, NULL);

	near->other = far;
	far->other = near;
	near->is_remote = true;
	near->why = error == -ETIMEDOUT ? "connect: Connection timed out"
					: "connect: Connection refused";
	near->last_ns = node->sim->now_ns + delay_ns;
	sim_end_channel(node->sim, far, error);
	return near;
}

static int op_dial(struct world *world, uint16_t node_id,
		   struct world_channel **ret_channel)
{
	struct sim_node *node = sim_node_of(world);
	struct sim_node *to = sim_find_node(node->sim, node_id);

	if (!to || !to->is_visible)
		return -ENOENT;
	if (sim_are_parted(node, to)) {
		*ret_channel = call_nobody(node, -ETIMEDOUT, TIMEOUT_NS);
		return 0;
	}
	if (to->host != node->host && (!to->is_alive || sim_fails(node->sim))) {
		*ret_channel = call_nobody(node, -ECONNREFUSED, 0);
		return 0;
	}
	if (!to->is_alive)
		return -ECONNREFUSED;
	if (sim_fails(node->sim))
		return -EAGAIN;
	*ret_channel = connect_to(node->sim, node, to);
	return 0;
}

static void op_channel_set_handler(struct world_channel *channel,
				   const struct world_channel_handler *handler, void *arg)
{
	channel->handler = handler;
	channel->arg = arg;
}

static void op_channel_credentials(struct world_channel *channel,
				   struct world_credentials *ret)
{
	*ret = (struct world_credentials){.is_remote = channel->is_remote};
	if (channel->is_remote) {
		memcpy(ret->name, channel->certificate, sizeof(ret->name));
	} else {
		ret->pid = channel->peer_pid;
		ret->uid = channel->peer_uid;
	}
}

static bool op_channel_is_remote(const struct world_channel *channel)
{
	return channel->is_remote;
}

/* What is said to another machine. */
static void check_remote(const struct world_channel *channel, const uint8_t *bytes,
			 size_t length, int fd)
{
	struct sim *sim = channel->node->sim;
	const char *name = channel->node->name, *why;
	struct peer_message message;

	if (fd >= 0)
		sim_break(sim, "%s sends a descriptor to another machine", name);
	if (codec_peer_decode(bytes, length, &message, &why) < 0) {
		sim_break(sim, "%s sends a message that %s", name, why);
		return;
	}
	if (message.type == PEER_MESSAGE_CAST || message.type == PEER_MESSAGE_READS ||
	    message.type == PEER_MESSAGE_WANT)
		sim_break(sim, "%s speaks of cast rings to another machine", name);
}

/* All that a node may be refused for by another one; the rest a node doesn't do. */
static bool may_refuse(const struct peer_refuse *refuse)
{
	return refuse->code != PEER_REFUSAL_PROTOCOL ||
	       strstr(refuse->words, "broke the rules") ||	   /* sim_fault_link() */
	       strstr(refuse->words, "is REFUSE, HELLO is right"); /* as HELLO failed */
}

static void check_order(const struct world_channel *channel, const uint8_t *bytes,
			size_t length)
{
	struct peer_message message;
	const char *why;

	if (codec_peer_decode(bytes, length, &message, &why) < 0)
		return; /* of another version */
	if (message.type == PEER_MESSAGE_READY &&
	    (!channel->conn || !channel->conn->is_ready))
		sim_break(channel->node->sim, "%s says READY before its connection is",
			  channel->node->name);
	if (message.type == PEER_MESSAGE_REFUSE && channel->other->node &&
	    !may_refuse(&message.refuse))
		sim_break(channel->node->sim, "%s refuses %s: %s", channel->node->name,
			  channel->other->node->name, message.refuse.words);
}

/* The news of it may have got through. */
static bool is_known_dead(const struct world_channel *other)
{
	return other->is_dead && !(other->node && other->other->node &&
				   sim_is_parted(other->node, other->other->node));
}

static int op_channel_send(struct world_channel *channel, const uint8_t *bytes,
			   size_t length, int fd)
{
	struct sim_node *node = channel->node;
	struct sim_fd *found = fd < 0 ? NULL : sim_find_fd(node, fd);

	if (channel->is_closed)
		sim_break(node->sim, "%s sends on a channel that it closed", node->name);
	if (length > WORLD_MESSAGE_MAX)
		sim_break(node->sim, "%s sends %zu bytes", node->name, length);
	if (channel->is_remote)
		check_remote(channel, bytes, length, fd);
	check_order(channel, bytes, length);
	if (fd >= 0 && !found)
		sim_break(node->sim, "%s sends descriptor %d, which is not open",
			  node->name, fd);
	if (channel->is_dead || is_known_dead(channel->other))
		return -EPIPE;
	if (sim_fails(node->sim))
		return sim_random(node->sim, 2) ? -EAGAIN : -ENOBUFS;
	send_to(node->sim, channel->other, bytes, length, found, 0, 0);
	return 0;
}

static bool op_channel_at_end(struct world_channel *channel)
{
	return is_known_dead(channel->other) && !channel->is_cut;
}

static const char *op_channel_why(const struct world_channel *channel)
{
	return channel->why ? channel->why : "";
}

static void op_channel_close(struct world_channel *channel)
{
	struct sim_node *node = channel->node;

	if (channel->is_closed) {
		sim_break(node->sim, "%s closes a channel twice", node->name);
		return;
	}
	channel->is_closed = true;
	node->num_open--;
	sim_end_channel(node->sim, channel, 0);
}
/* What was connected but not accepted is the kernel's to close. */
void sim_close_backlog(struct sim_node *node)
{
	for (struct world_channel *end = node->sim->channels; end; end = end->next) {
		if (end->node == node && !end->handler && !end->is_closed)
			op_channel_close(end);
	}
}

/* ---- strangers ---- */

struct world_channel *sim_dial_stranger(struct sim *sim, struct sim_node *node, uid_t uid)
{
	struct world_channel *channel = connect_to(sim, NULL, node);

	sim->has_strangers = true;
	channel->other->peer_uid = uid;
	return channel;
}

struct world_channel *sim_dial_foreigner(struct sim *sim, struct sim_node *node,
					 const char *certificate)
{
	struct world_channel *channel = connect_to(sim, NULL, node);

	sim->has_strangers = true;
	channel->is_remote = true;
	channel->other->is_remote = true;
	snprintf(channel->other->certificate, sizeof(channel->other->certificate), "%s",
		 certificate);
	return channel;
}

void sim_stranger_send_bytes(struct world_channel *channel, const void *bytes,
			     size_t length, bool with_fd, unsigned surplus)
{
	struct sim *sim = channel->other->node->sim;
	struct sim_fd fd = {
		.doorbell = sim_alloc(sim, sizeof(struct sim_socketpair)),
	};

	send_to(sim, channel->other, bytes, length, with_fd ? &fd : NULL, surplus, 0);
}

static void send_encoded(struct world_channel *channel,
			 const struct peer_message *message, const struct sim_fd *fd)
{
	uint8_t bytes[4096];
	size_t length;

	if (codec_peer_encode(message, bytes, sizeof(bytes), &length) < 0)
		abort();
	send_to(channel->other->node->sim, channel->other, bytes, length, fd, 0, 0);
}

static void send_ring_of_stranger(struct world_channel *channel,
				  const struct peer_message *message, uint16_t id)
{
	struct sim_memory *memory = sim_alloc(channel->other->node->sim, sizeof(*memory));
	struct sim_fd fd = {.memory = memory};

	memory->maker = id;
	memory->size = message->ring.size;
	memory->is_dead = true; /* nothing is ever stored into it */
	memory->died_ns = UINT64_MAX / 2;
	send_encoded(channel, message, &fd);
}

void sim_stranger_send(struct world_channel *channel, const struct peer_message *message)
{
	uint8_t bytes[4096];
	size_t length;

	if (codec_peer_encode(message, bytes, sizeof(bytes), &length) < 0)
		abort();
	sim_stranger_send_bytes(channel, bytes, length,
				peer_message_fds(message->type, false) == 1, 0);
}

/* What it says has no answer to wait for: messages keep their order. */
struct world_channel *sim_dial_member_of(struct sim *sim, struct sim_node *node,
					 uint16_t id, const char *name, uint32_t version)
{
	struct world_channel *channel = sim_dial_stranger(sim, node, node->world.uid);
	struct peer_message message = {
		.type = PEER_MESSAGE_HELLO,
		.hello = {.wire_version = version,
			  .id = id,
			  .nonce = 77,
			  .num_networks = 1,
			  .networks = {{.name = "lan0",
					.mtu = 1500,
					.offloads = SHMNET_OFFLOADS}}},
	};

	snprintf(message.hello.name, sizeof(message.hello.name), "%s", name);
	snprintf(message.hello.cluster, sizeof(message.hello.cluster), "sim");
	sim_stranger_send(channel, &message);
	message = (struct peer_message){.type = PEER_MESSAGE_BELL};
	sim_stranger_send(channel, &message);
	message = (struct peer_message){
		.type = PEER_MESSAGE_RING,
		.ring = {.network = "lan0", .size = 1u << 20},
	};
	send_ring_of_stranger(channel, &message, id);
	message =
		(struct peer_message){.type = PEER_MESSAGE_READY, .ready = {0, 1, 10000}};
	sim_stranger_send(channel, &message);
	return channel;
}

struct world_channel *sim_dial_member(struct sim *sim, struct sim_node *node, uint16_t id,
				      const char *name)
{
	return sim_dial_member_of(sim, node, id, name, SHMNET_WIRE_VERSION);
}

unsigned sim_stranger_borders(const struct world_channel *channel)
{
	return channel->borders;
}

void sim_stranger_send_cast(struct world_channel *channel,
			    const struct peer_message *message, uint32_t depth)
{
	struct sim *sim = channel->other->node->sim;
	struct sim_cast_memory *memory = sim_alloc(sim, sizeof(*memory));
	struct sim_fd fd = {.cast = memory};

	sim->has_liars = true;
	memory->spec.depth = depth;
	memory->spec.id = message->cast.id;
	send_encoded(channel, message, message->type == PEER_MESSAGE_CAST ? &fd : NULL);
}

void sim_stranger_close(struct world_channel *channel)
{
	channel->is_closed = true;
	sim_end_channel(channel->other->node->sim, channel, 0);
}

const char *sim_stranger_refusal(const struct world_channel *channel)
{
	return channel->refusal;
}

bool sim_stranger_is_closed(const struct world_channel *channel)
{
	return channel->had_end;
}

void sim_fill_channel_ops(struct world_ops *ops)
{
	ops->dial = op_dial;
	ops->channel_set_handler = op_channel_set_handler;
	ops->channel_credentials = op_channel_credentials;
	ops->channel_is_remote = op_channel_is_remote;
	ops->channel_send = op_channel_send;
	ops->channel_at_end = op_channel_at_end;
	ops->channel_why = op_channel_why;
	ops->channel_close = op_channel_close;
}
