/*
 * What does each side see when the peer uses the key of a region that belongs to another
 * PD (rkey), and when nobody has posted a receive for its immediate (rnr)?
 *
 *     verbs_refused rkey|rnr [DEVICE ADDRESS]
 *
 * Seen on rxe of 6.1; the sender with rnr_retry 0:
 *   rkey  sender: remote access error; nothing written. Receiver: no completion, no
 * event, and its QP takes no more rnr   sender: RNR retry counter exceeded. Receiver: no
 * completion, no event, and its QP is as before. A plain WRITE needs no receive
 */
#include "verbs.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct verbs_end here, there, other;
static struct ibv_mr *from, *to;
static uint8_t source[4096], target[4096];
static int failures;

static enum ibv_wc_status write_it(enum ibv_wr_opcode opcode, uint32_t length)
{
	struct verbs_write write = {
		.from = source,
		.lkey = from->lkey,
		.to = (uintptr_t)target,
		.rkey = to->rkey,
		.length = length,
		.opcode = opcode,
		.flags = IBV_SEND_SIGNALED,
	};
	struct ibv_wc wc;
	double begun = verbs_now();

	verbs_post(&here, &write);
	if (!verbs_poll(&here, 10, &wc)) {
		printf("no completion\n");
		exit(1);
	}
	printf("      sender, after %.3f s: %s\n", verbs_now() - begun,
	       ibv_wc_status_str(wc.status));
	return wc.status;
}

static enum ibv_qp_state state_of(struct verbs_end *end)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	TRY0(ibv_query_qp(end->qp, &attr, IBV_QP_STATE, &init));
	return attr.qp_state;
}

/* Prints what the receiver has: completions, events, the state of its QP. */
static bool hears_nothing(struct ibv_context *context)
{
	struct pollfd fd = {.fd = context->async_fd, .events = POLLIN};
	struct ibv_async_event event;
	struct ibv_wc wc;
	bool nothing = true;

	while (verbs_poll(&there, 0.2, &wc)) {
		printf("      receiver: %s\n", ibv_wc_status_str(wc.status));
		nothing = false;
	}
	while (poll(&fd, 1, 200) == 1) {
		TRY0(ibv_get_async_event(context, &event));
		printf("      receiver: %s\n", ibv_event_type_str(event.event_type));
		ibv_ack_async_event(&event);
		nothing = false;
	}
	printf("      states: sender %d, receiver %d (3 is RTS, 6 ERROR)\n",
	       state_of(&here), state_of(&there));
	return nothing;
}

static void try_rkey(struct ibv_context *context)
{
	verbs_check(write_it(IBV_WR_RDMA_WRITE, sizeof(source)) == IBV_WC_REM_ACCESS_ERR,
		    "the key of another PD is a remote access error", &failures);
	verbs_check(!target[0] && !target[sizeof(target) - 1], "nothing is written",
		    &failures);
	hears_nothing(context);
}

static void try_rnr(struct ibv_context *context)
{
	verbs_check(write_it(IBV_WR_RDMA_WRITE, 100) == IBV_WC_SUCCESS && target[99],
		    "a WRITE needs no receive", &failures);
	verbs_check(write_it(IBV_WR_RDMA_WRITE_WITH_IMM, 0) == IBV_WC_RNR_RETRY_EXC_ERR,
		    "an immediate without a receive is: RNR retries exceeded", &failures);
	verbs_check(hears_nothing(context), "of which the receiver hears nothing",
		    &failures);
	verbs_receive(&there, 1);
	verbs_check(write_it(IBV_WR_RDMA_WRITE, 1) == IBV_WC_WR_FLUSH_ERR,
		    "the sender's QP is lost", &failures);
}

int main(int argc, char **argv)
{
	bool rkey = argc > 1 && !strcmp(argv[1], "rkey");
	struct ibv_context *context;

	if (!rkey && (argc < 2 || strcmp(argv[1], "rnr"))) {
		fprintf(stderr, "usage: verbs_refused rkey|rnr [DEVICE ADDRESS]\n");
		return 2;
	}
	context = TRY(verbs_open(argc > 2 ? argv[2] : "rxe0"));
	verbs_end_new(context, NULL, &here);
	verbs_end_new(context, NULL, &there);
	verbs_end_new(context, NULL, &other);
	verbs_join(&here, &there, verbs_gid(context, argc > 3 ? argv[3] : "192.0.2.1"));
	memset(source, 0x55, sizeof(source));
	from = TRY(ibv_reg_mr(here.pd, source, sizeof(source), 0));
	to = TRY(ibv_reg_mr(rkey ? other.pd : there.pd, target, sizeof(target),
			    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
	if (rkey)
		try_rkey(context);
	else
		try_rnr(context);
	return failures > 0;
}
