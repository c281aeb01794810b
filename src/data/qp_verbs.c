/*
 * See qp_verbs.h.
 *
 * Receives have no memory: all that arrives is immediates. They are posted in batches,
 * what a poll consumed before it returns, from a chain that is made once: a receive has
 * nothing of its own but its id.
 *
 * A work request is told from a receive by its id, the one thing that a completion with
 * an error has: the top bit. The first error is the cause and is kept; the rest is the
 * flush of what was in flight behind it.
 *
 * Order of the end: the queue pair first, so that the device leaves the memory alone;
 * then the completion queue, whose events are acknowledged, without which destroying it
 * would wait for ever; then memory and domain.
 */
#include "data/qp_verbs.h"

#include <infiniband/verbs.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECEIVE_ID    (UINT64_C(1) << 63)
#define INLINE_WANTED 128
#define EVENTS_ACK    1024 /* acknowledging takes a lock: not for each */

struct region {
	struct region *next;
	struct ibv_mr *mr;
};

struct verbs_qp {
	struct qp qp; /* first */
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_qp *ibv;
	struct region *regions;
	unsigned events;   /* of the completion queue, not yet acknowledged */
	uint32_t consumed; /* receives, not yet posted again */
	char why[128];	   /* "" as long as nothing failed */
	uint64_t why_id;
	bool is_flushed;			  /* and that is all that `why` says */
	struct ibv_recv_wr receives[QP_LIST_MAX]; /* a chain */
};

static struct verbs_qp *verbs_of(const struct qp *qp)
{
	return (struct verbs_qp *)(void *)qp;
}

/* The first failure is kept. `what` may be NULL. */
static void fail(struct verbs_qp *verbs, uint64_t id, const char *what, const char *why)
{
	if (verbs->why[0])
		return;
	snprintf(verbs->why, sizeof(verbs->why), "%s%s%s", what ? what : "",
		 what ? ": " : "", why);
	verbs->why_id = id;
}

/* ---- receiving ---- */

static void receives_init(struct verbs_qp *verbs)
{
	for (unsigned i = 0; i < QP_LIST_MAX; i++) {
		verbs->receives[i].wr_id = RECEIVE_ID;
		verbs->receives[i].next =
			i + 1 < QP_LIST_MAX ? &verbs->receives[i + 1] : NULL;
	}
}

/* The last `count` of the chain. */
static int receives_post(struct verbs_qp *verbs, uint32_t count)
{
	struct ibv_recv_wr *bad;

	while (count) {
		uint32_t batch = count < QP_LIST_MAX ? count : QP_LIST_MAX;
		int ret = ibv_post_recv(verbs->ibv, &verbs->receives[QP_LIST_MAX - batch],
					&bad);

		if (ret)
			return -ret;
		count -= batch;
	}
	return 0;
}

/* ---- sending ---- */

static void fill_write(const struct qp_write *write, struct ibv_send_wr *wr,
		       struct ibv_sge *sge)
{
	*sge = (struct ibv_sge){
		.addr = (uintptr_t)write->local,
		.length = write->length,
		.lkey = write->lkey,
	};
	*wr = (struct ibv_send_wr){
		.wr_id = write->id,
		.sg_list = sge,
		.num_sge = write->length ? 1 : 0,
		.opcode = IBV_WR_RDMA_WRITE,
		.wr.rdma = {.remote_addr = write->remote, .rkey = write->rkey},
	};
	if (write->flags & QP_IMM) {
		wr->opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
		wr->imm_data = htobe32(write->imm);
	}
	if (write->flags & QP_SOLICITED)
		wr->send_flags |= IBV_SEND_SOLICITED;
	if (write->flags & QP_SIGNALLED)
		wr->send_flags |= IBV_SEND_SIGNALED;
	if (write->flags & QP_INLINE && write->length)
		wr->send_flags |= IBV_SEND_INLINE;
}

static int verbs_post(struct qp *qp, const struct qp_write *list, unsigned count)
{
	struct verbs_qp *verbs = verbs_of(qp);
	struct ibv_send_wr wrs[QP_LIST_MAX], *bad;
	struct ibv_sge sges[QP_LIST_MAX];
	int ret;

	if (!count)
		return 0;
	if (verbs->why[0]) /* nothing goes out behind what was not posted */
		return -EIO;
	for (unsigned i = 0; i < count; i++) {
		fill_write(&list[i], &wrs[i], &sges[i]);
		wrs[i].next = i + 1 < count ? &wrs[i + 1] : NULL;
	}
	ret = ibv_post_send(verbs->ibv, wrs, &bad);
	if (ret)
		fail(verbs, QP_NO_ID, "posting", strerror(ret));
	return ret ? -EIO : 0;
}

