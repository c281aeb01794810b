/*
 * All that the control logic knows of the world: the time, timers, randomness,
 * messages, who else is there, and rings.
 *
 * member and peer see nothing else: no clock, no descriptor, no libevent. Two back ends:
 * world_event.c (libevent, channel.c, and offer.c for the rings) in the daemon,
 * tests/sim/ (a seeded event queue in one thread) in the simulator, where a failing seed
 * replays exactly.
 *
 * A peer is on this machine or elsewhere, and its channel says which: one of the
 * rendezvous carries descriptors, and what it leads to is shared memory; a remote one
 * carries none, and what it leads to is a connection that takes time to be ready and may
 * be lost. The order of calls is the same for both:
 *
 *     conn_new, conn_offer, ring_new and ring_offer for each ring, at once;
 *     conn_accept when the peer's BELL came, ring_accept with each RING;
 *     conn_is_ready, or conn_ready later: the peer may be told that we are;
 *     link_new when both sides have said so.
 *
 * One thread. No operation calls back before it returns; callbacks come from the
 * event loop. Everything handed to a callback is valid for the call only.
 */
#ifndef CONTROL_WORLD_H
#define CONTROL_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <shmnet/wire.h>

#include "control/config.h"

#define WORLD_MESSAGE_MAX 65536 /* bytes of one message */
#define WORLD_FDS_MAX	  1	/* descriptors that travel with one message */
#define WORLD_OFFER_MAX	  192	/* bytes of what is offered with one */
#define WORLD_WORD_MAX	  1024	/* bytes of what is sent through a link */

struct world;
struct world_timer;   /* one-shot */
struct world_channel; /* a connection to one other node: ordered messages */
struct world_conn;    /* a pair's fabric connection, or our half of it */
struct world_ring;    /* ring memory: ours, or a peer's that passed the checks */
struct world_link;    /* one peer on one network, carrying frames */
struct world_cast;    /* a cast ring that this node writes to, reads, or both */

/* The descriptors that came with a message. */
struct world_parcel {
	int fd; /* -1 if there is none; who takes it sets it to -1, else it is closed */
	unsigned surplus; /* how many more there were; they are closed already */
};

/* What the other side needs to know of our connection, or of a ring of ours. */
struct world_offer {
	int fd; /* -1: none; else lent until it is sent */
	size_t length;
	uint8_t bytes[WORLD_OFFER_MAX];
};

/* Who is at the other end: as the kernel says it, or its certificate. */
struct world_credentials {
	bool is_remote;
	pid_t pid; /* these three of a node on this machine, else 0 */
	uid_t uid;
	gid_t gid;
	char name[CONFIG_NAME_MAX]; /* of a remote one; "": it has no certificate */
};

/*
 * What a channel's owner wants to hear. `closed` comes once, and is the last; the
 * channel is still the owner's to close.
 */
struct world_channel_handler {
	void (*message)(void *arg, const uint8_t *bytes, size_t length,
			struct world_parcel *parcel);
	/*
	 * 0: end of file; -EMSGSIZE: a message above the limit; -EMFILE: no room for
	 * the descriptor that came with one; else as the socket says.
	 */
	void (*closed)(void *arg, int error);
};

/* What the owner of the world wants to hear. */
struct world_handler {
	/* Somebody dialled us; set a handler at once, or close. */
	void (*accepted)(void *arg, struct world_channel *channel);
	/*
	 * A node appeared in the rendezvous, or disappeared from it. One that was
	 * replaced by its next life appears again without having disappeared. Never
	 * for the node itself.
	 */
	void (*appeared)(void *arg, uint16_t node_id);
	void (*disappeared)(void *arg, uint16_t node_id);
	/* What the peer needed came, and READY may be said. Once, if conn_is_ready() was
	 * not true before. */
	void (*conn_ready)(void *arg, struct world_conn *conn);
	/* It can't be made, or is broken: `words` say why. Once; nothing is made of it
	 * any more, only freed. */
	void (*conn_lost)(void *arg, struct world_conn *conn, const char *words);
	/*
	 * -EPROTO: the peer broke the rules of the ring; else the connection died. `why`
	 * adds to the error; "": nothing.
	 */
	void (*link_fault)(void *arg, struct world_link *link, int error,
			   const char *why);
	/* The peer's link_send(): in its order, and not of a link that is freed. */
	void (*link_message)(void *arg, struct world_link *link, const uint8_t *bytes,
			     size_t length);
	/*
	 * Casts to this group were copied to each peer for want of a ring. Said once,
	 * until cast_answered(). The broadcast address stands for all that has no ring.
	 */
	void (*cast_wanted)(void *arg, unsigned network,
			    const uint8_t label[SHMNET_ETH_ALEN]);
	/* -ESHUTDOWN: it is closed and read to its end; -EPROTO: it holds nonsense. */
	void (*cast_fault)(void *arg, struct world_cast *cast, int error);
};

