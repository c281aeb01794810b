/* See rdma_cm.h. */
#include "control/rdma_cm.h"

#include <infiniband/verbs.h>
#include <rdma/rdma_user_cm.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CM_DEVICE "/dev/infiniband/rdma_cm"
#define CM_ABI	  "/sys/class/misc/rdma_cm/abi_version"

/* Numbers of the kernel's events, which no header for programs has. */
enum kernel_event {
	KERNEL_ADDR_RESOLVED,
	KERNEL_ADDR_ERROR,
	KERNEL_ROUTE_RESOLVED,
	KERNEL_ROUTE_ERROR,
	KERNEL_CONNECT_REQUEST,
	KERNEL_CONNECT_RESPONSE,
	KERNEL_CONNECT_ERROR,
	KERNEL_UNREACHABLE,
	KERNEL_REJECTED,
	KERNEL_ESTABLISHED,
	KERNEL_DISCONNECTED,
	KERNEL_DEVICE_REMOVAL,
	KERNEL_EVENT_NUM_
};

static const struct {
	enum cm_event_type type;
	const char *words;
} events[KERNEL_EVENT_NUM_] = {
	[KERNEL_ADDR_RESOLVED] = {CM_ADDRESS, NULL},
	[KERNEL_ADDR_ERROR] = {CM_FAILED, "its address can't be resolved"},
	[KERNEL_ROUTE_RESOLVED] = {CM_ROUTE, NULL},
	[KERNEL_ROUTE_ERROR] = {CM_FAILED, "there is no route to it"},
	[KERNEL_CONNECT_REQUEST] = {CM_REQUEST, NULL},
	[KERNEL_CONNECT_RESPONSE] = {CM_RESPONSE, NULL},
	[KERNEL_CONNECT_ERROR] = {CM_FAILED, "connecting failed"},
	[KERNEL_UNREACHABLE] = {CM_FAILED, "it doesn't answer"},
	[KERNEL_REJECTED] = {CM_REJECTED, "it refused the connection"},
	[KERNEL_ESTABLISHED] = {CM_ESTABLISHED, NULL},
	[KERNEL_DISCONNECTED] = {CM_DISCONNECTED, NULL},
	[KERNEL_DEVICE_REMOVAL] = {CM_REMOVED, NULL},
};

/* ---- one command ---- */

struct command {
	struct rdma_ucm_cmd_hdr header;
	union {
		struct rdma_ucm_create_id create;
		struct rdma_ucm_destroy_id destroy;
		struct rdma_ucm_bind bind;
		struct rdma_ucm_listen listen;
		struct rdma_ucm_resolve_addr resolve_address;
		struct rdma_ucm_resolve_route resolve_route;
		struct rdma_ucm_connect connect;
		struct rdma_ucm_accept accept;
		struct rdma_ucm_reject reject;
		struct rdma_ucm_disconnect disconnect;
		struct rdma_ucm_init_qp_attr init_qp_attr;
		struct rdma_ucm_get_event get_event;
	} u;
};

static uint64_t pointer_of(const void *pointer)
{
	return (uintptr_t)pointer;
}

/* `in` bytes of the union go, `out` bytes come where its response points to. */
static int command_run(int fd, struct command *command, unsigned number, size_t in,
		       size_t out)
{
	size_t length = sizeof(command->header) + in;
	ssize_t n;

	command->header = (struct rdma_ucm_cmd_hdr){
		.cmd = number,
		.in = (uint16_t)in,
		.out = (uint16_t)out,
	};
	n = write(fd, command, length);
	if (n < 0)
		return -errno;
	return (size_t)n == length ? 0 : -EIO;
}

#define RUN(fd, command, number, member, out)                                            \
	command_run(fd, command, RDMA_USER_CM_CMD_##number, sizeof((command)->u.member), \
		    out)

/* ---- the channel ---- */

