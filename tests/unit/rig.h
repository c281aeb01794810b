/*
 * What the tests of the data plane stand on: TAPs that need no privilege, frames,
 * and the memory between two nodes.
 *
 * A queue of such a TAP is one end of an AF_UNIX SEQPACKET pair, which keeps the
 * boundaries of frames as a TAP does; the other end is the host. It differs from
 * a TAP in that a full one pushes back: the node's write then fails and counts as
 * tap-error. It holds several hundred small frames, or five of 64 KiB.
 */
#ifndef TESTS_UNIT_RIG_H
#define TESTS_UNIT_RIG_H

#include "base/memfd.h"
#include "data/plane.h"
#include "data/tap.h"

#define RIG_TAG	      0x1234
#define RIG_MTU	      9000
#define RIG_RING_SIZE SHMNET_RING_SIZE_MIN
#define RIG_SALT      0x5dd27e1fc4b06a93ull
#define RIG_FRAME_MAX (SHMNET_RING_PAYLOAD_MAX)

/* Ethertype for local experiments: nothing parses what follows. */
#define RIG_ETHERTYPE 0x88b5

struct rig_tap {
	struct tap tap;
	int host[TAP_QUEUES_MAX]; /* the other ends, blocking */
};

bool rig_tap_open(struct rig_tap *tap, unsigned num_queues);
void rig_tap_close(struct rig_tap *tap);

/* One ring as both sides map it. */
bool rig_ring_open(uint64_t size, struct ring_map *ret_tx, struct ring_map *ret_rx);

/* A deterministic sequence of numbers; never 0. */
uint64_t rig_random(uint64_t *state);

/*
 * Each writes a virtio-net header and a frame and returns the length of both.
 * `to` is a node id, or one of the following.
 */
#define RIG_TO_ALL     0x10000u /* broadcast */
#define RIG_TO_FOREIGN 0x10001u /* a unicast address of nobody's */

/* `length` in all, at least RIG_FRAME_MIN; `number` is found again by the below. */
#define RIG_FRAME_MIN (SHMNET_VNET_HLEN + SHMNET_ETH_HLEN + 8)
size_t rig_frame(uint8_t *buffer, unsigned from, unsigned to, uint64_t number,
		 size_t length);
uint64_t rig_frame_number(const uint8_t *buffer);

/* True if it is byte for byte what rig_frame() made. */
bool rig_frame_is(const uint8_t *buffer, size_t length, unsigned from, unsigned to,
		  uint64_t number);

/* IPv4 TCP with the checksum left to the receiver; a super-frame if gso_size. */
size_t rig_frame_tcp(uint8_t *buffer, unsigned from, unsigned to, size_t data,
		     uint16_t gso_size);

/* A protocol that nobody knows, checksum wanted at its third word. */
size_t rig_frame_odd_checksum(uint8_t *buffer, unsigned from, unsigned to, size_t data);

#endif
