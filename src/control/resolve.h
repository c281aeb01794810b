/*
 * The order in which it is decided who gets a packet for a global address (FIG. 9,
 * [46]-[49]): a table of steps, each for certain kinds of packets, taken one after the
 * other until one decides.
 *
 * It knows nothing but what the ops tell, and changes nothing: what is to be entered
 * or told to others is said with the decision, and the caller does it (or not: `shmnetctl
 * explain` goes the same way). A step that needs the other members stops the walk; it
 * goes on with their answer. tests/unit/resolve_test.c states for each kind of packet and
 * each state what happens.
 *
 * Pure logic. Control thread.
 */
#ifndef CONTROL_RESOLVE_H
#define CONTROL_RESOLVE_H

#include "base/drop.h"
#include "base/flow.h"
#include "control/balance.h"
#include "control/flowtable.h"
#include "control/listener.h"

#include <stdbool.h>
#include <stdint.h>

#define RESOLVE_WORDS_MAX 160

enum resolve_step {
	RESOLVE_STEP_TABLE,    /* exact: what this node knows */
	RESOLVE_STEP_KERNEL,   /* exact: what this node has */
	RESOLVE_STEP_MEMBERS,  /* exact: what the others have */
	RESOLVE_STEP_WILDCARD, /* the local address wildcarded */
	RESOLVE_STEP_LISTENER, /* the foreign part dropped */
	RESOLVE_STEP_AGAIN,    /* these two, once all have looked again */
	RESOLVE_STEP_FLOOD,
	RESOLVE_STEP_PAIR,
	RESOLVE_STEP_NONE,
	RESOLVE_STEPS_MAX
};

/* A placed opener is sure for so long, whatever the kernels say: with SYN cookies there
 * is no socket before the next packet. */
#define RESOLVE_FRESH_S 10
/* So long nobody may use the ports of a connection again (TIME_WAIT). An entry that was
 * not used for longer may be of one before, whose successor's pin was lost. */
#define RESOLVE_USED_S	60

/* What the data plane remembers of a verdict; as enum plane_keep. */
enum dispatch_keep {
	DISPATCH_KEEP_NOT,
	DISPATCH_KEEP_FLOW,	/* as long as the flow lives */
	DISPATCH_KEEP_DATAGRAM, /* 10 s, or until it is renewed */
	DISPATCH_KEEP_SHORT,	/* 1 s; of drops only */
};

struct dispatch_verdict {
	uint16_t owner;		 /* 0: dropped */
	enum drop_reason reason; /* then */
	enum dispatch_keep keep;
};

/* What the kinds of packets come to. */
enum resolve_class {
	RESOLVE_OPENER,
	RESOLVE_DATAGRAM,
	RESOLVE_SEGMENT,
	RESOLVE_ERROR,		/* about a connection */
	RESOLVE_ERROR_DATAGRAM, /* about UDP: its sender may have no connected socket */
	RESOLVE_PAIR,		/* without ports, and errors about such */
	RESOLVE_CLASS_NUM_
};

/* What is known of a member. */
enum resolve_member {
	RESOLVE_MEMBER_UP,
	RESOLVE_MEMBER_UNSURE, /* suspect, or down for less than 30 s */
	RESOLVE_MEMBER_GONE,
};

/* What the others said, or didn't. */
enum resolve_answer {
	RESOLVE_ANSWER_NONE, /* not asked yet */
	RESOLVE_ANSWER_NO,
	RESOLVE_ANSWER_YES,
	RESOLVE_ANSWER_SILENT, /* one of them said nothing, no other has it */
	RESOLVE_ANSWER_BUSY,   /* not asked: too many are being asked for */
};

/* Which sockets take what is new [47][48]. */
enum resolve_match {
	RESOLVE_MATCH_PEER, /* local address any, foreign part exactly this */
	RESOLVE_MATCH_ANY,  /* foreign part any */
	RESOLVE_MATCH_NODE, /* every member, listener or not */
};

struct resolve_ops {
	bool (*table)(void *arg, const struct flow_key *key,
		      struct flowtable_entry *ret_entry);
	/* As sockets_find(). */
	int (*kernel)(void *arg, const struct flow_key *key,
		      struct socket_match *ret_match);
	/* Members to be asked. */
	unsigned (*count_others)(void *arg);
	enum resolve_member (*member)(void *arg, uint16_t node_id);
	/* May there be a member with connections that can't be asked: suspect, down for
	 * less than 30 s, or not yet met? */
	bool (*is_unsure)(void *arg);
	/* Those that may get something new: up, not suspect, paused or drained, with a
	 * weight. */
	unsigned (*candidates)(void *arg, const struct flow_key *key,
			       enum resolve_match match,
			       struct balance_node nodes[BALANCE_NODES_MAX]);
	/* The policy. */
	uint16_t (*choose)(void *arg, const struct flow_key *key,
			   const struct balance_node *nodes, unsigned num);
	bool (*is_flooded)(void *arg);
	/* Looks what this node listens for now. False: that was done just now, and the
	 * members need not be asked either. */
	bool (*look)(void *arg);
	const char *(*name)(void *arg, uint16_t node_id);
	/* What a step came to, in words; NULL: nobody wants to know. */
	void (*note)(void *arg, const char *step, const char *words);
};

struct resolve {
	const struct resolve_ops *ops;
	void *arg;
	uint16_t self;
	struct flow_key key;
	enum resolve_class class;
	enum resolve_step step; /* the next one; in the end the one that decided */

	bool is_stale;	 /* an opener, perhaps not the first: the entry is too old to be
			  * sure, or the caller knows of an older flow */
	bool was_unsure; /* when the members were asked */
	bool is_ours;	 /* says an entry, of which is_stale is true */
	bool has_half;	 /* our own kernel has answered an opener of it */
	bool overrides;	 /* who has it may be dead: no use to ask anybody */
	bool is_again;	 /* nobody was known to listen, and all look again */
	bool by_hash;	 /* too much is going on: placed without memory */
	enum resolve_answer answer;
	uint16_t answered_by;

	/* The decision. */
	struct dispatch_verdict verdict;
	enum flow_via via;
	enum resolve_match match;
	bool enters;	/* the owner goes into the table */
	bool hears;	/* its entry there is used */
	bool is_placed; /* an opener: others are told, the policy counts it */
	bool is_hashed; /* an opener, without memory: what the table has of it is wrong */
};

enum resolve_outcome { RESOLVE_DECIDED, RESOLVE_ASK };

/* Of what kind it is; false: it needs no decision (echo, reply, fragment). */
bool resolve_class_of(const struct flow_packet *packet, enum resolve_class *ret_class);

/* For a packet of a flow that its owner has. */
enum dispatch_keep resolve_keep(enum resolve_class class);

void resolve_start(struct resolve *resolve, const struct resolve_ops *ops, void *arg,
		   uint16_t self, const struct flow_key *key, enum resolve_class class);

/*
 * Goes on to the decision, or to RESOLVE_ASK: then resolve_answered(), and once more.
 */
enum resolve_outcome resolve_run(struct resolve *resolve);
void resolve_answered(struct resolve *resolve, enum resolve_answer answer,
		      uint16_t node_id);

#endif
