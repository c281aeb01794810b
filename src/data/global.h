/*
 * What the dispatch of a global network works on: path_global.c on the worker, and
 * plane_global.c on the control thread. Private to the data plane.
 *
 * A struct port_global is a port's, the struct global_state all ports' of one plane.
 * Members are the worker's unless it is said.
 *
 * Theory of operation
 * -------------------
 * Misses go from the worker to control, answers from control to the worker, each by a
 * queue of one writer and one reader (data/post.h). None is needed by the other thread at
 * a certain time, but each must be seen without anything else happening:
 *
 *     miss     worker    put; at the end of the queue's burst, make the event fd readable
 *              control   read the event fd; take until there is none
 *     answer   control   put; if set(told) was not set: make the worker's wake fd
 * readable worker    at the top of each turn: clear(told); take
 *
 * Misses: who reads the event fd after it was written takes all that was put before. An
 * event that control has read before is followed by another one.
 *
 * Answers: set() and clear() are read-modify-writes of one word, so they have an order,
 * and each sees what was done before those in front of it.
 *
 *     set() found it clear      the wake fd becomes readable, and stays so until a turn
 * has read it; epoll is level-triggered, so the worker takes one more turn, whether it
 * sleeps, is about to, or turns. Before its clear() that turn can't have begun to take.
 *     set() found it set        an earlier set() found it clear, and the clear() that
 *                               follows both comes in the turn of that one's wake-up or
 * one before it: it sees this item, too.
 *
 * A turn reads the wake fd before it clears, so a wake-up that is read is never one whose
 * answers were not yet looked for. A turn that takes no more than GLOBAL_ANSWERS of them
 * counts as busy, and sets the word again itself: the next one goes on.
 *
 * Generations: control counts a port's plane_renew_datagrams() in `generation`, and says
 * in each answer of which one it is. The worker mixes that number into the hashes of what
 * is no connection. So an answer that was under way while nodes came or went is entered
 * where nobody looks any more.
 */
#ifndef DATA_GLOBAL_H
#define DATA_GLOBAL_H

#include "data/flowcache.h"
#include "data/fragments.h"
#include "data/park.h"
#include "data/post.h"

/* Room for so many misses that control, and answers that the worker has yet to take. */
#define GLOBAL_MISSES  1024
#define GLOBAL_ANSWERS 4096

/* Answers that a turn takes. */
#define GLOBAL_BURST 256

/* The node id in the MAC that packets come from that the dispatch delivers; nobody's. */
#define GLOBAL_NODE_ID 0xffff

/*
 * A flow of long frames is read straight into its owner's ring: after so many long ones,
 * and nothing in between for another peer.
 */
#define GLOBAL_LONG   4096
#define GLOBAL_STREAK 4

/*
 * When there is no room for such a one its queue is left alone for a while: a sender has
 * more under way than a ring holds, and who reads it only waits for a CPU. But the queue
 * is everybody's; so after that was in vain nobody is waited for, for a longer while, and
 * a peer that reads nothing takes a tenth of the others' time at the most.
 */
#define GLOBAL_PATIENCE_NS   10000000ull
#define GLOBAL_IMPATIENCE_NS 100000000ull

struct global_answer {
	struct flow_key key;
	struct plane_verdict verdict;
	uint32_t generation;
	unsigned port;
};

struct global_state {
	struct flow_secret secret; /* constant */
	struct post misses;	   /* worker to control */
	struct post answers;	   /* control to worker */
	bool told;		   /* both threads', atomic: a turn will take answers */
	uint64_t now_ns;	   /* as of the burst */
	struct park park;
	struct fragments fragments;
};

struct port_global {
	struct global_state *global;
	uint8_t addresses[PLANE_ADDRESSES_MAX][FLOW_ADDRESS_LEN]; /* constant */
	unsigned num_addresses;
	uint8_t mac[SHMNET_ETH_ALEN]; /* of GLOBAL_NODE_ID */
	uint32_t generation;	      /* control's, atomic */
	struct flowcache cache;
	uint16_t expected;     /* the peer that the last long frame went to */
	unsigned streak;       /* so many in a row before it, up to GLOBAL_STREAK */
	uint64_t impatient_ns; /* nobody is waited for until then */
};

/* Accepts NULL. */
void port_global_free(struct port_global *port);

#endif
