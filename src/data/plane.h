/*
 * The door between the planes: all that the control thread may do to the data
 * plane, and all that the data plane tells it.
 *
 * Every call is made by the control thread. The worker reads an immutable view
 * (links by port and node id) that is replaced as a whole: publish the new one,
 * wake the worker, wait until it has taken it up, reuse the old one. That wait
 * is bounded by one turn of the worker's loop, which never blocks but in its
 * own epoll. Removal is therefore two-phase: a link that remove_link() returns
 * from is known to nobody else.
 *
 * The worker never calls control. It raises a fault on a link or a port and
 * makes plane_event_fd() readable.
 */
#ifndef DATA_PLANE_H
#define DATA_PLANE_H

#include "base/drop.h"
#include "base/memfd.h"
#include "data/fabric.h"

#include <stdbool.h>
#include <stdint.h>

#define PLANE_PORTS_MAX 16

struct plane;
struct link;
struct tap;

struct plane_options {
	uint32_t spin_us; /* how long the worker looks around before it sleeps */
};

/* One network's adapter [35]. The TAP stays the caller's and outlives the plane. */
struct plane_port {
	struct tap *tap;
	uint16_t node_id;
	uint16_t tag;
	uint32_t mtu;
};

/* One peer on one network: a ring to it, a ring from it. */
struct plane_link {
	unsigned port;
	uint16_t peer_id;
	struct fabric *fabric; /* added by plane_add_fabric() */
	struct ring_map tx;    /* the peer's memory; ours from add_link() on */
	struct ring_map rx;    /* our memory, likewise */
	uint64_t tx_salt;
	uint64_t rx_salt;
};

/* Written by the worker, read by anybody; each is exact when traffic rests. */
struct link_counters {
	uint64_t sent_frames; /* handed to this link, dropped or not */
	uint64_t sent_bytes;
	uint64_t received_frames; /* taken from the peer's ring */
	uint64_t delivered_frames;
	uint64_t delivered_bytes;
	uint64_t pings_answered;   /* of the peer */
	uint64_t pings_unanswered; /* it had not read what it was answered before */
	uint64_t pongs_ignored;	   /* nobody asked, or asks any more */
	uint64_t drops[DROP_NUM_]; /* this link's, at either end of it here */
};

struct port_counters {
	uint64_t unrouted_frames; /* dropped before a receiver was known */
	uint64_t drops[DROP_NUM_];
};

struct link_usage {
	uint64_t ring_used; /* of the ring that we write to */
	uint64_t ring_size;
	uint64_t received_ring_used; /* of the one that the peer writes to */
	uint64_t received_ring_size;
	uint64_t bells_rung; /* of the whole connection */
};

enum plane_fault_kind {
	PLANE_FAULT_LINK, /* the peer broke the ring's rules, or the fabric died */
	PLANE_FAULT_PORT, /* the TAP is gone */
};

struct plane_fault {
	enum plane_fault_kind kind;
	struct link *link; /* PLANE_FAULT_LINK */
	unsigned port;
	int error; /* -errno */
};

/* What came back through the ring. */
struct plane_pong {
	uint64_t token;
	uint64_t
		time_ns; /* since the PING was put into the ring, by the worker's clock */
};

int plane_new(const struct plane_options *options, struct plane **ret_plane);

/* Ports are added before the worker starts and stay. */
int plane_add_port(struct plane *plane, const struct plane_port *spec,
		   unsigned *ret_index);

int plane_start(struct plane *plane);

/* Stops the worker; no link or connection may be left. Accepts NULL. */
void plane_free(struct plane *plane);

/* The connection stays the caller's, who removes its links before it. */
int plane_add_fabric(struct plane *plane, struct fabric *fabric);
void plane_remove_fabric(struct plane *plane, struct fabric *fabric);

/* On failure the maps stay the caller's. -EEXIST if the peer has a link there. */
int plane_add_link(struct plane *plane, const struct plane_link *spec,
		   struct link **ret_link);

/*
 * Unpublishes and frees the link. If the peer is dead (its socket said so, it
 * can't store any more) what it had finished is delivered first [31]. What it
 * had not read of ours is counted as peer-down. *ret_final may be NULL.
 */
void plane_remove_link(struct plane *plane, struct link *link, bool peer_is_dead,
		       struct link_counters *ret_final);

/* Adds up the lives of a link. */
void link_counters_add(struct link_counters *sum, const struct link_counters *counters);

void plane_read_link(const struct link *link, struct link_counters *ret_counters,
		     struct link_usage *ret_usage);
void plane_read_port(const struct plane *plane, unsigned port,
		     struct port_counters *ret_counters);

/* Shows the peer that we live; `beat` is another number than last time. */
void plane_beat_link(const struct link *link, uint32_t beat);

/* Another number than before if the peer showed life: a beat, a frame, a credit. */
uint64_t plane_pulse_link(const struct link *link);

/*
 * Asks the peer's worker for a PONG, through the rings. `token` is nonzero and was
 * never used in this plane. -EBUSY: PLANE_PINGS_MAX of this link are unanswered. No
 * answer may come, ever; who doesn't want it any more forgets it.
 */
#define PLANE_PINGS_MAX 16
int plane_ping_link(struct plane *plane, struct link *link, uint64_t token);
void plane_forget_ping(struct plane *plane, uint64_t token);

/*
 * Readable when there are faults or pongs. next_fault() is false when there are no
 * more, and takes the event; so next_pong() is called after it. What a link that was
 * removed had left to say is not said.
 */
int plane_event_fd(const struct plane *plane);
bool plane_next_fault(struct plane *plane, struct plane_fault *ret_fault);
bool plane_next_pong(struct plane *plane, struct plane_pong *ret_pong);

#endif
