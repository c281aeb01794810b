/* See rdma_cm.h. */
#include "control/rdma_cm.h"

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CM_FILE "/dev/infiniband/rdma_cm"

struct cm {
	struct rdma_event_channel *channel;
	struct ibv_context *verbs; /* librdmacm's own of our device, or NULL */
};

static const struct {
	enum cm_event_type type;
	const char *words;
} events[] = {
	[RDMA_CM_EVENT_ADDR_RESOLVED] = {CM_ADDRESS, NULL},
	[RDMA_CM_EVENT_ADDR_ERROR] = {CM_FAILED, "its address can't be resolved"},
	[RDMA_CM_EVENT_ROUTE_RESOLVED] = {CM_ROUTE, NULL},
	[RDMA_CM_EVENT_ROUTE_ERROR] = {CM_FAILED, "there is no route to it"},
	[RDMA_CM_EVENT_CONNECT_REQUEST] = {CM_REQUEST, NULL},
	[RDMA_CM_EVENT_CONNECT_RESPONSE] = {CM_RESPONSE, NULL},
	[RDMA_CM_EVENT_CONNECT_ERROR] = {CM_FAILED, "connecting failed"},
	[RDMA_CM_EVENT_UNREACHABLE] = {CM_FAILED, "it doesn't answer"},
	[RDMA_CM_EVENT_REJECTED] = {CM_REJECTED, "it refused the connection"},
	[RDMA_CM_EVENT_ESTABLISHED] = {CM_ESTABLISHED, NULL},
	[RDMA_CM_EVENT_DISCONNECTED] = {CM_DISCONNECTED, NULL},
	[RDMA_CM_EVENT_DEVICE_REMOVAL] = {CM_REMOVED, NULL},
};

static int error_of(int ret)
{
	return ret < 0 ? -errno : 0;
}

/* ---- the channel ---- */

