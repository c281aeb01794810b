/* See sim.h. Objects of the world stay until sim_free(), so that a late use is seen. */
#include "sim.h"

#include "base/log.h"
#include "control/cast.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FDS_MAX	    (1u << 16)
#define FD_FIRST    1000
#define SIM_WANTS   16
#define NEWS_MAX_NS (SIM_DELAY_MAX_NS + 1)
#define REST_NS	    (4 * SIM_S)	   /* after that, casts have settled */
#define CAST_NS	    (300 * SIM_MS) /* from cast to cast */
#define WRITE_NS    (500 * SIM_MS)
#define CONNECT_NS  (400 * SIM_MS) /* a connection between machines takes so long */

const uint8_t sim_broadcast[SHMNET_ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
const uint8_t sim_group[SHMNET_ETH_ALEN] = {0x33, 0x33, 0, 0, 0, 0xfb};

/* Everything that has to be freed at the end. */
struct sim_object {
	struct sim_object *next;
};

/* The memory of a ring, which two world_rings may show. */
struct sim_memory {
	struct sim_object object;
	uint16_t maker;
	uint64_t size;
	uint64_t beat; /* of who writes into it */
	bool is_dead;
	uint64_t died_ns;
	struct sim_letter *letters; /* that the maker has not read */
	uint64_t last_letter_ns;
};

/* What was sent through a link. */
struct sim_letter {
	struct sim_object object;
	struct sim_letter *next;
	uint64_t time_ns; /* when it arrives, if there is a link then */
	size_t length;
	uint8_t bytes[WORLD_WORD_MAX];
};

/* What the nodes of the simulator say by it: each is above all before, at its reader. */
struct sim_text {
	uint32_t life;
	uint32_t link;
	uint32_t number;
	uint32_t answers; /* that it is worth */
};

/* One node, as another one has heard of it on one network. */
struct sim_talk {
	bool is_up;
	uint32_t link; /* how often it was up */
	uint32_t said; /* since then */
	uint32_t heard;
	struct sim_text last;
};

/* How one end of a connection is reached: its doorbell, or its queue pair. */
struct sim_socketpair {
	struct sim_object object;
	struct world_conn *conn; /* whose it is; NULL: a stranger's */
};

/* The memory of a cast ring. */
struct sim_cast_memory {
	struct sim_object object;
	struct world_cast_spec spec;
	bool is_closed;
	uint64_t closed_ns;
	bool is_stuck[SIM_NODES_MAX];	  /* who died in a slot */
	unsigned was_left[SIM_NODES_MAX]; /* in which life */
};

struct sim_fd {
	struct sim_node *node;
	struct sim_memory *memory;	 /* either */
	struct sim_socketpair *doorbell; /* or */
	struct sim_cast_memory *cast;	 /* or */
	bool is_open;
};

struct world_timer {
	struct sim_object object;
	struct sim_node *node;
	void (*fire)(void *arg);
	void *arg;
	uint64_t shot; /* events of earlier ones are void */
	bool is_freed;
};

struct world_channel {
	struct sim_object object;
	struct sim_node *node; /* NULL: a stranger's */
	struct world_channel *other;
	const struct world_channel_handler *handler;
	void *arg;
	uid_t peer_uid;
	pid_t peer_pid;	  /* tells its life, too */
	uint64_t last_ns; /* when the last thing on its way to this end arrives */
	bool is_remote;
	bool is_closed; /* by its owner */
	bool is_dead;	/* closed, cut, or its owner died */
	bool is_cut;	/* dead, but both owners live */
	bool had_end;	/* `closed` was called */
	struct world_channel *next;
	struct world_conn *conn;	   /* of its owner */
	const char *why;		   /* of its end */
	char certificate[CONFIG_NAME_MAX]; /* of the other end */
	char refusal[PEER_WORDS_MAX];
};

struct sim_message {
	struct sim_object object;
	struct world_channel *to;
	uint8_t *bytes;
	size_t length;
	struct sim_memory *memory;
	struct sim_socketpair *doorbell;
	struct sim_cast_memory *cast;
	unsigned surplus;
	int error; /* of `closed`, if there are no bytes */
};

struct world_conn {
	struct sim_object object;
	struct sim_node *node;
	struct sim_socketpair *heard; /* ours: the peer rings it */
	int fd;			      /* what rings it, to be sent; -1: that is over */
	struct sim_socketpair *rung;  /* the peer's, once it was accepted */
	struct world_channel *channel;
	bool is_ready;
	bool is_lost;
	unsigned num_links;
	unsigned num_rings;
	bool is_freed;
};

struct world_ring {
	struct sim_object object;
	struct sim_node *node;
	struct world_conn *conn;
	struct sim_memory *memory;
	bool is_ours;
	bool is_freed;
	int fd; /* of ours */
	struct world_ring *next;
};

struct world_link {
	struct sim_object object;
	struct sim_node *node;
	struct world_link_spec spec;
	struct world_link *next; /* of those that are open */
};

struct world_cast {
	struct sim_object object;
	struct sim_node *node;
	struct sim_cast_memory *memory;
	struct world_cast_spec spec;
	bool reads, writes;
	uint64_t shown_ns;
	int fd; /* -1: of a peer's lane */
	struct world_link *readers[SIM_NODES_MAX];
	struct world_cast *next; /* of those that are open */
};

/* A worker that waits for an answer. */
struct sim_want {
	unsigned network;
	uint8_t label[SHMNET_ETH_ALEN];
	bool is_open;
	uint64_t asked_ns;
};

struct sim_event {
	uint64_t time_ns;
	uint64_t sequence;
	struct sim_node *node; /* whose life it belongs to; may be NULL */
	unsigned life;
	void (*run)(struct sim *sim, struct sim_node *node, void *arg, uint64_t number);
	void *arg;
	uint64_t number;
};

struct sim_node {
	struct world world; /* first: what the logic has */
	struct sim *sim;
	struct node_config config;
	struct config_network networks[SIM_NETWORKS];
	char name[CONFIG_NAME_MAX];
	struct membership *membership;
	unsigned life; /* 0: never started */
	bool is_alive;
	bool is_paused;
	bool is_visible; /* its socket is in the rendezvous */
	unsigned host;
	bool is_fabric_down;
	char certificate[CONFIG_NAME_MAX];
	uint64_t resumed_ns;
	uint64_t quiet_ns;	      /* when it was last known not to show life */
	bool is_blind[SIM_NODES_MAX]; /* to the node of that index */
	struct events events;
	uint64_t last_notice_ns; /* of the rendezvous, which keeps its order */
	struct world_link *links;
	struct world_cast *casts;
	struct sim_want wants[SIM_WANTS];
	bool is_leaving;
	bool carrier[SIM_NETWORKS];
	struct sim_talk talks[SIM_NODES_MAX][SIM_NETWORKS];
	bool suspects[SIM_NODES_MAX];
	unsigned num_open; /* of what it has to close, free or give away */
	struct sim_event *held;
	size_t num_held;
	/* The others as they were when they were up: incarnation, and of which life. */
	uint32_t seen[SIM_NODES_MAX];
	pid_t seen_pid[SIM_NODES_MAX];
};

struct sim {
	uint64_t state; /* of the random numbers */
	uint64_t now_ns;
	uint64_t sequence;
	uint64_t hash;
	unsigned failures;
	bool is_traced;
	struct sim_event *queue; /* a heap */
	size_t num_events, max_events;
	struct sim_object *objects;
	struct world_channel *channels;
	struct world_ring *rings;
	struct sim_node *nodes[SIM_NODES_MAX];
	unsigned num_nodes;
	struct sim_fd fds[FDS_MAX];
	unsigned num_fds;
	uint64_t epochs[SIM_NODES_MAX][SIM_NETWORKS]; /* of each host */
	uint64_t disturbed_ns; /* when something happened to the casts */
	bool casts_always;
	bool writes_always;
	unsigned num_warnings;
	bool dies_in_slots;
	char error[256];
};

/* The world that runs, for the log. */
static struct sim *current;

/* ---- seed, trace, errors ---- */

static uint64_t next_random(struct sim *sim)
{
	uint64_t x = sim->state += 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

uint64_t sim_random(struct sim *sim, uint64_t limit)
{
	return next_random(sim) % limit;
}

static uint64_t random_delay(struct sim *sim)
{
	return 1 + sim_random(sim, SIM_DELAY_MAX_NS);
}

static bool fails(struct sim *sim)
{
	if (!sim->failures || sim_random(sim, 1000) >= sim->failures)
		return false;
	sim->disturbed_ns = sim->now_ns;
	return true;
}

static void __attribute__((format(printf, 2, 3)))
trace(struct sim *sim, const char *format, ...)
{
	char text[1200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (const char *c = text; *c; c++)
		sim->hash = (sim->hash ^ (uint8_t)*c) * 0x100000001b3u;
	sim->hash ^= sim->now_ns;
	if (sim->is_traced)
		fprintf(stderr, "%12.6f %s\n", (double)sim->now_ns / 1e9, text);
}

static void __attribute__((format(printf, 2, 3)))
broken(struct sim *sim, const char *format, ...)
{
	va_list args;

	if (sim->error[0])
		return;
	va_start(args, format);
	vsnprintf(sim->error, sizeof(sim->error), format, args);
	va_end(args);
	trace(sim, "BROKEN: %s", sim->error);
}

/* The linker sends the logic's log here (--wrap). */
void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void __wrap_log_write(enum log_level level, const char *subject, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!current)
		return;
	trace(current, "    log %s: %s", subject ? subject : "", text);
	if (level == LOG_LEVEL_WARNING)
		current->num_warnings++;
	if (level == LOG_LEVEL_ERROR)
		broken(current, "an error was logged: %s: %s", subject ? subject : "",
		       text);
}

/* ---- the queue ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->time_ns != b->time_ns ? a->time_ns < b->time_ns
					: a->sequence < b->sequence;
}

static void swap_events(struct sim_event *a, struct sim_event *b)
{
	struct sim_event event = *a;

	*a = *b;
	*b = event;
}

static void *grow(void *array, size_t count, size_t size)
{
	array = realloc(array, count * size);
	if (!array)
		abort();
	return array;
}

static void push_event(struct sim *sim, const struct sim_event *event)
{
	size_t i = sim->num_events++;

	if (sim->num_events > sim->max_events) {
		sim->max_events = 2 * sim->num_events;
		sim->queue = grow(sim->queue, sim->max_events, sizeof(*sim->queue));
	}
	sim->queue[i] = *event;
	sim->queue[i].sequence = sim->sequence++;
	for (; i && is_before(&sim->queue[i], &sim->queue[(i - 1) / 2]); i = (i - 1) / 2)
		swap_events(&sim->queue[i], &sim->queue[(i - 1) / 2]);
}

static struct sim_event pop_event(struct sim *sim)
{
	struct sim_event first = sim->queue[0];
	size_t i = 0, child;

	sim->queue[0] = sim->queue[--sim->num_events];
	while ((child = 2 * i + 1) < sim->num_events) {
		if (child + 1 < sim->num_events &&
		    is_before(&sim->queue[child + 1], &sim->queue[child]))
			child++;
		if (!is_before(&sim->queue[child], &sim->queue[i]))
			break;
		swap_events(&sim->queue[child], &sim->queue[i]);
		i = child;
	}
	return first;
}

static void at(struct sim *sim, uint64_t time_ns, struct sim_node *node,
	       void (*run)(struct sim *sim, struct sim_node *node, void *arg,
			   uint64_t number),
	       void *arg, uint64_t number)
{
	const struct sim_event event = {
		.time_ns = time_ns,
		.node = node,
		.life = node ? node->life : 0,
		.run = run,
		.arg = arg,
		.number = number,
	};

	push_event(sim, &event);
}

static void *new_object(struct sim *sim, size_t size)
{
	struct sim_object *object = calloc(1, size);

	if (!object)
		abort();
	object->next = sim->objects;
	sim->objects = object;
	return object;
}

/* ---- descriptors ---- */

static struct sim_node *node_of(struct world *world)
{
	return (struct sim_node *)world;
}

static int open_fd(struct sim_node *node, struct sim_memory *memory,
		   struct sim_socketpair *doorbell)
{
	struct sim *sim = node->sim;

	if (sim->num_fds == FDS_MAX)
		abort();
	sim->fds[sim->num_fds] = (struct sim_fd){node, memory, doorbell, NULL, true};
	node->num_open++;
	return FD_FIRST + (int)sim->num_fds++;
}

static struct sim_fd *find_fd(struct sim_node *node, int fd)
{
	struct sim *sim = node->sim;
	struct sim_fd *found;

	if (fd < FD_FIRST || fd >= FD_FIRST + (int)sim->num_fds)
		return NULL;
	found = &sim->fds[fd - FD_FIRST];
	return found->is_open && found->node == node ? found : NULL;
}

static void close_fd(struct sim_node *node, int fd)
{
	struct sim_fd *found = find_fd(node, fd);

	if (!found) {
		broken(node->sim, "%s closes descriptor %d, which is not open",
		       node->name, fd);
		return;
	}
	found->is_open = false;
	node->num_open--;
}

/* ---- time ---- */

static uint64_t op_now(struct world *world)
{
	return node_of(world)->sim->now_ns;
}

static void op_random(struct world *world, void *bytes, size_t length)
{
	uint8_t *to = bytes;

	for (size_t i = 0; i < length; i++)
		to[i] = (uint8_t)next_random(node_of(world)->sim);
}

static struct world_timer *op_timer_new(struct world *world, void (*fire)(void *arg),
					void *arg)
{
	struct sim_node *node = node_of(world);
	struct world_timer *timer = new_object(node->sim, sizeof(*timer));

	timer->node = node;
	timer->fire = fire;
	timer->arg = arg;
	node->num_open++;
	return timer;
}

static void run_timer(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	struct world_timer *timer = arg;

	if (timer->is_freed || timer->shot != number)
		return;
	trace(sim, "%s: timer", node->name);
	timer->fire(timer->arg);
}

static void op_timer_set(struct world_timer *timer, uint64_t delay_ns)
{
	struct sim *sim = timer->node->sim;

	if (timer->is_freed)
		broken(sim, "%s sets a timer that is freed", timer->node->name);
	at(sim, sim->now_ns + delay_ns, timer->node, run_timer, timer, ++timer->shot);
}

static void op_timer_cancel(struct world_timer *timer)
{
	timer->shot++;
}

static void op_timer_free(struct world_timer *timer)
{
	if (!timer)
		return;
	if (timer->is_freed)
		broken(timer->node->sim, "%s frees a timer twice", timer->node->name);
	timer->is_freed = true;
	timer->node->num_open--;
}

/* ---- channels ---- */

static const char *end_name(const struct world_channel *channel)
{
	return channel->node ? channel->node->name : "stranger";
}

/* What travels on one channel keeps its order. */
static uint64_t arrival(struct sim *sim, struct world_channel *to)
{
	uint64_t time_ns = sim->now_ns + random_delay(sim);

	if (time_ns < to->last_ns)
		time_ns = to->last_ns;
	to->last_ns = time_ns;
	return time_ns;
}

static void keep_refusal(struct world_channel *channel, const struct sim_message *message)
{
	struct peer_message decoded;
	const char *why;

	if (message->bytes &&
	    codec_peer_decode(message->bytes, message->length, &decoded, &why) == 0 &&
	    decoded.type == PEER_MESSAGE_REFUSE)
		memcpy(channel->refusal, decoded.refuse.words, sizeof(channel->refusal));
	if (!message->bytes)
		channel->had_end = true;
}

static void deliver_bytes(struct world_channel *to, const struct sim_message *message)
{
	struct world_parcel parcel = {.fd = -1, .surplus = message->surplus};

	if (message->memory || message->doorbell || message->cast) {
		parcel.fd = open_fd(to->node, message->memory, message->doorbell);
		find_fd(to->node, parcel.fd)->cast = message->cast;
	}
	to->handler->message(to->arg, message->bytes, message->length, &parcel);
	if (parcel.fd >= 0)
		close_fd(to->node, parcel.fd);
}

static void run_delivery(struct sim *sim, struct sim_node *node, void *arg,
			 uint64_t number)
{
	const struct sim_message *message = arg;
	struct world_channel *to = message->to;

	(void)node;
	(void)number;
	if (to->is_closed || to->had_end)
		return;
	if (!to->node) {
		keep_refusal(to, message);
		return;
	}
	trace(sim, "%s: %s from %s", to->node->name,
	      message->bytes ? "message" : "end of channel", end_name(to->other));
	if (!to->handler) {
		broken(sim, "%s has a channel without a handler", to->node->name);
	} else if (message->bytes) {
		deliver_bytes(to, message);
	} else {
		to->had_end = true;
		to->handler->closed(to->arg, message->error);
	}
}

static void send_to(struct sim *sim, struct world_channel *to, const void *bytes,
		    size_t length, const struct sim_fd *fd, unsigned surplus, int error)
{
	struct sim_message *message = new_object(sim, sizeof(*message) + length);

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
	at(sim, arrival(sim, to), to->node, run_delivery, message, 0);
}

/* This end is gone: the other one will hear of it. */
static void end_channel(struct sim *sim, struct world_channel *channel, int error)
{
	if (channel->is_dead)
		return;
	channel->is_dead = true;
	send_to(sim, channel->other, NULL, 0, NULL, 0, error);
}

static struct world_channel *new_end(struct sim *sim, struct sim_node *node)
{
	struct world_channel *channel = new_object(sim, sizeof(*channel));

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
	trace(sim, "%s: accepts %s", node->name, end_name(channel->other));
	node->world.handler->accepted(node->world.handler_arg, channel);
	if (!channel->handler && !channel->is_closed)
		broken(sim, "%s has set no handler for what it accepted", node->name);
}

static pid_t pid_of(const struct sim_node *node)
{
	return node ? node->config.id * 100 + (pid_t)node->life : 99;
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
	near->peer_pid = pid_of(to);
	far->peer_uid = from ? from->world.uid : 0;
	far->peer_pid = pid_of(from);
	at(sim, arrival(sim, far), to, run_accept, far, 0);
	return near;
}

static struct sim_node *find_node(struct sim *sim, uint16_t id)
{
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->config.id == id)
			return sim->nodes[i];
	}
	return NULL;
}

