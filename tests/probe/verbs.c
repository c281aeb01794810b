/* See verbs.h. */
#include "verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CM_PORT	   7471
#define CM_TIMEOUT 2000

double verbs_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

void verbs_zero(const char *call, int error)
{
	if (!error)
		return;
	printf("%s: %s\n", call, strerror(error < 0 ? errno : error));
	exit(1);
}

void verbs_die(const char *call)
{
	printf("%s: %s\n", call, strerror(errno));
	exit(1);
}

void *verbs_not_null(const char *call, void *result)
{
	if (!result)
		verbs_die(call);
	return result;
}

void verbs_check(bool holds, const char *what, int *failures)
{
	printf("%-5s %s\n", holds ? "yes" : "NO", what);
	*failures += !holds;
}

struct ibv_context *verbs_open(const char *device)
{
	struct ibv_device **list = TRY(ibv_get_device_list(NULL));
	struct ibv_context *context = NULL;

	for (int i = 0; list[i] && !context; i++)
		if (!strcmp(ibv_get_device_name(list[i]), device))
			context = ibv_open_device(list[i]);
	ibv_free_device_list(list);
	return context;
}

int verbs_gid(struct ibv_context *context, const char *address)
{
	struct ibv_gid_entry entry;
	uint8_t wanted[16] = {[10] = 0xff, [11] = 0xff};

	if (inet_pton(AF_INET, address, wanted + 12) != 1)
		verbs_die("inet_pton");
	for (uint32_t i = 0; !ibv_query_gid_ex(context, 1, i, &entry, 0); i++)
		if (entry.gid_type == IBV_GID_TYPE_ROCE_V2 &&
		    !memcmp(entry.gid.raw, wanted, 16))
			return (int)i;
	printf("no RoCEv2 GID for %s\n", address);
	exit(1);
}

void verbs_end_new(struct ibv_context *context, struct ibv_pd *pd, struct verbs_end *ret)
{
	struct ibv_qp_init_attr init = {.qp_type = IBV_QPT_RC};

	ret->own_pd = !pd;
	ret->pd = pd ? pd : TRY(ibv_alloc_pd(context));
	ret->channel = TRY(ibv_create_comp_channel(context));
	ret->cq = TRY(ibv_create_cq(context, 2 * VERBS_DEPTH, NULL, ret->channel, 0));
	init.send_cq = init.recv_cq = ret->cq;
	init.cap.max_send_wr = init.cap.max_recv_wr = VERBS_DEPTH;
	init.cap.max_send_sge = init.cap.max_recv_sge = 1;
	ret->qp = TRY(ibv_create_qp(ret->pd, &init));
}

void verbs_end_free(struct verbs_end *end)
{
	TRY0(ibv_destroy_qp(end->qp));
	TRY0(ibv_destroy_cq(end->cq));
	TRY0(ibv_destroy_comp_channel(end->channel));
	if (end->own_pd)
		TRY0(ibv_dealloc_pd(end->pd));
}

static void to_init(struct verbs_end *end)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_LOCAL_WRITE,
	};

	TRY0(ibv_modify_qp(end->qp, &attr,
			   IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				   IBV_QP_ACCESS_FLAGS));
}

static void to_ready(struct verbs_end *end, const struct verbs_end *peer, int gid_index)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = peer->qp->qp_num,
		.rq_psn = 1,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 1,
		.ah_attr = {.is_global = 1, .port_num = 1},
	};

	attr.ah_attr.grh.sgid_index = (uint8_t)gid_index;
	attr.ah_attr.grh.hop_limit = 1;
	TRY0(ibv_query_gid(peer->qp->context, 1, gid_index, &attr.ah_attr.grh.dgid));
	TRY0(ibv_modify_qp(end->qp, &attr,
			   IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				   IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				   IBV_QP_MIN_RNR_TIMER));
	attr.qp_state = IBV_QPS_RTS;
	attr.timeout = 14;
	attr.retry_cnt = 3;
	attr.rnr_retry = 0;
	attr.sq_psn = 1;
	attr.max_rd_atomic = 1;
	TRY0(ibv_modify_qp(end->qp, &attr,
			   IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				   IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				   IBV_QP_MAX_QP_RD_ATOMIC));
}

/* Both are on one device, connected without rdma_cm. */
void verbs_join(struct verbs_end *a, struct verbs_end *b, int gid_index)
{
	to_init(a);
	to_init(b);
	to_ready(a, b, gid_index);
	to_ready(b, a, gid_index);
}

void verbs_receive(struct verbs_end *end, unsigned int count)
{
	struct ibv_recv_wr wr = {0}, *bad;

	while (count--)
		TRY0(ibv_post_recv(end->qp, &wr, &bad));
}

void verbs_post(struct verbs_end *end, const struct verbs_write *write)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)write->from,
		.length = write->length,
		.lkey = write->lkey,
	};
	struct ibv_send_wr wr = {
		.opcode = write->opcode,
		.send_flags = write->flags,
		.imm_data = htobe32(write->imm),
		.sg_list = &sge,
		.num_sge = write->length > 0,
		.wr.rdma = {.remote_addr = write->to, .rkey = write->rkey},
	};
	struct ibv_send_wr *bad;

	TRY0(ibv_post_send(end->qp, &wr, &bad));
}

