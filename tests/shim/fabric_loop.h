/*
 * The fabric of the tests: both ends in one process, and a wire between them that
 * a seed makes late, lossy and spiteful, as far as data/fabric.h allows it.
 *
 * Each side of a ring has words of its own; what one side publishes or credits is
 * a message, and reaches the other side's words when fabric_loop_step() says so.
 *
 *   late      a message waits for any number of steps;
 *   reordered messages of different rings overtake each other, those of one ring
 *             and direction don't;
 *   lost      a message that a later one of its kind covers, a bell that nobody
 *             waits for or that is ringing already;
 *   credits   a ring has so many messages in flight and no more: what is
 *             published then travels with the next one;
 *   spurious  bells for no reason;
 *   failures  any operation, on command.
 *
 * The operations are called by the workers of both ends, the others by any one
 * thread. The rings' memory and words are the caller's.
 */
#ifndef TESTS_SHIM_FABRIC_LOOP_H
#define TESTS_SHIM_FABRIC_LOOP_H

#include "data/fabric.h"

struct fabric_loop;

enum fabric_loop_op {
	FABRIC_LOOP_PUBLISH,
	FABRIC_LOOP_POLL,
	FABRIC_LOOP_CREDIT,
	FABRIC_LOOP_WAIT_ROOM,
	FABRIC_LOOP_ARM,
	FABRIC_LOOP_OP_NUM_
};

/* `credits`: messages in flight per ring and direction, 1 to FABRIC_LOOP_CREDITS_MAX. */
#define FABRIC_LOOP_CREDITS_MAX 8
#define FABRIC_LOOP_RINGS_MAX	8
int fabric_loop_new(uint64_t seed, unsigned credits, struct fabric_loop **ret_loop);

/* Side 0 or 1. Closing it (fabric_close()) leaves the loop, which frees it. */
struct fabric *fabric_loop_end(struct fabric_loop *loop, unsigned side);
void fabric_loop_free(struct fabric_loop *loop);

/* A ring that side `from` transmits on; `salt` tells it from the others. */
int fabric_loop_add_ring(struct fabric_loop *loop, unsigned from, uint64_t salt,
			 struct shmnet_ring_words *tx, struct shmnet_ring_words *rx);

/* From now on the operation fails at that end; error 0: not any more. */
void fabric_loop_fail(struct fabric_loop *loop, unsigned side, enum fabric_loop_op op,
		      int error);

/* Moves some message, perhaps. False if there is none. */
bool fabric_loop_step(struct fabric_loop *loop);

/* Steps until nothing is in flight. */
void fabric_loop_settle(struct fabric_loop *loop);

#endif
