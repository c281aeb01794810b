/*
 * See world_event.h. The ops table, with the clock, timers and randomness; the rest
 * is rendezvous.c (who is there), channel.c (what is said) and offer.c (what carries
 * frames), each with its kinds. Which kind it is, is decided here.
 */
#include "control/world_event.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/channel.h"
#include "control/channel_shm.h"
#include "control/offer_cast.h"
#include "control/offer_rdma.h"
#include "control/offer_shm.h"
#include "control/remote.h"
#include "control/rendezvous.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct world_event {
	struct world world;
	struct event_base *base;
	struct rendezvous *rendezvous; /* NULL: no fabric of kind shm */
	struct remote *remote;	       /* NULL: none of kind rdma */
	uint8_t local[(UINT16_MAX + 1) /
		      8]; /* a bit for each that is in the rendezvous */
	struct offer offer;
	struct offer_fabric shm;
	struct offer_rdma *rdma; /* NULL as `remote` is */
	struct event *faults;
	void (*port_fault)(void *arg, unsigned port, int error);
	void (*pong)(void *arg, uint64_t token, uint64_t time_ns);
	void (*miss)(void *arg, const struct plane_miss *miss);
	void *arg;
};

struct world_timer {
	struct event *event;
	void (*fire)(void *arg);
	void *arg;
};

static struct world_event *event_world(struct world *world)
{
	return (struct world_event *)world; /* its first member */
}

/* ---- time and chance ---- */

static uint64_t world_now(struct world *world)
{
	(void)world;
	return clock_now_ns();
}

static uint64_t world_suspended(struct world *world)
{
	(void)world;
	return clock_suspended_ns();
}

static void world_random(struct world *world, void *bytes, size_t length)
{
	(void)world;
	while (getrandom(bytes, length, 0) != (ssize_t)length)
		; /* interrupted before the pool was ready: only at boot */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct world_timer *timer = arg;

	(void)fd;
	(void)what;
	timer->fire(timer->arg); /* may free it */
}

static struct world_timer *world_timer_new(struct world *world, void (*fire)(void *arg),
					   void *arg)
{
	struct world_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	timer->fire = fire;
	timer->arg = arg;
	timer->event = evtimer_new(event_world(world)->base, on_timer, timer);
	if (!timer->event) {
		free(timer);
		return NULL;
	}
	return timer;
}

static void world_timer_set(struct world_timer *timer, uint64_t delay_ns)
{
	const struct timeval delay = clock_timeval(delay_ns);

	evtimer_add(timer->event, &delay);
}

static void world_timer_cancel(struct world_timer *timer)
{
	evtimer_del(timer->event);
}

static void world_timer_free(struct world_timer *timer)
{
	if (!timer)
		return;
	event_free(timer->event);
	free(timer);
}

/* ---- who is there: in the rendezvous, by the seeds, or both ---- */

static bool is_local(const struct world_event *self, uint16_t node_id)
{
	return self->local[node_id / 8] & (1u << (node_id % 8));
}

static bool is_remote(const struct world_event *self, uint16_t node_id)
{
	return self->remote && remote_has(self->remote, node_id);
}

static void on_appeared(void *arg, uint16_t node_id)
{
	struct world_event *self = arg;

	self->local[node_id / 8] |= (uint8_t)(1u << (node_id % 8));
	self->world.handler->appeared(self->world.handler_arg, node_id);
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	struct world_event *self = arg;

	self->local[node_id / 8] &= (uint8_t) ~(1u << (node_id % 8));
	if (!is_remote(self, node_id))
		self->world.handler->disappeared(self->world.handler_arg, node_id);
}

static void on_remote_appeared(void *arg, uint16_t node_id)
{
	struct world_event *self = arg;

	if (!is_local(self, node_id))
		self->world.handler->appeared(self->world.handler_arg, node_id);
}

static void on_remote_disappeared(void *arg, uint16_t node_id)
{
	struct world_event *self = arg;

	if (!is_local(self, node_id))
		self->world.handler->disappeared(self->world.handler_arg, node_id);
}

/* ---- channels ---- */

static int world_dial(struct world *world, uint16_t node_id,
		      struct world_channel **ret_channel)
{
	struct world_event *self = event_world(world);
	struct sockaddr_un address;

	if (!is_local(self, node_id) && self->remote)
		return remote_dial(self->remote, node_id, ret_channel);
	if (!self->rendezvous)
		return -ENOENT;
	rendezvous_address(self->rendezvous, node_id, &address);
	return channel_shm_dial(self->base, &address, ret_channel);
}