/* Spins: what is looked for may be seen only before the next wake-up. */
bool verbs_poll(struct verbs_end *end, double seconds, struct ibv_wc *ret)
{
	double until = verbs_now() + seconds;
	int n;

	do {
		n = ibv_poll_cq(end->cq, 1, ret);
		if (n < 0)
			verbs_die("ibv_poll_cq");
	} while (!n && verbs_now() < until);
	return n;
}

static void expect(struct cm_pair *pair, enum rdma_cm_event_type type,
		   struct rdma_cm_event **ret)
{
	struct pollfd fd = {.fd = pair->channel->fd, .events = POLLIN};

	if (poll(&fd, 1, 10 * CM_TIMEOUT) != 1) {
		printf("no %s comes\n", rdma_event_str(type));
		exit(1);
	}
	TRY0(rdma_get_cm_event(pair->channel, ret));
	if ((*ret)->event != type) {
		printf("%s (%d) came instead of %s\n", rdma_event_str((*ret)->event),
		       (*ret)->status, rdma_event_str(type));
		exit(1);
	}
}

static void expect_only(struct cm_pair *pair, enum rdma_cm_event_type type)
{
	struct rdma_cm_event *event;

	expect(pair, type, &event);
	TRY0(rdma_ack_cm_event(event));
}

void cm_listen(struct cm_pair *pair, const char *address)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(CM_PORT)};

	inet_pton(AF_INET, address, &sin.sin_addr);
	pair->channel = TRY(rdma_create_event_channel());
	TRY0(rdma_create_id(pair->channel, &pair->listener, NULL, RDMA_PS_TCP));
	TRY0(rdma_bind_addr(pair->listener, (struct sockaddr *)&sin));
	TRY0(rdma_listen(pair->listener, 4));
}

static void resolve(struct cm_pair *pair)
{
	struct sockaddr *address = rdma_get_local_addr(pair->listener);

	TRY0(rdma_create_id(pair->channel, &pair->active, NULL, RDMA_PS_TCP));
	TRY0(rdma_resolve_addr(pair->active, NULL, address, CM_TIMEOUT));
	expect_only(pair, RDMA_CM_EVENT_ADDR_RESOLVED);
	TRY0(rdma_resolve_route(pair->active, CM_TIMEOUT));
	expect_only(pair, RDMA_CM_EVENT_ROUTE_RESOLVED);
}

/* What rdma_cm would do to a queue pair of its own. */
static void follow(struct rdma_cm_id *id, struct ibv_qp *qp, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = {.qp_state = state};
	int mask;

	TRY0(rdma_init_qp_attr(id, &attr, &mask));
	TRY0(ibv_modify_qp(qp, &attr, mask));
}

static void take_request(struct cm_pair *pair, struct verbs_end *end,
			 const struct rdma_conn_param *param)
{
	struct rdma_cm_event *event;

	expect(pair, RDMA_CM_EVENT_CONNECT_REQUEST, &event);
	pair->passive = event->id;
	memcpy(pair->asked, event->param.conn.private_data, sizeof(pair->asked) - 8);
	TRY0(rdma_ack_cm_event(event));
	follow(pair->passive, end->qp, IBV_QPS_INIT);
	follow(pair->passive, end->qp, IBV_QPS_RTR);
	follow(pair->passive, end->qp, IBV_QPS_RTS);
	TRY0(rdma_accept(pair->passive, (struct rdma_conn_param *)param));
}

static void take_response(struct cm_pair *pair, struct verbs_end *end)
{
	struct rdma_cm_event *event;

	expect(pair, RDMA_CM_EVENT_CONNECT_RESPONSE, &event);
	memcpy(pair->answered, event->param.conn.private_data,
	       sizeof(pair->answered) - 8);
	TRY0(rdma_ack_cm_event(event));
	follow(pair->active, end->qp, IBV_QPS_INIT);
	follow(pair->active, end->qp, IBV_QPS_RTR);
	follow(pair->active, end->qp, IBV_QPS_RTS);
	TRY0(rdma_establish(pair->active));
}

void cm_join(struct cm_pair *pair, struct verbs_end *active, struct verbs_end *passive)
{
	static const char question[56] = "who is there?", answer[56] = "me";
	struct rdma_conn_param param = {
		.private_data = question,
		.private_data_len = sizeof(question),
		.retry_count = 3,
		.qp_num = active->qp->qp_num,
	};

	resolve(pair);
	follow(pair->active, active->qp, IBV_QPS_INIT);
	TRY0(rdma_connect(pair->active, &param));
	param.private_data = answer;
	param.qp_num = passive->qp->qp_num;
	take_request(pair, passive, &param);
	take_response(pair, active);
	expect_only(pair, RDMA_CM_EVENT_ESTABLISHED);
}

void cm_free(struct cm_pair *pair)
{
	if (pair->active)
		TRY0(rdma_destroy_id(pair->active));
	if (pair->passive)
		TRY0(rdma_destroy_id(pair->passive));
	TRY0(rdma_destroy_id(pair->listener));
	rdma_destroy_event_channel(pair->channel);
}
