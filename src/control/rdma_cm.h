/*
 * The kernel's connection manager for RDMA, as /dev/infiniband/rdma_cm speaks it
 * (<rdma/rdma_user_cm.h>): listens, asks, answers, and says what became of it.
 *
 * Why not librdmacm: it opens the device once more for itself and never closes that
 * again, and a device like rxe can't be removed as long as anybody has it open: `rdma
 * link delete` would wait for the node's end. Nothing of what the library adds is of use
 * here: the queue pair is the caller's, made and moved by verbs.
 *
 * Each function is one write(2) to a non-blocking descriptor and returns 0 or -errno:
 * -EACCES says that the process has changed its credentials since cm_open(). No event
 * with the owner of an id comes once cm_destroy() has returned. Control thread; no state
 * but the descriptor.
 */
#ifndef CONTROL_RDMA_CM_H
#define CONTROL_RDMA_CM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ibv_qp_attr;

#define CM_ASK_MAX    56  /* private data that fits a request */
#define CM_ANSWER_MAX 196 /* likewise an acceptance */

enum cm_event_type {
	CM_ADDRESS, /* resolved: the id has a device */
	CM_ROUTE,
	CM_REQUEST, /* somebody asks: `id` is new and to be answered or destroyed */
	CM_RESPONSE,
	CM_ESTABLISHED,
	CM_REJECTED,
	CM_DISCONNECTED,
	CM_FAILED,  /* no address, route, answer; `words` say which */
	CM_REMOVED, /* the device; the id is of no use any more */
	CM_OTHER,
};

struct cm_event {
	enum cm_event_type type;
	void *owner; /* of the id; CM_REQUEST: of the one that listens */
	uint32_t id;
	int status;	    /* CM_FAILED: -errno; CM_REJECTED: the reason of IBTA */
	const char *words;  /* CM_FAILED and CM_REJECTED */
	uint32_t qp_number; /* the peer's: CM_REQUEST, CM_RESPONSE */
	size_t length;
	uint8_t data[256]; /* private data, padded with zeroes by the wire */
};

struct cm_param {
	uint32_t qp_number; /* ours */
	uint8_t retry_count;
	const uint8_t *data; /* private */
	size_t length;
};

/* Non-blocking, close-on-exec. -ENOENT: no such device; -EPROTO: another ABI. */
int cm_open(int *ret_fd);

int cm_new(int fd, void *owner, uint32_t *ret_id);
int cm_destroy(int fd, uint32_t id);

/* -EADDRNOTAVAIL, -EADDRINUSE; -ENODEV: no RDMA device has this address. */
int cm_bind(int fd, uint32_t id, const struct sockaddr *address);
int cm_listen(int fd, uint32_t id, unsigned backlog);

/* Answered by CM_ADDRESS and CM_ROUTE, or CM_FAILED. */
int cm_resolve_address(int fd, uint32_t id, const struct sockaddr *from,
		       const struct sockaddr *to, unsigned timeout_ms);
int cm_resolve_route(int fd, uint32_t id, unsigned timeout_ms);

/* Answered by CM_RESPONSE, CM_REJECTED or CM_FAILED. */
int cm_connect(int fd, uint32_t id, const struct cm_param *param);
/* After CM_RESPONSE: the queue pair is ready, and the other side hears it. */
int cm_establish(int fd, uint32_t id);

/* After CM_REQUEST, with the queue pair ready: `owner` is the id's from now on. */
int cm_accept(int fd, uint32_t id, void *owner, const struct cm_param *param);
int cm_reject(int fd, uint32_t id);
int cm_disconnect(int fd, uint32_t id);

/* What a queue pair needs to enter `state` (IBV_QPS_RTR, IBV_QPS_RTS). */
int cm_qp_attr(int fd, uint32_t id, unsigned state, struct ibv_qp_attr *ret_attr,
	       int *ret_mask);

/* The next event; -EAGAIN if there is none. */
int cm_next(int fd, struct cm_event *ret_event);

#endif