/* ---- completions ---- */

/* What was flushed may be seen before the cause, if that is of the other direction. */
static void fail_completion(struct verbs_qp *verbs, const struct ibv_wc *wc)
{
	bool is_receive = wc->wr_id & RECEIVE_ID;
	bool is_flush = wc->status == IBV_WC_WR_FLUSH_ERR;

	if (verbs->is_flushed && !is_flush)
		verbs->why[0] = '\0';
	if (!verbs->why[0])
		verbs->is_flushed = is_flush;
	fail(verbs, is_receive ? QP_NO_ID : wc->wr_id, is_receive ? "receiving" : NULL,
	     ibv_wc_status_str(wc->status));
}

/* True if there is something to tell. */
static bool take(struct verbs_qp *verbs, const struct ibv_wc *wc, struct qp_done *done)
{
	if (wc->status != IBV_WC_SUCCESS) {
		fail_completion(verbs, wc);
		return false;
	}
	if (!(wc->wr_id & RECEIVE_ID)) {
		*done = (struct qp_done){.kind = QP_DONE_SENT, .id = wc->wr_id};
		return true;
	}
	verbs->consumed++;
	if (wc->opcode != IBV_WC_RECV_RDMA_WITH_IMM) {
		fail(verbs, QP_NO_ID, NULL, "the peer sent what is no write");
		return false;
	}
	*done = (struct qp_done){.kind = QP_DONE_IMM, .imm = be32toh(wc->imm_data)};
	return true;
}

/* What a failed queue pair still has is told, too, but there is nothing to repost. */
static void repost(struct verbs_qp *verbs)
{
	int ret = verbs->why[0] ? 0 : receives_post(verbs, verbs->consumed);

	verbs->consumed = 0;
	if (ret < 0)
		fail(verbs, QP_NO_ID, "posting a receive", strerror(-ret));
}

static int verbs_poll(struct qp *qp, struct qp_done *list, unsigned max)
{
	struct verbs_qp *verbs = verbs_of(qp);
	struct ibv_wc wcs[QP_LIST_MAX];
	int num, taken = 0;

	do {
		num = ibv_poll_cq(verbs->cq, (int)max, wcs);
		for (int i = 0; i < num; i++)
			taken += take(verbs, &wcs[i], &list[taken]);
	} while (num > 0 && taken == 0);
	if (num < 0)
		fail(verbs, QP_NO_ID, "polling", strerror(-num));
	repost(verbs);
	return taken == 0 && verbs->why[0] ? -EIO : taken;
}

/* ---- waiting ---- */

static int verbs_arm(struct qp *qp, bool all)
{
	struct verbs_qp *verbs = verbs_of(qp);
	int ret = ibv_req_notify_cq(verbs->cq, !all);

	if (ret)
		fail(verbs, QP_NO_ID, "arming", strerror(ret));
	return ret ? -EIO : 0;
}

static void ack_events(struct verbs_qp *verbs)
{
	if (verbs->events)
		ibv_ack_cq_events(verbs->cq, verbs->events);
	verbs->events = 0;
}

static void verbs_drain(struct qp *qp)
{
	struct verbs_qp *verbs = verbs_of(qp);
	struct ibv_cq *cq;
	void *context;

	while (ibv_get_cq_event(verbs->channel, &cq, &context) == 0)
		verbs->events++;
	if (verbs->events >= EVENTS_ACK)
		ack_events(verbs);
}

static const char *verbs_why(const struct qp *qp, uint64_t *ret_id)
{
	*ret_id = verbs_of(qp)->why_id;
	return verbs_of(qp)->why;
}

/* ---- life ---- */

static void verbs_close(struct qp *qp)
{
	struct verbs_qp *verbs = verbs_of(qp);

	if (verbs->ibv)
		ibv_destroy_qp(verbs->ibv);
	if (verbs->cq) {
		verbs_drain(qp);
		ack_events(verbs);
		ibv_destroy_cq(verbs->cq);
	}
	if (verbs->channel)
		ibv_destroy_comp_channel(verbs->channel);
	while (verbs->regions) {
		struct region *region = verbs->regions;

		verbs->regions = region->next;
		ibv_dereg_mr(region->mr);
		free(region);
	}
	if (verbs->pd)
		ibv_dealloc_pd(verbs->pd);
	free(verbs);
}