/* A call to another machine, which turns out to reach nobody. */
static struct world_channel *call_nobody(struct sim_node *node)
{
	struct world_channel *near = new_end(node->sim, node);
	struct world_channel *far = new_end(node->sim, NULL);

	near->other = far;
	far->other = near;
	near->is_remote = true;
	near->why = "connect: Connection refused";
	end_channel(node->sim, far, -ECONNREFUSED);
	return near;
}

static int op_dial(struct world *world, uint16_t node_id,
		   struct world_channel **ret_channel)
{
	struct sim_node *node = node_of(world);
	struct sim_node *to = find_node(node->sim, node_id);

	if (!to || !to->is_visible)
		return -ENOENT;
	if (to->host != node->host && (!to->is_alive || fails(node->sim))) {
		*ret_channel = call_nobody(node);
		return 0;
	}
	if (!to->is_alive)
		return -ECONNREFUSED;
	if (fails(node->sim))
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
		broken(sim, "%s sends a descriptor to another machine", name);
	if (codec_peer_decode(bytes, length, &message, &why) < 0) {
		broken(sim, "%s sends a message that %s", name, why);
		return;
	}
	if (message.type == PEER_MESSAGE_CAST || message.type == PEER_MESSAGE_READS ||
	    message.type == PEER_MESSAGE_WANT)
		broken(sim, "%s speaks of cast rings to another machine", name);
}

