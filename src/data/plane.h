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
 * The worker never calls control. It raises a fault on a link, a port or a cast ring
 * and makes plane_event_fd() readable.
 */
#ifndef DATA_PLANE_H
#define DATA_PLANE_H

#include "base/drop.h"
#include "base/flow.h"
#include "base/memfd.h"
#include "data/fabric.h"

#include <shmnet/command.h>

#include <stdbool.h>
#include <stdint.h>

#define PLANE_PORTS_MAX 16
#define PLANE_CASTS_MAX SHMNET_RING_CASTS /* rings of one port */

struct plane;
struct link;
struct cast;
struct tap;

struct plane_options {
	uint32_t spin_us;  /* how long the worker looks around before it sleeps */
	uint64_t stall_ns; /* see plane_tick(); 0: it is not called */
};

/* What a port of a global network has besides. */
#define PLANE_ADDRESSES_MAX 16
struct plane_global {
	const uint8_t (*addresses)[FLOW_ADDRESS_LEN]; /* 1 to PLANE_ADDRESSES_MAX */
	unsigned num_addresses;
	uint32_t flows; /* for how many the cache has room; 0: PLANE_FLOWS_DEFAULT */
};
#define PLANE_FLOWS_DEFAULT 262144

/* One network's adapter [35]. The TAP stays the caller's and outlives the plane. */
struct plane_port {
	struct tap *tap;
	uint16_t node_id;
	uint16_t tag;
	uint32_t mtu;
	const struct plane_global *global; /* NULL: of a local network; copied */
};

/* One peer on one network: a ring to it, a ring from it. */
struct plane_link {
	unsigned port;
	uint16_t peer_id;
	struct fabric *fabric; /* added by plane_add_fabric() */
	bool is_remote;	       /* shares no memory with us: no cast rings */
	bool is_trusted;       /* may see and change what it will not be sent, too */
	struct ring_map tx; /* the peer's memory, or the way to it; outlives the link */
	struct ring_map rx; /* our memory, likewise */
	uint64_t tx_salt;
	uint64_t rx_salt;
	uint32_t offloads; /* SHMNET_OFFLOAD_*: no other super-frames for the peer */
	uint8_t tx_index;  /* number of the ring on the connection, its receiver's */
	uint8_t rx_index;  /* both 0 if the fabric has no use for it */
};

/* Written by the worker, read by anybody; each is exact when traffic rests. */
struct link_counters {
	uint64_t sent_frames; /* handed to this link or a cast ring, dropped or not */
	uint64_t sent_bytes;
	uint64_t received_frames; /* taken from the peer's ring or a cast ring */
	uint64_t delivered_frames;
	uint64_t delivered_bytes;
	uint64_t pings_answered;   /* of the peer */
	uint64_t pings_unanswered; /* it had not read what it was answered before */
	uint64_t pongs_ignored;	   /* nobody asked, or asks any more */
	uint64_t messages_sent;
	uint64_t messages_received;
	uint64_t messages_lost;	   /* for want of room, at either end of it here */
	uint64_t received_paused;  /* received and dropped: the network is paused here */
	uint64_t drops[DROP_NUM_]; /* this link's, at either end of it here */
};

/*
 * Of one cast ring, in positions. Each position that the reader passed is in one of
 * received, own, passed, lapped, holes and corrupt. Frames that were lost that way are
 * counted per link, as cast-lost.
 */
struct cast_counters {
	uint64_t written; /* by us */
	uint64_t skipped; /* by us as a writer: the slot was still another's */
	uint64_t received;
	uint64_t own;
	uint64_t
		passed; /* not for us: from a node that we have no link with, or copied */
	uint64_t lapped; /* overwritten before we read it */
	uint64_t holes;	 /* never written, or not in time */
	uint64_t corrupt;
};

/*
 * Of a global network, in packets that came by the TAP for a global address, whole or as
 * fragments; a super-frame is one. When traffic rests
 *
 *     packets = local + forwarded + copied + dropped + parked.
 *
 * What was forwarded or copied may yet be dropped for its receiver: that is counted on
 * the link, where a super-frame that had to be cut is as many as its pieces.
 */
struct dispatch_counters {
	uint64_t packets;
	uint64_t local;	    /* written into our own TAP alone */
	uint64_t forwarded; /* handed to one link */
	uint64_t copied;    /* written into our own TAP, and handed to every link */
	uint64_t dropped;   /* under one of the port's reasons; in unrouted_frames, too */
	uint64_t parked;    /* now: they wait for a verdict or their first fragment */
	uint64_t hits;	    /* that found a verdict in the cache */
	uint64_t waited;    /* that were parked, each time */
	uint64_t asked;	    /* times that control was */
	uint64_t answers;   /* of control, asked or not */
	uint64_t cached;    /* now: verdicts, some of them too old */
	uint64_t evicted;   /* verdicts, for want of room */
	uint64_t evicted_confirmed; /* of these, of flows of more than one packet */
};