static void on_connected(void *arg, int fd)
{
	struct world_event *self = arg;
	struct world_channel *channel;

	if (channel_shm_new(self->base, fd, &channel) < 0)
		return; /* out of memory: it is told by the end of its channel */
	self->world.handler->accepted(self->world.handler_arg, channel);
}

/* Its first message is there already: handed on as if it came now. */
static void on_stranger(void *arg, struct world_channel *channel, const uint8_t *bytes,
			size_t length, struct world_parcel *parcel)
{
	struct world_event *self = arg;

	world_channel_set_handler(channel, NULL, NULL);
	self->world.handler->accepted(self->world.handler_arg, channel);
	if (channel->handler)
		channel->handler->message(channel->arg, bytes, length, parcel);
}

/* ---- what carries frames ---- */

/* The channel decides: who is reached by the rendezvous shares memory with us. */
static int world_conn_new(struct world *world, struct world_channel *channel,
			  uint16_t peer_id, bool active, struct world_conn **ret_conn,
			  const char **ret_why)
{
	struct world_event *self = event_world(world);
	struct offer_fabric *kind = &self->shm;

	if (world_channel_is_remote(channel))
		kind = offer_rdma_kind(self->rdma);
	return offer_conn_new(kind, channel, peer_id, active, ret_conn, ret_why);
}

static int world_link_new(struct world *world, const struct world_link_spec *spec,
			  struct world_link **ret_link)
{
	return offer_link_new(&event_world(world)->offer, spec, ret_link);
}

static int world_cast_new(struct world *world, struct world_cast_spec *spec,
			  struct world_cast **ret_cast, const char **ret_why)
{
	return offer_cast_new(&event_world(world)->offer, spec, ret_cast, ret_why);
}

static int world_cast_accept(struct world *world, struct world_parcel *parcel,
			     const struct world_cast_spec *spec,
			     struct world_cast **ret_cast, const char **ret_why)
{
	return offer_cast_accept(&event_world(world)->offer, parcel, spec, ret_cast,
				 ret_why);
}

/* Whose lock can be had is dead, and does not come back as long as it is held. */
static int world_cast_reclaim(struct world *world, struct world_cast *cast,
			      uint16_t node_id)
{
	struct world_event *self = event_world(world);
	struct rendezvous_hold hold;

	if (!self->rendezvous || rendezvous_hold_id(self->rendezvous, node_id, &hold) < 0)
		return -EBUSY;
	plane_reclaim_cast(offer_cast_cast(cast), node_id);
	rendezvous_release_id(self->rendezvous, &hold);
	return 0;
}

static void world_cast_answered(struct world *world, unsigned network,
				const uint8_t label[SHMNET_ETH_ALEN])
{
	struct world_event *self = event_world(world);

	plane_cast_answered(self->offer.plane, self->offer.ports[network], label);
}

static int world_claim_epoch(struct world *world, unsigned network, uint64_t known,
			     bool anyway, uint64_t limit, uint64_t *ret_epoch)
{
	struct world_event *self = event_world(world);

	if (!self->rendezvous) /* nobody could share the ring */
		return -EOPNOTSUPP;
	return rendezvous_claim_epoch(self->rendezvous,
				      self->offer.networks[network].name, known, anyway,
				      limit, ret_epoch);
}

static const struct world_ops ops = {
	.now = world_now,
	.suspended = world_suspended,
	.random = world_random,
	.timer_new = world_timer_new,
	.timer_set = world_timer_set,
	.timer_cancel = world_timer_cancel,
	.timer_free = world_timer_free,
	.dial = world_dial,
	.channel_set_handler = world_channel_set_handler,
	.channel_credentials = world_channel_credentials,
	.channel_is_remote = world_channel_is_remote,
	.channel_send = world_channel_send,
	.channel_at_end = world_channel_at_end,
	.channel_why = world_channel_why,
	.channel_close = world_channel_close,
	.conn_new = world_conn_new,
	.conn_offer = offer_conn_offer,
	.conn_accept = offer_conn_accept,
	.conn_is_ready = offer_conn_is_ready,
	.conn_fabric = offer_conn_fabric,
	.conn_beat = offer_conn_beat,
	.conn_pulse = offer_conn_pulse,
	.conn_free = offer_conn_free,
	.ring_new = offer_ring_new,
	.ring_offer = offer_ring_offer,
	.ring_accept = offer_ring_accept,
	.ring_free = offer_ring_free,
	.link_new = world_link_new,
	.link_free = offer_link_free,
	.link_pause = offer_link_pause,
	.link_send = offer_link_send,
	.cast_new = world_cast_new,
	.cast_accept = world_cast_accept,
	.cast_free = offer_cast_free,
	.cast_fd = offer_cast_fd,
	.cast_stop_writing = offer_cast_stop_writing,
	.cast_set_reader = offer_cast_set_reader,
	.cast_close = offer_cast_close,
	.cast_position = offer_cast_position,
	.cast_reclaim = world_cast_reclaim,
	.cast_answered = world_cast_answered,
	.claim_epoch = world_claim_epoch,
};