/*
 * A cast ring. All members write to a shared one and read it; to a lane writes its
 * maker only, who does not read it.
 */
struct world_cast_spec {
	unsigned network; /* index in the config */
	uint64_t id;	  /* the memory's own: nobody can say another one of it */
	uint64_t epoch;
	uint32_t depth; /* slots */
	uint8_t label[SHMNET_ETH_ALEN];
	bool lane;
	uint16_t maker;
};

struct world_link_spec {
	unsigned network; /* index in the config */
	uint16_t peer_id;
	struct world_conn *conn;
	struct world_ring *rx; /* ours; both are the link's on success */
	struct world_ring *tx; /* the peer's */
	uint64_t rx_salt;
	uint64_t tx_salt;
	uint32_t offloads; /* that the peer's TAP takes: SHMNET_OFFLOAD_* */
	bool is_trusted;   /* the peer is of our uid */
};

struct world_ops {
	uint64_t (*now)(struct world *world); /* ns, monotonic */
	/* For how long the machine was suspended so far: now() stands still then. */
	uint64_t (*suspended)(struct world *world);
	void (*random)(struct world *world, void *bytes, size_t length);

	struct world_timer *(*timer_new)(struct world *world, void (*fire)(void *arg),
					 void *arg);
	void (*timer_set)(struct world_timer *timer, uint64_t delay_ns); /* replaces */
	void (*timer_cancel)(struct world_timer *timer);
	/* Accepts NULL; may be called from within the timer's own callback. */
	void (*timer_free)(struct world_timer *timer);

	/*
	 * -ENOENT: no such node; -ECONNREFUSED: nobody listens. A remote channel is there
	 * at once and takes what is sent: if nobody can be reached, `closed` says so.
	 */
	int (*dial)(struct world *world, uint16_t node_id,
		    struct world_channel **ret_channel);
	void (*channel_set_handler)(struct world_channel *channel,
				    const struct world_channel_handler *handler,
				    void *arg);
	void (*channel_credentials)(struct world_channel *channel,
				    struct world_credentials *ret);
	/* Of a node elsewhere: carries no descriptors. */
	bool (*channel_is_remote)(const struct world_channel *channel);
	/*
	 * `fd` travels along unless it is -1; it stays the caller's. Never waits:
	 * -EAGAIN if the peer doesn't read what it has; -EPIPE if it closed, and then
	 * what it sent before and `closed` are still to come.
	 */
	int (*channel_send)(struct world_channel *channel, const uint8_t *bytes,
			    size_t length, int fd);
	/* Did the other end close already, though `closed` was not called yet? */
	bool (*channel_at_end)(struct world_channel *channel);
	/* What the error of `closed` can't say of the end; "": nothing. */
	const char *(*channel_why)(const struct world_channel *channel);
	/* No callback any more; may be called from within the channel's own. */
	void (*channel_close)(struct world_channel *channel);

	/*
	 * Our half of a connection to who is at the other end of the channel. `active`:
	 * of the two we are the one that connects, if that takes one. On failure *ret_why
	 * has words, as every *ret_why here valid until the next call: "needs 2 GiB,
	 * ...". -ENETDOWN: the fabric is down for now, it is worth trying again soon.
	 */
	int (*conn_new)(struct world *world, struct world_channel *channel,
			uint16_t peer_id, bool active, struct world_conn **ret_conn,
			const char **ret_why);
	/* Before conn_accept(). */
	void (*conn_offer)(const struct world_conn *conn, struct world_offer *ret);
	/*
	 * What the peer offered. -EPROTO and words in *ret_why if that is its fault;
	 * other errors are ours. Takes the fd. Once.
	 */
	int (*conn_accept)(struct world_conn *conn, struct world_parcel *parcel,
			   const uint8_t *bytes, size_t length, const char **ret_why);
	/* READY may be said: frames that the peer sends from then on are taken. */
	bool (*conn_is_ready)(const struct world_conn *conn);
	/* "shm", "rdma/rxe0": valid as long as the connection. */
	const char *(*conn_fabric)(const struct world_conn *conn);
	/* After its rings and links; accepts NULL. */
	void (*conn_free)(struct world_conn *conn);
	/* Shows the peer, in all links of the pair, that this node lives. */
	void (*conn_beat)(struct world_conn *conn);
	/* Another number than before if the peer showed life there; hostile. */
	uint64_t (*conn_pulse)(const struct world_conn *conn);