struct port_counters {
	uint64_t unrouted_frames; /* dropped before a receiver was known */
	uint64_t drops[DROP_NUM_];
	struct cast_counters casts; /* of all its cast rings, gone ones too */
	struct dispatch_counters dispatch;
};

struct cast_usage {
	uint64_t position; /* W */
	uint64_t unread;   /* positions; 0 if we don't read it */
	unsigned depth;
	unsigned readers; /* peers that said so */
	bool is_closed;
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
	PLANE_FAULT_CAST, /* -EPROTO: broken; -ESHUTDOWN: closed and read to its end */
	PLANE_FAULT_CAST_WANTED, /* a ring for `label` would pay; no error */
	PLANE_FAULT_STRANGER, /* `peer_id` casts and has no link; at most one a second */
};

struct plane_fault {
	enum plane_fault_kind kind;
	struct link *link; /* PLANE_FAULT_LINK */
	struct cast *cast; /* PLANE_FAULT_CAST */
	unsigned port;
	int error;			/* -errno */
	uint8_t label[SHMNET_ETH_ALEN]; /* PLANE_FAULT_CAST_WANTED */
	uint16_t peer_id;		/* PLANE_FAULT_STRANGER */
};

/* What came back through the ring. */
struct plane_pong {
	uint64_t token;
	uint64_t
		time_ns; /* since the PING was put into the ring, by the worker's clock */
};

/* What a peer's control thread said. Nothing is known of the bytes. */
struct plane_message {
	struct link *link;
	size_t length;
	uint8_t bytes[SHMNET_COMMAND_MESSAGE_MAX];
};

int plane_new(const struct plane_options *options, struct plane **ret_plane);

/* -ENOSPC: there are PLANE_PORTS_MAX. -EINVAL: one of a global network has several
 * queues, or no or too many addresses. */
int plane_add_port(struct plane *plane, const struct plane_port *spec,
		   unsigned *ret_index);

/*
 * Of a local network, without links or cast rings. When this returns its TAP is the
 * caller's alone; the index may be given away again.
 */
void plane_remove_port(struct plane *plane, unsigned index);

int plane_start(struct plane *plane);

/* How long the worker looks around before it sleeps, from now on. */
void plane_set_spin(struct plane *plane, uint32_t spin_us);

/* Stops the worker; no link, cast ring or connection may be left. Accepts NULL. */
void plane_free(struct plane *plane);

/* The connection stays the caller's, who removes its links before it. */
int plane_add_fabric(struct plane *plane, struct fabric *fabric);
void plane_remove_fabric(struct plane *plane, struct fabric *fabric);

/* The worker looks at all links soon: a connection has ended, and maybe nothing rang. */
void plane_wake(struct plane *plane);

/*
 * Has the worker taken a turn since the last call? It is woken to take the next one, so
 * who asks now and then learns of a worker that hangs.
 */
bool plane_has_turned(struct plane *plane);

/*
 * Frames are taken from no TAP: they wait there for the next process, or until there are
 * links. Also before plane_start().
 */
void plane_rest_taps(struct plane *plane, bool rest);

/*
 * Control has heard whatever its peers had said until `now_ns`, of the monotonic clock;
 * to be called several times in the options' stall_ns. If neither control nor the worker
 * has run for that long, the process was stopped or starved, and peers may have given it
 * up: what is in their rings is lost to them. Then the worker waits for a call with a
 * later time, for stall_ns at the most, before it looks at any ring or queue. Before the
 * first call it never does.
 */
void plane_tick(struct plane *plane, uint64_t now_ns);

/* -EEXIST if the peer has a link there. */
int plane_add_link(struct plane *plane, const struct plane_link *spec,
		   struct link **ret_link);

/*
 * Unpublishes and frees the link. If the peer is dead (its socket said so, it
 * can't store any more) what it had finished is delivered first [31]: in the port's
 * cast rings up to a slot that is still being written, and in its own ring. What it
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

/*
 * The network is paused: here, or at the link's peer. What the host sends there is
 * dropped, and what still comes for it here (DROP_PAUSED); commands go both ways as ever.
 * When these return the worker acts on it.
 */
void plane_pause_port(struct plane *plane, unsigned port, bool is_paused);
void plane_pause_link(struct plane *plane, struct link *link, bool is_paused);

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
 * Says something to the peer's control thread, through the rings: in order, and in
 * vain if the ring or the peer's control has no room for it (messages_lost of either).
 * -EAGAIN: more was said than the worker has sent yet; -EMSGSIZE: no bytes, or more
 * than PLANE_MESSAGE_MAX.
 */
#define PLANE_MESSAGE_MAX SHMNET_COMMAND_MESSAGE_MAX
int plane_send_message(struct plane *plane, struct link *link, const uint8_t *bytes,
		       size_t length);

/* ---- cast rings ---- */

/*
 * A cast ring that a port reads, writes, or both. The port's casts go into the ring of
 * their label, or into the broadcast ring (ff:ff:ff:ff:ff:ff), and are copied to those
 * links besides that do not read it. See "Who gets a cast by the ring and who by a
 * copy" in shmnet/cast.h.
 */
