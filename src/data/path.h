/*
 * A frame's whole way: from the TAP into the receiver's ring, and from our ring
 * into the TAP [36, 37].
 *
 * Called by a worker, per readable queue and per link; never blocks, allocates
 * or logs. Every frame is delivered or counted under one reason (base/drop.h).
 */
#ifndef DATA_PATH_H
#define DATA_PATH_H

#include "base/frame.h"
#include "data/link.h"

/* The part of a frame that is looked at, with its virtio-net header in front. */
#define PATH_HEAD_MAX (SHMNET_VNET_HLEN + FRAME_HEAD_MAX)

/* Frames per queue or link and turn, so that none starves the others. */
#define PATH_BURST 64

/* Private memory of one worker. */
struct path_scratch {
	uint8_t head[PATH_HEAD_MAX];		/* of a frame that lies elsewhere */
	uint8_t frame[SHMNET_RING_PAYLOAD_MAX]; /* a whole one */
};

enum path_tx_result {
	PATH_TX_EMPTY,	 /* nothing left to read */
	PATH_TX_MORE,	 /* the burst is over, the queue may not be */
	PATH_TX_BLOCKED, /* the queue's own link has no room */
	PATH_TX_GONE,	 /* the TAP is no more */
};

/*
 * Reads up to a burst from the queue and publishes it. *ret_frames, always set, is
 * the number read. A link whose peer breaks the rules gets its `error` set.
 */
enum path_tx_result path_tx(const struct plane_view *view, struct queue *queue,
			    struct path_scratch *scratch, unsigned *ret_frames);

/* Shows the peer what was submitted to it since the last time, if anything was. */
void path_publish(struct link *link);

/* Delivers up to a burst of what the peer sent. Number of records taken. */
unsigned path_rx(struct link *link, struct path_scratch *scratch);

/* Delivers all that a dead peer had finished; the caller has the link to itself. */
void path_rx_salvage(struct link *link, struct path_scratch *scratch);

#endif
