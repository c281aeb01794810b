/*
 * See world_event.h. The ops table, with the clock, timers and randomness; the rest
 * is rendezvous.c (who is there), world_channel.c (what is said) and offer_shm.c
 * (what carries frames).
 */
#include "control/world_event.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/offer_shm.h"
#include "control/rendezvous.h"
#include "control/world_channel.h"

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
	struct rendezvous *rendezvous;
	struct offer_shm offer;
	struct event *faults;
	void (*port_fault)(void *arg, unsigned port, int error);
	void (*pong)(void *arg, uint64_t token, uint64_t time_ns);
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
	struct timeval delay = {
		.tv_sec = (time_t)(delay_ns / NSEC_PER_SEC),
		.tv_usec = (suseconds_t)(delay_ns % NSEC_PER_SEC / NSEC_PER_USEC),
	};

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

/* ---- channels ---- */

static int world_dial(struct world *world, uint16_t node_id,
		      struct world_channel **ret_channel)
{
	struct world_event *self = event_world(world);
	struct sockaddr_un address;

	rendezvous_address(self->rendezvous, node_id, &address);
	return world_channel_dial(self->base, &address, ret_channel);
}

static void on_connected(void *arg, int fd)
{
	struct world_event *self = arg;
	struct world_channel *channel;

	if (world_channel_new(self->base, fd, &channel) < 0)
		return; /* out of memory: it is told by the end of its channel */
	self->world.handler->accepted(self->world.handler_arg, channel);
}

static void on_appeared(void *arg, uint16_t node_id)
{
	struct world_event *self = arg;

	self->world.handler->appeared(self->world.handler_arg, node_id);
}

static void on_disappeared(void *arg, uint16_t node_id)
{
	struct world_event *self = arg;

	self->world.handler->disappeared(self->world.handler_arg, node_id);
}

/* ---- what carries frames ---- */

static int world_ring_new(struct world *world, uint64_t size,
			  struct world_ring **ret_ring, const char **ret_why)
{
	return offer_shm_ring_new(&event_world(world)->offer, size, ret_ring, ret_why);
}

static int world_ring_accept(struct world *world, struct world_parcel *parcel,
			     uint64_t size, struct world_ring **ret_ring,
			     const char **ret_why)
{
	return offer_shm_ring_accept(&event_world(world)->offer, parcel, size, ret_ring,
				     ret_why);
}

static int world_bell_new(struct world *world, struct world_bell **ret_ours,
			  int *ret_theirs)
{
	(void)world;
	return offer_shm_bell_new(ret_ours, ret_theirs);
}

static int world_bell_accept(struct world *world, struct world_parcel *parcel,
			     struct world_bell **ret_bell, const char **ret_why)
{
	(void)world;
	return offer_shm_bell_accept(parcel, ret_bell, ret_why);
}

static void world_fd_close(struct world *world, int fd)
{
	(void)world;
	close(fd);
}

static int world_conn_new(struct world *world, struct world_bell *ours,
			  struct world_bell *theirs, struct world_conn **ret_conn)
{
	return offer_shm_conn_new(&event_world(world)->offer, ours, theirs, ret_conn);
}

static int world_link_new(struct world *world, const struct world_link_spec *spec,
			  struct world_link **ret_link)
{
	return offer_shm_link_new(&event_world(world)->offer, spec, ret_link);
}

static const struct world_ops ops = {
	.now = world_now,
	.random = world_random,
	.timer_new = world_timer_new,
	.timer_set = world_timer_set,
	.timer_cancel = world_timer_cancel,
	.timer_free = world_timer_free,
	.dial = world_dial,
	.channel_set_handler = world_channel_set_handler,
	.channel_credentials = world_channel_credentials,
	.channel_send = world_channel_send,
	.channel_at_end = world_channel_at_end,
	.channel_close = world_channel_close,
	.ring_new = world_ring_new,
	.ring_accept = world_ring_accept,
	.ring_fd = offer_shm_ring_fd,
	.ring_free = offer_shm_ring_free,
	.bell_new = world_bell_new,
	.bell_accept = world_bell_accept,
	.bell_free = offer_shm_bell_free,
	.fd_close = world_fd_close,
	.conn_new = world_conn_new,
	.conn_free = offer_shm_conn_free,
	.conn_beat = offer_shm_conn_beat,
	.conn_pulse = offer_shm_conn_pulse,
	.link_new = world_link_new,
	.link_free = offer_shm_link_free,
};

/* ---- faults of the data plane ---- */

static void handle_fault(struct world_event *self, const struct plane_fault *fault)
{
	struct world_link *link;

	if (fault->kind == PLANE_FAULT_PORT) {
		self->port_fault(self->arg, fault->port, fault->error);
		return;
	}
	link = offer_shm_find_link(&self->offer, fault->link);
	if (link)
		self->world.handler->link_fault(self->world.handler_arg, link,
						fault->error);
}

static void on_faults(evutil_socket_t fd, short what, void *arg)
{
	struct world_event *self = arg;
	struct plane_fault fault;
	struct plane_pong pong;

	(void)fd;
	(void)what;
	while (plane_next_fault(self->offer.plane, &fault))
		handle_fault(self, &fault);
	while (plane_next_pong(self->offer.plane, &pong))
		self->pong(self->arg, pong.token, pong.time_ns);
}

/* ---- life ---- */

static const struct rendezvous_handler rendezvous_handler = {
	.connected = on_connected,
	.appeared = on_appeared,
	.disappeared = on_disappeared,
};

int world_event_new(struct event_base *base, const struct world_event_options *options,
		    struct world **ret_world, char *ret_error, size_t error_size)
{
	struct world_event *self = calloc(1, sizeof(*self));
	int ret;

	snprintf(ret_error, error_size, "out of memory");
	if (!self)
		return -ENOMEM;
	self->world.ops = &ops;
	self->world.uid = geteuid();
	self->base = base;
	self->port_fault = options->port_fault;
	self->pong = options->pong;
	self->arg = options->arg;
	self->offer.plane = options->plane;
	self->offer.ports = options->ports;
	self->offer.link_ended = options->link_ended;
	self->offer.arg = options->arg;
	self->faults = event_new(base, plane_event_fd(options->plane),
				 EV_READ | EV_PERSIST, on_faults, self);
	ret = self->faults && event_add(self->faults, NULL) == 0 ? 0 : -ENOMEM;
	if (ret == 0)
		ret = rendezvous_new(base, options->directory, options->node_id,
				     &rendezvous_handler, self, &self->rendezvous,
				     ret_error, error_size);
	if (ret < 0) {
		world_event_free(&self->world);
		return ret;
	}
	*ret_world = &self->world;
	return 0;
}

int world_event_start(struct world *world, char *ret_error, size_t error_size)
{
	return rendezvous_start(event_world(world)->rendezvous, ret_error, error_size);
}

void world_event_free(struct world *world)
{
	struct world_event *self = event_world(world);

	if (!world)
		return;
	rendezvous_free(self->rendezvous);
	if (self->faults)
		event_free(self->faults);
	free(self);
}

struct link *world_event_link(const struct world_link *link)
{
	return offer_shm_link(link);
}
