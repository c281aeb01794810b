/*
 * What offer_rdma.c (the device), offer_rdma_ops.c (connections and rings) and
 * offer_rdma_conn.c (the handshake) share. Control thread.
 */
#ifndef CONTROL_OFFER_RDMA_INTERNAL_H
#define CONTROL_OFFER_RDMA_INTERNAL_H

#include "control/channel.h"
#include "control/offer_rdma.h"
#include "control/offer_rdma_wire.h"
#include "control/rdma_cm.h"
#include "control/rdma_device.h"

#include "data/fabric_rdma.h"
#include "data/qp_verbs.h"

#include "base/log.h"

#define OFFER_RDMA_WHY_MAX RDMA_DEVICE_WHY_MAX

struct offer_rdma {
	struct offer_fabric kind; /* first */
	const struct config_fabric *config;
	struct event_base *base;
	struct rdma_device device;
	char name[RDMA_DEVICE_NAME_MAX + 8]; /* "rdma/rxe0" */
	struct cm *cm;			     /* NULL: not open */
	struct rdma_cm_id *listen_id;	     /* NULL: it doesn't listen */
	struct event *on_cm;
	struct event *on_device;
	struct event *tick;
	struct rdma_conn *conns;    /* all of them */
	struct rdma_cm_id **parked; /* to be destroyed when the port is up again */
	unsigned num_parked;
	bool is_up;
	char down[OFFER_RDMA_WHY_MAX]; /* why not */
	struct log_limit strangers;
};

enum rdma_state {
	RDMA_OFFERED = 1 << 0,	 /* our half; the peer's is not complete */
	RDMA_RESOLVING = 1 << 1, /* active: looking for the way to it */
	RDMA_ROUTING = 1 << 2,
	RDMA_ASKING = 1 << 3,	 /* active: the request is sent */
	RDMA_ANSWERING = 1 << 4, /* passive: its request is accepted */
	RDMA_READY = 1 << 5,
	RDMA_LOST = 1 << 6,
};

struct rdma_conn {
	struct world_conn conn; /* first */
	struct offer_rdma *rdma;
	struct rdma_conn *next;
	enum rdma_state state;
	bool active;
	struct fabric *fabric; /* the plane's, too, once it is ready */
	struct qp *qp;	       /* the fabric's */
	unsigned next_index;   /* of our next ring */
	uint8_t key[CHANNEL_KEY_BYTES];
	struct rdma_bell ours;
	struct rdma_bell theirs;
	bool has_theirs;
	struct rdma_cm_id *cm_id; /* or NULL */
	struct cm_event asked;	  /* passive: a request that came before its BELL */
};

static inline struct rdma_conn *rdma_conn_of(const struct world_conn *conn)
{
	return (struct rdma_conn *)(uintptr_t)conn;
}

extern const struct offer_ops offer_rdma_ops;

/* Its connection is over. Accepts NULL. */
void offer_rdma_drop_id(struct offer_rdma *rdma, struct rdma_cm_id *id);

/* Nobody uses the device any more. */
void offer_rdma_close_device(struct offer_rdma *rdma);

/* Our half is made and its peer's is known: goes on. -errno and words if it can't. */
int rdma_conn_start(struct rdma_conn *conn, const char **ret_why);

/* Something came from the connection manager; may free connections. */
void rdma_conn_event(struct offer_rdma *rdma, const struct cm_event *event);

/* It is over; its owner is told, who may free connections. */
void rdma_conn_lose(struct rdma_conn *conn, const char *words);

#endif
