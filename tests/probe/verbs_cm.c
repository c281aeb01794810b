/*
 * Does rdma_cm connect queue pairs that it did not make (ibv_create_qp, qp_num in the
 * parameters of rdma_connect and rdma_accept, rdma_init_qp_attr, rdma_establish), also if
 * they are of another ibv_context than the one that librdmacm has opened?
 *
 *     verbs_cm [DEVICE ADDRESS]        (rxe0 192.0.2.1; ADDRESS is one of DEVICE's)
 *
 * Seen on rxe of 6.1 with rdma-core 44: yes, both. But before rdma_connect(),
 * rdma_init_qp_attr() gives a QP that is going to be INIT no access flags, and the peer's
 * WRITEs would be refused: take_response() in verbs.c does that step a second time, which
 * keeps receives that were posted. ESTABLISHED comes to the passive side only.
 */
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void carries_data(struct verbs_end *from, struct verbs_end *to)
{
	struct ibv_wc wc = {0};
	struct verbs_write write = {
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.imm = 4711,
		.flags = IBV_SEND_SIGNALED,
	};

	verbs_receive(to, 1);
	verbs_post(from, &write);
	verbs_check(verbs_poll(to, 2, &wc) && wc.status == IBV_WC_SUCCESS &&
			    wc.opcode == IBV_WC_RECV_RDMA_WITH_IMM &&
			    be32toh(wc.imm_data) == 4711,
		    "an immediate arrives", &failures);
	verbs_check(verbs_poll(from, 2, &wc) && wc.status == IBV_WC_SUCCESS,
		    "which is acknowledged", &failures);
}

static void hears_of_end(struct cm_pair *pair, struct rdma_cm_id *id)
{
	struct rdma_cm_event *event;

	TRY0(rdma_get_cm_event(pair->channel, &event));
	verbs_check(event->event == RDMA_CM_EVENT_DISCONNECTED && event->id == id,
		    "the other side hears of rdma_disconnect", &failures);
	TRY0(rdma_ack_cm_event(event));
}

static void try_with(struct ibv_context *context, const char *address)
{
	struct cm_pair pair = {0};
	struct verbs_end a, b;

	cm_listen(&pair, address);
	if (!context)
		context = pair.listener->verbs;
	verbs_end_new(context, NULL, &a);
	verbs_end_new(context, NULL, &b);
	cm_join(&pair, &a, &b);
	verbs_check(!strcmp(pair.asked, "who is there?"), "private data of the request",
		    &failures);
	verbs_check(!strcmp(pair.answered, "me"), "private data of the answer",
		    &failures);
	carries_data(&a, &b);
	carries_data(&b, &a);
	TRY0(rdma_disconnect(pair.active));
	hears_of_end(&pair, pair.passive);
	verbs_end_free(&a);
	verbs_end_free(&b);
	cm_free(&pair);
}

int main(int argc, char **argv)
{
	const char *device = argc > 1 ? argv[1] : "rxe0";
	const char *address = argc > 2 ? argv[2] : "192.0.2.1";
	struct ibv_context *context = TRY(verbs_open(device));

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("with librdmacm's own context:\n");
	try_with(NULL, address);
	printf("with another context of the device:\n");
	try_with(context, address);
	TRY0(ibv_close_device(context));
	return failures > 0;
}