/* What librdmacm may not open it waits for, 5 s; what is missing it may load. */
static int try_file(void)
{
	int fd = open(CM_FILE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	close(fd);
	return 0;
}

static int set_nonblocking(int fd)
{
	return error_of(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
}

int cm_open(struct cm **ret_cm)
{
	struct cm *cm;
	int ret = try_file();

	if (ret < 0)
		return ret;
	cm = calloc(1, sizeof(*cm));
	if (!cm)
		return -ENOMEM;
	errno = 0;
	cm->channel = rdma_create_event_channel();
	/* It doesn't always say why: what has the name may be another file. */
	ret = cm->channel ? set_nonblocking(cm->channel->fd) : -(errno ? errno : ENODEV);
	if (ret < 0) {
		cm_close(cm);
		return ret;
	}
	*ret_cm = cm;
	return 0;
}

void cm_close(struct cm *cm)
{
	if (!cm)
		return;
	if (cm->channel)
		rdma_destroy_event_channel(cm->channel);
	free(cm);
}

int cm_fd(const struct cm *cm)
{
	return cm->channel->fd;
}

/* ---- ids ---- */

int cm_new(struct cm *cm, struct rdma_cm_id **ret_id)
{
	return error_of(rdma_create_id(cm->channel, ret_id, NULL, RDMA_PS_TCP));
}

void cm_destroy(struct rdma_cm_id *id)
{
	if (id)
		rdma_destroy_id(id);
}

/* librdmacm takes addresses that it doesn't change, but doesn't say so. */
static struct sockaddr *unconst(const struct sockaddr *address)
{
	return (struct sockaddr *)(uintptr_t)address;
}

int cm_bind(struct cm *cm, struct rdma_cm_id *id, const struct sockaddr *address)
{
	cm->verbs = NULL; /* that of a device that was removed may be freed by this */
	if (rdma_bind_addr(id, unconst(address)) < 0)
		return -errno;
	cm->verbs = id->verbs;
	return 0;
}

int cm_listen(struct rdma_cm_id *id, unsigned backlog)
{
	return error_of(rdma_listen(id, (int)backlog));
}

int cm_resolve_address(struct rdma_cm_id *id, const struct sockaddr *from,
		       const struct sockaddr *to, unsigned timeout_ms)
{
	return error_of(
		rdma_resolve_addr(id, unconst(from), unconst(to), (int)timeout_ms));
}

int cm_resolve_route(struct rdma_cm_id *id, unsigned timeout_ms)
{
	return error_of(rdma_resolve_route(id, (int)timeout_ms));
}

/* ---- connecting ---- */

/* Nobody reads remote memory: no resources for that; and no retry for want of receives.
 */
static struct rdma_conn_param conn_param(const struct cm_param *param)
{
	return (struct rdma_conn_param){
		.private_data = param->data,
		.private_data_len = param->length,
		.retry_count = param->retry_count,
		.qp_num = param->qp_number,
	};
}

int cm_connect(struct rdma_cm_id *id, const struct cm_param *param)
{
	struct rdma_conn_param conn = conn_param(param);

	return error_of(rdma_connect(id, &conn));
}

int cm_accept(struct rdma_cm_id *id, const struct cm_param *param)
{
	struct rdma_conn_param conn = conn_param(param);

	return error_of(rdma_accept(id, &conn));
}

int cm_establish(struct rdma_cm_id *id)
{
	return error_of(rdma_establish(id));
}

int cm_reject(struct rdma_cm_id *id)
{
	return error_of(rdma_reject(id, NULL, 0));
}

int cm_qp_attr(struct rdma_cm_id *id, unsigned state, struct ibv_qp_attr *ret_attr,
	       int *ret_mask)
{
	*ret_attr = (struct ibv_qp_attr){.qp_state = state};
	return error_of(rdma_init_qp_attr(id, ret_attr, ret_mask));
}

/* ---- events ---- */

static void copy_conn(const struct rdma_conn_param *from, struct cm_event *event)
{
	event->qp_number = from->qp_num;
	event->length = from->private_data_len;
	if (event->length)
		memcpy(event->data, from->private_data, event->length);
}

static void copy_event(const struct rdma_cm_event *from, struct cm_event *ret)
{
	*ret = (struct cm_event){.id = from->id};
	if (from->event < sizeof(events) / sizeof(events[0])) {
		ret->type = events[from->event].type;
		ret->words = events[from->event].words;
	}
	if (ret->type == CM_REQUEST || ret->type == CM_RESPONSE)
		copy_conn(&from->param.conn, ret);
}

int cm_next(struct cm *cm, struct cm_event *ret_event)
{
	struct rdma_cm_event *event;

	if (rdma_get_cm_event(cm->channel, &event) < 0)
		return -errno;
	copy_event(event, ret_event);
	rdma_ack_cm_event(event);
	return 0;
}

/* ---- a device that was removed ---- */

/*
 * librdmacm opens the device of an id for itself, and keeps it open without any id. It
 * closes one that was removed when it next meets one that it doesn't know; as of
 * rdma-core 44, and 65 is no different, it does nothing at all while there is no device
 * (sync_devices_list() in cma.c), and there is no call to make it. A driver that can't be
 * parted from its users, like rxe's, waits for that for ever: `rdma link delete` blocks
 * until the program ends, and the device can't be added again.
 *
 * So both of its descriptors are made ones of /dev/null. Nothing is behind them any more
 * (no id, and the protection domain went with the last), and librdmacm closes them when
 * the device is back, which it knows by its new index. That doesn't happen before the
 * next cm_bind(): all other ids are of the device that the bound one is of.
 */
void cm_let_go(struct cm *cm)
{
	int null;

	if (!cm->verbs)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return; /* no descriptors now: the caller comes again */
	dup3(null, cm->verbs->cmd_fd, O_CLOEXEC);
	dup3(null, cm->verbs->async_fd, O_CLOEXEC);
	close(null);
	cm->verbs = NULL;
}