static int read_abi(void)
{
	FILE *file = fopen(CM_ABI, "re");
	int version = 0;

	if (!file)
		return -ENOENT;
	if (fscanf(file, "%d", &version) != 1)
		version = 0;
	fclose(file);
	return version;
}

int cm_open(int *ret_fd)
{
	int abi = read_abi(), fd;

	if (abi < 0)
		return abi;
	if (abi != RDMA_USER_CM_ABI_VERSION)
		return -EPROTO;
	fd = open(CM_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* ---- ids ---- */

int cm_new(int fd, void *owner, uint32_t *ret_id)
{
	struct rdma_ucm_create_id_resp response = {.id = 0};
	struct command command = {
		.u.create =
			{
				.uid = pointer_of(owner),
				.response = pointer_of(&response),
				.ps = RDMA_PS_TCP,
				.qp_type = IBV_QPT_RC,
			},
	};
	int ret = RUN(fd, &command, CREATE_ID, create, sizeof(response));

	if (ret == 0)
		*ret_id = response.id;
	return ret;
}

int cm_destroy(int fd, uint32_t id)
{
	struct rdma_ucm_destroy_id_resp response = {.events_reported = 0};
	struct command command = {
		.u.destroy = {.response = pointer_of(&response), .id = id},
	};

	return RUN(fd, &command, DESTROY_ID, destroy, sizeof(response));
}

static uint16_t address_length(const struct sockaddr *address)
{
	return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					      : sizeof(struct sockaddr_in);
}

int cm_bind(int fd, uint32_t id, const struct sockaddr *address)
{
	struct command command = {
		.u.bind = {.id = id, .addr_size = address_length(address)},
	};

	memcpy(&command.u.bind.addr, address, address_length(address));
	return RUN(fd, &command, BIND, bind, 0);
}

int cm_listen(int fd, uint32_t id, unsigned backlog)
{
	struct command command = {.u.listen = {.id = id, .backlog = backlog}};

	return RUN(fd, &command, LISTEN, listen, 0);
}

int cm_resolve_address(int fd, uint32_t id, const struct sockaddr *from,
		       const struct sockaddr *to, unsigned timeout_ms)
{
	struct command command = {
		.u.resolve_address =
			{
				.id = id,
				.timeout_ms = timeout_ms,
				.src_size = address_length(from),
				.dst_size = address_length(to),
			},
	};

	memcpy(&command.u.resolve_address.src_addr, from, address_length(from));
	memcpy(&command.u.resolve_address.dst_addr, to, address_length(to));
	return RUN(fd, &command, RESOLVE_ADDR, resolve_address, 0);
}

int cm_resolve_route(int fd, uint32_t id, unsigned timeout_ms)
{
	struct command command = {
		.u.resolve_route = {.id = id, .timeout_ms = timeout_ms},
	};

	return RUN(fd, &command, RESOLVE_ROUTE, resolve_route, 0);
}

/* ---- connecting ---- */

/* Nobody reads remote memory: no resources for that; and no retry for want of receives.
 */
static struct rdma_ucm_conn_param conn_param(const struct cm_param *param)
{
	struct rdma_ucm_conn_param ret = {
		.qp_num = param->qp_number,
		.private_data_len = (uint8_t)param->length,
		.retry_count = param->retry_count,
		.valid = 1,
	};

	memcpy(ret.private_data, param->data, param->length);
	return ret;
}

int cm_connect(int fd, uint32_t id, const struct cm_param *param)
{
	struct command command = {.u.connect.id = id};

	command.u.connect.conn_param = conn_param(param);
	return RUN(fd, &command, CONNECT, connect, 0);
}

int cm_accept(int fd, uint32_t id, void *owner, const struct cm_param *param)
{
	struct command command = {.u.accept = {.id = id, .uid = pointer_of(owner)}};

	command.u.accept.conn_param = conn_param(param);
	return RUN(fd, &command, ACCEPT, accept, 0);
}

int cm_establish(int fd, uint32_t id)
{
	struct command command = {.u.accept.id = id}; /* no parameters: the third leg */

	return RUN(fd, &command, ACCEPT, accept, 0);
}

int cm_reject(int fd, uint32_t id)
{
	struct command command = {.u.reject.id = id};

	command.u.reject.reason = 28; /* of IBTA: by the consumer */
	return RUN(fd, &command, REJECT, reject, 0);
}

int cm_disconnect(int fd, uint32_t id)
{
	struct command command = {.u.disconnect.id = id};

	return RUN(fd, &command, DISCONNECT, disconnect, 0);
}

static void copy_attr(const struct ib_uverbs_qp_attr *from, struct ibv_qp_attr *ret)
{
	const struct ib_uverbs_ah_attr *ah = &from->ah_attr;

	*ret = (struct ibv_qp_attr){
		.qp_state = from->qp_state,
		.path_mtu = from->path_mtu,
		.rq_psn = from->rq_psn,
		.sq_psn = from->sq_psn,
		.dest_qp_num = from->dest_qp_num,
		.max_rd_atomic = from->max_rd_atomic,
		.max_dest_rd_atomic = from->max_dest_rd_atomic,
		.min_rnr_timer = from->min_rnr_timer,
		.timeout = from->timeout,
		.retry_cnt = from->retry_cnt,
		.rnr_retry = from->rnr_retry,
		.ah_attr =
			{
				.grh = {.flow_label = ah->grh.flow_label,
					.sgid_index = ah->grh.sgid_index,
					.hop_limit = ah->grh.hop_limit,
					.traffic_class = ah->grh.traffic_class},
				.dlid = ah->dlid,
				.sl = ah->sl,
				.src_path_bits = ah->src_path_bits,
				.static_rate = ah->static_rate,
				.is_global = ah->is_global,
				.port_num = ah->port_num,
			},
	};
	memcpy(ret->ah_attr.grh.dgid.raw, ah->grh.dgid, sizeof(ah->grh.dgid));
}

int cm_qp_attr(int fd, uint32_t id, unsigned state, struct ibv_qp_attr *ret_attr,
	       int *ret_mask)
{
	/* What is above is of the kernel's own, and refused if it comes from here. */
	const unsigned known = (IBV_QP_DEST_QPN << 1) - 1;
	struct ib_uverbs_qp_attr response = {.qp_attr_mask = 0};
	struct command command = {
		.u.init_qp_attr =
			{
				.response = pointer_of(&response),
				.id = id,
				.qp_state = state,
			},
	};
	int ret = RUN(fd, &command, INIT_QP_ATTR, init_qp_attr, sizeof(response));

	if (ret < 0)
		return ret;
	copy_attr(&response, ret_attr);
	*ret_mask = (int)(response.qp_attr_mask & known);
	return 0;
}

/* ---- events ---- */

static void copy_conn(const struct rdma_ucm_event_resp *from, struct cm_event *event)
{
	event->qp_number = from->param.conn.qp_num;
	event->length = from->param.conn.private_data_len;
	memcpy(event->data, from->param.conn.private_data, event->length);
}

int cm_next(int fd, struct cm_event *ret_event)
{
	struct rdma_ucm_event_resp response = {.status = 0};
	struct command command = {.u.get_event.response = pointer_of(&response)};
	int ret = RUN(fd, &command, GET_EVENT, get_event, sizeof(response));

	if (ret < 0)
		return ret;
	*ret_event = (struct cm_event){
		.type = CM_OTHER,
		.owner = (void *)(uintptr_t)response.uid,
		.id = response.id,
		.status = (int)response.status,
	};
	if (response.event < KERNEL_EVENT_NUM_) {
		ret_event->type = events[response.event].type;
		ret_event->words = events[response.event].words;
	}
	if (ret_event->type == CM_REQUEST || ret_event->type == CM_RESPONSE)
		copy_conn(&response, ret_event);
	return 0;
}
