/*
 * The dispatcher of one global network: decides which member gets the packets of a flow
 * that the data plane knows nothing of [46]-[49].
 *
 * Theory of operation
 * -------------------
 * The owner's kernel is the truth. What this node remembers (flowtable.h) is disposable:
 * every member can be asked whether it has a connection, so a border may die, or a flow
 * move to another border, without breaking it. resolve.h is the order of decisions.
 *
 * Openers must not cost a round trip. So every member tells every other one what it
 * listens for (dispatch_listeners.c: pushed, until it is heard), and whom it gave a new
 * connection to (a pin, at once and lossy). Two borders that see two openers of one
 * flow before they heard of each other's pin both know both pins then, and both keep the
 * owner with the higher score.
 *
 * Members are asked by a message that may be lost, 30 ms long, twice. There is one
 * question at a time about a flow, and not more than DISPATCH_ASKED_MAX in all; what is
 * beyond is placed by its hash, or dropped until it comes again. A member that is busy
 * answers later than that: what it has counts for two seconds more, if nothing else was
 * learned of the flow since (dispatch_late.c). Who got an opener since keeps it, for the
 * client may have heard from it.
 *
 * When the table is nearly full (DISPATCH_FLOOD of its cap), openers are placed by
 * their hash without an entry, and nobody is told; every border chooses alike.
 *
 * What a peer says is hostile: it is decoded strictly, bounded per peer, and it speaks
 * for itself only, but for pins, which may name any member that is up.
 *
 * Deterministic: the world is what struct dispatch_ops says. No callback may call the
 * dispatcher again; those of the dispatcher are called from its own functions only.
 * Control thread.
 */
#ifndef CONTROL_DISPATCH_H
#define CONTROL_DISPATCH_H

#include "base/flow.h"
#include "control/balance.h"
#include "control/codec_dispatch.h"
#include "control/config.h"
#include "control/flowtable.h"
#include "control/listener.h"
#include "control/resolve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISPATCH_MEMBERS_MAX  BALANCE_NODES_MAX /* with ourselves; more are left out */
#define DISPATCH_ASKED_MAX    1024		/* flows that members are asked for */
#define DISPATCH_LATE_MAX     4096		/* questions that ran out */
#define DISPATCH_EXPLAINS_MAX 16
#define DISPATCH_WORDS_MAX    256

struct dispatch;
struct dispatch_explain; /* one that is being answered */

struct dispatch_ops {
	uint64_t (*now)(void *arg); /* ns; only grows */
	void (*random)(void *arg, void *bytes, size_t length);
	/* To another member; may be lost. 0 or -errno. */
	int (*send)(void *arg, uint16_t peer_id, const uint8_t *bytes, size_t length);
	/* To the data plane, asked or (a pin, a late answer) unasked. 0 or -errno. */
	int (*answer)(void *arg, const struct flow_key *key,
		      const struct dispatch_verdict *verdict);
	/* The data plane is to forget its verdicts of DISPATCH_KEEP_DATAGRAM. */
	void (*renew_datagrams)(void *arg);
	/* Has our kernel a connection of exactly this key? As sockets_find(). */
	int (*exact)(void *arg, const struct flow_key *key,
		     struct socket_match *ret_match);
	/*
	 * What our host listens for now, as for dispatch_set_listeners(); the list is the
	 * caller's to free. 0 or -errno.
	 */
	int (*listen)(void *arg, struct listener **ret_listeners, unsigned *ret_num);
	/* dispatch_timer() is to be called after this delay; replaces the former one. */
	void (*set_timer)(void *arg, uint64_t delay_ns);
	/*
	 * We answer for the addresses on our LAN, or stop. Said when it changes; once
	 * more when another member has stopped that did so, too: neighbours may have
	 * learned it.
	 */
	void (*announce)(void *arg, bool on);
	/* This node is drained, or is no more. May be NULL. */
	void (*drained)(void *arg, bool on);
};

/* The config and the ops must outlive it; of the config: what a global network has. */
int dispatch_new(const struct config_network *config, uint16_t self_id,
		 const char *self_name, const struct dispatch_ops *ops, void *arg,
		 struct dispatch **ret_dispatch);
void dispatch_free(struct dispatch *dispatch); /* accepts NULL; explains are cancelled */

/* ---- what happens ---- */

/* The data plane has no verdict for this packet: ops.answer() follows, now or later. */
void dispatch_miss(struct dispatch *dispatch, const struct flow_packet *packet);

/*
 * The same of an opener of a flow whose packets went by: whoever sends it, it must not
 * take the connection from who has it, though the entry here may be forgotten.
 */
void dispatch_miss_of_old(struct dispatch *dispatch, const struct flow_packet *packet);

void dispatch_message(struct dispatch *dispatch, uint16_t peer_id, const uint8_t *bytes,
		      size_t length);
void dispatch_peer_up(struct dispatch *dispatch, uint16_t peer_id, const char *name);
void dispatch_peer_down(struct dispatch *dispatch, uint16_t peer_id);
void dispatch_peer_suspect(struct dispatch *dispatch, uint16_t peer_id, bool is_suspect);

/*
 * The network is paused at this node, or at a member that is up: it gets nothing new and
 * does not answer for the addresses. What it has stays its own, and it answers questions.
 */
