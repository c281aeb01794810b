/*
 * One other node: its life as a state machine, and what the pair has together
 * (channel, doorbells, rings, links).
 *
 * The table in peer.c is the specification. Knows the world only through
 * world.h, its brothers only through struct peer_owner. Control thread.
 */
#ifndef CONTROL_PEER_H
#define CONTROL_PEER_H

#include "base/budget.h"
#include "control/codec_peer.h"
#include "control/world.h"

#include <stdbool.h>
#include <stdint.h>

#define PEER_PATIENCE_NS	(3000ull * 1000000) /* for the whole handshake */
/* The same, where a connection has to be made in it, with repetitions. */
#define PEER_PATIENCE_REMOTE_NS (10000ull * 1000000)
#define PEER_BACKOFF_MIN_NS	(1000ull * 1000000) /* after a refusal, doubling */
#define PEER_BACKOFF_MAX_NS	(60000ull * 1000000)
/* Out for breaking the rules, doubling; from the third on, whatever life it is. */
#define PEER_QUARANTINE_MIN_NS	(1000ull * 1000000)
#define PEER_QUARANTINE_MAX_NS	(60000ull * 1000000)
#define PEER_QUARANTINE_LIFE_NS (4000ull * 1000000)
#define PEER_RETRY_MIN_NS	(20ull * 1000000) /* of a dial, doubling */
#define PEER_RETRY_MAX_NS	(1000ull * 1000000)
#define PEER_LINGER_NS                                                                   \
	(100ull * 1000000) /* a dead doorbell waits for the channel's end */

enum peer_state {
	PEER_ABSENT,   /* not in the rendezvous, no channel */
	PEER_WAITING,  /* in the rendezvous; it dials us, or we dial again soon */
	PEER_DIALLED,  /* our HELLO is under way */
	PEER_OFFERING, /* HELLOs are exchanged; rings and READY are under way */
	PEER_UP,
	PEER_SUSPECT, /* silent; others were asked whether they hear it */
	PEER_FADING,  /* its doorbell died: does its channel end too? */
	PEER_REFUSED, /* by us or by it; tried again after a backoff */
	PEER_STATE_NUM_
};

/*
 * How a session ended that was up. A node that lives on never hangs up without a word
 * (REFUSE), unless the channel itself is broken; so an end without one is the end of the
 * peer's life. In the other cases it may live, and store into what it still maps.
 */
enum peer_end {
	PEER_END_CLOSED, /* the channel is at its end, without a word */
	PEER_END_SILENT, /* nobody heard of it any more */
	PEER_END_OTHER,	 /* one of the two refused, or gave up */
};

struct casts;
struct events;
struct peer;

/* What all peers of a node share, and whom they tell. The membership is one. */
struct peer_owner {
	struct world *world;
	const struct node_config *config;
	struct events *events;	/* may be NULL */
	uint64_t nonce;		/* of this life */
	uint32_t incarnation;	/* ours */
	uint64_t last_epoch;	/* of the rings that we made */
	unsigned generation;	/* of our networks: grows when the config changes */
	struct budget refusals; /* that are told, of all peers */
	struct casts *casts;	/* NULL while the membership begins and ends */
	/* That our TAPs take: SHMNET_OFFLOAD_*, by network. */
	uint32_t offloads[CONFIG_NETWORKS_MAX];
	bool paused[CONFIG_NETWORKS_MAX]; /* here, by network */
	struct peer_border border;	  /* what we are */

	/* The peers know us above `floor`: raise ours, and tell everybody. */
	void (*raise)(struct peer_owner *owner, uint32_t floor);
	/* Its link on the network is there, or is not any more. */
	void (*link_changed)(struct peer_owner *owner, struct peer *peer,
			     unsigned network, bool is_up);
	/* The peer has paused the network, or goes on; while its link is there. */
	void (*pause_changed)(struct peer_owner *owner, struct peer *peer,
			      unsigned network, bool is_paused);
	/* It is, or is not any more, PEER_SUSPECT or PEER_FADING. */
	void (*suspected)(struct peer_owner *owner, struct peer *peer, bool is_suspect);
	/* All peers, by an index from 0 on; NULL: no more. */
	struct peer *(*peer_at)(struct peer_owner *owner, unsigned index);
	/* It has no channel any more. Calls nothing of the peer. */
	void (*hung_up)(struct peer_owner *owner, struct peer *peer);
	/* A peer that was up is not any more: its links are gone. May be NULL. */
	void (*ended)(struct peer_owner *owner, struct peer *peer, enum peer_end end);
	/*
	 * Is this HELLO acceptable from the peer that we dialled? If not, a code and
	 * words that name both sides' values.
	 */
	bool (*admit)(struct peer_owner *owner, struct peer *peer,
		      const struct world_credentials *credentials,
		      const struct peer_hello *hello, struct peer_refuse *ret_refuse);
};

int peer_new(struct peer_owner *owner, uint16_t id, struct peer **ret_peer);