/* All that a node may be refused for by another one; the rest a node doesn't do. */
static bool may_refuse(const struct peer_refuse *refuse)
{
	return refuse->code != PEER_REFUSAL_PROTOCOL ||
	       strstr(refuse->words, "broke the rules") || /* sim_fault_link() */
	       strstr(refuse->words, "does not read its messages") ||
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
		broken(channel->node->sim, "%s says READY before its connection is",
		       channel->node->name);
	if (message.type == PEER_MESSAGE_REFUSE && channel->other->node &&
	    !may_refuse(&message.refuse))
		broken(channel->node->sim, "%s refuses %s: %s", channel->node->name,
		       channel->other->node->name, message.refuse.words);
}

static int op_channel_send(struct world_channel *channel, const uint8_t *bytes,
			   size_t length, int fd)
{
	struct sim_node *node = channel->node;
	struct sim_fd *found = fd < 0 ? NULL : find_fd(node, fd);

	if (channel->is_closed)
		broken(node->sim, "%s sends on a channel that it closed", node->name);
	if (length > WORLD_MESSAGE_MAX)
		broken(node->sim, "%s sends %zu bytes", node->name, length);
	if (channel->is_remote)
		check_remote(channel, bytes, length, fd);
	check_order(channel, bytes, length);
	if (fd >= 0 && !found)
		broken(node->sim, "%s sends descriptor %d, which is not open", node->name,
		       fd);
	if (channel->is_dead || channel->other->is_dead)
		return -EPIPE;
	if (fails(node->sim))
		return sim_random(node->sim, 2) ? -EAGAIN : -ENOBUFS;
	send_to(node->sim, channel->other, bytes, length, found, 0, 0);
	return 0;
}

static bool op_channel_at_end(struct world_channel *channel)
{
	return channel->other->is_dead && !channel->is_cut;
}

static const char *op_channel_why(const struct world_channel *channel)
{
	return channel->why ? channel->why : "";
}

static void op_channel_close(struct world_channel *channel)
{
	struct sim_node *node = channel->node;

	if (channel->is_closed) {
		broken(node->sim, "%s closes a channel twice", node->name);
		return;
	}
	channel->is_closed = true;
	node->num_open--;
	end_channel(node->sim, channel, 0);
}

/* ---- rings and links ---- */

static struct world_ring *show_ring(struct world_conn *conn, struct sim_memory *memory)
{
	struct sim_node *node = conn->node;
	struct world_ring *ring = new_object(node->sim, sizeof(*ring));

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
	if (fails(node->sim)) {
		*ret_why = "the simulator has no memory";
		return -ENOMEM;
	}
	memory = new_object(node->sim, sizeof(*memory));
	memory->maker = node->config.id;
	memory->size = size;
	*ret_ring = show_ring(conn, memory);
	(*ret_ring)->is_ours = true;
	if (!conn->channel->is_remote)
		(*ret_ring)->fd = open_fd(node, memory, NULL);
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
	fd = find_fd(node, parcel->fd);
	close_fd(node, parcel->fd);
	parcel->fd = -1;
	return fd ? fd->memory : NULL;
}

static int op_ring_accept(struct world_conn *conn, struct world_parcel *parcel,
			  const uint8_t *bytes, size_t length, uint64_t size,
			  struct world_ring **ret_ring, const char **ret_why)
{
	struct sim_memory *memory = take_memory(conn, parcel, bytes, length);

