/*
 * See offer_rdma.h: the device, and listening on it.
 *
 * The device comes and goes. It is up if it is open, its port active, and we listen. What
 * ends that is an event of the device, or of the connection manager, or that its node in
 * sysfs is gone, at which the clock looks: a driver like rxe can't be removed while
 * anybody has it open, and then nobody is told. All connections are lost then; the last
 * one that is freed closes the device, which lets the removal go on. From then on it is
 * opened again each second.
 *
 * To destroy the id of a connection sends a message to the peer. By a port that is down
 * that fails, which on rxe 6.1 is the end of the queue pair for such messages, of all
 * programs, until the device is made anew. So ids wait until there is a port again.
 */
#include "control/offer_rdma_internal.h"

#include <infiniband/verbs.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG	   128
#define EVENTS_MAX 32 /* of the connection manager in one turn of the loop */

static const struct timeval second = {.tv_sec = 1};

/* ---- the device comes ---- */

static int fail_cm(char *why, int err)
{
	char words[OFFER_RDMA_WHY_MAX - 64];

	rdma_device_explain("/dev/infiniband/rdma_cm", err, words, sizeof(words));
	snprintf(why, OFFER_RDMA_WHY_MAX, "can't use the connection manager: %s", words);
	return err;
}

static int fail_listen(const struct offer_rdma *rdma, char *why, int err)
{
	const char *text = rdma->config->listen.text;

	if (err == -EADDRINUSE)
		snprintf(why, OFFER_RDMA_WHY_MAX,
			 "%s: another program listens there by RDMA", text);
	else if (err == -EADDRNOTAVAIL)
		snprintf(why, OFFER_RDMA_WHY_MAX, "%s is not an address of this host",
			 text);
	else if (err == -EACCES)
		snprintf(why, OFFER_RDMA_WHY_MAX,
			 "%s: the process changed its credentials after it opened the "
			 "connection manager",
			 text);
	else
		snprintf(why, OFFER_RDMA_WHY_MAX, "can't listen on %s by %s: %s", text,
			 rdma->device.name, strerror(-err));
	return err;
}

static void on_cm(evutil_socket_t fd, short what, void *arg);

/* Once: it is of no device. */
static int open_cm(struct offer_rdma *rdma, char *why)
{
	int ret = cm_open(&rdma->cm);

	if (ret < 0)
		return fail_cm(why, ret);
	rdma->on_cm =
		event_new(rdma->base, cm_fd(rdma->cm), EV_READ | EV_PERSIST, on_cm, rdma);
	if (rdma->on_cm && event_add(rdma->on_cm, NULL) == 0)
		return 0;
	snprintf(why, OFFER_RDMA_WHY_MAX, "out of memory");
	return -ENOMEM;
}

static int listen_on(struct offer_rdma *rdma, char *why)
{
	const struct sockaddr *address = (const void *)&rdma->config->listen.address;
	int ret = cm_new(rdma->cm, &rdma->listen_id);

	if (ret < 0)
		return fail_listen(rdma, why, ret);
	ret = cm_bind(rdma->cm, rdma->listen_id, address);
	if (ret == 0)
		ret = cm_listen(rdma->listen_id, BACKLOG);
	return ret < 0 ? fail_listen(rdma, why, ret) : 0;
}

static void on_device(evutil_socket_t fd, short what, void *arg);

static int watch_device(struct offer_rdma *rdma, char *why)
{
	int fd = rdma->device.context->async_fd;

	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0)
		rdma->on_device =
			event_new(rdma->base, fd, EV_READ | EV_PERSIST, on_device, rdma);
	if (rdma->on_device && event_add(rdma->on_device, NULL) == 0)
		return 0;
	snprintf(why, OFFER_RDMA_WHY_MAX, "can't watch %s", rdma->device.name);
	return -ENOMEM;
}

/* ---- ids ---- */