/* Closes what is open, in the order that lets the other side salvage. Accepts NULL. */
void peer_free(struct peer *peer);

/* ---- what happens to it ---- */
void peer_appear(struct peer *peer);
void peer_disappear(struct peer *peer);

/*
 * It dialled us, and its HELLO was admitted. The channel is the peer's from now on,
 * which refuses it itself while it is quarantined, or if that is too often.
 */
void peer_accept(struct peer *peer, struct world_channel *channel,
		 const struct peer_hello *hello);

/*
 * The HELLO of a newcomer with this id was refused: logged, and kept for the report.
 * False if that says nothing about this peer.
 */
bool peer_note_refusal(struct peer *peer, const struct peer_refuse *refuse);

/* The world's callbacks of these names; false if it is not this peer's. */
bool peer_link_fault(struct peer *peer, const struct world_link *link, int error,
		     const char *why);
bool peer_conn_ready(struct peer *peer, const struct world_conn *conn);
bool peer_conn_lost(struct peer *peer, const struct world_conn *conn, const char *words);

/*
 * Says something that is not part of the handshake. False if that ended the session,
 * and with it whatever the caller knew of it.
 */
bool peer_tell(struct peer *peer, const struct peer_message *message, int fd);

/* What only the peer can write to is nonsense: it is quarantined. */
void peer_blame(struct peer *peer, const char *words);

/*
 * A network of ours is there, or is about to go: it has a place in the config in both
 * cases. peer_tell_networks() follows when all are.
 */
void peer_open_network(struct peer *peer, unsigned network);
void peer_close_network(struct peer *peer, unsigned network);
void peer_tell_networks(struct peer *peer);

/* It may not be here any more. */
void peer_expel(struct peer *peer, const struct peer_refuse *refuse);

/* Its channel is at its end though nobody told us yet. */
bool peer_is_gone(struct peer *peer);

/* Ours was raised. */
void peer_send_incarnation(struct peer *peer);

/* We have paused the network, or go on. */
void peer_send_pause(struct peer *peer, unsigned network);

/* We are another border than before. */
void peer_send_border(struct peer *peer);

/* ---- what it is like ---- */
enum peer_state peer_state(const struct peer *peer);
const char *peer_state_name(enum peer_state state);
bool peer_has_channel(const struct peer *peer);
uint16_t peer_id(const struct peer *peer);
const char *peer_name(const struct peer *peer);	  /* "node 7" before it had one */
const char *peer_reason(const struct peer *peer); /* why it is not up; "" if it is */
/* "shm", "rdma/rxe0": what it is reached by, or was last; "" if it never was. */
const char *peer_fabric(const struct peer *peer);
bool peer_is_remote(const struct peer *peer); /* as long as there is a channel */
uint32_t peer_incarnation(const struct peer *peer);
pid_t peer_pid(const struct peer *peer);       /* 0 if there is no channel */
uint32_t peer_spoken(const struct peer *peer); /* its highest wire version; 0: unknown */
uid_t peer_uid(const struct peer *peer);       /* as long as there is a channel */
bool peer_is_known(const struct peer *peer);   /* it told its name once */
bool peer_is_present(const struct peer *peer);
/* It is not there, and not out for breaking the rules. */
bool peer_may_be_forgotten(const struct peer *peer);
/* When it was up last, 0: never, or not since then. */
uint64_t peer_down_ns(const struct peer *peer);
struct world_link *peer_link(const struct peer *peer, unsigned network);
/* Through that link. -ENOTCONN: there is none; else as the world's link_send(). */
int peer_write(const struct peer *peer, unsigned network, const uint8_t *bytes,
	       size_t length);
/* The network whose link it is; -1: none of this peer's. */
int peer_link_network(const struct peer *peer, const struct world_link *link);
/* Does the peer, as long as it is there, have that network of ours too? */
bool peer_has_network(const struct peer *peer, unsigned network);
/* How it does its casts there, if it has the network. */
enum cast_mode peer_cast_mode(const struct peer *peer, unsigned network);
/* Has the peer, as long as it is there, paused that network? */
bool peer_is_paused(const struct peer *peer, unsigned network);
/* As long as it is there; nothing before it has said so. */
const struct peer_border *peer_get_border(const struct peer *peer);
/* False: if it is one it does not say so, for want of a wire version. */
bool peer_says_border(const struct peer *peer);
/* Why that network has no link, though the peer is up; "" if there is no reason. */
const char *peer_network_reason(const struct peer *peer, unsigned network);
/* What is wrong with its addresses there; "" if nothing is. */
const char *peer_network_clash(const struct peer *peer, unsigned network);

/* ---- refusing somebody who has no peer ---- */

/* The word alone; and with the end of the channel. */
void peer_say_refuse(struct world *world, struct world_channel *channel,
		     const struct peer_refuse *refuse);
void peer_refuse_channel(struct world *world, struct world_channel *channel,
			 const struct peer_refuse *refuse);

#endif