static const struct qp_ops verbs_ops = {
	.post = verbs_post,
	.poll = verbs_poll,
	.arm = verbs_arm,
	.drain = verbs_drain,
	.why = verbs_why,
	.close = verbs_close,
};

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int make_queue(struct verbs_qp *verbs, const struct qp_verbs_spec *spec)
{
	struct ibv_qp_init_attr attr = {
		.qp_context = spec->owner,
		.send_cq = verbs->cq,
		.recv_cq = verbs->cq,
		.cap = {.max_send_wr = spec->send_depth,
			.max_recv_wr = spec->receive_depth,
			.max_send_sge = 1,
			.max_recv_sge = 1,
			.max_inline_data = INLINE_WANTED},
		.qp_type = IBV_QPT_RC,
	};

	verbs->ibv = ibv_create_qp(verbs->pd, &attr);
	if (!verbs->ibv) {
		attr.cap.max_inline_data = 0;
		verbs->ibv = ibv_create_qp(verbs->pd, &attr);
	}
	if (!verbs->ibv)
		return -errno;
	verbs->qp.send_depth = spec->send_depth;
	verbs->qp.receive_depth = spec->receive_depth;
	verbs->qp.max_inline = attr.cap.max_inline_data;
	return 0;
}

static int make(struct verbs_qp *verbs, const struct qp_verbs_spec *spec,
		const char **ret_why)
{
	int ret;

	*ret_why = "can't make a protection domain";
	verbs->pd = ibv_alloc_pd(spec->context);
	if (!verbs->pd)
		return -errno;
	*ret_why = "can't make a completion channel";
	verbs->channel = ibv_create_comp_channel(spec->context);
	if (!verbs->channel)
		return -errno;
	verbs->qp.wait_fd = verbs->channel->fd;
	ret = set_nonblocking(verbs->channel->fd);
	if (ret < 0)
		return ret;
	*ret_why = "can't make a completion queue";
	verbs->cq = ibv_create_cq(spec->context,
				  (int)(spec->send_depth + spec->receive_depth), verbs,
				  verbs->channel, 0);
	if (!verbs->cq)
		return -errno;
	*ret_why = "can't make a queue pair";
	return make_queue(verbs, spec);
}

static int prepare(struct verbs_qp *verbs, const struct qp_verbs_spec *spec,
		   const char **ret_why)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = (uint8_t)spec->port,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};
	int ret = ibv_modify_qp(verbs->ibv, &attr,
				IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
					IBV_QP_ACCESS_FLAGS);

	*ret_why = "can't prepare a queue pair";
	if (ret)
		return -ret;
	receives_init(verbs);
	*ret_why = "can't post the receives";
	return receives_post(verbs, spec->receive_depth);
}

int qp_verbs_new(const struct qp_verbs_spec *spec, struct qp **ret_qp,
		 const char **ret_why)
{
	struct verbs_qp *verbs = calloc(1, sizeof(*verbs));
	int ret;

	*ret_why = "out of memory";
	if (!verbs)
		return -ENOMEM;
	verbs->qp.ops = &verbs_ops;
	ret = make(verbs, spec, ret_why);
	if (ret == 0)
		ret = prepare(verbs, spec, ret_why);
	if (ret < 0) {
		verbs_close(&verbs->qp);
		return ret;
	}
	*ret_qp = &verbs->qp;
	return 0;
}

uint32_t qp_verbs_number(const struct qp *qp)
{
	return verbs_of(qp)->ibv->qp_num;
}

int qp_verbs_modify(struct qp *qp, struct ibv_qp_attr *attr, int mask)
{
	return -ibv_modify_qp(verbs_of(qp)->ibv, attr, mask);
}

int qp_verbs_register(struct qp *qp, void *memory, size_t length, bool peer_writes,
		      struct qp_keys *ret_keys)
{
	struct verbs_qp *verbs = verbs_of(qp);
	struct region *region = malloc(sizeof(*region));
	int ret;

	if (!region)
		return -ENOMEM;
	/* Never IBV_ACCESS_RELAXED_ORDERING: an immediate stands for what came before. */
	if (peer_writes)
		region->mr =
			ibv_reg_mr_iova(verbs->pd, memory, length, 0,
					IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	else
		region->mr = ibv_reg_mr(verbs->pd, memory, length, 0);
	if (!region->mr) {
		ret = -errno;
		free(region);
		return ret;
	}
	region->next = verbs->regions;
	verbs->regions = region;
	*ret_keys = (struct qp_keys){.lkey = region->mr->lkey, .rkey = region->mr->rkey};
	return 0;
}
