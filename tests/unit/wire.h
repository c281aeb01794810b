/*
 * Two rdma fabrics and the connection between them, which is played (shim/qp_loop.h);
 * and fabrics whose operations fail on command.
 */
#ifndef TESTS_UNIT_WIRE_H
#define TESTS_UNIT_WIRE_H

#include "base/memfd.h"
#include "data/fabric_rdma.h"

#include "qp_loop.h"

struct wire {
	struct qp_loop *loop;
	struct fabric *fabric[2]; /* who has them closes them, before wire_close() */
};

bool wire_open(struct wire *wire, uint64_t seed);
void wire_close(struct wire *wire);

/*
 * A ring that side `from` transmits on; `ret_rx` maps the receiver's memory. The index
 * of both is 0.
 */
bool wire_add_ring(struct wire *wire, unsigned from, struct ring_map *ret_tx,
		   struct ring_map *ret_rx);

enum wire_op {
	WIRE_PUBLISH,
	WIRE_POLL,
	WIRE_CREDIT,
	WIRE_WAIT_ROOM,
	WIRE_ARM,
	WIRE_OP_NUM_
};

/* From now on the operation fails; of one fabric at a time, which nobody uses yet. */
void wire_break(struct fabric *fabric, enum wire_op op, int error);

#endif