static int park(struct offer_rdma *rdma, struct rdma_cm_id *id)
{
	struct rdma_cm_id **parked =
		realloc(rdma->parked, (rdma->num_parked + 1) * sizeof(*rdma->parked));

	if (!parked)
		return -ENOMEM;
	parked[rdma->num_parked++] = id;
	rdma->parked = parked;
	return 0;
}

void offer_rdma_drop_id(struct offer_rdma *rdma, struct rdma_cm_id *id)
{
	if (!id)
		return;
	if (rdma->is_up || park(rdma, id) < 0)
		cm_destroy(id);
}

static void drop_parked(struct offer_rdma *rdma)
{
	for (unsigned i = 0; i < rdma->num_parked; i++)
		cm_destroy(rdma->parked[i]);
	free(rdma->parked);
	rdma->parked = NULL;
	rdma->num_parked = 0;
}

/* If it was removed, that waits for us, and no id of it sends messages. */
void offer_rdma_close_device(struct offer_rdma *rdma)
{
	rdma_device_close(&rdma->device);
	if (!rdma->cm || rdma_device_is_there(&rdma->device))
		return;
	drop_parked(rdma);
	cm_let_go(rdma->cm);
}

/* Nobody hears of it any more; what peers have of it is theirs to free. */
static void leave_device(struct offer_rdma *rdma)
{
	if (rdma->on_device)
		event_free(rdma->on_device);
	rdma->on_device = NULL;
	cm_destroy(rdma->listen_id);
	rdma->listen_id = NULL;
	rdma->is_up = false;
	if (!rdma->conns)
		offer_rdma_close_device(rdma);
}

static int enter_device(struct offer_rdma *rdma, char *why)
{
	const struct sockaddr *address = (const void *)&rdma->config->listen.address;
	int ret = rdma_device_open(rdma->config->device, address, &rdma->device, why);

	if (ret < 0)
		return ret;
	ret = watch_device(rdma, why);
	if (ret == 0 && !rdma->cm)
		ret = open_cm(rdma, why);
	if (ret == 0)
		ret = listen_on(rdma, why);
	if (ret < 0) {
		leave_device(rdma);
		return ret;
	}
	snprintf(rdma->name, sizeof(rdma->name), "rdma/%s", rdma->device.name);
	rdma->is_up = true;
	drop_parked(rdma);
	return 0;
}

/* ---- and goes ---- */

static struct rdma_conn *find_alive(const struct offer_rdma *rdma)
{
	struct rdma_conn *conn = rdma->conns;

	while (conn && conn->state == RDMA_LOST)
		conn = conn->next;
	return conn;
}

static void set_down(struct offer_rdma *rdma, const char *words)
{
	if (strcmp(rdma->down, words) == 0)
		return;
	snprintf(rdma->down, sizeof(rdma->down), "%s", words);
	log_warn(rdma->name, "%s", words);
}

static void lose_device(struct offer_rdma *rdma, const char *words)
{
	struct rdma_conn *conn;

	if (!rdma->is_up)
		return;
	set_down(rdma, words);
	leave_device(rdma);
	while ((conn = find_alive(rdma)))
		rdma_conn_lose(conn, words); /* may free any of them */
}

static void check_device(struct offer_rdma *rdma)
{
	char why[OFFER_RDMA_WHY_MAX];

	if (rdma_device_check(&rdma->device, why) < 0)
		lose_device(rdma, why);
}

static void try_again(struct offer_rdma *rdma)
{
	char why[OFFER_RDMA_WHY_MAX];

	if (rdma->conns) /* which have the old one open */
		return;
	offer_rdma_close_device(rdma); /* it may have been removed since */
	if (enter_device(rdma, why) < 0) {
		set_down(rdma, why);
		return;
	}
	rdma->down[0] = '\0';
	log_info(rdma->name, "listens on %s again", rdma->config->listen.text);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct offer_rdma *rdma = arg;
	char why[OFFER_RDMA_WHY_MAX];

	(void)fd;
	(void)what;
	if (!rdma->is_up) {
		try_again(rdma);
	} else if (!rdma_device_is_there(&rdma->device)) {
		snprintf(why, sizeof(why), "%s was removed", rdma->device.name);
		lose_device(rdma, why);
	}
}

