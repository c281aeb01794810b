/*
 * Both ends of a reliable connection (data/qp.h) in one process, for the tests of the
 * rdma fabric, and a wire between them that a seed makes slow.
 *
 *   late      what was posted is carried out, and completes, when qp_loop_step() says
 *             so, after any number of steps;
 *   in order  but for the two directions against each other;
 *   spurious  bells for no reason, if so wished;
 *   sent again: the bytes of a WRITE are looked at when it is posted, when it is carried
 *             out, and when it completes: they may not have changed.
 *
 * Breaking the rules of qp.h is counted, and must not happen: see struct qp_loop_faults.
 *
 * The qp's operations are called by their fabrics, which close it; the functions below
 * by any thread. Closing leaves the loop, which frees it, after both.
 */
#ifndef TESTS_SHIM_QP_LOOP_H
#define TESTS_SHIM_QP_LOOP_H

#include "data/qp.h"

#include <stddef.h>

struct qp_loop;

#define QP_LOOP_INLINE_MAX  256
#define QP_LOOP_REGIONS_MAX 64

struct qp_loop_options {
	uint64_t seed;
	uint32_t send_depth;
	uint32_t receive_depth;
	uint32_t max_inline; /* at most QP_LOOP_INLINE_MAX */
	bool spurious_bells;
	bool busy_wire; /* steps happen within the operations, too */
};

struct qp_loop_faults {
	uint64_t rnr;	   /* an immediate found no receive */
	uint64_t changed;  /* bytes of a WRITE, while it was under way */
	uint64_t overfull; /* more posted than the send queue holds */
	uint64_t foreign;  /* a WRITE from or to what was not registered */
	uint64_t unlike;   /* ids that don't grow by one, flags that make no sense */
};

int qp_loop_new(const struct qp_loop_options *options, struct qp_loop **ret_loop);
void qp_loop_free(struct qp_loop *loop);

/* Side 0 or 1. */
struct qp *qp_loop_end(struct qp_loop *loop, unsigned side);

/* Memory of that side, for its own WRITEs and the other's; the key is both. */
uint32_t qp_loop_register(struct qp_loop *loop, unsigned side, void *base, size_t length);

/* Something happens on the wire, perhaps. False if there is nothing to happen. */
bool qp_loop_step(struct qp_loop *loop);
void qp_loop_settle(struct qp_loop *loop);

/* The peer of that side dies: what has not been carried out never will be. */
void qp_loop_fail(struct qp_loop *loop, unsigned side, const char *words);

/* Nothing is carried out any more, at either end, and no memory looked at. */
void qp_loop_cut(struct qp_loop *loop);

/* That side is told `imm`, as a hostile peer does. */
void qp_loop_inject(struct qp_loop *loop, unsigned side, uint32_t imm);

struct qp_loop_faults qp_loop_faults(struct qp_loop *loop);

/* The fewest receives that a side ever had left. */
uint32_t qp_loop_spare(struct qp_loop *loop, unsigned side);

#endif