	if (!conn->rung || conn->is_lost)
		broken(conn->node->sim, "%s accepts a ring of a connection that %s",
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

static void leave_memory(struct world_ring *ring)
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
		broken(node->sim, "%s frees a ring twice", node->name);
	if (ring->conn->is_freed)
		broken(node->sim, "%s frees a ring after its connection", node->name);
	ring->is_freed = true;
	ring->conn->num_rings--;
	node->num_open--;
	if (!ring->is_ours)
		return;
	if (ring->fd >= 0)
		close_fd(node, ring->fd);
	leave_memory(ring);
}

static int op_conn_new(struct world *world, struct world_channel *channel,
		       uint16_t peer_id, bool active, struct world_conn **ret_conn,
		       const char **ret_why)
{
	struct sim_node *node = node_of(world);
	struct world_conn *conn;

	if (channel->is_closed || active != (node->config.id < peer_id))
		broken(node->sim, "%s connects to %u in the wrong way", node->name,
		       peer_id);
	if (channel->is_remote && node->is_fabric_down) {
		*ret_why = "the simulator has no device";
		return -ENETDOWN;
	}
	if (fails(node->sim)) {
		*ret_why = "the simulator has no connections";
		return -EMFILE;
	}
	conn = new_object(node->sim, sizeof(*conn));
	conn->node = node;
	conn->channel = channel;
	channel->conn = conn;
	conn->heard = new_object(node->sim, sizeof(*conn->heard));
	conn->heard->conn = conn;
	conn->is_ready = !channel->is_remote;
	conn->fd = channel->is_remote ? -1 : open_fd(node, NULL, conn->heard);
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
		close_fd(conn->node, conn->fd);
	conn->fd = -1;
}

static void run_conn_ready(struct sim *sim, struct sim_node *node, void *arg,
			   uint64_t number)
{
	struct world_conn *conn = arg;

	(void)number;
	if (conn->is_freed || conn->is_lost)
		return;
	trace(sim, "%s: connected to %s", node->name, end_name(conn->channel->other));
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
	trace(sim, "%s: loses its connection to %s", node->name,
	      end_name(conn->channel->other));
	conn->is_lost = true;
	node->world.handler->conn_lost(node->world.handler_arg, conn,
				       "the wire was cut in the simulator");
}

static void lose_conn(struct world_conn *conn)
{
	struct sim *sim = conn->node->sim;

	at(sim, sim->now_ns + random_delay(sim), conn->node, run_conn_lost, conn, 0);
}

static struct world_conn *other_conn(const struct world_conn *conn)
{
	return conn->rung ? conn->rung->conn : NULL;
}

static bool has_both_halves(const struct world_conn *conn)
{
	const struct world_conn *other = other_conn(conn);

	return other && other->rung == conn->heard;
}

/* Either may be first, by far. A request that gets lost is found by the handshake's end.
 */
static void connect_half(struct world_conn *conn)
{
	struct sim *sim = conn->node->sim;

	if (fails(sim))
		lose_conn(conn);
	else if (!fails(sim))
		at(sim, sim->now_ns + random_delay(sim) + sim_random(sim, CONNECT_NS),
		   conn->node, run_conn_ready, conn, 0);
}

static void connect_halves(struct world_conn *conn)
{
	if (!conn->channel->is_remote || !has_both_halves(conn))
		return;
	connect_half(conn);
	connect_half(other_conn(conn));
}

static struct sim_socketpair *take_doorbell(struct world_conn *conn,
					    struct world_parcel *parcel,
					    const uint8_t *bytes, size_t length)
{
	struct sim_node *node = conn->node;
	struct sim_fd *fd;

	if (conn->channel->is_remote)
		return find_object(node->sim, bytes, length);
	fd = find_fd(node, parcel->fd);
	close_fd(node, parcel->fd);
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
		broken(node->sim, "%s mixes up the doorbells", node->name);
	if (!doorbell) {
		*ret_why = "is no doorbell";
		return -EPROTO;
	}
	if (fails(node->sim)) {
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

static void op_conn_free(struct world_conn *conn)
{
	if (!conn)
		return;
	if (conn->is_freed || conn->num_links || conn->num_rings)
		broken(conn->node->sim, "%s frees a connection %s", conn->node->name,
		       conn->is_freed ? "twice" : "before its links");
	stop_offering(conn);
	conn->is_freed = true;
	conn->node->num_open--;
	conn->channel->conn = NULL;
	if (conn->channel->is_remote && has_both_halves(conn))
		lose_conn(other_conn(conn));
}

static unsigned index_of(const struct sim_node *node)
{
	unsigned i = 0;

	while (node->sim->nodes[i] != node)
		i++;
	return i;
}

static void op_conn_beat(struct world_conn *conn)
{
	struct sim_node *node = conn->node;

	for (struct world_link *link = node->links; link; link = link->next) {
		const struct sim_node *peer = find_node(node->sim, link->spec.peer_id);

		if (link->spec.conn == conn && !peer->is_blind[index_of(node)])
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

static void check_spec(struct sim_node *node, const struct world_link_spec *spec)
{
	if (spec->rx->is_freed || spec->tx->is_freed || spec->conn->is_freed)
		broken(node->sim, "%s links what is freed", node->name);
	if (!spec->rx->is_ours || spec->tx->is_ours)
		broken(node->sim, "%s mixes up the rings of a link", node->name);
	if (spec->offloads != node->networks[spec->network].offloads)
		broken(node->sim, "%s links offloads that the peer didn't tell",
		       node->name);
	if (!spec->conn->is_ready ||
	    (other_conn(spec->conn) && !other_conn(spec->conn)->is_ready))
		broken(node->sim, "%s links to %u before both sides are connected",
		       node->name, spec->peer_id);
	if (spec->tx->memory->maker != spec->peer_id)
		broken(node->sim, "%s links a ring of %u as that of %u", node->name,
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
		trace(sim, "%s: letter of %u", node->name, link->spec.peer_id);
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
		broken(link->node->sim, "%s sends by a link that is freed",
		       link->node->name);
}

/* It lies in the reader's memory, and may be there before the reader has its link. */
static int op_link_send(struct world_link *link, const uint8_t *bytes, size_t length)
{
	struct sim *sim = link->node->sim;
	struct sim_memory *memory = link->spec.tx->memory;
	struct sim_node *to = find_node(sim, memory->maker);
	struct sim_letter *letter, **at_end = &memory->letters;

	check_sender(link);
	if (length == 0 || length > WORLD_WORD_MAX)
		return -EMSGSIZE;
	if (sim_random(sim, 1000) < sim->failures)
		return -EAGAIN;
	if (!to || !to->is_alive || !link->node->is_alive ||
	    sim_random(sim, 1000) < sim->failures)
		return 0;
	letter = new_object(sim, sizeof(*letter));
	letter->length = length;
	memcpy(letter->bytes, bytes, length);
	letter->time_ns = sim->now_ns + random_delay(sim);
	if (letter->time_ns < memory->last_letter_ns)
		letter->time_ns = memory->last_letter_ns;
	memory->last_letter_ns = letter->time_ns;
	while (*at_end)
		at_end = &(*at_end)->next;
	*at_end = letter;
	at(sim, letter->time_ns, to, run_letters, memory, 0);
	return 0;
}

static int op_link_new(struct world *world, const struct world_link_spec *spec,
		       struct world_link **ret_link)
{
	struct sim_node *node = node_of(world);
	struct world_link *link;

	check_spec(node, spec);
	if (fails(node->sim))
		return -ENOMEM;
	link = new_object(node->sim, sizeof(*link));
	link->node = node;
	link->spec = *spec;
	link->next = node->links;
	node->links = link;
	node->num_open++;
	spec->conn->num_links++;
	trace(node->sim, "%s: link to %u on %s", node->name, spec->peer_id,
	      node->networks[spec->network].name);
	node->sim->disturbed_ns = node->sim->now_ns;
	if (spec->rx->memory->letters)
		at(node->sim, node->sim->now_ns + random_delay(node->sim), node,
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
				cast->readers[i] = NULL;
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
		broken(node->sim, "%s frees a link twice", node->name);
		return;
	}
	*at_link = link->next;
	forget_reader(node, link);
	if (peer_is_dead && node->is_alive && !link->spec.tx->memory->is_dead)
		broken(node->sim, "%s salvages from %u, which can still store",
		       node->name, link->spec.peer_id);
	trace(node->sim, "%s: no link to %u on %s", node->name, link->spec.peer_id,
	      node->networks[link->spec.network].name);
	link->spec.conn->num_links--;
	op_ring_free(link->spec.rx);
	op_ring_free(link->spec.tx);
	node->num_open--;
}

/* ---- casts ---- */

static unsigned find_index(const struct sim *sim, uint16_t id)
{
	unsigned index = 0;

	while (index < sim->num_nodes && sim->nodes[index]->config.id != id)
		index++;
	return index;
}

static struct world_cast *show_cast(struct sim_node *node, struct sim_cast_memory *memory,
				    const struct world_cast_spec *spec, bool is_ours)
{
	struct world_cast *cast = new_object(node->sim, sizeof(*cast));

	cast->node = node;
	cast->memory = memory;
	cast->spec = *spec;
	cast->reads = !spec->lane || !is_ours;
	cast->writes = !spec->lane || is_ours;
	cast->fd = -1;
	cast->shown_ns = node->sim->now_ns;
	if (cast->writes) {
		cast->fd = open_fd(node, NULL, NULL);
		find_fd(node, cast->fd)->cast = memory;
	}
	cast->next = node->casts;
	node->casts = cast;
	node->num_open++;
	node->sim->disturbed_ns = node->sim->now_ns;
	trace(node->sim, "%s: cast ring %llu of %u on %s%s", node->name,
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
		trace(sim, "%s: fault of cast ring %llu", node->name,
		      (unsigned long long)cast->spec.epoch);
		node->world.handler->cast_fault(node->world.handler_arg, cast,
						(int)(int64_t)number);
		return;
	}
}

static void report_cast(struct world_cast *cast, int error)
{
	struct sim *sim = cast->node->sim;

	at(sim, sim->now_ns + random_delay(sim), cast->node, run_cast_fault, cast,
	   (uint64_t)(int64_t)error);
}

static int op_cast_new(struct world *world, const struct world_cast_spec *spec,
		       struct world_cast **ret_cast, const char **ret_why)
{
	struct sim_node *node = node_of(world);
	struct sim_cast_memory *memory;

	if (fails(node->sim)) {
		*ret_why = "the simulator has no memory";
		return -ENOMEM;
	}
	memory = new_object(node->sim, sizeof(*memory));
	memory->spec = *spec;
	*ret_cast = show_cast(node, memory, spec, true);
	return 0;
}

static int op_cast_accept(struct world *world, struct world_parcel *parcel,
			  const struct world_cast_spec *spec,
			  struct world_cast **ret_cast, const char **ret_why)
{
	struct sim_node *node = node_of(world);
	struct sim_fd *fd = find_fd(node, parcel->fd);
	struct sim_cast_memory *memory = fd ? fd->cast : NULL;

	close_fd(node, parcel->fd);
	parcel->fd = -1;
	if (!memory || memory->spec.depth != spec->depth ||
	    memory->spec.network != spec->network) {
		*ret_why = "it is no memory of that size";
		return -EPROTO;
	}
	if (fails(node->sim)) {
		*ret_why = "the simulator has no memory";
		return -ENOMEM;
	}
	memory->is_stuck[find_index(node->sim, node->config.id)] = false;
	if (memory->was_left[find_index(node->sim, node->config.id)] == node->life)
		broken(node->sim, "%s takes up a cast ring that it has left", node->name);
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
		broken(node->sim, "%s frees a cast ring twice", node->name);
		return;
	}
	if (!cast->spec.lane && !cast->memory->is_closed && node->is_alive &&
	    !node->is_leaving)
		broken(node->sim, "%s leaves a cast ring that others write to",
		       node->name);
	*at_cast = cast->next;
	if (!cast->spec.lane)
		cast->memory->was_left[find_index(node->sim, node->config.id)] =
			node->life;
	if (cast->fd >= 0)
		close_fd(node, cast->fd);
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
		broken(node->sim, "%s has a reader without a link", node->name);
	else if (link->spec.conn->channel->is_remote)
		broken(node->sim, "%s has a reader on another machine", node->name);
	else
		cast->readers[find_index(node->sim, link->spec.peer_id)] = link;
}

/* Each reader comes to the end of it. */
static void op_cast_close(struct world_cast *cast)
{
	struct sim *sim = cast->node->sim;

	if (cast->memory->is_closed)
		return;
	cast->memory->is_closed = true;
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
	struct sim *sim = node_of(world)->sim;
	unsigned index = find_index(sim, node_id);

	if (index == sim->num_nodes || sim->nodes[index]->is_alive || fails(sim))
		return -EBUSY;
	cast->memory->is_stuck[index] = false;
	return 0;
}

static void op_cast_answered(struct world *world, unsigned network,
			     const uint8_t label[SHMNET_ETH_ALEN])
{
	struct sim_node *node = node_of(world);

	for (unsigned i = 0; i < SIM_WANTS; i++) {
		if (node->wants[i].network == network &&
		    memcmp(node->wants[i].label, label, SHMNET_ETH_ALEN) == 0)
			node->wants[i].is_open = false;
	}
}

static int op_claim_epoch(struct world *world, unsigned network, uint64_t known,
			  bool anyway, uint64_t limit, uint64_t *ret_epoch)
{
	struct sim *sim = node_of(world)->sim;
	uint64_t *last = &sim->epochs[node_of(world)->host][network];
	uint64_t epoch = *last;

	if (epoch > known && !anyway)
		return -EAGAIN;
	if (fails(sim))
		return -EIO;
	epoch = epoch > known ? epoch : known;
	if (epoch >= limit)
		return -EOVERFLOW;
	*ret_epoch = *last = epoch + 1;
	return 0;
}

static const struct world_ops sim_ops = {
	.now = op_now,
	.random = op_random,
	.timer_new = op_timer_new,
	.timer_set = op_timer_set,
	.timer_cancel = op_timer_cancel,
	.timer_free = op_timer_free,
	.dial = op_dial,
	.channel_set_handler = op_channel_set_handler,
	.channel_credentials = op_channel_credentials,
	.channel_send = op_channel_send,
	.channel_is_remote = op_channel_is_remote,
	.channel_at_end = op_channel_at_end,
	.channel_why = op_channel_why,
	.channel_close = op_channel_close,
	.conn_new = op_conn_new,
	.conn_offer = op_conn_offer,
	.conn_accept = op_conn_accept,
	.conn_is_ready = op_conn_is_ready,
	.conn_fabric = op_conn_fabric,
	.conn_beat = op_conn_beat,
	.conn_pulse = op_conn_pulse,
	.conn_free = op_conn_free,
	.ring_new = op_ring_new,
	.ring_offer = op_ring_offer,
	.ring_accept = op_ring_accept,
	.ring_free = op_ring_free,
	.link_new = op_link_new,
	.link_free = op_link_free,
	.link_send = op_link_send,
	.cast_new = op_cast_new,
	.cast_accept = op_cast_accept,
	.cast_free = op_cast_free,
	.cast_fd = op_cast_fd,
	.cast_stop_writing = op_cast_stop_writing,
	.cast_set_reader = op_cast_set_reader,
	.cast_close = op_cast_close,
	.cast_position = op_cast_position,
	.cast_reclaim = op_cast_reclaim,
	.cast_answered = op_cast_answered,
	.claim_epoch = op_claim_epoch,
};

/* ---- nodes ---- */

static void run_appeared(struct sim *sim, struct sim_node *node, void *arg,
			 uint64_t number)
{
	(void)arg;
	trace(sim, "%s: sees %u", node->name, (unsigned)number);
	node->world.handler->appeared(node->world.handler_arg, (uint16_t)number);
}

static void run_disappeared(struct sim *sim, struct sim_node *node, void *arg,
			    uint64_t number)
{
	(void)arg;
	trace(sim, "%s: misses %u", node->name, (unsigned)number);
	node->world.handler->disappeared(node->world.handler_arg, (uint16_t)number);
}

static void notify(struct sim_node *node, const struct sim_node *about,
		   void (*run)(struct sim *sim, struct sim_node *node, void *arg,
			       uint64_t number))
{
	struct sim *sim = node->sim;
	uint64_t time_ns = sim->now_ns + random_delay(sim);

	if (node == about || !node->is_alive)
		return;
	if (time_ns < node->last_notice_ns)
		time_ns = node->last_notice_ns;
	node->last_notice_ns = time_ns;
	at(sim, time_ns, node, run, NULL, about->config.id);
}

void sim_show_again(struct sim_node *node)
{
	for (unsigned i = 0; i < node->sim->num_nodes && node->is_visible; i++)
		notify(node->sim->nodes[i], node, run_appeared);
}

static void on_carrier(void *arg, unsigned network, bool has_carrier)
{
	struct sim_node *node = arg;

	if (node->carrier[network] == has_carrier)
		broken(node->sim, "%s is told of its carrier twice", node->name);
	node->carrier[network] = has_carrier;
	trace(node->sim, "%s: %s %s", node->name, node->networks[network].name,
	      has_carrier ? "has carrier" : "has no carrier");
}

/* ---- what nodes write to each other ---- */

static struct world_link *find_link(const struct sim_node *node, uint16_t peer_id,
				    unsigned network)
{
	for (struct world_link *link = node->links; link; link = link->next) {
		if (link->spec.peer_id == peer_id && link->spec.network == network)
			return link;
	}
	return NULL;
}

/* NULL: a stranger's id. */
static struct sim_talk *find_talk(struct sim_node *node, uint16_t id, unsigned network)
{
	unsigned index = find_index(node->sim, id);

	return index < node->sim->num_nodes ? &node->talks[index][network] : NULL;
}

static bool write_text(struct sim_node *node, uint16_t id, unsigned network,
		       uint32_t answers)
{
	struct sim_talk *talk = find_talk(node, id, network);
	const struct sim_text text = {node->life, talk->link, talk->said, answers};
	int ret = membership_send(node->membership, network, id, (const uint8_t *)&text,
				  sizeof(text));

	if (ret != (talk->is_up ? 0 : -ENOTCONN) && ret != -EAGAIN)
		broken(node->sim, "%s writes to %u, and is told %d", node->name, id, ret);
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

static void run_writes(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	(void)arg;
	(void)number;
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		unsigned network = (unsigned)sim_random(sim, SIM_NETWORKS);

		if (sim->nodes[i] != node)
			write_text(node, sim->nodes[i]->config.id, network, 3);
	}
	at(sim, sim->now_ns + WRITE_NS, node, run_writes, NULL, 0);
}

void sim_write_always(struct sim *sim)
{
	sim->writes_always = true;
}

static void on_link_up(void *arg, unsigned network, uint16_t id, const char *name)
{
	struct sim_node *node = arg;
	struct sim_talk *talk = find_talk(node, id, network);

	if (!*name || !find_link(node, id, network))
		broken(node->sim, "%s is told of a link to %u that is not there",
		       node->name, id);
	if (!talk)
		return;
	if (talk->is_up)
		broken(node->sim, "%s is told of its link to %u twice", node->name, id);
	talk->is_up = true;
	talk->link++;
	talk->said = 0;
	for (unsigned i = 0; i < 3 && node->sim->writes_always; i++)
		write_text(node, id, network, 0);
}

static void on_link_down(void *arg, unsigned network, uint16_t id)
{
	struct sim_node *node = arg;
	struct sim_talk *talk = find_talk(node, id, network);

	if (!talk)
		return;
	if (!talk->is_up || find_link(node, id, network))
		broken(node->sim, "%s is told that a link to %u went which is %s",
		       node->name, id, talk->is_up ? "there" : "gone");
	talk->is_up = false;
	write_text(node, id, network, 0); /* in vain */
}

static void on_suspect(void *arg, uint16_t id, bool is_suspect)
{
	struct sim_node *node = arg;
	unsigned index = find_index(node->sim, id);

	if (index == node->sim->num_nodes)
		return;
	if (node->suspects[index] == is_suspect)
		broken(node->sim, "%s is told twice what to think of %u", node->name, id);
	node->suspects[index] = is_suspect;
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

	if (!talk || !talk->is_up || length != sizeof(text)) {
		broken(node->sim, "%s hears %u without a link", node->name, id);
		return;
	}
	memcpy(&text, bytes, sizeof(text));
	if (talk->heard && !is_later(&text, &talk->last))
		broken(node->sim, "%s hears %u in another order than it spoke",
		       node->name, id);
	talk->last = text;
	talk->heard++;
	if (text.answers)
		write_text(node, id, network, text.answers - 1);
}

static const struct membership_handler membership_handler = {
	.network_carrier = on_carrier,
	.link_up = on_link_up,
	.link_down = on_link_down,
	.peer_suspect = on_suspect,
	.message = on_message,
};

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

struct sim_node *sim_add_node(struct sim *sim, uint16_t id, const char *name)
{
	struct sim_node *node = calloc(1, sizeof(*node));

	if (!node || sim->num_nodes == SIM_NODES_MAX)
		abort();
	snprintf(node->name, sizeof(node->name), "%s", name);
	snprintf(node->certificate, sizeof(node->certificate), "%s", name);
	node->sim = sim;
	node->world.ops = &sim_ops;
	make_config(node, id);
	sim->nodes[sim->num_nodes++] = node;
	return node;
}

/* ---- what is cast ---- */

static struct world_cast *find_cast(const struct sim_node *node, unsigned network,
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

	current = sim;
	if (!want || find_cast(node, network, label) || !has_links(node, network) ||
	    (is_same && (want->is_open || sim->now_ns < want->asked_ns + SIM_S)))
		return false;
	*want = (struct sim_want){
		.network = network, .is_open = true, .asked_ns = sim->now_ns};
	memcpy(want->label, label, SHMNET_ETH_ALEN);
	sim->disturbed_ns = sim->now_ns;
	trace(sim, "%s: wants a ring for %02x:..:%02x on %s", node->name, label[0],
	      label[5], node->networks[network].name);
	node->world.handler->cast_wanted(node->world.handler_arg, network, label);
	return true;
}

static void run_casts(struct sim *sim, struct sim_node *node, void *arg, uint64_t number)
{
	(void)arg;
	(void)number;
	for (unsigned i = 0; i < node->config.num_networks; i++) {
		sim_want_cast(node, i, sim_broadcast);
		sim_want_cast(node, i, sim_group);
	}
	at(sim, sim->now_ns + CAST_NS, node, run_casts, NULL, 0);
}

void sim_cast_always(struct sim *sim)
{
	sim->casts_always = true;
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->is_alive)
			at(sim, sim->now_ns + random_delay(sim), sim->nodes[i], run_casts,
			   NULL, 0);
	}
}

void sim_die_in_slots(struct sim *sim)
{
	sim->dies_in_slots = true;
}

unsigned sim_count_warnings(const struct sim *sim)
{
	return sim->num_warnings;
}

bool sim_fault_cast(struct sim_node *node, unsigned network, const uint8_t *label,
		    int error)
{
	struct world_cast *cast = find_cast(node, network, label);

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
	const struct world_cast *cast = find_cast(node, network, label);

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
	struct cast_report report = {.cast = find_cast(node, network, label)};

	if (report.cast)
		membership_each_cast(node->membership, find_epoch, &report);
	return report.epoch;
}

bool sim_cast_is_stuck(const struct sim_node *node, unsigned network,
		       const uint8_t *label)
{
	const struct world_cast *cast = find_cast(node, network, label);

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
	const struct world_cast *cast = find_cast(a, network, label);

	return cast && cast->readers[find_index(a->sim, b->config.id)];
}

void sim_start(struct sim_node *node)
{
	struct sim *sim = node->sim;

	current = sim;
	trace(sim, "%s: starts", node->name);
	node->life++;
	node->is_alive = true;
	node->is_paused = false;
	node->quiet_ns = sim->now_ns;
	memset(&node->events, 0, sizeof(node->events));
	node->last_notice_ns = sim->now_ns;
	memset(node->seen, 0, sizeof(node->seen));
	memset(node->seen_pid, 0, sizeof(node->seen_pid));
	memset(node->carrier, 0, sizeof(node->carrier));
	memset(node->wants, 0, sizeof(node->wants));
	memset(node->talks, 0, sizeof(node->talks));
	memset(node->suspects, 0, sizeof(node->suspects));
	node->is_leaving = false;
	sim->disturbed_ns = sim->now_ns;
	if (membership_new(&node->config, &node->world, &node->events,
			   &membership_handler, node, &node->membership) < 0)
		abort();
	node->is_visible = true;
	if (sim->casts_always)
		at(sim, sim->now_ns + random_delay(sim), node, run_casts, NULL, 0);
	if (sim->writes_always)
		at(sim, sim->now_ns + random_delay(sim), node, run_writes, NULL, 0);
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

	for (struct world_ring *ring = sim->rings; ring; ring = ring->next) {
		if (ring->node == node && ring->is_ours)
			leave_memory(ring);
	}
	for (struct world_channel *end = sim->channels; end; end = end->next) {
		if (end->node == node)
			end_channel(sim, end, sim_random(sim, 2) ? -ECONNRESET : 0);
	}
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		if (cast->writes && sim->dies_in_slots)
			cast->memory->is_stuck[find_index(sim, node->config.id)] = true;
	}
}

/* What was connected but not accepted is the kernel's to close. */
static void close_backlog(struct sim_node *node)
{
	for (struct world_channel *end = node->sim->channels; end; end = end->next) {
		if (end->node == node && !end->handler && !end->is_closed)
			op_channel_close(end);
	}
}

/* A life that ended has let go of everything. */
static void end_life(struct sim_node *node)
{
	node->is_leaving = true;
	node->sim->disturbed_ns = node->sim->now_ns;
	membership_free(node->membership);
	close_backlog(node);
	node->membership = NULL;
	node->is_alive = false;
	node->num_held = 0;
	if (node->num_open)
		broken(node->sim, "%s left %u things open", node->name, node->num_open);
}

void sim_kill(struct sim_node *node)
{
	current = node->sim;
	trace(node->sim, "%s: is killed", node->name);
	node->is_alive = false;
	take_everything(node);
	end_life(node);
}

void sim_stop(struct sim_node *node)
{
	current = node->sim;
	trace(node->sim, "%s: stops", node->name);
	node->is_visible = false;
	for (unsigned i = 0; i < node->sim->num_nodes; i++)
		notify(node->sim->nodes[i], node, run_disappeared);
	end_life(node);
}

void sim_pause(struct sim_node *node)
{
	trace(node->sim, "%s: pauses", node->name);
	node->is_paused = true;
	node->sim->disturbed_ns = node->sim->now_ns;
}

void sim_resume(struct sim_node *node)
{
	struct sim *sim = node->sim;

	trace(sim, "%s: goes on", node->name);
	node->is_paused = false;
	node->resumed_ns = sim->now_ns;
	node->quiet_ns = sim->now_ns;
	sim->disturbed_ns = sim->now_ns;
	for (size_t i = 0; i < node->num_held; i++) {
		node->held[i].time_ns = sim->now_ns;
		push_event(sim, &node->held[i]);
	}
	node->num_held = 0;
}

void sim_blind(struct sim_node *node, const struct sim_node *other, bool is_blind)
{
	struct sim_node *seen = node->sim->nodes[index_of(other)];

	if (node->is_blind[index_of(other)])
		seen->quiet_ns = node->sim->now_ns; /* shown life to `node` since then */
	node->is_blind[index_of(other)] = is_blind;
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
		trace(a->sim, "%s and %s are cut", a->name, b->name);
		end->is_cut = true;
		end->other->is_cut = true;
		end_channel(a->sim, end, -EIO);
		end_channel(a->sim, end->other, -EIO);
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
			lose_conn(end->conn);
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
		trace(sim, "%s: fault of its link to %u", node->name, link->spec.peer_id);
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
		at(node->sim, node->sim->now_ns + random_delay(node->sim), node,
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

/* ---- strangers ---- */

struct world_channel *sim_dial_stranger(struct sim *sim, struct sim_node *node, uid_t uid)
{
	struct world_channel *channel = connect_to(sim, NULL, node);

	channel->other->peer_uid = uid;
	return channel;
}

struct world_channel *sim_dial_foreigner(struct sim *sim, struct sim_node *node,
					 const char *certificate)
{
	struct world_channel *channel = connect_to(sim, NULL, node);

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
		.doorbell = new_object(sim, sizeof(struct sim_socketpair)),
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
	struct sim_memory *memory =
		new_object(channel->other->node->sim, sizeof(*memory));
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
struct world_channel *sim_dial_member(struct sim *sim, struct sim_node *node, uint16_t id,
				      const char *name)
{
	struct world_channel *channel = sim_dial_stranger(sim, node, node->world.uid);
	struct peer_message message = {
		.type = PEER_MESSAGE_HELLO,
		.hello = {.wire_version = SHMNET_WIRE_VERSION,
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

void sim_stranger_send_cast(struct world_channel *channel,
			    const struct peer_message *message, uint32_t depth)
{
	struct sim *sim = channel->other->node->sim;
	struct sim_cast_memory *memory = new_object(sim, sizeof(*memory));
	struct sim_fd fd = {.cast = memory};

	memory->spec.depth = depth;
	memory->spec.id = message->cast.id;
	send_encoded(channel, message, message->type == PEER_MESSAGE_CAST ? &fd : NULL);
}

void sim_stranger_close(struct world_channel *channel)
{
	channel->is_closed = true;
	end_channel(channel->other->node->sim, channel, 0);
}

const char *sim_stranger_refusal(const struct world_channel *channel)
{
	return channel->refusal;
}

bool sim_stranger_is_closed(const struct world_channel *channel)
{
	return channel->had_end;
}

/* ---- what must hold ---- */

static void check_pair(struct sim *sim, const struct world_link *a,
		       const struct world_link *b)
{
	if (a->spec.tx->memory != b->spec.rx->memory ||
	    a->spec.tx_salt != b->spec.rx_salt)
		broken(sim, "%s writes to %s what that one doesn't read", a->node->name,
		       b->node->name);
	if (a->spec.conn->rung != b->spec.conn->heard ||
	    a->spec.conn->heard != b->spec.conn->rung)
		broken(sim, "%s and %s don't ring each other", a->node->name,
		       b->node->name);
}

/* News of the other one's end takes a while, and a node that sleeps hears nothing. */
static void check_epoch(struct sim *sim, const struct world_link *link)
{
	const struct sim_memory *memory = link->spec.tx->memory;
	const struct sim_node *node = link->node;
	uint64_t since =
		memory->died_ns > node->resumed_ns ? memory->died_ns : node->resumed_ns;

	if (memory->is_dead && !node->is_paused && sim->now_ns > since + NEWS_MAX_NS)
		broken(sim, "%s keeps a link into memory that %u left", node->name,
		       memory->maker);
}

static void check_link(struct sim *sim, const struct world_link *link)
{
	const struct sim_node *peer = find_node(sim, link->spec.peer_id);
	const struct world_link *other =
		find_link(peer, link->node->config.id, link->spec.network);

	for (struct world_link *next = link->next; next; next = next->next) {
		if (next->spec.peer_id == link->spec.peer_id &&
		    next->spec.network == link->spec.network)
			broken(sim, "%s has two links to %s", link->node->name,
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
		broken(sim, "%s has %u links on %s, counts %u, carrier %d", node->name,
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
		    (find_link(node, peer->config.id, network) != NULL))
			broken(sim, "%s was not told of its link to %s", node->name,
			       peer->name);
	}
}

/* An interval to show life, one to look for it, and the delay of news. */
static void check_suspect(const struct sim_node *node, unsigned index)
{
	const struct sim_node *suspect = node->sim->nodes[index];
	const uint64_t quiet_ns = suspect->quiet_ns > node->resumed_ns ? suspect->quiet_ns
								       : node->resumed_ns;
	const uint64_t interval_ns = node->config.liveness.interval_ms * SIM_MS;

	if (!suspect->is_paused && suspect->is_alive && !node->is_paused &&
	    !node->is_blind[index] &&
	    node->sim->now_ns > quiet_ns + 2 * interval_ns + NEWS_MAX_NS)
		broken(node->sim, "%s suspects %s, which shows life", node->name,
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
			broken(sim, "%s was not told what to think of %s", node->name,
			       report->name);
	}
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->config.id != report->id || report->state != MEMBER_UP)
			continue;
		if (report->incarnation < node->seen[i] ||
		    (report->incarnation == node->seen[i] &&
		     report->incarnation != UINT32_MAX &&
		     pid_seen(node, report) != node->seen_pid[i]))
			broken(sim, "%s has not risen in the eyes of %s",
			       sim->nodes[i]->name, node->name);
		node->seen[i] = report->incarnation;
		node->seen_pid[i] = pid_seen(node, report);
	}
	if (report->state == MEMBER_DOWN && !*report->reason)
		broken(sim, "%s does not say why %s is down", node->name, report->name);
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
	const struct sim_node *peer = find_node(sim, link->spec.peer_id);
	const struct world_link *other =
		find_link(peer, cast->node->config.id, cast->spec.network);

	if (cast->writes && !cast->memory->is_closed && peer->is_alive && other &&
	    other->spec.rx->memory == link->spec.tx->memory &&
	    !reads_memory(peer, cast->memory))
		broken(sim, "%s casts to %s by a ring that it does not read",
		       cast->node->name, peer->name);
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
			broken(sim, "%s writes to two rings of one group", node->name);
	}
	if (cast->writes && memory->is_closed && !node->is_paused &&
	    sim->now_ns > since + NEWS_MAX_NS)
		broken(sim, "%s writes to a cast ring that was closed", node->name);
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

/* What holds of a pair on one network, once it had the time. */
static void check_rest(struct sim *sim, const struct world_link *link)
{
	const struct sim_node *node = link->node;
	const struct sim_node *peer = find_node(sim, link->spec.peer_id);
	unsigned network = link->spec.network;

	if (!peer->is_alive || peer->is_paused || node->is_paused ||
	    !may_share(node, peer, network) || !find_link(peer, node->config.id, network))
		return;
	for (struct world_cast *cast = node->casts; cast; cast = cast->next) {
		const struct world_cast *other =
			find_cast(peer, network, cast->spec.label);

		if (!cast->writes || cast->spec.network != network)
			continue;
		if (!cast->spec.lane && (!other || other->memory != cast->memory))
			broken(sim, "%s and %s did not come to one ring of %02x:..:%02x",
			       node->name, peer->name, cast->spec.label[0],
			       cast->spec.label[5]);
		if (!cast->readers[find_index(sim, peer->config.id)])
			broken(sim, "%s does not know that %s reads its ring", node->name,
			       peer->name);
	}
}

static void check_casts(struct sim *sim, struct sim_node *node)
{
	for (struct world_cast *cast = node->casts; cast; cast = cast->next)
		check_cast(sim, cast);
	if (sim->now_ns < sim->disturbed_ns + REST_NS)
		return;
	for (struct world_link *link = node->links; link; link = link->next)
		check_rest(sim, link);
}

static void check_world(struct sim *sim)
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
		membership_each_peer(node->membership, check_report, node);
	}
}

/* ---- running ---- */

static void hold(struct sim_node *node, const struct sim_event *event)
{
	node->held = grow(node->held, node->num_held + 1, sizeof(*node->held));
	node->held[node->num_held++] = *event;
}

static void step(struct sim *sim)
{
	struct sim_event event = pop_event(sim);
	struct sim_node *node = event.node;

	sim->now_ns = event.time_ns;
	if (node && (node->life != event.life || !node->is_alive))
		return;
	if (node && node->is_paused) {
		hold(node, &event);
		return;
	}
	event.run(sim, node, event.arg, event.number);
	check_world(sim);
}

void sim_run(struct sim *sim, uint64_t duration_ns)
{
	uint64_t end_ns = sim->now_ns + duration_ns;

	current = sim;
	while (!sim->error[0] && sim->num_events && sim->queue[0].time_ns <= end_ns)
		step(sim);
	sim->now_ns = end_ns;
}

uint64_t sim_now(const struct sim *sim)
{
	return sim->now_ns;
}

bool sim_linked(const struct sim_node *a, const struct sim_node *b, unsigned network)
{
	return find_link(a, b->config.id, network) && find_link(b, a->config.id, network);
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

const char *sim_error(const struct sim *sim)
{
	return sim->error[0] ? sim->error : NULL;
}

uint64_t sim_hash(const struct sim *sim)
{
	return sim->hash;
}

void sim_trace(struct sim *sim)
{
	sim->is_traced = true;
}

void sim_set_failures(struct sim *sim, unsigned per_mille)
{
	sim->failures = per_mille;
}

struct sim *sim_new(uint64_t seed)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	if (!sim)
		abort();
	sim->state = seed;
	sim->now_ns = SIM_S;
	current = sim;
	return sim;
}

void sim_stop_all(struct sim *sim)
{
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		if (sim->nodes[i]->is_alive)
			sim_stop(sim->nodes[i]);
	}
}

void sim_free(struct sim *sim)
{
	sim_stop_all(sim);
	for (unsigned i = 0; i < sim->num_nodes; i++) {
		free(sim->nodes[i]->held);
		free(sim->nodes[i]);
	}
	for (struct sim_object *object = sim->objects, *next; object; object = next) {
		next = object->next;
		free(object);
	}
	free(sim->queue);
	free(sim);
	current = NULL;
}

/* ---- schedules ---- */

uint64_t sim_try_seed(const struct sim_schedule *schedule, uint64_t seed, bool is_traced)
{
	struct sim *sim = sim_new(seed);
	const char *error;
	bool agreed;
	uint64_t hash;

	if (is_traced)
		sim_trace(sim);
	schedule->run(sim);
	agreed = !sim_error(sim) && schedule->agree(sim);
	sim_stop_all(sim);
	error = sim_error(sim);
	if (error || !agreed)
		fprintf(stderr, "seed %llu: %s; see it with SHMNET_SIM_SEED=%llu\n",
			(unsigned long long)seed, error ? error : schedule->complaint,
			(unsigned long long)seed);
	hash = error || !agreed ? 0 : sim_hash(sim);
	sim_free(sim);
	return hash;
}

unsigned sim_try_seeds(const struct sim_schedule *schedule, uint64_t count)
{
	const char *one = getenv("SHMNET_SIM_SEED"), *many = getenv("SHMNET_SIM_SEEDS");
	unsigned failed = 0;

	if (one)
		return sim_try_seed(schedule, strtoull(one, NULL, 10), true) == 0;
	if (many)
		count = strtoull(many, NULL, 10);
	for (uint64_t seed = 1; seed <= count; seed++)
		failed += sim_try_seed(schedule, seed, false) == 0;
	return failed;
}