/* ---- events ---- */

static void on_queue(struct rdma_conn *conn, enum ibv_event_type type)
{
	char words[128];

	snprintf(words, sizeof(words), "the queue pair failed: %s",
		 ibv_event_type_str(type));
	rdma_conn_lose(conn, words);
}

static void on_device(evutil_socket_t fd, short what, void *arg)
{
	struct offer_rdma *rdma = arg;
	struct ibv_async_event event;
	struct rdma_conn *conn = NULL;

	(void)fd;
	(void)what;
	if (ibv_get_async_event(rdma->device.context, &event) < 0)
		return;
	switch (event.event_type) {
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
		conn = event.element.qp->qp_context;
		break;
	default:
		break;
	}
	/* What it is of can't be destroyed before that. */
	ibv_ack_async_event(&event);
	if (conn)
		on_queue(conn, event.event_type);
	else if (event.event_type == IBV_EVENT_DEVICE_FATAL)
		lose_device(rdma, "the device failed");
	else
		check_device(rdma);
}

static void on_cm(evutil_socket_t fd, short what, void *arg)
{
	struct offer_rdma *rdma = arg;
	struct cm_event event;

	(void)fd;
	(void)what;
	/* Anybody can send requests, and as fast as they are refused. */
	for (int i = 0; i < EVENTS_MAX && cm_next(rdma->cm, &event) == 0; i++) {
		if (event.type == CM_REMOVED && event.id == rdma->listen_id)
			lose_device(rdma, "the device was removed");
		else
			rdma_conn_event(rdma, &event);
	}
}

/* ---- life ---- */

static int start_tick(struct offer_rdma *rdma, char *why)
{
	rdma->tick = event_new(rdma->base, -1, EV_PERSIST, on_tick, rdma);
	if (rdma->tick && event_add(rdma->tick, &second) == 0)
		return 0;
	snprintf(why, OFFER_RDMA_WHY_MAX, "out of memory");
	return -ENOMEM;
}

int offer_rdma_new(struct offer *offer, struct event_base *base,
		   const struct config_fabric *config, struct offer_rdma **ret_rdma,
		   char *ret_error, size_t error_size)
{
	struct offer_rdma *rdma = calloc(1, sizeof(*rdma));
	char why[OFFER_RDMA_WHY_MAX];
	int ret;

	snprintf(ret_error, error_size, "out of memory");
	if (!rdma)
		return -ENOMEM;
	rdma->kind = (struct offer_fabric){
		.ops = &offer_rdma_ops,
		.offer = offer,
		.is_remote = true,
	};
	snprintf(rdma->name, sizeof(rdma->name), "rdma");
	rdma->config = config;
	rdma->base = base;
	ret = enter_device(rdma, why);
	if (ret == 0)
		ret = start_tick(rdma, why);
	if (ret < 0) {
		snprintf(ret_error, error_size, "fabric %s: %s", config->name, why);
		offer_rdma_free(rdma);
		return ret;
	}
	*ret_rdma = rdma;
	return 0;
}

void offer_rdma_free(struct offer_rdma *rdma)
{
	if (!rdma)
		return;
	leave_device(rdma);
	drop_parked(rdma);
	if (rdma->tick)
		event_free(rdma->tick);
	if (rdma->on_cm)
		event_free(rdma->on_cm);
	cm_close(rdma->cm);
	free(rdma);
}

struct offer_fabric *offer_rdma_kind(struct offer_rdma *rdma)
{
	return &rdma->kind;
}

const char *offer_rdma_device(const struct offer_rdma *rdma)
{
	return rdma->device.name;
}

const char *offer_rdma_down(const struct offer_rdma *rdma)
{
	return rdma->is_up ? NULL : rdma->down;
}