struct plane_cast {
	unsigned port;
	struct cast_map map; /* the plane's from add_cast() on */
	uint32_t depth;
	uint64_t id; /* of the memory; random, not 0 */
	uint8_t label[SHMNET_ETH_ALEN];
	bool reads;  /* from now on: nothing that is in it already */
	bool writes; /* instead of the ring of this label that it wrote until now */
	uint16_t only_writer; /* of a peer's lane: whom to believe; 0: anybody */
};

/*
 * -ENOSPC: the port has PLANE_CASTS_MAX. -EINVAL: the map is not of that depth and the
 * port's MTU, or is to be written to and can't be. On failure it stays the caller's.
 * A ring that the port had before, under this id, comes back after its links only.
 */
int plane_add_cast(struct plane *plane, const struct plane_cast *spec,
		   struct cast **ret_cast);

/*
 * What is unread is lost, and counted as that; so a ring that is superseded is closed,
 * and removed after its -ESHUTDOWN. Peers must have been told before that we read it
 * no more, or be gone. *ret_final may be NULL.
 */
void plane_remove_cast(struct plane *plane, struct cast *cast,
		       struct cast_counters *ret_final);

/* A ring that is written takes the place of the one of its label that was. */
void plane_set_cast_writes(struct plane *plane, struct cast *cast, bool writes);

/* The peer said that it reads the ring: it gets no copies any more. For good. */
void plane_set_link_reads(struct plane *plane, struct link *link, struct cast *cast);

/* For everybody who maps it; readers still drain it. Not of a peer's lane. */
void plane_close_cast(struct cast *cast);

/*
 * Gives up what the writer, who can't store any more, was writing. Before its link is
 * removed: readers wait for it. Returns the number of slots.
 */
uint64_t plane_reclaim_cast(struct cast *cast, uint16_t dead_writer);

void plane_read_cast(const struct cast *cast, struct cast_counters *ret_counters,
		     struct cast_usage *ret_usage);

/* The ring was made, or can't be: PLANE_FAULT_CAST_WANTED may come again in a second. */
void plane_cast_answered(struct plane *plane, unsigned port,
			 const uint8_t label[SHMNET_ETH_ALEN]);

/* ---- global networks ---- */

/*
 * What comes by the TAP of a global network for one of its addresses goes where control
 * says [46-49]: here that is asked, per flow, and remembered for a while. Nothing else is
 * known of a flow in the data plane, and whatever is known may be forgotten: then it is
 * asked again. A packet waits for the answer for 50 ms, if there is room (1 MiB for all).
 * What comes by a ring is delivered and never sent on, so no packet goes in circles.
 */
struct plane_miss {
	unsigned port;
	struct flow_packet packet; /* the first that waits */
	bool is_old; /* it opens a connection, and there may be one: its packets went by
		      */
};

/*
 * As plane_next_message(), with a limit of PLANE_MISSES_MAX: a flood of openers must not
 * keep control from everything else. Each key is told of once, until its answer or 50 ms
 * later.
 */
#define PLANE_MISSES_MAX 256
bool plane_next_miss(struct plane *plane, struct plane_miss *ret_miss);

/* For how long an answer holds, if its place is not needed. */
enum plane_keep {
	PLANE_KEEP_NOT,	     /* for the packets that wait */
	PLANE_KEEP_FLOW,     /* as long as packets come */
	PLANE_KEEP_DATAGRAM, /* for 10 s, or until plane_renew_datagrams() */
	PLANE_KEEP_SHORT,    /* for a second: to drop, and nothing else */
};

struct plane_verdict {
	uint16_t owner;		 /* this node, or a peer; 0: drop */
	enum drop_reason reason; /* of a drop */
	enum plane_keep keep;
};

/*
 * The answer, or what will be one when it is asked. -EAGAIN: the worker has too many to
 * take; what waits for it is dropped in time, and asked for again. -EINVAL: no port of a
 * global network.
 */
int plane_answer_flow(struct plane *plane, unsigned port, const struct flow_key *key,
		      const struct plane_verdict *verdict);

/* What is known of flows other than TCP and SCTP is forgotten: nodes came or went. */
void plane_renew_datagrams(struct plane *plane, unsigned port);

/*
 * Readable when there are faults, pongs, messages or misses. next_fault() is false when
 * there are no more, and takes the event; so the others are called after it. What a link
 * that was removed had left to say is not said.
 *
 * With messages the links take turns. next_message() is false when there is none, and
 * after PLANE_MESSAGES_MAX in a row: then the event is there again.
 */
#define PLANE_MESSAGES_MAX 64
int plane_event_fd(const struct plane *plane);
bool plane_next_fault(struct plane *plane, struct plane_fault *ret_fault);
bool plane_next_pong(struct plane *plane, struct plane_pong *ret_pong);
bool plane_next_message(struct plane *plane, struct plane_message *ret_message);

#endif
