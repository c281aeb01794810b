/*
 * Connections of RDMA by librdmacm: listens, asks, answers, and says what became of it.
 * Only rdma_cm.c sees that library.
 *
 * The queue pair is the caller's, made and moved by verbs of a device that the caller has
 * opened; ids know its number only. Functions return 0 or -errno and don't wait: -EACCES
 * says that the process has changed its credentials since cm_open(). An event is a copy
 * and is acknowledged before it is handed on, so cm_destroy() has none to wait for, and
 * none of that id comes later. Control thread.
 */
#ifndef CONTROL_RDMA_CM_H
#define CONTROL_RDMA_CM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct cm;
struct ibv_qp_attr;
struct rdma_cm_id;

enum cm_event_type {
	CM_OTHER,
	CM_ADDRESS, /* resolved: the id has a device */
	CM_ROUTE,
	CM_REQUEST, /* somebody asks: `id` is new and to be answered or destroyed */
	CM_RESPONSE,
	CM_ESTABLISHED,
	CM_REJECTED,
	CM_DISCONNECTED,
	CM_FAILED,  /* no address, route, answer; `words` say which */
	CM_REMOVED, /* the device; the id is of no use any more */
};

struct cm_event {
	enum cm_event_type type;
	struct rdma_cm_id *id;
	const char *words;  /* CM_FAILED and CM_REJECTED */
	uint32_t qp_number; /* the peer's: CM_REQUEST, CM_RESPONSE */
	size_t length;
	uint8_t data[256]; /* private data, padded with zeroes by the wire */
};

struct cm_param {
	uint32_t qp_number; /* ours */
	uint8_t retry_count;
	const uint8_t *data; /* private: 56 bytes fit a request, 196 an acceptance */
	uint8_t length;
};

/* While there is a device, of which it opens none: -ENODEV. */
int cm_open(struct cm **ret_cm);
void cm_close(struct cm *cm); /* after its ids; accepts NULL */

/* Readable if there is an event; non-blocking, close-on-exec. */
int cm_fd(const struct cm *cm);

int cm_new(struct cm *cm, struct rdma_cm_id **ret_id);
void cm_destroy(struct rdma_cm_id *id); /* accepts NULL */

/* -EADDRNOTAVAIL, -EADDRINUSE; -ENODEV: no RDMA device has this address. */
int cm_bind(struct cm *cm, struct rdma_cm_id *id, const struct sockaddr *address);
int cm_listen(struct rdma_cm_id *id, unsigned backlog);

/* Answered by CM_ADDRESS and CM_ROUTE, or CM_FAILED. */
int cm_resolve_address(struct rdma_cm_id *id, const struct sockaddr *from,
		       const struct sockaddr *to, unsigned timeout_ms);
int cm_resolve_route(struct rdma_cm_id *id, unsigned timeout_ms);

/* Answered by CM_RESPONSE, CM_REJECTED or CM_FAILED. */
int cm_connect(struct rdma_cm_id *id, const struct cm_param *param);
/* After CM_RESPONSE: the queue pair is ready, and the other side hears it. */
int cm_establish(struct rdma_cm_id *id);

/* After CM_REQUEST; before it is accepted the queue pair is to be ready. */
int cm_accept(struct rdma_cm_id *id, const struct cm_param *param);
int cm_reject(struct rdma_cm_id *id);

/* What a queue pair needs to enter `state` (IBV_QPS_RTR, IBV_QPS_RTS). */
int cm_qp_attr(struct rdma_cm_id *id, unsigned state, struct ibv_qp_attr *ret_attr,
	       int *ret_mask);

/* The next event; -EAGAIN if there is none. */
int cm_next(struct cm *cm, struct cm_event *ret_event);

/*
 * The device that cm_bind() found last was removed, and all ids of it are destroyed. The
 * removal may wait for this.
 */
void cm_let_go(struct cm *cm);

#endif
