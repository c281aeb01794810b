/*
 * What the worker works on: ports, links, and the immutable view of them.
 *
 * Private to the data plane. A link's rings and counters are touched by the
 * worker alone as long as a view that the worker may hold names the link;
 * plane.c adds and removes them around that. Counters have one writer and are
 * read by the control thread with relaxed loads.
 */
#ifndef DATA_LINK_H
#define DATA_LINK_H

#include "data/cast.h"
#include "data/command.h"
#include "data/plane.h"
#include "data/tap.h"
#include "data/want.h"

#include <sys/epoll.h>

/* A port's queue that the kernel says is readable, or that waits for room. */
enum queue_state {
	QUEUE_IDLE,    /* epoll watches it */
	QUEUE_READY,   /* read it until it is empty */
	QUEUE_BLOCKED, /* its link's ring is full: epoll watches for its end only */
	QUEUE_GONE,    /* the TAP was removed under us */
};

/* What an epoll event points to. First member of what it is part of. */
enum source_kind { SOURCE_QUEUE, SOURCE_FABRIC, SOURCE_WAKE };

struct source {
	enum source_kind kind;
};

struct queue {
	struct source source;
	struct port *port;
	int fd;
	unsigned index;
	enum queue_state state; /* the worker's */

	/* The worker's, of a queue that is no link's own: */
	uint16_t waits_for;	/* the peer whose ring has no room; 0: nobody's */
	uint64_t wait_until_ns; /* no longer */
};

struct global_state;
struct port_global;

struct port {
	unsigned index;
	uint16_t node_id;
	uint16_t tag;
	uint32_t mtu;
	uint32_t offloads; /* SHMNET_OFFLOAD_*: what may go into the TAP */
	uint8_t mac[SHMNET_ETH_ALEN];
	int error;	  /* nonzero: the TAP is gone; written by the worker, atomic */
	bool error_taken; /* control's */
	bool is_paused;	  /* nothing goes out or in; written by control, atomic */
	struct tap *tap;
	unsigned num_queues;
	unsigned last_queue; /* that became a link's own; control's */
	struct queue queues[TAP_QUEUES_MAX];
	bool has_news;	      /* for control: a ring at rest or wanted; the worker's */
	uint16_t stranger;    /* casts, and has no link; 0: nobody; atomic */
	uint64_t stranger_ns; /* the next one is not told before; the worker's */
	bool casts_moved; /* peers have cast since the losses were counted; the worker's
			   */
	struct wants wants;
	struct port_global *global;    /* NULL: of a local network */
	struct port_counters counters; /* its rings' are theirs while they live */
};

struct link {
	struct port *port;
	struct fabric *fabric;
	struct shmnet_ring_tx tx;
	struct shmnet_ring_rx rx;
	uint8_t peer_mac[SHMNET_ETH_ALEN];
	uint16_t peer_id;
	bool is_remote;	   /* its peer reads no cast rings */
	bool is_trusted;   /* its ring may hold, for a moment, what is not for the peer */
	uint32_t lacks;	   /* SHMNET_OFFLOAD_*: what the peer's TAP doesn't take */
	unsigned queue;	   /* of the port; 0: shared with others */
	bool tx_pending;   /* submitted since the last publish */
	int error;	   /* nonzero: the link rests; written by the worker, atomic */
	bool error_raised; /* the worker's */
	bool error_taken;  /* control's */
	bool is_paused;	   /* at the peer; written by control, atomic */
	uint64_t bell_tail; /* the peer's R when its bells were looked into */
	struct link_cast casts[PLANE_CASTS_MAX];
	bool cast_pending;   /* in a cast ring, since the last wake */
	uint64_t casts_sent; /* in cast rings, for the peer; what it is told */
	uint64_t casts_told; /* by the peer: what it put there for us */
	uint64_t casts_taken;
	struct link_counters counters;
	struct command_state commands;
};

/* A connection that the worker's epoll watches. */
struct fabric_source {
	struct source source;
	struct fabric *fabric;
	struct fabric_source *next; /* control's list */
};

/* Which links a port has; node ids are looked up in two steps of a byte each. */
struct port_view {
	struct port *port;
	unsigned num_links;
	struct link **links;
	struct link **by_id[256];
	struct link *by_queue[TAP_QUEUES_MAX]; /* NULL: shared */
	unsigned num_casts;
	struct cast *casts[PLANE_CASTS_MAX]; /* that are read */
	unsigned num_labels;
	uint64_t labels[PLANE_CASTS_MAX]; /* keys of the rings that are written */
	struct cast *by_label[PLANE_CASTS_MAX];
	struct cast *broadcast; /* for all other labels, or NULL */
	bool has_sharers;	/* links whose peers could read a cast ring */
	uint32_t lacks;		/* what any of the links lacks */
};

/* Never changed once published. */
struct plane_view {
	uint64_t generation;
	unsigned num_ports;
	unsigned num_links;
	struct link **links;
	struct port_view ports[PLANE_PORTS_MAX];
};

static inline struct link *view_find_link(const struct plane_view *view,
					  const struct port *port, uint16_t node_id)
{
	struct link *const *page = view->ports[port->index].by_id[node_id >> 8];

	return page ? page[node_id & 0xff] : NULL;
}

/*
 * The room that there must be before a frame of unknown length is read. One that may
 * be cut gets longer by that: twice as long at the most if its pieces carry 256 bytes.
 */
static inline uint32_t link_room(const struct link *link)
{
	return link->lacks ? 2 * SHMNET_RING_PAYLOAD_MAX : SHMNET_RING_PAYLOAD_MAX;
}

/* The link rests from now on; the worker's next turn tells control. */
static inline void link_fail(struct link *link, int error)
{
	__atomic_store_n(&link->error, error, __ATOMIC_RELAXED);
}

static inline bool port_is_paused(const struct port *port)
{
	return __atomic_load_n(&port->is_paused, __ATOMIC_RELAXED);
}

static inline bool link_is_paused(const struct link *link)
{
	return __atomic_load_n(&link->is_paused, __ATOMIC_RELAXED);
}

/* The store is a builtin, which the check doesn't know for one. */
/* NOLINTNEXTLINE(readability-non-const-parameter) */
static inline void counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* NOLINTNEXTLINE(readability-non-const-parameter) */
static inline void counter_set(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, n, __ATOMIC_RELAXED);
}

#endif