/* ---- what the data plane has to say ---- */

static void link_fault(struct world_event *self, const struct plane_fault *fault)
{
	struct world_link *link = offer_find_link(&self->offer, fault->link);

	if (link)
		self->world.handler->link_fault(self->world.handler_arg, link,
						fault->error, offer_link_why(link));
}

static void cast_fault(struct world_event *self, const struct plane_fault *fault)
{
	struct world_cast *cast = offer_cast_find(&self->offer, fault->cast);

	if (cast)
		self->world.handler->cast_fault(self->world.handler_arg, cast,
						fault->error);
}

static void cast_wanted(struct world_event *self, const struct plane_fault *fault)
{
	for (unsigned i = 0; i < self->offer.num_networks; i++) {
		if (self->offer.ports[i] == fault->port)
			self->world.handler->cast_wanted(self->world.handler_arg, i,
							 fault->label);
	}
}

static void handle_fault(struct world_event *self, const struct plane_fault *fault)
{
	switch (fault->kind) {
	case PLANE_FAULT_PORT:
		self->port_fault(self->arg, fault->port, fault->error);
		break;
	case PLANE_FAULT_LINK:
		link_fault(self, fault);
		break;
	case PLANE_FAULT_CAST:
		cast_fault(self, fault);
		break;
	case PLANE_FAULT_CAST_WANTED:
		cast_wanted(self, fault);
		break;
	case PLANE_FAULT_STRANGER: /* a hint: the rendezvous knows, or doesn't */
		if (self->rendezvous)
			rendezvous_look(self->rendezvous);
		break;
	}
}

static void handle_message(struct world_event *self, const struct plane_message *message)
{
	struct world_link *link = offer_find_link(&self->offer, message->link);

	if (link)
		self->world.handler->link_message(self->world.handler_arg, link,
						  message->bytes, message->length);
}

static void on_faults(evutil_socket_t fd, short what, void *arg)
{
	struct world_event *self = arg;
	struct plane_message message;
	struct plane_fault fault;
	struct plane_pong pong;
	struct plane_miss miss;

	(void)fd;
	(void)what;
	while (plane_next_fault(self->offer.plane, &fault))
		handle_fault(self, &fault);
	while (plane_next_pong(self->offer.plane, &pong))
		self->pong(self->arg, pong.token, pong.time_ns);
	while (plane_next_message(self->offer.plane, &message))
		handle_message(self, &message);
	while (plane_next_miss(self->offer.plane, &miss))
		self->miss(self->arg, &miss);
}

/* ---- life ---- */

static const struct rendezvous_handler rendezvous_handler = {
	.connected = on_connected,
	.appeared = on_appeared,
	.disappeared = on_disappeared,
};

static void init(struct world_event *self, struct event_base *base,
		 const struct world_event_options *options)
{
	self->world.ops = &ops;
	self->world.uid = geteuid();
	self->base = base;
	self->port_fault = options->port_fault;
	self->pong = options->pong;
	self->miss = options->miss;
	self->arg = options->arg;
	self->offer.world = &self->world;
	self->offer.plane = options->plane;
	self->offer.node_id = options->node_id;
	self->offer.ports = options->ports;
	self->offer.networks = options->networks;
	self->offer.num_networks = options->num_networks;
	self->offer.link_ended = options->link_ended;
	self->offer.arg = options->arg;
	offer_shm_init(&self->shm, &self->offer);
}

static int open_shm(struct world_event *self, const struct world_event_options *options,
		    char *ret_error, size_t error_size)
{
	return rendezvous_new(self->base, options->shm->path, options->node_id,
			      &rendezvous_handler, self, &self->rendezvous, ret_error,
			      error_size);
}