void dispatch_set_paused(struct dispatch *dispatch, uint16_t node_id, bool is_paused);

/* Our own, all of them; copied. Others are told if it is another list than before. */
void dispatch_set_listeners(struct dispatch *dispatch, const struct listener *listeners,
			    unsigned num);
/* Our own, all of them, from each walk. */
void dispatch_set_connections(struct dispatch *dispatch, const struct flow_key *keys,
			      unsigned num);
/* Another `weight`, `balance` or `announce` stands in the config now. */
void dispatch_reconfigure(struct dispatch *dispatch);
/* Of the interface in `announce`: it is there, and up with carrier. */
void dispatch_set_nic(struct dispatch *dispatch, bool is_usable);
void dispatch_timer(struct dispatch *dispatch);

/*
 * The node (NULL: this one) gets nothing new, or again; another one is asked to, until
 * it says that it does. -ENOENT, -ENOTCONN, with the sentence in `words`.
 */
int dispatch_drain(struct dispatch *dispatch, const char *node, bool on,
		   char words[DISPATCH_WORDS_MAX]);

/* ---- explain ---- */

struct dispatch_step {
	const char *name;
	char words[RESOLVE_WORDS_MAX];
};

struct dispatch_explanation {
	unsigned num_steps;
	struct dispatch_step steps[RESOLVE_STEPS_MAX];
	struct dispatch_verdict verdict;
	char node[CONFIG_NAME_MAX]; /* of the owner; "" if it is dropped */
};

/*
 * How this packet would be decided now, without a trace of it. `done` is called once:
 * before this returns (then *ret_explain is NULL) or later, never after dispatch_cancel()
 * or dispatch_free(). -EAGAIN: too many at once.
 */
int dispatch_explain(struct dispatch *dispatch, const struct flow_packet *packet,
		     void (*done)(void *arg, const struct dispatch_explanation *),
		     void *arg, struct dispatch_explain **ret_explain);
void dispatch_explain_cancel(struct dispatch *dispatch, struct dispatch_explain *explain);

/* ---- reports; `each` returns false to stop, and calls nothing here ---- */

struct dispatch_flow {
	struct flow_key key;
	uint16_t owner;
	const char *node; /* name of the owner; "" if it is gone */
	uint64_t age_ms;  /* since it was made, or confirmed by its owner */
	const char *via;
};

void dispatch_each_flow(const struct dispatch *dispatch,
			bool (*each)(void *arg, const struct dispatch_flow *), void *arg);

struct dispatch_service {
	struct listener listener;
	unsigned num_nodes;
	const char *nodes[DISPATCH_MEMBERS_MAX]; /* names of the members that have it */
};

/* Of all members that are up, each listener once. */
void dispatch_each_listener(const struct dispatch *dispatch,
			    bool (*each)(void *arg, const struct dispatch_service *),
			    void *arg);

struct dispatch_member {
	uint16_t id;
	const char *name;
	bool is_self;
	bool is_suspect;
	bool is_paused;
	bool is_known; /* has told its state; else what follows is made up */
	bool is_drained;
	bool announces;	    /* could answer for the addresses on its LAN */
	bool is_announcing; /* and does, when it told last */
	uint32_t weight;
	uint64_t connections; /* when it told last, and what was placed there since */
	unsigned num_listeners;
};

/* Those that are up, ourselves first. */
void dispatch_each_member(const struct dispatch *dispatch,
			  bool (*each)(void *arg, const struct dispatch_member *),
			  void *arg);

struct dispatch_totals {
	uint64_t misses; /* = the next eleven and those that are being asked for */
	uint64_t by_table, by_kernel, by_answer; /* exact */
	uint64_t by_wildcard, by_listener, by_flood, by_pair;
	uint64_t reset;	      /* segments that nobody has: to our own kernel */
	uint64_t no_listener; /* dropped */
	uint64_t no_owner;    /* dropped, for whatever reason */
	uint64_t joined;      /* asked already */

	uint64_t hashed; /* openers without an entry: flood, or too many questions */
	uint64_t asked, asked_again, silent, busy;
	uint64_t late;		      /* answers, after `silent` */
	uint64_t queries;	      /* of others, that we answered */
	uint64_t pins_sent, pins_got; /* told to all others at once; taken */
	uint64_t pins_refused; /* of a member that is not up, that lost, or of ours */
	uint64_t bad_messages; /* against the rules */
	uint64_t odd_messages; /* of nobody, or about nothing that we know */
	uint64_t not_sent, not_answered; /* queue or ring was full */
	uint64_t full;			 /* flows without an entry for want of room */
};

void dispatch_read_counters(const struct dispatch *dispatch, struct dispatch_totals *ret);

/* Entries, and how many there may be. */
void dispatch_read_table(const struct dispatch *dispatch, uint32_t *ret_count,
			 uint32_t *ret_cap);

bool dispatch_is_drained(const struct dispatch *dispatch); /* this node */
bool dispatch_is_announcing(const struct dispatch *dispatch);

/* What is not as it should be, in words: "" at the end of them. */
void dispatch_each_reason(const struct dispatch *dispatch,
			  void (*each)(void *arg, const char *words), void *arg);

#endif
