/*
 * A frame's whole way: from the TAP into the receiver's ring, and from our ring
 * into the TAP [36, 37]; path_cast.c has what is different for casts, and
 * path_global.c for packets that come for a global address.
 *
 * Called by a worker, per readable queue, link and cast ring; never blocks, allocates
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

/* The room for a payload in a cast ring's slot, at most. */
#define PATH_CAST_MAX (SHMNET_MTU_MAX + 128 - SHMNET_MTU_MAX % 64)

/* Private memory of one worker. */
struct path_scratch {
	uint8_t head[PATH_HEAD_MAX];		/* of a frame that lies elsewhere */
	uint8_t frame[SHMNET_RING_PAYLOAD_MAX]; /* a whole one */
	uint64_t cast[PATH_CAST_MAX / 8]; /* one that came by a cast ring, or a piece */
};

enum path_tx_result {
	PATH_TX_EMPTY,	 /* nothing left to read */
	PATH_TX_MORE,	 /* the burst is over, the queue may not be */
	PATH_TX_BLOCKED, /* the queue's link has no room */
	PATH_TX_GONE,	 /* the TAP is no more */
};

/*
 * Reads up to a burst from the queue and publishes it. *ret_frames, always set, is
 * the number read. A link whose peer breaks the rules gets its `error` set.
 */
enum path_tx_result path_tx(const struct plane_view *view, struct queue *queue,
			    struct path_scratch *scratch, unsigned *ret_frames);

/*
 * Drops what waits in the queues of global networks: it came while the process stood
 * still. Who opened a connection then has tried again since, perhaps by another border,
 * and must not get two. What is sent again anyway costs no more.
 */
void path_forget_late(const struct plane_view *view, struct path_scratch *scratch);

/* Shows the peer what was submitted to it since the last time, if anything was. */
void path_publish(struct link *link);

/* Delivers up to a burst of what the peer sent. Number of records taken. */
unsigned path_rx(struct link *link, struct path_scratch *scratch);

/* Delivers all that a dead peer had finished; the caller has the link to itself. */
void path_rx_salvage(struct link *link, struct path_scratch *scratch);

/*
 * Delivers up to a burst of what is in a cast ring. The number of frames taken, or 1
 * if there may be more; *ret_drained: there was nothing left. `error` is set if the
 * ring is broken, or closed and drained.
 */
unsigned path_cast_rx(const struct plane_view *view, struct cast *cast,
		      struct path_scratch *scratch, bool *ret_drained);

/* After all links of the port and then all its cast rings were read to their end. */
void path_cast_settle(const struct port_view *view);

/* For a link that no worker knows any more: what it put there and we didn't take. */
void path_cast_end(struct link *link);

/*
 * Takes what control has answered, and drops what has waited too long. The number of
 * answers: there may be more.
 */
unsigned path_global_turn(const struct plane_view *view, struct global_state *global,
			  struct path_scratch *scratch);

/* Drops what has waited too long, before an answer is taken for it. */
void path_global_expire(const struct plane_view *view, struct global_state *global);

/* *timeout_ms is lowered to when something will have waited too long; -1: never. */
void path_global_rest(const struct global_state *global, int *timeout_ms);

/*
 * The worker is about to sleep and has armed its links: would a look at the ring find
 * nothing? *timeout_ms is lowered to when the wait for a slow writer is over; -1: never.
 */
bool path_cast_is_quiet(const struct cast *cast, int *timeout_ms);

#endif