static int open_remote(struct world_event *self,
		       const struct world_event_options *options, char *ret_error,
		       size_t error_size)
{
	const struct remote_options remote = {
		.fabric = options->rdma,
		.cluster = options->cluster,
		.name = options->name,
		.node_id = options->node_id,
		.appeared = on_remote_appeared,
		.disappeared = on_remote_disappeared,
		.stranger = on_stranger,
		.arg = self,
	};

	return remote_new(self->base, &remote, &self->remote, ret_error, error_size);
}

static int open_rdma(struct world_event *self, const struct world_event_options *options,
		     char *ret_error, size_t error_size)
{
	return offer_rdma_new(&self->offer, self->base, options->rdma, &self->rdma,
			      ret_error, error_size);
}

static struct world_event *alloc(struct event_base *base,
				 const struct world_event_options *options)
{
	struct world_event *self = calloc(1, sizeof(*self));

	if (self)
		init(self, base, options);
	return self;
}

int world_event_new(struct event_base *base, const struct world_event_options *options,
		    struct world **ret_world, char *ret_error, size_t error_size)
{
	struct world_event *self = alloc(base, options);
	int ret;

	snprintf(ret_error, error_size, "out of memory");
	if (!self)
		return -ENOMEM;
	self->faults = event_new(base, plane_event_fd(options->plane),
				 EV_READ | EV_PERSIST, on_faults, self);
	ret = self->faults && event_add(self->faults, NULL) == 0 ? 0 : -ENOMEM;
	if (ret == 0 && options->shm)
		ret = open_shm(self, options, ret_error, error_size);
	if (ret == 0 && options->rdma)
		ret = open_remote(self, options, ret_error, error_size);
	if (ret == 0 && options->rdma)
		ret = open_rdma(self, options, ret_error, error_size);
	if (ret < 0) {
		world_event_free(&self->world);
		return ret;
	}
	*ret_world = &self->world;
	return 0;
}

/* Who has it now will have given it up. */
static int unless_given_up(int ret, bool is_given_up)
{
	return ret == -EADDRINUSE && is_given_up ? 0 : ret;
}

int world_event_check(struct event_base *base, const struct world_event_options *options,
		      uint16_t running_id, const char *running_listen, char *ret_error,
		      size_t error_size)
{
	const struct config_fabric *rdma = options->rdma;
	const bool has_listen = rdma && strcmp(rdma->listen.text, running_listen) == 0;
	struct world_event *self = alloc(base, options);
	int ret = self ? 0 : -ENOMEM;

	snprintf(ret_error, error_size, "out of memory");
	if (ret == 0 && options->shm && options->node_id == running_id)
		ret = rendezvous_check(options->shm->path, ret_error, error_size);
	else if (ret == 0 && options->shm)
		ret = open_shm(self, options, ret_error, error_size);
	if (ret == 0 && rdma)
		ret = unless_given_up(open_remote(self, options, ret_error, error_size),
				      has_listen);
	if (ret == 0 && rdma)
		ret = unless_given_up(open_rdma(self, options, ret_error, error_size),
				      has_listen);
	if (self)
		world_event_free(&self->world);
	return ret;
}

int world_event_start(struct world *world, char *ret_error, size_t error_size)
{
	struct world_event *self = event_world(world);
	int ret = 0;

	snprintf(ret_error, error_size, "out of memory");
	if (self->rendezvous)
		ret = rendezvous_start(self->rendezvous, ret_error, error_size);
	if (ret == 0 && self->remote)
		ret = remote_start(self->remote);
	return ret;
}

void world_event_free(struct world *world)
{
	struct world_event *self = event_world(world);

	if (!world)
		return;
	remote_free(self->remote);
	rendezvous_free(self->rendezvous);
	offer_rdma_free(self->rdma);
	if (self->faults)
		event_free(self->faults);
	free(self);
}

const struct offer_rdma *world_event_rdma(const struct world *world)
{
	return ((const struct world_event *)world)->rdma;
}

const struct remote *world_event_remote(const struct world *world)
{
	return ((const struct world_event *)world)->remote;
}

void world_event_set_networks(struct world *world, unsigned num_networks)
{
	((struct world_event *)world)->offer.num_networks = num_networks;
}

int world_event_set_seeds(struct world *world)
{
	struct world_event *self = (struct world_event *)world;

	return self->remote ? remote_set_seeds(self->remote) : 0;
}

bool world_event_is_local(const struct world *world, uint16_t node_id)
{
	return is_local((const struct world_event *)world, node_id);
}

struct link *world_event_link(const struct world_link *link)
{
	return offer_link(link);
}

struct cast *world_event_cast(const struct world_cast *cast)
{
	return offer_cast_cast(cast);
}