	/* A ring in our memory for what the peer will send. */
	int (*ring_new)(struct world_conn *conn, unsigned network, uint64_t size,
			struct world_ring **ret_ring, const char **ret_why);
	void (*ring_offer)(const struct world_ring *ring, struct world_offer *ret);
	/*
	 * The way to a ring in the peer's memory, from what it offered. -EPROTO and words
	 * in *ret_why if it is not sealed, short, oversized or no memory at all; -ENOMEM
	 * and friends if the reason is ours. Takes the fd.
	 */
	int (*ring_accept)(struct world_conn *conn, struct world_parcel *parcel,
			   const uint8_t *bytes, size_t length, uint64_t size,
			   struct world_ring **ret_ring, const char **ret_why);
	void (*ring_free)(struct world_ring *ring); /* accepts NULL */

	/* On a connection that is ready, on both sides. */
	int (*link_new)(struct world *world, const struct world_link_spec *spec,
			struct world_link **ret_link);
	/* If the peer is dead, what it had finished is delivered first [31]. */
	void (*link_free)(struct world_link *link, bool peer_is_dead);
	/* The peer takes no frames: none are sent until it does again. */
	void (*link_pause)(struct world_link *link, bool is_paused);
	/*
	 * To the node at the other end, as fast as frames are. May be lost, but is not
	 * overtaken. -EAGAIN: too much was sent at once; -EMSGSIZE: no bytes, or more
	 * than WORLD_WORD_MAX.
	 */
	int (*link_send)(struct world_link *link, const uint8_t *bytes, size_t length);

	/*
	 * Makes the memory, and the worker writes to it, and reads it if it is shared.
	 * The id in the spec is filled in.
	 */
	int (*cast_new)(struct world *world, struct world_cast_spec *spec,
			struct world_cast **ret_cast, const char **ret_why);
	/*
	 * The same with the memory of another node, from the descriptor it sent; a lane
	 * is read only. What an earlier life of ours was writing there is cleared. Errors
	 * as those of ring_accept(). Takes the fd.
	 */
	int (*cast_accept)(struct world *world, struct world_parcel *parcel,
			   const struct world_cast_spec *spec,
			   struct world_cast **ret_cast, const char **ret_why);
	/* The worker has left it; links that read it get copies. Accepts NULL. */
	void (*cast_free)(struct world_cast *cast);
	int (*cast_fd)(
		const struct world_cast *cast); /* to be sent; not of a peer's lane */
	void (*cast_stop_writing)(struct world_cast *cast); /* reads on */
	/* The peer behind the link reads it: no copies for it any more. */
	void (*cast_set_reader)(struct world_cast *cast, struct world_link *link);
	/* Nobody can write to it any more, whoever that is. */
	void (*cast_close)(struct world_cast *cast);
	uint64_t (*cast_position)(
		const struct world_cast *cast); /* grows with each cast */
	/*
	 * What a dead node was writing becomes empty. -EBUSY if nothing proves that it
	 * is dead: it lives, or its next life does, or its end is not yet complete.
	 */
	int (*cast_reclaim)(struct world *world, struct world_cast *cast,
			    uint16_t node_id);
	/* What was wanted is there, or can't be had: ask again in a second. */
	void (*cast_answered)(struct world *world, unsigned network,
			      const uint8_t label[SHMNET_ETH_ALEN]);

	/*
	 * The next epoch of the network's cast rings, given to nobody else on this
	 * fabric and above `known`. -EAGAIN if a later one than `known` was given out
	 * already: somebody has just made a ring; not if `anyway`. -EOVERFLOW above
	 * `limit`.
	 */
	int (*claim_epoch)(struct world *world, unsigned network, uint64_t known,
			   bool anyway, uint64_t limit, uint64_t *ret_epoch);
};

struct world {
	const struct world_ops *ops;
	const struct world_handler *handler; /* set by the owner before anything runs */
	void *handler_arg;
	uid_t uid; /* whose process this is */
};

#endif
