/*
 * What the parts of a frame's way share: path.c, and path_cast.c for casts. The
 * worker's, as path.h.
 */
#ifndef DATA_PATH_INTERNAL_H
#define DATA_PATH_INTERNAL_H

#include "data/path.h"

#include <string.h>

static inline void count_drop(struct link *link, enum drop_reason reason)
{
	counter_add(&link->counters.drops[reason], 1);
}

static inline void count_sent(struct link *link, size_t length)
{
	counter_add(&link->counters.sent_frames, 1);
	counter_add(&link->counters.sent_bytes, length - SHMNET_VNET_HLEN);
}

static inline bool link_rests(const struct link *link)
{
	return __atomic_load_n(&link->error, __ATOMIC_RELAXED) != 0;
}

/* Is it a super-frame of a kind that is among these? */
static inline bool path_lacks(uint32_t lacks, const uint8_t *payload)
{
	struct frame_vnet vnet;

	if (!lacks)
		return false;
	memcpy(&vnet, payload, sizeof(vnet));
	return lacks & frame_offload(&vnet);
}

/* A frame that came by the TAP and goes nowhere. */
void path_count_unrouted(struct port *port, enum drop_reason reason);

/*
 * Puts a header in front of the host's frame that any receiver accepts, if there is one.
 * A checksum that only the kernel knew how to place is done now and asked of nobody.
 * All is decided on `head`, the first bytes up to PATH_HEAD_MAX; `payload`, the same and
 * the rest, is written to.
 */
enum drop_reason path_fit_vnet(const struct port *port, const uint8_t *head,
			       uint8_t *payload, size_t length);

/*
 * One frame from private memory to one peer, in pieces if it takes no such super-frame.
 * scratch->cast is used. DROP_NUM_, or why it is not even counted as sent.
 */
enum drop_reason path_send(struct link *link, struct path_scratch *scratch,
			   const uint8_t *payload, size_t length);

/*
 * What was reserved is the peer's, and shown to it by path_publish(); a burst of long
 * frames by the quarter ring, so that its reader can begin.
 */
void path_submit(struct link *link, size_t length, uint32_t flags);

/* One frame from private memory to one peer: counted as sent, and perhaps dropped. */
void path_copy(struct link *link, const uint8_t *payload, size_t length, uint32_t flags);

/* One frame of the peer's to our host, after all checks; counted. */
void path_receive(struct link *link, struct path_scratch *scratch,
		  const struct shmnet_record *record);

/*
 * A cast of the host's in scratch->frame, which passed the checks, to all who have a
 * link. scratch->cast is used. DROP_NUM_, or why nobody gets it.
 */
enum drop_reason path_cast(const struct port_view *view, struct port *port,
			   struct path_scratch *scratch, size_t length);

/* Around a burst of the queue of a global network. */
void path_global_begin(struct port *port);
void path_global_end(struct port *port);

/*
 * The frame in scratch->frame, as it came from the TAP of a global network. False: it
 * goes the way of a local network's. True: it is counted, wherever it went.
 */
bool path_global(const struct plane_view *view, struct port *port,
		 struct path_scratch *scratch, size_t length);

/*
 * Where the next frame may be read to, if that is not scratch->frame: into the ring that
 * it will most likely go to. False: into none for now, see queue->waits_for.
 */
bool path_global_place(const struct plane_view *view, struct queue *queue,
		       uint8_t **ret_place);

/* The frame that was read there. False: it is in scratch->frame now, and not counted. */
bool path_global_direct(const struct plane_view *view, struct port *port,
			struct path_scratch *scratch, uint8_t *place, size_t length);

/* After a burst: the peer hears of what went into cast rings for it. */
void path_cast_wake(struct link *link);

/* Before a look at the cast rings: has the peer put more there for us? */
bool path_cast_listen(struct link *link);

#endif
