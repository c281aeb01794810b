/*
 * One reliable connection between two nodes, as the rdma fabric needs it: WRITEs into
 * the peer's memory, 32-bit immediates that come with them, and their completions.
 *
 * Mechanism only. What is written when, and how much may be under way, is decided in
 * fabric_rdma.c, which knows no verbs; qp_verbs.c carries it out, and
 * tests/shim/qp_loop.c does in one process.
 *
 * A qp belongs to its fabric, which closes it and makes all calls under one lock; the
 * threads differ. Nothing here blocks. Errors are -errno and final: afterwards nothing is
 * carried out any more, and poll() says so when it has told all that came before.
 *
 * What is relied on:
 * - WRITEs are carried out in the order in which they were posted, and an immediate
 *   is told when its own bytes and those of all WRITEs before it are in place;
 * - completions come in the order of posting, and say of all WRITEs before theirs that
 *   they are done, too;
 * - `receive_depth` receives are posted from the beginning. An immediate that finds none
 *   is an error of the connection (rnr_retry is 0), never a wait.
 */
#ifndef DATA_QP_H
#define DATA_QP_H

#include <stdbool.h>
#include <stdint.h>

struct qp;

/* Flags of a WRITE. */
#define QP_IMM	     0x1u /* tells the peer `imm`, which costs it a receive */
#define QP_SOLICITED 0x2u /* with QP_IMM: also wakes one that armed for these only */
#define QP_SIGNALLED 0x4u /* poll() tells when it is done */
#define QP_INLINE    0x8u /* at most max_inline bytes, copied by post() */

struct qp_write {
	uint64_t id;	      /* grows by one from WRITE to WRITE, from 0 */
	const uint8_t *local; /* unchanged until it is done, unless QP_INLINE */
	uint64_t remote;      /* offset in the peer's region */
	uint32_t lkey;	      /* of `local`; not looked at if QP_INLINE */
	uint32_t rkey;
	uint32_t length; /* 0: an immediate alone; no address or key counts then */
	uint32_t flags;
	uint32_t imm; /* in the host's byte order, at either end */
};

enum qp_done_kind {
	QP_DONE_SENT, /* WRITE `id`, which was signalled, and all before it are done */
	QP_DONE_IMM,  /* the peer told `imm` */
};

struct qp_done {
	enum qp_done_kind kind;
	uint32_t imm;
	uint64_t id;
};

#define QP_NO_ID UINT64_MAX

struct qp_ops {
	/*
	 * Posts all of the list, in order; at most QP_LIST_MAX. 0, or -errno and it is
	 * not known which. The caller never has more than `send_depth` under way: a
	 * place is taken until poll() told of a WRITE that was posted no earlier.
	 */
	int (*post)(struct qp *qp, const struct qp_write *list, unsigned count);

	/*
	 * Takes up to `max` completions, at most QP_LIST_MAX. Receives that they used
	 * are posted again before it returns. -EIO if one failed, but not before all
	 * that succeeded were returned, also those behind it; and from then on.
	 */
	int (*poll)(struct qp *qp, struct qp_done *list, unsigned max);

	/*
	 * The next completion makes wait_fd readable, once: any (`all`), or only that
	 * of a solicited immediate, and on some devices a failure. Those that came
	 * before may not; so poll() after it. May be called again, to go from some to
	 * all. 0 or -errno.
	 */
	int (*arm)(struct qp *qp, bool all);

	/* Takes what makes wait_fd readable; without waiting if there is nothing. */
	void (*drain)(struct qp *qp);

	/*
	 * After a failure: what the device says of it ("transport retry counter
	 * exceeded"), valid until close. Of the first failure: what was flushed
	 * because of it is no news. *ret_id: the WRITE, or QP_NO_ID.
	 */
	const char *(*why)(const struct qp *qp, uint64_t *ret_id);

	/* Nothing of the peer's reaches our memory from now on. Frees the qp. */
	void (*close)(struct qp *qp);
};

#define QP_LIST_MAX 32u

/* The first member of what qp_verbs.c and the tests make; constant from then on. */
struct qp {
	const struct qp_ops *ops;
	int wait_fd;
	uint32_t send_depth; /* WRITEs under way; at least QP_LIST_MAX */
	uint32_t receive_depth;
	uint32_t max_inline; /* bytes; 0: QP_INLINE is never used */
};

#endif
