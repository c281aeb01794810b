/*
 * The bytes that two nodes exchange to connect by RDMA: what is in BELL and RING of the
 * rdma kind, and in the private data of the connection manager's messages.
 *
 * The connection manager's messages are in the clear and anybody can send one. So each
 * side says over the channel, which only the two share, what it will connect from, and
 * each proves by the connection manager that it has heard the other's: a link id, which
 * says for whom it is, and a MAC over both offers under the channel's secret. Both are
 * good for one connection: ids and nonces are made anew for each.
 *
 * Pure functions, no state. Any thread.
 */
#ifndef CONTROL_OFFER_RDMA_WIRE_H
#define CONTROL_OFFER_RDMA_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RDMA_BELL_BYTES	 48
#define RDMA_RING_BYTES	 16
#define RDMA_PROOF_BYTES 40
#define RDMA_NONCE_BYTES 16

/* In BELL: how to reach the queue pair that was made for the peer. */
struct rdma_bell {
	uint32_t qp_number;
	uint16_t port; /* of the connection manager, at the GID's address */
	uint8_t gid[16];
	uint8_t nonce[RDMA_NONCE_BYTES];
	uint64_t link_id;
};

/* In RING: memory that the peer may write to. */
struct rdma_ring {
	uint32_t index;
	uint32_t rkey;
	uint64_t size;
};

enum rdma_role { RDMA_ASKS, RDMA_ANSWERS };

void rdma_bell_encode(const struct rdma_bell *bell, uint8_t ret[RDMA_BELL_BYTES]);
/* -EPROTO and the end of a sentence about it. */
int rdma_bell_decode(const uint8_t *from, size_t length, struct rdma_bell *ret_bell,
		     const char **ret_why);

void rdma_ring_encode(const struct rdma_ring *ring, uint8_t ret[RDMA_RING_BYTES]);
int rdma_ring_decode(const uint8_t *from, size_t length, uint64_t size,
		     struct rdma_ring *ret_ring, const char **ret_why);

/* Who is in the connection: the bells of the side that asks, and of the one that answers.
 */
struct rdma_pair {
	const struct rdma_bell *asks;
	const struct rdma_bell *answers;
};

/* The private data of the message that `role` sends. -ENOMEM if there is no MAC. */
int rdma_proof_make(const uint8_t *key, const struct rdma_pair *pair, enum rdma_role role,
		    uint8_t ret[RDMA_PROOF_BYTES]);
bool rdma_proof_check(const uint8_t *key, const struct rdma_pair *pair,
		      enum rdma_role role, const uint8_t *data, size_t length);

/* For which of our connections it is; 0 for none. */
uint64_t rdma_proof_link(const uint8_t *data, size_t length);

#endif
