/*
 * What the probes of verbs have in common. Everything that can't go on prints why and
 * exits 1: a probe has no other way to say that it can't see what it looks for.
 */
#ifndef SHMNET_TESTS_PROBE_VERBS_H
#define SHMNET_TESTS_PROBE_VERBS_H

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VERBS_DEPTH 64 /* work requests in a queue */

/* What a call returned, unless that says that it failed. */
#define TRY(call)  verbs_not_null(#call, call)
#define TRY0(call) verbs_zero(#call, call)

/* An RC queue pair and what it needs. A PD that was given is not its own. */
struct verbs_end {
	struct ibv_pd *pd;
	bool own_pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
};

struct verbs_write {
	const void *from;
	uint32_t lkey;
	uint64_t to;
	uint32_t rkey;
	uint32_t length;
	enum ibv_wr_opcode opcode;
	uint32_t imm;
	unsigned int flags;
};

double verbs_now(void);
_Noreturn void verbs_die(const char *call);
void *verbs_not_null(const char *call, void *result);
void verbs_zero(const char *call, int error); /* or -1 and errno */
void verbs_check(bool holds, const char *what, int *failures);

struct ibv_context *verbs_open(const char *device); /* NULL if there is none */
int verbs_gid(struct ibv_context *context, const char *address); /* its index, or dies */
void verbs_end_new(struct ibv_context *context, struct ibv_pd *pd, struct verbs_end *ret);
void verbs_end_free(struct verbs_end *end);
void verbs_join(struct verbs_end *a, struct verbs_end *b, int gid_index);
void verbs_receive(struct verbs_end *end, unsigned int count); /* without memory */
void verbs_post(struct verbs_end *end, const struct verbs_write *write);
bool verbs_poll(struct verbs_end *end, double seconds, struct ibv_wc *ret);

/* A connection of rdma_cm with itself; the queue pairs are not rdma_cm's. */
struct cm_pair {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener;
	struct rdma_cm_id *active;
	struct rdma_cm_id *passive;
	char asked[64];
	char answered[64];
};

void cm_listen(struct cm_pair *pair, const char *address);
void cm_join(struct cm_pair *pair, struct verbs_end *active, struct verbs_end *passive);
void cm_free(struct cm_pair *pair);

#endif
