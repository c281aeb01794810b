/*
 * A queue pair of a real device: the back end of qp.h, one per peer with its own
 * protection domain, completion queue and registered memory, so that nothing that one
 * peer may do reaches another's.
 *
 * Made, connected and closed by the control thread, no worker knowing it; what is in
 * qp.h is called by one thread at a time. Nothing blocks.
 */
#ifndef DATA_QP_VERBS_H
#define DATA_QP_VERBS_H

#include "data/qp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ibv_context;
struct ibv_qp_attr;

struct qp_verbs_spec {
	struct ibv_context *context;
	unsigned port;
	uint32_t send_depth; /* work requests in flight; the queue pair may have more */
	uint32_t receive_depth;
	void *owner; /* of asynchronous events: ibv_qp's qp_context */
};

/* Keys of registered memory. */
struct qp_keys {
	uint32_t lkey;
	uint32_t rkey;
};

/*
 * In state INIT, all receives posted: whatever arrives once it is connected finds one.
 * On failure *ret_why says in words what the device refused; static.
 */
int qp_verbs_new(const struct qp_verbs_spec *spec, struct qp **ret_qp,
		 const char **ret_why);

uint32_t qp_verbs_number(const struct qp *qp);

/* As ibv_modify_qp(3). */
int qp_verbs_modify(struct qp *qp, struct ibv_qp_attr *attr, int mask);

/*
 * Registers memory until the queue pair is closed. What the peer may write to is known
 * to it by offsets from 0; what it may not, to the device by address.
 */
int qp_verbs_register(struct qp *qp, void *memory, size_t length, bool peer_writes,
		      struct qp_keys *ret_keys);

#endif
